"""Faces keep their numbers, are noticed when hidden, and are found again; the box follows the detector's convention."""

import json
from collections.abc import Sequence

import cv2
import films
import numpy as np
import pytest

from expnet_tf import camera
from expnet_tf.face_box import face_box_vertices
from expnet_tf.morphable import open_face
from expnet_tf.network import ModelError
from expnet_tf.predictor import Predictor
from expnet_tf.video.outline import Outline
from expnet_tf.video.tracker import EVERY, IDLE, Tracked, Tracker


def follow(
    predictor: Predictor, frames: Sequence[np.ndarray], rate: float = films.RATE
) -> tuple[list[list[Tracked]], Tracker]:
    tracker = Tracker(predictor)
    return [tracker.step(frame, index / rate) for index, frame in enumerate(frames)], tracker


def ids(seen: list[list[Tracked]]) -> list[list[int]]:
    return [[one.id for one in frame] for frame in seen]


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    w = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    h = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(w, 0) * max(h, 0)
    return common / (one[2] * one[3] + other[2] * other[3] - common)


def test_the_box_of_a_mesh_is_that_of_the_training_labels(predictor: Predictor) -> None:
    (face, *_) = predictor.predict(films.photo())
    outline = camera.project(
        face.vertices()[face_box_vertices(open_face())], face.pose, face.focal, face.center
    )  # all of them, where Outline takes the outermost
    low, high = outline.min(0), outline.max(0)
    np.testing.assert_allclose(Outline(open_face()).box(face), [*low, *(high - low)], atol=0.5)


def test_a_still_is_followed_without_the_detector(predictor: Predictor) -> None:
    seen, tracker = follow(predictor, [films.photo()] * 31)
    assert ids(seen) == [[1]] * 31
    (found,) = predictor.detector.detect(films.photo())
    for (one,) in seen:
        assert overlap(one.face.box, found.box) > 0.8
        assert 0.5 < one.face.score <= 1
    # At frames 0 (and a closer look at who is new), 15 and 30.
    assert tracker.detections == 4
    assert EVERY == 15
    # It settles: the crop that a mesh asks for gives that mesh again.
    boxes = np.array([one.face.box for (one,) in seen])
    assert np.abs(np.diff(boxes[20:], axis=0)).max() < 0.5


def test_a_moving_face_keeps_its_number(predictor: Predictor) -> None:
    step = np.arange(60)
    moves = (120 * np.sin(step / 8), 60 * np.sin(step / 6), 1 + 0.3 * np.sin(step / 12), 12 * np.sin(step / 9))
    places = list(zip(*moves, strict=True))
    seen, tracker = follow(predictor, [films.photo(*place) for place in places])
    assert ids(seen) == [[1]] * 60
    assert tracker.detections < 20
    # Where the face truly is: the still's, moved.
    (still,) = predictor.detector.detect(films.photo())
    x, y, w, h = still.box
    for (one,), (dx, dy, zoom, _) in zip(seen, places, strict=True):
        truth = 320 + (x + w / 2 - 320) * zoom + dx, 240 + (y + h / 2 - 240) * zoom + dy
        centre = one.face.box[0] + one.face.box[2] / 2, one.face.box[1] + one.face.box[3] / 2
        assert np.hypot(centre[0] - truth[0], centre[1] - truth[1]) < 0.15 * h * zoom


def test_two_people_cross(predictor: Predictor) -> None:
    upper = [20 + 9 * i for i in range(45)]
    frames = [films.pasted([(x, 30), (430 - x, 270)]) for x in upper]
    seen, _ = follow(predictor, frames)
    assert ids(seen) == [[1, 2]] * 45
    above = {one.id for frame in seen for one in frame if one.face.box[1] + one.face.box[3] / 2 < 235}
    below = {one.id for frame in seen for one in frame if one.face.box[1] + one.face.box[3] / 2 >= 235}
    assert len(above) == len(below) == 1
    assert above != below


def test_a_block_over_the_face_is_noticed_at_once(predictor: Predictor) -> None:
    frames = [films.photo() for _ in range(40)]
    for frame in frames[12:26]:
        frame[150:320, 250:390] = 0
    seen, _ = follow(predictor, frames)
    assert ids(seen[:12]) == [[1]] * 12
    assert ids(seen[12:26]) == [[]] * 14
    assert ids(seen[26 + IDLE :]) == [[1]] * (14 - IDLE)  # the same person


def test_a_hand_that_slides_over_the_face(predictor: Predictor) -> None:
    frames = [films.photo() for _ in range(40)]
    for i, frame in enumerate(frames):
        frame[max(170, 480 - 16 * i) :, 240:400] = (200, 150, 120)  # over the chin at 12, the brows at 18
    seen, _ = follow(predictor, frames)
    assert ids(seen[:10]) == [[1]] * 10
    assert ids(seen[20 + EVERY :]) == [[]] * (20 - EVERY)


def test_after_an_empty_stretch_it_goes_on(predictor: Predictor) -> None:
    frames = [films.photo()] * 10 + [films.empty()] * 20 + [films.photo(dx=30)] * 15
    seen, _ = follow(predictor, frames)
    assert ids(seen[10:30]) == [[]] * 20
    assert ids(seen[30 + IDLE :]) == [[1]] * (15 - IDLE)


@pytest.mark.parametrize("at", [30, 37])  # a frame in which the whole picture is searched, and one in which it is not
def test_nobody_goes_on_over_a_cut(predictor: Predictor, at: int) -> None:
    """The same person at the same place, in another scene: a new number, in the frame of the cut."""
    first = films.photo()
    other = 255 - first
    other[146:316, 234:406] = films.portrait()[20:190, 140:312][:, ::-1]
    seen, _ = follow(predictor, [first] * at + [other] * 8)
    assert ids(seen) == [[1]] * at + [[2]] * 8


def test_a_number_is_not_given_again(predictor: Predictor) -> None:
    """After two seconds a person is a new one; and so is who appears elsewhere."""
    frames = [films.photo()] * 4 + [films.empty()] * 15 + [films.photo()] * 7
    seen, _ = follow(predictor, frames, rate=5)
    assert {number for frame in ids(seen) for number in frame} == {1, 2}
    frames = [films.pasted([(20, 30)])] * 10 + [films.pasted([(450, 290)])] * 10
    seen, _ = follow(predictor, frames)
    assert ids(seen)[-1] == [2]


def test_who_joins_is_found(predictor: Predictor) -> None:
    frames = [films.pasted([(20, 30)])] * 8 + [films.pasted([(20, 30), (400, 250)])] * (EVERY + 2)
    seen, _ = follow(predictor, frames)
    assert ids(seen)[0] == [1]
    assert ids(seen)[-1] == [1, 2]


def test_nobody(predictor: Predictor) -> None:
    rng = np.random.default_rng(0)
    noise = [cv2.GaussianBlur(rng.integers(0, 256, (240, 320, 3), np.uint8), (0, 0), 4) for _ in range(6)]
    seen, _ = follow(predictor, [*noise, *[films.empty((240, 320))] * 6])
    assert ids(seen) == [[]] * 12


def test_the_smile_follows_the_true_one(predictor: Predictor) -> None:
    truth = 0.5 - 0.5 * np.cos(np.arange(40) / 40 * 4 * np.pi)
    for seed in (1, 4):
        seen, _ = follow(predictor, films.smiling(truth, seed))
        assert ids(seen) == [[1]] * 40
        smile = np.array([frame[0].face.blendshapes["mouthSmileLeft"] for frame in seen])
        assert np.corrcoef(smile, truth)[0, 1] > 0.9
        assert smile[truth > 0.9].mean() - smile[truth < 0.1].mean() > 0.4


def test_going_on_from_a_state(predictor: Predictor) -> None:
    frames = [films.photo(dx=3 * i) for i in range(24)]
    whole, _ = follow(predictor, frames)
    _, first = follow(predictor, frames[:11])
    second = Tracker(predictor, json.loads(json.dumps(first.state())))
    for index in range(11, 24):
        (one,), (other,) = second.step(frames[index], index / films.RATE), whole[index]
        assert (one.id, one.face.box) == (other.id, other.face.box)
        np.testing.assert_array_equal(one.face.expression, other.face.expression)


def test_a_model_without_pose(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind:
        info = type("Info", (), {"id": "blind-1.0", "heads": ("expression",)})

    with pytest.raises(ModelError, match=r"blind-1\.0 has no pose head; faces are followed by their pose"):
        Tracker(Blind())  # type: ignore[arg-type]
