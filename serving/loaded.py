"""A model in memory: its runtime, tried out before anyone is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from expnet_tf.export.runners import RUNNERS, Runner
from expnet_tf.serving import artifacts
from expnet_tf.serving.artifacts import ArtifactError
from expnet_tf.serving.signatures import Contract, Outputs


class GraphRunner:
    """A .keras file as the TensorFlow function that the exports are made from: one trace for all batch sizes."""

    name = "graph"

    def __init__(self, path: Path, threads: int = 1) -> None:
        import tensorflow as tf

        from expnet_tf.export.graph import serving_function
        from expnet_tf.network import load_model

        self.version = tf.__version__
        self._constant = tf.constant
        self._model = load_model(path)  # held: the function does not keep its variables alive
        self._serve = serving_function(self._model)

    def run(self, images: np.ndarray) -> Outputs:
        return {name: value.numpy() for name, value in self._serve(image=self._constant(images)).items()}


class LoadedModel:
    """A Runner, and what its model takes and gives; warmed up."""

    def __init__(self, runner: Runner, described: tuple[str, int, float | None], max_batch: int) -> None:
        """
        Args:
            described: model id, side of the crop, crop factor.

        Raises ArtifactError where the network's answer to a blank batch is not finite or not [B, width], and what
        the runtime raises.
        """
        model, size, factor = described
        self._runner = runner
        self.runtime = f"{runner.name} {runner.version}"
        outputs: Outputs = {}
        for count in (max_batch, 1):  # the largest first: buffers are made once
            outputs = runner.run(np.zeros((count, size, size, 3), np.uint8))
            self._check(outputs, count)
        widths = {head: int(outputs[head].shape[1]) for head in sorted(outputs)}  # runtimes have orders of their own
        self.contract = Contract(model, size, factor, widths)

    @staticmethod
    def _check(outputs: Outputs, count: int) -> None:
        for head, values in outputs.items():
            if values.ndim != 2 or len(values) != count or values.dtype != np.float32:
                raise ArtifactError(
                    f"Output {head} of {count} images is {values.dtype} {list(values.shape)}; "
                    f"float32 [{count}, width] is expected."
                )
            if not np.isfinite(values).all():
                raise ArtifactError(f"The {head} of a blank image is not finite; the weights are broken.")

    def run(self, images: np.ndarray) -> Outputs:
        """uint8 [B, S, S, 3] -> {head: float32 [B, width]}."""
        outputs = self._runner.run(images)
        return {head: outputs[head] for head in self.contract.outputs}


def load_version(folder: Path, max_batch: int) -> LoadedModel:
    """The artifact of a version's folder, checked, loaded and warmed up.

    Raises ArtifactError, or whatever the runtime raises for a file that it cannot load.
    """
    artifact = artifacts.find(folder)
    if artifact is None:
        names = ", ".join(dict.fromkeys(place for _, place, _ in artifacts.LAYOUT if place != "."))
        raise ArtifactError(f"{folder}: neither {artifacts.SAVED_MODEL} nor one of {names} in it.")
    described = artifacts.describe(folder, artifact, artifacts.check(folder, artifact))
    return LoadedModel(RUNNERS[artifact.runner](artifact.path), described, max_batch)


def load_keras(path: Path, max_batch: int) -> LoadedModel:
    """A .keras file, loaded and warmed up. Raises what `network.load_model` and `network.read_info` raise."""
    from expnet_tf.network import read_info

    info = read_info(path)
    return LoadedModel(GraphRunner(path), (info.id, info.size, info.crop_factor), max_batch)
