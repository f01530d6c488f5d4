"""What every test runs under: quiet TensorFlow, fixed thread counts, slow tests last, the optional data."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Before anything imports TensorFlow or numpy. Two threads: the same on every machine, large or small.
for _name, _value in {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "OMP_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
    "NUMBA_NUM_THREADS": "2",
    "TF_NUM_INTRAOP_THREADS": "2",
    "TF_NUM_INTEROP_THREADS": "1",
}.items():
    os.environ.setdefault(_name, _value)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked slow go last, so that a mistake shows within seconds; each folder stays on one process.

    The folders share what takes long to make: an export, a rendered data set, a server.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        # Files of the top folder share nothing.
        item.add_marker(pytest.mark.xdist_group(folder))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The optional folder of photos and assets that the project works without; skips where there is none."""
    folder = Path(os.environ.get("EXPNET_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no optional data folder: {folder} has no folder data (set EXPNET_SHARED)")
    return folder
