"""The two figures of the README's model table, for a shipped name or a .keras file.

    python tools/evaluate_model.py compact --synthetic FOLDER --pairs FOLDER

--synthetic: labelled faces of identities not trained on (`expnet synth` with a seed of its own): vertex error of the
predicted expression over the error of predicting the mean face. --pairs: photos of people neutral and smiling, as in
the Face Research Lab London Set: `boxes.csv` with path, label (neutral, happiness), box_x, box_y, box_w, box_h; the
person is the file name up to the underscore. The share of people whose smiling photo reads a larger
mouthSmileLeft + mouthSmileRight than their neutral one.
"""

import argparse
import csv
import json
from pathlib import Path

import keras
import numpy as np

from expnet_tf.data.labels import read_labels
from expnet_tf.image import crop, read_image
from expnet_tf.morphable import open_face
from expnet_tf.network import load_model, read_info
from expnet_tf.train.metrics import r_squared, vertex_error

ASSETS = Path(__file__).resolve().parent.parent / "expnet_tf" / "assets"


def blendshapes(model: keras.Model, crops: list[np.ndarray]) -> np.ndarray:
    """uint8 crops -> blendshape weights before clipping [n, 52]: a clipped tie would hide which smile is larger."""
    codes = keras.ops.convert_to_numpy(model.predict(np.stack(crops), batch_size=64, verbose=0)["expression"])
    return codes.astype(np.float64) @ open_face().expression_to_blendshapes


def synthetic(model: keras.Model, size: int, factor: float, folder: Path) -> dict:
    labels = read_labels(folder)
    crops = [
        crop(read_image(folder / key), box, size, factor) for key, box in zip(labels["key"], labels["box"], strict=True)
    ]
    predicted = model.predict(np.stack(crops), batch_size=250, verbose=0)["expression"]
    return {
        "images": len(crops),
        **vertex_error(predicted, labels["expression"]),
        "r2": r_squared(predicted, labels["expression"]).round(2).tolist(),
    }


def smile_pairs(model: keras.Model, size: int, factor: float, folder: Path) -> dict:
    with (folder / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    crops = [
        crop(read_image(folder / row["path"]), [float(row[f"box_{k}"]) for k in "xywh"], size, factor) for row in rows
    ]
    names = list(open_face().blendshape_names)
    weights = blendshapes(model, crops)
    smile = weights[:, names.index("mouthSmileLeft")] + weights[:, names.index("mouthSmileRight")]
    people: dict[str, dict[str, float]] = {}
    for row, value in zip(rows, smile, strict=True):
        people.setdefault(Path(row["path"]).name.split("_")[0], {})[row["label"]] = float(value)
    pairs = [p for p in people.values() if {"neutral", "happiness"} <= set(p)]
    neutral = [row["label"] == "neutral" for row in rows]
    asymmetry = [
        np.abs(np.clip(weights[:, i], 0, 1) - np.clip(weights[:, names.index(n[:-4] + "Right")], 0, 1)).mean()
        for i, n in enumerate(names)
        if n.endswith("Left")
    ]
    return {
        "people": len(pairs),
        "smile more when smiling": float(np.mean([p["happiness"] > p["neutral"] for p in pairs])),
        "median smile neutral, smiling": [
            round(float(np.median([p[k] for p in pairs])), 3) for k in ("neutral", "happiness")
        ],
        "mean |left - right|": round(float(np.mean(asymmetry)), 3),
        "blendshapes of neutral photos under 0.25": round(float((weights[neutral] < 0.25).mean()), 3),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="shipped name or .keras file")
    parser.add_argument("--synthetic", type=Path)
    parser.add_argument("--pairs", type=Path)
    options = parser.parse_args()
    path = Path(options.model) if options.model.endswith(".keras") else ASSETS / f"{options.model}.keras"
    network, info = load_model(path), read_info(path)
    figures: dict = {"model": info.id}
    if options.synthetic:
        figures["synthetic"] = synthetic(network, info.size, info.crop_factor, options.synthetic)
    if options.pairs:
        figures["pairs"] = smile_pairs(network, info.size, info.crop_factor, options.pairs)
    print(json.dumps(figures, indent=1))
