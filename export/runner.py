"""What a Runner is: the same call on every artifact, in the runtime that its users will have."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np


class CannotRun(RuntimeError):
    """This machine cannot run the artifact: hardware or a package is missing. One sentence."""


class Runner(Protocol):
    """An artifact loaded into its runtime.

    A runner whose artifact holds the 3DMM has a method `decode` besides (SavedModelRunner's), which verify judges too.
    Making one raises CannotRun where the machine lacks what it takes, and otherwise whatever the runtime raises when it
    cannot load the artifact.
    """

    name: str  # key of RUNNERS
    version: str  # of the runtime

    def __init__(self, path: Path, threads: int = 1) -> None: ...

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 RGB [B, S, S, 3], any B -> {output name: float32 [B, width]}."""
        ...
