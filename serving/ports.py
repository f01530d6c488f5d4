"""Whether the server's ports can be listened at, before the model is loaded: that takes long, and would be in vain."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def reserved(host: str, port: int) -> Iterator[None]:
    """Bind the port without listening: who connects meanwhile is refused, as where there is no server.

    Port 0 is any, and always free. Raises OSError where another has the port, or the host is not this machine's.
    """
    with ExitStack() as bound:
        failed: OSError | None = None
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE) if port else []
        sockets = 0
        for family, kind, protocol, _, address in found:
            try:
                made = bound.enter_context(socket.socket(family, kind, protocol))
                if os.name == "posix":  # elsewhere it would take the port from whoever has it
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                made.bind(address)
                sockets += 1
            except OSError as error:
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    raise
                failed = error  # a name may stand for an address of a family that the machine does not have
        if failed and not sockets:
            raise failed
        yield
