"""Faces at rest with people's proportions: MakeHuman's average head is sterner and shorter-chinned than people are.

An identity of the face model may look angry or sad at rest. A network that is told so often that an angry face is
neutral learns to doubt anger, and a mean that is off makes it read people's resting faces as expressions.
"""

import numpy as np

from expnet_tf.morphable import MorphableModel

# Height of the first landmarks' mean over the second's, in distances between the eyes: mean and standard deviation
# over people. Means: set until the medians of renders came near those of 51 + 80 neutral photographs (London set, LFW),
# both read by one landmark detector, so that its bias cancels; deviations: near the London set's (docs/synthetic.md).
PROPORTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], float, float]] = {
    "inner brow over eye": ((20, 21, 22, 23), (39, 42), 0.250, 0.042),
    "brow over lid": ((19, 24), (37, 38, 43, 44), 0.218, 0.040),
    "outer brow over eye": ((17, 18, 25, 26), (36, 45), 0.292, 0.042),
    "eye opening": ((37, 38, 43, 44), (40, 41, 46, 47), 0.180, 0.030),
    "nose": ((27,), (33,), 0.655, 0.055),
    "upper lip": ((33,), (51,), 0.210, 0.040),
    "both lips": ((50, 51, 52), (56, 57, 58), 0.300, 0.055),
    "mouth corners over middle": ((48, 54), (62, 66), 0.0, 0.025),
    "chin": ((57,), (8,), 0.635, 0.085),
}


class Resting:
    """Moves drawn identities to people's proportions at rest, by the smallest change of their coefficients."""

    def __init__(self, model: MorphableModel) -> None:
        ids = model.landmark_ids
        points = model.mean[ids].astype(np.float64)
        basis = model.identity_basis.reshape(len(model.identity_basis), -1, 3)[:, ids].astype(np.float64)
        unit = np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
        self.slope = proportions(basis) / unit  # [identities, k]
        self.change = np.linalg.pinv(self.slope)  # [k, identities]
        *_, mean, spread = zip(*PROPORTIONS.values(), strict=True)
        self.offset = np.array(mean) - proportions(points) / unit
        self.narrowed = np.array(spread) / np.linalg.norm(self.slope, axis=0)

    def settle(self, identity: np.ndarray, spread: float) -> np.ndarray:
        """float64 [n], drawn with standard deviation `spread` -> the nearest [n] with people's proportions."""
        deviation = identity @ self.slope
        wanted = self.offset + deviation * np.minimum(1, self.narrowed / spread)
        return identity + (wanted - deviation) @ self.change


def proportions(points: np.ndarray) -> np.ndarray:
    """Landmarks [.., 68, 3], y up -> heights [.., k] in their unit, as PROPORTIONS lists them."""
    y = points[..., 1]
    heights = [y[..., list(above)].mean(-1) - y[..., list(below)].mean(-1) for above, below, *_ in PROPORTIONS.values()]
    return np.stack(heights, -1)
