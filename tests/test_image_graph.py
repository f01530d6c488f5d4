"""image_graph.py: the pixels of image.py, bit for bit, and a flag where that raises."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from expnet_tf import image as images
from expnet_tf import image_graph
from expnet_tf.image import ImageError

PHOTO = Path(images.__file__).parent / "assets" / "astronaut.jpg"
SIZE = 32


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return images.read_image(PHOTO)


@pytest.fixture(scope="module")
def small(photo: np.ndarray) -> np.ndarray:
    """Odd sides: the last blocks of a JPEG of it are not full."""
    return np.ascontiguousarray(photo[40:157, 150:301])


@pytest.fixture(scope="module")
def decode() -> Callable[[bytes], tuple[np.ndarray, bool]]:
    function = tf.function(image_graph.decode_image, input_signature=[tf.TensorSpec([], tf.string)])

    def run(data: bytes) -> tuple[np.ndarray, bool]:
        image, valid = function(tf.constant(data))
        return image.numpy(), bool(valid.numpy())

    return run


@pytest.fixture(scope="module")
def crop() -> Callable[..., tuple[np.ndarray, bool]]:
    types = [tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([4], tf.float32), tf.TensorSpec([], tf.float64)]
    function = tf.function(lambda image, box, factor: image_graph.crop(image, box, SIZE, factor), input_signature=types)

    def run(image: np.ndarray, box: tuple[float, ...], factor: float) -> tuple[np.ndarray, bool]:
        result, valid = function(tf.constant(image), tf.constant(box, tf.float32), tf.constant(factor, tf.float64))
        return result.numpy(), bool(valid.numpy())

    return run


def encode(picture: np.ndarray | Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def tiff_block(orientation: int, order: str = ">", kind: int = 3, tag: int = 0x0112) -> bytes:
    start = b"MM\0\x2a" if order == ">" else b"II\x2a\0"
    other = struct.pack(f"{order}HHII", 0x010F, 2, 4, 0x61616100)
    entry = struct.pack(f"{order}HHIHH", tag, kind, 1, orientation, 0)
    return start + struct.pack(f"{order}IH", 8, 2) + other + entry + b"\0\0\0\0"


def with_segment(jpeg: bytes, body: bytes, before: bytes = b"") -> bytes:
    """The JPEG with an APP1 segment behind its first marker, and `before` in front of that."""
    return jpeg[:2] + before + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def test_the_photo(decode, photo: np.ndarray) -> None:
    result, valid = decode(PHOTO.read_bytes())
    assert valid
    np.testing.assert_array_equal(result, photo)


JPEG = {
    "4:4:4": {"subsampling": 0, "quality": 95},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "4:1:1": {"subsampling": "4:1:1"},
    "coarse": {"quality": 10},
    "fine": {"quality": 100},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 3},
    "stored as RGB": {"keep_rgb": True},
}


@pytest.mark.parametrize("options", JPEG.values(), ids=JPEG)
def test_jpeg(decode, small: np.ndarray, options: dict) -> None:
    data = encode(small, "JPEG", **options)
    result, valid = decode(data)
    assert valid
    np.testing.assert_array_equal(result, images.decode_image(data))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_modes(decode, small: np.ndarray, mode: str) -> None:
    data = encode(Image.fromarray(small).convert(mode), "JPEG")
    np.testing.assert_array_equal(decode(data)[0], images.decode_image(data))


def pngs(small: np.ndarray) -> dict[str, bytes]:
    picture = Image.fromarray(small)
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30, 4), dtype=np.uint16)
    return {
        **{mode: encode(picture.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")},
        "palette of 9": encode(picture.quantize(9), "PNG", bits=4),
        "transparent palette": encode(picture.convert("P"), "PNG", transparency=bytes(range(200))),
        "transparent colour": encode(small, "PNG", transparency=(1, 2, 3)),
        "16-bit grey": encode(deep[..., 0], "PNG"),
        "16-bit RGB": cv2.imencode(".png", deep[..., :3])[1].tobytes(),
        "16-bit RGBA": cv2.imencode(".png", deep)[1].tobytes(),
        "animated": encode(small, "PNG", save_all=True, append_images=[Image.fromarray(255 - small)]),
    }


def test_png(decode, small: np.ndarray) -> None:
    for name, data in pngs(small).items():
        result, valid = decode(data)
        assert valid, name
        np.testing.assert_array_equal(result, images.decode_image(data), err_msg=name)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_orientation(decode, small: np.ndarray, file_format: str) -> None:
    seen = set()
    for orientation in range(10):  # 0 and 9 do not exist, and are ignored
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encode(small, file_format, exif=exif)
        result, valid = decode(data)
        assert valid
        np.testing.assert_array_equal(result, images.decode_image(data), err_msg=str(orientation))
        seen.add(result.tobytes())
    assert len(seen) == 8


def odd_exif(small: np.ndarray) -> dict[str, tuple[bytes, bool]]:
    """Files, and whether they are to be turned."""
    jpeg, png = encode(small, "JPEG"), encode(small, "PNG")
    block = tiff_block(6)
    marked = b"Exif\0\0" + block
    far = block[:4] + b"\xff\xff\xff\x7f" + block[8:]
    return {
        "little endian": (with_segment(jpeg, b"Exif\0\0" + tiff_block(6, "<")), True),
        "big endian": (with_segment(jpeg, marked), True),
        "behind another segment": (with_segment(jpeg, marked, b"\xff\xe2\0\5abc"), True),
        "padded marker": (with_segment(jpeg, marked, b"\xff\xff\xff"), True),
        "behind the pixels of a PNG": (png[:-12] + chunk(b"eXIf", block) + png[-12:], True),
        "cut off behind the entry": (with_segment(jpeg, marked[:-4]), True),
        "cut off inside the entry": (with_segment(jpeg, marked[:-8]), False),
        "directory far away": (with_segment(jpeg, b"Exif\0\0" + far), False),
        "no TIFF": (with_segment(jpeg, b"Exif\0\0hello"), False),
        "empty": (with_segment(jpeg, b"Exif\0\0"), False),
        "another tag": (with_segment(jpeg, b"Exif\0\0" + tiff_block(6, tag=0x0113)), False),
        "another APP1": (with_segment(jpeg, b"http://ns" + block), False),
    }


def test_odd_exif(decode, small: np.ndarray) -> None:
    height, width = small.shape[:2]
    for name, (data, turned) in odd_exif(small).items():
        result, valid = decode(data)
        assert valid, name
        assert result.shape[:2] == ((width, height) if turned else (height, width)), name
        np.testing.assert_array_equal(result, images.decode_image(data), err_msg=name)


def test_refused(decode, small: np.ndarray) -> None:
    jpeg, png = encode(small, "JPEG"), encode(small, "PNG")
    header = struct.pack(">IIBBBBB", 10_000, 5_001, 8, 2, 0, 0, 0)
    large_png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100))
    frame = jpeg.index(b"\xff\xc0") + 5
    large_jpeg = jpeg[:frame] + struct.pack(">HH", 10_000, 5_001) + jpeg[frame + 4 :]
    cases = {
        "empty": b"",
        "text": b"hello, this is no image",
        "JPEG marker only": b"\xff\xd8\xff",
        "PNG marker only": b"\x89PNG\r\n\x1a\n",
        "large PNG": large_png + chunk(b"IEND", b""),
        "large JPEG": large_jpeg,
        "too many bytes": jpeg + bytes(images.MAX_BYTES),
        **{f"JPEG cut at {part}": jpeg[: int(part * len(jpeg))] for part in (0.1, 0.5, 0.9)},
        **{f"PNG cut at {part}": png[: int(part * len(png))] for part in (0.1, 0.5, 0.9)},
    }
    for name, data in cases.items():
        with pytest.raises(ImageError):
            images.decode_image(data)
        result, valid = decode(data)
        assert (valid, result.shape) == (False, (0, 0, 3)), name


def test_other_formats_are_not_valid(decode, small: np.ndarray) -> None:
    for file_format in ("GIF", "BMP", "WEBP", "TIFF"):
        result, valid = decode(encode(small, file_format))
        assert (valid, result.shape) == (False, (0, 0, 3)), file_format


def test_random_damage(decode, small: np.ndarray) -> None:
    """Whole or broken, both read the same."""
    rng = np.random.default_rng(0)
    refused = 0
    for data in (encode(small, "JPEG"), encode(small, "JPEG", progressive=True), encode(small, "PNG")):
        for number in range(40):
            damaged = bytearray(data)
            for place in rng.integers(2, len(data) if number % 2 else 700, 4):
                damaged[place] = rng.integers(0, 256)
            result, valid = decode(bytes(damaged))
            try:
                expected = images.decode_image(bytes(damaged))
            except ImageError:
                assert not valid
                refused += 1
            else:
                np.testing.assert_array_equal(result, expected)
    assert 40 < refused < 110  # some JPEGs stay whole


BOXES = [
    ((20, 30, 60, 80), 1.5),  # inside, shrinks
    ((20.3, 30.7, 11.5, 20.2), 1.25),  # inside, grows
    ((20, 30, 16, 20), 1.6),  # no resize at all
    ((20, 30, 32, 20), 2.0),  # halved, which OpenCV rounds in a way of its own
    ((20, 30, 64, 60), 1.5),  # a third
    ((-30, -20, 60, 80), 1.5),  # beyond the top left corner
    ((450, 470, 60, 80), 1.3),  # beyond the bottom right corner
    ((-50, -50, 700, 660), 1.3),  # larger than the photo
    ((0, 0, 200, 4), 1.0),  # flat
    ((7.4, 3.4, 0.2, 0.2), 1.0),  # less than a px
    ((502, -300, 20, 302), 0.05),  # box on the photo, square beside it
    ((-300, 502, 302, 20), 0.05),
]


@pytest.mark.parametrize(("box", "factor"), BOXES)
def test_crop(crop, photo: np.ndarray, box: tuple[float, ...], factor: float) -> None:
    result, valid = crop(photo, box, factor)
    assert valid
    np.testing.assert_array_equal(result, images.crop(photo, np.float32(box), SIZE, factor))


def test_crop_at_many_sides(crop, photo: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for side in range(3, 500, 7):
        x, y = rng.uniform(0, 500 - side / 2, 2)
        box = (float(x), float(y), float(side), float(side) * 0.8)
        expected = images.crop(photo, np.float32(box), SIZE, 1.25)
        np.testing.assert_array_equal(crop(photo, box, 1.25)[0], expected, err_msg=str(side))


@pytest.mark.parametrize(
    "box",
    [
        (1, 2, 3, float("nan")),
        (1, 2, float("inf"), 3),
        (float("-inf"), 2, 3, 3),
        (1, 2, 0, 4),
        (1, 2, 3, -4),
        (512, 0, 10, 10),
        (-10, 0, 10, 10),
        (-1e9, -1e9, 2e9, 2e9),
        (-1e38, -1e38, 3e38, 3e38),
    ],
)
def test_bad_boxes(crop, photo: np.ndarray, box: tuple[float, ...]) -> None:
    with pytest.raises(ImageError):
        images.crop(photo, np.float32(box), SIZE, 1.5)
    result, valid = crop(photo, box, 1.5)
    assert not valid
    assert not result.any()


def test_no_photo_gives_no_crop(crop) -> None:
    result, valid = crop(np.zeros((0, 0, 3), np.uint8), (0, 0, 10, 10), 1.5)
    assert not valid
    assert result.shape == (SIZE, SIZE, 3)
