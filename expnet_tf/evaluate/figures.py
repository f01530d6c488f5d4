"""Charts of the report: accuracy against scale (the paper's Fig. 4) and confusion matrices (Figs. 2 and 3).

The same numbers give the same bytes: no dates or versions in the files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.files import write_whole

# Okabe and Ito's colours, told apart by the colour-blind; yellow is left out, too faint on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vPX"
INK, FAINT = "#222222", "#D9D9D9"
DPI = 110
STYLE = {"font.family": "DejaVu Sans", "font.size": 10, "axes.edgecolor": "#888888", "text.color": INK,
         "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK}  # fmt: skip


def curves(path: Path, results: Sequence[Mapping[str, Any]], settings: Sequence[str], chance: float) -> None:
    """Accuracy against scale with 95% intervals, a panel a setting.

    Args:
        results: rows with method, setting, scale, accuracy and interval (shares of 1), of one protocol.
        chance: accuracy of always naming the most frequent class, a dashed line.
    """
    scales = sorted({row["scale"] for row in results}, reverse=True)
    methods = list(dict.fromkeys(row["method"] for row in results))
    with figure(path, 4.1 * len(settings) + 0.4, 4.2) as made:
        panels = made.subplots(1, len(settings), sharey=True, squeeze=False)[0]
        lines: dict[str, Any] = {}
        for panel, setting in zip(panels, settings, strict=True):
            panel.axhline(100 * chance, color="#888888", linewidth=1, linestyle=(0, (4, 3)), zorder=1)
            for number, method in enumerate(methods):
                rows = {row["scale"]: row for row in results if (row["method"], row["setting"]) == (method, setting)}
                there = [scale for scale in scales if scale in rows]
                if not there:
                    continue
                # Beside each other, so that no interval hides another.
                x = np.array([scales.index(s) for s in there]) + 0.09 * (number - (len(methods) - 1) / 2)
                y = 100 * np.array([rows[s]["accuracy"] for s in there])
                low, high = 100 * np.array([rows[s]["interval"] for s in there]).T
                color = COLORS[number % len(COLORS)]
                lines[method] = panel.errorbar(
                    x, y, [y - low, high - y], color=color, marker=MARKERS[number % len(MARKERS)], markersize=5.5,
                    linewidth=1.8, elinewidth=1.1, capsize=2.5, zorder=3 + number,
                )  # fmt: skip
            panel.set_xticks(range(len(scales)), [f"{scale:g}" for scale in scales])
            panel.set_xlim(-0.5, len(scales) - 0.5)
            panel.set_title(setting, fontsize=11)
            panel.set_xlabel("scale of the images")
            bare(panel)
        panels[0].set_ylabel("clips classified rightly, %")
        panels[0].text(-0.45, 100 * chance, "most frequent class", va="bottom", fontsize=8, color="#666666")
        top = max([100 * row["interval"][1] for row in results] + [100 * chance])
        panels[0].set_ylim(0, min(100.0, top + 8))
        made.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=min(4, len(lines)), frameon=False)


def confusions(path: Path, title: str, classes: Sequence[str], counts: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Row-normalised confusion matrices, a line of panels for each mapping.

    Args:
        counts: {title of the panel: int [classes, classes + 1]}, the last column being abstentions, which is drawn
            where there are any.
    """
    abstained = any(matrix[:, -1].any() for line in counts for matrix in line.values())
    names = [*classes, "no face"] if abstained else list(classes)
    cell, room = 0.5, 0.1 * max(map(len, names))  # inches
    width = (cell * len(names) + 0.2) * max(map(len, counts)) + room + 0.5
    height = (cell * len(classes) + 0.35) * len(counts) + room + 0.5
    with figure(path, width, height) as made:
        panels = made.subplots(len(counts), max(map(len, counts)), squeeze=False, sharex=True, sharey=True)
        for panel in panels.flat:
            panel.set_visible(False)
        for line, some in zip(panels, counts, strict=True):
            for panel, (name, matrix) in zip(line, some.items()):  # noqa: B905  a line may have fewer
                share = 100 * matrix[:, : len(names)] / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
                panel.set_visible(True)
                panel.imshow(share, cmap="Blues", vmin=0, vmax=100)
                for (row, column), value in np.ndenumerate(share):
                    color = "white" if value > 55 else INK
                    panel.text(column, row, f"{value:.0f}", ha="center", va="center", color=color, fontsize=9)
                panel.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
                panel.set_yticks(range(len(classes)), classes)
                panel.set_title(name, fontsize=10)
                panel.tick_params(length=0)
                for spine in panel.spines.values():
                    spine.set_visible(False)
        made.suptitle(f"{title}: what each class is taken for, %", fontsize=11)


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Any]:
    """A figure of this size, inches, which is written when it is done; the user's own style plays no part."""
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context([STYLE], after_reset=True):
        made = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
        yield made
        file = io.BytesIO()
        # None: matplotlib would put its version there.
        made.savefig(file, format="png", metadata={"Software": None})
    write_whole(path, file.getvalue())


def bare(panel: Any) -> None:
    """Leave a panel its grid lines and its lower edge."""
    panel.grid(axis="y", color=FAINT, linewidth=0.8)
    panel.set_axisbelow(True)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.tick_params(length=0)
