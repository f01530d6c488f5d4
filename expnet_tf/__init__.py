"""ExpNet: 3D facial expression, identity and pose from a photo; proven exports.

    import expnet_tf
    faces = expnet_tf.load().predict(expnet_tf.read_image("photo.jpg"))
    faces[0].expression          # float [29], sigma units
    faces[0].vertices()          # float [n, 3], mm

The names below are the stable public API. Each is imported when it is first asked for: `import expnet_tf`
alone costs milliseconds and does not import TensorFlow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expnet_tf.detect import BlazeFace, Detection, Detector
    from expnet_tf.image import ImageError, decode_image, read_image
    from expnet_tf.mesh import write_mesh
    from expnet_tf.morphable import MorphableModel
    from expnet_tf.network import ExpNet, ModelError, load_model
    from expnet_tf.predictor import Face, Predictor, load

__version__ = "0.1.0"

__all__ = [
    "BlazeFace",
    "Detection",
    "Detector",
    "ExpNet",
    "Face",
    "ImageError",
    "ModelError",
    "MorphableModel",
    "Predictor",
    "__version__",
    "decode_image",
    "load",
    "load_model",
    "read_image",
    "write_mesh",
]

# name -> the file it lives in. tests/test_package.py compares this with the TYPE_CHECKING block above.
_HOME = {
    "BlazeFace": "detect",
    "Detection": "detect",
    "Detector": "detect",
    "ExpNet": "network",
    "Face": "predictor",
    "ImageError": "image",
    "ModelError": "network",
    "MorphableModel": "morphable",
    "Predictor": "predictor",
    "decode_image": "image",
    "load": "predictor",
    "load_model": "network",
    "read_image": "image",
    "write_mesh": "mesh",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'expnet_tf' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"expnet_tf.{_HOME[name]}"), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
