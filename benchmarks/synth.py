"""Speed of `expnet synth`: images a second and CPU time an image, at three sizes, and where the time goes.

    python benchmarks/synth.py [--assets MAKEHUMAN] [--people 50] [--workers 2] [--sizes 112 128 224]

Prints Markdown; benchmarks/synth.md has the figures of one machine. Everything is included: people, rendering,
camera, JPEG, files, labels; eight images a person. "CPU" is process time of one process on shards that it writes as
a run does; "wall" is a whole run with --workers processes, their start (assets are read by each) given apart. On a
machine that others use, wall times say little and CPU times are some 20 to 50% too high.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from unittest import mock

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the processes of a run have it

from expnet_tf import render as rendering
from expnet_tf.data import synth
from expnet_tf.data.scenes import scene, shot

PER_PERSON = 8
# Where each stage's function is looked up when it is called, and the stage.
STAGES = [
    (scene.Scenery, "person", "a person's looks"), (scene.Scenery, "vertices", "shape"),
    (scene.Scenery, "surfaces", "surfaces, folds, shadows"), (rendering, "raster", "what is seen"),
    (rendering, "shade", "shading"), (rendering, "blend", "hair, glass"), (shot, "render", "rest of rendering"),
    (shot.surroundings, "background", "background"), (shot.photo, "camera", "camera"),
    (synth, "take", "rest of a photo: expression, pose, box"),
]


class Stopwatch:
    """CPU seconds by stage; what a stage calls counts for the stage called."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.open: list[list[float]] = []

    def timed(self, function: Callable, stage: str) -> Callable:
        @wraps(function)
        def watched(*args, **options):
            self.open.append([0.0])
            start = time.process_time()
            try:
                return function(*args, **options)
            finally:
                whole = time.process_time() - start
                inside = self.open.pop()[0]
                self.spent[stage] = self.spent.get(stage, 0.0) + whole - inside
                if self.open:
                    self.open[-1][0] += whole

        return watched

    @contextmanager
    def running(self):
        patches = [mock.patch.object(place, name, self.timed(getattr(place, name), stage))
                   for place, name, stage in STAGES]
        for patch in patches:
            patch.start()
        yield
        for patch in patches:
            patch.stop()


def cpu_ms(people: int, size: int, assets: str | None, watch: Stopwatch | None = None) -> float:
    """CPU-ms an image, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        job = (f"{folder}/labels-00000-of-00001.npz", range(people), PER_PERSON, size, 0, assets)
        start = time.process_time()
        if watch is None:
            count = synth._shard(job)
        else:
            with watch.running():
                count = synth._shard(job)
        return (time.process_time() - start) / count * 1000


def wall_rate(people: int, size: int, assets: str | None, workers: int) -> tuple[float, float]:
    """Images a second of a whole run once its processes work; seconds until the first shard's worth was due."""
    done: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        synth.synthesize(Path(folder) / "out", people, PER_PERSON, size, 1, assets, workers,
                         lambda images: done.append((time.perf_counter() - start, images)))
    # Shards of the same size, `workers` at a time: the first round holds the start.
    rounds = [done[i][0] for i in range(workers - 1, len(done), workers)]
    images = sum(n for _, n in done[workers:])
    rate = images / (done[-1][0] - rounds[0])
    return rate, rounds[0] - workers * done[0][1] / rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", help="MakeHuman's CC0 folder; without it, procedural looks alone")
    parser.add_argument("--people", type=int, default=50, help="for the CPU time of each case")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=4, help="shards a worker in the wall-clock runs; 0: none")
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 128, 224])
    options = parser.parse_args()
    looks = {"procedural": None} | ({"MakeHuman's assets": options.assets} if options.assets else {})
    for assets in looks.values():
        synth.shots(0, 10**6, 2, 64, assets)  # compile, read the assets
    columns = f" wall, images/s, {options.workers} processes | start, s |" if options.rounds else ""
    print(f"| size, px | looks | CPU-ms an image | images/s a core |{columns}")
    print("| --- " * (4 + 2 * bool(options.rounds)) + "|")
    for size in options.sizes:
        for name, assets in looks.items():
            spent = cpu_ms(options.people, size, assets)
            row = f"| {size} | {name} | {spent:.1f} | {1000 / spent:.0f} |"
            if options.rounds:
                people = options.workers * (options.rounds + 1) * synth.PEOPLE_PER_SHARD
                rate, start = wall_rate(people, size, assets, options.workers)
                row += f" {rate:.0f} | {start:.0f} |"
            print(row, flush=True)
    print(f"\n| stage, CPU-ms an image, {name} | " + " | ".join(f"{size} px" for size in options.sizes) + " |")
    print("| --- " * (1 + len(options.sizes)) + "|")
    table = {}
    for size in options.sizes:
        watch = Stopwatch()
        whole = cpu_ms(options.people, size, assets, watch)
        count = options.people * PER_PERSON
        parts = {stage: seconds / count * 1000 for stage, seconds in watch.spent.items()}
        parts["JPEG, files, labels"] = whole - sum(parts.values())
        table[size] = parts | {"sum": whole}
    for stage in table[options.sizes[0]]:
        print(f"| {stage} | " + " | ".join(f"{table[size][stage]:.1f}" for size in options.sizes) + " |")


if __name__ == "__main__":
    main()
