"""Structured logs: one JSON object a line on standard error."""

from __future__ import annotations

import errno
import json
import logging
import sys
import uuid
from datetime import UTC, datetime

_OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_ID_LENGTH = 128


class JsonFormatter(logging.Formatter):
    """time (UTC), level, logger, event, and whatever the call passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _OWN},
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _ours(record: logging.LogRecord) -> bool:
    """Whether a record is worth a line: what is no HTTP, or no photo, is the client's fault.

    Of the first there would be a page of traceback each time; what Pillow says is in the answer's `error`, better.
    """
    if record.name.startswith("PIL."):
        return False
    return not (record.exc_info and record.exc_info[0] and record.exc_info[0].__module__ == "aiohttp.http_exceptions")


class Scarcity(logging.Filter):
    """Of the system having no more descriptors or memory one line a second, without a traceback.

    asyncio tells it for every connection that waits, many times a second, and the log would fill the disk.
    """

    _ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        scarce = isinstance(error, OSError) and error.errno in self._ERRORS
        # asyncio tries again a second later, also where the server has closed meanwhile.
        late = isinstance(error, ValueError) and "._start_serving(" in record.getMessage()
        if not scarce and not late:
            return True
        if record.created < self._next:
            return False
        self._next = record.created + 1.0
        record.msg, record.args, record.exc_info = record.getMessage().partition("\n")[0], (), None
        record.error = str(error)
        return True


def configure(level: str) -> None:
    """Send the server's log, and the libraries' warnings, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(_ours)
    handler.addFilter(Scarcity())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("expnet").setLevel(level.upper())


def request_id(given: str | None) -> str:
    """The client's own id where it is one that may stand in a header and a log, else a new one."""
    if given and len(given) <= _ID_LENGTH and given.isascii() and given.isprintable():
        return given
    return uuid.uuid4().hex
