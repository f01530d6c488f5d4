"""Packed folders: what is not whole, or not what was packed, is refused in one sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from expnet_tf.data.pack import pack
from expnet_tf.data.pack_plan import Options
from expnet_tf.data.packed import RecordError, open_packed


@pytest.fixture(scope="module")
def folder(faces, tmp_path_factory) -> Path:
    """9 + 3 images, in three training shards."""
    out = tmp_path_factory.mktemp("packed")
    pack([faces], out, Options(size=48, validation_share=0.25, per_shard=4), workers=1)
    return out


@pytest.fixture
def damaged(folder, tmp_path) -> Path:
    return shutil.copytree(folder, tmp_path / "damaged")


def without_sums(folder: Path) -> None:
    """As a folder that was packed before the manifest had them."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_what_is_no_packed_folder_is_refused_in_one_sentence(damaged, tmp_path):
    with pytest.raises(RecordError, match=r"nowhere/manifest\.json does not exist \(no such folder\)"):
        open_packed(tmp_path / "nowhere")
    with pytest.raises(RecordError, match=r"expnet pack makes such a folder"):
        open_packed(tmp_path)
    (tmp_path / "train-00000-of-00001.tfrecord").touch()
    with pytest.raises(RecordError, match=r"packing has not ended there; run expnet pack again"):
        open_packed(tmp_path)
    manifest = damaged / "manifest.json"
    text = manifest.read_text()
    for broken, message in [
        ("{", "cannot be read"),
        ("[]", "has the schema None; 'expnet.packed/1' is read"),
        (text.replace("expnet.packed/1", "expnet.packed/9"), "has the schema 'expnet.packed/9'"),
        (text.replace('"camera"', '"kamera"', 1), "lacks or garbles 'camera'"),
    ]:
        manifest.write_text(broken)
        with pytest.raises(RecordError, match=message):
            open_packed(damaged)
    manifest.write_text(text)
    packed = open_packed(damaged)
    with pytest.raises(RecordError, match="has no split 'test'; it has train and validation"):
        packed.places("test")
    shard = packed.shards["train"][2]
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(RecordError, match=rf"00002-of-00003\.tfrecord has {size - 1:,} bytes; the manifest says"):
        open_packed(damaged)
    shard.unlink()
    with pytest.raises(RecordError, match=r"00002-of-00003\.tfrecord is not there"):
        open_packed(damaged)


@pytest.mark.parametrize("name", ["mean_image.npy", "train.index.npy", "validation.index.npy"])
def test_a_flipped_bit_beside_the_shards_is_seen_at_open(damaged, name):
    path = damaged / name
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    with pytest.raises(RecordError, match=rf"{name} is not the file that was packed \(its sha256 differs\)"):
        open_packed(damaged)
    path.unlink()
    with pytest.raises(RecordError, match=rf"{name} cannot be read \(No such file"):
        open_packed(damaged)


def test_the_sums_are_all_there_or_none(damaged):
    manifest = json.loads((damaged / "manifest.json").read_text())
    del manifest["files"]["mean_image.npy"]
    for files, message in [(manifest["files"], "garbles 'mean_image.npy'"), ([], "lacks or garbles"), (3, "garbles")]:
        (damaged / "manifest.json").write_text(json.dumps({**manifest, "files": files}))
        with pytest.raises(RecordError, match=message):
            open_packed(damaged)
    (damaged / "manifest.json").write_text(json.dumps(manifest | {"files": {}}))
    without_sums(damaged)
    assert open_packed(damaged).mean_image().shape == (48, 48, 3)


@pytest.mark.parametrize(
    "place",
    [
        [0, 0, 2**62], [0, 2**62, 100], [0, 2**63 - 1, 2**63 - 1], [0, -1, 100], [0, 0, -1], [0, 2**63 - 1, -(2**63)],
        [2, 2**20, 0],
    ],
)  # fmt: skip
def test_a_record_beyond_its_shard_is_refused(damaged, place):
    """Read as it stands, the first would ask for 4 EiB of memory."""
    without_sums(damaged)
    index = np.load(damaged / "train.index.npy")
    index[7] = place
    np.save(damaged / "train.index.npy", index)
    with pytest.raises(RecordError, match=r"train\.index\.npy: record 7 has [-\d,]+ bytes at byte [-\d,]+ of a shard"):
        open_packed(damaged).places("train")


def test_an_index_or_a_mean_that_does_not_fit_is_refused(damaged):
    without_sums(damaged)
    packed = open_packed(damaged)
    path = damaged / "train.index.npy"
    index = np.load(path)
    for wrong, message in [
        (index[:2], r"has shape \(2, 3\); the manifest says 9 records"),
        (index.astype(float), "the manifest says 9 records"),
        (index + [9, 0, 0], "names shards that are not there"),
    ]:
        np.save(path, wrong)
        with pytest.raises(RecordError, match=message):
            packed.places("train")
    # The header of a file announces more than any memory holds.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": (10**15, 3)})
    with pytest.raises(RecordError, match=r"train\.index\.npy cannot be read"):
        packed.places("train")
    (damaged / "mean_image.npy").write_bytes(b"x")
    with pytest.raises(RecordError, match=r"mean_image\.npy cannot be read"):
        packed.mean_image()
    np.save(damaged / "mean_image.npy", np.zeros((48, 48)))
    with pytest.raises(RecordError, match=r"mean_image\.npy is float64 \(48, 48\)"):
        packed.mean_image()
