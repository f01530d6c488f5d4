"""The eight-bit TFLite files: what is an integer, what is not, and how large they are."""

from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from expnet_tf.data.synth import face_crops
from expnet_tf.export.bundle import ExportResult

OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
TYPES = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}


Layer = tuple[str, str, int, str]  # operator; its weights' type and number of scales; its output's type


def layers(path: Path) -> list[Layer]:
    """The convolutions and matrix products of a .tflite file."""
    record = flatbuffer_utils.read_model(str(path))
    (graph,) = record.subgraphs
    found = []
    for operator in graph.operators:
        code = record.operatorCodes[operator.opcodeIndex]
        kind = OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if kind in ("CONV_2D", "FULLY_CONNECTED"):
            kernel, output = graph.tensors[operator.inputs[1]], graph.tensors[operator.outputs[0]]
            scale = kernel.quantization.scale if kernel.quantization else None
            found.append((kind, TYPES[kernel.type], 0 if scale is None else len(scale), TYPES[output.type]))
    return found


@pytest.mark.parametrize(("name", "activation"), [("tflite-dynamic", "FLOAT32"), ("tflite-int8", "INT8")])
def test_types(exported: ExportResult, name: str, activation: str) -> None:
    found = layers(exported.written[name])
    assert [kind for kind, *_ in found].count("CONV_2D") == 19
    assert [kind for kind, *_ in found].count("FULLY_CONNECTED") == 3
    assert all(weight == "INT8" and scales > 1 for _, weight, scales, _ in found)  # a scale a channel
    # The heads' answers stay float32.
    assert {output for kind, _, _, output in found if kind == "CONV_2D"} == {activation}
    assert {output for kind, _, _, output in found if kind == "FULLY_CONNECTED"} == {"FLOAT32"}


@pytest.mark.parametrize("name", ["tflite-dynamic", "tflite-int8"])
def test_a_quarter_of_the_bytes(exported: ExportResult, name: str) -> None:
    assert exported.written[name].stat().st_size * 3.5 < exported.written["tflite"].stat().st_size


@pytest.mark.parametrize("name", ["tflite-dynamic", "tflite-int8"])
def test_near_the_model(exported: ExportResult, model: keras.Model, name: str) -> None:
    """On rendered faces that the calibration did not see; a random network is worse off than a trained one."""
    faces = face_crops(16, 32, seed=3, factor=1.5)
    run = Interpreter(str(exported.written[name])).get_signature_runner("serving_default")
    outputs, expected = run(image=faces), model(faces)
    for head, value in outputs.items():
        answer = keras.ops.convert_to_numpy(expected[head])
        share = np.abs(value - answer).mean() / answer.std(axis=0).mean()
        assert 1e-4 < share < 0.15, (head, share)
