"""Rendered faces that the tests of this folder share."""

from pathlib import Path

import pytest

from expnet_tf.data.synth import synthesize


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `expnet synth`: four people, three images of 64 px each. Not to be written to."""
    folder = tmp_path_factory.mktemp("faces")
    synthesize(folder, 4, 3, size=64, seed=5, workers=1)
    return folder
