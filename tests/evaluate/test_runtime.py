"""The table of times: every method has its stages, in a process of its own; no times are asserted."""

import json

import numpy as np
import pytest

from expnet_tf.evaluate import runtime, stopwatch
from expnet_tf.image import read_image
from expnet_tf.models import ASSETS, shipped
from expnet_tf.network import read_info


def test_rows_add_up_and_detection_is_in_each():
    timed = [
        {"method": "detection", "runtime": "LiteRT", "seconds": {"detection": 0.25}},
        {"method": "net", "runtime": "Keras", "seconds": {"expression": 0.5}},
        {"method": "dlib", "runtime": "dlib", "seconds": {"landmarks": 1.0, "pose": 2.0, "expression": 4.0}},
    ]
    net, dlib = runtime._rows(timed, 2)
    assert net == {"method": "net", "runtime": "Keras", "threads": 2, "detection": 0.25, "landmarks": None,
                   "pose": None, "expression": 0.5, "total": 0.75}  # fmt: skip
    assert dlib["total"] == 7.25
    text = runtime.markdown({"machine": runtime.machine(), "photos": 3, "rows": [net, dlib], "paper": runtime.PAPER})
    assert "| net | Keras | 2 | 250.00 | - | - | 500.00 | 750.00 | - |" in text
    assert "300.00 |" in text.splitlines()[-1]


def test_the_fastest_of_three_counts(monkeypatch):
    clock = iter([0.0, 1.0, 1.0, 1.5, 2.0, 4.0, 10.0, 10.1, 20.0, 20.3, 30.0, 30.2])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(clock))
    called = []
    seconds = stopwatch._time({"stage": called.append}, 2)
    assert called == [0, 0, 0, 0, 1, 1, 1]  # the first compiles
    assert seconds["stage"] == pytest.approx((0.5 + 0.1) / 2)


@pytest.mark.slow
def test_the_stages_of_a_network(tmp_path):
    image = read_image(ASSETS / "astronaut.jpg")
    np.savez(tmp_path / "photos.npz", boxes=np.array([[183.0, 55, 88, 119]]), image0=image)
    (tmp_path / "job.json").write_text(json.dumps({"models": ["compact"], "baselines": []}))
    stopwatch.main(tmp_path / "job.json", tmp_path / "photos.npz", 1, tmp_path / "result.json")
    rows = runtime._rows(json.loads((tmp_path / "result.json").read_text()), 1)
    name = read_info(shipped()["compact"]).id
    assert [(row["method"], row["runtime"]) for row in rows] == [(name, "Keras"), (name, "LiteRT float32")]
    for row in rows:
        assert row["total"] == pytest.approx(row["detection"] + row["expression"], abs=1e-5)
        assert row["detection"] > 0
        assert row["expression"] > 0


def test_the_stages_of_a_baseline(tmp_path):
    pytest.importorskip("dlib")
    image = read_image(ASSETS / "astronaut.jpg")
    np.savez(tmp_path / "photos.npz", boxes=np.array([[183.0, 55, 88, 119]]), image0=image)
    (tmp_path / "job.json").write_text(json.dumps({"models": [], "baselines": ["dlib"]}))
    stopwatch.main(tmp_path / "job.json", tmp_path / "photos.npz", 1, tmp_path / "result.json")
    (row,) = runtime._rows(json.loads((tmp_path / "result.json").read_text()), 1)
    assert row["method"] == "dlib"
    assert all(row[stage] > 0 for stage in runtime.STAGES)


def test_large_photos_are_scaled_down_with_their_boxes():
    image, box = runtime._smaller(np.zeros((1920, 2560, 3), np.uint8), (100, 200, 300, 400))
    assert image.shape == (960, 1280, 3)
    assert box == [50, 100, 150, 200]


def test_no_photo_and_a_process_that_fails(monkeypatch):
    with pytest.raises(runtime.RuntimeFailure, match="no photo"):
        runtime.measure([], [], ["compact"], [])
    monkeypatch.setattr(runtime.sys, "executable", "false")
    with pytest.raises(runtime.RuntimeFailure, match=r"on 1 thread\(s\) could not be taken: exit code 1"):
        runtime.measure([np.zeros((64, 64, 3), np.uint8)], [(8, 8, 40, 40)], ["compact"], [], threads=[1])
