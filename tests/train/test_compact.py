import json

import numpy as np
import pytest

from expnet_tf.network import load_model, read_info
from expnet_tf.train import compact


@pytest.mark.slow
def test_a_short_run_learns_and_writes_a_model_without_the_landmark_head(faces, tmp_path, monkeypatch):
    out = tmp_path / "run"
    monkeypatch.setattr(
        "sys.argv",
        ["train", str(faces), "--validation", str(faces), "--out", str(out), "--epochs", "40", "--batch-size", "4"],
    )
    compact.main()
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 40
    # 80 steps on eight images: 0.45 and 0.25 of the start when this was written.
    assert lines[-1]["points_loss"] < 0.7 * lines[0]["points_loss"]
    assert lines[-1]["expression_loss"] < 0.7 * lines[0]["expression_loss"]
    model, info = load_model(out / "compact.keras"), read_info(out / "compact.keras")
    assert set(model.output) == {"expression", "identity", "pose"}
    assert info.crop_factor == compact.CROP_FACTOR
    assert np.isfinite(model.predict_on_batch(np.zeros((1, 96, 96, 3), np.uint8))["expression"]).all()
