"""Frames at their own pace."""

import threading
import time

import numpy as np

from expnet_tf.live.reading import Shot, Slot, read
from expnet_tf.video.reader import Dropped, Facts, Frame


class Five:
    """Five frames at 50 frames/s, of which the third is missing."""

    facts = Facts("five", 4, 4, 50.0, 5, 0)

    def frames(self, start=0):
        for index in range(5):
            yield Dropped(2, 1, "damaged") if index == 2 else Frame(index, index / 50, np.zeros((4, 4, 3), np.uint8))


def taken(paced=False, patient=True, loop=False, until=4):
    """What comes out of the slot, what was told, and how long it took."""
    slot, stop, begin, told, shots = Slot(), threading.Event(), threading.Event(), [], []
    begin.set()
    start = time.monotonic()
    thread = threading.Thread(target=read, args=(Five(), slot, stop, begin, paced, patient, loop, told.append))
    thread.start()
    while len(shots) < until and (shot := slot.take()) is not None:
        shots.append(shot)
    passed = time.monotonic() - start
    stop.set()
    slot.close()
    thread.join(5)
    assert not thread.is_alive()
    return shots, told, passed, slot


def test_every_frame_and_what_is_missing():
    shots, told, _, slot = taken(until=99)
    assert [shot.frame.index for shot in shots] == [0, 1, 3, 4]
    assert [gap.index for gap in told] == [2]
    assert slot.missed == 0


def test_a_clip_takes_its_time():
    shots, _, passed, _ = taken(paced=True)
    assert passed >= 4 / 50
    assert all(one.arrived - shots[0].arrived >= one.frame.time - shots[0].frame.time - 0.02 for one in shots)


def test_round_and_round():
    shots, told, _, _ = taken(loop=True, until=10)
    assert [shot.frame.index for shot in shots] == [0, 1, 3, 4, 5, 6, 8, 9, 10, 11]
    np.testing.assert_allclose(np.diff([shot.frame.time for shot in shots[3:8]]), [0.02, 0.02, 0.04, 0.02])
    assert len(told) == 1


def test_the_newest_replaces_what_nobody_took():
    slot = Slot()
    for index in range(5):
        slot.put(Shot(Frame(index, 0.0, np.zeros((4, 4, 3), np.uint8)), 0.0), patient=False)
    slot.close()
    assert slot.take().frame.index == 4
    assert slot.take() is None
    assert slot.missed == 4


def test_stopped_before_anybody_looked():
    slot, stop, never = Slot(), threading.Event(), threading.Event()
    stop.set()
    read(Five(), slot, stop, never, True, False, False, print)
    assert slot.take() is None
