"""The end of a run: report.json, and as pictures report.png (curves, R^2) and worst.png (the faces read worst)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.files import write_whole
from expnet_tf.train import sheet
from expnet_tf.train.feed import Feed
from expnet_tf.train.inference import Codes
from expnet_tf.train.metrics import errors, r_squared, rotation_error
from expnet_tf.train.state import Progress

WORST = 12


def missing() -> str:
    """A sentence about packages of the extra `train` that are not installed; empty where all are."""
    gone = [name for name in ("matplotlib", "tensorboard") if importlib.util.find_spec(name) is None]
    what = {"matplotlib": "report.png", "tensorboard": "TensorBoard logs"}
    if not gone:
        return ""
    return (
        f"Without {' and '.join(gone)} this run writes no {' and no '.join(what[name] for name in gone)}: "
        "pip install 'expnet_tf[train]'."
    )


def write(folder: Path, job: dict[str, Any], progress: Progress, feed: Feed, predicted: Codes, true: Codes) -> dict:
    """Write the report of a run; returns what report.json holds. Raises OSError."""
    head = next(name for name in ("expression", "identity", "pose") if name in predicted)
    each = rotation_error(predicted[head], true[head]) if head == "pose" else errors(predicted[head], true[head], head)
    order = np.argsort(-each)[:WORST].tolist()
    unit = "rotation_deg" if head == "pose" else "vertex_mm"
    keys = feed.keys(order)
    report = _plain(
        {
            "job": job,
            "validation": {k: v for k, v in progress.history[-1].items() if k.startswith("val_")},
            "r2": {name: r_squared(predicted[name], true[name]).round(4).tolist() for name in predicted},
            "worst": [{"key": key, unit: round(float(each[i]), 4)} for key, i in zip(keys, order, strict=True)],
            "epochs": progress.history,
            "curve": {"columns": ["step", "loss", "learning_rate"], "points": progress.curve},
        }
    )
    write_whole(folder / "report.json", f"{json.dumps(report, indent=1)}\n".encode())
    photos, _ = feed.examples(order)
    chosen = [{name: value[order] for name, value in codes.items()} for codes in (predicted, true)]
    sheet.write_png(folder / "worst.png", sheet.sheet(photos, *chosen))
    if importlib.util.find_spec("matplotlib"):
        _draw(folder / "report.png", report, progress)
    return report


def _plain(value: Any) -> Any:
    """The same with null for numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _draw(path: Path, report: dict, progress: Progress) -> None:
    import io

    # Not pyplot: it would look for a display and keep figures open.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    loss, share, rate, bars = figure.subplots(2, 2).flat
    steps = [line["step"] for line in progress.history]
    if progress.curve:
        curve = np.array(progress.curve)
        loss.plot(curve[:, 0], curve[:, 1], lw=1, label="training")
        rate.plot(curve[:, 0], curve[:, 2])
    else:
        rate.plot(steps, [line["learning_rate"] for line in progress.history])
    loss.plot(steps, [line["val_loss"] for line in progress.history], "o-", label="validation, heads only")
    loss.set(title="Loss", xlabel="step", yscale="log")
    loss.legend()
    rate.set(title="Learning rate", xlabel="step", yscale="log")
    names = {"val_share": "expression", "val_identity_share": "identity"}
    title = "Validation: vertex error over that of the mean face"
    if not names.keys() & report["validation"].keys():
        names, title = {"val_rotation_deg": "rotation"}, "Validation: error of the rotation, degrees"
    for name in names.keys() & report["validation"].keys():
        share.plot(steps, [line[name] for line in progress.history], "o-", label=names[name])
    share.set(title=title, xlabel="step", ylim=(0, None))
    share.legend()
    head = next(iter(report["r2"]))
    values = np.nan_to_num(np.array(report["r2"][head], float))
    bars.bar(range(1, len(values) + 1), np.clip(values, -0.2, 1))
    bars.set(title=f"R^2 of each {head} component", xlabel="component", ylim=(-0.2, 1))
    bars.axhline(0, color="black", lw=0.5)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=90)
    write_whole(path, content.getvalue())
