"""The certificate as people read it: a plain table, parity.md and parity.png."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from expnet_tf.export import CERTIFICATE, REFERENCE_INPUTS, ExportError
from expnet_tf.export.parity import FAIL, NOT_RUN, PASS, Report, Row, verify
from expnet_tf.export.reference import read_inputs
from expnet_tf.files import write_whole
from expnet_tf.morphable import MorphableModel, open_face

log = logging.getLogger(__name__)

_, TEXT, PICTURE = CERTIFICATE

HEADS = ("artifact", "runtime", "version", "MB", "max |dz|", "mean |dz|", "max mm", "rms mm", "blendsh.", "result")
OTHERS = ("identity", "texture", "pose", "quality")
ELSE = (*(f"max {head}" for head in OTHERS), "decode, max mm")  # on the page too, where there is room


def _cells(row: Row) -> list[str]:
    numbers = (row.max_dz_sigma, row.mean_dz_sigma, row.vertex_max_mm, row.vertex_rms_mm, row.blendshape_max)
    size = "-" if row.bytes is None else f"{row.bytes / 1e6:.2f}"
    result = row.result.upper() if row.result == FAIL else row.result
    shown = ["-" if value is None else f"{value:.1e}" for value in numbers]
    return [row.artifact, row.runtime, row.runtime_version or "-", size, *shown, result]


def _else(row: Row) -> list[str]:
    numbers = (*(row.other_heads.get(head) for head in OTHERS), row.decode_vertex_max_mm)
    return ["-" if value is None else f"{value:.1e}" for value in numbers]


def _remarks(report: Report) -> list[str]:
    """What was not run, what failed, and the verdict, a sentence each."""
    said = [f"{row.artifact} in {row.runtime}: {row.error}" for row in report.results if row.result == NOT_RUN]
    said += [f"{row.artifact} in {row.runtime}: {row.error}" for row in report.results if row.result == FAIL]
    run = [row for row in report.results if row.result != NOT_RUN]
    good = sum(row.result == PASS for row in run)
    skipped = f", {len(report.results) - len(run)} not run here" if len(run) < len(report.results) else ""
    faces, model = report.reference["faces"], report.model["id"]
    if good == len(run) and not report.passed:  # the reference alone
        return [*said, f"failed: no artifact was judged{skipped}, {faces} faces, model {model}"]
    return [*said, f"{good} of {len(run)} pass{skipped}, {faces} faces, model {model}"]


def table(report: Report) -> str:
    """The report as plain text: a line per artifact and runtime, then what failed or was not run, and why."""
    lines = [list(HEADS), *(_cells(row) for row in report.results)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADS))]
    text = [
        "  ".join(
            cell.rjust(w) if 3 <= i <= 8 else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    text.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(line.rstrip() for line in [*text, *_remarks(report)])


def certify(
    directory: str | os.PathLike,
    *,
    face_model: MorphableModel | None = None,
    also: Sequence[str] = (),
    progress: Callable[[str], None] = log.info,
) -> Report:
    """`verify` the export folder, and write parity.md, and parity.png where an expression was judged, beside it.

    Raises what `verify` raises.
    """
    folder = Path(directory)
    report = verify(folder, face_model=face_model, also=also, progress=progress)
    progress(f"{TEXT}, {PICTURE}: writing")
    picture = draw(report, folder, face_model or open_face())
    if picture is not None:
        write_whole(folder / PICTURE, cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    write_whole(folder / TEXT, markdown(report, picture is not None).encode())
    return report


def markdown(report: Report, picture: bool) -> str:
    """One page: what was compared with what, the table, the limits, and the picture."""
    reference = report.reference
    coverage = reference["coverage"] or {}
    lines = [
        f"# Parity of {report.model['id']}",
        "",
        f"**{'Passed' if report.passed else 'FAILED'}**: {_remarks(report)[-1]}. {report.created}, {report.machine}.",
        "",
        f"Reference: the Keras model's {reference['precision']} answer to {reference['faces']} faces "
        f"(sha256 of the inputs {reference['inputs_sha256'][:16]}...), decoded by the 3D morphable model in "
        f"{reference['decoder']}. Errors of vertices are in millimetres on the mesh, |dz| and identity in sigma, pose "
        "in its spread; decode is the artifact's own decoder, with identity.",
        "",
        *(f"- {name}: {value}" for name, value in coverage.items()),
        *([""] if coverage else []),
        "| " + " | ".join((*HEADS, *ELSE)).replace("|dz|", "\\|dz\\|") + " |",
        "|" + " --- |" * (len(HEADS) + len(ELSE)),
        *("| " + " | ".join((*_cells(row), *_else(row))) + " |" for row in report.results),
        "",
        *(f"- {remark}" for remark in _remarks(report)[:-1]),
        "",
        "| precision | " + " | ".join(LIMITS.values()) + " |",
        "|" + " --- |" * (len(LIMITS) + 1),
        *_limits(report),
        "",
    ]
    if picture:
        lines += [f"![Error on the mesh, by component, and the worst faces]({PICTURE})", ""]
    return "\n".join(lines)


LIMITS = {
    "max_dz_sigma": "max \\|dz\\|",
    "mean_dz_sigma": "mean \\|dz\\|",
    "vertex_max_mm": "vertex max, mm",
    "vertex_rms_mm": "vertex rms, mm",
    "other_heads": f"max {', '.join(OTHERS)}",
}


def _limits(report: Report) -> list[str]:
    """The tolerances that were applied, a table row for each precision."""
    applied = {row.precision: row.tolerance for row in report.results if row.tolerance}
    return [
        f"| {precision} | "
        + " | ".join("-" if limits[name] is None else f"{limits[name]:g}" for name in LIMITS)
        + " |"
        for precision, limits in applied.items()
    ]


# The picture: a row an artifact: the mesh coloured by its error, the error by component, the faces it is worst on.
PANEL, BARS, GAP, LEFT = 190, 420, 14, 250  # px
BACK, INK, FAINT, BAR = (20, 22, 27), (232, 234, 238), (140, 146, 156), (255, 178, 84)
COLD, WARM, HOT = (0.24, 0.30, 0.42), (0.86, 0.55, 0.26), (0.98, 0.92, 0.70)  # sRGB at 0, half and all of a scale
SHOWN = 3  # worst faces


def draw(report: Report, directory: Path, face_model: MorphableModel) -> np.ndarray | None:
    """The picture of a certificate, uint8 RGB [h, w, 3]; None where no artifact has an expression."""
    rows = [row for row in report.results if row.vertex_rms is not None]
    if not rows:
        return None
    try:
        images = read_inputs(directory / REFERENCE_INPUTS)[0]
    except ExportError:
        return None
    width = LEFT + PANEL + BARS + SHOWN * (PANEL + GAP) + 4 * GAP
    top = 44
    page = Image.new("RGB", (width, top + len(rows) * (PANEL + GAP) + GAP), BACK)
    pen = ImageDraw.Draw(page)
    x_mesh, x_bars, x_faces = LEFT, LEFT + PANEL + GAP, LEFT + PANEL + BARS + 3 * GAP
    for x, text in (
        (GAP, f"Errors of {report.model['id']}"[:34]),  # as much as there is room for
        (x_mesh, "rms over faces, on the mesh"),
        (x_bars, "mean |dz| of the 29 components, sigma"),
        (x_faces, "the faces it is worst on"),
    ):
        pen.text((x, top / 2), text, fill=INK, font=_font(15), anchor="lm")
    for number, row in enumerate(rows):
        y = top + number * (PANEL + GAP)
        pen.text((GAP, y + 40), row.artifact, fill=INK, font=_font(18), anchor="lm")
        unit, scale = ("mm", 1.0) if row.vertex_rms_mm >= 1e-3 else ("nm", 1e6)
        for line, text in enumerate(
            (
                f"in {row.runtime} {row.runtime_version}"[:32],
                f"rms {row.vertex_rms_mm * scale:.3g} {unit}, worst {row.vertex_max_mm * scale:.3g} {unit}",
                f"colours: 0 to {row.vertex_rms.max() * scale:.3g} {unit}",
                row.result,
            )
        ):
            pen.text((GAP, y + 68 + 22 * line), text, fill=FAINT, font=_font(14), anchor="lm")
        page.paste(Image.fromarray(_heat(face_model, row.vertex_rms)), (x_mesh, y))
        _bars(pen, (x_bars, y + 12, x_bars + BARS, y + PANEL - 22), row.component_dz_sigma)
        for i, face in enumerate(row.worst_faces[:SHOWN]):
            square = cv2.resize(images[face], (PANEL, PANEL), interpolation=cv2.INTER_LINEAR)
            page.paste(Image.fromarray(square), (x_faces + i * (PANEL + GAP), y))
    return np.array(page)


def _heat(face_model: MorphableModel, error: np.ndarray) -> np.ndarray:
    """The mean face from the front, coloured by error [v], 0 to its largest: uint8 RGB [PANEL, PANEL, 3]."""
    from expnet_tf.render import Light, Surface, over, render

    share = error / max(float(error.max()), 1e-30)
    stops = np.array([COLD, WARM, HOT])
    colors = np.stack([np.interp(share, [0, 0.5, 1], stops[:, k]) for k in range(3)], 1) ** 2.2
    points = face_model.mean[face_model.landmark_ids]
    middle = (points.min(0) + points.max(0)) / 2
    vertices = face_model.mean - [middle[0], middle[1] + 12.0, 1100.0]
    light = Light(sh=np.vstack([np.full((1, 3), 0.75), np.zeros((8, 3))]), color=np.full(3, 0.35))
    surface = Surface(vertices, face_model.triangles, colors, specular=0.0)
    drawn = render([surface], 5.6 * PANEL, (PANEL / 2, PANEL / 2), (PANEL, PANEL), light)
    return over(drawn, np.full((PANEL, PANEL, 3), BACK, np.uint8))


def _bars(pen: ImageDraw.ImageDraw, area: tuple[int, int, int, int], values: list[float]) -> None:
    x0, y0, x1, y1 = area
    largest = max(*values, 1e-30)
    step = (x1 - x0) / len(values)
    for i, value in enumerate(values):
        left = x0 + i * step
        pen.rectangle((left + 2, y1 - value / largest * (y1 - y0 - 14), left + step - 2, y1), fill=BAR)
        if i % 4 == 0:
            pen.text((left + step / 2, y1 + 11), str(i + 1), fill=FAINT, font=_font(12), anchor="mm")
    pen.text((x0, y0), f"{largest:.2g}", fill=FAINT, font=_font(13), anchor="lm")


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
