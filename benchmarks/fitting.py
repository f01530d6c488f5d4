"""Speed and accuracy of eq. (2): the batched solver against scipy one face at a time, in one run.

    python benchmarks/fitting.py [--faces 2000] [--scipy 100] [--rounds 5] [--picture docs/images/fitting_noise.png]

Prints Markdown; benchmarks/fitting.md has the figures of one machine. Faces: the open face model with random
identities, plausible expressions, synthetic training's head turns, 0.94 px per mm, which is a face in a 224 px crop
of factor 1.25. For the speed the codes are drawn wider, so that bounds are active, and landmarks get 1.5 px of noise.
"""

import argparse
import importlib.util
import itertools
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares, lsq_linear

from expnet_tf.camera import project, rotation_matrix, rotation_vector
from expnet_tf.data.expressions import sample_weights
from expnet_tf.data.fitting import fit, solve_pose
from expnet_tf.data.scenes.shot import head_turn
from expnet_tf.data.views import project_orthographic
from expnet_tf.morphable import open_face

MODEL = open_face()
BASIS = MODEL.expression_basis[:, MODEL.landmark_ids]
SCALE = 0.94  # px per mm
INNER = np.r_[np.zeros(17), np.ones(51)]
CAMERAS = ("orthographic", "pinhole")


class Faces:
    """Random faces and their exact landmarks under both cameras."""

    def __init__(self, count: int, wide: bool) -> None:
        rng = np.random.default_rng(0)
        if wide:
            self.z = rng.standard_t(4, (count, 29)) * 1.2
        else:
            weights = np.stack([sample_weights(rng) for _ in range(count)])
            self.z = np.clip(weights @ MODEL.blendshapes_to_expression, -3, 3)
        identity = rng.normal(size=(count, 99))
        self.shape = MODEL.landmarks(identity)
        whole = MODEL.landmarks(identity, self.z)
        turn = rotation_vector(np.stack([head_turn(rng) for _ in range(count)]))
        distance = np.exp(rng.uniform(np.log(500), np.log(2000), count))
        flat = np.c_[turn, np.full((count, 1), SCALE), np.full((count, 2), 112.0)]
        deep = np.c_[turn, rng.normal(0, 10, (count, 2)), -distance]
        camera = np.c_[distance * SCALE, np.full((count, 2), 112.0)]
        self.pose = {"orthographic": flat, "pinhole": deep}
        self.camera = {"orthographic": None, "pinhole": camera}
        self.exact = {
            "orthographic": project_orthographic(whole, flat),
            "pinhole": project(whole, deep, camera[:, 0], camera[:, 1:]),
        }
        self.noise = rng.normal(size=(count, 68, 2))

    def scipy(self, kind: str, points: np.ndarray, i: int) -> np.ndarray:
        """Face i as a user of scipy would solve it: bvls, or trf with the analytic Jacobian."""
        shape, pose, target = self.shape[i], self.pose[kind][i], points[i]
        turn = rotation_matrix(pose[:3])
        turned = BASIS @ turn.T
        if kind == "orthographic":
            rows = pose[3] * turned[..., :2] * [1, -1]
            free = project_orthographic(shape, pose)
            return lsq_linear(rows.reshape(29, -1).T, (target - free).ravel(), (-3, 3), "bvls").x
        f, *center = self.camera[kind][i]

        def seen(z: np.ndarray) -> np.ndarray:
            return (shape + np.tensordot(z, BASIS, 1)) @ turn.T + pose[3:]

        def residual(z: np.ndarray) -> np.ndarray:
            at = seen(z)
            return (center + at[:, :2] * [f, -f] / -at[:, 2:] - target).ravel()

        def jacobian(z: np.ndarray) -> np.ndarray:
            at = seen(z)
            depth = -at[:, 2]
            u = f / depth * (turned[..., 0] + at[:, 0] / depth * turned[..., 2])
            v = -f / depth * (turned[..., 1] + at[:, 1] / depth * turned[..., 2])
            return np.stack([u, v], -1).reshape(29, -1).T

        return least_squares(residual, np.zeros(29), jacobian, (-3, 3)).x


def timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def speed(count: int, scipy_count: int, rounds: int) -> None:
    faces = Faces(count, wide=True)
    solvers = {"default": fit}
    if importlib.util.find_spec("jax"):
        from expnet_tf.data import fitting_jax

        solvers["JAX"] = fitting_jax.fit
    print("| camera | solver | fits/s | scipy one by one, fits/s | ratio | of CPU time | at a bound | max \\|dz\\| |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind, name in itertools.product(CAMERAS, solvers):
        points = faces.exact[kind] + 1.5 * faces.noise

        def ours(kind: str = kind, name: str = name, points: np.ndarray = points):
            return solvers[name](MODEL, points, faces.shape, faces.pose[kind], faces.camera[kind])

        def theirs(kind: str = kind, points: np.ndarray = points):
            return np.stack([faces.scipy(kind, points, i) for i in range(scipy_count)])

        got, there = ours(), theirs()  # warm: compiled, and in the cache
        assert got.converged.all()
        mine, other = zip(*((timed(ours), timed(theirs)) for _ in range(rounds)), strict=True)
        fast = count / np.array(mine)
        slow = scipy_count / np.array(other)
        ratios = np.median(fast / slow, 0)  # of neighbours in time: the machine's load falls out
        error = np.abs(got.expression[:scipy_count] - there).max()
        print(
            f"| {kind} | {name} | {np.median(fast[:, 0]):,.0f} | {np.median(slow[:, 0]):,.0f} | {ratios[0]:.1f} "
            f"| {ratios[1]:.1f} | {got.active.mean():.1f} | {error:.0e} |"
        )


def errors(difference: np.ndarray) -> str:
    median, square = np.median(np.abs(difference)), np.sqrt((difference**2).mean())
    return "exact" if square < 1e-9 else f"{median:.2f} / {square:.2f}"


def accuracy(count: int) -> None:
    faces = Faces(count, wide=False)
    print(f"\nError of z over all components, median / root mean square; the label 0 would have {errors(faces.z)}.\n")
    print(
        "| camera, landmarks | noise, px | exact pose and shape | with prior | pose solved first | pose refined |"
        " pose refined, prior | active bounds |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in CAMERAS:
        for name, weights in (("68", None), ("51", INNER)):
            for noise in (0, 1, 2, 3):
                points = faces.exact[kind] + noise * faces.noise
                camera = faces.camera[kind]
                start = solve_pose(points, faces.shape, camera, weights=weights).pose
                true, prior = faces.pose[kind], float(noise) or None
                settings = (
                    (true, None, False),
                    (true, prior, False),
                    (start, None, False),
                    (start, None, True),
                    (start, prior, True),
                )
                cells = []
                for pose, given, refine in settings:
                    got = fit(
                        MODEL, points, faces.shape, pose, camera, weights=weights, noise=given, refine_pose=refine
                    )
                    cells.append((errors((got.expression - faces.z)[got.converged]), got.active.mean()))
                print(
                    f"| {kind}, {name} | {noise} | "
                    + " | ".join(error for error, _ in cells)
                    + f" | {cells[0][1]:.1f} |"
                )

    print(
        "\n| component | moves the landmarks, rms mm per sigma | its own rms, sigma | rms error at 1 px, orthographic |"
        " pinhole | with prior, orthographic | pinhole |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    columns = []
    for noise_given in (None, 1.0):
        for kind in CAMERAS:
            points = faces.exact[kind] + faces.noise
            got = fit(MODEL, points, faces.shape, faces.pose[kind], faces.camera[kind], noise=noise_given)
            columns.append(np.sqrt(((got.expression - faces.z) ** 2).mean(0)))
    moves = np.sqrt((BASIS**2).sum(2).mean(1))
    for k in range(29):
        own = np.sqrt((faces.z[:, k] ** 2).mean())
        print(f"| {k} | {moves[k]:.2f} | {own:.2f} | " + " | ".join(f"{column[k]:.2f}" for column in columns) + " |")

    print("\nThe wrong camera, exact landmarks: pinhole faces fitted as scaled orthography, pose solved and refined.\n")
    print("| distance, mm | error of z |\n| --- | --- |")
    points = faces.exact["pinhole"]
    start = solve_pose(points, faces.shape).pose
    error = fit(MODEL, points, faces.shape, start, refine_pose=True).expression - faces.z
    distance = -faces.pose["pinhole"][:, 5]
    for near, far in ((500, 800), (800, 1300), (1300, 2000)):
        print(f"| {near}-{far} | {errors(error[(distance >= near) & (distance < far)])} |")


def picture(count: int, path: Path) -> None:
    """Bars of the error at 0 to 3 px of noise: both cameras, plain and with prior; exact pose and shape, 68 points."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    faces = Faces(count, wide=False)
    measures = {
        "median error": lambda error: np.median(np.abs(error)),
        "root mean square error": lambda error: np.sqrt((error**2).mean()),
    }
    levels, width = np.arange(4), 0.2
    looks = {
        ("orthographic", False): ("#2c6fad", "scaled orthography, eq. (2)"),
        ("pinhole", False): ("#9cc4e8", "pinhole, eq. (2)"),
        ("orthographic", True): ("#c4621d", "scaled orthography, with prior"),
        ("pinhole", True): ("#f4b98a", "pinhole, with prior"),
    }
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 4), dpi=200)
    exact = []
    for place, ((kind, prior), (color, label)) in enumerate(looks.items()):
        errors = []
        for level in levels:
            points = faces.exact[kind] + level * faces.noise
            noise = float(level) if prior and level else None
            errors.append(fit(MODEL, points, faces.shape, faces.pose[kind], faces.camera[kind], noise=noise).expression)
        exact.append(errors[0])
        for axis, measure in zip(axes, measures.values(), strict=True):
            values = [measure(error - faces.z) for error in errors]
            axis.bar(levels + (place - 1.5) * width, values, 0.9 * width, color=color, label=label)
    for axis, (title, measure) in zip(axes, measures.items(), strict=True):
        neutral = measure(faces.z)
        axis.axhline(neutral, color="#555555", linestyle="--", linewidth=1, label="every face called neutral", zorder=0)
        if max(measure(error - faces.z) for error in exact) < 1e-6:
            axis.annotate("exact", (0, 0), (0, 3), textcoords="offset points", ha="center")
        axis.set_title(title, fontsize=11)
        axis.set_xticks(levels)
        axis.set_xlabel("noise of the landmarks, px of a 224 px crop")
        axis.set_ylabel("error of z, sigma")
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    order = (1, 2, 3, 4, 0)  # columns: plain, with prior, the line
    legend = [handles[i] for i in order], [labels[i] for i in order]
    figure.legend(*legend, loc="lower center", ncols=3, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.13, 1, 1))
    figure.savefig(path)
    print(f"\nwrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=2000)
    parser.add_argument("--scipy", type=int, default=100, help="faces that scipy solves, in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--picture", type=Path, help="write the error against the noise to this PNG, and nothing else")
    options = parser.parse_args()
    if options.picture:
        picture(options.faces, options.picture)
        return
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    print(f"{platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}, OMP_NUM_THREADS {threads}\n")
    speed(options.faces, options.scipy, options.rounds)
    accuracy(options.faces)


if __name__ == "__main__":
    main()
