"""The exported artifacts of the shipped models and of a ResNet-101, each in its runtimes, by `expnet bench`.

    python benchmarks/exports.py > benchmarks/exports.md
    python benchmarks/exports.py --models resnet101 --formats onnx,tflite --rounds 3 --folder exports

Prints the whole page in Markdown. The weights of the ResNet-101 are random (its residual branches begin at a scale of
0.2), which changes no time. With --folder the exports stay there and are taken from there the next time.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import keras

from expnet_tf.evaluate.tables import table
from expnet_tf.export import MANIFEST
from expnet_tf.export.bench import bench
from expnet_tf.export.bench_report import COLUMNS, MEASURED, ROUNDS, WORDS, Report, Run, rows, unmeasured, winners
from expnet_tf.export.bundle import export_model
from expnet_tf.export.reference import face_images
from expnet_tf.models import resolve
from expnet_tf.network import ExpNet, ModelInfo

FACES = 8  # of the ResNet-101's reference: none of them is judged here

# What is to be reached, at one thread and batch 1.
GOALS_MS = {"compact": 0.25, "base": 2.0}
# Measured apart, ms.
PEER = "3DDFA_V2's mb05 (0.85 M parameters), ONNX Runtime, float32, measured apart on a machine of this kind", 0.49
RESNET101_CPU_MS = {"float32": 71, "int8": 22}  # the fastest that was seen before, in any runtime, on such a machine
WITHIN = 1.1


def exported(model: str, formats: str, folder: Path) -> Path:
    """The export folder of a model, made if it is not there."""
    directory = folder / model
    if (directory / MANIFEST).is_file():
        return directory
    if model == "resnet101":
        keras.utils.set_random_seed(0)
        network = ExpNet(model)
        size, factor = network.input_shape[1], 1.25
        info = ModelInfo(model, "random", model, size, factor, ("expression", "identity", "pose"), "none", "Apache-2.0")
        result = export_model(network, directory, formats, info=info, images=face_images(size, factor, FACES)[0])
    else:
        result = export_model(resolve(model), directory, formats, progress=say)
    for failure in result.failures.values():
        say(failure)
    return directory


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def section(report: Report, judge: str) -> str:
    """A model's part of the page."""
    notes = [*unmeasured(report.results), *winners(report)]
    load = f"Load {report.machine['load']} on {report.machine['cores']} cores when it began"
    busy = (report.machine["load"] or 0) > report.machine["cores"]
    mark = " **A busy machine: the figures are preliminary.**" if busy else ""
    return (
        f"## {report.model['id']}\n\n{load}, {report.settings['rounds']} rounds.{mark}\n\n"
        f"{table(COLUMNS, rows(report.results), text=WORDS)}\n\n"
        + "".join(f"- {note}\n" for note in notes)
        + f"\n{judge}\n"
    )


def alone(report: Report) -> list[Run]:
    """What was measured at one thread and batch 1, the fastest first."""
    measured = [run for run in report.results if run.result == MEASURED and run.threads == 1 and 1 in run.batches]
    return sorted(measured, key=lambda run: run.batches[1].median_ms)


def judge_small(report: Report) -> str:
    if not alone(report):
        return "Nothing was measured at one thread and batch 1."
    run = alone(report)[0]
    ms, goal = run.batches[1].median_ms, GOALS_MS[report.model["name"]]
    return (
        f"Goal at one thread, batch 1: {goal} ms. {run.artifact} in {run.runtime} takes {ms:.3f} ms: "
        f"{'reached' if ms <= goal else 'not reached'}. For comparison, {PEER[0]}: {PEER[1]} ms."
    )


def judge_resnet101(report: Report) -> str:
    """By CPU time, as the figures to compare with."""
    sentences = []
    for precision, known in RESNET101_CPU_MS.items():
        found = sorted((r for r in alone(report) if r.precision == precision), key=lambda run: run.batches[1].cpu_ms)
        if not found:
            continue
        best = found[0].batches[1].cpu_ms
        order = ", ".join(f"{r.artifact} in {r.runtime} {r.batches[1].cpu_ms:.0f}" for r in found)
        word = "reached" if best <= WITHIN * known else "not reached"
        sentences.append(
            f"{precision}, CPU-ms at one thread, batch 1: {order}. The fastest known before took {known}: "
            f"{100 * best / known - 100:+.0f}%; the goal, at most 10% more, is {word}."
        )
    return "\n\n".join(sentences)


JUDGES = {"base": judge_small, "compact": judge_small, "resnet101": judge_resnet101}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(JUDGES), help="a list, with commas")
    parser.add_argument("--formats", default="all", help="what is exported, as of expnet export")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="artifacts and runtimes, as of expnet bench")
    parser.add_argument("--folder", type=Path, help="where the exports stay (default: nowhere)")
    options = parser.parse_args()
    only = [name for name in options.only.split(",") if name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folders = {name: exported(name, options.formats, folder) for name in options.models.split(",")}
        reports = {name: bench(path, rounds=options.rounds, only=only, progress=say) for name, path in folders.items()}
    about = next(iter(reports.values())).machine
    command = " ".join(["python benchmarks/exports.py", *sys.argv[1:]])
    print(
        f"# Exported artifacts\n\n`{command}`. Machine: {about['cores']} cores of an {about['cpu']}, "
        f"{about['system']}, Python {about['python']}.\n\n"
        "Times are of one call of a Runner, uint8 crops in and float32 heads out. ms: median; p5: 5th percentile, what "
        "the machine does when it is left alone; spread: interquartile range over the median; CPU-ms: over all "
        "threads. import s: the runtime's; load s: the artifact's, from the system's cache; first s: the first call. "
        "RAM: peak above what the process took with the runtime imported. Everything of a model was measured in one "
        "run, in turns. savedmodel-bytes is sent PNG files, and making them is part of its time.\n"
    )
    print("\n".join(section(report, JUDGES[name](report)) for name, report in reports.items()), end="")


if __name__ == "__main__":
    main()
