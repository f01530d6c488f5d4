"""Hostile requests to a running server, each made from a seed and a number, and what no server may answer to them.

Used by test_hostile.py and by benchmarks/serving_hostile.py.
"""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple

import grpc
import hostile_grpc
import hostile_rest
import numpy as np
from hostile_grpc import Call
from hostile_rest import Http

from expnet_tf.serving import protocol as pb

PATIENCE = 20.0  # s for an answer that must come
GLANCE = 0.15  # s for one that may
# What a request may be told that is wrong, or too much, or for what is not there.
REFUSALS = {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


class Outcome(NamedTuple):
    """What became of a request: gRPC's code, HTTP's status, or "no answer" where none must come."""

    kind: str
    code: str
    fault: str  # why the server is to blame; mostly empty


def request(seed: int, number: int, model: str, side: int) -> Http | Call:
    """Request `number` of a campaign: the same for the same seed."""
    rng = random.Random(f"{seed} {number}")
    return (hostile_rest if rng.random() < 0.5 else hostile_grpc).request(rng, model, side)


class Attacker:
    """Sends hostile requests, one at a time. A context; threads have one each."""

    def __init__(self, grpc_address: str, rest_port: int) -> None:
        self._address, self._rest_port = grpc_address, rest_port
        self._channel = grpc.insecure_channel(
            grpc_address, options=(("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
        )

    def send(self, one: Http | Call) -> Outcome:
        if isinstance(one, Http):
            return self._http(one)
        if not one.method:
            host, _, port = self._address.rpartition(":")
            _exchange(host, int(port), one.messages[0], GLANCE / 5)
            return Outcome(one.kind, "no answer", "")
        return self._call(one)

    def _http(self, one: Http) -> Outcome:
        answer = _exchange("127.0.0.1", self._rest_port, one.data, PATIENCE if one.whole else GLANCE)
        codes = [int(code) for code in _STATUS.findall(answer)]
        if not codes:
            fault = "no answer" if one.whole else ""
            return Outcome(one.kind, "no answer", fault)
        said = answer[:500].decode("latin-1")
        fault = ""
        if any(code >= 500 and not (code == 501 and one.not_served) for code in codes):
            fault = said
        if one.whole:
            body = answer.partition(b"\r\n\r\n")[2]
            fault = fault or _judge_json(codes[0], body)
        return Outcome(one.kind, str(max(codes)), fault)

    def _call(self, one: Call) -> Outcome:
        call = self._channel.stream_unary(one.method, None, None)
        try:
            answer = call(iter(one.messages), timeout=PATIENCE, metadata=one.metadata)
        except grpc.RpcError as error:
            code, allowed = error.code().name, set(REFUSALS)
            if one.method not in hostile_grpc.SERVED:
                allowed.add("UNIMPLEMENTED")
            return Outcome(one.kind, code, "" if code in allowed else f"{one.method}: {code}: {error.details()}")
        return Outcome(one.kind, "OK", "".join(_judge_response(answer)) if one.method == hostile_grpc.PREDICT else "")

    def __enter__(self) -> Attacker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()


def _judge_json(code: int, body: bytes) -> str:
    """Why this is no answer to a predict request; empty where it is one."""
    try:
        answer = json.loads(body)
    except ValueError:
        return f"{code} with what is no JSON: {body[:200]!r}"
    wanted = {"predictions", "outputs"} if code == 200 else {"error"}
    if not isinstance(answer, dict) or len(answer) != 1 or not answer.keys() <= wanted:
        return f"{code} with {body[:200]!r}"
    return ""


def _judge_response(data: bytes) -> Iterator[str]:
    """What is wrong with an answer to Predict: numbers are finite, except in rows with an error."""
    response = pb.PredictResponse.FromString(data)
    if response.model_spec.signature_name == "photo" and "error" not in response.outputs:
        return  # it was not asked which rows are good
    errors = response.outputs["error"].string_val if "error" in response.outputs else []
    for name, tensor in response.outputs.items():
        if name == "error":
            continue
        values = np.frombuffer(tensor.tensor_content, "<f4").reshape([dim.size for dim in tensor.tensor_shape.dim])
        good = np.array([not text for text in errors]) if errors else np.ones(len(values), bool)
        if not np.isfinite(values[good]).all() or not np.isnan(values[~good]).all():
            yield f"{name}: numbers where there are none, or none where there are: {values[:, :3]}, {list(errors)}. "


def _exchange(host: str, port: int, data: bytes, seconds: float) -> bytes:
    """Write, and read until the other side closes, or says nothing for as long."""
    answer = b""
    with socket.create_connection((host, port), timeout=PATIENCE) as connection:
        with suppress(OSError):  # it is refused before it is read; why is there to read
            connection.sendall(data)
        connection.settimeout(seconds)
        with suppress(OSError):
            while part := connection.recv(1 << 16):
                answer += part
    return answer
