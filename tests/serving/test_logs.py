"""The log: one JSON object a line, with what the call passed; what is no HTTP is not worth a line."""

import errno
import io
import json
import logging
import struct

import pytest
from aiohttp.http_exceptions import BadHttpMessage
from PIL import Image

from expnet_tf.image import ImageError, decode_image
from expnet_tf.serving import logs


@pytest.fixture
def lines(monkeypatch):
    """Everything logged, through `configure`; the process' own logging is restored."""
    root, own = logging.getLogger(), logging.getLogger("expnet")
    before = root.handlers[:], root.level, own.level
    file = io.StringIO()
    monkeypatch.setattr("sys.stderr", file)
    logs.configure("info")
    yield lambda: [json.loads(line) for line in file.getvalue().splitlines()]
    root.handlers[:], root.level, own.level = before


def test_one_object_a_line(lines):
    log = logging.getLogger("expnet.serve.test")
    log.info("predict", extra={"rows": 3, "error": 'two\nlines and "quotes"'})
    log.debug("not at this level")
    logging.getLogger("library").info("nor this")
    (entry,) = lines()
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "info",
        "logger": "expnet.serve.test",
        "event": "predict",
        "rows": 3,
        "error": 'two\nlines and "quotes"',
    }


def test_errors_have_their_traceback_unless_they_are_the_clients(lines):
    log = logging.getLogger("aiohttp.server")
    for error in (ValueError("ours"), BadHttpMessage("theirs")):
        try:
            raise error
        except Exception:
            log.exception("Error handling request")
    (entry,) = lines()
    assert "ValueError: ours" in entry["traceback"]


def test_a_damaged_photo_is_not_the_servers_error(lines):
    """Pillow itself logs some damage as an error: here a TIFF of 2048 samples a pixel."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "TIFF")
    tag = struct.pack("<HHIH", 277, 3, 1, 3)  # SamplesPerPixel, one 16-bit number: 3
    assert file.getvalue().count(tag) == 1
    with pytest.raises(ImageError):
        decode_image(file.getvalue().replace(tag, struct.pack("<HHIH", 277, 3, 1, 2048)), "row 0")
    assert lines() == []


def test_no_more_descriptors_is_a_line_a_second(lines):
    log = logging.getLogger("asyncio")
    for _ in range(1000):
        try:
            raise OSError(errno.EMFILE, "Too many open files")
        except OSError:
            log.exception("socket.accept() out of system resource\nsocket: <...>")
    try:
        raise OSError(errno.EIO, "another")
    except OSError:
        log.exception("not one of them")
    *scarce, other = lines()
    assert 1 <= len(scarce) < 10
    assert scarce[0].pop("time")
    assert scarce[0] == {
        "level": "error",
        "logger": "asyncio",
        "event": "socket.accept() out of system resource",
        "error": "[Errno 24] Too many open files",
    }
    assert "another" in other["traceback"]


@pytest.mark.parametrize("given", [None, "", "x" * 129, "two\nlines", "no-ascii-\u00e9"])
def test_ids_that_cannot_stand_in_a_header_are_replaced(given):
    made = logs.request_id(given)
    assert made != given
    assert len(made) == 32
    assert logs.request_id("abc-1") == "abc-1"
