"""REST as TensorFlow Serving's page describes it, by a client that knows nothing but HTTP and JSON."""

import base64
import http.client
import json
import tracemalloc

import numpy as np
import pytest

from expnet_tf.models import ASSETS
from expnet_tf.serving.errors import ServingError
from expnet_tf.serving.limits import Limits
from expnet_tf.serving.restjson import read_body
from expnet_tf.serving.signatures import Contract, signatures

PHOTO = {"b64": base64.b64encode((ASSETS / "astronaut.jpg").read_bytes()).decode()}
BOX = [190, 60, 110, 150]
TOLERANCE = 1e-4  # sigma, rad, mm; two runtimes in float32


@pytest.fixture(scope="module")
def running(serve, put, tmp_path_factory):
    base = tmp_path_factory.mktemp("repository")
    put(base, "toy", 3)
    return serve(base)


@pytest.fixture(scope="module")
def ask(running):
    """ask(method, path, document or bytes) -> status, answer, headers."""
    connection = http.client.HTTPConnection("127.0.0.1", running.server.rest_port, timeout=10)

    def call(method, path, body=None, **headers):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        answer = response.read()
        kind = response.headers["Content-Type"]
        return response.status, json.loads(answer) if kind.startswith("application/json") else answer, response.headers

    yield call
    connection.close()


@pytest.fixture(scope="module")
def predict(ask):
    return lambda body, path="/v1/models/toy:predict": ask("POST", path, body)[:2]


def close(given, wanted):
    np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=TOLERANCE)


def test_rows(predict, crops, expected):
    status, answer = predict({"instances": [{"image": crop.tolist()} for crop in crops[:2]]})
    assert status == 200
    assert list(answer) == ["predictions"]
    for row, prediction in enumerate(answer["predictions"]):
        assert set(prediction) == set(expected)
        close(prediction["pose"], expected["pose"][row])
    # One named input: its value alone will do.
    assert predict({"instances": crops[:2].tolist(), "signature_name": "serving_default"}) == (200, answer)


def test_columns(predict, crops, expected):
    status, answer = predict({"inputs": {"image": crops[:2].tolist()}})
    assert status == 200
    assert list(answer) == ["outputs"]
    for head, values in expected.items():
        close(answer["outputs"][head], values[:2])
    assert predict({"inputs": crops[:2].tolist()}) == (200, answer)
    assert predict({"inputs": crops[:2].tolist()}, "/V1/models/toy/versions/3:PREDICT") == (200, answer)


def test_decimals_give_the_float32_back(ask, crops, expected):
    """The shortest that do, as TensorFlow Serving writes them: no digits of a double."""
    answer = ask("POST", "/v1/models/toy:predict", {"instances": crops[:1].tolist()})[1]
    for value in answer["predictions"][0]["identity"]:
        assert repr(value) == str(np.float32(value)) or float(np.float32(value)) != value


def test_photos(predict):
    rows = [{"image_bytes": PHOTO, "box": BOX}, {"image_bytes": {"b64": "AAAA"}, "box": BOX}, {"image_bytes": PHOTO}]
    status, answer = predict({"signature_name": "photo", "instances": rows})
    assert status == 200
    good, bad, detected = answer["predictions"]
    assert good["box"] == BOX
    assert good["error"] == ""
    assert bad["error"].startswith("INVALID_ARGUMENT: row 1 is not a JPEG")
    assert np.isnan(bad["expression"]).all()
    assert np.isfinite(detected["expression"]).all()
    boxes = [BOX, BOX, None]
    columns = {"image_bytes": [row["image_bytes"] for row in rows], "box": boxes}
    status, columnar = predict({"signature_name": "photo", "inputs": columns})
    assert status == 200
    assert columnar["outputs"]["error"] == ["", bad["error"], ""]
    close(columnar["outputs"]["expression"][0], good["expression"])
    status, plain = predict({"signature_name": "photo", "instances": [PHOTO]})  # the one input that is needed
    assert status == 200
    close(plain["predictions"][0]["box"], detected["box"])


def test_only_bad_photos(predict):
    status, answer = predict({"signature_name": "photo", "instances": [{"b64": "AAAA"}, {"b64": "BBBB"}]})
    assert status == 400
    assert "row 0 is not" in answer["error"]
    assert "row 1 is not" in answer["error"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error"),
        (b"{", "JSON Parse error"),
        (b"\xff\xfe", "JSON Parse error"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"instances": [' + b"1" * 5000 + b"]}", "JSON Parse error"),
        ([], "The body is a JSON list"),
        ({}, "Exactly one of"),
        ({"instances": [1], "inputs": [1]}, "Exactly one of"),
        ({"instances": []}, "at least one"),
        ({"instances": {}}, "at least one"),
        ({"instances": [1], "signature_name": 1}, "must be a string"),
        ({"instances": [1], "signature_name": "x"}, '"x" not found in signature def'),
        ({"instances": [1]}, "Input image, row 0: shape []; [32, 32, 3] is expected"),
        ({"instances": [{"b64": "AAAA"}]}, "Photos go to image_bytes"),
        ({"instances": [{"picture": 1}]}, "Item 0 of 'instances': Inputs picture"),
        ({"instances": [[[1]], {"image": 1}]}, "Item 1 of 'instances'"),
        ({"inputs": {"image": 3}}, "Input image is number"),
        ({"inputs": [[[1, 2], [3]]]}, "shape [2]"),
        ({"inputs": [[[[1] * 3] * 32] * 31 + [[[1] * 3] * 31]]}, "shape [32]"),
        ({"inputs": [[[[0.5] * 3] * 32] * 32]}, "not of expected type: DT_UINT8"),
        ({"inputs": [[[[True] * 3] * 32] * 32]}, "not of expected type: DT_UINT8"),
        ({"inputs": [[[["1"] * 3] * 32] * 32]}, "not of expected type: DT_UINT8"),
        ({"inputs": [[[[256] * 3] * 32] * 32]}, "values outside 0..255"),
        ({"inputs": [[[[10**30] * 3] * 32] * 32]}, "Input image, row 0"),
        ({"instances": [1], "signature_name": "x" * 100_000}, "xxx"),
        ({"signature_name": "photo", "instances": [1]}, "row 0: number"),
        ({"signature_name": "photo", "instances": [{"b64": "?"}]}, "Unable to base64 decode"),
        ({"signature_name": "photo", "instances": ["\ud800"]}, "row 0 is not"),
        ({"signature_name": "\ud800", "instances": [1]}, '"?" not found'),
        ({"signature_name": "photo", "instances": [{"b64": "", "box": 1}]}, "Item 0"),
        (
            {"signature_name": "photo", "inputs": {"image_bytes": [PHOTO], "box": [[10**400, 1, 1, 1]]}},
            "more digits",
        ),
        ({"signature_name": "photo", "instances": [{"box": BOX}]}, "image_bytes, box (optional)"),
        ({"signature_name": "photo", "inputs": {"image_bytes": [PHOTO], "box": [BOX, BOX]}}, "different numbers"),
        ({"signature_name": "photo", "inputs": {"image_bytes": [PHOTO], "box": [[1, 2]]}}, "shape [2]"),
    ],
)  # fmt: skip
def test_bad_request(predict, body, message):
    status, answer = predict(body)
    assert status == 400
    assert list(answer) == ["error"]
    assert message in answer["error"]
    assert len(answer["error"]) <= 2000


def test_a_long_string_among_numbers_takes_no_more_than_its_own_memory():
    """numpy's own strings are all as wide as the longest."""
    row = [[["a"] * 3] * 32] * 31 + [[["a"] * 3] * 31 + [["a", "a", "x" * 20_000]]]
    body = json.dumps({"instances": [row]}).encode()
    known = signatures(Contract("toy", 32, None, {"expression": 29}))
    tracemalloc.start()
    try:
        with pytest.raises(ServingError, match="not of expected type"):
            read_body(body, known, Limits())
        assert tracemalloc.get_traced_memory()[1] < 20 * len(body)
    finally:
        tracemalloc.stop()


def test_nan_is_a_token(predict):
    body = json.dumps({"signature_name": "photo", "instances": [{"image_bytes": PHOTO, "box": [float("nan")] * 4}]})
    assert "NaN" in body
    status, answer = predict(body.encode())
    assert status == 200
    assert np.isfinite(answer["predictions"][0]["box"]).all()  # asked for: detected


def test_status(ask):
    status, answer, _ = ask("GET", "/v1/models/toy")
    assert status == 200
    wanted = {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert answer == {"model_version_status": [wanted]}
    assert ask("GET", "/v1/models/toy/versions/3")[:2] == (200, answer)
    assert ask("GET", "/v1/models/toy/versions/4")[0] == 404


def test_metadata(ask):
    status, answer, headers = ask("GET", "/v1/models/toy/versions/3/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "toy", "signature_name": "", "version": "3"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    image = signature["inputs"]["image"]
    assert (image["dtype"], image["name"]) == ("DT_UINT8", "image:0")
    dims = [{"size": size, "name": ""} for size in ("-1", "32", "32", "3")]
    assert image["tensor_shape"] == {"dim": dims, "unknown_rank": False}
    assert signature["outputs"]["expression"]["tensor_shape"]["dim"][1]["size"] == "29"
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert headers["x-expnet-crop-factor"] == "1.5"


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/v1/models/nope:predict", 404, "Servable not found for request: Latest(nope)"),
        ("POST", "/v1/models/toy/versions/1:predict", 404, "Servable not found for request: Specific(toy, 1)"),
        ("POST", "/v1/models/toy/labels/canary:predict", 400, "Unrecognized servable version label: canary"),
        ("GET", "/v1/models/toy/labels/canary/metadata", 400, "Unrecognized servable version label: canary"),
        ("GET", "/v1/models/nope", 404, "Could not find any versions of model nope"),
        ("POST", f"/v1/models/toy/versions/{2**64}:predict", 400, "Failed to convert version"),
        ("GET", "/v1/models/toy:predict", 400, "Malformed request: GET /v1/models/toy:predict"),
        ("POST", "/v1/models/toy:classify", 501, "Not served"),
        ("GET", "/v1/models", 400, "Malformed request: GET /v1/models"),
        ("GET", "/elsewhere", 404, "Nothing is at /elsewhere."),
        ("POST", "/healthz", 404, "Nothing is at /healthz."),
    ],
)
def test_routes(ask, method, path, status, message):
    found, answer, _ = ask(method, path, {"instances": [1]} if method == "POST" else None)
    assert (found, list(answer)) == (status, ["error"])
    assert message in answer["error"]


def test_compressed_body_is_refused(ask):
    status, answer, _ = ask("POST", "/v1/models/toy:predict", b"x", **{"Content-Encoding": "gzip"})
    assert status == 400
    assert "Content-Encoding" in answer["error"]


def test_request_ids(ask):
    assert ask("GET", "/healthz", **{"X-Request-Id": "abc-1"})[2]["x-request-id"] == "abc-1"
    made = [ask("GET", "/healthz", **{"X-Request-Id": "x" * 1000})[2]["x-request-id"] for _ in range(2)]
    assert len({*made, "x" * 1000}) == 3


def test_operations(ask, predict, crops):
    assert ask("GET", "/healthz")[:2] == (200, {"status": "alive"})
    assert ask("GET", "/readyz")[:2] == (200, {"status": "ready"})

    def value(name):
        lines = ask("GET", "/metrics")[1].decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    counter = 'expnet_requests_total{code="OK",method="predict",model="toy",protocol="rest"}'
    names = (counter, 'expnet_request_seconds_count{model="toy"', "expnet_images_total", "expnet_batch_size_sum")
    before = [value(name) for name in names]
    assert predict({"instances": crops[:2].tolist()})[0] == 200
    assert [value(name) - old for name, old in zip(names, before, strict=True)] == [1, 1, 2, 2]
    assert value("expnet_model_version") == 3
    assert value("expnet_queue_images") == 0
    counters = [
        f'expnet_requests_total{{code="{code}",method="{method}",model="{model}",protocol="rest"}}'
        for code, method, model in (("OK", "metadata", "toy"), ("OK", "status", ""), ("NOT_FOUND", "other", ""))
    ]
    before = [value(name) for name in counters]
    for path in ("/v1/models/toy/metadata", "/v1/models/toy", "/made-up"):
        ask("GET", path)
    assert [value(name) - old for name, old in zip(counters, before, strict=True)] == [1, 1, 1]
    predict({"instances": [1]}, "/v1/models/made-up:predict")
    assert b"made-up" not in ask("GET", "/metrics")[1]  # no label that a client chooses
