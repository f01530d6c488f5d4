"""The parts of the report that measures.py brings: named blendshapes, their calibration, steadiness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from expnet_tf.evaluate.tables import plain, table

Record = Mapping[str, Any]
SHOWN = 8  # blendshapes in a table; all are in report.json


def contrasts(rows: Sequence[Record]) -> str:
    if not rows:
        return ""
    scales = sorted({row["scale"] for row in rows}, reverse=True)
    lines: dict[tuple[str, str], dict[float, str]] = {}
    for row in sorted(rows, key=lambda row: row["contrast"]):
        low, high = row["interval"]
        what = f"{row['contrast']}: {row['of']} against {row['against']}"
        lines.setdefault((what, row["method"]), {})[row["scale"]] = f"{row['area']:.3f} [{low:.3f}, {high:.3f}]"
    cells = [[what, method, *(line.get(s, "") for s in scales)] for (what, method), line in lines.items()]
    return (
        "## Named blendshapes: area under the curve\n\nThe chance that a clip of the class shows more of what is named "
        "than one of the others; 0.5 is none. Box given.\n\n"
        + table(["contrast", "method", *(f"scale {scale:g}" for scale in scales)], cells, 2)
    )


def calibration(rows: Sequence[Record]) -> str:
    """The named blendshapes that differ most between classes, by class."""
    parts = []
    for row in rows:
        classes = row["classes"]
        names = list(next(iter(classes.values())))
        values = {name: [some[name] for some in classes.values() if some[name] is not None] for name in names}
        spread = {name: max(some) - min(some) for name, some in values.items() if some}
        shown = sorted(sorted(spread, key=lambda name: -spread[name])[:SHOWN])
        cells = [[label, *(f"{some[name]:.2f}" for name in shown)] for label, some in classes.items()]
        parts.append(f"### {row['method']}\n\n{table(['class', *shown], cells)}")
    if not parts:
        return ""
    head = (
        "## Mean weights of blendshapes by class\n\nScale 1, box given; those that differ most between the classes, "
        "report.json has all 52. A neutral class should read 0 everywhere."
    )
    return "\n\n".join([head, *parts])


def robustness(rows: Sequence[Record]) -> str:
    if not rows:
        return ""
    columns = ["change", "method", "pictures", "abstained", "mean |dz|", "mm", "share"]
    keys = ["change", "method", "pictures", "abstained", "mean |dz|", "mm", "of the distance between photos"]
    order = list(dict.fromkeys(row["change"] for row in rows))
    cells = [[plain(row[key]) for key in keys] for row in sorted(rows, key=lambda row: order.index(row["change"]))]
    return (
        "## Steadiness\n\nHow far a code moves when the face stays as it is: per component (sigma, where the code "
        "is one of expressions), in mm on the mesh, and as a share of the distance between the codes of different "
        "photos. Scales: all images, box given, against scale 1; the others: some faces, drawn by hash.\n\n"
        + table(columns, cells, 2)
    )
