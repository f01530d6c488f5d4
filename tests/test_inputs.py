"""Which photos arguments mean, and that no two of them share a name in the output folder."""

import os
from pathlib import Path

import pytest

from expnet_tf.inputs import Inputs, Photo, Problem


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("p/b/1.jpg", "p/a/1.jpg", "p/a/1.PNG", "p/a/notes.txt", "p/a/.hidden.jpg", "p/.git/x.jpg", "p/2.jpeg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(*arguments: str, out: str = "out") -> list[str]:
    return [item.name for item in Inputs(arguments, out) if isinstance(item, Photo)]


def problems(*arguments: str) -> list[str]:
    return [item.text for item in Inputs(arguments, "out") if isinstance(item, Problem)]


def test_folder_is_searched_in_order(tree: Path) -> None:
    assert names("p") == ["2.jpeg", "a/1.PNG", "a/1.jpg", "b/1.jpg"]
    assert names(str(tree / "p")) == names("p") == names("./p/") == names("p/../p")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["p/a/1.jpg"], ["1.jpg"]),
        (["p/a/1.jpg", "p/b/1.jpg"], ["a/1.jpg", "b/1.jpg"]),
        (["p/a", "p/b"], ["a/1.PNG", "a/1.jpg", "b/1.jpg"]),
        (["p/*/*.jpg"], ["a/1.jpg", "b/1.jpg"]),
        (["p/**/*.jp*g"], ["2.jpeg", "a/1.jpg", "b/1.jpg"]),
        (["p/a/1.jpg", "p/2.jpeg"], ["a/1.jpg", "2.jpeg"]),
        (["p/a/notes.txt"], ["notes.txt"]),  # named by itself: it is tried, and fails when it is read
        (["p/a/1.jpg", "p"], ["a/1.jpg", "2.jpeg", "a/1.PNG", "b/1.jpg"]),  # no photo twice
        (["p", "p/a", "p/a/*.jpg"], ["2.jpeg", "a/1.PNG", "a/1.jpg", "b/1.jpg"]),
    ],
)
def test_names_are_paths_below_the_common_folder(tree: Path, arguments: list[str], expected: list[str]) -> None:
    assert names(*arguments) == expected
    assert len(set(expected)) == len(expected)


def test_inputs_can_be_walked_twice(tree: Path) -> None:
    inputs = Inputs(["p", "p/a/1.jpg"], "out")
    assert list(inputs) == list(inputs)


def test_a_mistyped_path_does_not_move_the_other_results(tree: Path) -> None:
    assert "1.jpg" in names("p/a/1.jpg", "/no/such/2.jpg")


def test_missing_file_is_a_photo_to_fail_on(tree: Path) -> None:
    assert list(Inputs(["no/such.jpg"], "out")) == [Photo("no/such.jpg", "such.jpg")]


def test_file_whose_name_looks_like_a_pattern(tree: Path) -> None:
    Path("p/a[1].jpg").touch()
    assert names("p/a[1].jpg") == ["a[1].jpg"]


def test_a_film_among_photos_is_named(tree: Path) -> None:
    for name in ("p/a/clip.MP4", "p/a/.hidden.mov", "p/a/code.ts"):
        Path(name).touch()
    assert names("p/a") == ["1.PNG", "1.jpg"]
    assert problems("p/a") == ["p/a/clip.MP4 is a film: it is read by itself, not among photos."]
    Path("films").mkdir()
    Path("p/a/clip.MP4").rename("films/clip.MP4")
    assert problems("films") == ["films/clip.MP4 is a film: it is read by itself, not among photos."]


def test_nothing_to_do_is_said(tree: Path) -> None:
    Path("empty").mkdir()
    assert problems("x*.jpg") == ["x*.jpg matches no file."]
    (text,) = problems("empty")
    assert text.startswith("empty holds no photo; files that end with .jpg")
    assert problems("p") == []


def test_results_are_no_photos(tree: Path) -> None:
    Path("p/out/a").mkdir(parents=True)
    Path("p/out/a/1.jpg.png").touch()
    assert "out/a/1.jpg.png" in names("p", out="elsewhere")
    assert names("p", out="p/out") == ["2.jpeg", "a/1.PNG", "a/1.jpg", "b/1.jpg"]
    with pytest.raises(ValueError, match="p is searched for photos, so results cannot go into it"):
        Inputs(["p"], "p")


def test_files_named_one_by_one_are_known(tree: Path) -> None:
    assert Inputs(["p/a/1.jpg", "p/b"], ".").files == {str(tree / "p/a/1.jpg")}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_unreadable_folder_is_said(tree: Path) -> None:
    Path("p/b").chmod(0)
    try:
        assert problems("p") == ["p/b cannot be read (Permission denied)."]
    finally:
        Path("p/b").chmod(0o755)
