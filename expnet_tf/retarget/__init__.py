"""Expression codes of one face model as codes of another, or as weights of the 52 ARKit blendshapes, and back."""


class RetargetError(ValueError):
    """What was asked for cannot be: one sentence."""
