"""Structured logs: one JSON object a line on standard error."""

from __future__ import annotations

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


def configure(level: str) -> None:
    """Send the server's log, and the libraries' warnings, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("expnet").setLevel(level.upper())


def request_id(given: str | None) -> str:
    """The client's own id where it is one that may stand in a header and a log, else a new one."""
    if given and len(given) <= _ID_LENGTH and given.isascii() and given.isprintable():
        return given
    return uuid.uuid4().hex
