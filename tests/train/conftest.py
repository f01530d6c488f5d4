import os

import pytest

from expnet_tf.data.pack import pack
from expnet_tf.data.pack_plan import Options
from expnet_tf.data.synth import synthesize


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """A folder of 24 labelled faces of six people, procedural skin, 64 px."""
    folder = tmp_path_factory.mktemp("faces")
    synthesize(folder, 6, 4, size=64, seed=3, workers=1)
    return folder


@pytest.fixture(scope="session")
def packed(faces, tmp_path_factory):
    """The same as packed shards of whole images: 20 for training, 4 for validation."""
    folder = tmp_path_factory.mktemp("packed")
    pack([faces], folder, Options(size=64), workers=1)
    return folder


@pytest.fixture(scope="session")
def quick():
    """Environment of a process that trains: quiet, and the numbers of threads of the tests."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
