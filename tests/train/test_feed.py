from dataclasses import replace

import numpy as np
import pytest

from expnet_tf.data.pack import pack
from expnet_tf.data.pack_plan import Options
from expnet_tf.data.records import Records, open_packed
from expnet_tf.train.augment import Jitter
from expnet_tf.train.config import JobError, TrainingError, modern, paper
from expnet_tf.train.feed import Feed, mean_crop, open_all
from expnet_tf.train.looks import Looks

TARGETS = ("expression", "pose", "seen")


@pytest.fixture(scope="module")
def feed(packed):
    return Feed([open_packed(packed)], "train", 32, 1.25, TARGETS, 4, seed=5, jitter=Jitter(), looks=Looks())


def same(a, b):
    assert len(a) == len(b)
    for (images, targets), (others, their) in zip(a, b, strict=True):
        np.testing.assert_array_equal(images, others)
        assert targets.keys() == their.keys()
        for name in targets:
            np.testing.assert_array_equal(targets[name], their[name])


def test_batches(feed):
    got = list(feed.epoch(0))
    assert len(got) == feed.steps == 5
    for images, targets in got:
        assert images.shape == (4, 32, 32, 3)
        assert images.dtype == np.uint8
        assert {n: t.shape for n, t in targets.items()} == {"expression": (4, 29), "pose": (4, 6), "seen": (4, 136)}
        assert {t.dtype for t in targets.values()} == {np.dtype(np.float32)}


def test_an_epoch_shows_every_image_once(packed):
    plain = Feed([open_packed(packed)], "train", 32, None, ("expression",), 4, seed=5)
    shown = np.concatenate([targets["expression"] for _, targets in plain.epoch(3)])
    once = np.concatenate([targets["expression"] for _, targets in plain.once()])
    assert len(once) == len(plain) == 20
    np.testing.assert_array_equal(np.unique(shown, axis=0), np.unique(once, axis=0))


def test_skipping_into_an_epoch_gives_its_other_batches(feed):
    same(list(feed.epoch(2))[3:], list(feed.epoch(2, skip=3)))
    same(list(feed.epoch(2))[1:3], list(feed.epoch(2, skip=1, steps=2)))


def test_epochs_and_seeds_differ(feed):
    first = next(feed.epoch(0))[0]
    assert not np.array_equal(first, next(feed.epoch(1))[0])
    assert not np.array_equal(first, next(replace(feed, seed=6).epoch(0))[0])


def test_processes_make_the_parts_of_one_batch(feed):
    parts = [list(replace(feed, process=i, processes=2).epoch(1)) for i in range(2)]
    for (images, targets), (a, ta), (b, tb) in zip(feed.epoch(1), *parts, strict=True):
        np.testing.assert_array_equal(images, np.concatenate([a, b]))
        np.testing.assert_array_equal(targets["pose"], np.concatenate([ta["pose"], tb["pose"]]))


def test_two_folders_are_one_set(packed):
    one, two = (Feed([open_packed(packed)] * n, "train", 32, 1.25, TARGETS, 4) for n in (1, 2))
    assert len(two) == 2 * len(one)
    names = [example.key for example in map(Records(open_packed(packed), "train").__getitem__, range(20))]
    assert two.keys([0, 19, 20, 39]) == [names[0], names[19], names[0], names[19]]
    np.testing.assert_array_equal(two.examples([3])[0], two.examples([23])[0])


def test_mean_of_the_crops(feed):
    mean = mean_crop(feed)
    images = np.concatenate([images for images, _ in feed.epoch(0)])
    np.testing.assert_allclose(mean, images.mean(0), atol=1e-3)
    np.testing.assert_array_equal(mean, mean_crop(replace(feed, process=1, processes=2)))


def test_a_damaged_record_is_named(packed, tmp_path, feed):
    copy = tmp_path / "packed"
    copy.mkdir()
    for path in packed.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    shard = next(copy.glob("train-*.tfrecord"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    with pytest.raises(TrainingError, match=shard.name):
        list(Feed([open_packed(copy)], "train", 32, 1.25, TARGETS, 4).epoch(0))


@pytest.mark.parametrize("config", [paper(), modern()])
def test_folder_without_a_manifest(tmp_path, config):
    with pytest.raises(JobError, match=r"manifest\.json does not exist"):
        open_all([tmp_path], config, ("expression",))


def test_folders_that_differ(packed, faces, tmp_path):
    pack([faces], tmp_path, Options(size=48), workers=1)
    with pytest.raises(JobError, match=r"differ in size: .* 64, .* 48"):
        open_all([packed, tmp_path], modern(), ("expression",))


def test_crops_too_tight_for_the_network(faces, tmp_path):
    pack([faces], tmp_path, Options(size=48, crop="boxes", factor=1.1), workers=1)
    with pytest.raises(JobError, match=r"holds crops of 1\.1 boxes; .* cuts 1\.25 .* --factor 1\.\d"):
        open_all([tmp_path], modern(), ("expression",))
    open_all([tmp_path], paper(), ("expression",))


def test_no_pose_from_orthographic_labels(packed, monkeypatch):
    flat = replace(open_packed(packed), camera="orthographic")
    monkeypatch.setattr("expnet_tf.train.feed.open_packed", lambda folder: flat)
    with pytest.raises(JobError, match=r"orthographic cameras, from which no pose .* --target expression"):
        open_all([packed], modern(), ("expression", "identity", "pose"))
    open_all([packed], modern(), ("expression",))


def test_too_few_images_for_a_batch(feed):
    with pytest.raises(JobError, match="20 images in the train split; a batch has 21"):
        _ = replace(feed, batch_size=21).steps


def test_no_images(packed, monkeypatch):
    empty = replace(open_packed(packed), counts={"train": 20, "validation": 0})
    monkeypatch.setattr("expnet_tf.train.feed.open_packed", lambda folder: empty)
    with pytest.raises(JobError, match="no image in the validation split"):
        open_all([packed], modern(), ("expression",))
