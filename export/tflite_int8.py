"""TFLite in eight bits: `tflite-dynamic` (weights only) and `tflite-int8` (weights and activations).

The quantiser is Google's ai-edge-quantizer, LiteRT's own. On the shipped network it loses less than the quantiser
inside TensorFlow's converter, whose int8 outputs put the pose's radians and its -900 mm on one scale (docs/exports.md).
"""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from expnet_tf.export.reference import some_small
from expnet_tf.export.tflite import float_model, name_tensors
from expnet_tf.network import ModelInfo

# Faces that show the range of every activation: rendered, of other people than the certificate's.
CALIBRATION_FACES = 256
CALIBRATION_SEED = 1729
GROUP = 16  # faces that a range is taken over
BATCH_PIXELS = 450_000  # of one calibration batch: all activations are kept and copied, 3 GB for ResNet-101


def write_dynamic(model: keras.Model, info: ModelInfo, path: Path) -> None:
    """Write weights as int8, a scale an output channel; activations stay float32 between layers."""
    from ai_edge_quantizer import recipe

    path.write_bytes(_quantized(float_model(model, info), [recipe.dynamic_wi8_afp32()[0]]))


def write(model: keras.Model, info: ModelInfo, path: Path) -> None:
    """Write the full integer network: `image` uint8 -> heads float32.

    Weights have a scale an output channel, activations one a tensor, set by rendered faces. The heads' outputs are
    computed in float32 from int8 weights: they are the result, and rounding them to 256 steps would be most of the
    error.
    """
    from ai_edge_quantizer import recipe
    from ai_edge_quantizer.qtyping import TFLOperationName

    from expnet_tf.data.synth import face_crops

    static, dynamic = recipe.static_wi8_ai8()[0], recipe.dynamic_wi8_afp32()[0]
    rules = [static]
    rules += [
        {**dynamic, "operation": edge, "algorithm_key": recipe.AlgorithmName.NO_QUANTIZE}
        for edge in (TFLOperationName.INPUT, TFLOperationName.OUTPUT)
    ]
    rules.append({**dynamic, "operation": TFLOperationName.FULLY_CONNECTED})
    faces = face_crops(CALIBRATION_FACES, info.size, seed=CALIBRATION_SEED, factor=info.crop_factor)
    path.write_bytes(_quantized(float_model(model, info), rules, some_small(faces)))


def _quantized(content: bytes, rules: list[dict[str, Any]], faces: np.ndarray | None = None) -> bytes:
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(bytearray(content))
    quantizer.load_quantization_recipe(rules)
    # It prints its sizes and progress, and LiteRT warns that keeping all tensors takes memory: nothing to act on.
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        ranges = None if faces is None else _ranges(quantizer, faces)
        result = quantizer.quantize(ranges)
    return name_tensors(bytes(result.quantized_model))


def _ranges(quantizer: Any, faces: np.ndarray) -> dict[str, Any]:
    """The range of each tensor: the median, over groups of faces, of a group's smallest and largest value.

    The extremes over all faces give every step to what one face shows; the quantiser's own running average, asked
    face by face, clips what many show (an open mouth, a profile), and moved vertices by millimetres.
    """
    groups = [_group(quantizer, faces[i : i + GROUP]) for i in range(0, len(faces), GROUP)]
    return {
        name: {**found, **{end: np.median([group[name][end] for group in groups], axis=0) for end in ("min", "max")}}
        for name, found in groups[0].items()
    }


def _group(quantizer: Any, faces: np.ndarray) -> dict[str, Any]:
    """The smallest and largest value of each tensor over these faces, in batches that fit into memory."""
    step = max(1, BATCH_PIXELS // faces[0, ..., 0].size)
    ranges: dict[str, Any] = {}
    for start in range(0, len(faces), step):
        data = {"serving_default": [{"image": faces[start : start + step]}]}
        for name, found in quantizer.calibrate(data, num_threads=2).items():
            known = ranges.setdefault(name, found)
            ends = {"min": np.minimum(known["min"], found["min"]), "max": np.maximum(known["max"], found["max"])}
            ranges[name] = {**found, **ends}
    return ranges
