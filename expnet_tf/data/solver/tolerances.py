"""When the landmark fits stop, and when they say that they cannot: the same numbers for every solver."""

STEPS = 60
"""Gauss-Newton steps; 3 to 6 are usual with a known pose."""
RENEWED = 8
"""Steps of a pinhole with known pose that share a matrix, after the first two."""
HALVINGS = 20
"""Of a step that makes things worse."""
TOLERANCE = 1e-10
"""Of the last step: sigma, rad, parts of the distance or scale."""
EXACT = 1e-24
"""Of the points' squares: a cost below this is rounding."""
WEAK_PIVOT = 1e-11
"""Relative; below it a column of the least-squares problem depends on the others."""
RIDGE = 1e-9
"""Of the largest diagonal entry, added to the diagonal where a column does."""
