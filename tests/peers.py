#!/usr/bin/env python3
"""Latency of unbraid against onnxruntime, in alternating rounds on one thread (or --threads N).

    python3 tests/peers.py MODEL.onnx [--rounds 10] [--runs 20] [--unbraid target/release/unbraid]
    python3 tests/peers.py --index target/networks/index.tsv

The second form measures every network that tests/setup.sh has fetched, on the pictures and sounds
that it has fetched with them. Four contestants: the model as it is and the model fused, each in unbraid and in onnxruntime. The
fused ONNX that onnxruntime runs is the one that `unbraid convert --emit-onnx` writes; unfused is
`--no-fuse`. Rounds alternate, so that whatever else the machine does hits all alike. Printed are,
over all rounds, the median of the rounds' medians and of the ratios of two neighbouring ones;
the largest difference of all four in the first output says that they compute the same function.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

try:
    import numpy
    import onnxruntime
except ImportError as missing:
    sys.exit(f"{missing}; in a virtual environment: pip install onnxruntime numpy")


def unbraid(arguments, *flags):
    """Standard output of one call of the command line, which must succeed."""
    call = [arguments.unbraid, *flags]
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(call)} ended with {done.returncode}")
    return done.stdout


class Strand:
    """A .strand file, measured by `unbraid bench` in a process of its own."""

    def __init__(self, arguments, path):
        self.arguments = arguments
        self.path = path

    def milliseconds(self):
        count = self.arguments
        flags = ["--threads", str(count.threads), "--runs", str(count.runs), "--json"]
        return json.loads(unbraid(count, "bench", self.path, *flags))["median_ms"]

    def output(self, name, picture, folder):
        """The output of this name."""
        numpy.save(f"{folder}/in.npy", picture)
        unbraid(self.arguments, "run", self.path, "--input", f"{folder}/in.npy",
                "--output", f"{name}={folder}/out.npy")
        return numpy.load(f"{folder}/out.npy")


class Onnxruntime:
    """A session with default optimisations, measured here."""

    def __init__(self, arguments, path, picture):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # old exporters' files draw pages of warnings
        # Between rounds the others run: threads that spin would take their cores.
        options.add_session_config_entry("session.intra_op.allow_spinning",
                                         "1" if arguments.threads > 1 else "0")
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self.runs = arguments.runs
        self.input = self.session.get_inputs()[0]
        self.picture = random_picture(self.input.shape) if picture is None else picture

    def milliseconds(self):
        feed = {self.input.name: self.picture}
        for _ in range(3):
            self.session.run(None, feed)
        times = []
        for _ in range(self.runs):
            begin = time.perf_counter()
            self.session.run(None, feed)
            times.append((time.perf_counter() - begin) * 1e3)
        return statistics.median(times)

    def output(self, name, picture, _folder):
        """The output of this name."""
        return self.session.run([name], {self.input.name: picture})[0]


def random_picture(shape):
    generator = numpy.random.default_rng(1)
    return generator.standard_normal(shape).astype(numpy.float32)


class Model(NamedTuple):
    """What is measured."""

    name: str
    path: str
    # As --input-shape takes it; empty where the model says it.
    input_shape: str
    # What goes in; random where there is none.
    picture: numpy.ndarray | None


def of_index(path):
    """The networks of an index that tests/models/networks.py has written."""
    folder = os.path.dirname(path)
    with open(path, encoding="utf-8") as index:
        for row in index.read().splitlines()[1:]:
            name, *_, shape = row.split("\t")
            picture = numpy.load(f"{folder}/{name}/input.npy")
            yield Model(name, f"{folder}/{name}/model.onnx", shape, picture)


def contestants(arguments, model, folder):
    fused, plain = f"{folder}/fused.strand", f"{folder}/plain.strand"
    emitted = f"{folder}/fused.onnx"
    shape = ["--input-shape", model.input_shape] if model.input_shape else []
    unbraid(arguments, "convert", model.path, *shape, "-o", fused, "--emit-onnx", emitted)
    unbraid(arguments, "convert", model.path, *shape, "-o", plain, "--no-fuse")
    picture = model.picture
    if picture is None and shape:
        picture = random_picture([int(n) for n in model.input_shape.rpartition("=")[2].split(",")])
    return {
        "fused": (Strand(arguments, fused), Onnxruntime(arguments, emitted, picture)),
        "unfused": (Strand(arguments, plain), Onnxruntime(arguments, model.path, picture)),
    }


def check(model, sides, folder):
    """Largest difference of all contestants to unfused onnxruntime, in its first output."""
    peer = sides["unfused"][1]
    output = peer.session.get_outputs()[0].name
    truth = peer.output(output, peer.picture, folder)
    errors = {}
    for name, pair in sides.items():
        for side in pair:
            error = abs(side.output(output, peer.picture, folder) - truth).max() / abs(truth).max()
            label = f"{name}, {type(side).__name__.lower()}"
            errors[label] = error
            if not error < 1e-4:
                sys.exit(f"{model.name}: {label} computes another function ({error:.1e}): nothing to measure")
    return max(errors.values())


def measure(arguments, model):
    """Prints the rows of one model."""
    with tempfile.TemporaryDirectory() as folder:
        sides = contestants(arguments, model, folder)
        error = check(model, sides, folder)
        times = {name: ([], []) for name in sides}
        for _ in range(arguments.rounds):
            for name, pair in sides.items():
                for side, series in zip(pair, times[name]):
                    series.append(side.milliseconds())
    for name, (ours, theirs) in times.items():
        ratios = [our / their for our, their in zip(ours, theirs)]
        print(f"{model.name:18}  {name:8}  {error:9.1e}  {statistics.median(ours):10.3f}  "
              f"{statistics.median(theirs):14.3f}  {statistics.median(ratios):5.2f} "
              f"({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help="a trained multi-branch model, ONNX")
    parser.add_argument("--index", help="measure every network of this index instead")
    parser.add_argument("--input-shape", default="", help="NAME=1,3,224,224, where the model leaves it open")
    parser.add_argument("--unbraid", default="target/release/unbraid", help="the program")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=20, help="inferences a round and contestant")
    arguments = parser.parse_args()
    if (arguments.model is None) == (arguments.index is None):
        parser.error("a MODEL.onnx or an --index")
    if not os.access(arguments.unbraid, os.X_OK):
        sys.exit(f"no program {arguments.unbraid}: cargo build --release --bin unbraid")
    print(f"{'model':18}  {'':8}  max|d|/|y|  unbraid ms  onnxruntime ms  ratio (range)")
    if arguments.index:
        models = of_index(arguments.index)
    else:
        stem = os.path.splitext(os.path.basename(arguments.model))[0]
        models = [Model(stem, arguments.model, arguments.input_shape, None)]
    for model in models:
        measure(arguments, model)


if __name__ == "__main__":
    main()
