"""manifest.json: what lies in an export folder, made from what, by which tools.

The manifest is what verify trusts: every other file is compared with the sha256 noted here before it is
loaded, because a SavedModel is code. Note the manifest's own sha256 where the folder leaves your hands.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from expnet_tf.camera import NOMINAL_FOCAL
from expnet_tf.export import EXPORTERS, MANIFEST, REFERENCE_INPUTS, REFERENCE_MODEL, Exporter, ExportError
from expnet_tf.morphable import open_face

if TYPE_CHECKING:  # reading a manifest must not take the seconds that Keras does
    import keras

    from expnet_tf.network import ModelInfo

SCHEMA = 1
TOOLCHAIN = (
    "expnet_tf",
    "tensorflow",
    "keras",
    "numpy",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
)
ENTRY = {"path", "bytes", "sha256", "files"}  # what every entry has, see entry()
UNITS = {
    "expression": "sigma of the 3D morphable model",
    "identity": "sigma of the 3D morphable model",
    "pose": "rotation vector, rad (3), and translation, mm (3), at the nominal camera",
    "texture": "sigma of the 3D morphable model",
    "quality": "0..1, how far to trust the expression",
}
CROPS = {
    "expnet": "square about the centre of the face box, side = crop_factor * max(w, h), zero padded",
    "release2018": "as expnet_tf.release2018.pixels.crop: corners rounded up, cubic to 227 px, then bilinear as in TF1",
}  # by the names of image.PIXELS


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write `record` whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1, ensure_ascii=False, allow_nan=False)
            file.write("\n")
        os.chmod(temporary, 0o644)  # mkstemp's 600 is meant for secrets
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(model: keras.Model) -> str:
    """sha256 over path, shape and float32 bytes of every weight: the same however the file was packed."""
    import keras

    sha = hashlib.sha256()
    for weight in sorted(model.weights, key=lambda w: w.path):
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(weight), dtype="<f4")
        sha.update(f"{weight.path} {values.shape}\n".encode())
        sha.update(values.tobytes())
    return sha.hexdigest()


def list_files(directory: Path, name: str) -> dict[str, dict[str, Any]]:
    """Bytes and sha256 of the file, or of every file under the folder, `directory / name`; paths with `/`.

    Raises ExportError for a link in the folder that leads to no file.
    """
    root = directory / name
    paths = sorted(p for p in root.rglob("*") if p.is_symlink() or p.is_file()) if root.is_dir() else [root]
    for path in paths:
        if not path.is_file():  # rglob does not look behind links to folders, and whoever loads the folder would
            raise ExportError(f"{path.relative_to(directory).as_posix()}: a link to a folder, or to nothing.")
    return {
        path.relative_to(directory).as_posix(): {"bytes": path.stat().st_size, "sha256": digest(path)} for path in paths
    }


def entry(directory: Path, name: str, **facts: Any) -> dict[str, Any]:
    """Manifest entry of an artifact: its path, `facts`, total bytes, one sha256, and the files."""
    files = list_files(directory, name)
    if list(files) == [name]:
        sha256 = files[name]["sha256"]
    else:
        lines = "".join(f"{facts['sha256']}  {path}\n" for path, facts in files.items())
        sha256 = hashlib.sha256(lines.encode()).hexdigest()  # of what `sha256sum` prints for the folder
    total = sum(file["bytes"] for file in files.values())
    return {"path": name, **facts, "bytes": total, "sha256": sha256, "files": files}


def build(
    directory: Path,
    model: keras.Model,
    info: ModelInfo,
    exporters: Iterable[Exporter],
    kept: dict[str, dict[str, Any]],
    inputs: dict[str, Any],
) -> dict[str, Any]:
    """The manifest of a folder in which the artifacts of `exporters` and the reference lie.

    `kept` are entries taken over from an earlier manifest, `inputs` says how the reference crops were chosen.
    """
    from expnet_tf.network import HEADS

    size, face = info.size, open_face()
    made = {e.name: entry(directory, e.file, precision=e.precision) for e in exporters}
    artifacts = {**kept, **made}
    return {
        "schema": SCHEMA,
        "model": {"id": info.id, "name": info.name, "version": info.version, "backbone": info.backbone},
        "weights_sha256": weights_digest(model),
        "licence": info.licence,
        "training": info.training,
        "input": {
            "name": "image",
            "dtype": "uint8",
            "shape": [None, size, size, 3],
            "layout": "NHWC, RGB, 0..255; the mean image is subtracted inside",
            "crop_factor": info.crop_factor,
            "pixels": info.pixels,
            "crop": CROPS[info.pixels],
        },
        "outputs": {
            head: {"dtype": "float32", "shape": [None, HEADS[head]], "unit": UNITS[head]} for head in info.heads
        },
        "nominal_focal": NOMINAL_FOCAL,
        "face_model": {
            "name": face.provenance["name"],
            "version": face.provenance["version"],
            "vertices": face.n_vertices,
            "blendshapes": face.blendshape_names.tolist(),
        },
        "toolchain": {"python": platform.python_version(), **_versions()},
        "reference": {
            "model": entry(directory, REFERENCE_MODEL),
            "inputs": entry(directory, REFERENCE_INPUTS, **inputs),
        },
        "artifacts": {name: artifacts[name] for name in EXPORTERS if name in artifacts},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in TOOLCHAIN:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def read(directory: Path) -> dict[str, Any]:
    """Read the manifest of an export folder.

    Raises FileNotFoundError where there is none and ExportError where it is not one this version reads.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{directory}: no {MANIFEST} there; make the folder with `expnet export`.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        schema = record["schema"]
    except (ValueError, TypeError, KeyError) as error:
        raise ExportError(f"{path}: not a manifest: {error}.") from None
    if schema != SCHEMA:
        raise ExportError(f"{path}: schema {schema}; this version reads schema {SCHEMA}.")
    if missing := {"model", "input", "outputs", "reference", "artifacts"} - set(record):
        raise ExportError(f"{path}: the manifest has no {', '.join(sorted(missing))}.")
    artifacts, reference = record["artifacts"], record["reference"]
    if not isinstance(artifacts, dict) or not isinstance(reference, dict):
        raise ExportError(f"{path}: artifacts and reference are not objects; the manifest is damaged.")
    entries = [(name, noted, {*ENTRY, "precision"}) for name, noted in artifacts.items()]
    entries += [(name, reference.get(name, {}), ENTRY) for name in ("model", "inputs")]
    for name, noted, needed in entries:
        if missing := needed - set(noted):
            raise ExportError(f"{path}: the entry {name} has no {', '.join(sorted(missing))}.")
    return dict(record)


def check(directory: Path, noted: dict[str, Any]) -> None:
    """Compare files with their manifest entry; raises ExportError that names the first difference."""
    path = noted["path"]
    if not (directory / path).exists():
        raise ExportError(f"{path}: missing.")
    found = list_files(directory, path)
    for name, facts in noted["files"].items():
        if name not in found:
            raise ExportError(f"{name}: missing.")
        if found[name]["bytes"] != facts["bytes"]:
            raise ExportError(f"{name}: {found[name]['bytes']} bytes; the manifest says {facts['bytes']}.")
        if found[name]["sha256"] != facts["sha256"]:
            raise ExportError(f"{name}: its sha256 is not the one in the manifest.")
    if strangers := sorted(set(found) - set(noted["files"])):
        raise ExportError(f"{strangers[0]}: not in the manifest.")
