"""Blendshapes and the head's rotation for avatar tools: the Virtual Motion Capture protocol, OSC over UDP.

Source: protocol.vmc.info, Marionette specification 2.7. Bones are turned as Unity turns them.

Coordinates. Ours are right-handed: x to the face's own left, y up, z out of the face. A Unity humanoid that faces +z
has its own left at -x, in left-handed coordinates. So x changes its sign, and a rotation by (x, y, z, w) becomes one
by (x, -y, -z, w). The avatar turns to its own left when the person does: it is no mirror image, as Left in the
blendshapes' names is the person's own left.
"""

from __future__ import annotations

import socket
from typing import Any

from expnet_tf.live import osc

LIMIT = 1400  # bytes of a packet: what passes through Ethernet in one piece
_CALIBRATED, _NORMAL_MODE = 3, 0


class VMC:
    """Sends one person's face to one receiver; what cannot be sent at once is left out."""

    def __init__(self, host: str, port: int) -> None:
        """Raises OSError where the host is not known."""
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self.address: tuple[Any, ...] = address
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setblocking(False)

    def send(self, message: dict[str, Any]) -> None:
        """A message of message.py: of its faces the one that has been there the longest."""
        for packet in packets(message):
            try:
                self._socket.sendto(packet, self.address)
            except OSError:
                return  # nobody listens, or the network is slow: the next frame is newer

    def close(self) -> None:
        self._socket.close()


def packets(message: dict[str, Any]) -> list[bytes]:
    """The packets of a frame; where nobody is seen they say so, and the avatar stays as it is."""
    face = min(message["faces"], key=lambda face: face["id"], default=None)
    made = [
        osc.message("/VMC/Ext/OK", 1, _CALIBRATED, _NORMAL_MODE, int(face is not None)),
        osc.message("/VMC/Ext/T", float(message["time"])),
    ]
    if face is not None:
        # At 0: a bone's place is the avatar's own. Receivers that take places too must be told not to.
        made.append(osc.message("/VMC/Ext/Bone/Pos", "Head", 0.0, 0.0, 0.0, *unity_rotation(face["rotation"])))
        made += [
            osc.message("/VMC/Ext/Blend/Val", name[0].upper() + name[1:], float(weight))
            for name, weight in face["blendshapes"].items()
        ]
        made.append(osc.message("/VMC/Ext/Blend/Apply"))
    return osc.bundles(made, LIMIT)


def unity_rotation(quaternion: list[float]) -> tuple[float, float, float, float]:
    """Ours, x y z w, right-handed -> Unity's, left-handed."""
    x, y, z, w = (float(value) for value in quaternion)
    return x, -y, -z, w
