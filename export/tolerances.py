"""What an artifact may differ by from the reference, by precision, and why."""

from __future__ import annotations

from typing import NamedTuple


class Tolerance(NamedTuple):
    """None: not judged. Errors of vertices are those of the expression, decoded in float64 with zero identity."""

    max_dz_sigma: float | None  # worst expression coefficient of the worst face
    mean_dz_sigma: float | None  # mean over coefficients and faces of |dz|
    vertex_max_mm: float | None  # worst vertex of the worst face
    vertex_rms_mm: float | None  # over all faces and vertices
    other_heads: float  # worst of all their numbers, in parity.UNIT


# Another order of the same float32 sums differs by about 1e-5 sigma. A wrong weight, a lost mean image or
# swapped channels differ by 1e-2 and more: 1e-3 lies between. 0.01 mm is a tenth of what a face scanner sees.
FLOAT32 = Tolerance(
    max_dz_sigma=1e-3, mean_dz_sigma=None, vertex_max_mm=0.01, vertex_rms_mm=None, other_heads=1e-3
)
# Weights rounded to 11 bits move coefficients by a few 1e-3 sigma. Judged on the mesh, where it matters, at
# about the rounding of the 3DMM's own float16 storage (0.04 mm).
FLOAT16 = Tolerance(
    max_dz_sigma=None, mean_dz_sigma=None, vertex_max_mm=None, vertex_rms_mm=0.05, other_heads=0.05
)
# Eight bits move a lip by some tenths of a millimetre. 0.35 mm rms is less than half of what the network itself errs
# by on faces it has not seen (0.8 mm): what the quantisation costs stays below what the model does not know. It is the
# limit that counts; 0.15 sigma on average, a tenth of the most sensitive blendshape, is there for components that
# move little of the mesh. The other heads may be off, in the worst of all faces and numbers, by half a unit of
# their own spread.
INT8 = Tolerance(
    max_dz_sigma=None, mean_dz_sigma=0.15, vertex_max_mm=None, vertex_rms_mm=0.35, other_heads=0.5
)

TOLERANCES = {"float32": FLOAT32, "float16": FLOAT16, "int8": INT8}
