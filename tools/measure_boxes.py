"""Measure how BlazeFace's square maps to the house's box (forehead to chin, ear to ear), and how well.

    python tools/measure_boxes.py SET/boxes.csv [SET/boxes.csv ...]

Each boxes.csv lies beside its photos and has the columns path, box_x, box_y, box_w, box_h (px of the
photo): one face a photo, boxed by the convention to copy, here MTCNN's. Prints the constants of
expnet_tf/detect.py as these photos have them (each set counts alike), their spread, and how well boxes made
with the constants that are in the file now agree with the given ones.
"""

import argparse
import csv
import time
from pathlib import Path

import cv2
import numpy as np

from expnet_tf.detect import BlazeFace, Square, head_axes, house_box
from expnet_tf.image import read_image


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("boxes", nargs="+", type=Path, metavar="boxes.csv")
    detector = BlazeFace()
    sets = {}
    for table in parser.parse_args().boxes:
        name = table.parent.name
        sets[name] = one = measure(table, detector)
        print(f"  way to the ears {ear_shift(one):.3f}, loss by tilt {one['loss'].mean():.3f}")
    # One number for all sets, so it is fitted first; the offset that is left is then taken set by set.
    shift = float(np.mean([ear_shift(features) for features in sets.values()]))
    print(f"EAR_SHIFT = {shift:.2f}")
    print(f"TILT_LOSS = {np.mean([features['loss'].mean() for features in sets.values()]):.2f}")
    values = {
        "sideways offset left": [one["aside"] - shift * one["ears"] for one in sets.values()],
        "RISE": [one["rise"] for one in sets.values()],
        "WIDTH": [one["width"] for one in sets.values()],
        "HEIGHT": [one["height"] for one in sets.values()],
    }
    for name, per_set in values.items():
        parts = zip(sets, per_set, strict=True)
        spread = "; ".join(f"{which} median {np.median(v):.3f}, sd {v.std():.3f}" for which, v in parts)
        print(f"{name} = {np.mean([np.median(v) for v in per_set]):.3f}  ({spread})")


def measure(table: Path, detector: BlazeFace) -> dict[str, np.ndarray]:
    """Print the agreement on one set; return what the mapping is fitted to, each [photos], in sides."""
    rows, agreement, times = [], [], []
    lines = list(csv.DictReader(table.open(encoding="utf-8")))
    for line in lines:
        box = np.array([float(line[f"box_{key}"]) for key in "xywh"])
        image = read_image(table.parent / line["path"])
        start = time.perf_counter()
        faces = detector.squares(image)
        times.append(time.perf_counter() - start)
        face = max(faces, key=lambda one: overlap(corners(one), box), default=None)
        if face is None or overlap(corners(face), box) <= 0.3:
            print(f"  not found: {line['path']}")
            continue
        center, (right, up) = face.points[0], head_axes(face)
        offset = box[:2] + box[2:] / 2 - center
        ears = face.points[5:7].mean(axis=0) - center
        row = np.array([offset @ right, ears @ right, offset @ up, box[2], box[3]]) / face.side
        rows.append([*row, tilt_loss(image, face, detector)])
        ours = np.array(house_box(face))
        distance = np.hypot(*(ours[:2] + ours[2:] / 2 - box[:2] - box[2:] / 2)) / box[2:].max()
        agreement.append([overlap(ours, box), distance, ours[2:].max() / box[2:].max()])
    iou, distance, ratio = np.array(agreement).T
    low, middle, high = np.percentile(ratio, [10, 50, 90])
    print(f"{table.parent.name}: {len(lines)} photos, {np.median(times) * 1e3:.1f} ms each")
    print(f"  IoU > 0.5: {(iou > 0.5).sum() / len(lines):.3f} of the photos, median IoU {np.median(iou):.3f}")
    print(f"  centre offset / size: median {np.median(distance):.3f}, p90 {np.percentile(distance, 90):.3f}")
    print(f"  size ratio: median {middle:.3f}, p10 {low:.3f}, p90 {high:.3f}")
    names = ("aside", "ears", "rise", "width", "height", "loss")
    return dict(zip(names, np.array(rows).T, strict=True))


def tilt_loss(image: np.ndarray, face: Square, detector: BlazeFace) -> float:
    """Turn the photo about the face; least squares of what the square loses against sin(2 tilt)^2."""
    center = tuple(map(float, face.points[0]))
    above = below = 0.0
    for degrees in (-45, -30, -15, 15, 30, 45):
        turn = cv2.getRotationMatrix2D(center, degrees, 1.0)
        turned = detector.squares(cv2.warpAffine(image, turn, image.shape[1::-1]))
        near = [one for one in turned if np.hypot(*(one.points[0] - center)) < 0.3 * face.side]
        if near:
            expected = np.sin(2 * np.radians(degrees)) ** 2
            above += expected * (1 - near[0].side / face.side)
            below += expected**2
    return above / max(below, 1e-9)


def ear_shift(features: dict[str, np.ndarray]) -> float:
    """Least squares through the origin: a face seen from the front has no offset."""
    return float(features["ears"] @ features["aside"] / (features["ears"] @ features["ears"]))


def corners(face: Square) -> np.ndarray:
    return np.array([*(face.points[0] - face.side / 2), face.side, face.side])


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes (x, y, w, h)."""
    size = np.minimum(one[:2] + one[2:], other[:2] + other[2:]) - np.maximum(one[:2], other[:2])
    common = float(np.prod(np.clip(size, 0, None)))
    return common / float(np.prod(one[2:]) + np.prod(other[2:]) - common)


if __name__ == "__main__":
    main()
