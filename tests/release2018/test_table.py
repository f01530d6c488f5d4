"""The release's input.csv."""

from pathlib import Path

import pytest

from expnet_tf.inputs import Problem
from expnet_tf.release2018 import ReleaseError
from expnet_tf.release2018.table import Row, read_table

HEADER = "ID,FILE,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT"


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "input.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("header", [HEADER, HEADER.lower(), "\ufeffID, FILE, x, y, width, height"])
def test_rows(tmp_path: Path, header: str) -> None:
    path = write(tmp_path, "subject1_a,images/Angry_9_1.jpg,407.0318,140.5329,130.2308,208.3272", "", header=header)
    (row,) = read_table(path, Path("/photos"))
    assert row == Row("subject1_a", Path("/photos/images/Angry_9_1.jpg"), (407.0318, 140.5329, 130.2308, 208.3272))


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "9,8,1,2,a,b.jpg", header="FACE_HEIGHT,FACE_WIDTH,FACE_X,FACE_Y,ID,FILE")
    assert read_table(path, tmp_path) == [Row("a", tmp_path / "b.jpg", (1, 2, 8, 9))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../a,b.jpg,1,2,3,4", "the ID '../a' is no file name"),
        ("..,b.jpg,1,2,3,4", "the ID '..' is no file name"),
        (",b.jpg,1,2,3,4", "the ID '' is no file name"),
        ("c,,1,2,3,4", "FILE is empty"),
        ("c,b.jpg,1,2,3", "5 cells in place of 6"),
        ("c,b.jpg,1,two,3,4", "the box 1, two, 3, 4 is not four numbers"),
        ("c,b.jpg,1,nan,3,4", "not four finite numbers"),
        ("c,b.jpg,1,2,0,4", "width and height above 0"),
        ("a,b.jpg,1,2,3,4", "the ID a is there already"),
    ],
)
def test_a_bad_row_is_a_problem_of_its_own(tmp_path: Path, line: str, message: str) -> None:
    rows = read_table(write(tmp_path, "a,a.jpg,1,2,3,4", line, "z,z.jpg,1,2,3,4"), tmp_path)
    assert [type(row) for row in rows] == [Row, Problem, Row]
    assert f"input.csv, row 3: {message}" in rows[1].text or message in rows[1].text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot be read \(No such file"),
        (b"", "has not once the column ID, FILE, X, Y, WIDTH, HEIGHT"),
        (b"ID,FILE,FACE_X\n", "has not once the column Y, WIDTH, HEIGHT"),
        (b"ID,FILE,X,FACE_X,Y,WIDTH,HEIGHT\n", "has not once the column X;"),
        (b"\x89PNG\xff\xfe", "not a CSV file in UTF-8"),
        (f"{HEADER}\n\n".encode(), "no row below its first line"),
    ],
)
def test_a_file_that_is_no_such_table(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "input.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ReleaseError, match=message):
        read_table(path, tmp_path)
