"""Plausible facial expressions as weights of the 52 ARKit-named blendshapes.

sample_weights is the distribution that shapes the expression basis of the open face model, so it stays as it is:
another one would be another basis. training_weights is what training images show: a third of it is the former, the rest
is what a network meets too seldom there (single units, brows by themselves, mouths that speak, one-sided faces).
Weights are in [0, 1]. Left and right are the person's own, as ARKit has them.
"""

import numpy as np

BLENDSHAPES = (
    "browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft "
    "cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft "
    "eyeLookInRight eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight "
    "eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft "
    "mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft mouthLowerDownLeft "
    "mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight mouthRollLower mouthRollUpper "
    "mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft mouthStretchRight "
    "mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight tongueOut"
).split()
"""The 52 ARKit blendshape names, in alphabetical order."""

GAZE = tuple(name for name in BLENDSHAPES if name.startswith("eyeLook"))
"""Blendshapes that turn the eyes: a nuisance in images, not part of the expression code."""

UNUSED = (*GAZE, "tongueOut")
INDEX = {name: i for i, name in enumerate(BLENDSHAPES)}
USED = tuple(name for name in BLENDSHAPES if name not in UNUSED)
PAIRED = tuple(n[:-4] for n in USED if n.endswith("Left") and n not in ("jawLeft", "mouthLeft"))
SINGLE = (*(n for n in USED if not n.endswith(("Left", "Right"))), "jawLeft", "jawRight", "mouthLeft",
          "mouthRight")

# Each template: blendshape (both sides where it has sides) -> range of its weight at full intensity.
TEMPLATES: dict[str, tuple[float, dict[str, tuple[float, float]]]] = {
    "polite smile": (0.10, {"mouthSmile": (0.25, 0.7), "cheekSquint": (0, 0.4), "mouthPress": (0, 0.4),
                            "mouthDimple": (0, 0.5)}),
    "toothy smile": (0.18, {"mouthSmile": (0.5, 1), "cheekSquint": (0.1, 0.9), "mouthUpperUp": (0.1, 0.7),
                            "jawOpen": (0, 0.3), "eyeSquint": (0, 0.6), "mouthLowerDown": (0, 0.6),
                            "mouthStretch": (0, 0.4), "mouthDimple": (0, 0.4)}),
    "laugh": (0.06, {"mouthSmile": (0.6, 1), "cheekSquint": (0.4, 1), "jawOpen": (0.25, 0.7),
                     "eyeSquint": (0.2, 0.8), "mouthUpperUp": (0.2, 0.8), "mouthLowerDown": (0.1, 0.7),
                     "browInnerUp": (0, 0.4)}),
    "surprise": (0.13, {"browInnerUp": (0.3, 1), "browOuterUp": (0.3, 1), "eyeWide": (0.2, 1),
                        "jawOpen": (0, 0.9), "mouthFunnel": (0, 0.4), "mouthStretch": (0, 0.2)}),
    "anger": (0.10, {"browDown": (0.4, 1), "eyeSquint": (0, 0.7), "noseSneer": (0, 0.7), "mouthPress": (0, 0.8),
                     "mouthFrown": (0, 0.5), "mouthShrugLower": (0, 0.5), "eyeWide": (0, 0.3)}),
    "shout": (0.06, {"browDown": (0.3, 1), "noseSneer": (0, 0.8), "jawOpen": (0.25, 1),
                     "mouthUpperUp": (0.1, 0.8), "mouthLowerDown": (0.2, 1), "mouthStretch": (0, 0.7),
                     "eyeSquint": (0, 0.6), "mouthFunnel": (0, 0.4)}),
    "sadness": (0.10, {"browInnerUp": (0.2, 1), "mouthFrown": (0.25, 1), "mouthShrugLower": (0, 0.8),
                       "browDown": (0, 0.4), "eyeSquint": (0, 0.5), "eyeBlink": (0, 0.35),
                       "mouthPress": (0, 0.4)}),
    "disgust": (0.05, {"noseSneer": (0.3, 1), "mouthUpperUp": (0.2, 0.9), "browDown": (0.1, 0.8),
                       "eyeSquint": (0, 0.8), "mouthFrown": (0, 0.6), "cheekSquint": (0, 0.6)}),
    "fear": (0.05, {"browInnerUp": (0.3, 1), "browOuterUp": (0, 0.6), "eyeWide": (0.3, 1),
                    "mouthStretch": (0.2, 1), "jawOpen": (0, 0.6), "browDown": (0, 0.3)}),
    "speech": (0.09, {"jawOpen": (0.05, 0.5), "mouthFunnel": (0, 0.6), "mouthPucker": (0, 0.5),
                      "mouthClose": (0, 0.3), "mouthLowerDown": (0, 0.6), "mouthUpperUp": (0, 0.4),
                      "mouthStretch": (0, 0.4), "mouthRollLower": (0, 0.4)}),
    "pucker": (0.03, {"mouthPucker": (0.3, 1), "mouthFunnel": (0, 0.4), "cheekPuff": (0, 0.3)}),
    "pressed lips": (0.04, {"mouthPress": (0.2, 1), "mouthRollLower": (0, 0.7), "mouthRollUpper": (0, 0.7),
                            "mouthDimple": (0, 0.5), "mouthShrugLower": (0, 0.5)}),
    "eyes closed": (0.01, {"eyeBlink": (0.5, 1)}),
}


# For training images beside TEMPLATES. Upper faces and mouths are drawn apart, so that a network cannot read the one
# off the other; chances within each table sum to 1.
UPPER: dict[str, tuple[float, dict[str, tuple[float, float]]]] = {
    "at rest": (0.20, {}),
    "brows up": (0.21, {"browInnerUp": (0.4, 1), "browOuterUp": (0.4, 1), "eyeWide": (0, 0.8)}),
    "outer brows up": (0.05, {"browOuterUp": (0.3, 1), "browInnerUp": (0, 0.2)}),
    "worry": (0.10, {"browInnerUp": (0.35, 1), "browDown": (0, 0.5), "eyeSquint": (0, 0.4)}),
    "frown": (0.24, {"browDown": (0.4, 1), "eyeSquint": (0, 0.8), "noseSneer": (0, 0.4)}),
    "wide eyes": (0.07, {"eyeWide": (0.4, 1), "browInnerUp": (0, 0.4)}),
    "squint": (0.08, {"eyeSquint": (0.4, 1), "cheekSquint": (0, 0.9), "browDown": (0, 0.4)}),
    "drowsy": (0.05, {"eyeBlink": (0.2, 1)}),
}
MOUTHS: dict[str, tuple[float, dict[str, tuple[float, float]]]] = {
    "at rest": (0.10, {}),
    "lips apart": (0.06, {"jawOpen": (0.04, 0.3), "mouthLowerDown": (0, 0.2)}),
    "half-open smile": (0.14, {"mouthSmile": (0.4, 1), "mouthUpperUp": (0.15, 1), "jawOpen": (0.02, 0.35),
                               "mouthLowerDown": (0, 0.7), "cheekSquint": (0, 0.8), "mouthStretch": (0, 0.4)}),
    "laugh": (0.06, {"mouthSmile": (0.6, 1), "mouthUpperUp": (0.3, 1), "jawOpen": (0.25, 0.8),
                     "mouthLowerDown": (0.1, 0.9), "cheekSquint": (0.3, 1)}),
    "closed smile": (0.08, {"mouthSmile": (0.25, 1), "mouthPress": (0, 0.4), "mouthDimple": (0, 0.6)}),
    "aa": (0.10, {"jawOpen": (0.4, 1), "mouthLowerDown": (0, 0.6), "mouthUpperUp": (0, 0.4)}),
    "shout": (0.08, {"jawOpen": (0.35, 1), "mouthLowerDown": (0.3, 1), "mouthUpperUp": (0.2, 1),
                     "mouthStretch": (0, 0.8), "noseSneer": (0, 0.7)}),
    "ee": (0.06, {"mouthStretch": (0.2, 0.9), "jawOpen": (0.02, 0.25), "mouthUpperUp": (0.1, 0.6),
                  "mouthLowerDown": (0.2, 0.9), "mouthSmile": (0, 0.3)}),
    "oo": (0.07, {"mouthPucker": (0.3, 1), "mouthFunnel": (0.1, 0.9), "jawOpen": (0, 0.3)}),
    "sh": (0.03, {"mouthFunnel": (0.4, 1), "mouthStretch": (0, 0.3), "jawOpen": (0, 0.15)}),
    "ff": (0.03, {"mouthRollLower": (0.4, 1), "mouthUpperUp": (0.1, 0.6), "jawOpen": (0, 0.15)}),
    "mm": (0.05, {"mouthPress": (0.1, 0.9), "mouthRollLower": (0, 0.8), "mouthRollUpper": (0, 0.8)}),
    "jaw down, lips closed": (0.03, {"jawOpen": (0.4, 1)}),
    "corners down": (0.06, {"mouthFrown": (0.3, 1), "mouthShrugLower": (0, 0.8), "mouthPress": (0, 0.4)}),
    "sneer": (0.02, {"noseSneer": (0.3, 1), "mouthUpperUp": (0.1, 0.9)}),
    "bared teeth": (0.03, {"mouthStretch": (0.3, 1), "mouthUpperUp": (0.3, 1), "mouthLowerDown": (0.3, 1),
                           "noseSneer": (0, 0.7), "jawOpen": (0, 0.2)}),
}

# Strong faces whose upper half and mouth belong together, as they mostly do in life.
WHOLE: dict[str, tuple[float, dict[str, tuple[float, float]]]] = {
    "rage": (0.25, {"browDown": (0.5, 1), "eyeSquint": (0.2, 0.8), "noseSneer": (0.2, 0.8), "jawOpen": (0.05, 0.5),
                    "mouthUpperUp": (0.2, 0.9), "mouthLowerDown": (0.3, 1), "mouthStretch": (0.1, 0.8)}),
    "battle cry": (0.20, {"browDown": (0.4, 1), "eyeSquint": (0.2, 0.9), "noseSneer": (0.2, 0.8), "jawOpen": (0.5, 1),
                          "mouthUpperUp": (0.2, 0.9), "mouthLowerDown": (0.3, 1), "mouthStretch": (0, 0.6)}),
    "scowl": (0.12, {"browDown": (0.5, 1), "eyeSquint": (0.2, 0.8), "noseSneer": (0, 0.4), "mouthPress": (0, 0.9),
                     "mouthFrown": (0, 0.6), "mouthShrugLower": (0, 0.6)}),
    "amazement": (0.18, {"browInnerUp": (0.4, 1), "browOuterUp": (0.4, 1), "eyeWide": (0.2, 1), "jawOpen": (0.2, 1),
                         "mouthFunnel": (0, 0.5), "mouthStretch": (0, 0.3)}),
    "delight": (0.05, {"browInnerUp": (0.3, 1), "browOuterUp": (0.3, 1), "eyeWide": (0, 0.6), "mouthSmile": (0.5, 1),
                       "mouthUpperUp": (0.1, 0.7), "jawOpen": (0.2, 0.9), "cheekSquint": (0, 0.6)}),
    "grin": (0.12, {"mouthSmile": (0.6, 1), "cheekSquint": (0.3, 1), "eyeSquint": (0.1, 0.6), "jawOpen": (0.05, 0.35),
                    "mouthUpperUp": (0.3, 1), "mouthLowerDown": (0.2, 0.8)}),
    "weeping": (0.08, {"browInnerUp": (0.4, 1), "browDown": (0, 0.5), "eyeSquint": (0.2, 0.7), "mouthFrown": (0.3, 1),
                       "mouthStretch": (0, 0.6), "mouthShrugLower": (0.2, 0.9)}),
}


def sample_weights(rng: np.random.Generator) -> np.ndarray:
    """One plausible mixture for the expression basis: float64 [52] in [0, 1]; gaze and tongueOut are 0.

    A tenth are neutral, 55% follow an emotion or speech template at some intensity, the rest are free
    mixtures of one to six units; every face gets a little tonic activity, and some a blink.
    """
    weights = np.zeros(len(BLENDSHAPES))
    kind = rng.random()
    if kind >= 0.10:
        if kind < 0.65:
            ranges = _drawn(TEMPLATES, rng)
            intensity = rng.uniform(0.35, 1.0)
            for name, (low, high) in ranges.items():
                _put(weights, name, intensity * rng.uniform(low, high), rng)
            for name in rng.choice(PAIRED + SINGLE, 2):
                _put(weights, name, 0.3 * rng.random(), rng)
        else:
            for name in rng.choice(PAIRED + SINGLE, rng.integers(1, 7), replace=False):
                _put(weights, name, rng.beta(1, 1.3), rng)
    _add_tonus(weights, rng)
    return feasible(weights)


def training_weights(rng: np.random.Generator) -> np.ndarray:
    """One expression of a training image: float64 [52] in [0, 1]; gaze and tongueOut are 0.

    30% as sample_weights; 40% an upper face and a mouth drawn apart; 22% a strong face that is of one piece; 8% one
    unit alone, in a third of them on one side only. More than half are stronger than what sample_weights draws: of
    weak faces a network learns to answer with still weaker ones, and the photographs that people take are of strong
    ones.
    """
    kind = rng.random()
    if kind < 0.30:
        return sample_weights(rng)
    weights = np.zeros(len(BLENDSHAPES))
    if kind < 0.38:
        name = str(rng.choice(PAIRED + SINGLE))
        value = rng.uniform(0.25, 1.0)
        if name in PAIRED and rng.random() < 1 / 3:
            weights[INDEX[name + ("Left" if rng.random() < 0.5 else "Right")]] = value
        else:
            _put(weights, name, value, rng)
        if name == "mouthClose":
            weights[INDEX["jawOpen"]] = value
        return feasible(weights)
    for table in (WHOLE,) if kind < 0.60 else (UPPER, MOUTHS):
        ranges = _drawn(table, rng)
        intensity = rng.uniform(0.6, 1.15)
        # A whole half face leans to one side now and then: a smirk, one raised brow.
        lean = rng.uniform(-1, 1) if rng.random() < 0.15 else 0.0
        for name, (low, high) in ranges.items():
            _put(weights, name, intensity * rng.uniform(low, high), rng, lean)
        if ranges is MOUTHS["jaw down, lips closed"][1] or (ranges and rng.random() < 0.06):
            weights[INDEX["mouthClose"]] = weights[INDEX["jawOpen"]] * rng.uniform(0.6, 1.0)
    _add_tonus(weights, rng)
    return feasible(weights)


def _drawn(table: dict, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    names = list(table)
    chance = np.array([table[name][0] for name in names])
    return table[names[rng.choice(len(names), p=chance / chance.sum())]][1]


def _put(weights: np.ndarray, name: str, value: float, rng: np.random.Generator, lean: float = 0.0) -> None:
    """Raises a blendshape, or both sides of one, to a value; lean in -1..1 weakens one side."""
    if name in INDEX:
        weights[INDEX[name]] = max(weights[INDEX[name]], min(value, 1.0))
        return
    # People are a little asymmetric always, and now and then a lot (one-sided smiles, a raised brow).
    tilt = rng.uniform(-1, 1) if rng.random() < 0.12 else np.clip(rng.normal(0, 0.08), -0.5, 0.5)
    shares = (1 + tilt) * (1 - max(lean, 0.0)), (1 - tilt) * (1 + min(lean, 0.0))
    for side, share in zip(("Left", "Right"), shares, strict=True):
        index = INDEX[name + side]
        weights[index] = max(weights[index], np.clip(value * share, 0, 1))


def _add_tonus(weights: np.ndarray, rng: np.random.Generator) -> None:
    """A little activity anywhere, and now and then a blink."""
    for name in PAIRED + SINGLE:
        if rng.random() < 0.2:
            _put(weights, name, 0.1 * rng.random(), rng)
    if rng.random() < 0.12:
        _put(weights, "eyeBlink", rng.uniform(0.2, 1), rng)


def feasible(weights: np.ndarray) -> np.ndarray:
    """Weights [52] with what muscles exclude removed: lips close no further than the jaw opens,
    jaw and mouth go to one side, a lid is not both wide and shut, a smiling corner is not pulled down."""
    w = weights.copy()
    w[INDEX["mouthClose"]] = min(w[INDEX["mouthClose"]], w[INDEX["jawOpen"]])
    for part in ("jaw", "mouth"):
        left, right = INDEX[part + "Left"], INDEX[part + "Right"]
        w[left if w[left] < w[right] else right] = 0
    for side in ("Left", "Right"):
        blink = w[INDEX["eyeBlink" + side]]
        w[INDEX["eyeWide" + side]] *= 1 - blink
        w[INDEX["eyeSquint" + side]] = min(w[INDEX["eyeSquint" + side]], 2 * (1 - blink))
        w[INDEX["mouthFrown" + side]] *= 1 - 0.7 * w[INDEX["mouthSmile" + side]]
    return w


def mirror_ids() -> np.ndarray:
    """int [52]: the blendshape that each becomes in a mirror (Left <-> Right)."""
    swap = {"Left": "Right", "Right": "Left"}
    ids = np.arange(len(BLENDSHAPES))
    for name, i in INDEX.items():
        for side, other in swap.items():
            if name.endswith(side):
                ids[i] = INDEX[name[: -len(side)] + other]
    return ids
