"""The client against real servers: the embedded one, and one that is TensorFlow Serving's protocol and nothing else."""

import json
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc import StatusCode
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from expnet_tf.detect import Detection
from expnet_tf.image import ImageError, crop, decode_image, read_image
from expnet_tf.models import ASSETS
from expnet_tf.serving.client import Client
from expnet_tf.serving.errors import ServingError

PHOTO = ASSETS / "astronaut.jpg"
BOX = (190.0, 60.0, 110.0, 150.0)


@pytest.fixture(scope="module")
def running(serve, put, tmp_path_factory):
    base = tmp_path_factory.mktemp("repository")
    put(base, "expnet", 1)
    return serve(base)


@pytest.fixture(params=["grpc", "rest"])
def client(running, request):
    with Client(running.grpc if request.param == "grpc" else running.rest, backoff=0.01) as made:
        yield made


@pytest.fixture
def wanted(network):
    """Heads of the photo's box, by Keras itself."""
    own = crop(read_image(PHOTO), BOX, 32, 1.5)
    return {head: np.asarray(values)[0] for head, values in network(own[None], training=False).items()}


def test_paths_bytes_and_pixels(client, wanted):
    images = [PHOTO, str(PHOTO), PHOTO.read_bytes(), read_image(PHOTO)]
    answers = client.predict(images, [BOX] * 4)
    assert [answer.name for answer in answers] == [str(PHOTO), str(PHOTO), "image 2", "image 3"]
    for answer in answers:
        assert answer.box == BOX
        for head, values in wanted.items():
            np.testing.assert_allclose(answer.outputs[head], values, rtol=1e-4, atol=1e-4)
        assert answer.expression is answer.outputs["expression"]
    assert (client.size, client.crop_factor) == (32, 1.5)  # the server says both


def test_without_a_box_the_largest_face(client):
    (answer,) = client.predict([PHOTO])
    assert abs(answer.box[0] + answer.box[2] / 2 - 245) < 30
    assert np.isfinite(answer.expression).all()


def test_a_bad_photo_leaves_its_neighbours_alone(client, tmp_path):
    answers = client.predict(
        [tmp_path / "none.jpg", PHOTO, b"x", np.zeros((4, 4), np.uint8), np.zeros((64, 64, 3), np.uint8)],
        [None, BOX, None, BOX, None],
    )
    errors = [answer.error for answer in answers]
    assert "does not exist" in errors[0]
    assert errors[1] == ""
    assert "image 2 is not a JPEG" in errors[2]
    assert "uint8 [4, 4]" in errors[3]
    assert "image 4 shows no face" in errors[4]
    with pytest.raises(ImageError, match="image 2 is not"):
        _ = answers[2].expression
    assert client.predict([]) == []
    with pytest.raises(ValueError, match="1 boxes came with 2 images"):
        client.predict([PHOTO, PHOTO], [BOX])


def test_many_photos_go_in_several_requests(running, crops, expected):
    with Client(running.grpc, batch=4) as client:
        rows = client.predict_crops(np.repeat(crops, 2, 0))
    assert len(rows) == 12
    np.testing.assert_allclose([row["pose"] for row in rows[::2]], expected["pose"], rtol=1e-4, atol=1e-4)


def test_a_folder(running, tmp_path, capsys):
    class Everywhere:
        def detect(self, image):
            return [Detection((0, 0, image.shape[1], image.shape[0]), 1.0)]

    for number in range(7):
        folder = tmp_path / f"{number % 2}"
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), np.full((40, 40, 3), 20 * number, np.uint8))
    (tmp_path / "1" / "8.jpg").write_bytes(b"no photo")
    with Client(running.rest, batch=3, detector=Everywhere()) as client:
        answers = list(client.predict_folder(tmp_path))
        assert [answer.name[len(str(tmp_path)) + 1 :] for answer in answers] == [
            "0/0.png", "0/2.png", "0/4.png", "0/6.png", "1/1.png", "1/3.png", "1/5.png", "1/8.jpg",
        ]  # fmt: skip
        assert [bool(answer.error) for answer in answers] == [False] * 7 + [True]
        grey = np.full((1, 32, 32, 3), 60, np.uint8)
        same = client.predict([grey[0]], [(12, 12, 8, 8)])[0]  # padded elsewhere: another crop, another answer
        assert not np.allclose(answers[5].expression, same.expression)
        bar = capsys.readouterr().err
        assert "8/8" in bar
        (tmp_path / "empty").mkdir()
        (problem,) = client.predict_folder(tmp_path / "empty", progress=False)
        assert "holds no photo" in problem.error
    assert capsys.readouterr().err == ""


def test_the_server_refuses(client, running):
    for made, code, message in (
        (Client(running.grpc, "nope"), StatusCode.NOT_FOUND, r"Latest\(nope\)"),
        (Client(running.rest, version=9), StatusCode.NOT_FOUND, r"Specific\(expnet, 9\)"),
    ):
        with made, pytest.raises(ServingError, match=message) as caught:
            made.predict([PHOTO])
        assert caught.value.code == code
    with pytest.raises(ServingError, match=r"\[1, 8, 8, 3\]|\[8, 8, 3\]"):
        client.predict_crops(np.zeros((1, 8, 8, 3), np.uint8))


def test_targets():
    with pytest.raises(ValueError, match="ftp://x"):
        Client("ftp://x")


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_nobody_there(scheme, unused_port):
    """Refused connections are UNAVAILABLE: tried again, and then told."""
    with (
        Client(f"{scheme}127.0.0.1:{unused_port}", backoff=0.05, timeout=0.5) as client,
        pytest.raises(ServingError) as caught,
    ):
        client.predict([PHOTO])
    assert caught.value.code == StatusCode.UNAVAILABLE


def test_rest_at_the_port_for_grpc(running):
    """What it answers is bytes: they are told in ASCII."""
    with (
        Client(f"http://{running.grpc}", backoff=0.05, timeout=0.2) as client,
        pytest.raises(ServingError, match="is this the port for REST") as caught,
    ):
        client.predict([PHOTO])
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


class Plain(prediction_service_pb2_grpc.PredictionServiceServicer):
    """TensorFlow Serving's protocol in TensorFlow's own words: a model that answers with the mean of the image."""

    def __init__(self):
        self.failures, self.calls, self.delay = 0, 0, 0.0
        self.code = StatusCode.UNAVAILABLE  # of the failures

    def Predict(self, request, context):
        self.calls += 1
        time.sleep(self.delay)
        if self.failures:
            self.failures -= 1
            context.abort(self.code, "not yet")
        images = tf.make_ndarray(request.inputs["image"])
        assert request.model_spec.signature_name == "serving_default"
        answer = predict_pb2.PredictResponse()
        means = images.mean(axis=(1, 2, 3), keepdims=False, dtype=np.float64).astype(np.float32)[:, None]
        answer.outputs["expression"].CopyFrom(tf.make_tensor_proto(means))
        return answer

    def GetModelMetadata(self, request, context):
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        packed = get_model_metadata_pb2.SignatureDefMap()
        image = packed.signature_def["serving_default"].inputs["image"]
        for size in (-1, 24, 24, 3):
            image.tensor_shape.dim.add(size=size)
        answer.metadata["signature_def"].Pack(packed)
        return answer


@pytest.fixture
def plain():
    servicer = Plain()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


# CANCELLED is what gRPC itself says of calls that wait when a server ends.
@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.CANCELLED])
def test_another_server(plain, code):
    """It does not say its crop factor: that of the shipped models, or what the user says."""
    servicer, address = plain
    servicer.failures, servicer.code = 2, code
    pixels = decode_image(PHOTO.read_bytes())
    for given, factor in ((None, 1.25), (1.5, 1.5)):
        with Client(address, backoff=0.01, crop_factor=given) as client:
            (answer,) = client.predict([PHOTO], [BOX])
        assert answer.expression[0] == pytest.approx(crop(pixels, BOX, 24, factor).mean(), abs=1e-3)
    assert servicer.calls == 4  # two attempts that failed, and two answers


def test_attempts_and_deadlines_end(plain):
    servicer, address = plain
    with Client(address, backoff=0.2, timeout=1.5) as client:
        crops = np.zeros((1, 24, 24, 3), np.uint8)
        servicer.failures = 100
        with pytest.raises(ServingError, match="not yet") as caught:
            client.predict_crops(crops)
        assert caught.value.code == StatusCode.UNAVAILABLE
        assert 2 <= servicer.calls <= 6
    servicer.calls, servicer.failures, servicer.delay = 0, 0, 1.0
    with Client(address, timeout=0.2) as client:
        with pytest.raises(ServingError) as caught:
            client.predict_crops(crops)
        assert (caught.value.code, servicer.calls) == (StatusCode.DEADLINE_EXCEEDED, 1)  # not tried again


def test_rest_of_another_server():
    """A single output comes without its name; 503 and a proxy's 502, 504 are tried again; what is no JSON is told."""
    answers = [
        (503, b'{"error": "not yet"}'),
        (502, b"<html>"),
        (504, b"<html>"),
        (200, b'{"outputs": [[1.5, NaN]]}'),
        (200, b"<html>"),
        (504, b'{"error": "Not answered."}'),
    ]
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            status, body = answers[len(seen) - 1]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}/prefix", "a model", 2, backoff=0.01) as client:
            (row,) = client.predict_crops(np.zeros((1, 2, 2, 3), np.uint8))
            np.testing.assert_array_equal(row["expression"], [1.5, np.nan])
            with pytest.raises(ServingError, match="HTTP 200: no JSON object"):
                client.predict_crops(np.zeros((1, 2, 2, 3), np.uint8))
            with pytest.raises(ServingError, match="HTTP 504: Not answered") as caught:
                client.predict_crops(np.zeros((1, 2, 2, 3), np.uint8))
            assert caught.value.code == StatusCode.DEADLINE_EXCEEDED  # the server's own
        server.shutdown()
    assert seen[0][0] == "/prefix/v1/models/a%20model/versions/2:predict"
    assert seen[0][1]["inputs"]["image"] == [[[[0, 0, 0]] * 2] * 2]
