"""Hostile HTTP: whole requests as bytes, from valid ones with one thing wrong to what is no HTTP at all."""

from __future__ import annotations

import base64
import gzip
import json
import random
from typing import Any, NamedTuple

from hostile_bytes import NUMBERS, PHOTOS, box, damaged, noise, photo

_DEEP = "\x01deep"  # stands for a nesting that json.dumps itself would not write
_TOKENS = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-",
    b"[",
    b"]",
    b"{",
    b'"',
    b"null",
    b"\\ud800",
    b"\xff\xfe",
    b"\x00",
    b"/*",
)
_METHODS = ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW", "post", "P\x00ST")
_PATHS = (
    "/", "/v1", "/v1/models", "/v1/models/", "/v1/models/{m}", "/v1/models/{m}/", "/v1/models/{m}/metadata",
    "/v1/models/{m}/versions/1", "/v1/models/{m}/versions/0", "/v1/models/{m}/versions/-1",
    "/v1/models/{m}/versions/99999999999999999999999", "/v1/models/{m}/versions/1/metadata",
    "/v1/models/{m}/versions/9223372036854775808:predict", "/v1/models/{m}/versions/x:predict",
    "/v1/models/{m}/labels/stable:predict", "/v1/models/{m}:classify", "/v1/models/{m}:regress",
    "/v1/models/{m}:predict:predict", "/v1/models/{m}:Predict?x=1#y", "/v1/models/nobody:predict",
    "/v1/models/%00:predict", "/v1/models/..%2f..%2fetc%2fpasswd:predict", "/v1/models/../../etc/passwd",
    "/v1/models/%ff%fe:predict", "/v1/models/{m}%3Apredict", "//v1//models//{m}:predict", "/metrics", "/healthz",
    "/readyz", "/metrics/../v1/models/{m}", "*", "http://elsewhere/v1/models/{m}:predict", "/" + "a" * 7000,
)  # fmt: skip
_HEADERS = (
    "Content-Encoding: gzip", "Content-Encoding: br", "Content-Encoding: identity", "Content-Encoding: \xff",
    "Content-Type: multipart/form-data; boundary=x", "Content-Type: application/json; charset=utf-99",
    "Content-Type: \x01", "Expect: 100-continue", "Expect: nonsense", "x-request-id: " + "a" * 500,
    "x-request-id: \xe4\xff", "x-request-id: a b", "Accept-Encoding: gzip;q=x", "Range: bytes=0-1", "Host: y",
    "Cookie: =;=;", "Connection: Upgrade\r\nUpgrade: websocket", "Connection: Upgrade\r\nUpgrade: h2c",
    "Transfer-Encoding: gzip", "Transfer-Encoding: chunked\r\nContent-Length: 5", "Content-Length: 0",
    "Content-Length: -1", "Content-Length: 1, 2", "Content-Length: 99999999999999999999", "Content-Length: 0x10",
    "A" * 9000 + ": b", "a: " + "b" * 9000, "no colon", ": no name", "a\x00b: c", " folded: line", "If-Match: *",
)  # fmt: skip
_CHUNKS = (
    b"zz\r\n", b"-1\r\nx\r\n", b"FFFFFFFFFFFFFFFFF\r\n", b"5\r\nab", b"2\r\nabc\r\n",
    b"1;" + b"x" * 9000 + b"\r\na\r\n",
    b"0\r\nTrailer: x\r\n\r\n", b"\r\n", b"0x1\r\na\r\n", b" 1\r\na\r\n", b"1\na\n", b"7fffffff\r\n", b"0\r\n",
)  # fmt: skip
_NO_HTTP = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET /\r\n\r\n", b"\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\x00" * 200,
    b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
)  # fmt: skip


class Http(NamedTuple):
    """What is written to the REST port."""

    kind: str
    data: bytes
    whole: bool  # an answer must come
    not_served: bool  # it asks for :classify or :regress, which are 501


def request(rng: random.Random, model: str, side: int) -> Http:
    """The next one."""
    kind = rng.choices(("document", "text", "head", "raw"), (8, 6, 6, 3))[0]
    method, path = "POST", f"/v1/models/{model}:predict"
    headers: list[str] = []
    if kind == "document":
        body = _dumps(altered(rng, _document(rng, side)))
    else:
        body = _dumps(_document(rng, side))
    if kind == "text":
        body = _text(rng, body)
    if kind == "head":
        if rng.random() < 0.4:
            method = rng.choice(_METHODS)
        if rng.random() < 0.6:
            path = rng.choice(_PATHS).replace("{m}", model)
        headers = rng.sample(_HEADERS, rng.randint(0, 2))
    data = _head(method, path, headers, len(body)) + body
    if kind == "raw":
        data = _raw(rng, data, path)
    # Of a head with something wrong in it, or of bytes, it is not said that they are a request at all.
    return Http(
        f"REST {kind}", data, kind in ("document", "text"), any(verb in path for verb in (":classify", ":regress"))
    )


def _head(method: str, path: str, headers: list[str], length: int) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {length}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _document(rng: random.Random, side: int) -> dict[str, Any]:
    """A valid body."""
    kind = rng.choice(("rows", "named rows", "columns", "photo rows", "photo columns"))
    if kind.startswith("photo"):
        photos = [{"b64": base64.b64encode(photo(rng)).decode()} for _ in range(rng.randint(1, 3))]
        if kind == "photo rows":
            rows = [{"image_bytes": one, "box": box(rng)} for one in photos]
            return {"signature_name": "photo", "instances": rows}
        return {"signature_name": "photo", "inputs": {"image_bytes": photos, "box": [box(rng) for _ in photos]}}
    images = [_image(rng, side)] * rng.randint(1, 2)
    if kind == "rows":
        return {"instances": images}
    if kind == "named rows":
        return {"signature_name": "serving_default", "instances": [{"image": image} for image in images]}
    return {"inputs": {"image": images}}


def _image(rng: random.Random, side: int) -> list:
    """[side][side][3]; all rows are the same list."""
    return [[[rng.randint(0, 255) for _ in range(3)] for _ in range(side)]] * side


def altered(rng: random.Random, value: Any) -> Any:
    """The value with something wrong in one place, near the top or deep down; it is copied along the way."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key, made = rng.choice(list(value)), dict(value)
        match rng.randrange(8):
            case 0:
                del made[key]
            case 1:
                made[rng.choice(("", "image", "b64", "instances", "inputs", "box", "\x00"))] = made.pop(key)
            case 2:
                made[rng.choice(("", "extra", "instances", "inputs", "signature_name"))] = _value(rng)
            case _:
                made[key] = altered(rng, value[key])
        return made
    if isinstance(value, list) and value and rng.random() < 0.85:
        at, made = rng.randrange(len(value)), list(value)
        match rng.randrange(8):
            case 0:
                del made[at]
            case 1:
                made[at:at] = [made[at]] * rng.choice((1, 70))
            case 2:
                made[at] = [made[at]]
            case _:
                made[at] = altered(rng, made[at])
        return made
    return _value(rng)


def _value(rng: random.Random) -> Any:
    return rng.choice(
        (
            None, True, False, 1.5, -0.0, float("nan"), float("inf"), 10**400, rng.choice(NUMBERS), 1e38,
            "", "x", "\ud800", "a" * 10_000, "serving_default", "photo",
            [], {}, [[]], [None], {"": {}}, {"image": 1}, _DEEP, [_DEEP], [0] * 5000, [[0, 0, 0]] * 300,
            {"b64": ""}, {"b64": "!!!!"}, {"b64": "QQ"}, {"b64": 5}, {"b64": None}, {"b64": "AAAA", "x": 1},
            {"b64": base64.b64encode(PHOTOS["JPEG"]).decode()},
        )
    )  # fmt: skip


def _dumps(document: Any) -> bytes:
    text = json.dumps(document).encode()
    deep = json.dumps(_DEEP).encode()
    return text.replace(deep, b"[" * 100_000, 1).replace(deep, b'{"a":' * 100_000)


def _text(rng: random.Random, body: bytes) -> bytes:
    match rng.randrange(10):
        case 0:
            at = rng.randint(0, len(body))
            return body[:at] + rng.choice(_TOKENS) + body[at + rng.randint(0, 3) :]
        case 1:
            return body.decode().encode(rng.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7")))
        case 2:
            return gzip.compress(body, 1, mtime=0)
        case 3:
            return noise(rng, 2000)
        case 4:
            return body + rng.choice((body, b"\x00", b",", b"{}"))
        case 5:
            return b'{"instances":' * rng.choice((1, 1000, 50_000))
        case _:
            return damaged(rng, body)


def _raw(rng: random.Random, data: bytes, path: str) -> bytes:
    match rng.randrange(6):
        case 0:
            return damaged(rng, data[:300]) + data[300:]
        case 1:
            return damaged(rng, data)
        case 2:
            return rng.choice(_NO_HTTP)
        case 3:
            return noise(rng, 3000)
        case 4:
            return data.replace(b"Connection: close\r\n", b"") * 2 + damaged(rng, data)
        case _:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            return head + b"".join(rng.choice(_CHUNKS) for _ in range(rng.randint(1, 4)))
