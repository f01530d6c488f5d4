"""A SavedModel that is sent photos: it decodes, crops and reads the face, for clients that cannot.

A model of its own beside `savedmodel`, to be served without server batching: decoding takes as long as the
photos are large, and a batch would let small ones wait for it.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf

from expnet_tf import image_graph
from expnet_tf.export import ExportError, savedmodel, warmup
from expnet_tf.export.graph import inference
from expnet_tf.network import ModelInfo

# Warm-up photos are grey squares; the box is such that they shrink, as faces in photos mostly do.
WARM_SIDE = 512


def write(model: keras.Model, info: ModelInfo, path: Path) -> None:
    """Write the folder `path`, signature `serving_default`, any B from 1 on.

    From `image_bytes`, string [B], each a JPEG or PNG file, and `box`, float32 [B, 4], (x, y, w, h) px of the
    photo after its EXIF rotation, to the heads, float32 [B, width], and `valid`, bool [B]. Where a photo cannot
    be decoded or a box not be used, `valid` is False and the heads are 0; the others of the request are answered.
    The crop factor is stored as the variable `crop_factor`, float64. Raises ExportError for a model that takes other
    pixels than those of image.py: image_graph.py knows no others.
    """
    if info.pixels != "expnet":
        raise ExportError(
            f"savedmodel-bytes: {info.id} takes the pixels {info.pixels}, which this graph cannot cut out of a photo; "
            "export savedmodel, which takes crops."
        )
    infer = inference(model)
    factor = tf.Variable(info.crop_factor, trainable=False, dtype=tf.float64, name="crop_factor")

    def see(photo: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        data, box = photo
        image, decoded = image_graph.decode_image(data)
        crop, usable = image_graph.crop(image, box, info.size, factor)
        return crop, decoded & usable

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="image_bytes"),
            tf.TensorSpec([None, 4], tf.float32, name="box"),
        ]
    )
    def serve(image_bytes: tf.Tensor, box: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.debugging.assert_equal(
            tf.shape(image_bytes)[0], tf.shape(box)[0], "image_bytes and box differ in number; one box a photo."
        )
        answer = tf.TensorSpec([info.size, info.size, 3], tf.uint8), tf.TensorSpec([], tf.bool)
        # One photo after the other: only one of them takes memory.
        crops, valid = tf.map_fn(see, (image_bytes, box), fn_output_signature=answer, parallel_iterations=1)
        heads = {head: tf.where(valid[:, None], value, 0.0) for head, value in infer(crops).items()}
        return {**heads, "valid": valid}

    function = serve.get_concrete_function()
    module = tf.Module()
    module.weights = [variable for variable in function.variables if variable is not factor]
    module.crop_factor = factor
    savedmodel.save(module, {"serving_default": function}, path)
    warmup.write(path, info.name, [("serving_default", _photo(suffix)) for suffix in (".jpg", ".png")])


def _photo(suffix: str) -> dict:
    """A request of one grey photo with a box in its middle."""
    grey = np.full((WARM_SIDE, WARM_SIDE, 3), 128, np.uint8)
    data = cv2.imencode(suffix, grey)[1].tobytes()
    box = [WARM_SIDE / 4, WARM_SIDE / 4, WARM_SIDE / 2, WARM_SIDE / 2]
    return {"image_bytes": tf.make_tensor_proto([data]), "box": tf.make_tensor_proto([box], dtype=tf.float32)}
