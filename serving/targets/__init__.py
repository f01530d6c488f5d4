"""What production servers are told, one file a target: plain text made from the export's manifest.

A target is a module with `ARTIFACTS` (which artifacts it serves and the name each gets inside its version folder, ""
for the folder itself), `ONE_MODEL` (whether a repository of it holds a single name) and
`files(models, image) -> {path in the repository: text}`. No file needs a package to be written; the tests parse each
with its server's own protocol messages or schema.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ROOT = "/repository"  # where a container sees the repository

# Shared by all servers, so that they behave alike. The batch limits are where the compact network's time an image
# has stopped falling; a request may carry at most BATCH images.
BATCH = 32
DELAY_US = 2000  # how long a lone request waits for company
QUEUED_BATCHES = 100  # beyond this a request is refused at once: late answers help nobody
VERSIONS = 2  # the newest and the one before it: clients may pin either, and going back needs no loading
CPUS = 2
MEMORY_REQUEST, MEMORY_LIMIT = "1Gi", "2Gi"
REPLICAS = (2, 8)
CPU_TARGET = 70  # per cent of the requested CPU at which replicas are added


class RepositoryError(ValueError):
    """A repository that cannot be made: one sentence with what was received and what is accepted."""


@dataclass(frozen=True)
class Model:
    """One model of a repository, as the manifest of its export describes it."""

    name: str
    artifact: str  # a key of ARTIFACTS
    size: int  # S of `image`, uint8 RGB [B, S, S, 3]
    outputs: dict[str, int]  # head: width of float32 [B, width]
    versions: tuple[int, ...]  # in ascending order


@dataclass(frozen=True)
class Server:
    """A container that serves the repository mounted at ROOT; as a user without rights, on a read-only root."""

    image: str
    command: tuple[str, ...]
    http: int  # ports
    grpc: int
    metrics: tuple[int, str]  # port and path for Prometheus
    live: str  # path on the HTTP port: the process answers
    ready: str  # path on the HTTP port: the models are loaded
    user: int  # uid and gid
    gpu: bool = False


def checked_name(name: str) -> str:
    """A name that every server, a host name and a Kubernetes object accept; raises RepositoryError."""
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", name):
        raise RepositoryError(
            f"The name {name!r} is not accepted: 1 to 40 of a-z, 0-9 and '-', a letter first, no '-' at the end."
        )
    return name


def checked_image(image: str) -> str:
    """A container image reference, with a tag or a digest; raises RepositoryError."""
    if not re.fullmatch(r"[a-z0-9][\w./-]*(:\d+/[\w./-]+)?(:[\w.-]+|@sha256:[0-9a-f]{64})", image, re.ASCII):
        raise RepositoryError(f"The image {image!r} is not accepted: a container image with a tag or a sha256 digest.")
    return image
