"""Landmarks of other programs: their formats, their pixel conventions, and damaged files."""

import csv

import numpy as np
import pytest

from expnet_tf.data.labelling.landmark_files import (
    BROKEN,
    MISSING,
    REFUSED,
    NoLandmarks,
    NpzLandmarks,
    OpenFaceLandmarks,
    PtsLandmarks,
)
from expnet_tf.data.labelling.tables import TableError

POINTS = np.random.default_rng(0).uniform(10, 200, (68, 2)).round(2)


def pts(points=POINTS, count=68, start="version: 1"):
    lines = "".join(f"{x:.2f} {y:.2f}\n" for x, y in points)
    return f"{start}\nn_points:  {count}\n{{\n{lines}}}\n"


def openface(path, rows, separator=", ", before=()):
    """A file as OpenFace writes it: older versions put a space after each comma of the header and of the rows."""
    names = [*before, "face", "confidence", "success", "gaze_0_x"]
    names += [f"x_{k}" for k in range(68)] + [f"y_{k}" for k in range(68)]
    lines = [separator.join(names)]
    for front, confidence, success, points in rows:
        values = [*front, 0, confidence, success, 0.1, *points[:, 0], *points[:, 1]]
        lines.append(separator.join(map(str, values)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_pts_counts_pixels_from_one(tmp_path):
    (tmp_path / "045").mkdir()
    (tmp_path / "045/001.pts").write_text(pts())
    points, confidence = PtsLandmarks(tmp_path).find("045/001.jpg")
    np.testing.assert_allclose(points, POINTS - 0.5)  # the first pixel's centre: 1 there, 0.5 here
    assert confidence is None


@pytest.mark.parametrize("text", [
    "", "version: 1\nn_points: 68\n{\n", pts(POINTS[:67]), pts(count=5), pts(start="version: 2"),
    pts().replace("}", "x }"), pts() + "more",
])  # fmt: skip
def test_damaged_pts(tmp_path, text):
    (tmp_path / "1.pts").write_text(text)
    with pytest.raises(NoLandmarks, match=f"^{BROKEN}$") as error:
        PtsLandmarks(tmp_path).find("1.jpg")
    assert "1.pts" in error.value.detail


def test_no_pts(tmp_path):
    with pytest.raises(NoLandmarks, match=f"^{MISSING}$"):
        PtsLandmarks(tmp_path).find("1.jpg")
    with pytest.raises(TableError, match=r"is no folder; one with a \.pts file an image is expected"):
        PtsLandmarks(tmp_path / "none")


@pytest.mark.parametrize("separator", [", ", ","])
def test_openface_a_file_an_image(tmp_path, separator):
    rows = [((), 0.3, 1, POINTS + 50), ((), 0.9, 1, POINTS), ((), 0.99, 0, POINTS + 70)]
    openface(tmp_path / "045/001.csv", rows, separator)
    points, confidence = OpenFaceLandmarks(tmp_path).find("045/001.jpg")
    np.testing.assert_allclose(points, POINTS + 0.5)  # the surest of the faces that were a success
    assert confidence == 0.9


def test_openface_one_file_with_keys(tmp_path):
    rows = [(("045/001.jpg",), 0.8, 1, POINTS), (("045/002",), 0.1, 0, POINTS), (("045/001.jpg",), 0.2, 1, POINTS + 9)]
    found = OpenFaceLandmarks(openface(tmp_path / "all.csv", rows, before=("key",)))
    points, confidence = found.find("045/001.jpg")
    np.testing.assert_allclose(points, POINTS + 0.5)
    assert confidence == 0.8
    with pytest.raises(NoLandmarks, match=f"^{REFUSED}$"):
        found.find("045/002.jpg")
    with pytest.raises(NoLandmarks, match=f"^{MISSING}$"):
        found.find("045/003.jpg")


def test_openface_video_frames_name_no_image(tmp_path):
    path = openface(tmp_path / "video.csv", [((1,), 1.0, 1, POINTS)], before=("frame",))
    with pytest.raises(TableError, match=r"video\.csv: no column says which image a row is of"):
        OpenFaceLandmarks(path)


def test_damaged_openface(tmp_path):
    path = openface(tmp_path / "1.csv", [((), 1.0, 1, POINTS)])
    found = OpenFaceLandmarks(tmp_path)
    whole = path.read_text()
    for text in (whole[:-200], whole.replace("x_5", "x5"), whole.replace(", 1.0,", ", what,", 1), ""):
        path.write_text(text)
        with pytest.raises(NoLandmarks, match=f"^{BROKEN}$"):
            found.find("1.jpg")
    path.write_text(whole.splitlines()[0])  # no face was found
    with pytest.raises(NoLandmarks, match=f"^{REFUSED}$"):
        found.find("1.jpg")
    with pytest.raises(TableError, match="does not exist; a CSV file of OpenFace or a folder of them is expected"):
        OpenFaceLandmarks(tmp_path / "none")


def test_openface_is_read_as_csv_is(tmp_path):
    """Quoted names, as another program may write them."""
    path = tmp_path / "q.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["image", *(f"{axis}_{k}" for axis in "xy" for k in range(68))])
        writer.writerow(["a, b.jpg", *POINTS.T.ravel()])
    points, confidence = OpenFaceLandmarks(path).find("a, b.jpg")
    np.testing.assert_allclose(points, POINTS + 0.5)
    assert confidence == 1.0  # neither column is there


def test_npz(tmp_path):
    np.savez(tmp_path / "p.npz", key=np.array(["a.jpg"]), points=POINTS[None], confidence=np.array([0.7]))
    found = NpzLandmarks(tmp_path / "p.npz")
    points, confidence = found.find("a.jpg")
    np.testing.assert_allclose(points, POINTS)
    assert confidence == 0.7
    assert found.has_confidence
    with pytest.raises(NoLandmarks, match=f"^{MISSING}$"):
        found.find("b.jpg")
    assert set(found.describe()) == {"kind", "file", "sha256"}
