"""A SavedModel through the v1 Session loader, which is how TensorFlow Serving opens it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def open_session(path: Path, threads: int) -> tuple[Any, Any]:
    """(session, SignatureDef of `serving_default`) of a SavedModel folder."""
    import tensorflow as tf

    v1 = tf.compat.v1
    options = v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
    with tf.Graph().as_default() as graph:
        session = v1.Session(graph=graph, config=options)
        meta = v1.saved_model.loader.load(session, [tf.saved_model.SERVING], str(path))
    return session, meta.signature_def["serving_default"]
