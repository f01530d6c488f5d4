"""Names of models, and what a wrong name is answered."""

import hashlib
from pathlib import Path

import pytest

from expnet_tf.models import ASSETS, DEFAULT, parameters, resolve, sha256, shipped
from expnet_tf.network import DEFAULT_HEADS, ExpNet, ModelError, load_model


def test_shipped_model_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compact").write_text("a file of this name does not hide the model")
    monkeypatch.chdir(tmp_path)
    assert resolve("compact") == ASSETS / "compact.keras"
    assert {"compact", DEFAULT} <= set(shipped())


def test_path_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.keras"
    path.touch()
    assert resolve(path) == path
    assert resolve(str(path)) == path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet101", "weights of resnet101 do not ship.*`expnet train --backbone resnet101 "),
        ("rasnet", r"no model 'rasnet'; a \.keras file or a shipped model \(.*compact.*\)"),
        ("no/such.keras", r"no/such\.keras does not exist; .*shipped model"),
        (".", r"\. is no plain file; a \.keras file"),
        ("", "no plain file"),
    ],
)
def test_unknown_model(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        resolve(name)


def test_parameters_are_counted_without_building() -> None:
    for name, path in shipped().items():
        assert parameters(path) == load_model(path).count_params()
        assert parameters(path) == ExpNet(name, (*DEFAULT_HEADS, "quality")).count_params()


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 1000)
    assert sha256(tmp_path / "file") == hashlib.sha256(b"abc" * 1000).hexdigest()
