"""How the client reaches a server: TensorFlow Serving's gRPC, or its REST; any server that speaks them will do."""

from __future__ import annotations

import http.client
import json
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

import grpc  # type: ignore[import-untyped]
import numpy as np
from grpc import StatusCode

from expnet_tf.serving import protocol as pb
from expnet_tf.serving.errors import HTTP_STATUS, ServingError
from expnet_tf.serving.signatures import DEFAULT, DTYPES
from expnet_tf.serving.tensors import write_tensor

CROP_FACTOR = "x-expnet-crop-factor"  # what the embedded server says beside the metadata


class Target(NamedTuple):
    """What is asked: a model's name, and a version or None for the latest."""

    model: str
    version: int | None


class Facts(NamedTuple):
    """What a client must know of a model."""

    size: int  # side of the crop, px
    crop_factor: float | None  # None: the server does not say, as TensorFlow Serving


class Transport(Protocol):
    """One way to a server. Calls raise ServingError; threads may share it."""

    def facts(self, target: Target, timeout: float) -> Facts: ...

    def predict(self, target: Target, images: np.ndarray, timeout: float) -> dict[str, np.ndarray]:
        """uint8 [B, S, S, 3] through serving_default -> {head: float32 [B, width]}."""
        ...

    def close(self) -> None: ...


def connect(address: str) -> Transport:
    """`http://host:8501` or `https://...` for REST; `host:8500` or `grpc://host:8500` for gRPC, which is not encrypted.

    Raises ValueError for another scheme.
    """
    if "://" not in address:
        return GrpcTransport(address)
    scheme, _, rest = address.partition("://")
    if scheme == "grpc":
        return GrpcTransport(rest.rstrip("/"))
    if scheme in ("http", "https"):
        return RestTransport(address)
    raise ValueError(f"Target {address!r}: http://, https://, grpc:// or host:port is expected.")


class GrpcTransport:
    """PredictionService."""

    def __init__(self, address: str) -> None:
        # Retries are the client's: gRPC's own would not be seen, nor end with its deadline.
        options = (
            ("grpc.enable_retries", 0),
            # By itself a channel knocks ever more seldom, up to two minutes apart, and fails all calls in between.
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.max_receive_message_length", -1),
        )
        self._channel = grpc.insecure_channel(address, options=options)
        self._stub = pb.PredictionServiceStub(self._channel)

    def facts(self, target: Target, timeout: float) -> Facts:
        request = pb.GetModelMetadataRequest(metadata_field=["signature_def"])
        _name(request.model_spec, target)
        try:
            answer, call = self._stub.GetModelMetadata.with_call(request, timeout=timeout)
        except grpc.RpcError as error:
            raise _failed(error) from None
        packed = pb.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(packed)
        inputs = {name: one.inputs for name, one in packed.signature_def.items()}.get(DEFAULT, {})
        shape = [dim.size for dim in inputs["image"].tensor_shape.dim] if set(inputs) == {"image"} else []
        said = dict(call.trailing_metadata() or ()).get(CROP_FACTOR)
        return Facts(_side(shape), float(said) if said else None)

    def predict(self, target: Target, images: np.ndarray, timeout: float) -> dict[str, np.ndarray]:
        request = pb.PredictRequest()
        _name(request.model_spec, target)
        request.model_spec.signature_name = DEFAULT
        request.inputs["image"].CopyFrom(write_tensor(images))
        try:
            answer = self._stub.Predict(request, timeout=timeout)
        except grpc.RpcError as error:
            raise _failed(error) from None
        return {name: _values(proto) for name, proto in answer.outputs.items()}

    def close(self) -> None:
        self._channel.close()


def _failed(error: grpc.RpcError) -> ServingError:
    # No call is cancelled here. Where a server ends gRPC itself, as of 1.85, says CANCELLED of calls that it has not
    # handed on to the server yet (grpc/grpc 41785): UNAVAILABLE is what they are.
    code = StatusCode.UNAVAILABLE if error.code() == StatusCode.CANCELLED else error.code()
    return ServingError(code, error.details() or "")


class RestTransport:
    """`:predict` with arrays as JSON lists: the one form that every server takes for uint8; ten times gRPC's bytes."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._tls, self._host, self._path = parts.scheme == "https", parts.netloc, parts.path.rstrip("/")
        self._idle: deque[http.client.HTTPConnection] = deque()  # one a call at a time; threads share them

    def facts(self, target: Target, timeout: float) -> Facts:
        answer, headers = self._call("GET", target, "/metadata", None, timeout)
        try:
            inputs = answer["metadata"]["signature_def"]["signature_def"][DEFAULT]["inputs"]
            shape = [int(dim["size"]) for dim in inputs["image"]["tensor_shape"]["dim"]] if len(inputs) == 1 else []
        except (KeyError, TypeError, ValueError):
            shape = []
        said = headers.get(CROP_FACTOR)
        return Facts(_side(shape), float(said) if said else None)

    def predict(self, target: Target, images: np.ndarray, timeout: float) -> dict[str, np.ndarray]:
        body = json.dumps({"signature_name": DEFAULT, "inputs": {"image": images.tolist()}}).encode()
        outputs = self._call("POST", target, ":predict", body, timeout)[0].get("outputs")
        # A single output comes without its name; then it is the one that every ExpNet has.
        named = outputs if isinstance(outputs, dict) else {"expression": outputs}
        made = {name: np.array(values, np.float32) for name, values in named.items()}
        if any(values.shape[:1] != images.shape[:1] for values in made.values()):
            raise ServingError(StatusCode.UNKNOWN, f"{self._host}: the answer has no outputs for {len(images)} images.")
        return made

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _call(
        self, method: str, target: Target, verb: str, body: bytes | None, timeout: float
    ) -> tuple[Any, Mapping[str, str]]:
        version = "" if target.version is None else f"/versions/{target.version}"
        path = f"{self._path}/v1/models/{quote(target.model, safe='')}{version}{verb}"
        connection = self._connection(timeout)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            data = response.read()
        except TimeoutError:
            connection.close()
            raise ServingError(StatusCode.DEADLINE_EXCEEDED, f"No answer within {timeout:g} s.") from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self.close()  # the others have been idle for longer, and a server closes such
            told = str(error) or type(error).__name__
            if isinstance(error, http.client.HTTPException) and not told.isprintable():
                told = f"no HTTP: {told[:100]!a}; is this the port for REST?"
            raise ServingError(StatusCode.UNAVAILABLE, f"{self._host}: {told.rstrip('.')}.") from None
        self._idle.append(connection)
        try:
            answer = json.loads(data)
        except ValueError:
            answer = None
        if response.status != http.HTTPStatus.OK or not isinstance(answer, dict):
            said = answer.get("error") if isinstance(answer, dict) else "no JSON object"
            code = _CODES.get(response.status, StatusCode.UNKNOWN)
            if response.status in _PROXY and not (isinstance(answer, dict) and "error" in answer):
                code = StatusCode.UNAVAILABLE
            raise ServingError(StatusCode.UNKNOWN if code == StatusCode.OK else code, f"HTTP {response.status}: {said}")
        return answer, {key.lower(): value for key, value in response.getheaders()}

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = (http.client.HTTPSConnection if self._tls else http.client.HTTPConnection)(self._host)
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        return connection


# A proxy that does not reach its server; a server's own come with its `error`.
_PROXY = (http.HTTPStatus.BAD_GATEWAY, http.HTTPStatus.GATEWAY_TIMEOUT)
_CODES = {int(status): code for code, status in HTTP_STATUS.items()}


def _name(spec: pb.ModelSpec, target: Target) -> None:
    spec.name = target.model
    if target.version is not None:
        spec.version.value = target.version


def _side(shape: list[int]) -> int:
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
        found = f"image {shape}" if shape else "no sole input `image`"
        raise ServingError(
            StatusCode.FAILED_PRECONDITION, f"The model's {DEFAULT} has {found}; image [n, S, S, 3] is expected."
        )
    return shape[1]


def _values(proto: pb.TensorProto) -> np.ndarray:
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, DTYPES[proto.dtype].newbyteorder("<")).reshape(shape)
    return np.array(proto.float_val, np.float32).reshape(shape)
