"""The JSON that predict writes for a photo: schema `expnet.predict/1`, documented in docs/face-json.md."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from expnet_tf import __version__

if TYPE_CHECKING:
    from expnet_tf.predictor import Face, Predictor

SCHEMA = "expnet.predict/1"


def photo_record(
    name: str,
    size: tuple[int, int],
    faces: Sequence[Face],
    predictor: Predictor,
    detector: str | None,
    timing: Mapping[str, float | None],
    files: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """The record of one photo.

    Args:
        name: path of the photo below the folder that holds all inputs, with /.
        size: (width, height) px, after EXIF rotation.
        faces: largest first.
        predictor: what made them.
        detector: its name; None where the box was given.
        timing: milliseconds by step; None for a step that did not run.
        files: for each face {format: name of the file beside the JSON}.
    """
    info, face_model = predictor.info, predictor.face_model.provenance
    return {
        "schema": SCHEMA,
        "file": name,
        "image": {"width": size[0], "height": size[1]},
        "model": {"id": info.id, "size": info.size, "crop_factor": info.crop_factor},
        "face_model": f"{face_model['name']}-{face_model['version']}",
        "detector": detector,
        "software": f"expnet_tf {__version__}",
        "timing_ms": {step: None if ms is None else round(ms, 2) for step, ms in timing.items()},
        "faces": [face_record(face, written) for face, written in zip(faces, files, strict=True)],
    }


def face_record(face: Face, files: Mapping[str, str]) -> dict[str, Any]:
    """The record of one face. Coefficients are written so that they read back as the same float32."""
    x0, y0, side = face.square
    pose = None
    if face.pose is not None:
        pose = {
            "rotation_vector": _numbers(face.pose[:3]),
            "translation_mm": _numbers(face.pose[3:]),
            "focal_px": face.focal,
            "center_px": list(face.center),
        }
    return {
        "box": list(face.box),
        "score": face.score,
        "quality": None if face.quality is None else round(face.quality, 4),
        "crop": {"x": x0, "y": y0, "side": side},
        "expression": _numbers(face.expression),
        "blendshapes": {name: round(weight, 6) for name, weight in face.blendshapes.items()},
        "identity": None if face.identity is None else _numbers(face.identity),
        "pose": pose,
        "files": dict(files),
    }


def dumps(record: Mapping[str, Any]) -> str:
    """JSON with one key a line and lists of numbers on one line. Raises ValueError for a NaN."""
    # ASCII: file names may hold bytes that are not UTF-8, and those have an escape only.
    text = json.dumps(record, indent=1, allow_nan=False)
    # "[\n" is never part of a string: there a line break is written \n.
    return re.sub(r"\[\n([\s\d.,eE+-]*)\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def _numbers(values: np.ndarray) -> list[float]:
    """Shortest decimals that give the same float32: 0.1 and not 0.10000000149011612."""
    return [float(str(value)) for value in values.astype(np.float32)]
