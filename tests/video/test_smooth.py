"""One Euro: the published recurrence, less jitter at rest, little lag in motion, nothing across a gap."""

import math

import numpy as np
import pytest

from expnet_tf import camera
from expnet_tf.camera import NOMINAL_FOCAL
from expnet_tf.video.smooth import GAP, OneEuro, Tuning, smoothed
from expnet_tf.video.table import row_type

RATE = 30.0


def reference(signal: np.ndarray, cutoff: float, beta: float) -> list[float]:
    """The pseudocode of Casiez et al. 2012, figure 1, one number at a time; speed over the last filtered value."""

    def alpha(frequency: float) -> float:
        tau = 1 / (2 * math.pi * frequency)
        return 1 / (1 + tau * RATE)

    out, speed = [signal[0]], 0.0
    for value in signal[1:]:
        speed += alpha(1.0) * ((value - out[-1]) * RATE - speed)
        out.append(out[-1] + alpha(cutoff + beta * abs(speed)) * (value - out[-1]))
    return out


def test_the_published_recurrence() -> None:
    rng = np.random.default_rng(0)
    signal = np.cumsum(rng.normal(size=50))
    filtered = OneEuro(Tuning(1.2, 0.4))
    made = [float(filtered(np.array([value]), i / RATE)[0]) for i, value in enumerate(signal)]
    np.testing.assert_allclose(made, reference(signal, 1.2, 0.4), rtol=1e-9)


def table(count: int, seed: int = 0) -> np.ndarray:
    """A person at rest, with noise in all that is measured."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(count, row_type(29, 99))
    rows["frame"], rows["time"], rows["id"] = np.arange(count), np.arange(count) / RATE, 1
    rows["box"] = [100, 80, 90, 120] + rng.normal(0, 0.7, (count, 4))
    rows["square"] = [70, 65, 150] + rng.integers(-1, 2, (count, 3))
    rows["expression"] = rng.normal(0, 0.1, (count, 29))
    rows["pose"] = [0.1, -0.2, 0.05, 4, -8, -900] + rng.normal(0, 1, (count, 6)) * [0.02] * 6
    return rows


def test_a_still_jitters_less() -> None:
    raw = table(90)
    (calm,) = smoothed([raw])
    for name in ("expression", "box"):
        assert np.diff(calm[name], axis=0).std() < 0.4 * np.diff(raw[name], axis=0).std()
        np.testing.assert_allclose(calm[name].mean(0), raw[name].mean(0), atol=0.3)
    for name in ("frame", "time", "id", "square", "identity"):
        np.testing.assert_array_equal(calm[name], raw[name])


def test_the_head_stays_where_it_is_seen() -> None:
    """The translation hangs on the crop: what is smooth is where the head appears."""

    def seen(rows: np.ndarray) -> np.ndarray:
        side = rows["square"][:, 2].astype(float)
        centre = rows["square"][:, :2] + side[:, None] / 2
        return camera.project(np.zeros((len(rows), 1, 3)), rows["pose"], NOMINAL_FOCAL * side, centre)[:, 0]

    raw = table(90)
    (calm,) = smoothed([raw])
    assert np.diff(seen(calm), axis=0).std() < 0.4 * np.diff(seen(raw), axis=0).std()
    np.testing.assert_allclose(seen(calm)[20:].mean(0), seen(raw)[20:].mean(0), atol=0.3)


def test_chunks_are_one_signal_and_people_are_several() -> None:
    raw = table(60)
    raw["id"][1::2] = 2
    raw["expression"][1::2] += 5
    (whole,) = smoothed([raw])
    parts = np.concatenate(list(smoothed([raw[:17], raw[17:]])))
    assert whole.tobytes() == parts.tobytes()
    assert whole["expression"][1::2].min() > 4 > whole["expression"][::2].max()


@pytest.mark.parametrize("away", [GAP - 0.05, GAP + 0.1])
def test_after_a_gap_it_starts_anew(away: float) -> None:
    filtered = OneEuro(Tuning(0.1, 0.0))
    filtered(np.zeros(1), 0.0)
    after = float(filtered(np.ones(1), away)[0])
    assert (after == 1) is (away > GAP)
