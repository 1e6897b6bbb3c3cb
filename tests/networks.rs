//! Real networks that packages carry, as PyTorch, Paddle and TensorFlow exported them, on real
//! pictures and sounds: converted as the command line does, they give what onnxruntime and tract
//! give. `tests/models/networks.py` fetches them.
#![forbid(unsafe_code)]

mod tract;

use std::io::Write;
use std::path::{Path, PathBuf};
use tract::tract;
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::Graph;
use unbraid_converter::import::{Options, load};
use unbraid_converter::prune::prune;
use unbraid_converter::report::GraphFacts;
use unbraid_converter::{npy, plan, write};
use unbraid_runtime::Model;
use unbraid_tests::execute::{cpus, relative_error, run};

/// Largest difference to the others, relative to the largest output.
const BOUND: f64 = 1e-4;

/// Networks that tract cannot run, and why.
const BEYOND_TRACT: &[(&str, &str)] = &[("orientation", "cannot analyse its first Conv")];

/// A row of the index that `networks.py` writes.
struct Network {
    name: String,
    exporter: String,
    nodes: String,
    input: String,
    shape: Vec<usize>,
    folder: PathBuf,
}

impl Network {
    fn of_row(row: &str, folder: &Path) -> Self {
        let columns: Vec<&str> = row.split('\t').collect();
        let [name, _, _, exporter, nodes, input] = columns[..] else { panic!("six: {row}") };
        let (input, shape) = input.rsplit_once('=').expect("NAME=SHAPE");
        let shape = shape.split(',').map(|length| length.parse().expect("a number")).collect();
        let [name, exporter, nodes, input] = [name, exporter, nodes, input].map(str::to_owned);
        let folder = folder.join(&name);
        Self { name, exporter, nodes, input, shape, folder }
    }

    fn values(&self, file: &str) -> Vec<f32> {
        let bytes = std::fs::read(self.folder.join(file)).expect(file);
        npy::read(&bytes).expect(file).as_f32().expect("floats").to_vec()
    }

    /// The network as `unbraid convert` leaves it.
    fn converted(&self) -> Graph {
        let input_shapes = vec![(self.input.clone(), self.shape.clone())];
        let options = Options { input_shapes, ..Options::default() };
        let graph = load(&self.folder.join("model.onnx"), &options);
        let graph = graph.unwrap_or_else(|error| panic!("{error}"));
        let mut fused = fuse(graph, FuseMode::Free, &mut |_| {});
        prune(&mut fused.graph);
        fused.graph
    }

    /// Largest error to onnxruntime on any set of CPU features.
    fn error(&self, graph: &Graph, x: &[f32]) -> f64 {
        let plan = plan::plan(graph, &plan::Options::default());
        let plan = plan.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let strand = write::strand(&plan).expect("fits");
        let model = Model::new(&strand).expect("a valid file");
        let errors =
            cpus().into_iter().map(|(_, cpu)| self.worst(&run(&model, cpu, &[x.to_vec()])));
        errors.fold(0.0, f64::max)
    }

    /// Largest difference to onnxruntime's outputs, of all of which there are as many.
    fn worst(&self, outputs: &[Vec<f32>]) -> f64 {
        assert!(
            !self.folder.join(format!("output_{}.npy", outputs.len())).exists(),
            "{}",
            self.name
        );
        let error = |(index, found): (usize, &Vec<f32>)| {
            let expected = self.values(&format!("output_{index}.npy"));
            let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
            relative_error(&expected, found)
        };
        outputs.iter().enumerate().map(error).fold(0.0, f64::max)
    }

    /// Tract's largest difference to onnxruntime, or why there is none.
    fn of_tract(&self, x: &[f32]) -> Result<f64, &'static str> {
        let bytes = std::fs::read(self.folder.join("model.onnx")).expect("fetched");
        let listed = BEYOND_TRACT.iter().find(|(name, _)| *name == self.name);
        match (tract(&bytes, &self.shape, x), listed) {
            (Ok(outputs), None) => Ok(self.worst(&outputs)),
            (Err(_), Some((_, why))) => Err(why),
            (Err(error), None) => panic!("{}: {error:?}", self.name),
            (Ok(_), Some((_, why))) => panic!("{}: tract runs it; listed as {why}", self.name),
        }
    }
}

fn networks() -> Vec<Network> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/networks");
    let index = std::fs::read_to_string(folder.join("index.tsv"));
    let index = index.unwrap_or_else(|error| panic!("{error}: sh tests/setup.sh fetches them"));
    index.lines().skip(1).map(|row| Network::of_row(row, &folder)).collect()
}

#[test]
fn every_network_agrees_with_onnxruntime_and_tract() {
    // Past the capture of the test runner: this is a table to be read.
    let mut table = std::io::stdout();
    let header = "network             exporter       nodes  after      MMAC  onnxruntime  tract";
    writeln!(table, "\n{header}").expect("standard output");
    for network in networks() {
        let x = network.values("input.npy");
        let graph = network.converted();
        let error = network.error(&graph, &x);
        let tract = network.of_tract(&x);
        let shown = tract.map_or_else(str::to_owned, |error| format!("{error:.1e}"));
        let (left, macs) = (graph.nodes.len(), GraphFacts::new(&graph).macs as f64 / 1e6);
        let Network { name, exporter, nodes, .. } = &network;
        writeln!(
            table,
            "{name:18}  {exporter:13}  {nodes:>5}  {left:5}  {macs:8.1}  {error:11.1e}  {shown}"
        )
        .expect("standard output");
        assert!(error <= BOUND, "{name}: {error:e} from onnxruntime");
        assert!(tract.is_err() || tract.is_ok_and(|error| error <= BOUND), "{name}: tract");
    }
}
