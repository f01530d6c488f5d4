"""SavedModel: TensorFlow Serving and TensorFlow itself. A SavedModel is code: load only what you trust."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from expnet_tf.export.graph import serving_function
from expnet_tf.network import ModelInfo


def write(model: keras.Model, info: ModelInfo, path: Path) -> None:
    """Write the folder `path`; signature `serving_default`: `image` uint8 -> heads float32, any batch."""
    function = serving_function(model)
    module = tf.Module(name=info.name)
    # The plain variables, not the Keras model: a module that holds a Keras 3 model loads with
    # tf.saved_model.load but fails in the v1 Session loader, and keras.export.ExportArchive stores every
    # weight twice.
    module.weights = list(function.variables)
    tf.saved_model.save(module, str(path), signatures={"serving_default": function})
