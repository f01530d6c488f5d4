from pathlib import Path

import pytest

from expnet_tf.files import write_whole


def test_write_whole_replaces_or_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ("x" * 250)
    write_whole(path, b"first")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"second")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(path.name, b"first")]
