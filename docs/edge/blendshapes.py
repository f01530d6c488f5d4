"""Print blendshapes.h: the linear map from the expression coefficients to the 52 blendshape weights, as C data."""

from __future__ import annotations

from expnet_tf.morphable import open_face

face_model = open_face()
weights = face_model.expression_to_blendshapes  # float32 [expressions, blendshapes]
names = ",\n    ".join(f'"{name}"' for name in face_model.blendshape_names)
rows = ",\n    ".join("{" + ", ".join(f"{value!r}" for value in row.tolist()) + "}" for row in weights)
made_from = "{name}-{version}".format(**face_model.provenance)
print(f"""\
/* Written by blendshapes.py from the face model {made_from}. The weight of blendshape b is the sum over e of
   expression[e] * expression_to_blendshapes[e][b], clipped to 0 ... 1. */

#define EXPRESSIONS {weights.shape[0]}
#define BLENDSHAPES {weights.shape[1]}

static const char *const blendshape_names[BLENDSHAPES] = {{
    {names}}};

static const double expression_to_blendshapes[EXPRESSIONS][BLENDSHAPES] = {{
    {rows}}};""")
