"""The release's files, as far as they are public knowledge: names, shapes and layouts, with made-up numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

VARIABLES = Path(__file__).with_name("variables.json")


@pytest.fixture(scope="session")
def variables() -> dict[str, dict[str, list[int]]]:
    """{scope: {variable: shape}} of exprCNN, shapeCNN and Spatial_Transformer."""
    record = json.loads(VARIABLES.read_text())
    del record["origin"]
    return record


@pytest.fixture(scope="session")
def basel() -> dict[str, np.ndarray]:
    """The arrays of BaselFaceModel_mod.mat, of 40 vertices in place of 46,990."""
    rng = np.random.default_rng(7)
    n = 40
    mean = rng.uniform(-80, 80, (n, 3)).astype(np.float32)
    faces = np.stack([rng.permutation(n)[:3] for _ in range(60)]) + 1
    return {
        "faces": faces.astype(np.float64),
        "shapeMU": mean.reshape(-1, 1),
        "shapePC": rng.normal(0, 0.1, (3 * n, 99)).astype(np.float32),
        "shapeEV": rng.uniform(1, 20, (99, 1)).astype(np.float32),
        "expMU": rng.normal(0, 1, (3 * n, 1)).astype(np.float32),
        "expPC": rng.normal(0, 0.1, (3 * n, 29)).astype(np.float32),
        "expEV": rng.uniform(1, 10, (29, 1)).astype(np.float32),
        "texMU": rng.uniform(0, 255, (3 * n, 1)).astype(np.float32),
        "texPC": rng.normal(0, 0.1, (3 * n, 99)).astype(np.float32),
        "texEV": rng.uniform(1, 40, (99, 1)).astype(np.float32),
    }


@pytest.fixture(scope="session")
def basel_file(basel: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    io = pytest.importorskip("scipy.io", reason="scipy writes and reads MATLAB files")
    path = tmp_path_factory.mktemp("basel") / "BaselFaceModel_mod.mat"
    io.savemat(path, {"BFM": basel})
    return path
