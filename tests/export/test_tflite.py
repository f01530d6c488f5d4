"""The TFLite files: names, free batch size, folded graph, half the bytes in float16."""

import pytest
from ai_edge_litert.interpreter import Interpreter

from expnet_tf.export.bundle import ExportResult


@pytest.mark.parametrize("name", ["tflite", "tflite-fp16", "tflite-dynamic", "tflite-int8"])
def test_contract(exported: ExportResult, name: str) -> None:
    interpreter = Interpreter(str(exported.written[name]))
    (image,) = interpreter.get_input_details()
    assert (image["name"], image["dtype"].__name__, image["shape_signature"].tolist()) == (
        "image",
        "uint8",
        [-1, 32, 32, 3],
    )
    outputs = {o["name"]: o["shape_signature"].tolist() for o in interpreter.get_output_details()}
    assert outputs == {"expression": [-1, 29], "identity": [-1, 99], "pose": [-1, 6]}
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": ["expression", "identity", "pose"]}
    }


def test_float16_halves_the_file(exported: ExportResult) -> None:
    sizes = [exported.written[name].stat().st_size for name in ("tflite", "tflite-fp16")]
    assert sizes[1] < 0.55 * sizes[0]


def test_weights_are_constants(exported: ExportResult) -> None:
    """No variables, and each weight once: the file is little larger than the weights."""
    content = exported.written["tflite"].read_bytes()
    assert b"VarHandle" not in content
    keras_file = exported.directory / "reference.keras"
    assert len(content) < 1.3 * keras_file.stat().st_size
