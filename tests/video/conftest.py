"""What the video tests share: the shipped network, loaded once."""

import importlib.util
import sys
from pathlib import Path

import pytest

# pytest's importlib mode knows no neighbours.
_spec = importlib.util.spec_from_file_location("films", Path(__file__).with_name("films.py"))
assert _spec is not None
assert _spec.loader is not None
films = importlib.util.module_from_spec(_spec)
sys.modules.setdefault("films", films)
_spec.loader.exec_module(films)


@pytest.fixture(scope="session")
def predictor():
    from expnet_tf.predictor import load

    return load()
