"""Faces as rows of a table: schema `expnet.faces/1`, documented in docs/batch.md.

A row holds what the JSON of a photo (facejson.py) says of one face, without what hangs on the run: no times, no
files. Blendshapes stay together by name; all else is flat.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from expnet_tf import facejson
from expnet_tf.morphable import MorphableModel
from expnet_tf.predictor import Face


def row(name: str, size: tuple[int, int], index: int, face: Face) -> dict[str, Any]:
    """One face of the photo `name`, whose (width, height) in px is `size`; index: 0 is the largest."""
    record = facejson.face_record(face, {})
    crop, pose = record["crop"], record["pose"]
    return {
        "file": name,
        "face": index,
        "image_width": size[0],
        "image_height": size[1],
        "box": record["box"],
        "score": record["score"],
        "quality": record["quality"],
        "crop_x": crop["x"],
        "crop_y": crop["y"],
        "crop_side": crop["side"],
        "expression": record["expression"],
        "identity": record["identity"],
        "pose": pose and pose["rotation_vector"] + pose["translation_mm"],
        "focal_px": pose and pose["focal_px"],
        "center_px": pose and pose["center_px"],
        "blendshapes": record["blendshapes"],
    }


def jsonl(rows: Sequence[dict[str, Any]]) -> bytes:
    """A row a line, ASCII. Raises ValueError for a NaN."""
    return "".join(f"{json.dumps(one, allow_nan=False)}\n" for one in rows).encode("ascii")


def parquet(rows: Sequence[dict[str, Any]], face_model: MorphableModel) -> bytes:
    """One row group, Snappy; columns and types are the same whatever the rows, also where there are none.

    Raises ImportError without pyarrow.
    """
    import pyarrow as pa
    from pyarrow.parquet import write_table

    wide, narrow, whole = pa.float64(), pa.float32(), pa.int32()
    schema = pa.schema({
        "file": pa.string(),
        "face": whole,
        "image_width": whole,
        "image_height": whole,
        "box": pa.list_(wide),
        "score": wide,
        "quality": narrow,
        "crop_x": whole,
        "crop_y": whole,
        "crop_side": whole,
        "expression": pa.list_(narrow),
        "identity": pa.list_(narrow),
        "pose": pa.list_(narrow),
        "focal_px": wide,
        "center_px": pa.list_(wide),
        "blendshapes": pa.struct({str(name): narrow for name in face_model.blendshape_names}),
    })  # fmt: skip
    # Parquet's text is UTF-8; a file name need not be.
    named = [{**one, "file": one["file"].encode(errors="backslashreplace").decode()} for one in rows]
    buffer = io.BytesIO()
    write_table(pa.Table.from_pylist(named, schema), buffer, row_group_size=max(1, len(named)))
    return buffer.getvalue()
