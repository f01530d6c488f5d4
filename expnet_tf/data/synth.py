"""`expnet synth`: labelled synthetic faces in CASIA's folder form (`0000001/001.jpg`), with exact labels.

Person p of seed s is drawn from its own generator, so images do not depend on shards, workers or
interruptions. A run that was stopped continues: a label shard is written last, and its images are then whole.
`synth.json` is written first and says what the run is; another run does not go on in its folder.
"""

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from expnet_tf.data import labels
from expnet_tf.data.scenes.scene import Scenery
from expnet_tf.data.scenes.shot import FRAME, Shot, contact_sheet, take
from expnet_tf.data.scenes.wardrobe import Wardrobe
from expnet_tf.face_box import face_box_vertices
from expnet_tf.files import write_whole
from expnet_tf.image import crop, read_image
from expnet_tf.morphable import open_face

PEOPLE_PER_SHARD = 50
JPEG_QUALITY = 95
MIN_SIZE, MAX_SIZE = 64, 512
SHEET_SIDE = 160  # px: larger images are shrunk for the contact sheet
RUN = "synth.json"
LOOKS = 5  # grows when the same seed gives other pictures: a folder must not hold both


@cache
def scenery(assets: str | None) -> Scenery:
    """The scenery of one asset folder (None: procedural looks only), made once a process."""
    model = open_face()
    return Scenery(model, Wardrobe.open(assets, model) if assets else None)


def shots(seed: int, person: int, count: int, size: int, assets: str | None) -> tuple[np.ndarray, list[Shot]]:
    """(identity code [99], `count` shots) of one person; the same for the same arguments."""
    stage = scenery(assets)
    rng = np.random.default_rng([seed, person])
    someone = stage.person(rng)
    box_ids = face_box_vertices(stage.model)
    return someone.identity, [take(rng, stage, someone, size, box_ids) for _ in range(count)]


def face_shots(count: int, size: int, seed: int = 0, assets: str | None = None, factor: float = 1.25) -> list[Shot]:
    """Varied rendered faces, two photos a person, each large enough for a crop of `size` px at `factor` boxes."""
    frame = int(np.ceil(size / factor * FRAME))
    return [shot for person in range((count + 1) // 2) for shot in shots(seed, person, 2, frame, assets)[1]][:count]


def face_crops(count: int, size: int, seed: int = 0, assets: str | None = None,
               factor: float = 1.25) -> np.ndarray:
    """`face_shots` as a network sees them: uint8 RGB [count, size, size, 3]; deterministic in its arguments."""
    return np.stack([crop(shot.image, shot.box.tolist(), size, factor)
                     for shot in face_shots(count, size, seed, assets, factor)])


def synthesize(out: str | Path, identities: int, per_identity: int, size: int = 224, seed: int = 0,
               assets: str | Path | None = None, workers: int | None = None,
               progress: Callable[[int], None] = lambda images: None) -> int:
    """Renders identities x per_identity images into `out`; returns how many now (0 when all were there).

    progress is called with the number of images of each finished shard. Raises ValueError for impossible numbers
    and for an `out` that holds label shards of another run, wardrobe.AssetError for a folder that holds no assets.
    """
    if identities < 1 or per_identity < 1:
        raise ValueError(f"{identities} identities of {per_identity} images each: both must be at least 1")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size {size}: images of {MIN_SIZE} to {MAX_SIZE} px can be rendered")
    root, asset_folder = Path(out), str(assets) if assets else None
    if asset_folder:
        scenery(asset_folder)  # a wrong folder fails here, once, and not in every worker
    face = open_face().provenance
    run = {
        "looks": LOOKS, "seed": seed, "size": size, "identities": identities, "per_identity": per_identity,
        "face_model": face["name"], "face_model_version": face["version"],
        "assets": fingerprint(asset_folder) if asset_folder else None,
    }
    root.mkdir(parents=True, exist_ok=True)
    _check_same_run(root, run)
    write_whole(root / RUN, f"{json.dumps(run, indent=1)}\n".encode())
    count = -(-identities // PEOPLE_PER_SHARD)
    jobs = []
    for index in range(count):
        people = range(index * PEOPLE_PER_SHARD, min(identities, (index + 1) * PEOPLE_PER_SHARD))
        path = root / labels.shard_name(index, count)
        if path.exists():
            progress(len(people) * per_identity)
        else:
            jobs.append((str(path), people, per_identity, size, seed, asset_folder))
    rendered = 0
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers > 1:
        # One BLAS thread a process: the processes fill the cores. Spawned: forking after threads is unsafe.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for images in pool.map(_shard, jobs):
                rendered += images
                progress(images)
    else:
        for job in jobs:
            rendered += _shard(job)
            progress(len(job[1]) * per_identity)
    if rendered or not (root / "labels.json").exists():
        labels.write_summary(root, {
            "source": "synthetic", "camera": "pinhole", "face_model": face["name"],
            "face_model_version": face["version"], "seed": seed, "size": size, "frame_factor": FRAME,
            "assets": "makehuman" if asset_folder else "procedural", "assets_sha256": run["assets"],
        })
        _write_contact_sheet(root)
    return rendered


def fingerprint(folder: str | Path) -> str:
    """sha256 over the names and contents of all files of an asset folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\n{content}\n".encode())
    return digest.hexdigest()


def _check_same_run(root: Path, run: dict) -> None:
    """Raises ValueError when `root` holds another run: a folder must not mix two."""
    if not (root / RUN).exists():
        found = sorted(path.name for path in root.glob("labels*"))
        if found:
            raise ValueError(f"{root}: holds {found[0]} but no {RUN}, so another run; choose an empty folder")
        return
    try:
        before = json.loads((root / RUN).read_text())
        other = [name for name in run if before.get(name) != run[name]]
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{root / RUN}: not readable ({error}); choose an empty folder") from error
    if other:
        name = other[0]
        raise ValueError(f"{root}: rendered with {name} {before.get(name)}, not {run[name]}; choose an empty folder")


def _shard(job: tuple) -> int:
    """Renders the people of one shard: images first, the label shard last."""
    path, people, per_identity, size, seed, assets = job
    cv2.setNumThreads(1)
    rows: dict[str, list] = {name: [] for name in ("key", "subject", *labels.WIDTHS)}
    for person in people:
        identity, taken = shots(seed, person, per_identity, size, assets)
        subject = f"{person + 1:07d}"
        folder = Path(path).parent / subject
        folder.mkdir(exist_ok=True)
        for number, shot in enumerate(taken, 1):
            key = f"{subject}/{number:03d}.jpg"
            coded = cv2.imencode(".jpg", shot.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
            (folder / f"{number:03d}.jpg").write_bytes(coded.tobytes())
            values = (key, subject, shot.expression, identity, shot.pose, shot.camera, shot.box, shot.points,
                      0.0)
            for name, value in zip(rows, values, strict=True):
                rows[name].append(value)
    columns = {name: np.array(values) if name in ("key", "subject") else np.array(values, np.float32)
               for name, values in rows.items()}
    labels.write_shard(Path(path), columns)
    return len(columns["key"])


def _write_contact_sheet(root: Path, count: int = 48) -> None:
    keys = labels.read_labels(root)["key"]
    chosen = keys[np.linspace(0, len(keys) - 1, min(count, len(keys))).astype(int)]
    pictures = [read_image(root / key)[..., ::-1] for key in chosen]
    if pictures[0].shape[0] > SHEET_SIDE:
        pictures = [cv2.resize(p, (SHEET_SIDE, SHEET_SIDE), interpolation=cv2.INTER_AREA) for p in pictures]
    write_whole(root / "contact.png", cv2.imencode(".png", contact_sheet(pictures))[1].tobytes())
