"""Speed of the pipeline of 2018: batches against one photo at a time, in turn, and where the time goes.

    python benchmarks/release2018.py [--photos 16] [--batch 16] [--rounds 3]

Prints Markdown; benchmarks/release2018.md has the figures of one machine. The networks have the release's size and
random weights, which change no time, and the face model the 46,990 vertices of the Basel model's cut. Batches and one
at a time are ours and write the same files: reading, crops through JPEG, three networks, decoding, ASCII PLY. The third
way is one photo at a time as the program of 2018 went about it, with our networks: a product with each basis, texture
included, a Python loop over its values, and a line of the file at a time.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import cv2
import keras
import numpy as np

from expnet_tf.evaluate.tables import table
from expnet_tf.morphable import MorphableModel
from expnet_tf.network import with_heads
from expnet_tf.release2018 import pipeline, pixels, pose
from expnet_tf.release2018.networks import ALEXNET, RESNET101
from expnet_tf.release2018.pipeline import HEADS, Pipeline
from expnet_tf.release2018.table import Row

VERTICES, TRIANGLES = 46_990, 93_322
OLD = "one at a time, in the manner of 2018"
STAGES = [
    (pipeline, "read_image", "reading"),
    (pixels, "crop227", "crop"),
    (pixels, "through_jpeg", "JPEG"),
    (Pipeline, "codes", "networks, with the bilinear step"),
    (Pipeline, "vertices", "decoding, pose"),
    (pipeline.PlyWriter, "encode", "PLY as text"),
    (pipeline, "write_whole", "writing"),
]


def basel_size() -> MorphableModel:
    rng = np.random.default_rng(0)
    mean = rng.uniform(-80, 80, (VERTICES, 3))
    return MorphableModel(
        mean=mean,
        identity_basis=rng.normal(0, 0.1, (99, VERTICES, 3)),
        expression_basis=rng.normal(0, 0.1, (29, VERTICES, 3)),
        identity_variance=np.ones(99),
        expression_variance=np.ones(29),
        triangles=rng.integers(0, VERTICES, (TRIANGLES, 3), np.int32),
        provenance={"name": "random", "version": "0"},
        texture_mean=rng.uniform(0, 255, (VERTICES, 3)),
        texture_basis=rng.normal(0, 0.1, (99, VERTICES, 3)),
    )


def as_in_2018(whole: Pipeline, faces: list[Row], out: Path) -> None:
    """One photo at a time, its mesh written line by line."""
    model = whole.face_model
    assert model.texture_mean is not None
    assert model.texture_basis is not None
    columns = [b.reshape(len(b), -1).T for b in (model.identity_basis, model.expression_basis, model.texture_basis)]
    for row in faces:
        crop = pixels.through_jpeg(pixels.crop227(pipeline.read_image(row.path), row.box))
        codes = whole.codes(crop[None])
        shape = model.mean.ravel() + columns[0] @ codes["identity"][0] + columns[1] @ codes["expression"][0]
        colors = model.texture_mean.ravel() + columns[2] @ codes["texture"][0]
        colors = [min(max(value, 0), 255) for value in colors]
        mesh = pose.place(shape.reshape(-1, 3), codes["pose"][0])
        with open(out / f"{row.id}.ply", "w") as file:
            for x, y, z in mesh:
                file.write(f"{x:0.4f} {y:0.4f} {z:0.4f}\n")
            for a, b, c in model.triangles:
                file.write(f"3 {a} {b} {c}\n")


def rows(folder: Path, count: int) -> list[Row]:
    """Photos of 640 x 480 px with a face's box in each."""
    rng = np.random.default_rng(1)
    made = []
    for number in range(count):
        path = folder / f"{number}.jpg"
        noise = rng.integers(0, 256, (24, 32, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC))
        made.append(Row(str(number), path, (220.5, 120.25, 150.75, 210.5)))
    return made


@contextmanager
def watched(spent: dict[str, float]) -> Iterator[None]:
    """Add up the wall seconds of each stage."""

    def timed(function: Callable, stage: str) -> Callable:
        def run(*args, **options):
            start = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - start

        return run

    with ExitStack() as patches:
        for place, name, stage in STAGES:
            patches.enter_context(mock.patch.object(place, name, timed(getattr(place, name), stage)))
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    trunks = {"expression": RESNET101, "shape": RESNET101, "pose": ALEXNET}
    networks = {name: with_heads(trunk, name, HEADS[name]) for name, trunk in trunks.items()}
    whole = Pipeline(networks, basel_size())
    spent: dict[str, dict[str, float]] = {"one at a time": {}, f"batches of {options.batch}": {}}
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in (OLD, *spent)}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        out.mkdir()
        faces = rows(Path(folder), options.photos)
        one, many = spent
        ways: dict[str, Callable[[], object]] = {
            OLD: lambda: as_in_2018(whole, faces, out),
            one: lambda: pipeline.run(whole, faces, out, 1, True, print),
            many: lambda: pipeline.run(whole, faces, out, options.batch, True, print),
        }
        for number in range(options.rounds + 1):
            for name, way in ways.items():
                stages: dict[str, float] = {}
                with watched(stages):
                    start, busy = time.perf_counter(), time.process_time()
                    way()
                    now = time.perf_counter() - start, time.process_time() - busy
                if number == 0:
                    continue  # compiles
                took[name].append((1000 * now[0] / options.photos, 1000 * now[1] / options.photos))
                for stage, seconds in stages.items() if name in spent else ():
                    share = 1000 * seconds / options.photos / options.rounds
                    spent[name][stage] = spent[name].get(stage, 0.0) + share

    def median(values: Iterable[float]) -> float:
        return statistics.median(values)

    print(f"{options.photos} photos, {options.rounds} rounds, the median; {os.cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.1f}.\n")  # fmt: skip
    best = took[many]
    lines = [
        [
            name,
            f"{median(wall for wall, _ in times):.0f}",
            f"{median(cpu for _, cpu in times):.0f}",
            *(f"{median(a[i] / b[i] for a, b in zip(times, best, strict=True)):.2f}" for i in (0, 1)),
        ]
        for name, times in took.items()
    ]
    print(table(["", "wall, ms a face", "CPU, ms a face", "wall, ratio", "CPU, ratio"], lines))
    lines = [[name, *(f"{stages.get(name, 0):.1f}" for stages in spent.values())] for _, _, name in STAGES]
    print(f"\n{table(['wall, ms a face', *spent], lines)}")


if __name__ == "__main__":
    main()
