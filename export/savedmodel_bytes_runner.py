"""Runs the SavedModel that is sent photos on face crops, so that it is judged by the same numbers as the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from expnet_tf.export.savedmodel_session import open_session


class SavedModelBytesRunner:
    """Crops as PNG files, with the box whose square is the whole crop, through the v1 Session loader."""

    name = "savedmodel-bytes"

    def __init__(self, path: Path, threads: int = 1) -> None:
        import tensorflow as tf

        self.version = tf.__version__
        self._session, signature = open_session(path, threads)
        self._inputs = {name: tensor.name for name, tensor in signature.inputs.items()}
        self._outputs = {name: tensor.name for name, tensor in signature.outputs.items()}
        variables = tf.train.load_checkpoint(str(path / "variables" / "variables"))
        self.crop_factor = float(variables.get_tensor("crop_factor/.ATTRIBUTES/VARIABLE_VALUE"))

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 RGB [B, S, S, 3] -> {head: float32 [B, width]}; raises ValueError where one is not valid."""
        import cv2

        files = [cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in images]
        outputs = self.run_photos(files, [self._whole(image.shape[0]) for image in images])
        if not outputs.pop("valid").all():
            raise ValueError("the model says that a crop, sent as PNG, is not valid")
        return outputs

    def run_photos(self, files: list[bytes], boxes: list[tuple[float, ...]]) -> dict[str, np.ndarray]:
        """JPEG or PNG files and (x, y, w, h) px -> {head: float32 [B, width]} and `valid`, bool [B]."""
        feed = {
            self._inputs["image_bytes"]: np.array(files, object),
            self._inputs["box"]: np.array(boxes, np.float32).reshape(-1, 4),
        }
        outputs: dict[str, np.ndarray] = self._session.run(self._outputs, feed)
        return outputs

    def _whole(self, size: int) -> tuple[float, float, float, float]:
        side = size / self.crop_factor
        return (size - side) / 2, (size - side) / 2, side, side
