"""Worker processes that crash, hang, cannot start or change, and what a request and the next one see of it."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from subprocess import PIPE
from urllib.request import urlopen

import numpy as np
import pytest
from grpc import StatusCode

from expnet_tf.serving import workers as module
from expnet_tf.serving.errors import ServingError
from expnet_tf.serving.transports import Target, connect
from expnet_tf.serving.worker import program
from expnet_tf.serving.workers import WorkerError, WorkerLost, Workers

# A worker of a "network" that answers with the first pixel; 66 crashes it, 77 crashes it where no other has crashed
# before, 88 hangs, 99 raises.
FAKE = """
import os, sys, time
from types import SimpleNamespace
import numpy as np
from expnet_tf.serving.signatures import Contract
from expnet_tf.serving.worker import work
crashed = sys.argv[1]

def run(images):
    first = images[:, 0, 0, 0]
    if 66 in first or (77 in first and not os.path.exists(crashed)):
        open(crashed, "w").close()
        os.kill(os.getpid(), 9)
    if 88 in first:
        time.sleep(60)
    if 99 in first:
        raise ValueError("out of order")
    print("what a library prints is no answer", flush=True)
    return {"a": first[:, None].astype(np.float32), "b": np.repeat(images[:, 1, 1, 1:], 2, 1).astype(np.float32)}

def load():
    if os.path.exists(crashed + ".broken"):
        raise OSError("it cannot be read")
    size = 4 if os.path.exists(crashed + ".grown") else 2
    return SimpleNamespace(contract=Contract("fake-1", size, None, {"a": 1, "b": 4}), runtime="fake 1", run=run)

work(load, int(sys.argv[3]), int(sys.argv[5]))
"""

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a stuck worker outlives a killed server")


def images(*values):
    made = np.zeros((len(values), 2, 2, 3), np.uint8)
    made[:, 0, 0, 0] = values
    made[:, 1, 1, 1:] = np.array(values)[:, None] + (1, 2)
    return made


async def eventually(condition, seconds=20):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def with_workers(test, tmp_path, count=2):
    """Run the coroutine function with workers, and the file whose existence they look at."""

    async def main():
        mark = tmp_path / "crashed"
        workers = await Workers.start([sys.executable, "-c", FAKE, str(mark)], count, 4)
        pids = []
        try:
            await workers.complete()
            pids += workers.pids
            await asyncio.wait_for(test(workers, mark), 40)
            pids += workers.pids
        finally:
            await workers.close()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    asyncio.run(main())


def test_answers_are_those_of_the_images(tmp_path):
    async def test(workers, mark):
        assert (workers.ready, workers.runtime, workers.contract.model) == (2, "fake 1", "fake-1")
        batches = [[n, n + 1, n + 2, n + 3][: n % 4 + 1] for n in range(40)]
        answers = await asyncio.gather(*(workers.run(images(*batch)) for batch in batches))
        for batch, answer in zip(batches, answers, strict=True):
            assert answer["a"].tolist() == [[n] for n in batch]
            assert answer["b"].tolist() == [[n + 1, n + 1, n + 2, n + 2] for n in batch]

    with_workers(test, tmp_path)


def test_a_batch_whose_worker_dies_is_answered_by_another(tmp_path):
    async def test(workers, mark):
        before = set(workers.pids)
        assert (await workers.run(images(77, 5)))["a"].tolist() == [[77], [5]]
        await eventually(lambda: workers.restarts == 1 and workers.ready == 2)
        assert len(before & set(workers.pids)) == 1

    with_workers(test, tmp_path)


def test_a_batch_that_kills_every_worker_fails_alone(tmp_path):
    async def test(workers, mark):
        with pytest.raises(ServingError, match="died twice on this batch; try again") as caught:
            await workers.run(images(66))
        assert caught.value.code == StatusCode.UNAVAILABLE  # clients try again
        assert (await workers.run(images(7)))["a"].tolist() == [[7]]  # waits for the new one
        await eventually(lambda: workers.restarts == 2 and workers.ready == 2)

    with_workers(test, tmp_path)


def test_an_idle_worker_that_is_killed_is_not_asked(tmp_path):
    async def test(workers, mark):
        for pid in workers.pids:
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not workers.ready)
        answers = await asyncio.gather(*(workers.run(images(n)) for n in range(6)))
        assert [answer["a"].item() for answer in answers] == list(range(6))
        assert workers.restarts == 2

    with_workers(test, tmp_path)


def test_a_stuck_worker_is_killed(tmp_path, monkeypatch):
    async def test(workers, mark):
        monkeypatch.setattr(module, "STUCK", 0.3)
        with pytest.raises(ServingError, match=r"did not answer within 0\.3 s and was started again") as caught:
            await workers.run(images(88))
        assert caught.value.code == StatusCode.UNAVAILABLE
        monkeypatch.setattr(module, "STUCK", 20)
        assert (await workers.run(images(1)))["a"].item() == 1

    with_workers(test, tmp_path, count=1)


def test_an_error_of_the_network_is_passed_on(tmp_path):
    async def test(workers, mark):
        with pytest.raises(RuntimeError, match="ValueError: out of order"):
            await workers.run(images(99))
        assert (await workers.run(images(1)))["a"].item() == 1
        assert workers.restarts == 0

    with_workers(test, tmp_path, count=1)


def test_what_cannot_be_loaded_is_said(tmp_path):
    (tmp_path / "crashed.broken").touch()
    with pytest.raises(WorkerError, match="OSError: it cannot be read"):
        with_workers(None, tmp_path)
    with pytest.raises(WorkerLost, match="the worker ended with 3 before it was ready"):
        asyncio.run(Workers.start([sys.executable, "-c", "raise SystemExit(3)"], 1, 4))


@pytest.mark.parametrize("said", ["print(12)", "print('{}')", "print('noise')", "print('x' * 100_000)"])
def test_a_first_line_that_is_not_the_workers_own(said):
    with pytest.raises(WorkerError, match="first line is not its own"):
        asyncio.run(Workers.start([sys.executable, "-c", said], 1, 4))


def test_an_error_as_long_as_a_file_is_cut(tmp_path):
    words = FAKE.replace('"it cannot be read"', '"no " + "x" * 200_000')
    (tmp_path / "crashed.broken").touch()
    with pytest.raises(WorkerError, match=r"^OSError: no x+$") as caught:
        asyncio.run(Workers.start([sys.executable, "-c", words, str(tmp_path / "crashed")], 1, 4))
    assert len(str(caught.value)) < 3000


def test_a_worker_that_is_stuck_before_it_is_ready(monkeypatch):
    monkeypatch.setattr(module, "LOADING", 0.3)
    with pytest.raises(WorkerLost, match=r"was not ready within 0\.3 s"):
        asyncio.run(Workers.start([sys.executable, "-c", "import time; time.sleep(60)"], 1, 4))


def test_a_worker_comes_back_when_the_system_has_descriptors_again(tmp_path, monkeypatch, caplog):
    def none_left():
        raise OSError(errno.EMFILE, "Too many open files")

    async def test(workers, mark):
        with monkeypatch.context() as scarce:
            scarce.setattr(module, "open_board", none_left)
            os.kill(workers.pids[0], signal.SIGKILL)
            await eventually(lambda: "a worker cannot be started" in caplog.text)
        await eventually(lambda: workers.ready == 2)

    with_workers(test, tmp_path)


def test_boards_of_workers_that_died_idle_are_let_go(tmp_path):
    async def test(workers, mark):
        for deaths in range(1, 5):
            os.kill(next(iter(workers._working)).process.pid, signal.SIGKILL)
            await eventually(lambda: workers.restarts == deaths and workers.ready == 2)  # noqa: B023
            assert workers._idle.qsize() == 2

    with_workers(test, tmp_path)


def test_where_none_can_be_started_no_one_waits(tmp_path):
    async def test(workers, mark):
        broken = mark.with_name("crashed.broken")
        broken.touch()
        for pid in workers.pids:
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not workers.ready)
        waiting = [asyncio.create_task(workers.run(images(n))) for n in range(2)]
        for one in waiting:
            with pytest.raises(ServingError, match="none can be started; try again") as caught:
                await one
            assert caught.value.code == StatusCode.UNAVAILABLE
        broken.unlink()
        await eventually(lambda: workers.ready == 2)
        assert (await workers.run(images(1)))["a"].item() == 1

    with_workers(test, tmp_path)


@pytest.mark.parametrize("change", ["broken", "grown"])
def test_a_model_that_has_changed_is_not_taken_for_it(tmp_path, change, caplog):
    """Its files were replaced while it was served, and then a worker dies: the other goes on, and it heals."""

    async def test(workers, mark):
        changed = mark.with_name(f"crashed.{change}")
        changed.touch()
        os.kill(workers.pids[0], signal.SIGKILL)
        await eventually(lambda: "a worker cannot be started" in caplog.text)
        assert workers.ready == 1
        assert (await workers.run(images(1)))["a"].item() == 1
        changed.unlink()
        await eventually(lambda: workers.ready == 2)

    with_workers(test, tmp_path)


def test_a_server_whose_workers_are_killed_under_load_fails_no_request(serve, put, tmp_path, crops):
    put(tmp_path, "toy", 1)
    running = serve(tmp_path)
    workers = running.server.models.find("toy").workers
    transport = connect(running.grpc)
    expected = transport.predict(Target("toy", None), crops, 20)["expression"]
    for restarts in (1, 2, 3):
        os.kill(workers.pids[0], signal.SIGKILL)
        while workers.restarts < restarts or workers.ready < 2:
            answer = transport.predict(Target("toy", None), crops, 20)["expression"]
            np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)
    transport.close()
    with urlopen(f"{running.rest}/metrics", timeout=10) as response:
        page = response.read().decode()
    assert 'expnet_worker_restarts{model="toy"} 3.0' in page
    assert 'expnet_workers{model="toy"} 2.0' in page


SERVER = """
import asyncio, sys
from pathlib import Path
from expnet_tf.serving.app import Server, Settings
def started(server):
    print(server.grpc_port, *server.models.find("toy").workers.pids, flush=True)
settings = Settings(repository=Path(sys.argv[1]), grpc_port=0, rest_port=0, workers=1)
asyncio.run(Server(settings).run(started))
"""


@pytest.mark.parametrize("stuck", [False, pytest.param(True, marks=ON_LINUX)])
def test_no_worker_survives_a_server_that_is_killed(put, tmp_path, stuck):
    put(tmp_path, "toy", 1)
    with subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path)], stdout=PIPE, text=True) as server:
        _, pid = map(int, server.stdout.readline().split())
        if stuck:
            os.kill(pid, signal.SIGSTOP)
        server.kill()
    end = time.monotonic() + 20
    while _lives(pid):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_no_stuck_worker_survives_a_second_signal(put, tmp_path, crops):
    put(tmp_path, "toy", 1)
    with (
        subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path)], stdout=PIPE, stderr=PIPE, text=True) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        port, pid = map(int, server.stdout.readline().split())
        transport = connect(f"127.0.0.1:{port}")
        os.kill(pid, signal.SIGSTOP)
        waiting = pool.submit(transport.predict, Target("toy", None), crops, 30)
        time.sleep(0.5)
        server.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(0.5)  # the request is in flight
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        with pytest.raises(ServingError):
            waiting.result(20)
        transport.close()
    assert not _lives(pid)


def _lives(pid):
    """A zombie, which waits for whoever inherited it, does not live."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_worker_says_what_it_loaded(put, tmp_path):
    """The protocol as a program without asyncio would speak it."""
    words = program("version", put(tmp_path, "toy", 1))
    board = os.memfd_create("board") if hasattr(os, "memfd_create") else pytest.skip("no memfd_create")
    words += ["--board", str(board), "--max-batch", "3"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(board,)) as worker:
        said = json.loads(worker.stdout.readline())
        assert (said["model"], said["size"], said["crop_factor"]) == ("toy-0.1", 32, 1.5)
        assert said["runtime"].startswith("onnxruntime ")
        assert os.fstat(board).st_size == 3 * (4 * (29 + 99 + 6) + 32 * 32 * 3)
        worker.stdin.write((3).to_bytes(4, "little"))
        worker.stdin.flush()
        assert worker.stdout.read(4) == bytes(4)
        worker.send_signal(signal.SIGTERM)  # to the whole group: the server says when
        worker.stdin.write((1).to_bytes(4, "little"))
        worker.stdin.flush()
        assert worker.stdout.read(4) == bytes(4)
        worker.stdin.close()
        assert worker.wait(10) == 0
    os.close(board)
