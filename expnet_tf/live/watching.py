"""The faces of each frame, followed and perhaps smoothed, and the picture of them that people see."""

from __future__ import annotations

import cv2
import numpy as np

from expnet_tf.predictor import Predictor
from expnet_tf.video.overlay import Overlay
from expnet_tf.video.reader import Frame
from expnet_tf.video.smooth import Smoother
from expnet_tf.video.table import row_type, rows
from expnet_tf.video.tracker import Tracker

LONGEST = 960  # px, the longer side of the picture
QUALITY = 80  # of the JPEG
_KEPT = 64  # people whose filters are kept: a camera may run for days


class Watcher:
    """Give it the frames in their order; frames may be missing."""

    def __init__(self, predictor: Predictor, smooth: bool) -> None:
        """Raises ModelError where the model has no pose head."""
        self._predictor, self.face_model = predictor, predictor.face_model
        self._tracker, self._overlay = Tracker(predictor), Overlay(predictor.face_model)
        identity = predictor.model.output["identity"].shape[-1] if "identity" in predictor.info.heads else 0
        self._kind = row_type(len(predictor.face_model.expression_basis), identity)
        self._smoothers: dict[int, Smoother] | None = {} if smooth else None
        self.people = 0  # seen so far

    def warm_up(self) -> None:
        """Compile and load everything now, so that the first frames take no longer than the others."""
        self._predictor.warm_up()
        blank = np.zeros((64, 64, 3), np.uint8)
        self._predictor.detector.detect(blank)
        row = np.zeros(1, self._kind)
        row["box"], row["square"], row["pose"][:, 5] = (8, 8, 48, 48), (0, 0, 64), -1000
        self.picture(blank, row)

    def faces(self, frame: Frame) -> np.ndarray:
        """The rows of video/table.py of a frame, by id. Raises ModelError, ImageError."""
        found = self._tracker.step(frame.image, frame.time)
        table = rows(self._kind, frame.index, frame.time, found)
        self.people = max([self.people, *(one.id for one in found)])
        if self._smoothers is not None:
            for index, row in enumerate(table):
                # Put back last: those who have not been here for the longest time come first.
                smoother = self._smoothers.pop(int(row["id"]), None) or Smoother()
                self._smoothers[int(row["id"])] = smoother
                table[index] = smoother(row)
            while len(self._smoothers) > _KEPT:
                del self._smoothers[next(iter(self._smoothers))]
        return table

    def picture(self, image: np.ndarray, table: np.ndarray) -> bytes:
        """The frame, uint8 RGB [H, W, 3], with the meshes over it, at most LONGEST px, as a JPEG."""
        height, width = image.shape[:2]
        scale = min(1.0, LONGEST / max(height, width))
        if scale < 1:
            size = max(1, round(width * scale)), max(1, round(height * scale))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        for row in table:
            self._overlay.draw(image, row, scale)
        done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        assert done
        return jpeg.tobytes()
