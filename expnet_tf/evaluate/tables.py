"""Markdown tables and the numbers in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], text: int = 1) -> str:
    """A Markdown table; the first `text` columns to the left, the others to the right."""
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in [columns, *rows]]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    sides = ["---"] * text + ["---:"] * (len(columns) - text)
    return "\n".join([lines[0], f"| {' | '.join(sides)} |", *lines[1:]])


def percent(row: Mapping[str, Any]) -> str:
    """accuracy and interval of a row, as in 56.9 [51.3, 62.5]."""
    text = f"{100 * row['accuracy']:.1f}"
    if row["interval"] is None:
        return text
    low, high = row["interval"]
    return f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


def plain(value: object) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
