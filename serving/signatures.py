"""What may be asked of a model: its signatures, as TensorFlow Serving's metadata shows them.

`serving_default` takes face crops, `image` uint8 [n, S, S, 3], and is what the exported SavedModel has as well.
`photo` is this server's own: `image_bytes`, encoded photos, and `box`, where the faces are; it needs to know the
crop factor. All rows of `photo` are answered: where `error` is empty the row is good, elsewhere its numbers are NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from expnet_tf.serving.errors import invalid
from expnet_tf.serving.protocol import DT_FLOAT, DT_STRING, DT_UINT8, SignatureDef, TensorInfo

DEFAULT, PHOTO = "serving_default", "photo"
PREDICT_METHOD = "tensorflow/serving/predict"
Outputs = dict[str, np.ndarray]  # {head: float32 [B, width]}
DTYPES = {DT_UINT8: np.dtype(np.uint8), DT_FLOAT: np.dtype(np.float32), DT_STRING: np.dtype(object)}


@dataclass(frozen=True)
class Contract:
    """What a model takes and gives."""

    model: str  # as its manifest calls it, such as compact-1.0; "" where nothing says
    size: int  # side S of the crop, px
    crop_factor: float | None  # side of the crop over the larger side of the face box; None: not known
    outputs: Mapping[str, int]  # {head: width}


@dataclass(frozen=True)
class Tensor:
    """One input or output: `dtype` of the protocol, and shape with -1 for the number of rows."""

    dtype: int
    shape: tuple[int, ...]
    optional: bool = False

    @property
    def row(self) -> tuple[int, ...]:
        return self.shape[1:]

    def info(self, name: str) -> TensorInfo:
        made = TensorInfo(name=f"{name}:0", dtype=self.dtype)
        for size in self.shape:
            made.tensor_shape.dim.add(size=size)
        return made


@dataclass(frozen=True)
class Signature:
    name: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]

    def proto(self) -> SignatureDef:
        return SignatureDef(
            inputs={name: tensor.info(name) for name, tensor in self.inputs.items()},
            outputs={name: tensor.info(name) for name, tensor in self.outputs.items()},
            method_name=PREDICT_METHOD,
        )

    def check_names(self, given: set[str]) -> None:
        """Raises ServingError (INVALID_ARGUMENT) unless these are the inputs."""
        required = {name for name, tensor in self.inputs.items() if not tensor.optional}
        if given - set(self.inputs) or required - given:
            raise invalid(
                f"Inputs {', '.join(sorted(given)) or 'none'}; signature {self.name} takes "
                + ", ".join(f"{name}{' (optional)' if t.optional else ''}" for name, t in self.inputs.items())
                + "."
            )


def signatures(contract: Contract) -> dict[str, Signature]:
    """{name: signature} of a model."""
    side = contract.size
    heads = {head: Tensor(DT_FLOAT, (-1, width)) for head, width in contract.outputs.items()}
    made = [Signature(DEFAULT, {"image": Tensor(DT_UINT8, (-1, side, side, 3))}, heads)]
    if contract.crop_factor is not None:
        box = Tensor(DT_FLOAT, (-1, 4), optional=True)
        inputs = {"image_bytes": Tensor(DT_STRING, (-1,)), "box": box}
        outputs = {**heads, "box": Tensor(DT_FLOAT, (-1, 4)), "error": Tensor(DT_STRING, (-1,))}
        made.append(Signature(PHOTO, inputs, outputs))
    return {signature.name: signature for signature in made}


def choose(known: Mapping[str, Signature], name: str) -> Signature:
    """The signature of that name; "" is serving_default. Raises ServingError (INVALID_ARGUMENT)."""
    name = name or DEFAULT
    if name not in known:
        raise invalid(f'Serving signature name: "{name}" not found in signature def; there are {", ".join(known)}.')
    return known[name]
