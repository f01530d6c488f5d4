"""`expnet train`: arguments, and sentences instead of tracebacks."""

from expnet_tf.cli import main
from expnet_tf.commands.common import FINE, USAGE
from expnet_tf.models import resolve
from expnet_tf.network import ModelError


def test_help_names_what_a_run_leaves(capsys):
    assert main(["train", "--help"]) == FINE
    said = capsys.readouterr().out
    assert "checkpoint.npz" in said
    assert "--batch-size" in said


def test_arguments_are_checked(tmp_path, capsys):
    ways = {
        "--learning-rate 0": "'0' is not a number above 0",
        "--config best": "invalid choice: 'best'",
        "--target face": "invalid choice: 'face'",
        "--steps 0": "'0' is not a whole number",
    }
    for arguments, message in ways.items():
        assert main(["train", "--data", "d", "--out", str(tmp_path), *arguments.split()]) == USAGE
        assert message in capsys.readouterr().err


def test_data_that_is_not_packed(tmp_path, capsys):
    assert main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == USAGE
    sentence = f"expnet train: {tmp_path / 'manifest.json'} does not exist (expnet pack makes such a folder)"
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_command_that_a_missing_model_names_is_one(tmp_path, capsys):
    """models.py says which command trains ResNet-101: it must be understood up to the data that are not there."""
    try:
        resolve("resnet101")
    except ModelError as error:
        command = str(error).split("`")[1]
    words = command.replace("DIR", str(tmp_path)).replace("RUN", str(tmp_path / "run")).split()
    assert words[0] == "expnet"
    assert main(words[1:]) == USAGE
    assert "manifest.json does not exist" in capsys.readouterr().err
