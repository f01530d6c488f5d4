"""The SavedModel: signatures and names, both loaders and the command line tool, warm-up, nothing stored twice."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.tools import saved_model_cli
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from expnet_tf.export import savedmodel, warmup
from expnet_tf.export.bundle import ExportResult
from expnet_tf.morphable import open_face
from expnet_tf.network import ExpNet, ModelInfo

N = open_face().n_vertices


@pytest.fixture(scope="module")
def folder(exported: ExportResult) -> Path:
    return exported.written["savedmodel"]


@pytest.fixture(scope="module")
def loaded(folder: Path):
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def heads(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    return {head: keras.ops.convert_to_numpy(value) for head, value in model(images, training=False).items()}


def meta_graph(folder: Path):
    (graph,) = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    return graph


def test_contract(folder: Path) -> None:
    graph = meta_graph(folder)
    assert list(graph.meta_info_def.tags) == ["serve"]
    found = {
        signature: {
            name: (tensor.name, [dim.size for dim in tensor.tensor_shape.dim])
            for tensors in (graph.signature_def[signature].inputs, graph.signature_def[signature].outputs)
            for name, tensor in tensors.items()
        }
        for signature in ("serving_default", "decode")
    }
    assert found == {
        "serving_default": {
            "image": ("image:0", [-1, 32, 32, 3]),
            "expression": ("expression:0", [-1, 29]),
            "identity": ("identity:0", [-1, 99]),
            "pose": ("pose:0", [-1, 6]),
        },
        "decode": {
            "image": ("decode_image:0", [-1, 32, 32, 3]),
            "vertices": ("vertices:0", [-1, N, 3]),
            "blendshapes": ("blendshapes:0", [-1, 52]),
        },
    }


def test_weights_are_stored_once(folder: Path, model: keras.Model) -> None:
    stored = tf.train.list_variables(str(folder / "variables" / "variables"))
    weights = [tuple(shape) for name, shape in stored if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    face = [(N, 3), (128, 3 * N), (29, 52)]
    assert sorted(weights) == sorted([*(tuple(w.shape) for w in model.weights), *face])
    functions = meta_graph(folder).graph_def.library.function
    constants = [node for function in functions for node in function.node_def if node.op == "Const"]
    assert max(node.ByteSize() for node in constants) < 32 * 32 * 3 * 4  # no second mean image, no second basis


def check_decoded(outputs: dict[str, np.ndarray], heads: dict[str, np.ndarray]) -> None:
    face = open_face()
    assert outputs["vertices"].dtype == outputs["blendshapes"].dtype == np.float32
    vertices = face.decode(heads["identity"], heads["expression"])
    assert np.abs(outputs["vertices"] - vertices).max() < 0.01  # mm
    np.testing.assert_allclose(outputs["blendshapes"], face.blendshapes(heads["expression"]), atol=1e-4)


def test_decode(loaded, images: np.ndarray, heads: dict[str, np.ndarray]) -> None:
    outputs = loaded.signatures["decode"](image=tf.constant(images))
    check_decoded({name: value.numpy() for name, value in outputs.items()}, heads)


def test_session_loader(folder: Path, images: np.ndarray, heads: dict[str, np.ndarray]) -> None:
    """As TensorFlow Serving loads it, with the names that a caller of a Session has to type."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.saved_model.loader.load(session, ["serve"], str(folder))
        fetches = {name: f"{name}:0" for name in ("vertices", "blendshapes")}
        check_decoded(session.run(fetches, {"decode_image:0": images}), heads)
        outputs = session.run({head: f"{head}:0" for head in heads}, {"image:0": images})
    for head, value in outputs.items():
        np.testing.assert_allclose(value, heads[head], atol=1e-4, rtol=1e-5)


@pytest.fixture
def tool() -> Callable[..., None]:
    """saved_model_cli in this process, flags and all: starting it takes as long as starting TensorFlow."""

    def run(command: Callable[[], None], **options: str) -> None:
        flags.FLAGS.mark_as_parsed()
        with flagsaver.flagsaver(tag_set="serve", signature_def="decode", **options):
            command()

    return run


def test_command_line_tool_shows(tool, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool(saved_model_cli.show, dir=str(folder))
    text = capsys.readouterr().out
    assert "inputs['image'] tensor_info:\n      dtype: DT_UINT8\n      shape: (-1, 32, 32, 3)" in text
    assert f"outputs['vertices'] tensor_info:\n      dtype: DT_FLOAT\n      shape: (-1, {N}, 3)" in text
    assert "name: vertices:0" in text
    assert "tensorflow/serving/predict" in text


def test_command_line_tool_runs(
    tool, folder: Path, images: np.ndarray, heads: dict[str, np.ndarray], tmp_path: Path
) -> None:
    np.save(tmp_path / "faces.npy", images)
    tool(saved_model_cli.run, dir=str(folder), inputs=f"image={tmp_path / 'faces.npy'}", outdir=str(tmp_path))
    check_decoded({name: np.load(tmp_path / f"{name}.npy") for name in ("vertices", "blendshapes")}, heads)


def test_warm_up_requests_replay(folder: Path, loaded) -> None:
    seen = []
    for record in tf.data.TFRecordDataset(str(folder / warmup.FILE)).as_numpy_iterator():
        request = PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "toy"
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        signature = loaded.signatures[request.model_spec.signature_name]
        outputs = signature(**inputs)
        seen.append((request.model_spec.signature_name, len(next(iter(outputs.values())))))
    assert seen == [(name, batch) for name in ("serving_default", "decode") for batch in (1, 4, 16, 32)]
    assert (folder / warmup.FILE).stat().st_size < 1000  # the pixels are one value, stored once


def test_without_the_messages_there_is_no_warm_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis.prediction_log_pb2", None)
    with caplog.at_level(logging.WARNING):
        warmup.write(tmp_path, "toy", [("serving_default", {"image": warmup.filled(0, tf.uint8, [1, 2, 2, 3])})])
    assert "pip install 'expnet_tf[serving]'" in caplog.text
    assert not list(tmp_path.iterdir())


def test_no_expression_no_decode(tmp_path: Path) -> None:
    info = ModelInfo("pose", "1", "compact", 32, 1.5, ("pose",), "none", "Apache-2.0")
    savedmodel.write(ExpNet(heads=("pose",), size=32), info, tmp_path / "savedmodel")
    signatures = meta_graph(tmp_path / "savedmodel").signature_def
    assert set(signatures) - {"__saved_model_init_op"} == {"serving_default"}
    assert list(signatures["serving_default"].outputs) == ["pose"]
