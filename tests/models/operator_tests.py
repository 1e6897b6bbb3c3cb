"""Writes ONNX's own tests of single operators as files, which tests/operators.rs runs.

    python operator_tests.py FOLDER

The package `onnx` makes these tests: a model of one node, its inputs, and the outputs that the
operator's definition demands. Each becomes FOLDER/CASE/model.onnx with input_0.pb, output_0.pb and
so on, which are TensorProto messages named after the model's inputs and outputs. Tests of functions
taken apart (`_expanded`), of several nodes and of values that are no tensors are left out.
"""

import pathlib
import sys
import warnings

import numpy
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests


def of_one_operator(test):
    """Whether the test runs one node of the standard operators on tensors."""
    graph = test.model.graph
    values = [value for inputs, outputs in test.data_sets for value in [*inputs, *outputs]]
    tensors = all(isinstance(v, (numpy.ndarray, numpy.generic, onnx.TensorProto)) for v in values)
    return "_expanded" not in test.name and len(graph.node) == 1 and not graph.node[0].domain and tensors


def tensor(value, name):
    """The value as a message of this name."""
    if not isinstance(value, onnx.TensorProto):
        return numpy_helper.from_array(numpy.asarray(value), name)
    value.name = name
    return value


def write(test, folder):
    """The model, and the values of its first data set."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(test.model.SerializeToString())
    inputs, outputs = test.data_sets[0]
    graph = test.model.graph
    for kind, infos, values in [("input", graph.input, inputs), ("output", graph.output, outputs)]:
        for index, (info, value) in enumerate(zip(infos, values, strict=True)):
            message = tensor(value, info.name)
            (folder / f"{kind}_{index}.pb").write_bytes(message.SerializeToString())


def main():
    folder = pathlib.Path(sys.argv[1])
    with warnings.catch_warnings():
        # Casts that overflow and quotients by zero are what some of the tests are about.
        warnings.simplefilter("ignore", RuntimeWarning)
        tests = [test for test in load_model_tests(kind="node") if of_one_operator(test)]
    for test in tests:
        write(test, folder / test.name.removeprefix("test_"))
    print(f"{len(tests)} operator tests of onnx {onnx.__version__} in {folder}")


if __name__ == "__main__":
    main()
