"""VMC: packets as a real socket receives them, decoded by a decoder of its own; and Unity's coordinates."""

import socket

import numpy as np
import pytest

from expnet_tf.camera import rotation_matrix
from expnet_tf.live import osc
from expnet_tf.live.message import quaternion
from expnet_tf.live.vmc import LIMIT, VMC, packets, unity_rotation

NAMES = [f"{part}{side}" for part in ("eyeBlink", "mouthSmile", "cheekSquint") for side in ("Left", "Right")] * 9
WEIGHTS = {f"{name}{number}": number / 54 for number, name in enumerate(NAMES)}
MESSAGE = {
    "time": 1.25,
    "faces": [
        {"id": 4, "rotation": [0, 0, 0, 1], "blendshapes": {"jawOpen": 1.0}},
        {"id": 3, "rotation": [0.1, 0.2, 0.3, 0.9], "blendshapes": WEIGHTS},
    ],
}


def test_what_a_receiver_gets(decoded):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        sender = VMC(*receiver.getsockname())
        sender.send(MESSAGE)
        got = []
        while not got or got[-1] != ("/VMC/Ext/Blend/Apply",):
            packet = receiver.recv(65536)
            assert len(packet) <= LIMIT
            got += decoded(packet)
        sender.close()
    assert got[:2] == [("/VMC/Ext/OK", 1, 3, 0, 1), ("/VMC/Ext/T", 1.25)]
    # The person that has been there the longest, at no place of its own.
    assert got[2][:5] == ("/VMC/Ext/Bone/Pos", "Head", 0.0, 0.0, 0.0)
    np.testing.assert_allclose(got[2][5:], [0.1, -0.2, -0.3, 0.9], rtol=1e-6)
    values = [one[1:] for one in got[3:-1]]
    assert {one[0] for one in got[3:-1]} == {"/VMC/Ext/Blend/Val"}
    # Perfect Sync's names begin with a capital.
    assert [name for name, _ in values] == [name[0].upper() + name[1:] for name in WEIGHTS]
    np.testing.assert_allclose([weight for _, weight in values], list(WEIGHTS.values()), rtol=1e-6)


def test_nobody(decoded):
    (packet,) = packets({"time": 2.0, "faces": []})
    assert decoded(packet) == [("/VMC/Ext/OK", 1, 3, 0, 0), ("/VMC/Ext/T", 2.0)]


def test_a_receiver_that_is_not_there():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    sender = VMC(*address)
    for _ in range(3):  # the system tells of the first packet when the second is sent
        sender.send(MESSAGE)
    sender.close()


@pytest.mark.parametrize(
    ("turn", "unity"),
    [
        # 30 degrees each. In Unity: yaw to the right, pitch down and roll to the left are positive.
        ([0, np.pi / 6, 0], [0, -np.sin(np.pi / 12), 0, np.cos(np.pi / 12)]),  # to the own left
        ([np.pi / 6, 0, 0], [np.sin(np.pi / 12), 0, 0, np.cos(np.pi / 12)]),  # down
        ([0, 0, -np.pi / 6], [0, 0, np.sin(np.pi / 12), np.cos(np.pi / 12)]),  # the own left ear to the shoulder
    ],
)
def test_turns_of_the_head_in_unity(turn, unity):
    np.testing.assert_allclose(unity_rotation(list(quaternion(np.array(turn)))), unity, atol=1e-12)


def test_any_rotation_is_the_mirrored_one():
    mirror = np.diag([-1.0, 1.0, 1.0])
    for vector in np.random.default_rng(5).normal(size=(50, 3)) * 2:
        x, y, z, w = unity_rotation(list(quaternion(vector)))
        angle = 2 * np.arctan2(np.linalg.norm([x, y, z]), w)
        turned = rotation_matrix(angle * np.array([x, y, z]) / np.linalg.norm([x, y, z]))
        np.testing.assert_allclose(turned, mirror @ rotation_matrix(vector) @ mirror, atol=1e-9)


def test_python_osc_reads_the_same(decoded):
    osc_bundle = pytest.importorskip("pythonosc.osc_bundle", reason="python-osc is not installed")
    for packet in packets(MESSAGE):
        read = [(one.address, *one.params) for one in osc_bundle.OscBundle(packet)]
        assert read == decoded(packet)


def test_bundles_keep_the_order_and_the_limit(decoded):
    made = osc.bundles([osc.message("/a", number, "é" * number) for number in range(20)], 64)
    assert all(len(packet) <= 64 for packet in made[:5])
    assert [one for packet in made for one in decoded(packet)] == [("/a", n, "é" * n) for n in range(20)]
