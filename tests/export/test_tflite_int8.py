"""The eight-bit TFLite files: what is an integer, what is not, and how large they are."""

from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from expnet_tf.export.bundle import ExportResult

OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
TYPES = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}


def weights(path: Path) -> dict[str, list[tuple[str, int]]]:
    """{operator: (type, number of scales) of the second input, for each} of a .tflite file."""
    record = flatbuffer_utils.read_model(str(path))
    (graph,) = record.subgraphs
    found: dict[str, list[tuple[str, int]]] = {}
    for operator in graph.operators:
        code = record.operatorCodes[operator.opcodeIndex]
        kind = OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if kind in ("CONV_2D", "FULLY_CONNECTED"):
            tensor = graph.tensors[operator.inputs[1]]
            scale = tensor.quantization.scale if tensor.quantization else None
            scales = 0 if scale is None else len(scale)
            found.setdefault(kind, []).append((TYPES[tensor.type], scales))
    return found


def activations(path: Path) -> Counter:
    """How often each type occurs among the outputs of convolutions."""
    record = flatbuffer_utils.read_model(str(path))
    (graph,) = record.subgraphs
    kinds = [(OPERATORS[max(record.operatorCodes[o.opcodeIndex].builtinCode,
                            record.operatorCodes[o.opcodeIndex].deprecatedBuiltinCode)], o) for o in graph.operators]  # fmt: skip
    return Counter(TYPES[graph.tensors[o.outputs[0]].type] for kind, o in kinds if kind == "CONV_2D")


@pytest.mark.parametrize(("name", "activation"), [("tflite-dynamic", "FLOAT32"), ("tflite-int8", "INT8")])
def test_types(exported: ExportResult, name: str, activation: str) -> None:
    path = exported.written[name]
    found = weights(path)
    assert len(found["CONV_2D"]) == 19
    assert len(found["FULLY_CONNECTED"]) == 3
    assert all(kind == "INT8" and scales > 1 for part in found.values() for kind, scales in part)  # a channel each
    assert set(activations(path)) == {activation}


@pytest.mark.parametrize("name", ["tflite-dynamic", "tflite-int8"])
def test_a_quarter_of_the_bytes(exported: ExportResult, name: str) -> None:
    assert exported.written[name].stat().st_size * 3.5 < exported.written["tflite"].stat().st_size


def test_int8_is_near_the_model(exported: ExportResult, model: keras.Model, images: np.ndarray) -> None:
    """Eight bits lose about a hundredth of what the answers differ by from face to face, the pose no more."""
    run = Interpreter(str(exported.written["tflite-int8"])).get_signature_runner("serving_default")
    outputs, expected = run(image=images), model(images)
    for head, value in outputs.items():
        answer = keras.ops.convert_to_numpy(expected[head])
        assert np.abs(value - answer).mean() < 0.1 * answer.std(axis=0).mean()
    assert np.abs(outputs["expression"] - keras.ops.convert_to_numpy(expected["expression"])).max() > 0
