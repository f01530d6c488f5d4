"""Rows as files that other programs read: CSV and Parquet, documented in docs/video.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from expnet_tf.camera import NOMINAL_FOCAL
from expnet_tf.morphable import MorphableModel
from expnet_tf.video.whole import whole_file

POSE = ("rotation_x", "rotation_y", "rotation_z", "translation_x", "translation_y", "translation_z")


def columns(table: np.ndarray, model: MorphableModel) -> dict[str, np.ndarray]:
    """A chunk of rows -> its columns by name, in the order of the files."""
    x0, y0, side = table["square"].astype(np.float64).T
    made = {"frame": table["frame"], "time_s": table["time"], "id": table["id"]}
    made |= dict(zip(("box_x", "box_y", "box_w", "box_h"), table["box"].T, strict=True))
    made |= {"quality": table["quality"].astype(np.float64)}
    made |= dict(zip(POSE, table["pose"].T, strict=True))
    made |= {"focal_px": NOMINAL_FOCAL * side, "center_x": x0 + side / 2, "center_y": y0 + side / 2}
    made |= {f"expression_{number:02d}": values for number, values in enumerate(table["expression"].T, 1)}
    weights = model.blendshapes(table["expression"])
    return made | {str(name): values for name, values in zip(model.blendshape_names, weights.T, strict=True)}


def write_csv(path: Path, tables: Iterable[np.ndarray], model: MorphableModel) -> None:
    """A line a row, after a line of names. float32 read back as they were; what is not known is empty.

    Raises OSError.
    """
    with whole_file(path) as temporary, temporary.open("w", encoding="ascii", newline="") as file:
        named = False
        for table in tables:
            made = columns(table, model)
            if not named:
                file.write(",".join(made) + "\r\n")
                named = True
            formats = [_FORMATS.get(name, _FORMATS.get(values.dtype.name, "%.5g")) for name, values in made.items()]
            form = ",".join(formats) + "\r\n"
            for row in zip(*(values.tolist() for values in made.values()), strict=True):
                file.write((form % row).replace("nan", ""))


# Nine digits bring a float32 back; hundredths of a px and microseconds are finer than anything here.
_FORMATS = {
    "int64": "%d", "int32": "%d", "float32": "%.9g", "time_s": "%.6f", "focal_px": "%g", "center_x": "%g",
    "center_y": "%g", **dict.fromkeys(("box_x", "box_y", "box_w", "box_h"), "%.2f"),
}  # fmt: skip


def write_parquet(path: Path, tables: Iterable[np.ndarray], model: MorphableModel) -> None:
    """The columns of the CSV, a row group a chunk; what is not known is null. Raises ImportError without pyarrow."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    with whole_file(path) as temporary:
        writer = None
        try:
            for table in tables:
                made = columns(table, model)
                batch = pa.table({name: pa.array(values, from_pandas=True) for name, values in made.items()})
                writer = writer or ParquetWriter(temporary, batch.schema)
                writer.write_table(batch)
        finally:
            if writer is not None:
                writer.close()
