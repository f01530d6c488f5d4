"""The page, the pictures and the messages on one port.

    /             the page, with its script and style; nothing is loaded from elsewhere
    /picture      WebSocket: a JPEG for each text message that the client sends, so that none waits on the way
    /blendshapes  WebSocket: a message of message.py for each frame

Pictures go through a WebSocket too, and not as an MJPEG image: images are asked for without Origin, and any web page
could show them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from importlib import resources

from aiohttp import WSCloseCode, web
from aiohttp.http_exceptions import HttpProcessingError

from expnet_tf.live.doors import Doors
from expnet_tf.live.feed import Feed

PAGE = {
    "/": ("index.html", "text/html"), "/live.css": ("live.css", "text/css"), "/live.js": ("live.js", "text/javascript"),
}  # fmt: skip
PATIENCE = 10.0  # s for a client to read before it is cut off, and for its headers
HEARTBEAT = 20.0  # s
MAX_MESSAGE = 256  # bytes that a client may send at a time
# What lies in the system's own buffer for a client that does not read is old news; a picture just fits.
SEND_BUFFER = 64 * 1024
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def _our_own(record: logging.LogRecord) -> bool:
    """Whether an error is this program's: to what is no HTTP the answer is 400, and that is all."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_LOG = logging.getLogger("expnet.live")
_LOG.addFilter(_our_own)


class Server:
    """Everything belongs to the event loop that it was started in."""

    def __init__(
        self,
        doors: Doors,
        clients: int,
        arrived: Callable[[], object] = lambda: None,
        patience: float = PATIENCE,
    ) -> None:
        """
        Args:
            clients: WebSockets at a time; the page opens two.
            arrived: called for each WebSocket.
            patience: s.
        """
        self.messages: Feed[str] = Feed()
        self.pictures: Feed[bytes] = Feed()
        self.watched = False  # whether anybody wants pictures
        self._doors, self._clients, self._arrived, self._patience = doors, clients, arrived, patience
        self._streams = self._pictured = 0
        self._page = {
            path: (resources.files("expnet_tf.live").joinpath("page", name).read_text("utf-8"), kind)
            for path, (name, kind) in PAGE.items()
        }

    async def start(self, listening: socket.socket) -> None:
        """listening: see `bound`."""
        app = web.Application(middlewares=[self._guard])
        for path in PAGE:
            app.router.add_get(path, self._send_page)
        app.router.add_get("/picture", self._picture)
        app.router.add_get("/blendshapes", self._blendshapes)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_LOG,
            handle_signals=False,
            handler_cancellation=True,
            keepalive_timeout=self._patience,  # also for headers that do not come
            shutdown_timeout=1.0,
        )
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()

    async def stop(self) -> None:
        """Tell the clients that it is over, and close."""
        self.messages.end()
        self.pictures.end()
        await self._runner.cleanup()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        # Script and style are the same for everybody, and the browser asks for them without the token.
        self._doors.check(request, secret=request.path not in ("/live.css", "/live.js"))
        return await handler(request)

    async def _send_page(self, request: web.Request) -> web.Response:
        text, kind = self._page[request.path]
        return web.Response(text=text, content_type=kind, headers=_HEADERS)

    async def _blendshapes(self, request: web.Request) -> web.StreamResponse:
        return await self._stream(request, self.messages, asked=False)

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        self._pictured += 1
        self.watched = True
        try:
            return await self._stream(request, self.pictures, asked=True)
        finally:
            self._pictured -= 1
            self.watched = self._pictured > 0

    async def _stream(self, request: web.Request, feed: Feed, asked: bool) -> web.StreamResponse:
        if self._streams >= self._clients:
            raise web.HTTPServiceUnavailable(text=f"There are {self._clients} connections already, which is the most.")
        self._streams += 1
        try:
            ws = web.WebSocketResponse(
                heartbeat=HEARTBEAT, max_msg_size=MAX_MESSAGE, compress=False, timeout=0.5, writer_limit=1
            )
            await ws.prepare(request)
            self._arrived()
            wanted = asyncio.Event()
            if not asked:
                wanted.set()
            sending = asyncio.create_task(self._send(request, ws, feed, wanted, asked))
            try:
                async for _ in ws:
                    wanted.set()
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            return ws
        finally:
            self._streams -= 1

    async def _send(
        self, request: web.Request, ws: web.WebSocketResponse, feed: Feed, wanted: asyncio.Event, asked: bool
    ) -> None:
        """The newest of the feed, again and again. A client that does not read in time is cut off."""
        last = 0
        try:
            if request.transport is not None:
                request.transport.set_write_buffer_limits(high=SEND_BUFFER // 4)
            while True:
                await wanted.wait()
                newest = await feed.after(last)
                if newest is None:
                    await ws.close(code=WSCloseCode.GOING_AWAY, message=b"ended")
                    return
                last, item = newest
                if asked:
                    wanted.clear()
                async with asyncio.timeout(self._patience):
                    await (ws.send_bytes(item) if isinstance(item, bytes) else ws.send_str(item))
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # it went away


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens: who connects while the model is loaded waits.

    Raises OSError where another has the port, or the host is not this machine's.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would take the port from whoever has it
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen()
    except OSError:
        made.close()
        raise
    return made
