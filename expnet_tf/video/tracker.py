"""Faces through time: where each was, is, and which number it has.

A face is found by the detector once. From then on its box comes from its own mesh: the mesh that was predicted in the
last frame says where the head is, and the next crop is taken there, moved on by the head's last step. The detector
looks again
  - every EVERY frames at the whole picture, made small: for new faces, and to see that the followed ones are faces;
  - every IDLE frames while nobody is followed, or somebody was lost a moment ago;
  - at a single face at once, when its crop has changed abruptly, or its mesh is not where the crop was taken: a hand
    in front of it, a head that has left.
Where the whole picture is another it is a cut, and nobody goes on over it.
A network that regresses sees a face in everything, so nothing in its own answer says that there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import cv2
import numpy as np

from expnet_tf.detect import Detection
from expnet_tf.image import cut_square
from expnet_tf.network import ModelError
from expnet_tf.predictor import Face, Predictor
from expnet_tf.video.boxes import MIN_SIDE, Box, centre, distance, near, overlap, visible
from expnet_tf.video.outline import Outline

EVERY, IDLE = 15, 5  # frames
SIDE = 480  # px, the longer side of the picture that is searched: faces down to 1/25 of it
MEMORY = 2.0  # s that a lost face keeps its number for when it is back near its place
# Correlation of two consecutive crops below which the detector looks; docs/video.md has how it was chosen.
STEADY = 0.85
# And of two consecutive pictures, below which they may be of different scenes; docs/video.md has how it was chosen.
CUT = 0.25
SAME, ANCHOR, TWICE = 0.25, 0.5, 0.5  # intersections over union: one face; the detector's box counts; one too many
# Share of a face by which its mesh's box must differ from the crop's before the crop follows: crops are of whole px,
# and a mesh that makes them one px larger may ask for one px less in the next frame of a still.
HELD = 0.02
_LOOK, _LOOK_SIDE = 2.2, 192  # a single face is looked for in a square of so many times its box, at so many px
_THUMB, _SCENE = 24, 8  # px of a crop, and of a whole picture, that are compared with those of the frame before


class Tracked(NamedTuple):
    """A face of one frame. `face.box` is the box of its mesh, `face.square` what the network saw."""

    id: int  # from 1, never given to another
    face: Face


@dataclass
class _Track:
    id: int
    box: Box
    score: float | None  # of the last detection
    step: tuple[float, float] = (0.0, 0.0)  # px the centre moved in the last frame
    thumb: list[float] = field(default_factory=list)  # the last crop, small, of mean 0 and variance 1
    met: bool = False  # whether its box is of its own mesh, not of the detector
    lost: float | None = None  # s, when it was last seen; None: it is followed

    def expected(self) -> Box:
        x, y, w, h = self.box
        return x + self.step[0], y + self.step[1], w, h


class Tracker:
    """Follows the faces of one video; give it every frame in order."""

    def __init__(self, predictor: Predictor, state: dict[str, Any] | None = None) -> None:
        """state: what `state()` gave, to go on from there. Raises ModelError where the model has no pose head."""
        if "pose" not in predictor.info.heads:
            raise ModelError(f"{predictor.info.id} has no pose head; faces are followed by their pose.")
        self.predictor = predictor
        self.detections = 0  # times that the detector has run
        self._outline = Outline(predictor.face_model)
        state = state or {"next": 1, "wait": 0, "tracks": []}
        self._scene: list[float] = state.get("scene", [])
        self._next, self._wait = int(state["next"]), int(state["wait"])
        self._tracks = [
            _Track(**{**one, "box": tuple(one["box"]), "step": tuple(one["step"])}) for one in state["tracks"]
        ]

    def state(self) -> dict[str, Any]:
        """All that the next frame depends on, as JSON takes it."""
        tracks = [{**vars(one), "box": list(one.box), "step": list(one.step)} for one in self._tracks]
        return {"next": self._next, "wait": self._wait, "tracks": tracks, "scene": self._scene}

    def step(self, image: np.ndarray, time: float) -> list[Tracked]:
        """The faces of the next frame, by their numbers.

        Args:
            image: uint8 RGB [H, W, 3].
            time: s, growing.

        Raises ModelError where the network's answer is not finite, ImageError where `image` is no such array.
        """
        if self._is_cut(image):  # nobody goes on over it, for who is near the old place may be somebody else
            self._tracks, self._wait = [], 0
        self._tracks = [one for one in self._tracks if one.lost is None or time - one.lost <= MEMORY]
        checked = self._search(image, time) if self._wait <= 0 else set()
        self._wait -= 1
        followed = [one for one in self._tracks if one.lost is None]
        for one in followed:
            if not visible(one.expected(), image):
                one.lost = time
        followed = [one for one in followed if one.lost is None]
        seen = dict(zip([one.id for one in followed], self._faces(image, followed), strict=True))
        for one in followed:
            face, steady = seen[one.id]
            if one.id in checked or (steady and overlap(face.box, one.expected()) > SAME):
                continue
            again = self._look(image, face.box) or self._look(image, one.expected())
            if again is None:
                one.lost = time
                continue
            one.score = again.score
            if overlap(again.box, face.box) < ANCHOR:
                one.box, one.step, one.met = again.box, (0.0, 0.0), False
                seen[one.id] = self._faces(image, [one])[0]
        for one in followed:
            if one.lost is None:
                self._move(one, seen[one.id][0].box)
        self._drop_twins()
        if any(one.lost == time for one in self._tracks):
            self._wait = min(self._wait, IDLE - 1)
        # A face that has just appeared has been checked by _search; its first mesh is part of this frame's result.
        return [Tracked(one.id, replace(seen[one.id][0], score=one.score)) for one in self._tracks if one.lost is None]

    def _is_cut(self, image: np.ndarray) -> bool:
        """Whether this frame is of another scene than the last: the picture is another, and so is every followed face.

        A hand or a passer-by changes much of a picture, and leaves some face as it was or the picture like itself.
        """
        step = max(1, max(image.shape[:2]) // (8 * _SCENE))
        scene, last = _thumb(image[::step, ::step], _SCENE), self._scene
        self._scene = scene.tolist()
        if not last or not any(last) or not scene.any() or _likeness(scene, last) >= CUT:
            return False  # a blank picture is like none, and no scene
        followed = [one for one in self._tracks if one.lost is None and visible(one.expected(), image)]
        crops = self.predictor.crops(image, [one.expected() for one in followed])
        pairs = zip(followed, crops, strict=True)
        return not any(one.thumb and _likeness(_thumb(crop, _THUMB), one.thumb) > STEADY for one, crop in pairs)

    def _search(self, image: np.ndarray, time: float) -> set[int]:
        """The detector over the whole picture; returns the numbers of those that it has seen."""
        found: list[Detection | None] = [*self._detect(_small(image), max(image.shape[:2]))]
        followed = [one for one in self._tracks if one.lost is None]
        checked: set[int] = set()
        pairs = [
            (overlap(face.box, one.expected()), n, one) for n, face in enumerate(found) if face for one in followed
        ]
        for common, n, one in sorted(pairs, key=lambda pair: -pair[0]):
            face = found[n]
            if common < SAME or one.id in checked or face is None:
                continue
            checked.add(one.id)
            one.score = face.score
            if common < ANCHOR:
                one.box, one.step, one.met = face.box, (0.0, 0.0), False
            found[n] = None
        for one in followed:
            # Smaller than the picture's search shows, turned away, or hidden: a closer look tells.
            if one.id not in checked:
                again = self._look(image, one.expected())
                if again is None:
                    one.lost = time
                else:
                    one.score = again.score
                    checked.add(one.id)
        for face in found:
            if face is None or min(face.box[2:]) < MIN_SIDE or self._taken(face):
                continue
            # The small picture shows faces in odd places now and then; a closer look does not.
            closer = self._look(image, face.box)
            if closer is not None and not self._taken(closer):
                checked.add(self._begin(closer, time))
        following = any(one.lost is None for one in self._tracks)
        missing = any(one.lost is not None for one in self._tracks)
        self._wait = EVERY if following and not missing else IDLE
        return checked

    def _taken(self, face: Detection) -> bool:
        return any(one.lost is None and overlap(face.box, one.box) > SAME for one in self._tracks)

    def _begin(self, face: Detection, time: float) -> int:
        """A face that nobody follows: the number of who was lost near there, or a new one."""
        lost = [one for one in self._tracks if one.lost is not None and one.lost < time and near(one.box, face.box)]
        if lost:
            one = min(lost, key=lambda one: distance(one.box, face.box))
            one.box, one.score = face.box, face.score
            one.step, one.thumb, one.met, one.lost = (0.0, 0.0), [], False, None
        else:
            one = _Track(self._next, face.box, face.score)
            self._next += 1
            self._tracks.append(one)
        return one.id

    def _faces(self, image: np.ndarray, tracks: Sequence[_Track]) -> list[tuple[Face, bool]]:
        """Each one's face, its box being that of its mesh, and whether its crop is much as it was a frame ago."""
        if not tracks:
            return []
        boxes = [one.expected() for one in tracks]
        crops = self.predictor.crops(image, boxes)
        (faces,) = self.predictor.predict_crops([crops], [[(box, None) for box in boxes]])
        answers = []
        for one, crop, face in zip(tracks, crops, faces, strict=True):
            thumb = _thumb(crop, _THUMB)
            steady = not one.thumb or _likeness(thumb, one.thumb) > STEADY
            one.thumb = thumb.tolist()
            answers.append((replace(face, box=self._outline.box(face)), steady))
        return answers

    def _look(self, image: np.ndarray, box: Box) -> Detection | None:
        """The detector at one place: the face that is there, or None."""
        x, y, w, h = box
        side = round(_LOOK * max(w, h))
        left, top = round(x + w / 2 - side / 2), round(y + h / 2 - side / 2)
        part = cut_square(image, left, top, side)
        if side > _LOOK_SIDE:
            part = cv2.resize(np.ascontiguousarray(part), (_LOOK_SIDE, _LOOK_SIDE), interpolation=cv2.INTER_AREA)
        found = [
            Detection((one.box[0] + left, one.box[1] + top, *one.box[2:]), one.score)
            for one in self._detect(part, side)
        ]
        best = max(found, key=lambda one: overlap(one.box, box), default=None)
        return best if best is not None and overlap(best.box, box) > SAME else None

    def _detect(self, small: np.ndarray, longer: int) -> list[Detection]:
        """Faces of a picture whose longer side was `longer` px, in px of that."""
        self.detections += 1
        scale = longer / max(small.shape[:2])
        found = self.predictor.detector.detect(small)
        return [Detection((x * scale, y * scale, w * scale, h * scale), score) for (x, y, w, h), score in found]

    def _move(self, one: _Track, box: Box) -> None:
        (x, y), (to_x, to_y) = centre(one.box), centre(box)
        reach = max(box[2:])
        # A first mesh only corrects the detector's box; a jump of half a face is no motion to go on with.
        moves = one.met and np.hypot(to_x - x, to_y - y) < reach / 2
        if moves and max(abs(now - was) for now, was in zip(box, one.box, strict=True)) < HELD * reach:
            one.step = (0.0, 0.0)
            return
        one.met = True
        one.step = (to_x - x, to_y - y) if moves else (0.0, 0.0)
        one.box = box

    def _drop_twins(self) -> None:
        """Of two that have come to follow one face the later is forgotten."""
        kept: list[_Track] = []
        for one in sorted(self._tracks, key=lambda one: one.id):
            twin = one.lost is None and any(k.lost is None and overlap(k.box, one.box) > TWICE for k in kept)
            if not twin:
                kept.append(one)
        self._tracks = kept


def _small(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _likeness(one: np.ndarray, other: Sequence[float]) -> float:
    """Correlation of two thumbs."""
    return float(np.dot(one, other)) / one.size


def _thumb(image: np.ndarray, side: int) -> np.ndarray:
    """uint8 RGB [H, W, 3] -> float64 [side * side] of mean 0 and variance 1; zeros for a blank picture."""
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).mean(axis=2).ravel()
    small -= small.mean()
    spread = small.std()
    return small / spread if spread > 1 else np.zeros_like(small)
