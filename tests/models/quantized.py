#!/usr/bin/env python3
"""Quantizes networks with onnxruntime for tests/qdq.rs, with what onnxruntime makes of them.

    python quantized.py FOLDER

For each there is afterwards FOLDER/NAME with model.onnx, input.npy and output.npy, and a row of
FOLDER/index.tsv: name, and scale of the output. Small networks are random; MobileNetV2 is that which
networks.py has fetched into the folder `networks` beside FOLDER.

Needs the packages numpy, onnx and onnxruntime.
"""

import itertools
import pathlib
import sys
import tempfile

import numpy
import onnx
import onnx.version_converter
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
    shape_inference,
)

TYPES = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}


class Net:
    """A network node by node, with random weights."""

    def __init__(self, seed, opset, shape):
        self.random = numpy.random.default_rng(seed)
        self.opset, self.shape = opset, shape
        self.nodes, self.weights = [], []
        self.channels = shape[1]

    def weight(self, shape, scale):
        name = f"w{len(self.weights)}"
        values = self.random.normal(0, scale, shape).astype(numpy.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, op, inputs, **attributes):
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], f"{op}_{output}", **attributes))
        return output

    def conv(self, x, channels, kernel=3, stride=1, groups=1):
        taps = (channels, self.channels // groups, kernel, kernel)
        weight = self.weight(taps, (2 / numpy.prod(taps[1:])) ** 0.5)
        pads = [kernel // 2] * 4
        bias = self.weight((channels,), 0.2)
        self.channels = channels
        return self.node("Conv", [x, weight, bias], group=groups, pads=pads, strides=[stride] * 2,
                         kernel_shape=[kernel] * 2)

    def relu(self, x):
        return self.node("Relu", [x])

    def model(self, output):
        self.nodes[-1].output[0] = "output"
        assert output == f"v{len(self.nodes) - 1}"
        inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, self.shape)]
        outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "net", inputs, outputs, self.weights)
        opset = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=7 if self.opset < 19 else 9)
        return onnx.shape_inference.infer_shapes(model)


def plain(opset):
    """Convolutions, a pool, a dense layer."""
    net = Net(1, opset, [1, 3, 15, 18])
    x = net.relu(net.conv("input", 24, stride=2))
    x = net.relu(net.conv(x, 33))
    x = net.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = net.conv(x, 40, kernel=1)
    x = net.node("GlobalAveragePool", [x])
    x = net.node("Flatten", [x])
    return net.model(net.node("Gemm", [x, net.weight((10, 40), 0.2), net.weight((10,), 0.1)], transB=1))


def branched(opset):
    """Sums, joins, depthwise convolutions, functions, another size."""
    net = Net(2, opset, [1, 3, 14, 14])
    stem = net.relu(net.conv("input", 16))
    x = net.conv(net.relu(net.conv(stem, 16, groups=16)), 16, kernel=1)
    x = net.relu(net.node("Add", [x, stem]))
    y = net.node("Sigmoid", [net.conv(x, 16, kernel=1)])
    x = net.node("Concat", [net.node("Mul", [x, y]), stem], axis=1)
    net.channels = 32
    x = net.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
    return net.model(net.conv(x, 12, kernel=5))


def integers(opset):
    """Only what standard operators do on integers: QLinearConv, MaxPool, QLinearMatMul."""
    net = Net(3, opset, [1, 4, 9, 9])
    x = net.relu(net.conv("input", 20))
    x = net.node("MaxPool", [x], kernel_shape=[3, 3], strides=[3, 3])
    x = net.conv(x, 8, kernel=1)
    return net.model(net.node("MatMul", [x, net.weight((3, 5), 0.5)]))


class Samples(CalibrationDataReader):
    def __init__(self, name, samples):
        self.rows = iter([{name: sample} for sample in samples])

    def get_next(self):
        return next(self.rows, None)


def output_scale(model):
    """Distance of neighbouring values of the output; 0 where it is not rounded."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    made = {output: node for node in model.graph.node for output in node.output}
    last = made[model.graph.output[0].name]
    return float(constants[last.input[1]]) if last.op_type == "DequantizeLinear" else 0.0


def quantize(folder, name, model, samples, **options):
    """Quantizes one model and notes what onnxruntime makes of the first sample."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    port = model.graph.input[0].name
    with tempfile.TemporaryDirectory() as scratch:
        source = f"{scratch}/float.onnx"
        onnx.save(model, source)
        quantize_static(source, place / "model.onnx", Samples(port, samples), **options)
    session = onnxruntime.InferenceSession(place / "model.onnx", providers=["CPUExecutionProvider"])
    [output] = session.run(None, {port: samples[0]})
    numpy.save(place / "input.npy", samples[0])
    numpy.save(place / "output.npy", output)
    return f"{name}\t{output_scale(onnx.load(place / 'model.onnx'))!r}"


def small(folder):
    rows = []
    random = numpy.random.default_rng(7)
    for network, opset, per_channel, activations, weights in [
        *((net, 13, *rest) for net in (plain, branched)
          for rest in itertools.product((False, True), ("u8", "s8"), ("s8",))),
        (plain, 11, False, "u8", "s8"),
        (plain, 13, False, "u8", "u8"),
        (branched, 19, True, "u8", "s8"),
        (plain, 21, True, "s8", "s8"),
    ]:
        model = network(opset)
        shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
        samples = [random.normal(0, 1, shape).astype(numpy.float32) for _ in range(16)]
        scales = "channel" if per_channel else "tensor"
        name = f"{network.__name__}-{opset}-{scales}-{activations}{weights}"
        rows.append(quantize(
            folder, name, model, samples, quant_format=QuantFormat.QDQ, per_channel=per_channel,
            activation_type=TYPES[activations], weight_type=TYPES[weights],
            extra_options={"WeightSymmetric": True},
        ))
    for activations in TYPES:
        model = integers(13)
        samples = [random.normal(0, 1, (1, 4, 9, 9)).astype(numpy.float32) for _ in range(16)]
        rows.append(quantize(
            folder, f"integers-{activations}", model, samples, quant_format=QuantFormat.QOperator,
            per_channel=True, activation_type=TYPES[activations], weight_type=QuantType.QInt8,
            extra_options={"WeightSymmetric": True},
        ))
    return rows


def real(folder, name):
    """A network from a package, prepared as onnxruntime recommends, calibrated on shades of its picture."""
    fetched = folder.parent / "networks" / name
    sample = numpy.load(fetched / "input.npy")
    random = numpy.random.default_rng(9)
    with tempfile.TemporaryDirectory() as scratch:
        prepared = f"{scratch}/prepared.onnx"
        shape_inference.quant_pre_process(fetched / "model.onnx", prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
    # A scale a channel is not in older operators.
    model = onnx.version_converter.convert_version(model, max(13, model.opset_import[0].version))
    noise = [sample * random.uniform(0.6, 1.3) for _ in range(7)]
    samples = [sample, *(values.astype(numpy.float32) for values in noise)]
    return quantize(
        folder, name, model, samples, quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )


def main():
    folder = pathlib.Path(sys.argv[1])
    rows = [*small(folder), real(folder, "mobilenet_v2")]
    (folder / "index.tsv").write_text("".join(f"{row}\n" for row in rows))


main()
