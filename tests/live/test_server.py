"""The server on loopback: who may connect, and that nobody waits for anybody."""

import asyncio
import re
import socket
from importlib import resources

import aiohttp
import pytest

from expnet_tf.live.doors import Doors, loopback
from expnet_tf.live.server import MAX_MESSAGE, PAGE, bound


def run(work):
    """Runs a coroutine with a client session, for at most 30 s."""

    async def main():
        async with aiohttp.ClientSession() as session:
            return await work(session)

    return asyncio.run(asyncio.wait_for(main(), 30))


def test_the_page_loads_nothing_from_elsewhere(serving):
    async def work(session):
        async with serving() as (_, port):
            for path, (_, kind) in PAGE.items():
                async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                    assert (answer.status, answer.content_type) == (200, kind)
                    text = await answer.text()
                    assert not re.search(r"https?://|(src|href)=\"//", text)
                    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            async with session.get(f"http://127.0.0.1:{port}/other") as answer:
                assert answer.status == 404

    run(work)


def test_every_control_has_a_name():
    page = resources.files("expnet_tf.live").joinpath("page", "index.html").read_text()
    assert '<html lang="en">' in page
    assert 'role="status"' in page
    assert re.search(r"<canvas[^>]*role=\"img\"[^>]*aria-label=", page)
    for control in re.findall(r"<(?:input|select)[^>]*>", page):
        assert re.search(rf"<label[^>]*>[^/]*{re.escape(control)}|{re.escape(control)}\s*[A-Z]", page), control


async def status(session, port, path="/blendshapes", **headers):
    """HTTP status of a WebSocket's handshake; 101 where it is accepted."""
    try:
        async with session.ws_connect(f"http://127.0.0.1:{port}{path}", headers=headers):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status


def test_pages_of_other_origins_are_refused(serving):
    async def work(session):
        async with serving(origins=["http://localhost:3000"]) as (_, port):
            for path in ("/blendshapes", "/picture"):
                assert await status(session, port, path) == 101  # no browser
                assert await status(session, port, path, Origin=f"http://127.0.0.1:{port}") == 101
                assert await status(session, port, path, Origin="http://localhost:3000") == 101
                for other in ("https://example.org", "null", f"https://127.0.0.1:{port}", "http://127.0.0.1:1",
                              f"http://localhost:{port}", f"http://127.0.0.1:{port}.example.org"):  # fmt: skip
                    assert await status(session, port, path, Origin=other) == 403, other

    run(work)


def test_names_that_were_bent_to_this_machine_are_refused(serving):
    async def work(session):
        async with serving() as (_, port):
            for host in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}", f"LOCALHOST:{port}"):
                assert await status(session, port, Host=host) == 101, host
            for host in ("example.org", f"example.org:{port}", "127.0.0.1.example.org", "[", "localhost.example.org"):
                assert await status(session, port, Host=host) in (400, 403), host
            # Rebinding makes the page's own name the same origin.
            bent = {"Host": f"example.org:{port}", "Origin": f"http://example.org:{port}"}
            assert await status(session, port, **bent) == 403
            async with session.get(f"http://127.0.0.1:{port}/", headers={"Host": "example.org"}) as answer:
                assert answer.status == 403
                assert "no name of this machine's" in await answer.text()

    run(work)


def test_what_is_no_http_gets_400_and_no_traceback(serving, caplog):
    async def work(session):
        async with serving() as (_, port):
            for sent in (
                b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
                b"\x16\x03\x01\x02\r\n\r\n",
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(sent)
                assert (await reader.readline()).split()[1] == b"400"
                writer.close()

    run(work)
    assert caplog.records == []


def test_the_token(serving):
    async def work(session):
        async with serving(token="s3cret") as (_, port):
            for path in ("/blendshapes", "/picture"):
                assert await status(session, port, path) == 403
                assert await status(session, port, f"{path}?token=s3cre") == 403
                assert await status(session, port, f"{path}?token=%C3%A9") == 403
                assert await status(session, port, f"{path}?token=s3cret") == 101
            for path, expected in {"/": 403, "/?token=s3cret": 200, "/live.js": 200}.items():
                async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                    assert answer.status == expected

    run(work)


def test_a_client_too_many(serving):
    async def work(session):
        async with serving(clients=2) as (_, port):
            async with (
                session.ws_connect(f"http://127.0.0.1:{port}/blendshapes"),
                session.ws_connect(f"http://127.0.0.1:{port}/picture"),
            ):
                assert await status(session, port) == 503
            for _ in range(100):  # the server notices a moment later
                if await status(session, port) == 101:
                    return
                await asyncio.sleep(0.02)
            pytest.fail("a place that was left stays taken")

    run(work)


def test_a_message_too_long_ends_the_connection(serving):
    async def work(session):
        async with serving() as (_, port), session.ws_connect(f"http://127.0.0.1:{port}/blendshapes") as ws:
            await ws.send_str("x" * (MAX_MESSAGE + 1))
            answer = await ws.receive()
            assert (answer.type, answer.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.MESSAGE_TOO_BIG)

    run(work)


def test_pictures_come_when_they_are_asked_for(serving):
    async def work(session):
        async with serving() as (server, port):
            assert not server.watched
            async with session.ws_connect(f"http://127.0.0.1:{port}/picture") as ws:
                assert server.watched
                server.pictures.publish(b"first")
                server.pictures.publish(b"second")
                await ws.send_str("next")
                assert (await ws.receive()).data == b"second"
                server.pictures.publish(b"third")
                with pytest.raises(TimeoutError):
                    await ws.receive(0.1)
            async with session.ws_connect(f"http://127.0.0.1:{port}/picture") as ws:
                await ws.send_str("next")
                assert (await ws.receive()).data == b"third"

    run(work)


def test_the_end_is_told_after_the_last_message(serving):
    async def work(session):
        async with serving() as (server, port), session.ws_connect(f"http://127.0.0.1:{port}/blendshapes") as ws:
            server.messages.publish("last")
            server.messages.end()
            assert (await ws.receive()).data == "last"
            answer = await ws.receive()
            assert (answer.type, answer.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)

    run(work)


def deaf(port: int) -> socket.socket:
    """A client that opens the stream and then reads nothing."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", port))
    made.sendall(
        f"GET /blendshapes HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    return made


def test_a_slow_client_misses_messages_and_delays_nobody(serving):
    async def work(session):
        async with serving() as (server, port):
            slow = deaf(port)
            async with session.ws_connect(f"http://127.0.0.1:{port}/blendshapes") as ws:
                for number in range(1000):
                    server.messages.publish(f"{number:04d}".ljust(2000))
                    assert int((await ws.receive(5)).data) == number
                slow.setblocking(False)
                raw = b""
                while b"0999 " not in raw:  # the newest comes, however much was missed
                    raw += await asyncio.get_running_loop().sock_recv(slow, 65536)
            slow.close()
            got = [int(number) for number in re.findall(rb"(\d{4}) {100}", raw)]
            assert got == sorted(set(got))
            assert 1 < len(got) < 500

    run(work)


def test_a_client_that_does_not_read_is_cut_off(serving):
    async def work(session):
        async with serving(patience=0.2, clients=1) as (server, port):
            slow = deaf(port)
            while await status(session, port) != 503:
                await asyncio.sleep(0.01)
            for number in range(300):
                server.messages.publish(f"{number}".ljust(2000))
                await asyncio.sleep(0)
            while await status(session, port) == 503:
                server.messages.publish("x" * 2000)
                await asyncio.sleep(0.05)
            slow.close()

    run(work)


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        bound("127.0.0.1", taken.getsockname()[1])


def test_what_is_this_machine_alone():
    assert all(map(loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(loopback, ("0.0.0.0", "::", "192.168.1.2", "example.org")))
    assert Doors("my-machine")._named("my-machine:80")
