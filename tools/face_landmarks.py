"""The 68 iBUG landmarks as vertices of the open face model.

Found on the frontal base mesh by hand and eye, no landmark detector involved: each line below is where the
point lies (x, y in mm on the base mesh, left half and midline); the vertex is the nearest one on the visible
surface of the part named, and the right half is its mirror image. Jaw points 0-16 lie on the frontal silhouette:
under yaw they are no fixed vertices (mask them, or march them along the contour).
"""

import numpy as np

# iBUG number -> (x, y, part). x > 0 is the person's left, the right of a frontal image.
LEFT_AND_MID: dict[int, tuple[float, float, str]] = {
    8: (0, 617.7, "skin"), 9: (17, 619.5, "skin"), 10: (34, 626, "skin"), 11: (48, 638, "skin"),
    12: (58, 655, "skin"), 13: (64, 673, "skin"), 14: (67.5, 691, "skin"), 15: (69.5, 709, "skin"),
    16: (70, 727, "skin"),
    22: (9, 742.5, "skin"), 23: (18.5, 746, "skin"), 24: (29, 748.5, "skin"), 25: (39, 748, "skin"),
    26: (48, 742, "skin"),
    27: (0, 726.1, "skin"), 28: (0, 714.8, "skin"), 29: (0, 703.4, "skin"), 30: (0, 693.8, "skin"),
    33: (0, 678.9, "skin"), 34: (6, 680, "skin"), 35: (12, 682, "skin"),
    42: (17.5, 727.3, "skin"), 43: (26.8, 733.2, "skin"), 44: (35.5, 733.1, "skin"),
    45: (43.8, 728.8, "skin"), 46: (35.5, 724.3, "skin"), 47: (26.8, 724.5, "skin"),
    51: (0, 669.6, "skin"), 52: (5, 670.8, "skin"), 53: (15, 666, "skin"), 54: (24.6, 660, "skin"),
    55: (15.5, 652.5, "skin"), 56: (7, 649.3, "skin"), 57: (0, 648.8, "skin"),
    62: (0, 660.8, "upper"), 63: (8, 661.3, "upper"), 64: (22.3, 660.2, "skin"), 65: (8, 658.8, "lower"),
    66: (0, 658.8, "lower"),
}
RIGHT_OF = {9: 7, 10: 6, 11: 5, 12: 4, 13: 3, 14: 2, 15: 1, 16: 0, 22: 21, 23: 20, 24: 19, 25: 18, 26: 17,
            34: 32, 35: 31, 42: 39, 43: 38, 44: 37, 45: 36, 46: 41, 47: 40, 52: 50, 53: 49, 54: 48, 55: 59,
            56: 58, 63: 61, 64: 60, 65: 67}
FOUND_BY = "by hand on the frontal base mesh; right half mirrored; no landmark detector involved"


def landmark_ids(vertices: np.ndarray, triangles: np.ndarray, skin: np.ndarray, jaw_open: np.ndarray,
                 mirror: np.ndarray) -> np.ndarray:
    """int [68] vertex ids.

    vertices [n, 3] mm of the base mesh, skin bool [n], jaw_open [n, 3] mm, mirror int [n].
    """
    corners = vertices[triangles]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(normals, triangles[:, i], face_normals)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    falls = np.linalg.norm(jaw_open, axis=1) > 0.5 * np.linalg.norm(jaw_open, axis=1).max()
    ids = np.full(68, -1)
    for number, (x, y, part) in LEFT_AND_MID.items():
        # Along the jaw the surface turns away from the viewer; the neck lies behind it.
        allowed = skin & (normals[:, 2] > (-0.6 if number <= 16 else -0.05))
        allowed &= vertices[:, 2] > (90 if 8 <= number <= 10 else 0)
        if part != "skin":
            allowed &= falls if part == "lower" else ~falls
        if x == 0:
            allowed &= mirror == np.arange(len(vertices))
        distance = np.where(allowed, np.hypot(vertices[:, 0] - x, vertices[:, 1] - y), np.inf)
        near = np.flatnonzero(distance < distance.min() + 1.0)
        ids[number] = near[vertices[near, 2].argmax()]
    for left, right in RIGHT_OF.items():
        ids[right] = mirror[ids[left]]
    return ids
