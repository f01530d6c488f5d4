"""`expnet average`: files in, one file out, sentences instead of tracebacks."""

import numpy as np

from expnet_tf.cli import main
from expnet_tf.commands.common import FINE, USAGE
from expnet_tf.models import resolve
from expnet_tf.network import load_model, read_info


def test_a_shipped_model_with_itself(tmp_path, capsys):
    shipped, made = resolve("compact"), tmp_path / "mean.keras"
    assert main(["average", str(shipped), str(shipped), "--out", str(made), "--version", "9", "--float16"]) == FINE
    assert "expression, identity, pose of the mean of 2 networks" in capsys.readouterr().out
    assert read_info(made).version == "9"
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)
    one, other = load_model(shipped)(image), load_model(made)(image)
    np.testing.assert_allclose(other["expression"], one["expression"], atol=1e-5)


def test_what_it_refuses(tmp_path, capsys):
    shipped = str(resolve("compact"))
    cases = {
        (shipped, shipped, "--out", str(tmp_path / "m.h5")): "a model is saved as .keras",
        (shipped, "--out", str(tmp_path / "m.keras")): "two networks or more",
        (shipped, str(tmp_path / "none.keras"), "--out", str(tmp_path / "m.keras")): "none.keras",
        (shipped, str(resolve("base")), "--out", str(tmp_path / "m.keras")): "networks alike",
    }
    for arguments, message in cases.items():
        assert main(["average", *arguments]) == USAGE
        said = capsys.readouterr().err
        assert message in said
        assert len(said.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
