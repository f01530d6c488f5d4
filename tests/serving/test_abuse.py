"""What a server meets besides requests: floods, huge bodies, half-open connections, slow readers, a sudden end."""

import asyncio
import concurrent.futures
import http.client
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from expnet_tf.serving.batching import BatchPolicy
from expnet_tf.serving.errors import ServingError
from expnet_tf.serving.health import MAX_WATCHERS
from expnet_tf.serving.limits import Limits
from expnet_tf.serving.transports import Target, connect

LIMITS = Limits(max_bytes=200_000, max_held=2_000_000, max_pixels=10_000, max_rows=8, max_concurrent=4, patience=0.5)


@pytest.fixture(scope="module")
def running(serve, put, tmp_path_factory):
    base = tmp_path_factory.mktemp("repository")
    put(base, "toy", 1)
    return serve(base, limits=LIMITS, batching=BatchPolicy(max_batch=8, max_queue=8))


@pytest.fixture(params=["grpc", "rest"])
def transport(running, request):
    made = connect(running.grpc if request.param == "grpc" else running.rest)
    yield made
    made.close()


@pytest.fixture
def held_up(running):
    """The network stands still until `release` is set."""
    servable = running.server.models.find("toy")
    release, batcher = threading.Event(), servable.batcher
    usual = batcher._run

    async def stand(images):
        assert await asyncio.to_thread(release.wait, 20)
        return await usual(images)

    batcher._run = stand
    yield release
    release.set()
    batcher._run = usual


def post(running, body, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", running.server.rest_port, timeout=10)
    try:
        connection.request("POST", "/v1/models/toy:predict", body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def raw(running, data=b""):
    made = socket.create_connection(("127.0.0.1", running.server.rest_port), timeout=10)
    made.sendall(data)
    return made


def is_fine(running, crops):
    with connect_closing(running.rest) as rest, connect_closing(running.grpc) as stub:
        for one in (rest, stub):
            assert len(one.predict(Target("toy", None), crops[:1], 10)["expression"]) == 1


class connect_closing:
    def __init__(self, address):
        self._made = connect(address)

    def __enter__(self):
        return self._made

    def __exit__(self, *_):
        self._made.close()


def test_a_flood_is_refused_at_once_and_the_rest_answered(running, transport, held_up, crops):
    """Four requests are worked on; the others hear RESOURCE_EXHAUSTED while those still wait."""
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(transport.predict, Target("toy", None), crops[:1], 20) for _ in range(20)]
        refused = []
        for call in concurrent.futures.as_completed(calls, timeout=20):
            refused.append(call)
            if len(refused) == 16:
                break
        for call in refused:
            with pytest.raises(ServingError, match="4 requests are being worked on") as caught:
                call.result()
            assert caught.value.code == StatusCode.RESOURCE_EXHAUSTED
        held_up.set()
        answered = [call.result(20) for call in calls if call not in refused]
    assert len(answered) == 4
    is_fine(running, crops)
    counter = b'expnet_requests_total{code="RESOURCE_EXHAUSTED",method="predict",model="toy"'
    assert counter in running.server.metrics.page()


def test_a_full_queue_is_refused_at_once(running, transport, held_up, crops):
    """Both workers busy and eight images waiting: a ninth is refused, with places at the door left."""
    images = np.repeat(crops[:1], 8, 0)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        calls = []
        for waiting in (0, 0, 8):
            calls.append(pool.submit(transport.predict, Target("toy", None), images, 20))
            end = time.monotonic() + 10
            batcher = running.server.models.find("toy").batcher
            while running.server.service.door.inside < len(calls) or batcher.waiting != waiting:
                assert time.monotonic() < end
                time.sleep(0.005)
        with pytest.raises(ServingError, match="8 images wait, and 1 more exceed the queue of 8") as caught:
            transport.predict(Target("toy", None), crops[:1], 10)
        assert caught.value.code == StatusCode.RESOURCE_EXHAUSTED
        held_up.set()
        assert [len(call.result(20)["pose"]) for call in calls] == [8, 8, 8]
    is_fine(running, crops)


def test_a_request_that_takes_too_long(running, held_up, crops):
    with connect_closing(running.grpc) as stub, pytest.raises(ServingError) as caught:
        stub.predict(Target("toy", None), crops[:1], 0.2)
    assert caught.value.code == StatusCode.DEADLINE_EXCEEDED
    held_up.set()
    is_fine(running, crops)
    assert running.server.models.find("toy").batcher.waiting == 0


def test_too_many_rows(running, transport, crops):
    with pytest.raises(ServingError, match="9 images in one request; at most 8") as caught:
        transport.predict(Target("toy", None), np.repeat(crops[:1], 9, 0), 10)
    assert caught.value.code == StatusCode.RESOURCE_EXHAUSTED


def test_a_huge_body_is_refused_before_it_is_read(running, crops):
    head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    with raw(running, head) as connection:  # not a byte of the body is sent
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"99,999,999,999 bytes; at most 200,000" in answer
    request = predict_pb2.PredictRequest()
    request.inputs["image"].tensor_content = bytes(300_000)
    with grpc.insecure_channel(running.grpc) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        with pytest.raises(grpc.RpcError) as caught:
            predict(request, timeout=10)
    assert caught.value.code() == StatusCode.RESOURCE_EXHAUSTED
    is_fine(running, crops)


def test_a_huge_body_of_unknown_length(running, crops):
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with raw(running, head + 4 * chunk) as connection:  # and it does not end
        assert connection.recv(65536).startswith(b"HTTP/1.1 429 ")
    is_fine(running, crops)


def test_too_many_bodies_in_memory(running, crops):
    head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 190000\r\n\r\n"
    waiting = [raw(running, head + b" " * 150_000) for _ in range(14)]  # 2.1 MB, of which no one is whole
    try:
        answers = []
        for connection in waiting:
            connection.settimeout(5)
            answers.append(connection.recv(65536)[:12])
    finally:
        for connection in waiting:
            connection.close()
    assert answers.count(b"HTTP/1.1 429") >= 1
    assert answers.count(b"HTTP/1.1 504") >= 10  # the others ran out of patience
    is_fine(running, crops)


def test_half_open_connections_take_no_ones_place(running, crops):
    """A hundred that say nothing, half a header, or half a body; requests go on, and they are closed."""
    starts = [
        b"",
        b"POST /v1/models/toy:predict HT",
        b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    waiting = [raw(running, starts[number % 4]) for number in range(100)]
    waiting += [socket.create_connection(("127.0.0.1", running.server.grpc_port), timeout=10) for _ in range(50)]
    try:
        for _ in range(5):
            is_fine(running, crops)
        for connection in waiting:
            connection.settimeout(10)
            try:
                while connection.recv(65536):
                    pass
            except ConnectionResetError:
                pass
    finally:
        for connection in waiting:
            connection.close()
    is_fine(running, crops)


def test_messages_that_do_not_arrive_take_places_for_no_longer_than_patience(running, crops):
    """More calls than the server runs at a time, from one connection, none of which sends its message."""
    enough = threading.Event()

    def nothing():
        enough.wait(20)
        return
        yield

    with grpc.insecure_channel(running.grpc) as channel:
        call = channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
        calls = [call.future(nothing(), timeout=30) for _ in range(2 * LIMITS.max_concurrent + 70)]
        codes = {waited.exception(20).code() for waited in calls}
        is_fine(running, crops)
        enough.set()
    assert StatusCode.DEADLINE_EXCEEDED in codes
    assert codes <= {StatusCode.DEADLINE_EXCEEDED, StatusCode.RESOURCE_EXHAUSTED}


def test_too_many_messages_in_memory(running, crops):
    """A message that does not come whole counts as the longest there may be, and one that came as what it is."""
    enough = threading.Event()

    def nothing():
        enough.wait(20)
        return
        yield

    request = predict_pb2.PredictRequest(output_filter=["x" * 180_000])
    request.model_spec.name = "toy"
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(crops[:1]))
    with grpc.insecure_channel(running.grpc) as channel:
        slow = channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
        calls = [slow.future(nothing(), timeout=30) for _ in range(20)]  # each counted as a message of 200 kB
        codes = [waited.exception(20).code() for waited in calls]
        enough.set()
        assert codes.count(StatusCode.DEADLINE_EXCEEDED) == LIMITS.max_held // LIMITS.max_bytes
        assert codes.count(StatusCode.RESOURCE_EXHAUSTED) == 10
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        running.server.arrival.held += LIMITS.max_held - 100_000
        try:
            with pytest.raises(grpc.RpcError, match="1,900,000 bytes are in memory") as caught:
                predict(request, timeout=10)
        finally:
            running.server.arrival.held -= LIMITS.max_held - 100_000
        assert caught.value.code() == StatusCode.RESOURCE_EXHAUSTED
    is_fine(running, crops)
    assert running.server.arrival.held == 0


def test_watchers_of_health_do_not_keep_checks_out(running):
    with grpc.insecure_channel(running.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watching = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=20) for _ in range(MAX_WATCHERS)]
        serving = health_pb2.HealthCheckResponse.SERVING
        assert [next(one).status for one in watching] == [serving] * MAX_WATCHERS
        with pytest.raises(grpc.RpcError, match="32 clients watch") as caught:
            next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=20))
        assert caught.value.code() == StatusCode.RESOURCE_EXHAUSTED
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status == serving
        # One leaves: its place is free, and the others are still told.
        watching.pop().cancel()
        end = time.monotonic() + 10
        while running.server._health._watchers == MAX_WATCHERS:
            assert time.monotonic() < end
            time.sleep(0.005)
        again = stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(again).status == serving

        async def change(to):
            running.server._health.set(to)

        running.call(change(False))
        for one in (*watching, again):
            assert next(one).status == health_pb2.HealthCheckResponse.NOT_SERVING
            one.cancel()
        running.call(change(True))


def test_a_reader_that_does_not_read(running, crops):
    """Its answer fills the buffers; it is cut off, and holds up no one meanwhile."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect(("127.0.0.1", running.server.rest_port))
    get = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    connection.settimeout(0.2)
    try:
        for _ in range(3000):  # some 8 kB of answer each
            connection.sendall(get)
    except (TimeoutError, ConnectionError):
        pass
    is_fine(running, crops)
    time.sleep(2 * LIMITS.patience)
    connection.settimeout(10)
    received = 0
    try:
        while data := connection.recv(1 << 20):
            received += len(data)
    except ConnectionResetError:
        pass
    connection.close()
    assert received < 3000 * 8000  # cut off before all was sent
    is_fine(running, crops)


def test_clients_that_vanish(running, crops):
    body = json.dumps({"instances": crops[:1].tolist()}).encode()
    head = f"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for cut in (len(head) + len(body), len(head) + 10):
        for _ in range(20):
            connection = raw(running, (head + body)[:cut])
            # RST instead of FIN.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
    end = time.monotonic() + 10
    while True:
        try:
            is_fine(running, crops)
            break
        except ServingError as error:
            # Some of them are still being worked on.
            if error.code != StatusCode.RESOURCE_EXHAUSTED or time.monotonic() > end:
                raise
    while running.server.service.door.inside:
        assert time.monotonic() < end
        time.sleep(0.01)


def bomb(width, height):
    """A PNG whose header alone is honest."""
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("size", "code"), [((200, 100), "RESOURCE_EXHAUSTED"), ((60_000, 60_000), "INVALID_ARGUMENT")])
def test_too_many_pixels_fail_their_row(running, size, code):
    """Below what Pillow itself takes for a bomb, and above."""
    small = tf.io.encode_png(np.zeros((50, 50, 3), np.uint8)).numpy()
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "toy", "photo"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(np.array([bomb(*size), small], object)))
    request.inputs["box"].CopyFrom(tf.make_tensor_proto(np.full((2, 4), 20, np.float32)))
    with grpc.insecure_channel(running.grpc) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        first, second = tf.make_ndarray(predict(request, timeout=10).outputs["error"])
        assert first.startswith(f"{code}: row 0".encode())
        assert second == b""
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(np.array([bomb(*size)] * 2, object)))
        with pytest.raises(grpc.RpcError) as caught:
            predict(request, timeout=10)
        assert caught.value.code().name == code


def test_corrupt_photos_in_a_batch_leave_other_requests_alone(running, crops):
    """Thirty requests at once, every second with rubbish, into the same batches."""
    good = tf.io.encode_png(np.full((50, 50, 3), 99, np.uint8)).numpy()
    rubbish = [good[:60], b"\xff\xd8\xff\xe0\x00\x10JFIF", b"", b"GIF89a"]

    def ask(number):
        photos = [good, rubbish[number % 4]] if number % 2 else [good, good]
        rows = [{"image_bytes": {"b64": _base64(photo)}, "box": [5, 5, 30, 30]} for photo in photos]
        while True:
            status, answer = post(running, json.dumps({"signature_name": "photo", "instances": rows}))
            if status != 429:
                return status, answer

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(30)))
    wanted = answers[0][1]["predictions"][0]["expression"]
    for number, (status, answer) in enumerate(answers):
        assert status == 200
        first, second = answer["predictions"]
        np.testing.assert_allclose(first["expression"], wanted, atol=1e-5)
        assert bool(second["error"]) == bool(number % 2)


def _base64(data):
    import base64

    return base64.b64encode(data).decode()


def test_sigterm_answers_what_is_in_flight(put, tmp_path, crops):
    """The command itself: a request in flight is answered, a new one refused, and the exit code is 0."""
    put(tmp_path, "toy", 1)
    words = [str(Path(sys.executable).with_name("expnet"))]
    words += ["serve", "--model-repository", str(tmp_path), "--grpc-port", "0", "--rest-port", "0"]
    # A batch that waits for its second image keeps a request in flight for as long as the test needs.
    words += ["--max-batch", "2", "--max-delay", "1.5", "--workers", "1"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said = process.stdout.readline()
        assert said.startswith("Serving toy version 1: gRPC 127.0.0.1:")
        address = said.split("gRPC ")[1].split(",")[0]
        url = said.split("REST ")[1].strip().rstrip(".")
        with connect_closing(address) as stub, connect_closing(url) as rest:
            rest.facts(Target("toy", None), 10)
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                call = pool.submit(stub.predict, Target("toy", None), crops[:1], 20)
                time.sleep(0.4)
                process.send_signal(signal.SIGTERM)
                time.sleep(0.3)
                assert not call.done()
                for one in (stub, rest):
                    with pytest.raises(ServingError) as caught:
                        one.predict(Target("toy", None), crops[:1], 10)
                    assert caught.value.code == StatusCode.UNAVAILABLE
                assert len(call.result(20)["expression"]) == 1
        assert process.wait(20) == 0
        log = [json.loads(line) for line in process.stderr.read().splitlines() if line.startswith("{")]
        assert [entry["event"] for entry in log if entry["logger"] == "expnet.serve"] == ["stopping", "stopped"]
        codes = [entry["code"] for entry in log if entry["event"] == "predict"]
        assert sorted(codes) == ["OK", "UNAVAILABLE", "UNAVAILABLE"]
    finally:
        process.kill()
        process.communicate()
