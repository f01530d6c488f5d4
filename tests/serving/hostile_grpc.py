"""Hostile gRPC: serialised messages, from valid ones with one field wrong to bytes that are no message."""

from __future__ import annotations

import random
import struct
from typing import NamedTuple

from hostile_bytes import NUMBERS, box, damaged, flip, noise, photo

from expnet_tf.serving import protocol as pb

_PREDICTION, _MODEL = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
PREDICT = _PREDICTION + "Predict"
# Methods with messages of their own. All others are UNIMPLEMENTED, whatever is sent.
SERVED = (PREDICT, _PREDICTION + "GetModelMetadata", _MODEL + "GetModelStatus", "/grpc.health.v1.Health/Check")
_NOT_SERVED = (
    _PREDICTION + "Classify", _PREDICTION + "Regress", _PREDICTION + "MultiInference", _PREDICTION + "Nothing",
    _MODEL + "HandleReloadConfigRequest", "/", "/x", "//", "/a/b/c", "/" + "a" * 2000,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)  # fmt: skip
_NAMES = ("", "nobody", "..", "\x00", "a" * 5000, "ä")


class Call(NamedTuple):
    """One call, or, where there is no method, bytes for the gRPC port."""

    kind: str
    method: str
    messages: list[bytes]
    metadata: tuple[tuple[str, str | bytes], ...] = ()


def request(rng: random.Random, model: str, side: int) -> Call:
    """The next one."""
    kind = rng.choices(("message", "bytes", "other", "stream", "raw"), (10, 6, 3, 1, 1))[0]
    if kind == "raw":
        return Call("gRPC raw", "", [_raw(rng)])
    if kind == "other":
        return Call("gRPC other methods", *_other(rng, model), _metadata(rng))
    message = _predict(rng, model, side)
    if kind == "bytes":
        data = message.SerializeToString()
        # One bit often leaves a message that can be read; more seldom do.
        match rng.randrange(8):
            case 0:
                data = noise(rng, 500)
            case 1 | 2:
                data = damaged(rng, data)
            case _:
                data = flip(rng, data, 1)
        return Call("gRPC bytes", PREDICT, [data])
    if kind == "stream":
        return Call("gRPC messages", PREDICT, [message.SerializeToString()] * rng.choice((0, 2, 3)))
    for _ in range(rng.randint(1, 2)):
        rng.choice((_spec_wrong, _inputs_wrong, _tensor_wrong, _tensor_wrong, _shape_wrong, _shape_wrong))(rng, message)
    return Call("gRPC message", PREDICT, [message.SerializeToString()], _metadata(rng))


def _predict(rng: random.Random, model: str, side: int) -> pb.PredictRequest:
    """A valid request; its photos may be anything."""
    made = pb.PredictRequest()
    made.model_spec.name = model
    rows = rng.randint(1, 3)
    if rng.random() < 0.5:
        image = made.inputs["image"]
        image.dtype, image.tensor_content = pb.DT_UINT8, rng.randbytes(rows * side * side * 3)
        _shape(image, rows, side, side, 3)
        return made
    made.model_spec.signature_name = "photo"
    photos, boxes = made.inputs["image_bytes"], made.inputs["box"]
    photos.dtype, boxes.dtype = pb.DT_STRING, pb.DT_FLOAT
    photos.string_val.extend(photo(rng) for _ in range(rows))
    boxes.float_val.extend(number for _ in range(rows) for number in box(rng))
    _shape(photos, rows)
    _shape(boxes, rows, 4)
    return made


def _shape(tensor: pb.TensorProto, *sizes: int) -> None:
    del tensor.tensor_shape.dim[:]
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)


def _spec_wrong(rng: random.Random, message: pb.PredictRequest) -> None:
    spec = message.model_spec
    match rng.randrange(5):
        case 0:
            spec.name = rng.choice(_NAMES)
        case 1:
            spec.version.value = rng.choice(NUMBERS)
        case 2:
            spec.version_label = rng.choice(_NAMES)
        case 3:
            spec.signature_name = rng.choice((*_NAMES, "photo", "serving_default"))
        case _:
            names = ("expression", "identity", "pose", "box", "error", *_NAMES)
            message.output_filter.extend(rng.choices(names, k=rng.choice((1, 2, 2000))))


def _inputs_wrong(rng: random.Random, message: pb.PredictRequest) -> None:
    name = rng.choice(sorted(message.inputs)) if message.inputs else "image"
    match rng.randrange(4):
        case 0:
            message.inputs.pop(name, None)
        case 1:
            message.inputs[rng.choice(_NAMES)].CopyFrom(message.inputs[name])
        case 2:
            message.inputs[rng.choice(("image", "image_bytes", "box"))].CopyFrom(message.inputs[name])
        case _:
            message.inputs[name].Clear()


def _one(rng: random.Random, message: pb.PredictRequest) -> pb.TensorProto:
    return message.inputs[rng.choice(sorted(message.inputs) or ["image"])]


def _shape_wrong(rng: random.Random, message: pb.PredictRequest) -> None:
    tensor = _one(rng, message)
    dims = tensor.tensor_shape.dim
    match rng.randrange(6):
        case 0:
            _shape(tensor, *(rng.choice(NUMBERS) for _ in range(rng.randint(0, 5))))
        case 1:
            _shape(tensor, *[1] * rng.choice((5, 300, 5000)))
        case 2:
            tensor.tensor_shape.unknown_rank = True
        case 3:
            dims.add(size=rng.choice(NUMBERS), name="a" * rng.choice((1, 3000)))
        case _:
            (rng.choice(dims) if dims else dims.add()).size = rng.choice(NUMBERS)


def _tensor_wrong(rng: random.Random, message: pb.PredictRequest) -> None:
    tensor = _one(rng, message)
    match rng.randrange(9):
        case 0:
            tensor.dtype = rng.choice((*range(32), 101, 114, 2**31 - 1, -1))
        case 1:
            tensor.tensor_content = tensor.tensor_content[: rng.randint(0, len(tensor.tensor_content))]
        case 2:
            tensor.tensor_content += noise(rng, 2000)
        case 3:
            tensor.int_val.extend(rng.choice(NUMBERS[:11]) for _ in range(rng.choice((1, 2, 3000))))
            tensor.tensor_content = b""
        case 4:
            tensor.float_val.extend(rng.choice((0.0, float("nan"), 3e38)) for _ in range(rng.choice((1, 3, 3000))))
        case 5:
            tensor.string_val.extend(photo(rng) for _ in range(rng.choice((1, 100))))
        case 6:
            tensor.ClearField(rng.choice(("string_val", "float_val", "tensor_content", "dtype", "tensor_shape")))
        case 7:
            tensor.version_number, tensor.half_val[:], tensor.bool_val[:] = -1, [1, 70000], [True]
        case _:
            for _ in range(rng.choice((1, 20))):  # two levels each, perhaps twice; protobuf itself goes to 100
                outer = pb.TensorProto()
                outer.dtype = tensor.dtype
                outer.tensor_shape.CopyFrom(tensor.tensor_shape)
                outer.variant_val.add(type_name="x", metadata=noise(rng, 100)).tensors.append(tensor)
                tensor.CopyFrom(outer)


def _other(rng: random.Random, model: str) -> tuple[str, list[bytes]]:
    """A method besides Predict, and a message that may be its."""
    name = rng.choice((model, model, *_NAMES))
    metadata, status = pb.GetModelMetadataRequest(), pb.GetModelStatusRequest()
    for spec in (metadata.model_spec, status.model_spec):
        spec.name = name
        if rng.random() < 0.5:
            spec.version.value = rng.choice(NUMBERS)
    metadata.metadata_field.extend(rng.choices(("signature_def", "", "x" * 3000), k=rng.randint(0, 3)))
    method, data = rng.choice(
        (
            (SERVED[1], metadata.SerializeToString()),
            (SERVED[2], status.SerializeToString()),
            (SERVED[3], b"\x0a\x07nothing"),
            (rng.choice(_NOT_SERVED), metadata.SerializeToString()),
        )
    )
    return method, [damaged(rng, data) if rng.random() < 0.3 else data]


def _metadata(rng: random.Random) -> tuple[tuple[str, str | bytes], ...]:
    some = (
        ("x-request-id", rng.choice(("", "a b", "a" * 500, "~"))),
        ("x-" + "a" * 200, "b" * 2000),
        ("x-bin", noise(rng, 500)),
        ("authorization", "x"),
        ("grpc-encoding-x", "nothing"),
    )
    return tuple(rng.sample(some, rng.choice((0, 0, 1, 2))))


def _raw(rng: random.Random) -> bytes:
    """Not even gRPC: for the port."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">BHBBI", 0, 0, 4, 0, 0)
    frames = b""
    for _ in range(rng.randint(1, 6)):
        data = noise(rng, 100)
        length = len(data) if rng.random() < 0.7 else rng.choice((0, 16384, 2**24 - 1))
        stream = rng.choice((0, 1, 2, 3, 2**31 - 1, 2**32 - 1))
        kind, flags = rng.randrange(12), rng.randrange(256)
        frames += struct.pack(">BHBBI", length >> 16, length & 0xFFFF, kind, flags, stream) + data
    return rng.choice(
        (preface + frames, frames, noise(rng, 500), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", damaged(rng, preface))
    )
