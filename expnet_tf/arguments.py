"""What the `expnet` command understands: the arguments of each subcommand, their units, their help.

Bad values end here, with one sentence and exit code 2.
"""

from __future__ import annotations

import argparse
import math
import textwrap
from pathlib import Path
from typing import Any

from expnet_tf import __version__
from expnet_tf.export import EXPORTERS

FACE_FORMATS = ("json", "obj", "ply", "glb", "png")  # batch.FORMATS, which is too heavy to import for --help


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="expnet",
        description="3D facial expression, identity and pose from a photo; exports that are proven equal.",
        epilog="exit codes: 0 everything done; 1 some items failed, each with a line on standard error; "
        "2 not understood, nothing done. `expnet COMMAND --help` has the details.",
    )
    made.add_argument("--version", action="version", version=f"expnet {__version__}")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_predict, _add_synth, _add_export, _add_verify, _add_demo, _add_models):
        add(commands)
    return made


def _command(commands: Any, name: str, summary: str, details: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{textwrap.dedent(details).strip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return made


def _add_predict(commands: Any) -> None:
    add = _command(
        commands,
        "predict",
        "photos in; coefficients, meshes and pictures out",
        """
        Of each photo the largest face, or with --all-faces all of them, largest first:
          json  expression [29], 52 ARKit blendshapes, identity [99], pose, box, timing (docs/face-json.md)
          obj, ply, glb  the face as a mesh, in the photo's expression (mm; glb: m)
          png   photo, crop, mesh over the photo, mesh from the front and turned, strongest blendshapes

        The files carry the photo's name and suffix: DIR/a/1.jpg.json, DIR/a/1.jpg.obj, ...; with --all-faces
        meshes and pictures are counted as in the JSON: DIR/a/1.jpg.0.obj, DIR/a/1.jpg.1.obj, ... The folder
        (a/ here) is the photo's path below the deepest folder that holds all arguments.

        A photo that cannot be read, is above 50 million px, or shows no face is reported in one line, and the
        others go on.

          expnet predict photo.jpg --out results
          expnet predict photos 'more/*/*.png' --out results --all-faces --format json,glb
        """,
    )
    add.add_argument(
        "photos",
        nargs="+",
        metavar="PHOTO|DIR|GLOB",
        help="JPEG, PNG, WebP, BMP, TIFF or GIF files; folders, searched to any depth for files with such "
        "suffixes; or patterns in quotes (** is any depth)",
    )
    _out(add)
    add.add_argument("--model", default="compact", help="a shipped model or a .keras file (default: compact)")
    add.add_argument(
        "--box",
        type=_box,
        metavar="X,Y,W,H",
        help="where the face is, in px of the photo after its EXIF rotation: left, top, width, height, forehead to "
        "chin and ear to ear; instead of detection, for every photo (write --box=-5,... where X is negative)",
    )
    add.add_argument("--all-faces", action="store_true", help="all faces, not the largest alone")
    add.add_argument(
        "--format",
        type=_face_formats,
        default=("json", "obj", "png"),
        metavar="NAMES",
        help=f"what to write: a list, with commas, of {', '.join(FACE_FORMATS)}, or all (default: json,obj,png)",
    )
    add.add_argument(
        "--detector",
        choices=("blazeface", "mtcnn"),
        default="blazeface",
        help="mtcnn needs the extra expnet_tf[mtcnn], whose weights are NOT for commercial use (default: blazeface)",
    )


def _add_synth(commands: Any) -> None:
    add = _command(
        commands,
        "synth",
        "render labelled synthetic faces",
        """
        Writes OUT/0000001/001.jpg, ... (a folder a person), their exact labels in labels-*.npz and
        labels.json, and contact.png to look at. The same arguments give the same bytes; an interrupted run
        goes on where it stopped.

          expnet synth --out faces --identities 1000 --per-identity 20 --size 128
        """,
    )
    _out(add)
    add.add_argument("--identities", type=_count, required=True, metavar="N", help="people")
    add.add_argument("--per-identity", type=_count, required=True, metavar="M", help="images of each of them")
    add.add_argument("--size", type=_count, default=224, help="side of an image, px, 64 to 512 (default: 224)")
    add.add_argument("--seed", type=int, default=0, help="another seed, other people (default: 0)")
    add.add_argument(
        "--assets",
        type=Path,
        metavar="DIR",
        help="folder of MakeHuman's CC0 skins, eyes, hair, brows and teeth (default: procedural skin alone)",
    )
    add.add_argument("--workers", type=_count, metavar="K", help="processes (default: one a core)")


def _add_export(commands: Any) -> None:
    add = _command(
        commands,
        "export",
        "make a model's artifacts for other runtimes, and verify them",
        """
        Writes the artifacts, reference.keras, parity_inputs.npz (rendered faces and the float64 answers to
        them) and manifest.json, then does what `expnet verify` does.

          expnet export compact --out exported --format onnx,tflite
        """,
    )
    add.add_argument("model", metavar="MODEL", help="a shipped model's name, or a .keras file")
    _out(add)
    add.add_argument(
        "--format",
        default="all",
        metavar="NAMES",
        help=f"a list, with commas, of {', '.join(EXPORTERS)}, or all (default: all)",
    )


def _add_verify(commands: Any) -> None:
    add = _command(
        commands,
        "verify",
        "prove that exported artifacts compute what the model computes",
        """
        Runs every artifact of an export folder in its own runtime on the reference faces, compares it with
        the float64 answer, in sigma and, decoded, in mm on the mesh, prints the table and writes
        DIR/parity.json. Exit code 1 when one artifact is damaged or out of tolerance.
        """,
    )
    add.add_argument("directory", type=Path, metavar="DIR", help="a folder made by `expnet export`")


def _add_demo(commands: Any) -> None:
    add = _command(
        commands,
        "demo",
        "predict, export and verify on the photo in the package",
        "About a minute on two cores.",
    )
    add.add_argument("--out", type=Path, default=Path("demo_out"), metavar="DIR", help="(default: demo_out)")


def _add_models(commands: Any) -> None:
    _command(
        commands,
        "models",
        "list the models in the package",
        "Name, version, side of the input (px), parameters, size of the file (MB), licence and sha256. The files are\n"
        "expnet_tf/assets/NAME.keras, which plain Keras 3 loads as well.",
    )


def _out(add: argparse.ArgumentParser) -> None:
    add.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results; made if missing")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x, y, w, h = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not four numbers X,Y,W,H in px") from None
    if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0:
        raise argparse.ArgumentTypeError(f"{text!r}: finite numbers are expected, W and H above 0")
    return x, y, w, h


def _face_formats(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in (*FACE_FORMATS, "all")]
    if unknown or not names:
        what = f"unknown format {unknown[0]!r}" if unknown else "no format"
        raise argparse.ArgumentTypeError(f"{what}; accepted: all, {', '.join(FACE_FORMATS)}")
    return tuple(name for name in FACE_FORMATS if name in names or "all" in names)
