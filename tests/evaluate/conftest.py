"""Small data sets in the layouts of CK+ and AFEW, drawn, not photographed; a toy method and a toy detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from expnet_tf.detect import Detection
from expnet_tf.evaluate.methods import EXPRESSION, expression_blendshapes

CLASSES = ("anger", "happy")


@pytest.fixture(scope="session")
def draw() -> Callable[..., np.ndarray]:
    """Makes a picture whose brightness says which class, noise which picture: uint8 RGB [48, 64, 3]."""

    def make(seed: int, level: int = 100) -> np.ndarray:
        noise = np.random.default_rng(seed).integers(0, 30, (6, 8, 3)).astype(np.uint8)
        return cv2.resize(noise + np.uint8(level), (64, 48), interpolation=cv2.INTER_NEAREST)

    return make


@pytest.fixture(scope="session")
def save() -> Callable[[Path, np.ndarray], Path]:
    def write(path: Path, image: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image[..., ::-1])
        return path

    return write


@pytest.fixture
def ck(tmp_path: Path, draw: Callable, save: Callable) -> Path:
    """CK+: seven people, each angry and happy, three frames a sequence; 593 - 327 of its kind have no label."""
    root = tmp_path / "CK+"
    for person in range(7):
        for sequence, code in ((1, 1), (2, 5), (3, None)):
            name = f"S{person:03d}", f"{sequence:03d}"
            for frame in (1, 2, 3):
                file = f"{name[0]}_{name[1]}_{frame:08d}.png"
                level = 100 + 10 * frame * ((code or 0) - 3)
                save(root.joinpath("cohn-kanade-images", *name, file), draw(100 * person + 10 * sequence, level))
            folder = root.joinpath("Emotion", *name)
            folder.mkdir(parents=True)
            if code:
                (folder / f"{name[0]}_{name[1]}_00000003_emotion.txt").write_text(f"   {code:.7e}\n")
    (root / "Emotion" / "S006" / "004").mkdir()
    (root / "cohn-kanade-images" / ".DS_Store").write_bytes(b"\0")
    return root


@pytest.fixture
def afew(tmp_path: Path, draw: Callable, save: Callable) -> Path:
    """AFEW: Train and Val, three classes, clips as folders of two frames; aligned faces beside the classes."""
    root = tmp_path / "AFEW"
    for split in ("Train", "Val"):
        for number, label in enumerate(("Angry", "Happy", "Sad")):
            for clip in range(4):
                for frame in (1, 2):
                    picture = draw(1000 * len(split) + 100 * number + 10 * clip + frame, 60 * number + 20)
                    save(root / split / label / f"{clip:09d}" / f"{clip:09d}-{frame:03d}.png", picture)
        save(root / split / "AlignedFaces" / "000000001" / "1.png", draw(1))
    return root


class Brightness:
    """A method whose code is the mean colour within the box; it abstains on boxes below 4 px."""

    name, id, space, blendshapes = "brightness", "brightness:1", "mean colour", None

    def __init__(self) -> None:
        self.coded = 0

    def codes(self, images: Sequence[np.ndarray], boxes: Sequence[Sequence[float]]) -> np.ndarray:
        self.coded += len(images)
        rows = []
        for image, box in zip(images, boxes, strict=True):
            x, y, w, h = (round(value) for value in box)
            face = image[max(y, 0) : y + h, max(x, 0) : x + w]
            rows.append(np.full(3, np.nan) if min(box[2:]) < 4 else face.reshape(-1, 3).mean(0))
        return np.array(rows, np.float64)


class Expressive(Brightness):
    """The same as codes of the open face model: 29 numbers."""

    name, id, space = "expressive", "expressive:1", EXPRESSION
    blendshapes = staticmethod(expression_blendshapes)

    def codes(self, images: Sequence[np.ndarray], boxes: Sequence[Sequence[float]]) -> np.ndarray:
        return super().codes(images, boxes).repeat(10, axis=1)[:, :29] / 255


class Middle:
    """Finds a face in the middle half of pictures of 20 px or more."""

    def __init__(self) -> None:
        self.searched = 0

    def detect(self, image: np.ndarray) -> list[Detection]:
        self.searched += 1
        height, width = image.shape[:2]
        if width < 20:
            return []
        return [Detection((width / 4, height / 4, width / 2, height / 2), 0.9), Detection((0, 0, 5, 5), 0.8)]


@pytest.fixture
def brightness() -> Brightness:
    return Brightness()


@pytest.fixture
def expressive() -> Expressive:
    return Expressive()


@pytest.fixture
def middle() -> Middle:
    return Middle()
