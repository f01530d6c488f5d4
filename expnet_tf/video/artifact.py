"""An exported network in the predictor's place: LiteRT and ONNX Runtime answer one crop sooner than Keras does."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from expnet_tf.detect import Detector
from expnet_tf.export import ExportError, manifest
from expnet_tf.export.runner import Runner
from expnet_tf.export.runners import LiteRTRunner, OnnxRunner
from expnet_tf.morphable import MorphableModel, open_face
from expnet_tf.network import ModelError, ModelInfo
from expnet_tf.predictor import Predictor

RUNNERS: dict[str, type[Runner]] = {".tflite": LiteRTRunner, ".onnx": OnnxRunner}


class ArtifactPredictor(Predictor):
    """A Predictor whose network is an exported file. Make it with `load_artifact`."""

    def __init__(self, runner: Runner, info: ModelInfo, detector: Detector | None, face_model: MorphableModel) -> None:
        # Not the parent's: there is no Keras model whose widths could be compared.
        self._runner, self.info, self._detector, self.face_model = runner, info, detector, face_model

    def run(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """See Predictor.run."""
        outputs = self._runner.run(crops)
        for head, values in outputs.items():
            if not np.isfinite(values).all():
                raise ModelError(f"The {head} that {self.info.id} gives is not finite; its weights are broken.")
        return {head: outputs[head] for head in self.info.heads}


def load_artifact(
    path: Path, detector: Detector | None = None, face_model: MorphableModel | None = None
) -> ArtifactPredictor:
    """The .tflite or .onnx of an export folder; the manifest beside it says what it takes, and is checked.

    Raises ModelError where the file is none, damaged, failed by `expnet verify`, or does not fit the face model.
    """
    if path.suffix not in RUNNERS:
        raise ModelError(f"{path}: {', '.join(RUNNERS)} are run.")
    if not path.is_file():
        raise ModelError(f"{path} does not exist; `expnet export` writes such files.")
    try:
        record = manifest.read(path.parent)
        noted = next((one for one in record["artifacts"].values() if one["path"] == path.name), None)
        if noted is None:
            raise ModelError(f"{path}: the manifest beside it does not know this file.")
        manifest.check(path.parent, noted)
        if noted.get("verified") == "fail":
            raise ModelError(f"{path}: expnet verify failed it, says the manifest; it is not to be used.")
        model, given = record["model"], record["input"]
        info = ModelInfo(
            model["name"], model["version"], model["backbone"], int(given["shape"][1]), float(given["crop_factor"]),
            tuple(record["outputs"]), record.get("training", ""), record.get("licence", ""),
            given.get("pixels", "expnet"),
        )  # fmt: skip
    except (FileNotFoundError, ExportError) as error:
        raise ModelError(f"{path} needs the manifest that was exported with it ({error})") from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelError(f"{path}: the manifest beside it says no model, input or outputs: {error!r}.") from error
    face = open_face() if face_model is None else face_model
    made = ArtifactPredictor(RUNNERS[path.suffix](path), info, detector, face)
    outputs = made.run(np.zeros((1, info.size, info.size, 3), np.uint8))
    for head, basis in (("expression", face.expression_basis), ("identity", face.identity_basis)):
        if head in outputs and outputs[head].shape[1] != len(basis):
            raise ModelError(
                f"{path} gives {outputs[head].shape[1]} {head} coefficients; the face model has {len(basis)}."
            )
    return made
