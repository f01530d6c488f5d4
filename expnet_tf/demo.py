"""`expnet demo`: the whole way on the photo in the package. Said in plain words, it is a tour of the commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from expnet_tf.batch import FORMATS, Job, predict_files
from expnet_tf.export.bundle import export_model
from expnet_tf.export.certificate import certify, table
from expnet_tf.image import read_image
from expnet_tf.inputs import Inputs
from expnet_tf.models import ASSETS, DEFAULT, resolve
from expnet_tf.predictor import load

PHOTO = ASSETS / "astronaut.jpg"


def run(out: Path, progress: Callable[[str], None]) -> bool:
    """Predict, export and verify into the folder `out`; whether all of it went well.

    The report goes to standard output, the steps on the way to `progress`. Raises ModelError where the package
    has no weights.
    """
    start = time.perf_counter()
    problems: list[str] = []
    predictor = load()
    faces_out, exports_out = out / "faces", out / "exports"

    progress(f"[1/3] predict: {PHOTO.name}, a portrait of the astronaut Eileen Collins (NASA, public domain)")
    job = Job(faces_out, FORMATS)
    predict_files(predictor, Inputs([str(PHOTO)], faces_out), job, problems.append)
    face = next(iter(predictor.predict(read_image(PHOTO))), None)

    progress(f"[2/3] export: {DEFAULT} to every format")
    result = export_model(resolve(DEFAULT), exports_out, "all", progress=lambda text: progress(f"      {text}"))
    problems += result.failures.values()

    progress("[3/3] verify: each artifact in its own runtime, against the float64 reference")
    report = certify(exports_out, progress=lambda text: progress(f"      {text}"))

    seconds = time.perf_counter() - start
    print(f"\nA face was found in {PHOTO.name}, and the network {predictor.info.id} read its expression.")
    if face is not None:
        strongest = sorted(face.blendshapes.items(), key=lambda item: -item[1])[:6]
        print("Its strongest blendshapes, 0 to 1: " + ", ".join(f"{name} {w:.2f}" for name, w in strongest))
    print(f"Its numbers, its mesh and a picture of all this are in {faces_out}.")
    print(f"\nThe network was exported to {exports_out}; each artifact, compared with the float64 reference:\n")
    print(table(report))
    for problem in problems:
        print(f"FAILED: {problem}")
    print(f"\nDone in {seconds:.0f} s. Look at {faces_out / f'{PHOTO.name}.png'}")
    return report.passed and not problems
