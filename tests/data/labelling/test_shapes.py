"""Shapes of single images, and the one shape of a person."""

import re

import numpy as np
import pytest

from expnet_tf.data.labelling.shapes import open_shapes, pool
from expnet_tf.data.labelling.tables import TableError, TrueLabels
from expnet_tf.models import DEFAULT


def test_pool_is_the_mean_of_a_persons_images():
    one, two, three = np.array([1.0, 0]), np.array([3.0, 2]), np.array([9.0, 9])
    pooled = pool(["a", "a", "b", "a", "c"], [one, two, three, None, None])
    assert set(pooled) == {"a", "b"}
    np.testing.assert_allclose(pooled["a"], [2, 1])
    np.testing.assert_allclose(pooled["b"], three)


def test_pool_by_confidence():
    one, two, three = np.array([1.0, 0]), np.array([3.0, 2]), np.array([9.0, 9])
    pooled = pool(["a", "a", "b"], [one, two, three], [3.0, 1.0, 0.0])
    np.testing.assert_allclose(pooled["a"], [1.5, 0.5])  # (3 * 1 + 1 * 3) / 4, (3 * 0 + 1 * 2) / 4
    assert "b" not in pooled  # nothing is known of it with any confidence


def test_an_npz_of_shapes(tmp_path):
    codes = np.arange(2 * 99, dtype=np.float32).reshape(2, 99)
    codes[1, 7] = np.nan
    np.savez(tmp_path / "s.npz", key=np.array(["a.jpg", "b.jpg"]), identity=codes)
    found = open_shapes(f"npz:{tmp_path}/s.npz", None, 99)
    np.testing.assert_array_equal(found.find("a.jpg", None), codes[0])
    assert found.find("b.jpg", None) is None
    assert found.find("c.jpg", None) is None
    with pytest.raises(TableError, match=re.escape("identity is float32 [2, 99]; float [2, 98] is needed")):
        open_shapes(f"npz:{tmp_path}/s.npz", None, 98)


def test_other_sources(faces):
    truth = TrueLabels(faces)
    identity = truth.row("0000002/001.jpg")["identity"]
    np.testing.assert_array_equal(open_shapes("labels", truth, 99).find("0000002/001.jpg", None), identity)
    network = open_shapes("network", None, 99)
    assert network.network == DEFAULT
    assert open_shapes("network:mine.keras", None, 99).network == "mine.keras"
    assert network.find("a", None) is None  # no face was found
    np.testing.assert_array_equal(network.find("a", {"identity": np.ones(99, np.float32)}), np.ones(99))


@pytest.mark.parametrize(("text", "words"), [
    ("labels", "--shape labels needs a folder of expnet synth"),
    ("mean", "--shape is 'mean'; accepted: network[:MODEL], npz:FILE, or labels"),
    ("npz", "--shape is 'npz'; accepted"),
])  # fmt: skip
def test_what_is_not_accepted(text, words):
    with pytest.raises(TableError, match=re.escape(words)):
        open_shapes(text, None, 99)
