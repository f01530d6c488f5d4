"""Draws the face model for people: every expression component at -2 and +2 sigma, every blendshape at full weight.

    python tools/show_face_model.py [--out docs/images] [--model FACE.npz]

Writes components.png and units.png: contact sheets of the painted mean head, each tile with its number or name.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from expnet_tf.data.expressions import USED
from expnet_tf.morphable import MorphableModel, open_face
from expnet_tf.paint import paint, studio
from expnet_tf.render import over, render

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 112, 136  # px of one head
DISTANCE = 900.0  # mm from the camera: as a portrait is taken
SHOWN = 180.0  # mm that the height of a tile shows, room for an open jaw
MIDDLE = -18.0  # mm, y of what is in the middle of a tile
CAPTION, GAP, BETWEEN = 18, 10, 2  # px: below a tile, around tiles, in a pair
PAPER, INK = (250, 249, 246), (50, 50, 54)


def head(model: MorphableModel, expression: np.ndarray | None) -> Image.Image:
    """The painted mean head with an expression [29], from the front."""
    vertices = model.decode(None, expression) - [0, MIDDLE, DISTANCE]
    focal = HEIGHT / SHOWN * DISTANCE
    drawn = render(paint(model, vertices), focal, (WIDTH / 2, HEIGHT / 2), (HEIGHT, WIDTH), studio(), supersample=3)
    return Image.fromarray(over(drawn, np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)))


def sheet(tiles: list[tuple[str, list[Image.Image]]], columns: int) -> Image.Image:
    """Captioned tiles of equally many heads each, in rows."""
    width = len(tiles[0][1]) * (WIDTH + BETWEEN) - BETWEEN + GAP
    height = HEIGHT + CAPTION + GAP
    page = Image.new("RGB", (columns * width + GAP, -(-len(tiles) // columns) * height + GAP), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=10.5)
    for number, (caption, heads) in enumerate(tiles):
        x, y = GAP + number % columns * width, GAP + number // columns * height
        for place, picture in enumerate(heads):
            page.paste(picture, (x + place * (WIDTH + BETWEEN), y))
        draw.text((x + (width - GAP) / 2, y + HEIGHT + CAPTION / 2), caption, INK, font, anchor="mm")
    return page


def components(model: MorphableModel) -> Image.Image:
    """Every expression component at -2 and +2 sigma, with its share of the motion."""
    tiles = []
    for number, share in enumerate(model.expression_explained):
        pair = [head(model, sigma * np.eye(len(model.expression_basis))[number]) for sigma in (-2, 2)]
        tiles.append((f"-2            {number + 1}: {share:.1%}            +2", pair))
    return sheet(tiles, 5)


def units(model: MorphableModel) -> Image.Image:
    """The neutral face and every blendshape that the code can express, at weight 1.

    mouthClose is made to close an open jaw, so it is shown with one.
    """
    tiles = [("neutral", [head(model, None)])]
    names = model.blendshape_names.tolist()
    for name in USED:
        shown = [name, "jawOpen"] if name == "mouthClose" else [name]
        code = model.blendshapes_to_expression[[names.index(unit) for unit in shown]].sum(0)
        tiles.append((" + ".join(shown), [head(model, np.clip(code, -3, 3))]))
    return sheet(tiles, 9)


def save(page: Image.Image, path: Path) -> None:
    """PNG of 128 colours: a third of the bytes of full colour, and nobody sees it."""
    temporary = path.with_name(f".{path.name}.tmp")
    small = page.quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(temporary, format="PNG", optimize=True)
    temporary.replace(path)
    print(f"{path}: {page.width} x {page.height} px, {path.stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images", metavar="DIR")
    parser.add_argument("--model", type=Path, help="a face model .npz (default: the shipped one)")
    options = parser.parse_args()
    model = MorphableModel.from_file(options.model) if options.model else open_face()
    options.out.mkdir(parents=True, exist_ok=True)
    save(components(model), options.out / "components.png")
    save(units(model), options.out / "units.png")


if __name__ == "__main__":
    main()
