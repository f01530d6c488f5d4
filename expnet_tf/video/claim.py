"""Whose a folder of a run is: run.json says of which video and model, and a run goes on only where it says the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from expnet_tf.files import write_whole
from expnet_tf.predictor import Predictor
from expnet_tf.video import table
from expnet_tf.video.reader import Camera, VideoError, VideoFile

SCHEMA = "expnet.video/1"
RUN = "run.json"


def facts_of(source: VideoFile | Camera, predictor: Predictor) -> dict[str, Any]:
    """What a run is of: its video and its model."""
    face_model = predictor.face_model.provenance
    facts = {"schema": SCHEMA, "source": source.facts.name, "model": predictor.info.id,
             "face_model": f"{face_model.get('name')}-{face_model.get('version')}", "chunk": table.CHUNK}  # fmt: skip
    if isinstance(source, VideoFile):
        facts["bytes"] = source.path.stat().st_size
        facts["sha256_of_ends"] = _ends(source.path)
    return facts


def _ends(path: Path) -> str:
    """sha256 of the first and the last MiB: a film need not be read twice to be told from another."""
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(2**20))
        file.seek(max(0, path.stat().st_size - 2**20))
        digest.update(file.read())
    return digest.hexdigest()


def claim(out: Path, facts: dict[str, Any], live: bool) -> None:
    """Writes run.json, or checks that the one in the folder says the same. Raises VideoError."""
    path = out / RUN
    if not path.exists():
        if (out / "chunks").exists():
            raise VideoError(f"{out} holds chunks without their {RUN}; choose an empty folder.")
        write_whole(path, f"{json.dumps(facts, indent=1)}\n".encode())
        return
    if live:
        raise VideoError(f"{out} holds a run already, and a camera cannot go on with one; choose an empty folder.")
    before = read_object(path)
    for name, value in facts.items():
        if before.get(name) != value:
            raise VideoError(
                f"{out} holds a run with another {name}: it was {before.get(name)}, now it is {value}; use the same "
                "video and model to go on, or choose an empty folder."
            )


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file; empty where there is none that can be read."""
    try:
        read = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
