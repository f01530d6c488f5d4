"""image.py: photos decode to known pixels, broken files give one sentence, crops equal brute force."""

import contextlib
import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from expnet_tf import image as images
from expnet_tf.image import ImageError, crop, crop_square, decode_image, read_image

PHOTO = Path(images.__file__).parent / "assets" / "astronaut.jpg"
PATCHES = np.array([[[250, 5, 5], [5, 250, 5]], [[5, 5, 250], [128, 128, 128]]], np.uint8)


def blocks(height: int = 48, width: int = 64) -> np.ndarray:
    """Red, green / blue, grey: every turn and mirroring of it is another picture."""
    return cv2.resize(PATCHES, (width, height), interpolation=cv2.INTER_NEAREST)


def encode(picture: Image.Image | np.ndarray, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_header_only(width: int, height: int) -> bytes:
    """A PNG that claims a size and brings no pixels worth mentioning."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


# ------------------------------------------------------------------------------------------------- decode


def test_photo_equals_opencv() -> None:
    expected = cv2.imread(str(PHOTO), cv2.IMREAD_COLOR)[..., ::-1]
    result = read_image(PHOTO)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_return_the_pixels(file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    np.testing.assert_array_equal(decode_image(encode(blocks(), file_format, **options)), blocks())


def test_gif_gives_its_first_frame() -> None:
    first, second = (Image.fromarray(picture) for picture in (blocks(), 255 - blocks()))
    data = encode(first, "GIF", save_all=True, append_images=[second])
    assert np.abs(decode_image(data).astype(int) - blocks()).max() <= 6


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(file_format: str, orientation: int) -> None:
    upright = blocks()
    stored = {  # how a camera held that way stores the upright picture
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if file_format == "JPEG" else {}
    result = decode_image(encode(np.ascontiguousarray(stored), file_format, exif=exif, **options))
    assert result.shape == upright.shape
    assert np.abs(result.astype(int) - upright).max() <= 6


def test_broken_exif_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker of the camera"
    data = bytearray(encode(blocks(), "JPEG", exif=exif))
    start = data.index(b"Exif\0\0") + 6
    data[start + 4 : start + 8] = b"\xff\xff\xff\x7f"  # the first directory lies far outside the file
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(bytes(data)).shape == (48, 64, 3)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk(file_format: str) -> None:
    # Pillow writes the inverted inks of Adobe into a CMYK JPEG, and plain ones into a TIFF.
    result = decode_image(encode(Image.fromarray(blocks()).convert("CMYK"), file_format))
    assert np.abs(result.astype(int) - blocks()).mean() < 4


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(file_format: str) -> None:
    grey = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
    result = decode_image(encode(grey, file_format))
    assert (result == result[..., :1]).all()
    assert np.abs(result[..., 0] - grey / 257).max() <= 1
    assert (result.min(), result.max()) == (0, 255)


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_png(channels: int) -> None:
    colour = np.random.default_rng(0).integers(0, 65536, (20, 30, channels), dtype=np.uint16)
    data = cv2.imencode(".png", colour)[1].tobytes()  # BGR(A) in, RGB(A) in the file
    np.testing.assert_array_equal(decode_image(data), colour[..., 2::-1] >> 8)


def test_alpha_is_dropped_and_not_blended() -> None:
    alpha = np.random.default_rng(0).integers(0, 256, (48, 64, 1), dtype=np.uint8)
    np.testing.assert_array_equal(decode_image(encode(np.dstack([blocks(), alpha]), "PNG")), blocks())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_grey_and_palette(mode: str) -> None:
    picture = Image.fromarray(blocks()).convert(mode)
    expected = np.asarray(picture.convert("RGB"))
    options = {"transparency": bytes(range(200))} if mode == "P" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decode_image(encode(picture, "PNG", **options)), expected)


def test_one_pixel() -> None:
    assert decode_image(encode(blocks()[:1, :1], "PNG")).tolist() == [[[250, 5, 5]]]


@pytest.mark.slow
def test_equals_the_graph_decoders() -> None:
    tensorflow = pytest.importorskip("tensorflow")
    jpeg = PHOTO.read_bytes()
    graph = tensorflow.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    np.testing.assert_array_equal(decode_image(jpeg), graph)
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30), dtype=np.uint16)
    transparent = np.dstack([blocks(), blocks()[..., 0]])
    for picture in (blocks(), transparent, deep, Image.fromarray(blocks()).quantize(4)):
        data = encode(picture, "PNG")
        graph = tensorflow.io.decode_png(data, channels=3).numpy()
        np.testing.assert_array_equal(decode_image(data), graph)


# ------------------------------------------------------------------------------------------------- bad files


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(file_format: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    data = encode(noise, file_format)
    with pytest.raises(ImageError, match=r"^cut\.x is ") as error:
        decode_image(data[: int(part * len(data))], "cut.x")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"f\.jpg is empty \(0 bytes\)"),
        (b"hello, this is no image", r"f\.jpg is not a JPEG, PNG.*first bytes are b'hello, t'"),
        (b"\xff\xd8\xff", r"f\.jpg is "),
        (png_header_only(20_000, 20_000), r"f\.jpg has 400,000,000 px; at most 50,000,000 px"),
        (png_header_only(10_000, 5_001), r"f\.jpg has 10000x5001 px; at most 50,000,000 px"),
        (png_header_only(100, 100), r"f\.jpg is a truncated or damaged image"),
        (encode(np.zeros((4, 4), np.float32), "TIFF"), r"f\.jpg has pixels of mode F; 8 or 16 bits"),
        (encode(blocks(), "PPM"), r"f\.jpg is not a JPEG, PNG"),
    ],
)
def test_bad_bytes_give_one_sentence(data: bytes, message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing leaks, least of all Pillow's decompression bomb warning
        with pytest.raises(ImageError, match=message) as error:
            decode_image(data, "f.jpg")
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")


def test_bad_paths_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match=r"nowhere\.jpg does not exist"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(str(tmp_path))
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for a writer for ever
    with pytest.raises(ImageError, match=r"pipe\.jpg is no plain file"):
        read_image(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path / ("x" * 300))
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(ImageError, match=r"text\.jpg is not a"):
        read_image(tmp_path / "text.jpg")
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    with pytest.raises(ImageError, match=r"text\.jpg has 12 bytes; at most 10"):
        read_image(tmp_path / "text.jpg")
    with pytest.raises(ImageError, match=r"^image has 12 bytes"):
        decode_image(b"not an image")


def test_random_damage_is_an_image_error_or_an_image() -> None:
    rng = np.random.default_rng(0)
    for file_format in ("JPEG", "PNG", "WEBP", "BMP", "GIF"):
        data = encode(blocks(), file_format)
        for _ in range(40):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), 4):
                damaged[place] = rng.integers(0, 256)
            with contextlib.suppress(ImageError):
                assert decode_image(bytes(damaged)).dtype == np.uint8


# ------------------------------------------------------------------------------------------------- crop


def brute_force(image: np.ndarray, box: tuple[float, ...], size: int, factor: float) -> np.ndarray:
    """Pad the whole photo by more than any crop reaches, cut, resize."""
    x, y, w, h = box
    side = int(np.floor(factor * max(w, h) + 0.5))
    x0 = int(np.floor(x + w / 2 - side / 2 + 0.5))
    y0 = int(np.floor(y + h / 2 - side / 2 + 0.5))
    margin = 600
    big = np.pad(image, ((margin, margin), (margin, margin), (0, 0)))
    square = big[y0 + margin : y0 + margin + side, x0 + margin : x0 + margin + side]
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)


@pytest.mark.parametrize(
    ("box", "size", "factor"),
    [
        ((20, 30, 60, 80), 96, 1.5),  # inside, shrinks
        ((20.3, 30.7, 21.5, 40.2), 96, 1.25),  # inside, grows
        ((20, 30, 64, 64), 96, 1.5),  # no resize at all
        ((-30, -20, 60, 80), 96, 1.5),  # beyond the top left corner
        ((150, 110, 60, 80), 224, 1.25),  # beyond the bottom right corner
        ((-50, -50, 300, 260), 64, 1.5),  # larger than the photo
        ((0, 0, 200, 4), 96, 1.0),  # flat
        ((0, 0, 160, 2), 96, 0.1),  # the square lies inside a very flat box
        ((190, -300, 20, 302), 32, 0.05),  # box on the photo, square beside it
    ],
)
def test_crop_equals_brute_force(box: tuple[float, ...], size: int, factor: float) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    result = crop(photo, box, size, factor)
    assert result.shape == (size, size, 3)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, brute_force(photo, box, size, factor))


def test_a_box_of_less_than_a_px_gives_that_px() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    assert (crop(photo, (7.4, 3.4, 0.2, 0.2), 8, 1.0) == photo[3, 7]).all()


def test_crop_of_a_constant_photo_is_constant_inside_and_zero_outside() -> None:
    photo = np.full((100, 100, 3), 200, np.uint8)
    result = crop(photo, (-50, 0, 100, 100), 50, 1.0)  # the left half lies outside
    assert (result[:, :25] == 0).all()
    assert (result[:, 25:] == 200).all()


def test_crop_keeps_the_photo_and_takes_views() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    before = photo.copy()
    result = crop(photo, (10, 10, 20, 20), 20, 1.0)
    result[:] = 0
    np.testing.assert_array_equal(photo, before)
    mirrored = photo[:, ::-1, ::-1]
    expected = crop(np.ascontiguousarray(mirrored), (5, 5, 30, 30), 16, 1.2)
    np.testing.assert_array_equal(crop(mirrored, (5, 5, 30, 30), 16, 1.2), expected)


def test_crop_square_rounds_halves_up() -> None:
    assert crop_square((0, 0, 10, 10), 1.25) == (-1, -1, 13)  # 12.5 -> 13; 5 - 6.5 = -1.5 -> -1
    assert crop_square((1, 1, 10, 10), 1.25) == (0, 0, 13)
    assert crop_square((10, 20, 30, 40), 1.5) == (-5, 10, 60)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((1, 2, 3), "four finite numbers"),
        ((1, 2, 3, float("nan")), "four finite numbers"),
        ((1, 2, float("inf"), 3), "four finite numbers"),
        (("a", 2, 3, 4), "four finite numbers"),
        (None, "four finite numbers"),
        ((1, 2, 0, 4), "must be positive"),
        ((1, 2, 3, -4), "must be positive"),
        ((500, 0, 10, 10), "lies outside the 200x150 px photo"),
        ((-10, 0, 10, 10), "lies outside the 200x150 px photo"),
        ((-1e9, -1e9, 2e9, 2e9), "exceeds 12288 px"),
        ((-1e300, -1e300, 1.7e308, 1.7e308), "exceeds 12288 px"),
    ],
)
def test_bad_boxes(box: tuple[float, ...], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        crop(np.zeros((150, 200, 3), np.uint8), box, 96, 1.5)


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf")])
def test_bad_factor(factor: float) -> None:
    with pytest.raises(ImageError, match="crop factor"):
        crop_square((0, 0, 10, 10), factor)


@pytest.mark.parametrize(
    "photo",
    [
        np.zeros((10, 10, 3), np.float32),
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((0, 10, 3), np.uint8),
        [[1, 2, 3]],
    ],
)
def test_bad_photo(photo: object) -> None:
    with pytest.raises(ImageError, match=r"uint8 RGB"):
        crop(photo, (0, 0, 5, 5), 8, 1.0)
