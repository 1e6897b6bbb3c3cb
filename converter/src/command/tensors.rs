//! `--input` and `--output`: files on one side, NHWC values of a model's ports on the other.

use super::failure::{During, Failure};
use std::fs;
use std::path::{Path, PathBuf};
use unbraid_converter::data::items_of;
use unbraid_converter::picture::{self, Resize};
use unbraid_converter::{npy, write};
use unbraid_runtime::dims::Dims;
use unbraid_runtime::quant::{dequantize, quantize};
use unbraid_runtime::step::Element;
use unbraid_runtime::{Model, Port, Session, Values};

/// How a picture of another size is brought to the size of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ResizeFlag {
    /// The whole picture, each axis by its own factor.
    Stretch,
    /// Cover the input, keep the proportions, cut off what is left over at both ends.
    Crop,
    /// Refuse it.
    Never,
}

impl From<ResizeFlag> for Resize {
    fn from(flag: ResizeFlag) -> Self {
        match flag {
            ResizeFlag::Stretch => Self::Stretch,
            ResizeFlag::Crop => Self::Crop,
            ResizeFlag::Never => Self::Never,
        }
    }
}

/// For each port the files that arguments of `flag` name for it, in order of the arguments.
///
/// `NAME=FILE` is for the port of that name, `FILE` for the only port. A file whose own name has
/// an equals sign is written with its folder: `./a=b.png`.
pub(crate) fn files_of(
    flag: &str,
    arguments: &[String],
    ports: &[Port<'_>],
) -> Result<Vec<Vec<PathBuf>>, Failure> {
    let mut files = vec![Vec::new(); ports.len()];
    for argument in arguments {
        let (index, file) = assigned(flag, argument, ports)?;
        files[index].push(file);
    }
    Ok(files)
}

fn assigned(flag: &str, argument: &str, ports: &[Port<'_>]) -> Result<(usize, PathBuf), Failure> {
    let (name, file) = match argument.split_once('=') {
        Some((name, file)) => match ports.iter().position(|port| port.name == name) {
            Some(index) => return Ok((index, file.into())),
            None if name.contains('/') => (None, argument),
            None => (Some(name), file),
        },
        None => (None, argument),
    };
    match name {
        None if ports.len() == 1 => Ok((0, file.into())),
        None => {
            Err(unnamed(format!("{flag} {argument} does not say which of several"), flag, ports))
        }
        Some(name) => {
            Err(unnamed(format!("{flag} names `{name}`, which is not there"), flag, ports))
        }
    }
}

fn unnamed(what: String, flag: &str, ports: &[Port<'_>]) -> Failure {
    let names: Vec<&str> = ports.iter().map(|port| port.name).collect();
    Failure::usage(what)
        .help(format!("{flag} NAME=FILE, where NAME is one of: {}", names.join(", ")))
}

/// The file of each port, where exactly one is needed.
pub(crate) fn one_each<'f>(
    flag: &str,
    files: &'f [Vec<PathBuf>],
    ports: &[Port<'_>],
) -> Result<Vec<&'f Path>, Failure> {
    let one = |(files, port): (&'f Vec<PathBuf>, &Port<'_>)| match files.as_slice() {
        [file] => Ok(file.as_path()),
        files => {
            let (name, found) = (port.name, files.len());
            Err(Failure::usage(format!("`{name}` takes one {flag}, there are {found}")))
        }
    };
    files.iter().zip(ports).map(one).collect()
}

/// The values of `path` as `port` takes them, NHWC, once for each run of the network.
///
/// A `.npy` has the axis order and shape of the ONNX input, or holds several of that shape along
/// axis 0; anything else is a picture.
pub(crate) fn read(path: &Path, port: &Port<'_>, resize: Resize) -> Result<Vec<Vec<f32>>, Failure> {
    let bytes = fs::read(path).during("read", path)?;
    let is_npy = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("npy"));
    if !is_npy && !bytes.starts_with(npy::MAGIC) {
        let values = picture::decode(&bytes, port.operand.dims, resize);
        return Ok(vec![values.during("use the picture", path)?]);
    }
    let tensor = npy::read(&bytes).during("read", path)?;
    let wanted: Vec<usize> = port.axes().iter().map(|&axis| axis as usize).collect();
    let Some(runs) = items_of(tensor.shape(), &wanted) else {
        let found = tensor.shape();
        return Err(Failure::new(format!(
            "{} has shape {found:?}, input `{}` takes {wanted:?}, or several along axis 0",
            path.display(),
            port.name
        ))
        .help("the axis order is that of the ONNX input; numpy.reshape and numpy.transpose help"));
    };
    let values = tensor.as_f32().unwrap_or_default();
    Ok(values.chunks_exact(values.len() / runs).map(|one| to_nhwc(one, port)).collect())
}

/// The shape of results of several runs, one behind the other along axis 0.
fn stacked(one: &[usize], runs: usize) -> Vec<usize> {
    match one {
        _ if runs == 1 => one.to_vec(),
        [1, item @ ..] if !item.is_empty() => [&[runs], item].concat(),
        _ => [&[runs], one].concat(),
    }
}

/// Writes what `port` holds after each run, NHWC, to `path` in ONNX's shape and axis order.
pub(crate) fn save(path: &Path, port: &Port<'_>, runs: &[&[f32]]) -> Result<(), Failure> {
    let shape: Vec<usize> = port.axes().iter().map(|&axis| axis as usize).collect();
    let values: Vec<f32> = runs.iter().flat_map(|values| to_onnx(values, port)).collect();
    let bytes = npy::write(&stacked(&shape, runs.len()), &values);
    Ok(write::save(path, &bytes)?)
}

/// ONNX order to the order in the arena, which differs for pictures, values of four axes.
pub(crate) fn to_nhwc(values: &[f32], port: &Port<'_>) -> Vec<f32> {
    let channels = port.operand.dims.c as usize;
    match port.axes().len() {
        4 => transposed(values, values.len() / channels),
        _ => values.to_vec(),
    }
}

/// The order in the arena to ONNX order.
pub(crate) fn to_onnx(values: &[f32], port: &Port<'_>) -> Vec<f32> {
    match port.axes().len() {
        4 => row_major(values, port.operand.dims),
        _ => values.to_vec(),
    }
}

/// NHWC values of `dims` channel by channel: the order of ONNX for every step that is named after
/// a value, whatever that value's number of axes.
pub(crate) fn row_major(values: &[f32], dims: Dims) -> Vec<f32> {
    transposed(values, dims.c as usize)
}

/// A matrix with rows of `columns` values, column by column.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let column = |at: usize| matrix.iter().skip(at).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}

/// Values for every input of `model`, the same for the same `seed`: between -1 and 1, or where the input
/// lies as integers whatever those stand for.
pub(crate) fn random(model: &Model<'_>, seed: u64) -> Vec<Vec<f32>> {
    let mut state = seed;
    let mut next = || {
        // SplitMix64 (Steele, Lea, Flood 2014); the upper 24 bits fill a significand.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let values = |port: Port<'_>| {
        let grid = port.operand.element.quantization();
        let value = |v: f32| grid.map_or(v, |grid| dequantize((v * 128.0).floor() as i8, grid));
        (0..port.operand.dims.elements().unwrap_or(0)).map(|_| value(next())).collect()
    };
    model.inputs().map(values).collect()
}

/// Copies `inputs` (NHWC, one each, of the right length) to where `session` reads them; an s8 input
/// gets what stands for them.
pub(crate) fn feed(session: &mut Session<'_>, inputs: &[impl AsRef<[f32]>]) {
    let ports: Vec<Port<'_>> = session.model().inputs().collect();
    for ((index, port), values) in ports.iter().enumerate().zip(inputs.iter().map(AsRef::as_ref)) {
        match port.operand.element {
            Element::F32 => {
                let input = session.input_mut(index).unwrap_or_default();
                input.copy_from_slice(values);
            }
            Element::S8(quantization) => {
                let input = session.input_s8_mut(index).unwrap_or_default();
                let stored = values.iter().map(|&value| quantize(value, quantization));
                input.iter_mut().zip(stored).for_each(|(to, from)| *to = from);
            }
        }
    }
}

/// What an output holds after a run, NHWC; of an s8 output what its values stand for.
pub(crate) fn result(session: &Session<'_>, index: usize) -> Vec<f32> {
    let port = session.model().outputs().nth(index);
    let values = match session.output(index) {
        Some(values) => Some(Values::F32(values)),
        None => session.output_s8(index).map(Values::S8),
    };
    let reals = values.zip(port).map(|(values, port)| values.reals(port.operand.element));
    reals.map(Iterator::collect).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbraid_runtime::model::port::MAX_RANK;
    use unbraid_runtime::step::Operand;

    fn port<'n>(name: &'n str, axes: &[u32], dims: Dims) -> Port<'n> {
        let mut shape = [0; MAX_RANK];
        shape[..axes.len()].copy_from_slice(axes);
        let operand = Operand { dims, ..Operand::default() };
        Port { name, is_output: false, operand, rank: axes.len() as u8, shape }
    }

    #[test]
    fn pictures_change_their_order_and_nothing_else_does() {
        let dims = Dims { h: 1, w: 2, c: 3 };
        let picture = port("x", &[1, 3, 1, 2], dims);
        let nchw = [0.0, 1.0, 10.0, 11.0, 20.0, 21.0];
        let nhwc = [0.0, 10.0, 20.0, 1.0, 11.0, 21.0];
        assert_eq!(to_nhwc(&nchw, &picture), nhwc);
        assert_eq!(to_onnx(&nhwc, &picture), nchw);
        let matrix = port("x", &[2, 3], dims);
        assert_eq!(to_nhwc(&nchw, &matrix), nchw);
        assert_eq!(to_onnx(&nchw, &matrix), nchw);
    }

    #[test]
    fn several_results_lie_along_axis_0() {
        assert_eq!(stacked(&[1, 10], 1), [1, 10]);
        assert_eq!(stacked(&[1, 10], 4), [4, 10]);
        assert_eq!(stacked(&[10], 4), [4, 10]);
        assert_eq!(stacked(&[2, 10], 4), [4, 2, 10]);
    }

    #[test]
    fn files_go_to_the_port_that_they_name() {
        let ports = ["left", "/right"].map(|name| port(name, &[], Dims::default()));
        let files = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
            files_of("--input", &arguments, &ports)
        };
        let both = files(&["/right=b.npy", "left=a=1.npy"]).unwrap();
        assert_eq!(both, [["a=1.npy"], ["b.npy"]].map(|list| list.map(PathBuf::from)));
        for wrong in ["middle=a.npy", "a.npy", "./middle=a.npy"] {
            assert_eq!(files(&[wrong]).unwrap_err().exit_code(), 2, "{wrong}");
        }
        let only = &ports[..1];
        let path = files_of("--input", &["./odd=name.png".to_owned()], only).unwrap();
        assert_eq!(path, [[PathBuf::from("./odd=name.png")]]);
        assert!(one_each("--input", &files(&["left=a.npy"]).unwrap(), &ports).is_err());
    }
}
