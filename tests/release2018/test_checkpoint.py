"""TF1 checkpoints: found, read, and compared with what the network needs, each variable once."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saver_pb2

from expnet_tf.release2018 import ReleaseError
from expnet_tf.release2018.checkpoint import Checkpoint, find

V2, V1 = saver_pb2.SaverDef.V2, saver_pb2.SaverDef.V1
EXPECTED = {"net/conv1/weights": (3, 3, 1, 2), "net/fc1/biases": (2,)}


def save(prefix: Path, values: dict[str, np.ndarray], version: int = V2) -> Path:
    """As the release was written: a graph of variables and TF1's Saver."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        made = [v1.Variable(value, name=name, use_resource=False) for name, value in values.items()]
        session.run(v1.global_variables_initializer())
        v1.train.Saver(made, write_version=version).save(session, str(prefix), write_meta_graph=False)
    return prefix


def some(**more: np.ndarray) -> dict[str, np.ndarray]:
    values = {name: np.arange(np.prod(shape), dtype=np.float32).reshape(shape) for name, shape in EXPECTED.items()}
    return values | more


@pytest.mark.parametrize("version", [V2, V1])
def test_both_formats_of_tf1_are_read(tmp_path: Path, version: int) -> None:
    checkpoint = Checkpoint(find(save(tmp_path / "model.ckpt", some(), version).parent, "model.ckpt"))
    assert checkpoint.check(EXPECTED) == []
    for name, value in some().items():
        np.testing.assert_array_equal(checkpoint.take(name), value)
    assert not checkpoint.untaken


def test_what_training_leaves_is_listed_and_not_needed(tmp_path: Path) -> None:
    more = {
        "net/conv1/weights/Adam": np.zeros((3, 3, 1, 2), np.float32),
        "net/fc1/biases/Momentum": np.zeros(2, np.float32),
        "train/net/fc1/biases/Adam_1": np.zeros(2, np.float32),
        "global_step": np.array(16000, np.int64),
        "costs/beta1_power": np.float32(0.9),
    }
    checkpoint = Checkpoint(save(tmp_path / "model.ckpt", some(**more)))
    assert checkpoint.check(EXPECTED) == sorted(more)
    assert checkpoint.untaken == set(EXPECTED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net/fc1/biases": None}, r"1 missing: net/fc1/biases\."),
        ({"net/fc2/biases": np.zeros(2, np.float32)}, r"1 left over: net/fc2/biases\."),
        ({"net/fc1/biases": np.zeros(3, np.float32)}, r"1 of another shape: net/fc1/biases \[3\] in place of \[2\]\."),
        ({"net/fc1/biases": np.zeros(2, np.int32)}, r"1 no floats: net/fc1/biases int32\."),
        ({"other/fc1/biases/Adagrad_7": np.zeros(2, np.float32)}, "1 left over: other/fc1/biases/Adagrad_7"),
        ({f"net/x{i}": np.float32(i) for i in range(9)}, "9 left over: net/x0, net/x1, net/x2, net/x3 and 5 more"),
    ],
)
def test_other_variables_are_refused_by_name(tmp_path: Path, change: dict, message: str) -> None:
    values = {name: value for name, value in some(**change).items() if value is not None}
    checkpoint = Checkpoint(save(tmp_path / "model.ckpt", values))
    with pytest.raises(ReleaseError, match=rf"model\.ckpt: not this network's 2 variables .*{message}"):
        checkpoint.check(EXPECTED)


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    save(tmp_path / "model.ckpt", some(**{"net/fc1/biases": np.array([0, np.nan], np.float32)}))
    with pytest.raises(ReleaseError, match=r"net/fc1/biases holds values that are not finite\.$"):
        Checkpoint(tmp_path / "model.ckpt").take("net/fc1/biases")


def test_damaged_files(tmp_path: Path) -> None:
    prefix = save(tmp_path / "model.ckpt", some())
    data = prefix.with_name("model.ckpt.data-00000-of-00001")
    data.write_bytes(bytes(len(data.read_bytes())))
    with pytest.raises(ReleaseError, match=r"model\.ckpt: net/fc1/biases cannot be read \("):
        Checkpoint(prefix).take("net/fc1/biases")
    prefix.with_name("model.ckpt.index").write_bytes(b"no checkpoint")
    with pytest.raises(ReleaseError, match=r"^\S+model\.ckpt: not a readable TF1 checkpoint \(.+\)\.$"):
        Checkpoint(prefix)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(ReleaseError, match="not a readable TF1 checkpoint"):
        Checkpoint(find(tmp_path, "model.ckpt"))


def test_where_a_checkpoint_is(tmp_path: Path) -> None:
    one = save(tmp_path / "mine.ckpt", some())
    assert find(tmp_path, "model.ckpt") == one  # the only one, whatever it is called
    assert find(one, "model.ckpt") == one
    assert find(tmp_path / "mine.ckpt.index", "model.ckpt") == one
    save(tmp_path / "other.ckpt", some())
    with pytest.raises(ReleaseError, match=r"model\.ckpt .* is expected; there are mine\.ckpt, other\.ckpt\."):
        find(tmp_path, "model.ckpt")
    assert find(tmp_path, "other.ckpt") == tmp_path / "other.ckpt"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReleaseError, match=r"empty: the checkpoint model\.ckpt .* is expected; there is none\."):
        find(tmp_path / "empty", "model.ckpt")
    with pytest.raises(ReleaseError, match="none does not exist; the release's folder"):
        find(tmp_path / "none", "model.ckpt")
