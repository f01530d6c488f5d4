"""Figures on synthetic faces, of methods whose answers are known: the truth, nothing, half of it."""

import json

import numpy as np
import pytest

from expnet_tf.data import labels
from expnet_tf.data.labels import LabelError, read_labels
from expnet_tf.data.synth import synthesize
from expnet_tf.evaluate import synthetic, synthetic_figures, synthetic_report
from expnet_tf.evaluate.methods import EXPRESSION
from expnet_tf.morphable import open_face


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces")
    synthesize(root, 4, 3, size=64, seed=5, workers=1)
    return root


class Oracle:
    """Answers with a function of the true expression, which it knows by the box."""

    space = EXPRESSION
    blendshapes = None

    def __init__(self, folder, name, answer):
        self.name = self.id = name
        columns = read_labels(folder)
        self.known = {tuple(np.round(box, 3)): answer(z) for box, z in zip(columns["box"].astype(float),
                      columns["expression"].astype(float), strict=True)}  # fmt: skip

    def codes(self, images, boxes):
        assert all(image.shape == (64, 64, 3) for image in images)
        return np.stack([self.known[tuple(np.round(box, 3))] for box in boxes])


def test_the_figures_of_known_answers(folder, tmp_path):
    mean = read_labels(folder)["expression"].astype(float).mean(0)
    half = Oracle(folder, "half", lambda z: (z + mean) / 2)
    methods = [Oracle(folder, "truth", lambda z: z), Oracle(folder, "nothing", lambda z: mean), half,
               Oracle(folder, "blind", lambda z: z * np.nan)]  # fmt: skip
    seen = []
    record = synthetic.evaluate(folder, methods, seen.append)
    assert sum(seen) == 12
    assert record["data"]["people"] == 4
    truth, nothing, halves, blind = record["methods"]
    assert truth["share"] == 0
    assert truth["components"]["r2"][0] == 1
    assert nothing["share"] == 1
    assert nothing["components"]["r2"][0] == pytest.approx(0, abs=1e-6)
    assert halves["share"] == 0.5
    assert halves["components"]["r2"][3] == 0.75
    for one in (*halves["zones"].values(), *halves["by yaw"], halves["frontal"]):
        assert one["share"] == pytest.approx(0.5, abs=1e-3) if one["images"] else one["share"] is None
    assert set(halves["zones"]) == {"face", "whole", "mouth", "eyes", "brows"}
    assert sum(one["images"] for one in halves["by yaw"]) == 12
    assert blind["abstained"] == 12
    assert "share" not in blind

    # The report says the same twice, and nothing in it is not a number.
    record["pictures"] = synthetic_figures.draw(tmp_path, record)
    assert record["pictures"] == ["components.png", "yaw.png", "zones.png"]
    synthetic_report.write(tmp_path, record)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"components.png", "yaw.png", "zones.png", "report.md", "report.json"}
    again = synthetic.evaluate(folder, methods)
    again["pictures"] = synthetic_figures.draw(tmp_path, again)
    synthetic_report.write(tmp_path, again)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert json.loads(first["report.json"])["methods"][0]["name"] == "truth"
    assert b"No codes: blind." in first["report.md"]


def test_zone_errors_are_what_the_mesh_says():
    """A code's error, decoded and measured with the loss' own weights."""
    model = open_face()
    z = np.zeros((2, 29))
    z[:, 0] = 0.5, -1
    found = synthetic.zone_errors(z, 0 * z)
    weights = synthetic.zones(model)["brows"]
    for row in (0, 1):
        moved = np.linalg.norm(model.decode(None, z[row]) - model.decode(), axis=1)
        assert found["brows"][row] == pytest.approx((moved * weights).sum())
    assert found["mouth"][0] > found["brows"][0]  # the first component opens the mouth


def test_calibration_of_a_method_that_reads_half():
    model = open_face()
    rng = np.random.default_rng(0)
    true = rng.random((300, 52)) ** 3 @ model.blendshapes_to_expression * 0.3
    rows = {row["blendshape"]: row for row in synthetic.calibration(true * 0.5, true)}
    assert "eyeLookUpLeft" not in rows  # gaze is never read
    row = rows["jawOpen"]
    assert row["slope"] == pytest.approx(0.5, abs=0.02)
    assert row["reliability"] == pytest.approx(2, abs=0.1)
    assert row["correlation"] > 0.99
    still = {row["blendshape"]: row for row in synthetic.calibration(true * 0, true)}
    assert still["jawOpen"]["reliability"] is None
    assert still["jawOpen"]["slope"] == 0


def test_neutral_faces_and_what_is_read_of_them():
    true = np.zeros((5, 29))
    true[3:, 0] = 2
    read = true.copy()
    read[0, 0] = 1
    found = synthetic.neutral_faces(read, true)
    assert found["images"] == 3
    assert found["true mm"] == 0
    assert found["read mm"] > 0.1
    assert synthetic.neutral_faces(read[3:], true[3:])["images"] == 0


def test_what_cannot_be_evaluated_is_said(folder, tmp_path):
    truth = Oracle(folder, "truth", lambda z: z)
    with pytest.raises(LabelError):
        synthetic.evaluate(tmp_path, [truth])
    truth.space = "elsewhere"
    with pytest.raises(synthetic.SyntheticError, match="truth gives elsewhere"):
        synthetic.evaluate(folder, [truth])
    columns = {**read_labels(folder), "quality": np.ones(12, np.float32)}
    labels.write_shard(tmp_path / labels.shard_name(0, 1), columns)
    with pytest.raises(synthetic.SyntheticError, match="fitted"):
        synthetic.evaluate(tmp_path, [])


def test_an_unreadable_image_is_named_and_the_others_go_on(folder, tmp_path):
    columns = read_labels(folder)
    labels.write_shard(tmp_path / labels.shard_name(0, 1), columns)
    for key in columns["key"][:5]:
        target = tmp_path / key
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((folder / key).read_bytes())
    (tmp_path / columns["key"][1]).write_bytes(b"broken")
    record = synthetic.evaluate(tmp_path, [Oracle(folder, "truth", lambda z: z)])
    assert record["data"]["images"] == 4
    assert len(record["data"]["unreadable"]) == 8
    assert str(columns["key"][1]) in record["data"]["unreadable"][0]
