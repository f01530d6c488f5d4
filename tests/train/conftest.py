import pytest

from expnet_tf.data.synth import synthesize


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """A folder of eight labelled faces of four people, procedural skin, 96 px."""
    folder = tmp_path_factory.mktemp("faces")
    synthesize(folder, 4, 2, size=96, seed=3, workers=1)
    return folder
