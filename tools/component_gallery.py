"""What each expression component does: one small picture a component, and the page that explains them.

    python tools/component_gallery.py [--out docs]

Writes images/component-01.webp ... under --out and components.md beside them. Each picture shows the mean head at
-3 sigma, at +3 sigma, and how far a sigma moves each part of the skin. The blendshapes on the page are what the face
model's own map reads there; what the eye sees is said in SEEN, written by hand after looking.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from expnet_tf.files import write_whole
from expnet_tf.morphable import MorphableModel, open_face
from expnet_tf.paint import paint, studio
from expnet_tf.render import Surface, over, render

ROOT = Path(__file__).resolve().parent.parent
SIGMA = 3  # the bound of eq. (2): as far as a code of the paper goes
WIDTH, HEIGHT = 132, 164  # px of one head
DISTANCE, SHOWN, MIDDLE = 900.0, 176.0, -22.0  # mm: from the camera; in the height of a tile; y of its middle
PAPER = (250, 249, 246)
STILL, MOVED, MOST = (0.90, 0.89, 0.87), (0.96, 0.62, 0.25), (0.62, 0.06, 0.14)  # sRGB: 0, half and all of the motion
FACE = ("skin", "lips", "eyelids", "brows", "nose")
WEAK = 0.1  # weights below it are not named

# Component by component: a name, and what -3 and +3 sigma show. Left and right are the person's own.
SEEN = [
    ("Jaw", "the mouth opens wide, the brows rise a little", "no face does this: the jaw goes up through the lip"),
    ("Smile", "the mouth is drawn together and down", "the mouth corners go out and up, the cheeks rise"),
    ("Lids", "the eyes are torn open", "the eyes close, the brows come down a little"),
    ("Mouth sideways", "the mouth moves to the right", "the mouth moves to the left"),
    ("Pout", "the mouth is wide and flat, its corners low", "the lips come forward, the mouth is narrow"),
    ("Tension", "the mouth is narrow, the face relaxed", "the jaw comes forward, the brows sink, the mouth widens"),
    ("Jaw sideways", "the jaw shifts to the right", "the jaw shifts to the left"),
    ("Brows up and down", "the brows are lowered and drawn together", "the brows are raised"),
    ("Parted lips", "the lips part over a jaw that comes forward, teeth show", "the lips are pressed together"),
    ("One brow, winking", "the right brow rises, the left eye narrows", "the left brow rises, the right eye narrows"),
    ("One mouth corner", "the right corner rises", "the left corner rises"),
    ("Upper lip", "the upper lip rolls in", "the upper lip rises off the teeth, the brows rise"),
    ("Cheeks and lower lids", "the cheeks fall, the lips part", "the cheeks rise, the eyes narrow"),
    ("One brow", "the left brow rises", "the right brow rises"),
    ("Outer brows", "the inner ends rise: a worried look", "the outer ends rise: a stern look"),
    ("Slant of the brows", "the inner ends rise, the outer ones sink", "the outer ends rise, the inner ones sink"),
    ("Puffed cheeks", "the cheeks fill, the lower lip drops", "the cheeks hollow, the chin pushes the mouth up"),
    ("Between the brows", "the brows part a little", "the brows draw together and rise in the middle"),
    ("Sides of the brows", "the left brow's outer end rises a little", "the right brow's outer end rises a little"),
    ("Brows against upper lip", "the brows draw together", "the upper lip shows the teeth"),
    ("Lower lids", "the lower lids tighten", "the lower lids relax, the cheeks flatten"),
    ("Pressed mouth corners", "the corners are pressed in", "the mouth stretches at its corners"),
    ("One cheek", "the left cheek rises", "the right cheek rises"),
    ("One nostril", "the left side of nose and lip rises", "the right side of nose and lip rises"),
    ("Rolled lower lip", "the lower lip rolls in", "the lower lip rolls out"),
    ("Upper lids and nose", "the upper lids sink a little", "the upper lids rise, the nose wrinkles a little"),
    ("One side of the lower lip", "its right side drops", "its left side drops"),
    ("Corner of the upper lip", "the left half is drawn a little", "the right half is drawn a little"),
    ("Lower lip", "the lower lip is pushed up", "the lower lip drops off the teeth"),
]

HEAD = """# The 29 components of an expression

Component n is `face.expression[n - 1]`, in sigma: see [Concepts](concepts.md). Each row shows the mean head with this
component alone at -3 and at +3 sigma, the bound of the paper's eq. (2), and how far it moves the skin: white not at
all, red its own most. *Reads* is what the face model's own map to blendshapes says of that face; a name without
Left or Right stands for both sides. Left and right are the person's own.

Components are directions of a PCA, not muscles: most move several things at once, and a smile on a photo is a sum of
several. The first three hold 83% of the motion, the last ten 0.8%. 3 sigma is far: by its definition at least 99.7% of
the plausible expressions that the basis was made from lie within, and on one side often well within. The map to
blendshapes was fitted to mixtures, and on a component alone it may read little. The shipped network reads the first
few well and the last ones hardly ([model card](models/base.md)).

This page and its pictures are written by `tools/component_gallery.py`.
"""


def head(surfaces: list[Surface]) -> Image.Image:
    """One tile: surfaces in camera coordinates, from the front."""
    focal = HEIGHT / SHOWN * DISTANCE
    drawn = render(surfaces, focal, (WIDTH / 2, HEIGHT / 2), (HEIGHT, WIDTH), studio(), supersample=3)
    return Image.fromarray(over(drawn, np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)))


def placed(vertices: np.ndarray) -> np.ndarray:
    """Head frame -> camera coordinates, mm."""
    return vertices - [0, MIDDLE, DISTANCE]


def motion(model: MorphableModel, component: int) -> np.ndarray:
    """float [n]: mm that a sigma moves each vertex of the skin; 0 inside the mouth and elsewhere."""
    moved = np.linalg.norm(model.expression_basis[component], axis=1)
    return moved * model.region(*FACE)


def picture(model: MorphableModel, component: int) -> Image.Image:
    """-3 sigma, +3 sigma, and where the motion is, white to red, side by side."""
    code = np.eye(len(model.expression_basis))[component]
    tiles = [head(paint(model, placed(model.decode(None, sigma * code)))) for sigma in (-SIGMA, SIGMA)]
    share = motion(model, component) / motion(model, component).max()
    ramp = [np.interp(share, (0.0, 0.5, 1.0), stops) for stops in zip(STILL, MOVED, MOST, strict=True)]
    colors = np.square(np.stack(ramp, axis=1))  # the renderer's light is the square of a display value
    tiles.append(head([Surface(placed(model.mean), model.triangles, colors, specular=0.0)]))
    strip = Image.new("RGB", (len(tiles) * WIDTH, HEIGHT), PAPER)
    for place, tile in enumerate(tiles):
        strip.paste(tile, (place * WIDTH, 0))
    return strip


def strongest(model: MorphableModel, component: int, sigma: float, most: int = 3) -> list[tuple[str, float]]:
    """The blendshapes that the model's map reads of one component; Left and Right of equal weight become one name."""
    weights = model.blendshapes(sigma * np.eye(len(model.expression_basis))[component])
    named: dict[str, float] = dict(zip(map(str, model.blendshape_names), weights.tolist(), strict=True))
    merged: dict[str, float] = {}
    for name, weight in named.items():
        stem = name.removesuffix("Left").removesuffix("Right")
        pair = [named.get(stem + side, np.nan) for side in ("Left", "Right")]
        merged[stem if np.isclose(pair[0], pair[1], atol=0.005) else name] = weight
    ordered = sorted(merged.items(), key=lambda item: -item[1])
    return [(name, weight) for name, weight in ordered if weight >= WEAK][:most]


def reads(model: MorphableModel, component: int, sigma: float) -> str:
    """The strongest blendshapes as a line of Markdown."""
    found = [f"`{name}` {weight:.2f}" for name, weight in strongest(model, component, sigma)]
    return f"Reads {', '.join(found)}." if found else f"No blendshape reads above {WEAK}."


def page(model: MorphableModel) -> str:
    """components.md."""
    lines = [HEAD]
    for component, (name, minus, plus) in enumerate(SEEN):
        most, share = motion(model, component).max(), model.expression_explained[component]
        lines += [
            f"## {component + 1}. {name}",
            "",
            f"![Component {component + 1} at -3 sigma: {minus}; at +3 sigma: {plus}; and where it moves the skin]"
            f"(images/component-{component + 1:02}.webp)",
            "",
            f"- **-3**: {minus}. {reads(model, component, -SIGMA)}",
            f"- **+3**: {plus}. {reads(model, component, SIGMA)}",
            f"- {most:.2g} mm per sigma where it moves the skin most; {share:.2%} of all motion.",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs", metavar="DIR")
    out = parser.parse_args().out
    model = open_face()
    (out / "images").mkdir(parents=True, exist_ok=True)
    size = 0
    for component in range(len(SEEN)):
        packed = io.BytesIO()
        picture(model, component).save(packed, "WEBP", quality=80, method=6)
        write_whole(out / f"images/component-{component + 1:02}.webp", packed.getvalue())
        size += len(packed.getvalue())
    write_whole(out / "components.md", page(model).encode())
    print(f"{out / 'components.md'} and {len(SEEN)} pictures, {size:,} bytes in all")


if __name__ == "__main__":
    main()
