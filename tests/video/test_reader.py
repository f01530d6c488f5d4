"""Frames and their times; and what cannot be read says so in one sentence."""

import struct
import wave
from pathlib import Path

import cv2
import films
import numpy as np
import pytest

from expnet_tf.video.reader import Camera, Dropped, Frame, VideoError, VideoFile

SMALL = (120, 160)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames, each brighter than the one before."""
    frames = [np.full((*SMALL, 3), 20 + 5 * i, np.uint8) for i in range(40)]
    for frame in frames:
        frame[:30, :30] = (250, 20, 20)  # red, at the upper left
    return films.write(tmp_path_factory.mktemp("film") / "film.mp4", frames, rate=25)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def test_frames_in_order(film: Path) -> None:
    video = VideoFile(film)
    facts = video.facts
    assert (facts.width, facts.height, facts.rate, facts.frames, facts.rotation) == (160, 120, 25, 40, 0)
    frames = list(video.frames())
    assert [one.index for one in frames] == list(range(40))
    np.testing.assert_allclose([one.time for one in frames], np.arange(40) / 25, atol=1e-6)
    brightness = [one.image[60:, 60:].mean() for one in frames]
    assert (np.diff(brightness) > 2).all()
    red, green, _ = frames[0].image[15, 15]
    assert red > 200 > 60 > green  # RGB, not BGR


def test_going_on_gives_the_same_frames(film: Path) -> None:
    whole, rest = list(VideoFile(film).frames()), list(VideoFile(film).frames(start=25))
    assert [one.index for one in rest] == list(range(25, 40))
    for one, other in zip(whole[25:], rest, strict=True):
        assert one.time == other.time
        np.testing.assert_array_equal(one.image, other.image)


def test_varying_frame_rate_keeps_the_true_times(tmp_path: Path, film: Path) -> None:
    tick = 512  # of 12,800 a second: what FFmpeg's MP4 writer takes for 25 frames/s
    steps = [tick if i % 3 else 4 * tick for i in range(40)]
    video = VideoFile(films.paced(tmp_path / "paced.mp4", film, steps))
    times = [one.time for one in video.frames()]
    np.testing.assert_allclose(times, np.cumsum([0, *steps[:-1]]) / (25 * tick), atol=1e-4)
    assert video.facts.rate == pytest.approx(40 * 25 * tick / sum(steps), rel=0.02)


def test_a_phone_held_upright(tmp_path: Path, film: Path) -> None:
    video = VideoFile(films.turned(tmp_path / "turned.mp4", film))
    assert (video.facts.width, video.facts.height) == (120, 160)
    assert video.facts.rotation in (90, 270)
    first = next(iter(video.frames()))
    assert first.image.shape == (160, 120, 3)
    red = (first.image[..., 0] > 180) & (first.image[..., 1] < 90)
    rows, columns = np.nonzero(red)
    assert (rows.mean(), columns.mean()) == pytest.approx((15, 105), abs=3)  # clockwise: now at the upper right


def test_damaged_frames_are_told_and_the_rest_is_read(tmp_path: Path) -> None:
    film = films.write(tmp_path / "photo.mp4", [films.photo(dx=2 * i, size=(240, 320)) for i in range(30)])
    items = list(VideoFile(films.damaged(tmp_path / "damaged.mp4", film, (5, 6, 20))).frames())
    gaps = [one for one in items if isinstance(one, Dropped)]
    assert [(one.index, one.count, one.reason) for one in gaps] == [
        (5, 2, "could not be decoded"), (20, 1, "could not be decoded"),
    ]  # fmt: skip
    frames = [one for one in items if isinstance(one, Frame)]
    assert [one.index for one in frames] == [i for i in range(30) if i not in (5, 6, 20)]
    np.testing.assert_allclose([one.time for one in frames], [one.index / 30 for one in frames], atol=1e-4)


def test_a_film_that_was_cut_off_behind_its_index(tmp_path: Path, film: Path) -> None:
    data = film.read_bytes()
    index = data.index(b"moov") - 4
    media = data.index(b"mdat") - 4
    assert index > media
    # The index in front, as for streaming: places of frames move by its length.
    moov = bytearray(data[index:])
    at = moov.index(b"stco") + 8
    (count,) = struct.unpack_from(">I", moov, at)
    for i in range(count):
        (place,) = struct.unpack_from(">I", moov, at + 4 + 4 * i)
        struct.pack_into(">I", moov, at + 4 + 4 * i, place + len(moov))
    whole = data[:media] + bytes(moov) + data[media:index]
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole)
    assert sum(isinstance(one, Frame) for one in VideoFile(cut).frames()) == 40
    cut.write_bytes(whole[: len(moov) + media + (index - media) // 2])
    items = list(VideoFile(cut).frames())
    frames = sum(isinstance(one, Frame) for one in items)
    assert 5 < frames < 35
    assert items[-1] == Dropped(frames, 40 - frames, "not in the file, which says it has 40")


def sound(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))


def sound_in_mp4(path: Path) -> None:
    handler = box(b"hdlr", bytes(8) + b"soun" + bytes(12) + b"sound\0")
    path.write_bytes(
        box(b"ftyp", b"isom\0\0\2\0isom") + box(b"moov", box(b"trak", box(b"mdia", handler))) + box(b"mdat", bytes(64))
    )


def without_frames(path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 25, (160, 120))
    writer.release()


@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        ("nowhere.mp4", lambda path: None, "does not exist; a video"),
        ("folder.mp4", Path.mkdir, "is a folder; a video"),
        ("empty.mp4", Path.touch, "is empty (0 bytes)"),
        ("text.mp4", lambda path: path.write_text("hello, world"), "holds no video that can be decoded (its first"),
        ("sound.wav", sound, "holds sound only"),
        ("sound.mp4", sound_in_mp4, "holds sound only"),
        ("short.mp4", without_frames, "holds no video track"),
        ("bare.mp4", lambda path: path.write_bytes(box(b"ftyp", b"isom\0\0\2\0isom")), "its index (the moov box"),
    ],
)
def test_what_is_no_video(tmp_path: Path, capfd: pytest.CaptureFixture, name: str, make, sentence: str) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises(VideoError) as caught:
        VideoFile(path)
    assert str(caught.value).startswith(str(path))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""  # one sentence, and not FFmpeg's


def test_a_truncated_film(tmp_path: Path, film: Path) -> None:
    path = tmp_path / "truncated.mp4"
    data = film.read_bytes()
    path.write_bytes(data[: data.index(b"moov") + 40])
    with pytest.raises(VideoError, match=r"truncated\.mp4 is cut off: its index \(the moov box"):
        VideoFile(path)


def test_times_grow_where_the_file_has_none(tmp_path: Path, film: Path) -> None:
    video = VideoFile(films.paced(tmp_path / "still.mp4", film, [0] * 40))
    times = [one.time for one in video.frames()]
    assert len(times) == 40
    assert (np.diff(times) > 0).all()


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(VideoError, match="camera 97 is not there, in use, or gives no picture"):
        Camera(97)


def test_a_camera_that_is_unplugged(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the camera's place: after its last frame it gives no more."""
    capture = cv2.VideoCapture(str(film))
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: capture)
    camera = Camera(0, seconds=100)
    items = list(camera.frames())
    camera.close()
    assert [one.index for one in items if isinstance(one, Frame)] == list(range(39))  # one was taken to look at
    assert {one.reason for one in items if isinstance(one, Dropped)} == {"the camera gave no picture"}
    assert len(items) == 39 + 10
