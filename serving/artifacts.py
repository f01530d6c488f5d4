"""What lies in a version's folder: which artifact, whether it is what its manifest says, and what it takes.

A SavedModel is code. Where a manifest.json lies beside an artifact its sha256 are checked before anything is loaded;
that shows damage, and tampering by whoever cannot write the manifest.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from expnet_tf.export import CERTIFICATE, EXPORTERS, MANIFEST
from expnet_tf.serving.signatures import DEFAULT


class ArtifactError(ValueError):
    """A version that cannot be served: one sentence with the folder, what was found, what is accepted."""


class Artifact(NamedTuple):
    """One artifact: `name` in the manifest, where it lies, and the key of its Runner in runners.RUNNERS."""

    name: str
    path: Path
    runner: str


# Files first, in the order of the registry: ONNX and TFLite are data. Of a SavedModel the version's folder itself,
# as TensorFlow Serving has it, or a folder in it, as the export and Triton have it.
LAYOUT = (
    *((e.name, e.file, e.runners[0]) for e in EXPORTERS.values() if e.runners[0] in ("onnxruntime", "litert")),
    ("savedmodel", ".", "savedmodel"),
    ("savedmodel", EXPORTERS["savedmodel"].file, "savedmodel"),
    ("savedmodel", "model.savedmodel", "savedmodel"),
)
SAVED_MODEL = "saved_model.pb"
RECORD = "repository.json"  # of `expnet repository`, whose own module for it needs more than a server has to load


def find(folder: Path) -> Artifact | None:
    """The artifact of a version's folder; None where there is none (yet)."""
    for name, place, runner in LAYOUT:
        path = folder / place
        if (path / SAVED_MODEL if runner == "savedmodel" else path).is_file():
            return Artifact(name, path, runner)
    return None


def check(folder: Path, artifact: Artifact) -> dict[str, Any] | None:
    """The manifest of the folder, with which the artifact's files were compared; None where there is none.

    Raises ArtifactError that names the first difference, and where `expnet verify` has failed the artifact.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        noted = record["artifacts"][artifact.name]
        # Names below the artifact: a version's folder may itself be the SavedModel that the export called savedmodel.
        files = {name.removeprefix(f"{noted['path']}/"): facts["sha256"] for name, facts in noted["files"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(f"{path}: no manifest with an artifact {artifact.name}: {error!r}.") from None
    if noted.get("verified") == "fail":
        raise ArtifactError(f"{artifact.path}: expnet verify failed it, says the manifest; it is not to be used.")
    if artifact.path.is_file():
        found = {artifact.path.name: artifact.path}
    else:
        found = {p.relative_to(artifact.path).as_posix(): p for p in artifact.path.rglob("*") if p.is_file()}
        for beside in (MANIFEST, *CERTIFICATE):
            found.pop(beside, None)
    for name, sha256 in files.items():
        if name not in found:
            raise ArtifactError(f"{artifact.path / name}: missing.")
        with found[name].open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise ArtifactError(f"{found[name]}: its sha256 is not the one in the manifest.")
    if strangers := sorted(set(found) - set(files)):
        raise ArtifactError(f"{found[strangers[0]]}: not in the manifest.")
    return record


def describe(folder: Path, artifact: Artifact, record: dict[str, Any] | None) -> tuple[str, int, float | None]:
    """Model id, side of the crop and crop factor, from the manifest or else from the artifact's own signature.

    The crop factor is then what an ONNX file says, or the repository's record. Raises ArtifactError where the
    artifact takes anything but `image`, uint8 [n, S, S, 3], and what the runtime raises for a file that it cannot
    read.
    """
    if record is not None:
        try:
            model, given = record["model"], record["input"]
            said = str(model["id"]), int(given["shape"][1]), float(given["crop_factor"])
            pixels = given.get("pixels")
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ArtifactError(
                f"{artifact.path}: the manifest beside it says no id, size or crop: {error!r}."
            ) from None
        _check_pixels(artifact, pixels)
        return said
    name, dtype, shape, facts = _OWN[artifact.runner](artifact.path)
    square = len(shape) == 4 and shape[1] == shape[2] and shape[3] == 3 and isinstance(shape[1], int)
    if name != "image" or dtype != "uint8" or not square:
        raise ArtifactError(f"{artifact.path}: input {name} {dtype} {list(shape)}; image uint8 [n, S, S, 3] is served.")
    _check_pixels(artifact, facts.get("pixels"))
    factor = facts.get("crop_factor") or _recorded(folder).get("crop_factor")
    return facts.get("model", ""), int(shape[1]), float(factor) if factor else None


def _check_pixels(artifact: Artifact, pixels: Any) -> None:
    """Raises ArtifactError where photos would be cut otherwise than the model takes them, here or by our client."""
    if pixels not in (None, "expnet"):
        raise ArtifactError(
            f"{artifact.path}: it takes the pixels {pixels}, and this server cuts photos as expnet does; "
            "expnet predict cuts them as this model takes them."
        )


def models_folder(base: Path) -> Path:
    """Where the models lie: `base` itself, or `models` in it, as `expnet repository` has it."""
    return base / "models" if (base / RECORD).is_file() and (base / "models").is_dir() else base


def _recorded(folder: Path) -> dict[str, Any]:
    """What the record of `expnet repository` says of the model that the version in `folder` belongs to."""
    try:
        record = json.loads((folder.parents[2] / RECORD).read_text(encoding="utf-8"))
        return dict(record["models"][folder.parent.name])
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return {}


Own = tuple[str, str, tuple[Any, ...], dict[str, str]]  # input's name, dtype, shape; what the file says of itself


def _onnx(path: Path) -> Own:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # an error is raised, and then told by us
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    dtype = given.type.removeprefix("tensor(").removesuffix(")")
    return given.name, dtype, tuple(given.shape), dict(session.get_modelmeta().custom_metadata_map)


def _tflite(path: Path) -> Own:
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(str(path)).get_signature_runner(DEFAULT).get_input_details()
    name, facts = next(iter(details.items()))
    return name, facts["dtype"].__name__, tuple(map(int, facts["shape_signature"])), {}


def _savedmodel(path: Path) -> Own:
    from expnet_tf.serving.protocol import SavedModel, types_pb2

    read = SavedModel.FromString((path / SAVED_MODEL).read_bytes())
    served = [graph for graph in read.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not served or DEFAULT not in served[0].signature_def:
        raise ArtifactError(f"{path}: no signature {DEFAULT} under the tag serve.")
    inputs = served[0].signature_def[DEFAULT].inputs
    if "image_bytes" in inputs:
        raise ArtifactError(
            f"{path}: it takes encoded photos, as savedmodel-bytes does; this server decodes photos itself, "
            "from the artifacts savedmodel, onnx or tflite."
        )
    name, facts = next(iter(inputs.items()))
    dtype = types_pb2.DataType.Name(facts.dtype).removeprefix("DT_").lower()
    return name, dtype, tuple(dim.size for dim in facts.tensor_shape.dim), {}


_OWN = {"onnxruntime": _onnx, "litert": _tflite, "savedmodel": _savedmodel}
