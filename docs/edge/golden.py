"""golden.py EXPORTS OUT: what a device must reproduce, from an export folder, in files that need no Python to be read.

OUT/000.ppm, 001.ppm, ... are the crops that the export was judged on; OUT/golden.jsonl has a line for each, in the form
in which `predict` prints its own, with the answers of the network in float64.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from expnet_tf.morphable import open_face


def main(exports: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with np.load(exports / "parity_inputs.npz", allow_pickle=False) as file:
        heads = {name: file[name] for name in file.files}
    images = heads.pop("image")
    face_model = open_face()
    lines = []
    for i, image in enumerate(images):
        name = f"{i:03d}.ppm"
        height, width, _ = image.shape
        (out / name).write_bytes(b"P6\n%d %d\n255\n" % (width, height) + image.tobytes())
        answer = {head: values[i].tolist() for head, values in heads.items()}
        weights = face_model.blendshapes(answer["expression"]).tolist()
        blendshapes = dict(zip(face_model.blendshape_names.tolist(), weights, strict=True))
        lines.append(json.dumps({"file": name, **answer, "blendshapes": blendshapes}) + "\n")
    (out / "golden.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: golden.py EXPORTS OUT")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
