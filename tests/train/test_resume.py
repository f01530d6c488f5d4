"""Runs that are killed with SIGKILL end as a run that was not."""

import json
import random
import signal
import subprocess
import sys

import numpy as np
import pytest

# Every kind of state at once: moments and average of the weights, plateau, warm-up of batch normalisation, crops by
# chance, landmark heads. Steps go to standard output as they are done.
RUN = """
import sys
from dataclasses import replace
from pathlib import Path
from expnet_tf.train.config import Job, modern
from expnet_tf.train.run import train

class Bar:
    def __init__(self, total, initial, unit): pass
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def update(self, steps): print("step", flush=True)

config = replace(modern(), patience=1, batch_size=4, epochs=4, learning_rate=1e-1)
job = Job((Path(sys.argv[1]),), Path(sys.argv[2]), config, size=32, checkpoint_every=2)
train(job, say=lambda text: None, bar=Bar)
"""


def start(packed, out, quick):
    return subprocess.Popen([sys.executable, "-c", RUN, str(packed), str(out)], stdout=subprocess.PIPE, env=quick)


def history(out):
    lines = json.loads((out / "report.json").read_text())["epochs"]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.mark.slow
def test_killed_twice_and_resumed_is_bit_equal(packed, tmp_path, quick):
    undisturbed = start(packed, tmp_path / "a", quick)
    # 20 steps in four epochs of five. Checkpoints: after each second step and each epoch.
    steps = random.Random().sample(range(1, 12), 2)
    for stop in steps:
        process = start(packed, tmp_path / "b", quick)
        for _ in range(stop):
            assert process.stdout.readline() == b"step\n"
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
    process = start(packed, tmp_path / "b", quick)
    process.communicate(timeout=300)
    undisturbed.communicate(timeout=300)
    assert process.returncode == 0
    assert undisturbed.returncode == 0, f"killed after {steps} steps"
    a, b = history(tmp_path / "a"), history(tmp_path / "b")
    assert len(a) == 4
    assert a == b, f"killed after {steps} steps"
    assert a[-1]["learning_rate"] < a[0]["learning_rate"], "the plateau was not reached: the test does not see it"
    with np.load(tmp_path / "a/checkpoint.npz") as first, np.load(tmp_path / "b/checkpoint.npz") as second:
        assert sorted(first.files) == sorted(second.files)
        for name in set(first.files) - {"progress"}:
            np.testing.assert_array_equal(first[name], second[name], err_msg=f"killed after {steps} steps")
