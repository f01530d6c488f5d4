"""Charts of `expnet evaluate synthetic`: R^2 by component, error against yaw, share by zone of the face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.evaluate.figures import COLORS, MARKERS, bare, figure

Record = Mapping[str, Any]
FLOOR = -0.2  # of R^2, as drawn: a bar that reaches it may be any depth below


def draw(out: Path, record: Record) -> list[str]:
    """Write the charts below `out`; their file names."""
    methods = [method for method in record["methods"] if "components" in method]
    if not methods:
        return []
    components(out / "components.png", methods)
    yaw(out / "yaw.png", methods)
    zones(out / "zones.png", methods)
    return ["components.png", "yaw.png", "zones.png"]


def components(path: Path, methods: Sequence[Record]) -> None:
    """R^2 of each expression component, a bar a method."""
    with figure(path, 9.5, 3.6) as made:
        panel = made.subplots()
        count = len(methods[0]["components"]["r2"])
        for number, method in enumerate(methods):
            values = [FLOOR if value is None else max(value, FLOOR) for value in method["components"]["r2"]]
            _bars(panel, number, len(methods), values, method["name"])
        panel.axhline(0, color="#888888", linewidth=1)
        panel.set_xticks(range(count), [str(number) for number in range(count)], fontsize=8)
        panel.set_ylim(FLOOR, 1)
        panel.set_xlabel(f"expression component (R^2 below {FLOOR:g} is drawn at {FLOOR:g})")
        panel.set_ylabel("R^2")
        bare(panel)
        _legend(made, methods)


def yaw(path: Path, methods: Sequence[Record]) -> None:
    """Vertex error against how far the head is turned; the mean expression's beside it, dashed."""
    with figure(path, 6.4, 4.0) as made:
        panel = made.subplots()
        for number, method in enumerate(methods):
            bins = [one for one in method["by yaw"] if one["images"]]
            middle = [sum(one["yaw"]) / 2 for one in bins]
            color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
            panel.plot(middle, [one["error mm"] for one in bins], color=color, marker=marker, label=method["name"])
        first = [one for one in methods[0]["by yaw"] if one["images"]]
        panel.plot(
            [sum(one["yaw"]) / 2 for one in first], [one["mean face error mm"] for one in first],
            color="#888888", linestyle=(0, (4, 3)), label="the mean expression",
        )  # fmt: skip
        panel.set_xlim(0, 90)
        panel.set_ylim(0)
        panel.set_xticks([one["yaw"][0] for one in methods[0]["by yaw"]] + [90])
        panel.set_xlabel("turned to either side, degrees")
        panel.set_ylabel("mean vertex error, mm")
        bare(panel)
        made.legend(loc="outside lower center", ncols=4, frameon=False)


def zones(path: Path, methods: Sequence[Record]) -> None:
    """Share of the mean expression's error, by zone of the face."""
    names = list(methods[0]["zones"])
    with figure(path, 6.4, 3.8) as made:
        panel = made.subplots()
        for number, method in enumerate(methods):
            _bars(panel, number, len(methods), [method["zones"][name]["share"] or 0 for name in names], method["name"])
        panel.axhline(1, color="#888888", linewidth=1, linestyle=(0, (4, 3)))
        panel.set_xticks(range(len(names)), names)
        panel.set_ylabel("error over the mean expression's")
        bare(panel)
        _legend(made, methods)


def _bars(panel: Any, number: int, count: int, values: Sequence[float], name: str) -> None:
    width = 0.8 / count
    places = np.arange(len(values)) + width * (number - (count - 1) / 2)
    panel.bar(places, values, width, color=COLORS[number % len(COLORS)], label=name)


def _legend(made: Any, methods: Sequence[Record]) -> None:
    if len(methods) > 1:
        made.legend(loc="outside lower center", ncols=4, frameon=False)
