"""Films for the tests: the sample photo moved about, a rendered face whose smile is known, and damaged files."""

import struct
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from expnet_tf.camera import rotation_matrix
from expnet_tf.data.scenes import surroundings
from expnet_tf.data.scenes.shot import exposed, lighting
from expnet_tf.data.synth import scenery
from expnet_tf.image import read_image
from expnet_tf.models import ASSETS
from expnet_tf.render import over, render

RATE = 30.0
GREY = 90


@cache
def portrait() -> np.ndarray:
    return read_image(ASSETS / "astronaut.jpg")


def photo(
    dx: float = 0, dy: float = 0, zoom: float = 1, turn: float = 0, size: tuple[int, int] = (480, 640)
) -> np.ndarray:
    """The sample photo, its face (about 95x120 px) in the middle and then moved: uint8 RGB."""
    height, width = size
    warp = cv2.getRotationMatrix2D((226, 114), turn, zoom)
    warp[:, 2] += [width / 2 - 226 + dx, height / 2 - 114 + dy]
    return cv2.warpAffine(portrait(), warp, (width, height), flags=cv2.INTER_LINEAR, borderValue=(GREY,) * 3)


def empty(size: tuple[int, int] = (480, 640)) -> np.ndarray:
    return np.full((*size, 3), GREY, np.uint8)


def pasted(places: Sequence[tuple[float, float]], size: tuple[int, int] = (480, 640)) -> np.ndarray:
    """Heads of the sample photo with their left upper corners at (x, y), on grey; every second one mirrored."""
    image = empty(size)
    head = portrait()[20:190, 140:312]
    for number, (x, y) in enumerate(places):
        part = head[:, ::-1] if number % 2 else head
        left, top = round(x), round(y)
        image[top : top + head.shape[0], left : left + head.shape[1]] = part
    return image


def smiling(smile: Sequence[float], seed: int = 1, size: tuple[int, int] = (240, 320)) -> list[np.ndarray]:
    """A rendered person who smiles as told (0..1), its head turning slowly: uint8 RGB frames."""
    stage, rng = scenery(None), np.random.default_rng(seed)
    model = stage.model
    person = stage.person(rng)
    light = exposed(lighting(rng), person.albedo, rng)
    behind = surroundings.background(rng, max(size))[: size[0], : size[1]]
    names = list(model.blendshape_names)
    focal, place = 1.25 * max(size), np.array([0, 0, -670.0])
    frames = []
    for i, weight in enumerate(smile):
        weights = np.zeros(len(names))
        weights[[names.index("mouthSmileLeft"), names.index("mouthSmileRight")]] = weight
        vertices = stage.vertices(person, weights @ model.blendshapes_to_expression, np.zeros(8))
        turn = rotation_matrix([0, 0.2 * np.sin(i / 9), 0])
        surfaces = stage.surfaces(person, vertices, weights, turn, place, light, focal / 670)
        drawn = render(surfaces, focal, (size[1] / 2, size[0] / 2), size, light)
        frames.append(over(drawn, behind))
    return frames


def write(path: Path, frames: Iterable[np.ndarray], rate: float = RATE) -> Path:
    """An MP4 as OpenCV writes it (MPEG-4 Part 2); the moov box is its last."""
    writer = None
    for frame in frames:
        size = frame.shape[1], frame.shape[0]
        writer = writer or cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    assert writer is not None
    writer.release()
    return path


def turned(path: Path, film: Path) -> Path:
    """The film as a phone held upright writes it: the same frames, and "turn by 90 degrees" in the track's matrix."""
    data = bytearray(film.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def paced(path: Path, film: Path, steps: Sequence[int]) -> Path:
    """The film with frames that last `steps` ticks of the track's clock each, in place of all the same."""
    data = film.read_bytes()
    entries = struct.pack(">II", 0, len(steps)) + b"".join(struct.pack(">II", 1, step) for step in steps)

    def rebuilt(body: bytes, inside: Sequence[bytes]) -> bytes:
        made, at = b"", 0
        while at < len(body):
            size, kind = struct.unpack(">I4s", body[at : at + 8])
            content = body[at + 8 : at + size]
            at += size
            if kind == b"edts":  # says how long the film is, and would cut the longer one
                continue
            if kind == inside[0]:
                content = rebuilt(content, inside[1:]) if inside[1:] else entries
            made += struct.pack(">I4s", len(content) + 8, kind) + content
        return made

    path.write_bytes(rebuilt(data, (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts")))
    return path


def damaged(path: Path, film: Path, packets: Iterable[int]) -> Path:
    """The film with these coded frames full of zeros."""
    capture = cv2.VideoCapture(str(film), cv2.CAP_FFMPEG)
    capture.set(cv2.CAP_PROP_FORMAT, -1)
    coded = []
    while capture.grab():
        coded.append(capture.retrieve()[1].tobytes())
    capture.release()
    data = bytearray(film.read_bytes())
    for number in packets:
        at = data.index(coded[number][-100:]) + 100 - len(coded[number])
        data[at : at + len(coded[number])] = bytes(len(coded[number]))
    path.write_bytes(data)
    return path
