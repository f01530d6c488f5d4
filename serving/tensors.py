"""TensorProto to numpy and back, with every size checked before anything of that size is made."""

from __future__ import annotations

import math

import numpy as np

from expnet_tf.serving.errors import invalid
from expnet_tf.serving.limits import Limits
from expnet_tf.serving.protocol import DT_FLOAT, DT_STRING, DT_UINT8, TensorProto, types_pb2
from expnet_tf.serving.signatures import DTYPES, Tensor

_VALUES = {DT_UINT8: "int_val", DT_FLOAT: "float_val", DT_STRING: "string_val"}


def read_tensor(proto: TensorProto, name: str, expected: Tensor, limits: Limits) -> np.ndarray:
    """An input as an array of the expected dtype and shape; strings as objects of type bytes.

    Raises ServingError: INVALID_ARGUMENT for another dtype or shape, no rows, or content that does not fill the
    shape; RESOURCE_EXHAUSTED for too many rows.
    """
    wanted = f"{types_pb2.DataType.Name(expected.dtype)} {list(expected.shape)}"
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    fits = len(shape) == len(expected.shape) and shape[1:] == expected.row and not proto.tensor_shape.unknown_rank
    if proto.dtype != expected.dtype or not fits:
        known = types_pb2.DataType.DESCRIPTOR.values_by_number.get(proto.dtype)  # the field takes any number
        received = f"{known.name if known else f'type {proto.dtype}'} {list(shape)}"
        raise invalid(f"Input {name} is {received}; {wanted} is expected.")
    if shape[0] < 1:
        raise invalid(f"Input {name} has {shape[0]} rows; at least one is expected.")
    limits.check_rows(shape[0])
    dtype, count = DTYPES[expected.dtype], math.prod(shape)
    content, values = proto.tensor_content, getattr(proto, _VALUES[expected.dtype])
    if expected.dtype != DT_STRING and content:
        if len(content) != count * dtype.itemsize:
            raise invalid(
                f"Input {name} {list(shape)} comes with {len(content)} bytes; {count * dtype.itemsize} are expected."
            )
        return np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)
    # TensorFlow repeats the last value where there are fewer than the shape needs; so one may stand for all.
    if len(values) not in (1, count):
        raise invalid(f"Input {name} {list(shape)} comes with {len(values)} values; {count} are expected.")
    if expected.dtype == DT_UINT8:
        numbers = np.array(values, np.int64)
        if numbers.min() < 0 or numbers.max() > 255:
            raise invalid(f"Input {name} has values outside 0..255.")
        made = numbers.astype(np.uint8)
    else:
        made = np.empty(len(values), dtype)
        made[:] = values
    return np.broadcast_to(made, count).reshape(shape) if len(values) == 1 else made.reshape(shape)


def write_tensor(values: np.ndarray) -> TensorProto:
    """float32 or uint8 of any shape as tensor_content, objects of type bytes as string_val."""
    if values.dtype == object:
        made = TensorProto(dtype=DT_STRING, string_val=values.reshape(-1).tolist())
    else:
        dtype = DT_UINT8 if values.dtype == np.uint8 else DT_FLOAT
        made = TensorProto(dtype=dtype)
        made.tensor_content = np.ascontiguousarray(values, DTYPES[dtype].newbyteorder("<")).tobytes()
    for size in values.shape:
        made.tensor_shape.dim.add(size=size)
    return made
