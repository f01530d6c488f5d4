"""What a teacher reads, as targets."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from expnet_tf.network import ExpNet, ModelInfo, load_model, read_info, save_model
from expnet_tf.train.config import Job, JobError, modern
from expnet_tf.train.feed import Feed, open_all
from expnet_tf.train.inference import forward, over
from expnet_tf.train.run import train
from expnet_tf.train.teacher import LESSONS, SHARE, lessons

SIZE = 32
HEADS = ("expression", "identity", "pose")


@pytest.fixture(scope="module")
def packs(packed):
    return open_all([packed], modern(), HEADS)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A network of 48 px that reads something of its own."""
    keras.utils.set_random_seed(5)
    path = tmp_path_factory.mktemp("teacher") / "teacher.keras"
    save_model(ExpNet("compact", size=48), path, ModelInfo("t", "1", "compact", 48, 1.25, HEADS, "random", "none"))
    return path


def test_lessons_are_between_teacher_and_labels(teacher, packs, tmp_path):
    made = lessons(teacher, packs, (*HEADS, "points"), tmp_path)
    assert set(made) == {"expression", "identity"}  # a pose is of a crop, and crops are moved
    read, true = over(forward(load_model(teacher)), Feed(packs, "train", 48, 1.25, HEADS, 7))
    for head, value in made.items():
        assert np.abs(read[head] - true[head]).max() > 0.1
        np.testing.assert_allclose(value, SHARE * read[head] + (1 - SHARE) * true[head], rtol=1e-4, atol=1e-4)


def test_each_image_gets_its_own_lesson_in_every_order(teacher, packs, tmp_path):
    made = lessons(teacher, packs, HEADS, tmp_path)
    plain = Feed(packs, "train", SIZE, 1.25, ("expression", "identity"), 5)
    taught = replace(plain, taught=made)
    labels = plain.examples(range(20))[1]
    order = {tuple(row): i for i, row in enumerate(labels["expression"].round(5).tolist())}
    for (images, targets), (same, own) in zip(taught.epoch(3), plain.epoch(3), strict=True):
        np.testing.assert_array_equal(images, same)
        rows = [order[tuple(row)] for row in own["expression"].round(5).tolist()]
        np.testing.assert_array_equal(targets["identity"], made["identity"][rows])


def test_lessons_are_kept(teacher, packs, tmp_path):
    first = lessons(teacher, packs, HEADS, tmp_path)
    stamp = (tmp_path / LESSONS).stat().st_mtime_ns
    again = lessons(teacher, packs, HEADS, tmp_path)
    assert (tmp_path / LESSONS).stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(first["expression"], again["expression"])
    np.savez(tmp_path / LESSONS, **{head: value[:3] for head, value in first.items()})
    with pytest.raises(JobError, match=r"lessons\.npz is of 3 images, and the run has 20; delete it"):
        lessons(teacher, packs, HEADS, tmp_path)
    (tmp_path / LESSONS).write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(JobError, match=r"lessons\.npz cannot be read .*; delete it"):
        lessons(teacher, packs, HEADS, tmp_path)


def test_a_teacher_without_the_head_is_refused(packs, tmp_path):
    path = tmp_path / "pose.keras"
    info = ModelInfo("p", "1", "compact", SIZE, 1.25, ("pose",), "random", "none")
    save_model(ExpNet("compact", info.heads, SIZE), path, info)
    with pytest.raises(JobError, match=r"pose\.keras has no output expression, identity, which is to be learned"):
        lessons(path, packs, HEADS, tmp_path)


@pytest.mark.slow
def test_a_run_with_a_teacher_says_so(teacher, packed, tmp_path):
    config = replace(modern(), batch_size=4, epochs=1)
    asked = Job((packed,), tmp_path / "run", config, size=SIZE, teacher=teacher)
    said: list[str] = []
    train(asked, say=said.append)
    assert said[0].startswith(f"{teacher} reads the 20 training images")
    assert "taught by" in read_info(tmp_path / "run/compact.keras").training
    with pytest.raises(JobError, match="teacher was"):
        train(replace(asked, teacher=None), say=lambda text: None)
