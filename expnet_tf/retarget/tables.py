"""Files of rows: the JSON of a photo, JSON Lines, Parquet, CSV and NPZ. Each is read and written as the same kind.

CSV and NPZ hold codes as columns: in CSV expression_0, expression_1, ..., or blendshapes by name, whatever the case of
their letters; in NPZ `expression` [m, d], or `blendshapes` [m, b] with `blendshape_names` [b].
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf import facejson
from expnet_tf.data.expressions import BLENDSHAPES
from expnet_tf.retarget import RetargetError
from expnet_tf.retarget.archive import read_npz
from expnet_tf.retarget.rows import Row

MAX_BYTES = 1_000_000_000  # of a file, and of what an archive unpacks to
MEASURES = ("residual_mm", "motion_mm")
_COLUMN = re.compile(r"expression_(\d{1,4})", re.ASCII)


@dataclass(frozen=True)
class Table:
    """The rows of a file, and how the file is written again."""

    rows: Sequence[Row | str]  # or why there is none: one sentence
    face_model: str | None  # that the file says its codes belong to
    encode: Callable[[Sequence[Row | None], Mapping[str, Any]], bytes]  # the new rows, None for one that failed; facts


def read_table(path: Path) -> Table:
    """The rows of a file, by its suffix. Raises RetargetError, with the file's name, where it cannot be read."""
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise RetargetError(f"{path} ends with {path.suffix!r}; accepted: {', '.join(READERS)}.")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RetargetError(f"{path} is above {MAX_BYTES:,} bytes.")
        return read(path)
    except OSError as error:
        raise RetargetError(f"{path} cannot be read ({error.strerror or error}).") from error


def _photo(path: Path) -> Table:
    record = _parsed(path.read_bytes())
    if not isinstance(record, dict) or record.get("schema") != facejson.SCHEMA or not isinstance(
        record.get("faces"), list
    ):  # fmt: skip
        raise RetargetError(f"{path} is no JSON of a photo ({facejson.SCHEMA}).")

    def encode(rows: Sequence[Row | None], facts: Mapping[str, Any]) -> bytes:
        kept = [row for row in rows if row is not None]
        model = facts.get("face_model", record.get("face_model"))
        made = {**record, "face_model": model, "retarget": dict(facts["retarget"]), "faces": kept}
        return facejson.dumps(made).encode("ascii")

    named = record.get("face_model")
    faces = [face if isinstance(face, dict) else "it is no JSON object" for face in record["faces"]]
    return Table(faces, named if isinstance(named, str) else None, encode)


def _lines(path: Path) -> Table:
    def encode(rows: Sequence[Row | None], facts: Mapping[str, Any]) -> bytes:
        return "".join(f"{json.dumps(row)}\n" for row in rows if row is not None).encode("ascii")

    found = [_parsed(line) for line in path.read_bytes().splitlines() if line.strip()]
    return Table([row if isinstance(row, dict) else "it is no JSON object" for row in found], None, encode)


def _parsed(text: bytes) -> Any:
    """JSON, or None for what is none."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are no JSON


def _parquet(path: Path) -> Table:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise RetargetError(f"{path} needs pyarrow (pip install 'expnet_tf[parquet]').") from error
    try:
        table = parquet.ParquetFile(path).read()
    except (pa.ArrowException, ValueError) as error:
        raise RetargetError(f"{path} is no readable Parquet file.") from error

    def encode(rows: Sequence[Row | None], facts: Mapping[str, Any]) -> bytes:
        kept = [row for row in rows if row is not None]
        schema = table.schema
        weights = pa.struct({name: pa.float32() for name in BLENDSHAPES})
        columns = {"expression": pa.list_(pa.float32())} if "face_model" in facts else {"blendshapes": weights}
        for name, kind in {**columns, **dict.fromkeys(MEASURES, pa.float64())}.items():
            at = schema.get_field_index(name)
            field = pa.field(name, kind)
            schema = schema.append(field) if at < 0 else schema.set(at, field)
        buffer = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(kept, schema), buffer, row_group_size=max(1, len(kept)))
        return buffer.getvalue()

    return Table(table.to_pylist(), None, encode)


def _csv(path: Path) -> Table:
    try:
        lines = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RetargetError(f"{path} is no readable CSV file in UTF-8.") from error
    header = [name.strip() for name in lines[0]] if lines else []
    numbered = sorted((int(match[1]), at) for at, name in enumerate(header) if (match := _COLUMN.fullmatch(name)))
    if [number for number, _ in numbered] != list(range(len(numbered))):
        raise RetargetError(f"{path}: the columns expression_0, expression_1, ... have gaps, or come twice.")
    spelt = {name.lower(): name for name in BLENDSHAPES}
    named = [(spelt[name.lower()], at) for at, name in enumerate(header) if name.lower() in spelt]
    if len({name for name, _ in named}) != len(named):
        raise RetargetError(f"{path}: a blendshape has two columns.")
    if not numbered and not named:
        raise RetargetError(f"{path} has no columns expression_0, ... and none of a blendshape's name.")
    replaced = {at for _, at in (*numbered, *named)} | {at for at, name in enumerate(header) if name in MEASURES}
    others = [at for at in range(len(header)) if at not in replaced]

    def row(line: list[str]) -> Row | str:
        try:
            made: Row = {"others": [line[at] for at in others]}
            if numbered:
                made["expression"] = [float(line[at]) for _, at in numbered]
            if named:
                made["blendshapes"] = {name: float(line[at]) for name, at in named}
        except (ValueError, IndexError):
            return f"it does not have {len(numbered) + len(named)} numbers"
        return made

    def encode(rows: Sequence[Row | None], facts: Mapping[str, Any]) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        kept = [row for row in rows if row is not None]
        model = "face_model" in facts
        names = [f"expression_{at}" for at in range(len(kept[0]["expression"]))] if model else BLENDSHAPES
        writer.writerow([*(header[at] for at in others), *names, *MEASURES])
        for one in kept:
            codes = one["expression"] if model else [one["blendshapes"][name] for name in names]
            writer.writerow([*one["others"], *codes, *(one[name] for name in MEASURES)])
        return text.getvalue().encode()

    return Table([row(line) for line in lines[1:] if line], None, encode)


def _npz(path: Path) -> Table:
    arrays = read_npz(path, MAX_BYTES)
    rows: list[Row] = []
    for name in ("expression", "blendshapes"):
        if name not in arrays:
            continue
        if arrays[name].ndim != 2 or arrays[name].dtype.kind not in "fiu":
            raise RetargetError(f"{path}: {name} is {arrays[name].dtype} {list(arrays[name].shape)}; numbers [m, d] "
                                "are expected.")  # fmt: skip
        rows = rows or [{} for _ in arrays[name]]
        if len(rows) != len(arrays[name]):
            raise RetargetError(f"{path}: expression and blendshapes have different numbers of rows.")
        names = arrays.get("blendshape_names", np.empty(0, str))
        if name == "blendshapes" and (names.dtype.kind != "U" or names.shape != arrays[name].shape[1:]):
            raise RetargetError(f"{path}: blendshapes need blendshape_names, text [{arrays[name].shape[1]}].")
        for row, codes in zip(rows, arrays[name], strict=True):
            row[name] = codes if name == "expression" else dict(zip(names.tolist(), codes, strict=True))
    if not {"expression", "blendshapes"} & set(arrays):
        raise RetargetError(f"{path} has neither an array expression nor an array blendshapes.")

    def encode(rows: Sequence[Row | None], facts: Mapping[str, Any]) -> bytes:
        model = "face_model" in facts
        replaced = {"expression", "blendshapes", "blendshape_names", "identity", *MEASURES}
        made: dict[str, Any] = {name: array for name, array in arrays.items() if name not in replaced}
        first = next(row for row in rows if row is not None)
        width = len(first["expression"]) if model else len(BLENDSHAPES)
        codes = np.full((len(rows), width), np.nan, np.float32)
        made |= {name: np.full(len(rows), np.nan) for name in MEASURES}
        for at, row in enumerate(rows):
            if row is not None:
                codes[at] = row["expression"] if model else list(row["blendshapes"].values())
                for measure in MEASURES:
                    made[measure][at] = row[measure]
        made |= {"expression": codes} if model else {"blendshapes": codes, "blendshape_names": np.array(BLENDSHAPES)}
        file = io.BytesIO()
        np.savez_compressed(file, **made)
        return file.getvalue()

    return Table(rows, None, encode)


READERS: dict[str, Callable[[Path], Table]] = {
    ".json": _photo, ".jsonl": _lines, ".parquet": _parquet, ".csv": _csv, ".npz": _npz,
}  # fmt: skip
