#!/usr/bin/python3
"""Train the small vision nets that Unbraid's tests convert, and export them to ONNX.

Unbraid fuses multi-branch nets into plain conv nets.  A net with random weights
would prove the algebra but not the claim that matters: that the *accuracy* of a
trained net survives.  So this script trains nets on Fashion-MNIST with
fixed seeds and writes next to itself

    <net>_eval.onnx       default torch export of the eval-mode net (the exporter
                          itself folds each BatchNormalization that directly
                          follows a Conv; identity-branch BNs stay)
    <net>_preserve.onnx   the same net with Conv and BatchNormalization kept apart
    models.json           seeds, accuracies, hashes, and reference logits
    ankle_boot.png        the first test picture, for the README's example

The nets take a normalised picture, x = (pixel - 72.94) / 90.02 with pixel in
0..255, as "input" [1,1,28,28], and give "logits" [1,10].

It needs only Debian packages: python3-torch, python3-numpy and
dataset-fashion-mnist.  The tests never run it; the files it makes are committed.
"""

import argparse
import gzip
import hashlib
import json
import os
import struct
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Callable, NamedTuple

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # idle threads must not spin; read when torch loads

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from modules import (ACBlock, DiverseBranchBlock, EdgeBlock, MobileOneBlock, QARepVGGBlock,
                     RepMLP, RepVGGBlock, conv_bn)

DATA = Path("/usr/share/datasets/fashion-mnist")
LABELS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
          "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
MEAN, STD = 72.94, 90.02
BATCH = 128
MAX_SHIFT = 1  # pixels; training pictures are moved by up to this much each way
PRESERVE_OPSET = 13
MAX_FILE = 1_500_000


# ---------------------------------------------------------------- the nets

def head(channels):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, len(LABELS))]


# cout, stride, groups
REPVGG_LAYERS = [(16, 1, 1), (16, 1, 2), (32, 2, 1), (32, 1, 4),
                 (64, 2, 2), (64, 1, 1), (128, 1, 4)]


def repvgg():
    layers, cin = [], 1
    for cout, stride, groups in REPVGG_LAYERS:
        layers.append(RepVGGBlock(cin, cout, stride, groups))
        cin = cout
    return nn.Sequential(*layers, *head(cin))


def mobileone():
    layers, cin = [MobileOneBlock(1, 16, 3)], 16
    # cout, stride of the depthwise half
    for cout, stride in [(32, 2), (32, 1), (64, 1), (64, 2), (128, 1)]:
        layers.append(MobileOneBlock(cin, cin, 3, stride, groups=cin))
        layers.append(MobileOneBlock(cin, cout, 1))
        cin = cout
    return nn.Sequential(*layers, *head(cin))


def plain():
    """RepVGG's widths without branches; its first down-sampling is a MaxPool."""
    layers, cin, pooled = [], 1, False
    for cout, stride, _ in REPVGG_LAYERS:
        if stride == 2 and not pooled:
            layers.append(nn.MaxPool2d(2))
            stride, pooled = 1, True
        layers += [conv_bn(cin, cout, 3, stride), nn.ReLU()]
        cin = cout
    return nn.Sequential(*layers, *head(cin))


def dbb():
    # cout, kernel, stride, groups; the fourth is depthwise
    layers, cin = [], 1
    for cout, kernel, stride, groups in [(16, 3, 2, 1), (16, 5, 1, 1), (32, 3, 2, 2),
                                         (32, 3, 1, 32), (64, 3, 1, 2)]:
        layers.append(DiverseBranchBlock(cin, cout, kernel, stride, groups))
        cin = cout
    return nn.Sequential(*layers, *head(cin))


def acnet():
    # cout, kernel, padding, stride; padding below kernel // 2 crops
    layers, cin = [], 1
    for cout, kernel, padding, stride in [(16, 3, 1, 2), (16, 3, 1, 1), (32, 5, 2, 2),
                                          (32, 3, 1, 1), (64, 3, 0, 1)]:
        layers.append(ACBlock(cin, cout, kernel, padding, stride))
        cin = cout
    return nn.Sequential(*layers, *head(cin))


def qarepvgg():
    layers, cin = [], 1
    for cout, stride, groups in [(16, 2, 1), (16, 1, 1), (32, 2, 1), (32, 1, 4), (64, 1, 2)]:
        layers.append(QARepVGGBlock(cin, cout, stride, groups))
        cin = cout
    return nn.Sequential(*layers, *head(cin))


def repmlp():
    """On 14x14 in four patches with a global perceptron, then on 7x7 in one without."""
    return nn.Sequential(
        conv_bn(1, 16, 3, 2), nn.ReLU(), conv_bn(16, 8, 1), nn.ReLU(),
        RepMLP(8, 16, size=14, patch=7, groups=4, kernels=(1, 3, 5)), nn.ReLU(),
        conv_bn(16, 32, 3, 2), nn.ReLU(),
        RepMLP(32, 32, size=7, patch=7, groups=16, kernels=(1, 3)), nn.ReLU(),
        conv_bn(32, 64, 1), nn.ReLU(), *head(64))


def ecb():
    return nn.Sequential(
        EdgeBlock(1, 8), nn.MaxPool2d(2), EdgeBlock(8, 16), EdgeBlock(16, 16), nn.MaxPool2d(2),
        EdgeBlock(16, 32), *head(32))


class Net(NamedTuple):
    build: Callable[[], nn.Module]
    seed: int
    eval_opset: int = 17
    max_lr: float = 0.2
    threads: int = 1  # fixed, because the order of float sums depends on it


NETS = {
    "repvgg": Net(repvgg, 11, eval_opset=13, threads=2),
    "mobileone": Net(mobileone, 12, eval_opset=13, threads=2),
    "plain": Net(plain, 13, eval_opset=13, threads=2),
    "dbb": Net(dbb, 14),
    "acnet": Net(acnet, 15),
    "qarepvgg": Net(qarepvgg, 16),
    "repmlp": Net(repmlp, 17),
    "ecb": Net(ecb, 18, max_lr=0.05),  # nothing normalises inside it
}


# ---------------------------------------------------------------- the data

def read_idx(name):
    """A gzipped IDX file of unsigned bytes as a numpy array."""
    raw = gzip.decompress((DATA / name).read_bytes())
    _, kind, ndim = struct.unpack(">HBB", raw[:4])
    if kind != 8:
        raise ValueError(f"{name}: IDX element type {kind}, expected unsigned bytes (8)")
    shape = struct.unpack(f">{ndim}I", raw[4:4 + 4 * ndim])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * ndim).reshape(shape)


def load(part):
    """(pictures uint8 [N,28,28], labels int64 [N]) of part "train" or "t10k"."""
    pictures = torch.from_numpy(read_idx(f"{part}-images-idx3-ubyte.gz").copy())
    labels = torch.from_numpy(read_idx(f"{part}-labels-idx1-ubyte.gz").astype(np.int64))
    return pictures, labels


def normalise(pictures):
    """uint8 [N,28,28] -> float32 [N,1,28,28]."""
    return ((pictures.float() - MEAN) / STD).unsqueeze(1)


def augment(pictures):
    """Flip and shift each picture at random; what moves in is black (0)."""
    n, height, width = pictures.shape
    padded = F.pad(pictures, [MAX_SHIFT] * 4)
    dy, dx = torch.randint(0, 2 * MAX_SHIFT + 1, (2, n, 1))
    flip = torch.rand(n, 1) < 0.5
    rows = torch.arange(height) + dy
    cols = torch.where(flip, width - 1 - torch.arange(width), torch.arange(width)) + dx
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], cols[:, None, :]]


# ---------------------------------------------------------------- training

def log(text):
    print(text, file=sys.stderr, flush=True)


def train(name, net, max_lr, pictures, labels, epochs, max_batches):
    net.train().to(memory_format=torch.channels_last)
    steps = min(len(labels) // BATCH, max_batches or len(labels))
    optimiser = torch.optim.SGD(net.parameters(), lr=max_lr, momentum=0.9,
                                nesterov=True, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr, total_steps=steps * epochs)
    for epoch in range(epochs):
        start, total = time.monotonic(), 0.0
        order = torch.randperm(len(labels))
        for step in range(steps):
            pick = order[step * BATCH:(step + 1) * BATCH]
            x = normalise(augment(pictures[pick]))
            loss = F.cross_entropy(net(x.to(memory_format=torch.channels_last)), labels[pick])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
            if (step + 1) % 100 == 0:
                log(f"{name}: epoch {epoch + 1}/{epochs} step {step + 1}/{steps} "
                    f"loss {total / (step + 1):.4f} {time.monotonic() - start:.0f} s")
        log(f"{name}: epoch {epoch + 1}/{epochs} loss {total / steps:.4f} "
            f"in {time.monotonic() - start:.0f} s")
    return net.eval().to(memory_format=torch.contiguous_format)


@torch.no_grad()
def count_correct(net, pictures, labels):
    return sum(int((net(normalise(x)).argmax(1) == y).sum())
               for x, y in zip(pictures.split(500), labels.split(500)))


@torch.no_grad()
def logits_of(net, pictures):
    """Logits as float32, one picture at a time as the exported nets take them."""
    return [net(normalise(p[None]))[0].tolist() for p in pictures]


# ---------------------------------------------------------------- export

def export(net, path, **options):
    torch.onnx.export(net, torch.zeros(1, 1, 28, 28), str(path), input_names=["input"],
                      output_names=["logits"], **options)


def varint(buf, pos):
    value = shift = 0
    while True:
        byte = buf[pos]
        value |= (byte & 127) << shift
        pos, shift = pos + 1, shift + 7
        if byte < 128:
            return value, pos


def fields(buf):
    """(number, value) of each field of a protobuf message; enough to read ONNX nodes."""
    pos = 0
    while pos < len(buf):
        tag, pos = varint(buf, pos)
        wire = tag & 7
        if wire == 0:
            value, pos = varint(buf, pos)
        else:
            size, pos = varint(buf, pos) if wire == 2 else ({1: 8, 5: 4}[wire], pos)
            value, pos = buf[pos:pos + size], pos + size
        yield tag >> 3, value


def count_ops(model):
    """Nodes by op type of a serialised ONNX model; raises if one is in training mode."""
    ops = Counter()
    graph = dict(fields(model))[7]  # ModelProto.graph
    for node in (value for number, value in fields(graph) if number == 1):
        for number, value in fields(node):
            if number == 4:  # NodeProto.op_type
                ops[value.decode()] += 1
            elif number == 5:  # NodeProto.attribute
                attribute = dict(fields(value))
                if attribute[1] == b"training_mode" and attribute.get(3, 0) != 0:
                    raise RuntimeError("a node was exported in training mode")
    if "Dropout" in ops:
        raise RuntimeError("a Dropout node was exported")
    return dict(sorted(ops.items()))


def describe(path):
    data = path.read_bytes()
    if len(data) >= MAX_FILE:
        raise RuntimeError(f"{path} has {len(data)} bytes, more than the {MAX_FILE} allowed")
    return {"file": path.name, "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(), "ops": count_ops(data)}


def make(name, epochs, max_batches, out, training, test):
    """Train one net, write its ONNX files, and return its entry for models.json."""
    build, seed, eval_opset, max_lr, threads = NETS[name]
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    net = train(name, build(), max_lr, *training, epochs, max_batches)
    correct = count_correct(net, *test)
    log(f"{name}: {correct} of {len(test[1])} test pictures correct")

    eval_file, preserve_file = out / f"{name}_eval.onnx", out / f"{name}_preserve.onnx"
    export(net, eval_file, opset_version=eval_opset)
    export(net, preserve_file, opset_version=PRESERVE_OPSET, training=torch.onnx.TrainingMode.PRESERVE,
           do_constant_folding=False)
    return {
        "seed": seed,
        "epochs": epochs,
        "parameters": sum(p.numel() for p in net.parameters()),
        "test_correct": correct,
        "test_accuracy": correct / len(test[1]),
        "eval": describe(eval_file),
        "preserve": describe(preserve_file),
        "logits_first_4_test": logits_of(net, test[0][:4]),
    }


# ---------------------------------------------------------------- the picture

def write_png(path, grey):
    """Write a uint8 [H,W] array as an 8-bit grey PNG."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width = grey.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in grey)  # filter type 0 on each row
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                     + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


# ---------------------------------------------------------------- main

def write_json(path, entries, test):
    pictures, labels = test
    path.write_text(json.dumps({
        "data_set": "Fashion-MNIST",
        "torch": torch.__version__,
        "normalise": {"mean": MEAN, "std": STD},
        "labels": LABELS,
        "test_pictures": len(labels),
        "labels_first_4_test": labels[:4].tolist(),
        "picture": {"file": "ankle_boot.png", "test_index": 0, "label": int(labels[0])},
        "nets": {name: entries[name] for name in NETS if name in entries},
    }, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=NETS, metavar="NET",
                        help=f"make this net alone ({', '.join(NETS)})")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--max-batches", type=int, metavar="N",
                        help="stop each epoch after N batches (to try the script out)")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    args = parser.parse_args()

    torch.use_deterministic_algorithms(True)
    args.out.mkdir(parents=True, exist_ok=True)
    training, test = load("train"), load("t10k")
    write_png(args.out / "ankle_boot.png", test[0][0].numpy())

    summary = args.out / "models.json"
    entries = json.loads(summary.read_text())["nets"] if summary.exists() else {}
    for name in [args.only] if args.only else NETS:
        entries[name] = make(name, args.epochs, args.max_batches, args.out, training, test)
        write_json(summary, entries, test)


if __name__ == "__main__":
    main()
