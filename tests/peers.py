#!/usr/bin/env python3
"""Latency of unbraid against onnxruntime, in alternating rounds on one thread (or --threads N).

    python3 tests/peers.py MODEL.onnx [--rounds 10] [--runs 20] [--unbraid target/release/unbraid]

Four contestants: the model as it is and the model fused, each in unbraid and in onnxruntime. The
fused ONNX that onnxruntime runs is the one that `unbraid convert --emit-onnx` writes; unfused is
`--no-fuse`. Rounds alternate, so that whatever else the machine does hits all alike. Printed are,
over all rounds, the median of the rounds' medians and of the ratios of two neighbouring ones;
before that, that all four compute the same function.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

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

    def outputs(self, picture, folder):
        numpy.save(f"{folder}/in.npy", picture)
        unbraid(self.arguments, "run", self.path, "--input", f"{folder}/in.npy",
                "--output", f"{folder}/out.npy")
        return numpy.load(f"{folder}/out.npy")


class Onnxruntime:
    """A session with default optimisations, measured here."""

    def __init__(self, arguments, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        options.inter_op_num_threads = 1
        # Between rounds the others run: threads that spin would take their cores.
        options.add_session_config_entry("session.intra_op.allow_spinning",
                                         "1" if arguments.threads > 1 else "0")
        options.log_severity_level = 3  # old exporters' files draw pages of warnings
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self.runs = arguments.runs
        self.input = self.session.get_inputs()[0]
        self.shape = arguments.shape or self.input.shape
        self.picture = random_picture(self.shape)

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

    def outputs(self, picture, _folder):
        return self.session.run(None, {self.input.name: picture})[0]


def random_picture(shape):
    generator = numpy.random.default_rng(1)
    return generator.standard_normal(shape).astype(numpy.float32)


def contestants(arguments, folder):
    fused, plain = f"{folder}/fused.strand", f"{folder}/plain.strand"
    emitted = f"{folder}/fused.onnx"
    shape = ["--input-shape", arguments.input_shape] if arguments.input_shape else []
    unbraid(arguments, "convert", arguments.model, *shape, "-o", fused, "--emit-onnx", emitted)
    unbraid(arguments, "convert", arguments.model, *shape, "-o", plain, "--no-fuse")
    return {
        "fused": (Strand(arguments, fused), Onnxruntime(arguments, emitted)),
        "unfused": (Strand(arguments, plain), Onnxruntime(arguments, arguments.model)),
    }


def check(sides, folder):
    """All contestants compute the same function."""
    picture = random_picture(sides["fused"][1].shape)
    truth = sides["unfused"][1].outputs(picture, folder)
    for name, pair in sides.items():
        for side in pair:
            error = abs(side.outputs(picture, folder) - truth).max() / abs(truth).max()
            label = f"{name}, {type(side).__name__.lower()}"
            print(f"max|d|/max|y| to unfused onnxruntime  {label:24} {error:.1e}")
            if not error < 1e-4:
                sys.exit(f"{label} computes another function: nothing to measure")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a trained multi-branch model, ONNX")
    parser.add_argument("--input-shape", help="NAME=1,3,224,224, where the model leaves it open")
    parser.add_argument("--unbraid", default="target/release/unbraid", help="the program")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=20, help="inferences a round and contestant")
    arguments = parser.parse_args()
    lengths = (arguments.input_shape or "").rpartition("=")[2]
    arguments.shape = [int(length) for length in lengths.split(",") if length]
    if not os.access(arguments.unbraid, os.X_OK):
        sys.exit(f"no program {arguments.unbraid}: cargo build --release --bin unbraid")
    with tempfile.TemporaryDirectory() as folder:
        sides = contestants(arguments, folder)
        check(sides, folder)
        times = {name: ([], []) for name in sides}
        for _ in range(arguments.rounds):
            for name, pair in sides.items():
                for side, series in zip(pair, times[name]):
                    series.append(side.milliseconds())
    print(f"\n{'':8}  {'unbraid ms':>10}  {'onnxruntime ms':>14}  ratio (range)")
    for name, (ours, theirs) in times.items():
        ratios = [our / their for our, their in zip(ours, theirs)]
        print(f"{name:8}  {statistics.median(ours):10.3f}  {statistics.median(theirs):14.3f}  "
              f"{statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
