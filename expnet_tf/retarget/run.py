"""`expnet retarget`: what `expnet predict` wrote, or a table of codes, in; the same with other codes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.faceshard import pretty
from expnet_tf.files import write_whole
from expnet_tf.retarget import RetargetError
from expnet_tf.retarget.maps import Map
from expnet_tf.retarget.rows import Row, codes_of, retargeted
from expnet_tf.retarget.tables import READERS, Table, read_table
from expnet_tf.shards import FAILURES, RUN, SUMMARY

Report = Callable[[str], None]


@dataclass
class Summary:
    """What became of the rows."""

    rows: int = 0  # retargeted and written
    failed: int = 0  # rows, or files
    squares: float = 0.0  # sum of the rows' squared residuals, mm^2
    motion: float = 0.0  # the same of how far the source's codes move the points
    worst: float = 0.0  # largest residual of a row, mm

    @property
    def rms(self) -> float:
        """mm, over all rows and points."""
        return float(np.sqrt(self.squares / max(1, self.rows)))

    @property
    def kept(self) -> float:
        """1 - residual / motion, both rms over all rows; 1 where nothing moves."""
        return 1.0 - float(np.sqrt(self.squares / self.motion)) if self.motion else 1.0


def retarget(source: Path, out: Path, mapping: Map, report: Report) -> Summary:
    """Every row of `source`, a file or a folder, through `mapping` to `out`, a file or a folder as `source` is.

    A row or file that fails is reported in one sentence, and the others go on; each file is written whole or not at
    all. Raises RetargetError where nothing can be done, OSError where `out` cannot be written.
    """
    check(source, out)
    summary = Summary()
    if not source.is_dir():
        _file(source, out, source.name, read_table(source), mapping, report, summary)
    elif (source / SUMMARY).is_file():
        _shards(source, out, mapping, report, summary)
    else:
        _photos(source, out, mapping, report, summary)
    return summary


def check(source: Path, out: Path) -> None:
    """Raises RetargetError where `out` cannot belong to `source`."""
    if not source.exists():
        raise RetargetError(f"{source} does not exist.")
    here, there = source.resolve(), out.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise RetargetError(f"{out} and {source} lie in each other; choose another place for the results.")
    if source.is_dir():
        if out.exists() and not out.is_dir():
            raise RetargetError(f"{out} is a file; {source} is a folder, and so must be the results.")
        if (out / RUN).exists():
            raise RetargetError(f"{out} holds a run of expnet predict; choose another folder.")
    elif out.is_dir() or out.suffix.lower() != source.suffix.lower():
        raise RetargetError(f"{out} must be a file that ends with {source.suffix}, as {source.name} does.")
    elif source.suffix.lower() not in READERS:
        raise RetargetError(f"{source} ends with {source.suffix!r}; accepted: {', '.join(READERS)}.")


def facts(mapping: Map) -> dict[str, Any]:
    """What is written beside the rows: how they were made, and the face model of `expression` where that changes."""
    alignment = mapping.alignment
    made: dict[str, Any] = {
        "retarget": {
            "from": mapping.source.name,
            "to": mapping.target.name,
            "points": mapping.points,
            "count": mapping.count,
            "scale": round(alignment.scale, 9),
            "rotation": alignment.rotation.round(9).ravel().tolist(),
            "translation_mm": alignment.translation.round(6).tolist(),
            "alignment_rms_mm": round(alignment.rms, 6),
            "ridge_mm": mapping.ridge,
        }
    }
    if not mapping.target.names:
        made["face_model"] = mapping.target.name
    return made


def _photos(source: Path, out: Path, mapping: Map, report: Report, summary: Summary) -> None:
    """A folder of photos' JSON files, to any depth."""
    paths = sorted(path for path in source.rglob("*.json") if path.is_file())
    if not paths:
        raise RetargetError(f"{source} holds neither {SUMMARY} nor JSON files of photos.")
    for path in paths:
        name = path.relative_to(source)
        try:
            _file(path, out / name, name.as_posix(), read_table(path), mapping, report, summary)
        except RetargetError as error:
            summary.failed += 1
            report(str(error))


def _shards(source: Path, out: Path, mapping: Map, report: Report, summary: Summary) -> None:
    """A folder of `expnet predict --shards`."""
    try:
        run = json.loads((source / SUMMARY).read_bytes())
        names = [str(file["name"]) for file in run["files"]]
        numbers, model = dict(run["numbers"]), run.get("face_model")
        old = (source / FAILURES).read_bytes() if (source / FAILURES).is_file() else b""
    except OSError as error:
        raise RetargetError(f"{error.filename} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RetargetError(f"{source / SUMMARY} is not what expnet predict --shards writes.") from error
    for name in names:
        if Path(name).name != name or Path(name).suffix not in (".jsonl", ".parquet"):
            raise RetargetError(f"{source / SUMMARY} names {name!r}, which is no shard.")
    _same_model(source / SUMMARY, model, mapping)
    files, failures = [], []

    def fail(text: str) -> None:
        failures.append({"file": None, "sentence": text})
        report(text)

    for name in names:
        before = summary.rows
        try:
            _file(source / name, out / name, name, read_table(source / name), mapping, fail, summary, empty=True)
            files.append({"name": name, "faces": summary.rows - before})
        except RetargetError as error:
            summary.failed += 1
            fail(str(error))
    new = "".join(f"{json.dumps(failure)}\n" for failure in failures).encode()
    numbers |= {"faces": summary.rows, "failures": numbers.get("failures", 0) + len(failures)}
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / FAILURES, old + new)
    write_whole(out / SUMMARY, pretty({**run, **facts(mapping), "numbers": numbers, "files": files}))


def _file(
    path: Path, out: Path, name: str, table: Table, mapping: Map, report: Report, summary: Summary, empty: bool = False
) -> None:
    """One file of rows; empty: it is written also where no row is left."""
    _same_model(path, table.face_model, mapping)
    if not table.rows and not empty:
        raise RetargetError(f"{path} has no rows.")
    codes: dict[int, np.ndarray] = {}
    for index, row in enumerate(table.rows):
        try:
            if isinstance(row, str):
                raise RetargetError(row)
            codes[index] = codes_of(row, mapping.source)
        except RetargetError as error:
            summary.failed += 1
            report(f"{name}, row {index}: {error}.")
    done = mapping.solve(np.array(list(codes.values())).reshape(len(codes), len(mapping.source.lower)))
    made: list[Row | None] = [None] * len(table.rows)
    for at, index in enumerate(codes):
        row = table.rows[index]
        assert not isinstance(row, str)
        made[index] = retargeted(row, mapping, done, at)
    if codes or empty:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, table.encode(made, facts(mapping)))
    summary.rows += len(codes)
    summary.squares += float((done.residual**2).sum())
    summary.motion += float((done.motion**2).sum())
    summary.worst = max(summary.worst, float(done.residual.max(initial=0.0)))


def _same_model(path: Path, named: object, mapping: Map) -> None:
    """Raises RetargetError where a file says that its codes belong to another model than the source."""
    if isinstance(named, str) and not mapping.source.names and named != mapping.source.name:
        raise RetargetError(f"{path}: its codes belong to {named}; --from is {mapping.source.name}.")
