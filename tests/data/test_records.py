"""Reading packed folders: both paths alike to the bit, orders given by (seed, epoch), damage named."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from expnet_tf.data.pack import pack
from expnet_tf.data.pack_plan import Options
from expnet_tf.data.packed import index_name, open_packed
from expnet_tf.data.records import (
    WIDTHS,
    RecordError,
    Records,
    batches,
    dataset,
    plain_batches,
    read_plain,
)
from expnet_tf.data.tfrecord import decode_example, encode_example, frame


@pytest.fixture(scope="module")
def folder(faces, tmp_path_factory) -> Path:
    """Crops at 1.6 of 9 + 3 images in three training shards: JPEGs of our own writing (4:4:4)."""
    out = tmp_path_factory.mktemp("packed")
    pack([faces], out, Options(crop="boxes", size=48, validation_share=0.25, per_shard=4), workers=1)
    return out


@pytest.fixture(scope="module")
def whole(faces, tmp_path_factory) -> Path:
    """The renderer's own JPEGs (4:2:0)."""
    out = tmp_path_factory.mktemp("whole")
    pack([faces], out, Options(size=64, validation_share=0.25), workers=1)
    return out


@pytest.fixture
def damaged(folder, tmp_path) -> Path:
    return shutil.copytree(folder, tmp_path / "damaged")


def as_numpy(made) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    return [(image.numpy(), {name: value.numpy() for name, value in values.items()}) for image, values in made]


def same(one, other) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(
        np.array_equal(a, b) and set(x) == set(y) == set(WIDTHS) and all(np.array_equal(x[n], y[n]) for n in x)
        for (a, x), (b, y) in pairs
    )


@pytest.mark.parametrize("name", ["folder", "whole"])
@pytest.mark.parametrize(("split", "seed"), [("train", None), ("train", 7), ("validation", None)])
def test_tensorflow_and_plain_python_read_the_same(request, name, split, seed):
    packed = open_packed(request.getfixturevalue(name))
    ours = list(plain_batches(packed, split, 2, seed=seed, epoch=3))
    theirs = as_numpy(dataset(packed, split, 2, seed=seed, epoch=3))
    assert same(ours, theirs)
    for image, values in theirs:
        assert image.dtype == np.uint8
        assert image.shape[1:] == (packed.size, packed.size, 3)
        assert {n: (v.dtype, v.shape[1:]) for n, v in values.items()} == {n: (np.float32, w) for n, w in WIDTHS.items()}


def test_without_a_seed_all_come_once_in_stored_order(folder):
    packed = open_packed(folder)
    images = np.concatenate([image for image, _ in as_numpy(dataset(packed, "train", 4))])
    stored = [example.image for example in read_plain(packed, "train")]
    assert [len(image) for image, _ in dataset(packed, "train", 4)] == [4, 4, 1]
    np.testing.assert_array_equal(images, stored)
    in_files = [record for path in packed.shards["train"] for record in tf.data.TFRecordDataset(str(path))]
    own = Records(packed, "train")
    assert [record.numpy() for record in in_files] == [own.raw(i) for i in range(9)]


def test_a_seed_and_an_epoch_give_one_permutation():
    orders = {(s, e): np.concatenate(batches(100, 7, s, e)).tolist() for s in (0, 1) for e in (0, 1)}
    assert len({tuple(order) for order in orders.values()}) == 4
    assert all(len(order) == 98 == len(set(order)) for order in orders.values())
    assert np.concatenate(batches(100, 7, 1, 1)).tolist() == orders[1, 1]
    assert np.concatenate(batches(100, 7, None)).tolist() == list(range(100))


@pytest.mark.parametrize("seed", [None, 5])
def test_skipped_batches_leave_the_others_as_they_are(folder, seed):
    packed = open_packed(folder)
    everything = as_numpy(dataset(packed, "train", 2, seed=seed, epoch=1))
    for skip in (1, len(everything) - 1, len(everything) + 1):
        rest = as_numpy(dataset(packed, "train", 2, seed=seed, epoch=1, skip=skip))
        assert same(rest, everything[skip:])
        assert same(plain_batches(packed, "train", 2, seed=seed, epoch=1, skip=skip), everything[skip:])


def test_skipped_batches_are_not_read(damaged):
    """A record that cannot be read does no harm to a run that begins behind it."""
    packed = open_packed(damaged)
    shard = packed.shards["train"][0]
    shard.write_bytes(bytes(shard.stat().st_size))
    assert len(list(dataset(packed, "train", 3, skip=1))) == 2
    with pytest.raises(tf.errors.OpError, match="damaged length"):
        list(dataset(packed, "train", 3))


def test_keras_learns_the_number_of_batches(folder):
    packed = open_packed(folder)
    assert dataset(packed, "train", 2, seed=1).cardinality() == 4
    assert dataset(packed, "train", 2, skip=1).cardinality() == 4
    assert dataset(packed, "train", 2, seed=1).element_spec[0].shape == (2, 48, 48, 3)


def test_overtaking_batches_are_still_all_there(folder):
    packed = open_packed(folder)
    images = [image for image, _ in as_numpy(dataset(packed, "train", 1, deterministic=False))]
    stored = {example.image.tobytes() for example in read_plain(packed, "train")}
    assert {image.tobytes() for image in images} == stored


def test_without_tensorflow(folder):
    """In a process that cannot import it: a JAX or Torch machine."""
    code = """
import sys
sys.modules["tensorflow"] = None
from expnet_tf.data.records import open_packed, plain_batches, read_plain
packed = open_packed(sys.argv[1])
total = sum(int(example.image.sum()) for example in read_plain(packed, "train"))
shapes = [image.shape for image, values in plain_batches(packed, "train", 4, seed=1)]
print(total, shapes)
"""
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, env=environment)
    total = sum(int(example.image.sum()) for example in read_plain(open_packed(folder), "train"))
    assert (done.stdout.strip(), done.returncode) == (f"{total} [(4, 48, 48, 3), (4, 48, 48, 3)]", 0), done.stderr


def test_records_by_number_travel_to_a_worker(folder):
    own = Records(open_packed(folder), "train")
    first = own[0]
    other = pickle.loads(pickle.dumps(own))
    assert len(other) == 9
    np.testing.assert_array_equal(other[0].image, first.image)
    assert (other[0].key, other[0].subject) == (first.key, first.subject) != ("", "")
    assert np.array_equal(own[-1].image, own[8].image)
    with pytest.raises(IndexError):
        own[9]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rewrite(folder: Path, change) -> None:
    """Changes the first training record, with right checksums, index and manifest."""
    packed = open_packed(folder)
    features = decode_example(Records(packed, "train").raw(0))
    change(features)
    shard = packed.shards["train"][0]
    index = np.load(folder / index_name("train"))
    record = frame(encode_example(features))
    shard.write_bytes(shard.read_bytes() + record)
    index[0, 1:] = shard.stat().st_size - len(record), len(record)
    np.save(folder / index_name("train"), index)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["splits"]["train"]["shards"][shard.name]["bytes"] = shard.stat().st_size
    manifest["files"][index_name("train")] = sha256(folder / index_name("train"))
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update(image=b"\xff\xd8 no image"), "has an image that does not decode"),
        (lambda f: f.update(image=b""), "has an image that does not decode"),
        (lambda f: f.pop("image"), "has no image"),
        (lambda f: f.update(pose=np.zeros(5)), "has no pose of 6 numbers"),
        (lambda f: f.pop("points"), "has no points of 136 numbers"),
    ],
)
def test_a_record_that_does_not_fit_is_named(damaged, change, message):
    rewrite(damaged, change)
    where = r"train-00000-of-00003\.tfrecord: the record at byte \d+ \(number 0\)"
    with pytest.raises(RecordError, match=f"{where} {message}"):
        list(read_plain(open_packed(damaged), "train"))
    with pytest.raises(RecordError, match=message):
        list(plain_batches(open_packed(damaged), "train", 3))
    with pytest.raises(tf.errors.OpError):
        list(dataset(open_packed(damaged), "train", 3))


def test_a_flipped_byte_is_seen_by_both_paths(damaged):
    packed = open_packed(damaged)
    shard = packed.shards["train"][1]
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    message = r"train-00001-of-00003\.tfrecord: the record at byte 0 \(number 3\) has a wrong checksum"
    with pytest.raises(RecordError, match=message):
        list(read_plain(packed, "train"))
    with pytest.raises(tf.errors.OpError, match=message):
        list(dataset(packed, "train", 2))


def test_batches_that_cannot_be_are_refused_in_one_sentence(folder):
    packed = open_packed(folder)
    with pytest.raises(RecordError, match="9 records do not fill one batch of 10"):
        dataset(packed, "train", 10, seed=1)
    with pytest.raises(RecordError, match="batch_size 0, skip 0: at least 1 and 0"):
        list(plain_batches(packed, "train", 0))
