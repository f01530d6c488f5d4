"""The pictures of docs/concepts.md: eq. (1), sigma, the crop, the head's axes.

    python tools/concept_pictures.py [--out docs/images]

Writes concept-model.webp, concept-sigma.webp, concept-crop.webp and concept-pose.webp. The crop is that of the sample
photo in the package, with the box that the default detector finds.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from expnet_tf import camera
from expnet_tf.detect import BlazeFace
from expnet_tf.files import write_whole
from expnet_tf.image import crop, crop_square, read_image
from expnet_tf.models import ASSETS
from expnet_tf.morphable import MorphableModel, open_face
from expnet_tf.paint import paint, studio
from expnet_tf.render import over, render

ROOT = Path(__file__).resolve().parent.parent
SIDE, CAPTION, GAP = 176, 24, 10  # px: a tile, the line below it, between tiles
DISTANCE, SHOWN, MIDDLE = 900.0, 230.0, -14.0  # mm: from the camera; in the height of a tile; y of its middle
PAPER, INK = (250, 249, 246), (50, 50, 54)
AXES = {"x": (196, 58, 46), "y": (46, 140, 66), "z": (44, 98, 190)}
BOX, CROP = (214, 110, 20), (30, 110, 200)
SMILE = 1  # component 2
FACTOR, SIZE = 1.25, 96  # of the model "compact"


def head(model: MorphableModel, identity: np.ndarray | None = None, expression: np.ndarray | None = None,
         rotation: tuple[float, float, float] = (0.0, 0.0, 0.0), axes: bool = False) -> Image.Image:  # fmt: skip
    """One tile; axes: the head's own, 60 mm long from between the eyes."""
    # The pose turns about the head's origin; the tile looks at the middle of the face.
    pose = np.array([*rotation, 0, -MIDDLE, -DISTANCE], np.float64)
    focal, center = SIDE / SHOWN * DISTANCE, (SIDE / 2, SIDE / 2)
    placed = camera.transform(model.decode(identity, expression), pose)
    drawn = render(paint(model, placed), focal, center, (SIDE, SIDE), studio(), supersample=3)
    tile = Image.fromarray(over(drawn, np.full((SIDE, SIDE, 3), PAPER, np.uint8)))
    if axes:
        root = model.landmarks()[27]
        ends = np.vstack([root, root + 60 * np.eye(3)])
        start, *tips = camera.project(ends, pose, focal, center)
        pen = ImageDraw.Draw(tile)
        for (name, color), tip in zip(AXES.items(), tips, strict=True):
            along = arrow(pen, start, tip, color)
            pen.text(tuple(tip + 11 * along), name, color, ImageFont.load_default(15), anchor="mm")
    return tile


def arrow(pen: ImageDraw.ImageDraw, start: np.ndarray, tip: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """A line with a head; an axis that points at the viewer is a dot. Returns the direction for its name."""
    length = np.linalg.norm(tip - start)
    if length < 12:
        pen.ellipse((*(start - 5), *(start + 5)), color)
        return np.array([0.6, 0.8])
    along = (tip - start) / length
    across = np.array([-along[1], along[0]])
    pen.line([tuple(start), tuple(tip - 6 * along)], color, 3)
    pen.polygon([tuple(tip), tuple(tip - 10 * along + 5 * across), tuple(tip - 10 * along - 5 * across)], color)
    return along


def row(tiles: list[tuple[Image.Image, str]], signs: str = "") -> Image.Image:
    """Captioned tiles beside each other; `signs` stand between them."""
    gap = 3 * GAP if signs else GAP
    page = Image.new("RGB", (len(tiles) * (SIDE + gap) - gap, SIDE + CAPTION), PAPER)
    pen = ImageDraw.Draw(page)
    for number, (tile, caption) in enumerate(tiles):
        x = number * (SIDE + gap)
        page.paste(tile, (x, 0))
        pen.text((x + SIDE / 2, SIDE + CAPTION / 2), caption, INK, ImageFont.load_default(13), anchor="mm")
    for number, sign in enumerate(signs):
        middle = (number + 1) * (SIDE + gap) - gap / 2
        pen.text((middle, SIDE / 2), sign, INK, ImageFont.load_default(26), anchor="mm")
    return page


def equation(model: MorphableModel) -> Image.Image:
    """Mean + S alpha + E z = a face."""
    identity = np.random.default_rng(11).normal(size=len(model.identity_basis))
    expression = np.eye(len(model.expression_basis))[SMILE] * 2.2
    return row(
        [
            (head(model), "the mean, neutral"),
            (head(model, identity), "an identity alpha"),
            (head(model, None, expression), "an expression z"),
            (head(model, identity, expression), "both: S'"),
        ],
        "++=",
    )


def steps(model: MorphableModel) -> Image.Image:
    """One component from -1 to 3 sigma."""
    code = np.eye(len(model.expression_basis))[SMILE]
    return row([(head(model, None, sigma * code), f"{sigma:+d} sigma" if sigma else "0") for sigma in range(-1, 4)])


def cropping() -> Image.Image:
    """The sample photo with box and crop, and the crop at the network's size, its pixels enlarged."""
    photo = read_image(ASSETS / "astronaut.jpg")
    box = BlazeFace().detect(photo)[0].box
    x0, y0, side = crop_square(box, FACTOR)
    left, part = 60, 300  # px of the photo that are shown
    scale = SIDE / part
    shown = Image.fromarray(photo[:part, left : left + part]).resize((SIDE, SIDE))
    pen = ImageDraw.Draw(shown)
    for (x, y, w, h), color in (((*box,), BOX), ((x0, y0, side, side), CROP)):
        corners = [(x - left) * scale, y * scale, (x + w - left) * scale, (y + h) * scale]
        pen.rectangle(corners, outline=color, width=2)
    seen = Image.fromarray(crop(photo, box, SIZE, FACTOR)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    return row([(shown, "box (orange), crop (blue)"), (seen, f"{SIZE} x {SIZE} px: the input")])


def poses(model: MorphableModel) -> Image.Image:
    """The head's axes, and half a radian about each."""
    return row(
        [
            (head(model, axes=True), "(0, 0, 0), z to you"),
            (head(model, rotation=(0.5, 0, 0), axes=True), "(0.5, 0, 0): looks down"),
            (head(model, rotation=(0, 0.5, 0), axes=True), "(0, 0.5, 0): to its left"),
            (head(model, rotation=(0, 0, 0.5), axes=True), "(0, 0, 0.5): leans"),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images", metavar="DIR")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    model = open_face()
    pictures = {"model": equation(model), "sigma": steps(model), "crop": cropping(), "pose": poses(model)}
    for name, page in pictures.items():
        packed = io.BytesIO()
        page.save(packed, "WEBP", quality=82, method=6)
        write_whole(out / f"concept-{name}.webp", packed.getvalue())
        print(f"{out / f'concept-{name}.webp'}: {page.width} x {page.height} px, {len(packed.getvalue()):,} bytes")


if __name__ == "__main__":
    main()
