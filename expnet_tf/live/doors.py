"""Who may look: what keeps other web pages, and names that were bent to this address, away from the camera.

A browser lets any page connect to a WebSocket on this machine, and says in Origin which page it is (cross-site
WebSocket hijacking); and a page may have its own name resolved to this machine, and then counts as the same origin
(DNS rebinding), which Host gives away. Programs that are no browser send no Origin. What they could do they can do
anyway on this machine; from elsewhere they need the token.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web


def loopback(host: str) -> bool:
    """Whether an address or name is this machine's own, which no other can reach."""
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Doors:
    """What a request must have."""

    def __init__(self, host: str, origins: Iterable[str] = (), token: str | None = None) -> None:
        """
        Args:
            host: that was listened at; its name counts as this machine's.
            origins: of other pages that may connect, as browsers write them (https://example.org).
            token: which the query must have; None: none.
        """
        self._names = {"localhost", host.lower()}
        self._origins = {origin.lower() for origin in origins}
        self._token = token

    def check(self, request: web.Request, secret: bool) -> None:
        """secret: what is asked for is worth the token. Raises HTTPForbidden with one sentence."""
        host = request.headers.get("Host", "")
        if not self._named(host):
            raise web.HTTPForbidden(text=f"Host {host[:100]!r} is no name of this machine's; use its address.")
        origin = request.headers.get("Origin")
        own = f"{request.scheme}://{host}".lower()
        if origin is not None and origin.lower() != own and origin.lower() not in self._origins:
            raise web.HTTPForbidden(text=f"Pages of {origin[:100]!r} may not look; --allow-origin lets them.")
        if secret and self._token is not None:
            given = request.query.get("token", "")
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                raise web.HTTPForbidden(text="The token is missing or wrong; use the whole address that was printed.")

    def _named(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        return name in self._names or _address(name)  # an address cannot be bent as a name can


def _address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
