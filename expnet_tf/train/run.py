"""`expnet train`: one run from packed folders to a model file, its logs and its report.

RUN holds config.json (what was asked for), checkpoint.npz, log.csv, tensorboard/, samples/, and in the end
<backbone>.keras, report.json, report.png and worst.png. The same command again goes on from the checkpoint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np

from expnet_tf.backbones import BACKBONES
from expnet_tf.data.records import MANIFEST, Packed, RecordError
from expnet_tf.files import write_whole
from expnet_tf.network import DEFAULT_HEADS, ModelInfo, save_model, set_mean_image
from expnet_tf.train import callbacks, logs, report, state
from expnet_tf.train.config import TARGETS, Job, JobError, TrainingError
from expnet_tf.train.distribute import Hosts, Spread, spread, synchronise
from expnet_tf.train.feed import LANDMARK_TARGETS, Batch, Feed, for_fit, mean_crop, open_all
from expnet_tf.train.inference import forward, over
from expnet_tf.train.state import Progress
from expnet_tf.train.task import averaged, build, compile_for
from expnet_tf.train.teacher import lessons

CONFIG = "config.json"
VALIDATION_BATCH = 128  # images; memory only


def train(
    job: Job,
    hosts: Hosts | None = None,
    devices: Sequence[str] | None = None,
    say: Callable[[str], None] = print,
    bar: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """Train, or go on training, and write the model and the report.

    Args:
        job: what to train, how, from which data, into which folder.
        hosts: this process among those of a run on several hosts.
        devices: see distribute.spread.
        say: told a line an epoch.
        bar: called with total=, initial=, unit=; gives a progress bar with `update`. None: no bar.

    Returns:
        What report.json holds; {} in all processes but the first.

    Raises:
        JobError: the run cannot begin as asked: data, arguments, another run in that folder.
        TrainingError: it cannot go on: loss not finite, a full disk, a damaged record. The last good checkpoint stays.
        ModelError: `job.initial` cannot be read.
        OSError: a log or picture cannot be written.
    """
    if job.backbone not in BACKBONES:
        raise JobError(f"There is no backbone {job.backbone!r}; accepted: {', '.join(BACKBONES)}.")
    heads = TARGETS[job.config.target]
    packs = open_all(job.data, job.config, heads)
    with _policy(job.config.precision), spread(hosts or Hosts(), job.config.batch_size, devices) as place:
        return _train(job, packs, place, say, bar)


def _train(job: Job, packs: list[Packed], place: Spread, say, bar) -> dict[str, Any]:
    config, lead = job.config, place.process == 0
    size = job.size or BACKBONES[job.backbone].size
    targets = TARGETS[config.target] + (LANDMARK_TARGETS if config.landmarks else ())
    feed = Feed(packs, "train", size, config.crop_factor, targets, config.batch_size, job.seed, config.jitter,
                config.looks, place.process, place.processes)  # fmt: skip
    known = tuple(head for head in DEFAULT_HEADS if head != "pose" or packs[0].camera == "pinhole")
    validation = Feed(packs, "validation", size, config.crop_factor, known, VALIDATION_BATCH)
    total = job.steps or config.epochs * feed.steps
    record = _record(job, packs)
    _claim(job.out, record, lead)

    if job.teacher:
        if lead:
            say(f"{job.teacher} reads the {len(feed):,} training images, unless {job.out} has what it read.")
        feed = dataclasses.replace(feed, taught=lessons(job.teacher, packs, targets, job.out))
    keras.utils.set_random_seed(job.seed)
    model = build(job)
    synchronise(model, place.replicas > 1)
    compile_for(model, config, total)
    progress = state.load(job.out, model)
    if progress is None:
        progress = Progress()
        if not job.initial:
            set_mean_image(model, _mean_image(feed))
    elif lead:
        say(f"Going on in {job.out} from step {progress.step:,} of {total:,}.")
    if _ended(progress, total) and (job.out / "report.json").exists():
        say(f"The run in {job.out} has ended before; nothing is left to do.")
        return json.loads((job.out / "report.json").read_bytes())
    if lead:
        say(
            f"{len(feed):,} images, {len(validation):,} for validation; {total:,} steps of {config.batch_size}"
            + (f" on {place.replicas} devices" if place.replicas > 1 else "")
        )
    read = forward(model)
    if not _ended(progress, total):
        with _bar(bar if lead else None, total, progress.step) as shown:
            _fit(job, model, feed, validation, progress, total, read, lead, say, shown)
    with averaged(model):  # in every process: where there are several, to put a variable takes them all
        if lead:
            predicted, true = over(read, validation)
            synchronise(model, False)
            info = _info(job, packs, size, len(feed), progress)
            save_model(model, job.out / f"{job.backbone}.keras", info, job.float16)
    return report.write(job.out, record, progress, validation, predicted, true) if lead else {}


def _fit(job: Job, model, feed: Feed, validation: Feed, progress: Progress, total: int, read, lead, say, bar) -> None:
    config = job.config
    validate = callbacks.Validate(job.out, validation, read, config)
    steps = callbacks.Steps(job.out, progress, job.checkpoint_every, lead, bar)
    steps.keep_means(model)
    writers = _writers(job.out, progress, say) if lead else []
    during: list[keras.callbacks.Callback] = [validate, callbacks.Log(progress, config.batch_size, writers)]
    if config.patience is not None:
        during.append(callbacks.Plateau(progress, config.patience))
    if lead:
        during.append(callbacks.Show(job.out, validation, validate))
    during.append(steps)
    failures: list[TrainingError] = []
    while not _ended(progress, total):
        before = progress.step
        steps.in_epoch = min(feed.steps, total - (progress.step - progress.done))
        todo = steps.in_epoch - progress.done
        begin = partial(_watched, feed, progress.epoch, progress.done, todo, failures)
        try:
            # `fit` once an epoch: a run that goes on has fewer steps left in its first one.
            model.fit(
                for_fit(begin, feed),
                initial_epoch=progress.epoch,
                epochs=progress.epoch + 1,
                steps_per_epoch=todo,
                shuffle=False,  # the feed has an order of its own
                callbacks=during,
                verbose=0,
            )
        except Exception:
            # TensorFlow turns what its input raises into errors of its own.
            if failures:
                raise failures[0] from None
            raise
        if progress.step != before + todo:
            raise TrainingError(
                f"The epoch ended after {progress.step - before} of {todo} steps. {state.last(job.out)}"
            )


def _watched(feed: Feed, epoch: int, skip: int, steps: int, failures: list[TrainingError]) -> Iterator[Batch]:
    try:
        yield from feed.epoch(epoch, skip, steps)
    except TrainingError as error:
        failures.append(error)
        raise


def _ended(progress: Progress, total: int) -> bool:
    return progress.stop or progress.step >= total


def _writers(folder: Path, progress: Progress, say: Callable[[str], None]) -> list[Callable[[Progress], None]]:
    writers: list[Callable[[Progress], None]] = [partial(logs.write_csv, folder)]
    with suppress(ImportError):  # said at the start: report.missing
        writers.append(logs.tensorboard(folder, progress))
    return [*writers, lambda now: say(_line(now.history[-1]))]


def _line(line: dict[str, Any]) -> str:
    chosen = ("loss", "val_loss", "val_share", "val_r2", "val_identity_share", "val_rotation_deg", "learning_rate")
    figures = ", ".join(f"{name} {line[name]:.4g}" for name in chosen if name in line)
    return f"Epoch {line['epoch']}, step {line['step']:,}: {figures}"


def _record(job: Job, packs: list[Packed]) -> dict[str, Any]:
    """What makes a run this run and no other, as JSON."""
    asked = dataclasses.asdict(job)
    for name in ("out", "checkpoint_every", "licence", "version", "float16"):
        del asked[name]
    for name in ("initial", "teacher"):
        asked[name] = _digest(path) if (path := getattr(job, name)) else None
    asked["data"] = [_digest(packed.folder / MANIFEST) for packed in packs]
    return asked


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _claim(folder: Path, record: dict[str, Any], lead: bool) -> None:
    """Take the folder for this run. Raises JobError where it holds another one, or files of something else."""
    path = folder / CONFIG
    if path.exists():
        try:
            before = json.loads(path.read_bytes())
        except ValueError as error:
            raise JobError(f"{path} cannot be read ({error}); take another --out.") from error
        old, new = _flat(before), _flat(json.loads(json.dumps(record)))
        differ = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        if differ:
            said = "; ".join(f"{name} was {old.get(name)}, now {new.get(name)}" for name in differ)
            raise JobError(f"{folder} holds another run ({said}): give the same arguments, or another --out.")
        return
    if lead:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, f"{json.dumps(record, indent=1)}\n".encode())


def _flat(record: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat


def _mean_image(feed: Feed) -> np.ndarray:
    """float32 [S, S, 3]: of the packed images as they are, or of the crops that are cut out of them."""
    if feed.factor is not None:
        return mean_crop(feed)
    try:
        images = [packed.mean_image() for packed in feed.packs]
    except RecordError as error:
        raise JobError(str(error)) from error
    mean = np.average(images, 0, [packed.counts["train"] for packed in feed.packs]).astype(np.float32)
    smaller = feed.size < len(mean)
    return cv2.resize(mean, (feed.size, feed.size), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def _info(job: Job, packs: list[Packed], size: int, images: int, progress: Progress) -> ModelInfo:
    config = job.config
    counts = [packed.counts["train"] for packed in packs]
    factor = config.crop_factor or float(np.average([packed.factor for packed in packs], weights=counts))
    data = " + ".join(_digest(packed.folder / MANIFEST)[:12] for packed in packs)
    training = (
        f"{images:,} images (packed data {data}), {progress.step * config.batch_size:,} passes, config {config.name}, "
        f"seed {job.seed}{f', started from {_digest(job.initial)[:12]}' if job.initial else ''}"
        f"{f', taught by {_digest(job.teacher)[:12]}' if job.teacher else ''}"
    )
    return ModelInfo(job.backbone, job.version, job.backbone, size, round(factor, 4), TARGETS[config.target], training,
                     job.licence)  # fmt: skip


@contextmanager
def _policy(name: str) -> Iterator[None]:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


class _NoBar:
    def update(self, steps: int) -> None:
        pass


@contextmanager
def _bar(make: Callable[..., Any] | None, total: int, done: int) -> Iterator[Any]:
    if make is None:
        yield _NoBar()
        return
    with make(total=total, initial=done, unit="step") as bar:
        yield bar
