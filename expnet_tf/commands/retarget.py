"""`expnet retarget`: expression codes of one face model as those of another, or as ARKit weights."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expnet_tf.commands.common import FAILED, FINE, UsageError, command, folder, many, printer, usage

if TYPE_CHECKING:
    from expnet_tf.morphable import MorphableModel
    from expnet_tf.retarget.maps import Map

OPEN, ARKIT = "open", "arkit"


def add(commands: Any) -> None:
    parser = command(
        commands,
        "retarget",
        "expression codes of one face model as those of another, or as ARKit weights",
        """
        Finds the codes of the target that move corresponding points of its face as the codes of the source move
        theirs: least squares within bounds (3 sigma, weights 0 to 1), row by row. Each row gets residual_mm, the
        motion that the target cannot show, and motion_mm, what it is a part of (rms over the points, mm).

        IN is what `expnet predict` writes: a photo's JSON or a folder of them, JSON Lines or Parquet, or the folder
        of a run with --shards; or codes as .csv or .npz. OUT is of the same kind. docs/retargeting.md has the
        columns, the format of correspondence files, and what is lost on the way.

          expnet retarget faces --to flame2023.pkl --correspondence pairs.csv --out flame
          expnet retarget table --to arkit --out weights
          expnet retarget codes.npz --from FaceXModel --to open --out open.npz
          expnet retarget take.csv --from arkit --to open --out codes.csv
          expnet retarget --to arkit --map map.npz
        """,
    )
    parser.add_argument("input", nargs="?", type=Path, metavar="IN", help="a file or a folder; not needed with --map")
    parser.add_argument(
        "--to", required=True, metavar="MODEL", help="a face model's file or folder; open, the one that ships; or arkit"
    )
    parser.add_argument(
        "--from", dest="source", default=OPEN, metavar="MODEL", help="the same, of what IN holds (default: open)"
    )
    parser.add_argument("--out", type=Path, metavar="OUT", help="a file where IN is one, else a folder")
    parser.add_argument(
        "--correspondence",
        type=Path,
        metavar="FILE",
        help="pairs of points, .csv or .npz (default: the vertices where both are one mesh, else the 68 landmarks)",
    )
    parser.add_argument(
        "--ridge", type=_millimetres, metavar="MM", help="what a code at its bound costs as residual (default: 0.01)"
    )
    parser.add_argument("--map", type=Path, metavar="FILE.npz", help="also write the map without bounds, one matrix")


def _millimetres(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of mm above 0")
    return value


def run(options: argparse.Namespace) -> int:
    _check(options)
    from expnet_tf.morphable import FaceModelError
    from expnet_tf.retarget import RetargetError
    from expnet_tf.retarget.run import check, retarget

    with usage(RetargetError, FaceModelError):
        if options.input:
            check(options.input, options.out)
        mapping = _map(options)
    alignment = mapping.alignment
    print(
        f"{mapping.source.name} to {mapping.target.name} through {mapping.count:,} points ({mapping.points}); scale "
        f"{alignment.scale:.4g}, neutral faces {alignment.rms:.2f} mm apart (rms)."
    )
    target = options.map
    try:
        if options.map:
            mapping.save(options.map)
            print(f"The map without bounds is in {options.map}.")
        if not options.input:
            return FINE
        target = options.out
        with usage(RetargetError):
            done = retarget(options.input, options.out, mapping, printer(sys.stderr))
    except OSError as error:
        print(f"expnet retarget: {target} cannot be written ({error.strerror or error}).", file=sys.stderr)
        return FAILED
    failed = f", {done.failed:,} failed" if done.failed else ""
    where = f"; see {options.out}" if done.rows else ""
    print(f"{many(done.rows, 'row')} done{failed}{where}.")
    if done.rows:
        print(f"Residual {done.rms:.3f} mm rms, {done.worst:.3f} mm at most; {done.kept:.1%} of the motion is kept.")
    return FAILED if done.failed else FINE


def _check(options: argparse.Namespace) -> None:
    """Raises UsageError for options that do not go together."""
    if not options.input and not options.map:
        raise UsageError("nothing to do: name IN and --out, or --map.")
    if bool(options.input) != bool(options.out):
        raise UsageError(f"IN and --out belong together; {'--out' if options.input else 'IN'} is missing.")
    if options.source == options.to == ARKIT:
        raise UsageError("--from and --to are both arkit; one of them must be a face model.")
    if options.out:
        folder(options.out.absolute().parent)
    if options.map:
        if options.map.suffix != ".npz" or options.map.is_dir():
            raise UsageError(f"--map {options.map} must be a file that ends with .npz.")
        if not os.access(options.map.absolute().parent, os.W_OK | os.X_OK):
            raise UsageError(f"--map {options.map}: its folder does not exist, or cannot be written to.")


def _map(options: argparse.Namespace) -> Map:
    """Raises FaceModelError, RetargetError."""
    from expnet_tf.retarget.correspondence import between, read_correspondence
    from expnet_tf.retarget.maps import RIDGE, fit
    from expnet_tf.retarget.spaces import arkit_space, expression_space, has_arkit

    names = [options.source, options.to]
    models = {name: _model(name) for name in names if name != ARKIT}
    # ARKit's motions are those of the other side's own blendshapes where it brings them, else of the open model's.
    spaces = []
    for name, other in zip(names, reversed(names), strict=True):
        if name != ARKIT:
            spaces.append(expression_space(models[name]))
        else:
            spaces.append(arkit_space(models[other] if has_arkit(models[other]) else None))
    source, target = spaces
    if options.correspondence:
        pairs = read_correspondence(options.correspondence, source.model, target.model)
    else:
        pairs = between(source.model, target.model)
    return fit(source, target, pairs, options.ridge or RIDGE)


def _model(name: str) -> MorphableModel:
    from expnet_tf.morphable import open_face

    if name == OPEN:
        return open_face()
    from expnet_tf.facemodels import load

    return load(name)
