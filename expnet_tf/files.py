"""Files that are whole or not there: written under a temporary name, then renamed."""

import uuid
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path`, replacing what was there only when all of it is on the disk. Raises OSError."""
    # Short, whatever the name's length: a name may take 255 bytes.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
