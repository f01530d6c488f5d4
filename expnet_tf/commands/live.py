"""`expnet live`: a camera or a clip while it happens."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from expnet_tf.commands.common import FAILED, FINE, UsageError, command, count, many, usage
from expnet_tf.models import DEFAULT
from expnet_tf.quiet import quiet

if TYPE_CHECKING:
    from expnet_tf.live.run import Summary
    from expnet_tf.live.vmc import VMC


def add(commands: Any) -> None:
    parser = command(
        commands,
        "live",
        "show a camera or a clip with its faces, and stream their blendshapes",
        """
        Prints the address of a page on this machine that shows the picture with the meshes over it, and the 52
        blendshapes as bars. Other programs get the blendshapes, a message a frame, as JSON over a WebSocket
        (/blendshapes at the same address), and avatar tools over OSC/VMC (--vmc); docs/live.md describes both.

        A camera is read at once; a clip starts when somebody looks or connects, or at once with --vmc, and plays at
        its own rate. Frames for which there is no time are left out, never queued. It ends with the clip, with Ctrl-C
        or SIGTERM, and says how long a picture took to become a message.

        Needs the extra expnet_tf[live].

          expnet live
          expnet live clip.mp4 --loop --smooth
          expnet live --camera 1 --vmc 127.0.0.1:39540
        """,
    )
    parser.add_argument("clip", nargs="?", metavar="CLIP", help="a video file (default: a camera)")
    parser.add_argument("--camera", type=_number, metavar="N", help="a camera of this machine, from 0 (default: 0)")
    parser.add_argument("--model", default=DEFAULT, help="a shipped model or a .keras file (default: %(default)s)")
    parser.add_argument("--smooth", action="store_true", help="One Euro filter: less jitter, a little lag")
    parser.add_argument("--fast", action="store_true", help="every frame of the clip, as fast as it goes")
    parser.add_argument("--loop", action="store_true", help="the clip begins anew when it has ended")
    parser.add_argument("--vmc", type=_receiver, metavar="HOST:PORT", help="send OSC/VMC there over UDP (default: off)")
    doors = parser.add_argument_group("who may connect")
    doors.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at (default: 127.0.0.1, this machine alone); with any other the printed addresses "
        "carry a token",
    )
    doors.add_argument("--port", type=_port, default=8520, metavar="N", help="0: any (default: 8520)")
    doors.add_argument(
        "--allow-origin",
        type=_origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a web page of another origin that may connect, such as http://localhost:3000; may be repeated",
    )
    doors.add_argument(
        "--max-clients", type=count, default=16, metavar="N", help="WebSockets; the page opens two (default: 16)"
    )


def run(options: argparse.Namespace) -> int:
    import asyncio
    import secrets
    import threading

    if options.clip is not None and options.camera is not None:
        raise UsageError(f"--camera is read, or {options.clip}; one of them is expected.")
    for name in ("fast", "loop"):
        if getattr(options, name) and options.clip is None:
            raise UsageError(f"--{name} is for a clip; a camera has its own pace and no end.")
    with quiet():
        try:
            from expnet_tf.live.doors import Doors, loopback
            from expnet_tf.live.server import Server, bound
        except ImportError as error:
            raise UsageError(f"{error}; expnet live needs the extra expnet_tf[live].") from None
        from expnet_tf.live.run import Manner, live
        from expnet_tf.live.watching import Watcher
        from expnet_tf.network import ModelError
        from expnet_tf.predictor import load
        from expnet_tf.video.reader import Camera, VideoError, VideoFile

        with usage(VideoError, ModelError):
            source = VideoFile(options.clip) if options.clip is not None else Camera(options.camera or 0)
            vmc = _vmc(options.vmc)
            try:
                listening = bound(options.host, options.port)
            except OSError as error:
                why = error.strerror or error
                raise UsageError(f"{options.host}:{options.port} cannot be listened at: {why}.") from None
            watcher = Watcher(load(options.model), options.smooth)
            watcher.warm_up()
    if not loopback(options.host):
        _warn(f"{options.host} can be reached from other machines, with the token but without encryption.")
    if vmc is not None and not loopback(vmc.address[0]):
        _warn(f"blendshapes are sent to {vmc.address[0]}, another machine, without encryption.")
    token = None if loopback(options.host) else secrets.token_urlsafe(16)
    begin = threading.Event()
    if vmc is not None or options.clip is None:
        begin.set()
    server = Server(Doors(options.host, options.allow_origin, token), options.max_clients, begin.set)
    port = listening.getsockname()[1]
    paced = options.clip is not None and not options.fast
    manner = Manner(paced, patient=options.fast, loop=options.loop)

    def started() -> None:
        host = f"[{options.host}]" if ":" in options.host else options.host
        query = "" if token is None else f"?token={token}"
        begins = "" if begin.is_set() else " The clip starts when somebody looks."
        print(
            f"Open http://{host}:{port}/{query} in a browser; blendshapes: ws://{host}:{port}/blendshapes{query}."
            f"{begins}",
            flush=True,
        )

    close = source.close if isinstance(source, Camera) else lambda: None
    try:
        with usage(ModelError):
            summary = asyncio.run(live(source, watcher, server, listening, manner, begin, vmc, _warn, started, close))
    except KeyboardInterrupt:  # where there are no signal handlers: Windows
        return FINE
    finally:
        listening.close()
        if vmc is not None:
            vmc.close()
    print(_counts(summary))
    return FAILED if summary.lost else FINE


def _counts(summary: Summary) -> str:
    people = f"{summary.people:,} {'person' if summary.people == 1 else 'people'}"
    parts = [many(summary.frames, "frame"), people]
    parts += [f"{many(summary.missed, 'frame')} left out"] if summary.missed else []
    parts += [f"{many(summary.lost, 'frame')} missing"] if summary.lost else []
    if latency := summary.latency():
        parts.append(f"from picture to message {latency[0]:.1f} ms (median), {latency[1]:.1f} ms (95th percentile)")
    return f"{', '.join(parts)}."


def _vmc(receiver: tuple[str, int] | None) -> VMC | None:
    from expnet_tf.live.vmc import VMC

    if receiver is None:
        return None
    try:
        return VMC(*receiver)
    except OSError as error:
        raise UsageError(f"--vmc {receiver[0]}:{receiver[1]}: {error.strerror or error}.") from None


def _warn(text: str) -> None:
    print(f"expnet live: {text}", file=sys.stderr, flush=True)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a camera; they count from 0")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def _receiver(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.path or parts.username is not None:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:39540")
    return host, port


def _origin(text: str) -> str:
    try:
        parts = urlsplit(text)
        whole = parts.scheme and parts.hostname and not (parts.path or parts.query or parts.fragment)
    except ValueError:
        whole = False
    if not whole:
        raise argparse.ArgumentTypeError(f"{text!r} is not an origin, such as http://localhost:3000")
    return text
