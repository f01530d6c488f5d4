"""Means and spreads out of .npy and .npz files, and nothing out of pickles."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.release2018 import ReleaseError
from expnet_tf.release2018.arrays import read_array


class Payload:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_payload_is_one(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "left")))
    assert (tmp_path / "left").exists()


@pytest.mark.parametrize("kind", ["npy", "npz", "bare"])
def test_pickles_are_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    hostile = np.array([Payload(tmp_path / "left")], object)
    path, name = tmp_path / f"mean.{'npz' if kind == 'npz' else 'npy'}", None
    if kind == "npy":
        np.save(path, hostile, allow_pickle=True)
    elif kind == "npz":
        np.savez(path, mean=hostile)
        name = "mean"
    else:
        path.write_bytes(pickle.dumps({"conv1": Payload(tmp_path / "left")}))  # as PAM_frontal_ALexNet.npy may be
    with pytest.raises(ReleaseError, match=r"^\S+mean\.np.: it holds pickled Python objects, .* never loaded"):
        read_array(path, name, (1,))
    assert not (tmp_path / "left").exists()


def test_arrays_are_read_in_the_shape_that_is_needed(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    np.savez(tmp_path / "labels.npz", flat=values, row=values[None], other=np.zeros(7))
    for name in ("flat", "row"):
        got = read_array(tmp_path / "labels.npz", name, (6,))
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got, values)
    np.save(tmp_path / "mean.npy", values.reshape(1, 2, 3))
    assert read_array(tmp_path / "mean.npy", None, (2, 3)).shape == (2, 3)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (None, None, r"x\.npy: no such file\."),
        (b"", None, r"x\.npy: not a readable \.npy file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), None, r"x\.npy: it holds pickled"),  # numpy takes all else for a pickle
        (np.zeros((3, 2)), None, r"x\.npy has the shape \[3, 2\]; \[2, 3\] is expected\."),
        (np.zeros(6), None, r"x\.npy has the shape \[6\]; \[2, 3\] is expected\."),
        (np.zeros((2, 3), "<U3"), None, r"x\.npy is of type <U3; numbers are expected\."),
        (np.full((2, 3), np.inf), None, r"x\.npy holds values that are not finite\."),
        (np.zeros((2, 3)), "mean", r"x\.npy: not a readable \.npy file \(File is not a zip file\)"),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path: Path, content: object, name: str | None, message: str) -> None:
    path = tmp_path / "x.npy"
    if isinstance(content, np.ndarray):
        np.save(path, content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ReleaseError, match=message):
        read_array(path, name, (2, 3))


def test_archives_are_looked_at_before_they_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    np.savez(path, mean=np.zeros(6), std=np.ones(6))
    with pytest.raises(ReleaseError, match=r"labels\.npz: it has the arrays mean, std; mean_labels is expected\."):
        read_array(path, "mean_labels", (6,))
    with pytest.raises(ReleaseError, match=r"labels\.npz: an archive of arrays; a single array is expected\."):
        read_array(path, None, (6,))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mean.npy", bytes(65 * 2**20))
    with pytest.raises(ReleaseError, match=r"mean unpacks to 68,157,440 bytes; at most 67,108,864 are read\."):
        read_array(path, "mean", (6,))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ReleaseError, match=r"labels\.npz: not a readable \.npz file"):
        read_array(path, "mean", (6,))
