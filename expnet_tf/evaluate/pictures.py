"""The pictures of a run: charts, and sheets of faces that are chosen by rule and not by taste."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.evaluate import cases
from expnet_tf.evaluate.codes import GIVEN, SETTINGS, Job, scaled
from expnet_tf.evaluate.figures import confusions, curves
from expnet_tf.evaluate.run import AS_GIVEN, Run, drawable, yaws
from expnet_tf.evaluate.sheets import CELL, PAPER, Row, face_cell, photo_cell, sheet
from expnet_tf.image import ImageError
from expnet_tf.morphable import open_face

EXAMPLES = 7  # rows of the sheet of examples, a class each
METHODS = 4  # columns of it at each scale: more would not fit on a page

PARTS = 5  # that `draw` reports

Picture = dict[str, str]  # kind, file, title


def draw(run: Run, out: Path, progress: Callable[[], object] = lambda: None) -> list[Picture]:
    """Write all pictures into `out`; returns what they are, in the order of the report."""
    made: list[Picture] = []
    for part in (_curves, _confusions, _examples, _conditions, _failures):
        made += part(run, out)
        progress()
    return made


def _curves(run: Run, out: Path) -> list[Picture]:
    made = []
    for protocol in run.protocols:
        name = f"accuracy_{protocol.split()[2]}.png"
        rows = [r for r in run.record["results"] if (r["protocol"], r["scaling"]) == (protocol, AS_GIVEN)]
        curves(out / name, rows, SETTINGS, run.record["protocol"]["most frequent class"])
        made.append({"kind": "curves", "file": name, "title": f"Accuracy against scale, {protocol}"})
    return made


def _confusions(run: Run, out: Path) -> list[Picture]:
    made = []
    for number, method in enumerate(run.methods):
        counts = []
        for setting in SETTINGS:
            rows = {
                r["scale"]: np.array(r["confusion"])
                for r in run.record["results"]
                if (r["method"], r["setting"], r["protocol"], r["scaling"])
                == (method.name, setting, run.protocols[-1], AS_GIVEN)
            }
            if rows:
                scales = sorted({max(rows), min(rows)}, reverse=True)
                counts.append({f"{setting}, scale {scale:g}": rows[scale] for scale in scales})
        if counts:
            name = f"confusion_{number}.png"
            confusions(out / name, method.name, run.dataset.classes, counts)
            title = f"Confusions of {method.name}, {run.protocols[-1]}"
            made.append({"kind": "confusion", "file": name, "title": title})
    return made


class _Faces:
    """Cells of one clip: the image of it that stands for the clip, at any scale, by any method."""

    def __init__(self, run: Run, row: int) -> None:
        """Raises ImageError where no image of the clip shows a face or can be read."""
        self.run, self.row = run, row
        boxes = run.coded.boxes[GIVEN, 1.0]
        images = [n for n in np.flatnonzero(np.array(run.coded.clip) == row) if not np.isnan(boxes[n]).any()]
        if not images:
            raise ImageError(f"{run.dataset.clips[row].key} has no face to show.")
        self.number = images[len(images) // 2]
        self.box = boxes[self.number]
        self.image = cases.image_of(run.dataset.clips[row], run.coded.keys[self.number])[1]
        self.identity: np.ndarray | None = None
        if run.shapes:
            shape = run.coded.codes[run.shapes.method.id, GIVEN, 1.0][self.number][:-6]
            self.identity = None if np.isnan(shape).any() else shape

    def photo(self, scale: float) -> np.ndarray:
        return photo_cell(scaled(self.image, scale), self.box * scale)

    def shape(self) -> np.ndarray:
        return face_cell(open_face(), self.identity, None)

    def expression(self, method: Any, scale: float, clip: bool = False) -> np.ndarray | None:
        """What a method reads of the image, or with `clip` of the clip; None: nothing."""
        job = Job(method, GIVEN, scale)
        if job not in self.run.jobs:
            return None
        if clip:
            code = self.run.coded.pooled(job, len(self.run.dataset.clips))[self.row]
        else:
            code = self.run.coded.codes[method.id, GIVEN, scale][self.number]
        return None if np.isnan(code).any() else face_cell(open_face(), self.identity, code)


def _faces(run: Run, rows: list[int], count: int = 1) -> list[_Faces]:
    """The first `count` of these clips, by the hash of their keys, that can be shown."""
    found: list[_Faces] = []
    for row in cases.drawn(run.dataset.clips, rows, len(rows)):
        if len(found) == count:
            break
        try:
            found.append(_Faces(run, row))
        except ImageError:
            continue
    return found


def _examples(run: Run, out: Path) -> list[Picture]:
    """A clip a class: photo, shape alone, and each method's expression on that shape, at two scales."""
    methods = [method for method in run.methods if drawable(method)][:METHODS]
    if not methods:
        return []
    scales = sorted({run.scales[0], run.scales[-1]}, reverse=True)
    rows = []
    for label in run.dataset.classes[:EXAMPLES]:
        for faces in _faces(run, [n for n, clip in enumerate(run.dataset.clips) if clip.label == label]):
            cells: list[np.ndarray | None] = [faces.photo(scales[0]), faces.shape()]
            for scale in scales:
                cells += [faces.photo(scale)] if scale != scales[0] else []
                cells += [faces.expression(method, scale) for method in methods]
            rows.append(Row(label, tuple(cells)))
    headings = [f"photo\nscale {scales[0]:g}", "shape alone\n"]
    for scale in scales:
        headings += [f"photo\nscale {scale:g}"] if scale != scales[0] else []
        headings += [f"{method.name}\nscale {scale:g}" for method in methods]
    title = "Expressions read from the same photos, on one shape a row"
    sheet(out / "examples.png", title, headings, rows, side=90)
    return [_sheet("examples.png", f"{title}; a clip a class, drawn by the hash of its name")]


def _conditions(run: Run, out: Path) -> list[Picture]:
    """The first method on turned heads, at every scale, and by age."""
    method = next((method for method in run.methods if drawable(method)), None)
    if method is None:
        return []
    rows = [("pose: ", f"{name} degrees", inside) for name, inside in cases.between(yaws(run), cases.YAWS)]
    ages = np.array([np.nan if clip.age is None else clip.age for clip in run.dataset.clips])
    rows += [("age: ", f"{name} years", inside) for name, inside in cases.between(ages, cases.AGES)]
    made = []
    for kind, name, inside in rows:
        some = _faces(run, np.flatnonzero(inside).tolist(), 3)
        cells: list[np.ndarray | None] = []
        for faces in some:
            cells += [faces.photo(1.0), faces.expression(method, run.scales[0])]
        if some:
            made.append(Row(f"{kind}\n{name}", (*cells, *[_blank()] * (6 - len(cells)))))
    for faces in _faces(run, list(range(len(run.dataset.clips)))):
        for first in range(0, len(run.scales), 3):
            some_scales = run.scales[first : first + 3]
            cells = [cell for s in some_scales for cell in (faces.photo(s), faces.expression(method, s))]
            text = ", ".join(f"{scale:g}" for scale in some_scales)
            made.append(Row(f"scale:\n{text}", (*cells, *[_blank()] * (6 - len(cells)))))
    if not made:
        return []
    title = f"{method.name} by pose, scale and age"
    sheet(out / "conditions.png", title, ["photo", "read"] * 3, made, side=110)
    return [_sheet("conditions.png", f"{title}; clips drawn by the hash of their names")]


def _failures(run: Run, out: Path) -> list[Picture]:
    worst = run.record["failures"]
    if not worst:
        return []
    method = next(method for method in run.methods if method.name == worst[0]["method"])
    rows = []
    for one in worst:
        try:
            faces = _Faces(run, next(n for n, clip in enumerate(run.dataset.clips) if clip.key == one["clip"]))
        except ImageError:
            continue
        ratio = "unknown" if one["ratio"] is None else f"{one['ratio']:.2f}"
        text = (
            f"{one['label']}, taken for {one['predicted']}\n{one['own neighbours']} of {one['neighbours']} neighbours\n"
            f"amplitude {one['amplitude mm']:.2f} mm,\n{ratio} of what is expected"
        )
        rows.append(Row(text, (faces.photo(1.0), faces.shape(), faces.expression(method, one["scale"], clip=True))))
    if not rows:
        return []
    title = f"Worst failures of {method.name}"
    sheet(out / "failures.png", title, ["photo", "shape alone", "read"], rows, side=215)
    return [_sheet("failures.png", title)]


def _sheet(file: str, title: str) -> Picture:
    return {"kind": "sheet", "file": file, "title": title}


def _blank() -> np.ndarray:
    return np.full((CELL, CELL, 3), PAPER, np.uint8)
