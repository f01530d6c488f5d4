"""report.md and report.json of `expnet evaluate synthetic`: the same record gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expnet_tf.evaluate.tables import table
from expnet_tf.facejson import dumps
from expnet_tf.files import write_whole

Record = Mapping[str, Any]
SHOWN = 12  # blendshapes in the table; all are in report.json


def write(out: Path, record: Record) -> None:
    """Write `out`/report.json and `out`/report.md."""
    write_whole(out / "report.json", dumps(record).encode("ascii"))
    write_whole(out / "report.md", f"{markdown(record)}\n".encode())


def markdown(record: Record) -> str:
    """The report as Markdown, from the record alone."""
    data, methods = record["data"], [method for method in record["methods"] if "components" in method]
    blind = [method["name"] for method in record["methods"] if "components" not in method]
    parts = [
        f"# Expressions of synthetic faces: {data['path']}",
        f"{data['images']:,} images of {data['people']:,} people, {len(data['unreadable'])} unreadable. Errors are "
        "mean distances of vertices in mm, truth and prediction on the same identity; share is the error over that of "
        "always answering the set's mean expression.",
        f"No codes: {', '.join(blind)}." if blind else "",
        summary(record),
        '## Zones of the face\n\nmm, and share. In "whole" lips, lids and brows weigh four times, as in the loss.',
        _zones(methods),
        _pictures(record, "zones.png"),
        "## How far the head is turned",
        _yaw(methods),
        _pictures(record, "yaw.png"),
        "## Components",
        _components(methods),
        _pictures(record, "components.png"),
        "## Neutral faces and identity",
        "Faces whose true expression moves them by less than half a millimetre: what is read of them. Leak: R^2 with "
        "which the true identity predicts what is read beyond the true expression, for people left out; 0 or less: too "
        "little to show with so many people. By person: share of the error's variance that is a person's own.",
        _neutral(methods),
        "## Calibration of the blendshapes\n\nPredicted weight on true weight: slope below 1 reads too weak. "
        f"Reliability: slope of the true weight on the predicted one, 1 is right. The {SHOWN} of the largest true "
        "weights.",
        *[_calibration(method) for method in methods],
    ]
    return "\n\n".join(part for part in parts if part)


def summary(record: Record) -> str:
    """The first table: error and share overall, frontal and turned."""
    columns = ["method", "error mm", "share", "frontal share", "turned share", "mean R^2", "abstained"]
    rows: list[Sequence[object]] = []
    for method in record["methods"]:
        if "components" not in method:
            rows.append([method["name"], *["-"] * 5, method["abstained"]])
            continue
        known = [value for value in method["components"]["r2"] if value is not None]
        mean = sum(known) / len(known) if known else None
        shares = [method["share"], method["frontal"]["share"], method["turned"]["share"], mean]
        rows.append([method["name"], _number(method["error mm"]), *map(_number, shares), method["abstained"]])
    return table(columns, rows)


def _zones(methods: Sequence[Record]) -> str:
    names = list(methods[0]["zones"]) if methods else []
    rows = [
        [method["name"], *[f"{_number(one['error mm'])} ({_number(one['share'])})" for one in method["zones"].values()]]
        for method in methods
    ]
    return table(["method", *names], rows)


def _yaw(methods: Sequence[Record]) -> str:
    bins = methods[0]["by yaw"] if methods else []
    columns = ["method", *[f"{one['yaw'][0]:g} to {one['yaw'][1]:g} ({one['images']})" for one in bins]]
    rows = [[method["name"], *[_number(one["share"]) for one in method["by yaw"]]] for method in methods]
    return "Share, by degrees to either side (images).\n\n" + table(columns, rows)


def _components(methods: Sequence[Record]) -> str:
    """R^2 and rms error of each component by each method, ten a table."""
    count = len(methods[0]["components"]["r2"]) if methods else 0
    tables = []
    for start in range(0, count, 10):
        numbers = range(start, min(start + 10, count))
        rows: list[Sequence[object]] = [
            ["true spread", *[_number(methods[0]["components"]["true spread"][number]) for number in numbers]]
        ]
        for method in methods:
            values = method["components"]
            cells = [f"{_number(values['r2'][n])} ({_number(values['rms error'][n])})" for n in numbers]
            rows.append([method["name"], *cells])
        tables.append(table(["component", *map(str, numbers)], rows))
    return "R^2 (rms error, sigma).\n\n" + "\n\n".join(tables)


def _neutral(methods: Sequence[Record]) -> str:
    columns = ["method", "faces", "true mm", "read mm", "leak", "leak, all faces", "by person", "by person, all faces"]
    rows = []
    for method in methods:
        still, leak = method["neutral"], method["identity leak"]
        told = [leak[which][name] for name in ("r2", "by person") for which in ("neutral", "all")]
        rows.append([method["name"], still["images"], *map(_number, [still["true mm"], still["read mm"], *told])])
    return table(columns, rows)


def _calibration(method: Record) -> str:
    columns = ["mean true", "mean read", "slope", "intercept", "reliability", "correlation"]
    largest = sorted(method["calibration"], key=lambda row: -row["mean true"])[:SHOWN]
    rows = [[row["blendshape"], *[_number(row[name]) for name in columns]] for row in largest]
    return table([method["name"], *columns], rows)


def _pictures(record: Record, name: str) -> str:
    return f"![{name.removesuffix('.png')}]({name})" if name in record.get("pictures", []) else ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
