"""verify: every artifact of an export folder in its real runtime, compared with the reference.

The coefficients are compared in sigma, and, because nobody looks at sigmas, the decoded face in millimetres.
The only writer of parity.json and of the verdicts in the manifest.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.export import CERTIFICATE, EXPORTERS, GUESTS, MANIFEST, PARITY, ExportError, manifest
from expnet_tf.export.reference import read_inputs
from expnet_tf.export.runner import CannotRun
from expnet_tf.export.runners import RUNNERS
from expnet_tf.export.tolerances import TOLERANCES, Tolerance
from expnet_tf.morphable import MorphableModel, open_face
from expnet_tf.network import HEADS, POSE_STD

log = logging.getLogger(__name__)

SCHEMA = 2
BATCH = 32
WORST = 5  # faces named in the certificate
PASS, FAIL, NOT_RUN = "pass", "fail", "not run"


# What the other heads are judged in: sigma, and where that is no unit about the spread of their answers.
UNIT = {"identity": 1.0, "texture": 1.0, "pose": np.asarray(POSE_STD), "quality": 0.3}


@dataclass
class Row:
    """One artifact in one runtime. The measurements are None where it was not run; `error` says why."""

    artifact: str
    runtime: str
    runtime_version: str = ""
    path: str = ""
    precision: str = ""
    bytes: int | None = None
    sha256: str = ""
    tolerance: dict[str, float | None] = field(default_factory=dict)
    max_dz_sigma: float | None = None
    mean_dz_sigma: float | None = None
    vertex_max_mm: float | None = None
    vertex_rms_mm: float | None = None
    blendshape_max: float | None = None  # largest difference of a blendshape weight in [0, 1]
    other_heads: dict[str, float] = field(default_factory=dict)  # in UNIT
    decode_vertex_max_mm: float | None = None  # of the 3DMM inside the artifact, where there is one
    decode_blendshape_max: float | None = None
    component_dz_sigma: list[float] = field(default_factory=list)  # mean |dz| of each expression component
    worst_faces: list[int] = field(default_factory=list)  # by vertex rms, the worst first
    result: str = FAIL  # PASS, FAIL or NOT_RUN
    error: str | None = None
    vertex_rms: np.ndarray | None = None  # float64 [v] mm over the faces; for the picture, not in the file

    @property
    def passed(self) -> bool:
        return self.result == PASS


@dataclass
class Report:
    """What `verify` found; `parity.json` is this record.

    It has passed when every artifact that can be run here has, and one at least could.
    """

    schema: int
    model: dict[str, Any]
    created: str
    machine: str
    manifest_sha256: str
    reference: dict[str, Any]
    results: list[Row]
    passed: bool


def verify(
    directory: str | os.PathLike,
    *,
    face_model: MorphableModel | None = None,
    also: Sequence[str] = (),
    threads: int = 1,
    progress: Callable[[str], None] = log.info,
) -> Report:
    """Judge every artifact in the export folder; write `parity.json` there, and each verdict into the manifest.

    An artifact that is damaged, cannot be loaded or answers otherwise than the reference makes a row that has
    failed and says why; the others go on. One whose runtime or hardware is not here is "not run". A folder without
    an artifact that passes has not passed. `face_model` decodes both answers (None: the open face). `also` names
    further runtimes, of `Exporter.guests`, to judge artifacts in; they do not change an artifact's verdict.

    Raises FileNotFoundError or ExportError where there is no manifest that can be read, and for an unknown runtime.
    """
    folder = Path(directory)
    if unknown := [name for name in also if name not in GUESTS]:
        raise ExportError(f"No further runtime {', '.join(unknown)}; accepted: {', '.join(GUESTS)}.")
    # Should the manifest be damaged, or a runtime take the process down, no old pass stays behind.
    if (folder / MANIFEST).is_file():
        for name in CERTIFICATE:
            (folder / name).unlink(missing_ok=True)
    record = manifest.read(folder)
    inputs = record["reference"]["inputs"]
    reference: Reference | str
    try:
        manifest.check(folder, inputs)
        reference = Reference.read(folder / inputs["path"], list(record["outputs"]), face_model or open_face())
    except ExportError as error:
        reference = f"not judged, because the reference is damaged: {error}"
    rows = []
    for row, noted in _rows(record, also):
        progress(f"{row.artifact} in {row.runtime}")
        try:
            if isinstance(reference, str):
                raise ExportError(reference)
            _judge(row, folder, noted, reference, threads)
        except CannotRun as error:
            row.result, row.error = NOT_RUN, _sentence(error)
        except Exception as error:  # a damaged artifact makes its runtime raise anything
            log.debug("%s in %s failed", row.artifact, row.runtime, exc_info=True)
            row.result, row.error = FAIL, _sentence(error)
        rows.append(row)
    for name, noted in record["artifacts"].items():
        noted["verified"] = _verdict([row.result for row in rows if row.artifact == name and row.runtime not in also])
    manifest.write_json(folder / MANIFEST, record)
    report = Report(
        schema=SCHEMA,
        model=record["model"],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=platform.platform(),
        manifest_sha256=manifest.digest(folder / MANIFEST),
        reference={
            "faces": 0 if isinstance(reference, str) else len(reference.images),
            "inputs_sha256": inputs["sha256"],
            "precision": inputs.get("precision", "float64"),
            "coverage": inputs.get("coverage"),
            "decoder": "float64, zero identity",
        },
        results=rows,
        passed=any(row.passed for row in rows[1:]) and all(row.result != FAIL for row in rows),
    )
    certificate = asdict(report)
    certificate["pass"] = certificate.pop("passed")  # the word of the certificate is no name for an attribute
    for result in certificate["results"]:
        del result["vertex_rms"]
    manifest.write_json(folder / PARITY, certificate)
    return report


def _verdict(results: list[str]) -> str:
    """Of an artifact that several runtimes judged: one failure fails it, one that could not run leaves it open."""
    return FAIL if FAIL in results else NOT_RUN if NOT_RUN in results else PASS


def _rows(record: dict[str, Any], also: Sequence[str]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """An empty row for each artifact and runtime; the .keras file first, so that float32 itself is judged."""
    model = record["reference"]["model"]
    yield Row("reference", "keras", precision="float32", **_facts(model)), model
    for name, noted in record["artifacts"].items():
        runners, precision = ("unknown",), ""
        if name in EXPORTERS:  # not the manifest's word: it would choose the limits that the artifact is judged by
            runners, precision = EXPORTERS[name].runners, EXPORTERS[name].precision
            runners += tuple(guest for guest in EXPORTERS[name].guests if guest in also)
        for runner in runners:
            yield Row(name, runner, precision=precision, **_facts(noted)), noted


def _facts(noted: dict[str, Any]) -> dict[str, Any]:
    return {key: noted[key] for key in ("path", "bytes", "sha256")}


@dataclass
class Reference:
    """Images and the float64 answer to them, decoded once."""

    images: np.ndarray  # uint8 [n, S, S, 3]
    heads: dict[str, np.ndarray]  # float64 [n, width]
    face: MorphableModel
    vertices: np.ndarray | None  # float64 [n, v, 3] mm
    blendshapes: np.ndarray | None  # float64 [n, b]

    @classmethod
    def read(cls, path: Path, outputs: list[str], face: MorphableModel) -> Reference:
        images, heads = read_inputs(path)
        if set(heads) != set(outputs):
            raise ExportError(f"{path.name}: holds {', '.join(heads)}; the manifest says {', '.join(outputs)}.")
        z = heads.get("expression")
        if z is None:
            return cls(images, heads, face, None, None)
        return cls(images, heads, face, face.decode(expression=z), face.blendshapes(z))


def _judge(row: Row, folder: Path, noted: dict[str, Any], reference: Reference, threads: int) -> None:
    """Run the artifact and fill in the row; raises where it cannot be run or its outputs are malformed."""
    if row.runtime not in RUNNERS or row.precision not in TOLERANCES:
        raise ExportError(f"{row.artifact}: not an artifact that this version knows; it knows {', '.join(EXPORTERS)}.")
    tolerance = TOLERANCES[row.precision]
    row.tolerance = tolerance._asdict()
    manifest.check(folder, noted)  # before loading: a SavedModel is code
    runner = RUNNERS[row.runtime](folder / noted["path"], threads)
    row.runtime_version = runner.version
    outputs = _run(runner.run, reference)

    if reference.vertices is not None and hasattr(runner, "decode"):
        row.decode_vertex_max_mm, row.decode_blendshape_max = _decoded(runner.decode, reference)
    for head, expected in reference.heads.items():
        difference = np.abs(outputs[head] - expected)
        if head == "expression":
            row.max_dz_sigma, row.mean_dz_sigma = float(difference.max()), float(difference.mean())
            row.component_dz_sigma = difference.mean(axis=0).tolist()
            vertices = reference.face.decode(expression=outputs[head])
            square = np.sum((vertices - reference.vertices) ** 2, axis=-1)
            row.vertex_max_mm, row.vertex_rms_mm = float(np.sqrt(square.max())), float(np.sqrt(square.mean()))
            row.vertex_rms = np.sqrt(square.mean(axis=0))
            row.worst_faces = np.argsort(-square.mean(axis=1), kind="stable")[:WORST].tolist()
            weights = reference.face.blendshapes(outputs[head])
            row.blendshape_max = float(np.abs(weights - reference.blendshapes).max())
        else:
            row.other_heads[head] = float((difference / UNIT[head]).max())
    row.error = _beyond(row, tolerance)
    row.result = PASS if row.error is None else FAIL


def _run(run: Callable[[np.ndarray], dict[str, np.ndarray]], reference: Reference) -> dict[str, np.ndarray]:
    """Outputs for all images, as float64; raises ExportError where names, shapes or types are not agreed."""
    count = len(reference.images)
    starts = [0, *range(1, count, BATCH)]  # one face alone, then batches: the batch size must be free
    parts = []
    for start, stop in zip(starts, [*starts[1:], count], strict=True):
        part = run(reference.images[start:stop])
        if set(part) != set(reference.heads):
            raise ExportError(f"the outputs are {', '.join(part)}; expected are {', '.join(reference.heads)}.")
        for head, value in part.items():
            if value.dtype != np.float32 or value.shape != (stop - start, HEADS[head]):
                expected = [stop - start, HEADS[head]]
                raise ExportError(f"{head} is {value.dtype} {list(value.shape)}; expected is float32 {expected}.")
            if not np.isfinite(value).all():
                raise ExportError(f"{head} is not finite for some of the faces {start} to {stop - 1}.")
        parts.append(part)
    return {head: np.concatenate([part[head] for part in parts]).astype(np.float64) for head in reference.heads}


def _decoded(decode: Callable[[np.ndarray], tuple[np.ndarray, ...]], reference: Reference) -> tuple[float, float]:
    """Largest errors of the artifact's own vertices (mm) and blendshapes; the reference's are decoded in float64."""
    worst_vertex = worst_weight = 0.0
    z, alpha = reference.heads["expression"], reference.heads.get("identity")
    blendshapes = reference.face.blendshapes(z)
    for start in range(0, len(reference.images), BATCH):
        part = slice(start, start + BATCH)
        vertices, weights = decode(reference.images[part])
        expected = reference.face.decode(None if alpha is None else alpha[part], z[part])
        if vertices.shape != expected.shape or weights.shape != blendshapes[part].shape:
            raise ExportError(
                f"decode gives {list(vertices.shape)} and {list(weights.shape)}; expected are {list(expected.shape)} "
                f"and {list(blendshapes[part].shape)}."
            )
        worst_vertex = max(worst_vertex, float(np.linalg.norm(vertices - expected, axis=-1).max()))
        worst_weight = max(worst_weight, float(np.abs(weights - blendshapes[part]).max()))
    return worst_vertex, worst_weight


def _beyond(row: Row, tolerance: Tolerance) -> str | None:
    """What is out of tolerance, as a sentence."""
    measured = {
        "|dz| is up to": (row.max_dz_sigma, " sigma", tolerance.max_dz_sigma),
        "|dz| is on average": (row.mean_dz_sigma, " sigma", tolerance.mean_dz_sigma),
        "vertices are off by up to": (row.vertex_max_mm, " mm", tolerance.vertex_max_mm),
        "vertices are off (rms) by": (row.vertex_rms_mm, " mm", tolerance.vertex_rms_mm),
        "vertices of decode are off by up to": (row.decode_vertex_max_mm, " mm", tolerance.vertex_max_mm),
        "blendshapes of decode are off by up to": (row.decode_blendshape_max, "", tolerance.max_dz_sigma),
        "identity is off by up to": (row.other_heads.get("identity"), " sigma", tolerance.other_heads),
        "texture is off by up to": (row.other_heads.get("texture"), " sigma", tolerance.other_heads),
        "quality is off by up to": (row.other_heads.get("quality"), " of its spread", tolerance.other_heads),
        "pose is off by up to": (row.other_heads.get("pose"), " of its spread", tolerance.other_heads),
    }
    found = [
        f"{name} {value:.3g}{unit}, beyond {limit:g}"
        for name, (value, unit, limit) in measured.items()
        if value is not None and limit is not None and not value <= limit
    ]
    return "; ".join(found) + "." if found else None


def _sentence(error: Exception) -> str:
    """The first line of what a runtime said that says something; its type too, where the message alone says little."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    text = next((line for line in lines if not line.endswith(":")), lines[0])[:300]  # "Graph execution error:"
    return text if isinstance(error, (ExportError, CannotRun)) else f"{type(error).__name__}: {text}"
