"""`expnet train`: a network from packed folders."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from expnet_tf.commands.common import FAILED, FINE, command, count, folder, out, usage


def add(commands: Any) -> None:
    parser = command(
        commands,
        "train",
        "train a network on packed faces",
        """
        Reads what `expnet pack` wrote and fills RUN: config.json, checkpoint.npz, log.csv, tensorboard/, samples/
        (predictions after each epoch), and in the end BACKBONE.keras, report.json, report.png, worst.png.
        The same command again goes on where a stopped run was, to the same result.

          expnet train --data packed --out run
          expnet train --data casia --out run --config paper --backbone resnet101
          expnet train --data packed --out run --epochs 8 --precision mixed_bfloat16

        Configs: `paper` is the published recipe (half the squared error, SGD, batch 144, no augmentation, the rate
        cut where the validation loss saturates); `modern` (losses in what the face does, AdamW, cosine rate, random
        crops, averaged weights) is the default. Several GPUs of a host are used by themselves;
        several hosts need KERAS_BACKEND=jax, a shared RUN, and on each of them the same command with
        --coordinator, --processes and --process.
        """,
    )
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="DIR", help="folders of expnet pack")
    out(parser)
    parser.add_argument("--config", choices=("modern", "paper"), default="modern", help="(default: modern)")
    parser.add_argument("--backbone", default="compact", metavar="NAME", help="compact, base, resnet50 or resnet101")
    parser.add_argument(
        "--target",
        choices=("expression", "identity", "pose", "all"),
        help="what to learn (paper: expression; modern: all)",
    )
    parser.add_argument(
        "--initial",
        metavar="MODEL",
        help="a shipped model or a .keras file to start from, of this backbone or a related one (default: random)",
    )
    parser.add_argument(
        "--teacher",
        metavar="MODEL",
        help="a shipped model or a .keras file: expression and identity are learned from what it reads, a quarter from "
        "the labels",
    )
    run_group = parser.add_argument_group("in place of what the config says")
    run_group.add_argument("--epochs", type=count, metavar="N", help="passes over the training images")
    run_group.add_argument("--steps", type=count, metavar="N", help="batches in all, instead of --epochs")
    run_group.add_argument("--batch-size", type=count, metavar="N", help="images a step, of all devices together")
    run_group.add_argument("--learning-rate", type=_positive, metavar="RATE", help="at its highest")
    run_group.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16"),
        help="mixed_bfloat16 is faster on GPUs and on CPUs with AVX512_BF16",
    )
    run_group.add_argument(
        "--size", type=count, metavar="PX", help="side of the network's input (default: the backbone's)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and crops (default: 0)")
    parser.add_argument(
        "--checkpoint-every",
        type=count,
        default=500,
        metavar="STEPS",
        help="besides at each epoch's end (default: 500)",
    )
    file_group = parser.add_argument_group("the model's file")
    file_group.add_argument(
        "--float16",
        action="store_true",
        help="store weights in half precision, kernels with eight significant bits: three eighths of the bytes",
    )
    file_group.add_argument("--version", default="0.1", help="(default: 0.1)")
    file_group.add_argument(
        "--licence", default="NOASSERTION", metavar="SPDX", help="of the weights (default: NOASSERTION, undecided)"
    )
    hosts = parser.add_argument_group("several hosts (JAX)")
    hosts.add_argument("--coordinator", metavar="ADDRESS:PORT", help="of process 0")
    hosts.add_argument("--processes", type=count, default=1, metavar="N", help="one a host")
    hosts.add_argument("--process", type=int, default=0, metavar="I", help="this one, from 0")


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def run(options: argparse.Namespace) -> int:
    from expnet_tf.quiet import quiet

    with quiet():  # the imports alone: a run of hours says at once what goes wrong
        from tqdm import tqdm

        from expnet_tf.models import resolve
        from expnet_tf.network import ModelError
        from expnet_tf.train import report
        from expnet_tf.train.config import CONFIGS, Job, JobError, TrainingError
        from expnet_tf.train.distribute import Hosts
        from expnet_tf.train.run import train

    names = ("target", "epochs", "batch_size", "learning_rate", "precision")
    with usage(ModelError):
        initial, teacher = (name and resolve(name) for name in (options.initial, options.teacher))
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    job = Job(
        data=tuple(options.data),
        out=folder(options.out),
        config=replace(CONFIGS[options.config](), **given),
        backbone=options.backbone,
        size=options.size,
        steps=options.steps,
        seed=options.seed,
        initial=initial,
        teacher=teacher,
        checkpoint_every=options.checkpoint_every,
        licence=options.licence,
        version=options.version,
        float16=options.float16,
    )
    if note := report.missing():
        print(note, file=sys.stderr)
    try:
        with usage(JobError, ModelError, FileNotFoundError):
            made = train(
                job,
                Hosts(options.coordinator or "", options.process, options.processes),
                say=lambda text: tqdm.write(text, file=sys.stderr),
                bar=lambda **facts: tqdm(file=sys.stderr, **facts),
            )
    except (TrainingError, OSError) as error:
        print(f"expnet train: {error}", file=sys.stderr)
        return FAILED
    if made:
        print(f"The model is {options.out / f'{options.backbone}.keras'}; have a look at {options.out / 'report.png'}.")
    return FINE
