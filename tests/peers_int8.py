#!/usr/bin/env python3
"""Accuracy of unbraid's INT8 against onnxruntime's static quantizer, on the same ONNX and the same data.

    target/python/bin/python tests/peers_int8.py [NAME ...] [--pictures 10000] [--unbraid target/release/unbraid]

For each network: the fused float ONNX that `unbraid convert --emit-onnx` writes is quantized by
onnxruntime (QDQ, s8 weights per channel) with each of its calibrators and both types of activations,
and by `unbraid convert --int8`, from the same calibration data. Other data then go through the float
network and through all of these. Printed is the signal-to-quantization-noise ratio of the outputs,
10 log10(sum y^2 / sum (y' - y)^2) with y the float outputs, and where there are labels the share of
right classes.

Networks: those of tests/models that were trained on Fashion-MNIST (calibrated on its training
pictures), mobilenet_v2 and ppocr_det of target/networks (calibrated on crops of one half of
scikit-image's photos, measured on crops of the other half).
"""

import argparse
import gzip
import pathlib
import subprocess
import sys
import tempfile
from typing import NamedTuple

try:
    import numpy
    import onnxruntime
    from onnxruntime import quantization
    from PIL import Image
except ImportError as missing:
    sys.exit(f"{missing}; `sh tests/setup.sh` makes target/python, which has it")

TESTS = pathlib.Path(__file__).parent
TARGET = TESTS.parent / "target"
FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")
MEAN, STD = 72.94, 90.02
IMAGENET = numpy.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], numpy.float32)
CALIBRATION = 256
PHOTOS = [["astronaut.png", "chelsea.png", "motorcycle_left.png", "page.png", "grass.png", "ihc.png"],
          ["coffee.png", "rocket.jpg", "motorcycle_right.png", "text.png", "gravel.png", "brick.png"]]
CALIBRATORS = ["MinMax", "Entropy", "Percentile"]


class Case(NamedTuple):
    """A network, and the data [N, C, H, W] to calibrate and to measure it with."""

    model: pathlib.Path
    calibration: numpy.ndarray
    test: numpy.ndarray
    labels: numpy.ndarray | None
    flags: list


def idx(name, offset, shape, count):
    """The first items of an IDX file."""
    data = numpy.frombuffer(gzip.open(FASHION / name).read(), numpy.uint8, offset=offset)
    return data.reshape(-1, *shape)[:count]


def fashion(name, count):
    """A network of tests/models."""
    def pictures(part, count):
        pixels = idx(f"{part}-images-idx3-ubyte.gz", 16, (1, 28, 28), count)
        return ((pixels - MEAN) / STD).astype(numpy.float32)
    labels = idx("t10k-labels-idx1-ubyte.gz", 8, (), count)
    model = TESTS / "models" / f"{name}.onnx"
    return Case(model, pictures("train", CALIBRATION), pictures("t10k", count), labels, [])


def crops(names, size, count, seed):
    """Crops of photos, of half their size to all of it, normalised as ImageNet's are."""
    random = numpy.random.default_rng(seed)
    folder = next((TARGET / "networks" / "packages").glob("scikit-image*")) / "skimage" / "data"
    found = []
    for at in range(count):
        photo = Image.open(folder / names[at % len(names)]).convert("RGB")
        width, height = (int(side * random.uniform(0.5, 1)) for side in photo.size)
        left = random.integers(photo.width - width + 1)
        top = random.integers(photo.height - height + 1)
        box = (left, top, left + width, top + height)
        pixels = photo.crop(box).resize(size[::-1], Image.Resampling.BILINEAR)
        x = (numpy.asarray(pixels, numpy.float32) / 255 - IMAGENET[0]) / IMAGENET[1]
        found.append(x.transpose(2, 0, 1))
    return numpy.ascontiguousarray(found, numpy.float32)


def photos(name, size, count):
    """A network of target/networks."""
    model = TARGET / "networks" / name / "model.onnx"
    port = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).get_inputs()[0].name
    shape = ["--input-shape", f"{port}=1,3,{size[0]},{size[1]}"]
    return Case(model, crops(PHOTOS[0], size, count, 1), crops(PHOTOS[1], size, count, 2), None, shape)


CASES = {
    **{name: lambda count, file=f"{name}_{kind}": fashion(file, count)
       for name, kind in [("repvgg", "preserve"), ("mobileone", "eval"), ("plain", "eval"), ("dbb", "eval"),
                          ("acnet", "eval"), ("qarepvgg", "eval")]},
    "mobilenet_v2": lambda _: photos("mobilenet_v2", (224, 224), 48),
    "ppocr_det": lambda _: photos("ppocr_det", (320, 640), 24),
}


class Reader(quantization.CalibrationDataReader):
    """Calibration data, a picture at a time."""

    def __init__(self, name, pictures):
        self.rest = iter({name: picture[None]} for picture in pictures)

    def get_next(self):
        return next(self.rest, None)


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])


def run(path, pictures):
    """The first output for each picture."""
    network = session(path)
    name = network.get_inputs()[0].name
    return numpy.concatenate([network.run(None, {name: picture[None]})[0] for picture in pictures])


def quantize(fused, path, pictures, calibrator, activations):
    """onnxruntime's QDQ model."""
    name = session(fused).get_inputs()[0].name
    quantization.quantize_static(
        fused, path, Reader(name, pictures), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=activations, weight_type=quantization.QuantType.QInt8,
        calibrate_method=getattr(quantization.CalibrationMethod, calibrator))


def unbraid(program, *flags):
    """One call of the command line, which must succeed."""
    done = subprocess.run([program, *map(str, flags)], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{program} {' '.join(map(str, flags))} ended with {done.returncode}")
    return done.stdout


def sqnr(y, found):
    """In dB."""
    noise = numpy.sum((found.astype(numpy.float64) - y) ** 2)
    return 10 * numpy.log10(numpy.sum(y.astype(numpy.float64) ** 2) / noise)


def row(case, what, y, found):
    """A line of the table; the SQNR."""
    decibels = sqnr(y, found)
    cells = [f"{what:38}", f"{decibels:7.2f} dB"]
    if case.labels is not None:
        right = numpy.mean(found.reshape(len(found), -1).argmax(1) == case.labels)
        cells.append(f"{100 * right:6.2f} % right")
    print("  " + "  ".join(cells), flush=True)
    return decibels


def measure(name, arguments, folder):
    """All rows of one network."""
    case = CASES[name](arguments.pictures)
    folder = pathlib.Path(folder)
    fused, strand = folder / "fused.onnx", folder / "s8.strand"
    unbraid(arguments.unbraid, "convert", case.model, "-o", folder / "f32.strand", "--emit-onnx", fused, *case.flags)
    y = run(fused, case.test)
    print(f"{name}: {len(case.calibration)} samples to calibrate, {len(case.test)} to measure")
    if case.labels is not None:
        right = numpy.mean(y.reshape(len(y), -1).argmax(1) == case.labels)
        print(f"  {'f32':38}  {'':10}  {100 * right:6.2f} % right")
    best = -numpy.inf
    for calibrator in CALIBRATORS:
        for kind in ["QUInt8", "QInt8"]:
            path = folder / "qdq.onnx"
            quantize(fused, path, case.calibration, calibrator, getattr(quantization.QuantType, kind))
            found = row(case, f"onnxruntime, {calibrator}, {kind}", y, run(path, case.test))
            best = max(best, found)
    numpy.savez(folder / "calibration.npz", x=case.calibration)
    numpy.save(folder / "test.npy", case.test)
    for what, flags in [("unbraid, plain (min-max, per tensor)", PLAIN), ("unbraid", [])]:
        unbraid(arguments.unbraid, "convert", case.model, "-o", strand, "--int8", "--calibrate",
                folder / "calibration.npz", *case.flags, *flags, *arguments.flags)
        unbraid(arguments.unbraid, "run", strand, "--input", folder / "test.npy", "--output", folder / "y.npy")
        found = row(case, what, y, numpy.load(folder / "y.npy").reshape(y.shape))
    print(f"  unbraid is {found - best:+.2f} dB above the best of onnxruntime's")


PLAIN = ["--per-tensor", "--ranges", "minmax", "--no-clip", "--no-equalise", "--no-rounding", "--no-bias-correction"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(CASES))
    parser.add_argument("--pictures", type=int, default=10_000, help="test pictures of Fashion-MNIST")
    parser.add_argument("--unbraid", default=str(TARGET / "release" / "unbraid"))
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="more flags for unbraid convert")
    arguments = parser.parse_args()
    for name in arguments.names:
        with tempfile.TemporaryDirectory() as folder:
            measure(name, arguments, folder)


if __name__ == "__main__":
    main()
