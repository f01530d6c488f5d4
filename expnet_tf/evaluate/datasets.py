"""Emotion data sets as clips: CK+, AFEW / EmotiW-17, plain folders and CSV files. `read_clips` tells which it is."""

from __future__ import annotations

import csv
import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from expnet_tf.evaluate.clips import Clip, DataError, Dataset, Frame, is_photo, is_video

__all__ = ["Clip", "DataError", "Dataset", "Frame", "check", "read_clips"]

CK_IMAGES, CK_LABELS = "cohn-kanade-images", "Emotion"
CK_CLASSES = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")  # 1 to 7
AFEW_CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
BOXES = "boxes.csv"
_SPLIT = re.compile(r"(train|val|test)", re.IGNORECASE)  # how a split's folder begins: Train, Val, Test_2017, ...
_BOX = ("box_x", "box_y", "box_w", "box_h")

Box = tuple[float, float, float, float]
Facts = tuple[Box | None, str | None, float | None]  # of a photo: its box, who, how old


def read_clips(path: str | os.PathLike[str]) -> Dataset:
    """The clips of a data set, whose kind is told from what is there (docs/evaluation.md has the layouts).

    Files are listed, not opened: a clip that cannot be read shows when it is coded.

    Raises DataError in one sentence: nothing there, no known layout, or a CSV that contradicts itself.
    """
    root = Path(path)
    if root.is_file():
        if root.suffix.lower() != ".csv":
            raise DataError(f"{root} is a file; a .csv with the columns path and label, or a folder, is expected.")
        kind, clips, notes = "CSV", *_table(root)
    elif not root.is_dir():
        raise DataError(f"{root} does not exist; a folder of labelled photos or clips, or a CSV, is expected.")
    elif (root / CK_IMAGES).is_dir():
        kind, clips, notes = "CK+", *_cohn_kanade(root)
    else:
        kind, clips, notes = _class_folders(root)
        if not clips and (root / BOXES).is_file():
            kind, clips, notes = "CSV", *_table(root / BOXES)
    if not clips:
        raise DataError(
            f"{root} holds no labelled clips; accepted: CK+ ({CK_IMAGES} and {CK_LABELS}), a folder a class with "
            "photos, videos or folders of frames in it, or a CSV."
        )
    clips = sorted(clips, key=lambda clip: clip.key)
    return Dataset(kind, root, tuple(clips), tuple(sorted({clip.label for clip in clips})), tuple(notes))


def check(dataset: Dataset, neighbours: int) -> list[str]:
    """What of the protocol the data does not allow, a sentence each.

    Raises DataError where nothing can be measured: one class alone, or classes with fewer clips than
    `neighbours` + 1, which could not win a vote even in their own midst.
    """
    counts = Counter(clip.label for clip in dataset.clips)
    if len(counts) < 2:
        raise DataError(f"{dataset.path} has one class alone ({dataset.classes[0]}); two or more are expected.")
    small = [f"{label} ({counts[label]})" for label in dataset.classes if counts[label] < neighbours + 1]
    if small:
        raise DataError(
            f"{dataset.path}: too few clips of {', '.join(small)}; {neighbours} neighbours need {neighbours + 1} "
            "clips or more of each class."
        )
    people: dict[str, set[str | None]] = {label: set() for label in dataset.classes}
    for clip in dataset.clips:
        people[clip.label].add(clip.subject)
    everybody = set().union(*people.values())
    if not dataset.subjects_known:
        some = sum(clip.subject is not None for clip in dataset.clips)
        known = f"of {some} clips alone, out of {len(dataset.clips)}," if some else "of no clip"
        return [f"Who is to be seen is known {known} so no subject can be left out, and intervals are over clips."]
    if len(everybody) == 1:
        return [f"All clips are of one subject ({everybody.pop()}), who cannot be left out; intervals are over clips."]
    lonely = [label for label, some in people.items() if len(some) == 1]
    if lonely:
        return [f"Of {', '.join(lonely)} there is one subject alone: wrong whenever that subject is left out."]
    return []


def _cohn_kanade(root: Path) -> tuple[list[Clip], list[str]]:
    """CK+: the last frame of each sequence that has an emotion file."""
    if not (root / CK_LABELS).is_dir():
        raise DataError(f"{root} has {CK_IMAGES} and lacks the folder {CK_LABELS} with the labels.")
    clips, notes = [], []
    for file in sorted((root / CK_LABELS).glob("S*/*/*_emotion.txt")):
        subject, sequence = file.parts[-3:-1]
        label = _ck_label(file)
        if label is None:
            notes.append(f"{file} is left out: it holds no number from 1 to {len(CK_CLASSES)}.")
            continue
        folder = root / CK_IMAGES / subject / sequence
        photos = sorted(path for path in _entries(folder) if is_photo(path)) if folder.is_dir() else []
        if not photos:
            notes.append(f"{folder} holds no images, and {file.name} labels them; the clip counts as an error.")
            photos = [folder / file.name.replace("_emotion.txt", ".png")]
        peak = photos[-1]
        frame = Frame(peak, None, peak.relative_to(root).as_posix())
        clips.append(Clip(f"{subject}/{sequence}", label, subject, (frame,)))
    return clips, notes


def _ck_label(file: Path) -> str | None:
    try:
        number = float(file.read_text())
    except (OSError, ValueError):
        return None
    return CK_CLASSES[int(number) - 1] if number in range(1, len(CK_CLASSES) + 1) else None


def _class_folders(root: Path) -> tuple[str, list[Clip], list[str]]:
    """A folder a class, perhaps below Train, Val, Test; in it photos, videos or folders of frames."""
    facts, notes = _beside(root)
    folders = [path for path in _entries(root) if path.is_dir()]
    splits = [path for path in folders if _SPLIT.match(path.name) and any(p.is_dir() for p in _entries(path))]
    if splits and splits == folders:
        folders = [path for split in splits for path in _entries(split) if path.is_dir()]
    afew = [path for path in folders if path.name in AFEW_CLASSES]
    # AFEW brings folders of aligned faces and landmarks beside its classes.
    kind = "AFEW" if len({path.name for path in afew}) >= 3 else "folder"
    if kind == "AFEW":
        notes += [f"{path} is left out: not one of AFEW's classes." for path in folders if path not in afew]
        folders = afew
    clips = []
    for folder in folders:
        found = [_clip(entry, folder.name, root, facts) for entry in _entries(folder)]
        here = [clip for clip in found if clip]
        clips += here
        if not here:
            notes.append(f"{folder} is left out: it holds no photos, videos or folders of frames.")
    return kind, clips, notes


def _clip(entry: Path, label: str, root: Path, facts: Mapping[str, Facts]) -> Clip | None:
    if entry.is_dir():
        paths = [path for path in _entries(entry) if is_photo(path)]
    else:
        paths = [entry] if is_photo(entry) or is_video(entry) else []
    if not paths:
        return None
    keys = [path.relative_to(root).as_posix() for path in paths]
    known = [facts.get(key, (None, None, None)) for key in keys]
    frames = tuple(Frame(path, one[0], key) for path, key, one in zip(paths, keys, known, strict=True))
    return Clip(entry.relative_to(root).as_posix(), label, known[0][1], frames, known[0][2])


def _beside(root: Path) -> tuple[dict[str, Facts], list[str]]:
    """boxes.csv of a folder: {path: its box, subject and age}, and what is odd about it."""
    file = root / BOXES
    if not file.is_file():
        return {}, []
    rows = _rows(file, ("path",))
    facts = {row["path"]: _facts(row, file, number) for number, row in rows}
    notes = []
    missing = [path for path in facts if not (root / path).is_file()]
    if missing:
        notes.append(f"{file} names {len(missing)} files that are not there, such as {missing[0]}.")
    other = [row["path"] for _, row in rows if row.get("label") and row["label"] not in Path(row["path"]).parts]
    if other:
        notes.append(f"{file} labels {len(other)} files otherwise than their folders (which count), as {other[0]}.")
    return facts, notes


def _table(file: Path) -> tuple[list[Clip], list[str]]:
    """A CSV: path and label; subject, clip, age, box_x, box_y, box_w, box_h where present."""
    clips: dict[str, Clip] = {}
    seen: dict[str, int] = {}
    notes = []
    for number, row in _rows(file, ("path", "label")):
        path, label = row["path"], row["label"]
        if not path or not label:
            raise DataError(f"{file}, line {number}: the {'label' if path else 'path'} is empty.")
        if path in seen:
            raise DataError(f"{file}, lines {seen[path]} and {number}: both name {path}; each image once is expected.")
        seen[path] = number
        if not (file.parent / path).is_file():
            notes.append(f"{file}, line {number}: {path} does not exist; it counts as an error.")
        box, subject, age = _facts(row, file, number)
        key = row.get("clip") or path
        frames = clips[key].frames if key in clips else ()
        clip = Clip(key, label, subject, (*frames, Frame(file.parent / path, box, path)), age)
        if key in clips and (clips[key].label, clips[key].subject) != (label, subject):
            raise DataError(
                f"{file}, line {number}: the clip {key} is {label} of {subject} here and {clips[key].label} of "
                f"{clips[key].subject} before; one label and one subject a clip are expected."
            )
        clips[key] = clip
    if seen and len(notes) == len(seen):
        raise DataError(f"{file}: none of the files it names exists below {file.parent}, {next(iter(seen))} for one.")
    return list(clips.values()), notes


def _rows(file: Path, needed: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """The lines of a CSV with a header: (line number, {column: text without blanks around it})."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            missing = [name for name in needed if name not in columns]
            if missing:
                raise DataError(f"{file}: no column {' and '.join(missing)}; it has {', '.join(columns) or 'nothing'}.")
            return [
                (reader.line_num, {k: (v or "").strip() for k, v in row.items() if isinstance(k, str)})
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a readable CSV ({error}).") from error


def _facts(row: Mapping[str, str], file: Path, number: int) -> Facts:
    return _box(row, file, number), row.get("subject") or None, _number(row.get("age"), file, number, "age")


def _box(row: Mapping[str, str], file: Path, number: int) -> Box | None:
    texts = [row.get(name) for name in _BOX]
    if not any(texts):
        return None
    x, y, w, h = (_number(text or "?", file, number, name) or 0.0 for name, text in zip(_BOX, texts, strict=True))
    if w <= 0 or h <= 0:
        raise DataError(f"{file}, line {number}: the box is {w:g} px wide and {h:g} px high; both must be positive.")
    return x, y, w, h


def _number(text: str | None, file: Path, number: int, name: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{file}, line {number}: {name} is {text!r}; a number is expected.")
    return value


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, in order, hidden things left out."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
