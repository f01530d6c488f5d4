"""docker-compose.yaml of one server: ports on the loopback only, no rights, a read-only root."""

from __future__ import annotations

import json

from expnet_tf.serving.targets import CPUS, MEMORY_LIMIT, ROOT, Server


def compose(server: Server) -> str:
    """Text of a Compose file that lies in the repository which it serves."""
    arguments = "\n".join(f"      - {argument}" for argument in server.command[1:])
    ports = "\n".join(
        f'      - "127.0.0.1:{port}:{port}"' for port in sorted({server.http, server.grpc, server.metrics[0]})
    )
    return f"""\
# docker compose up
services:
  serving:
    image: {server.image}
    entrypoint: [{server.command[0]}]
    command:
{arguments}
    # This machine only; put a proxy with TLS and a login in front of it before opening it to others.
    ports:
{ports}
    volumes:
      - .:{ROOT}:ro
    user: "{server.user}:{server.user}"
    read_only: true
    tmpfs: [/tmp]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    cpus: {CPUS}
    mem_limit: {MEMORY_LIMIT.removesuffix("i").lower()}
    pids_limit: 512
    restart: unless-stopped
    stop_grace_period: 45s
    healthcheck:
      # bash alone: the images need not have curl.
      test: {json.dumps(["CMD", "bash", "-c", probe(server.http, server.ready)])}
      interval: 10s
      timeout: 5s
      retries: 3
      start_period: 60s
{_gpu() if server.gpu else ""}"""


def probe(port: int, path: str) -> str:
    """A bash line that succeeds where http://127.0.0.1:port/path answers 200."""
    return (
        f"exec 3<>/dev/tcp/127.0.0.1/{port} && printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3 "
        "&& head -n 1 <&3 | grep -q ' 200 '"
    )


def _gpu() -> str:
    return """\
    deploy:
      resources:
        reservations:
          devices:
            - {driver: nvidia, count: 1, capabilities: [gpu]}
"""
