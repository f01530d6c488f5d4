"""Landmarks that another program found -> z by eq. (2) -> a file for `expnet evaluate emotion --codes`.

    python -m expnet_tf.evaluate.adapters DATA --out codes.npz 1=openface:FOLDER 0.4=openface:FOLDER04 [--prior]

Each SCALE=KIND:PATH names the landmarks of the data's images at one scale; kinds are those of `expnet label
--landmarks` (openface:PATH, pts:DIR, npz:FILE). Programs and formats: docs/baselines.md.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from expnet_tf.data.labelling.landmark_files import POINTS, NoLandmarks
from expnet_tf.data.labelling.landmark_sources import FromFile, Landmarks, open_landmarks
from expnet_tf.data.labelling.tables import TableError
from expnet_tf.evaluate.baselines import expression_from_points
from expnet_tf.evaluate.clips import DataError
from expnet_tf.evaluate.datasets import read_clips
from expnet_tf.evaluate.methods import EXPRESSION
from expnet_tf.files import write_whole


def codes_from_landmarks(landmarks: Landmarks, keys: Sequence[str], prior: bool) -> np.ndarray:
    """z float64 [n, 29] of images by their landmarks; NaN where there are none or the fit does not converge.

    landmarks: of a file (`open_landmarks`); keys: the images' paths below the data folder; prior: see
    `baselines.expression_of`.
    """
    nothing = np.zeros((1, 1, 3), np.uint8)  # points from a file need no pixels
    points = np.full((len(keys), POINTS, 2), np.nan)
    for row, key in enumerate(keys):
        try:
            points[row] = landmarks.find(key, nothing, None)[0]
        except NoLandmarks:
            continue
    return expression_from_points(points, prior)


def write_codes(path: Path, keys: Sequence[str], codes: Mapping[float, np.ndarray], name: str, space: str) -> None:
    """Write a file that `methods.FileCodes` reads: codes {scale: float [n, d]} of the same n images."""
    file = io.BytesIO()
    np.savez_compressed(
        file,
        path=np.array(list(keys) * len(codes)),
        codes=np.concatenate(list(codes.values())),
        scale=np.repeat(list(codes), len(keys)).astype(np.float64),
        name=np.array(name),
        space=np.array(space),
    )
    write_whole(path, file.getvalue())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0, or 2 with one sentence."""
    parser = argparse.ArgumentParser(prog="python -m expnet_tf.evaluate.adapters", description=(__doc__ or "").strip(),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("data", type=Path, metavar="DATA", help="as of expnet evaluate emotion")
    parser.add_argument("landmarks", nargs="+", type=_scaled, metavar="SCALE=KIND:PATH")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument("--prior", action="store_true", help="with identity and the Gaussian prior, as dlib-prior")
    parser.add_argument("--name", help="in tables (default: the kind of landmarks)")
    options = parser.parse_args(arguments)
    codes = {}
    try:
        dataset = read_clips(options.data)
        keys = [frame.key for clip in dataset.clips for frame in clip.frames]
        for scale, text in options.landmarks:
            landmarks = open_landmarks(text, None)
            if not isinstance(landmarks, FromFile):
                raise TableError(f"{text} is no file of landmarks; openface:PATH, pts:DIR or npz:FILE is expected")
            codes[scale] = codes_from_landmarks(landmarks, keys, options.prior)
    except (DataError, TableError) as error:
        print(f"adapters: {error}", file=sys.stderr)
        return 2
    name = options.name or options.landmarks[0][1].split(":")[0] + ("-prior" if options.prior else "")
    write_codes(options.out, keys, codes, name, EXPRESSION)
    for scale, found in codes.items():
        print(f"scale {scale:g}: {int((~np.isnan(found).any(1)).sum())} of {len(keys)} images have a code")
    return 0


def _scaled(text: str) -> tuple[float, str]:
    scale, equals, rest = text.partition("=")
    try:
        number = round(float(scale), 4)
    except ValueError:
        number = 0.0
    if not equals or not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: SCALE=KIND:PATH is expected, as 1=openface:FOLDER")
    return number, rest


if __name__ == "__main__":
    sys.exit(main())
