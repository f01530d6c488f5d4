"""Reading packed folders: the throughput beside bare decoding of the same shards, and where the time goes.

    python benchmarks/records.py PACKED [--batch-size 64] [--rounds 9] [--picture PNG]

Prints Markdown; benchmarks/records.md has the figures of one machine. Everything is measured in one run, in turns,
and both by the clock and by the CPU time of the process: on a shared machine the second is the steadier one. Bare
decoding is what any reader must do: TFRecordDataset, the image out of the Example, decode_jpeg to the same pixels, as
many calls in parallel as tf.data likes, batched (which is faster than handing on one by one); no labels, no shuffling.
Every pipeline is driven inside tf.data (`reduce`), so that no Python between batches counts against either.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from expnet_tf.data.records import WIDTHS, Packed, Records, batches, dataset, open_packed, plain_batches
from expnet_tf.data.tfrecord import decode_example

BARE, LAST = "bare", "JPEG to pixels, batch"
LABELS = {BARE: "bare decoding", "bare, one by one": "bare decoding, not batched", LAST: "dataset()"}
Rates = dict[str, list[tuple[float, float]]]  # seconds by the clock and of the CPU, an image


def bare(packed: Packed) -> tf.data.Dataset:
    """Decodes every training image, in the order of the shards, and nothing else."""
    feature = {"image": tf.io.FixedLenFeature((), tf.string)}

    def decode(raw: tf.Tensor) -> tf.Tensor:
        image = tf.io.parse_single_example(raw, feature)["image"]
        return tf.io.decode_jpeg(image, channels=3, dct_method="INTEGER_ACCURATE")

    files = [str(path) for path in packed.shards["train"]]
    return tf.data.TFRecordDataset(files).map(decode, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def bare_batches(packed: Packed, batch_size: int) -> tf.data.Dataset:
    """The same, into batches."""
    return bare(packed).batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def steps(packed: Packed, batch_size: int) -> dict[str, tf.data.Dataset]:
    """dataset(), built up one step after the other."""
    records = Records(packed, "train")
    plan = batches(len(records), batch_size, seed=0)

    def read(number: np.ndarray) -> np.ndarray:
        return np.array([records.raw(row) for row in plan[int(number)]], object)

    def raw(number: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(read, [number], tf.string), [batch_size])

    numbers = tf.data.Dataset.range(len(plan))
    features = {name: tf.io.FixedLenFeature(width, tf.float32) for name, width in WIDTHS.items()}
    features["image"] = tf.io.FixedLenFeature((), tf.string)
    return {
        "into tf.data": numbers.map(raw, tf.data.AUTOTUNE),
        "labels out of the Examples": numbers.map(lambda n: tf.io.parse_example(raw(n), features), tf.data.AUTOTUNE),
        LAST: dataset(packed, "train", batch_size, seed=0),
    }


def plain_steps(packed: Packed, batch_size: int) -> dict[str, Callable[[], object]]:
    """plain_batches() on one thread, built up likewise; each call is one epoch."""
    records = Records(packed, "train")
    order = np.concatenate(batches(len(records), batch_size, seed=0))
    return {
        "read, checksums": lambda: [len(records.raw(row)) for row in order],
        "labels out of the Examples": lambda: [len(decode_example(records.raw(row))) for row in order],
        "JPEG to pixels, batch": lambda: list(map(len, plain_batches(packed, "train", batch_size, seed=0, workers=1))),
    }


def drive(made: tf.data.Dataset) -> Callable[[], object]:
    return lambda: made.reduce(np.int64(0), lambda count, *_: count + 1).numpy()


def measure(jobs: dict[str, Callable[[], object]], images: int, rounds: int) -> Rates:
    """Every job once to warm up, then in turns."""
    for job in jobs.values():
        job()
    rates: Rates = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            clock, cpu = time.perf_counter(), time.process_time()
            job()
            rates[name].append(((time.perf_counter() - clock) / images, (time.process_time() - cpu) / images))
    return rates


def middle(rates: Rates, name: str, kind: int) -> float:
    return statistics.median(pair[kind] for pair in rates[name])


def ratio(rates: Rates, ours: str, theirs: str, kind: int) -> float:
    """Median over the rounds of throughput over throughput."""
    pairs = zip(rates[ours], rates[theirs], strict=True)
    return statistics.median(b[kind] / a[kind] for a, b in pairs)


def shares(rates: Rates, names: list[str]) -> dict[str, float]:
    """CPU microseconds an image that each step adds to those before it."""
    total, out = 0.0, {}
    for name in names:
        now = 1e6 * middle(rates, name, 1)
        out[name], total = max(now - total, 0), max(now, total)
    return out


def draw(path: Path, rows: dict[str, dict[str, float]], title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
    names = list(dict.fromkeys(name for parts in rows.values() for name in parts))
    colors = {name: f"C{number}" for number, name in enumerate(names)}
    for place, parts in enumerate(rows.values()):
        left = 0.0
        for name, value in parts.items():
            axes.barh(place, value, left=left, color=colors[name])
            left += value
        axes.text(left, place, f" {left:.0f}", va="center")
    axes.set_yticks(range(len(rows)), list(rows))
    patches = [plt.Rectangle((0, 0), 1, 1, color=colors[name]) for name in names]
    axes.legend(patches, names, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)
    axes.invert_yaxis()
    axes.set_xlabel(f"CPU microseconds an image: {title}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.08)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packed", type=Path)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    packed, batch = open_packed(options.packed), options.batch_size
    images = packed.counts["train"]
    built = steps(packed, batch)
    records = Records(packed, "train")
    order = np.concatenate(batches(len(records), batch, seed=0))
    jobs = {
        "bare, one by one": drive(bare(packed)),
        BARE: drive(bare_batches(packed, batch)),
        "read, checksums": lambda: [len(records.raw(row)) for row in order],
        **{name: drive(made) for name, made in built.items()},
    }
    rates = measure(jobs, images, options.rounds)
    plain = measure(plain_steps(packed, batch), images, options.rounds)
    size = sum(path.stat().st_size for path in packed.shards["train"]) / images
    print(f"{images:,} images of {packed.size} px, {size / 1000:.1f} kB a record, batches of {batch}, {options.rounds} "
          f"rounds; {os.cpu_count()} CPUs ({platform.machine()}), load {os.getloadavg()[0]:.1f}\n")  # fmt: skip
    print("| | images/s | of bare decoding | CPU us an image | of bare decoding, by CPU time |")
    print("| --- | --- | --- | --- | --- |")
    for name, label in LABELS.items():
        print(f"| {label} | {1 / middle(rates, name, 0):,.0f} | {ratio(rates, name, BARE, 0):.0%} | "
              f"{1e6 * middle(rates, name, 1):.0f} | {ratio(rates, name, BARE, 1):.0%} |")  # fmt: skip
    cost = middle(plain, LAST, 1)
    print(f"| plain_batches(), one thread | {1 / middle(plain, LAST, 0):,.0f} | | {1e6 * cost:.0f} | "
          f"{middle(rates, BARE, 1) / cost:.0%} |\n")  # fmt: skip
    rows = {
        "bare decoding": {LAST: 1e6 * middle(rates, BARE, 1)},
        "dataset()": shares(rates, ["read, checksums", *built]),
        "plain_batches()": shares(plain, list(plain)),
    }
    for row, parts in rows.items():
        print(f"{row}: " + ", ".join(f"{name} {value:.0f}" for name, value in parts.items()) + " us of CPU an image")
    if options.picture:
        draw(options.picture, rows, f"{packed.size} px, {size / 1000:.1f} kB a record")


if __name__ == "__main__":
    main()
