//! Weights in a file beside the model, and files that a model must not read.

use std::path::PathBuf;
use unbraid_converter::graph::Graph;
use unbraid_converter::import::{Options, Problem, TensorProblem, from_bytes, load};
use unbraid_converter::onnx::StringStringEntryProto;
use unbraid_tests::onnx_file::small_network;

/// A folder of its own for one test, with `model/model.onnx` whose weight `w` lies elsewhere.
struct External {
    folder: PathBuf,
}

impl External {
    fn new(test: &str, location: &str, offset: &str, length: &str) -> Self {
        let name = format!("unbraid-import-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(folder.join("model")).expect("a temporary folder");
        let mut file = small_network();
        let weight = &mut file.graph.initializer[0];
        let data = [vec![9; 16], std::mem::take(&mut weight.raw_data).to_vec()].concat();
        weight.data_location = 1;
        let entries = [("location", location), ("offset", offset), ("length", length)];
        let entry = |(key, value): (&str, &str)| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        };
        weight.external_data = entries.map(entry).to_vec();
        std::fs::write(folder.join("model/weights.bin"), &data).expect("weights");
        std::fs::write(folder.join("outside.bin"), &data).expect("weights");
        std::fs::write(folder.join("model/model.onnx"), file.bytes()).expect("a model");
        Self { folder }
    }

    fn load(&self) -> Result<Graph, TensorProblem> {
        let path = self.folder.join("model/model.onnx");
        load(&path, &Options::default()).map_err(|error| match *error.problem {
            Problem::Tensor { name, problem } if name == "w" => problem,
            other => panic!("expected a problem with `w`, found: {other}"),
        })
    }
}

impl Drop for External {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).expect("the folder was made by this test");
    }
}

#[test]
fn external_data_beside_the_model_is_read() {
    let expected = small_network().import();
    let graph = External::new("beside", "weights.bin", "16", "216").load().expect("good data");
    let weight = |graph: &Graph| graph.constant_f32(graph.nodes[0].inputs[1]).map(<[f32]>::to_vec);
    assert_eq!(weight(&graph), weight(&expected));
}

#[test]
fn external_data_outside_the_folder_is_refused() {
    let absolute = std::env::temp_dir().join("weights.bin").display().to_string();
    for location in ["../outside.bin", "sub/../../outside.bin", &absolute, ""] {
        let found = External::new("outside", location, "16", "216").load().expect_err("outside");
        assert!(matches!(found, TensorProblem::Outside(_)), "{location}: {found}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_folder_is_refused() {
    let model = External::new("link", "link.bin", "16", "216");
    let (target, link) = (model.folder.join("outside.bin"), model.folder.join("model/link.bin"));
    std::os::unix::fs::symlink(target, link).expect("a link");
    assert!(matches!(model.load(), Err(TensorProblem::Outside(_))));
}

#[test]
fn external_data_that_is_missing_or_short_is_refused() {
    let missing = External::new("missing", "nowhere.bin", "0", "216").load();
    assert!(matches!(missing, Err(TensorProblem::External { .. })));
    for (offset, length) in
        [("17", "216"), ("16", "212"), ("18446744073709551615", "216"), ("-1", "216"), ("0", "x")]
    {
        let found = External::new("short", "weights.bin", offset, length).load();
        let extent = matches!(found, Err(TensorProblem::Extent { .. }));
        assert!(extent, "offset {offset}, length {length}");
    }
}

#[test]
fn external_data_of_a_model_in_memory_is_refused() {
    let model = External::new("memory", "weights.bin", "16", "216");
    let bytes = std::fs::read(model.folder.join("model/model.onnx")).expect("a model");
    let error = from_bytes(bytes, &Options::default()).expect_err("no folder");
    assert!(matches!(*error.problem, Problem::Tensor { problem: TensorProblem::NoFolder, .. }));
}
