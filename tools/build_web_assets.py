"""Write web/public/: what the page in web/ loads beside its code.

    python tools/build_web_assets.py [--model compact] [--out web/public]

The network as the project exports it (`tflite-fp16`), BlazeFace as it is shipped, the open face model in few bits, and
the sample photo. The networks and the face model are packed with gzip, so that a host that compresses nothing sends
little; the page unpacks them.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf import __version__, detect
from expnet_tf.camera import NOMINAL_FOCAL
from expnet_tf.facejson import SCHEMA
from expnet_tf.files import write_whole
from expnet_tf.morphable import MorphableModel, open_face

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "expnet_tf" / "assets" / "astronaut.jpg"
# Of 99, ordered by variance. On the certificate's 256 faces the others move vertices by 0.43 mm rms, of 2.57 in all.
IDENTITIES = 20


def face_arrays(face: MorphableModel) -> dict[str, np.ndarray]:
    """The face model in few bits, and the scales that undo it: value = integer * scale.

    mean int16 with one scale, mm; each component int8 with a scale of its own, mm per sigma. On the certificate's
    256 faces the rounding of the expression moves vertices by 0.022 mm rms, 0.20 mm at most.
    """
    arrays = {
        "mean": _rounded(face.mean, np.int16),
        "expression": _rounded(face.expression_basis, np.int8, component=True),
        "identity": _rounded(face.identity_basis[:IDENTITIES], np.int8, component=True),
    }
    found = {name: array for name, (array, _) in arrays.items()}
    found |= {f"{name}_scale": scale for name, (_, scale) in arrays.items()}
    found["triangles"] = face.triangles.astype(np.uint16)
    found["regions"] = face.regions.astype(np.uint8)
    found["expression_to_blendshapes"] = face.expression_to_blendshapes.astype(np.float32)
    return found


def _rounded(values: np.ndarray, dtype: type, component: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(integers of `dtype`, float32 scales [1] or one a component)."""
    axes = tuple(range(1, values.ndim)) if component else None
    scale = np.abs(values).max(axis=axes, keepdims=True) / np.iinfo(dtype).max
    return np.round(values / scale).astype(dtype), scale.reshape(-1).astype(np.float32)


def packed(arrays: dict[str, np.ndarray]) -> tuple[bytes, dict[str, Any]]:
    """The arrays one after another, little-endian, each at a multiple of 4 bytes; and where each lies."""
    content, layout = bytearray(), {}
    for name, array in arrays.items():
        layout[name] = {"type": array.dtype.name, "shape": list(array.shape), "offset": len(content)}
        content += array.astype(array.dtype.newbyteorder("<")).tobytes()
        content += bytes(-len(content) % 4)
    return bytes(content), layout


def write_assets(model: str, out: Path) -> None:
    """Write the files of `out`, model.json last; raises ModelError where there is no such model."""
    # TensorFlow, and only here: the rest of this file is for tests too.
    from expnet_tf.export import EXPORTERS
    from expnet_tf.models import resolve
    from expnet_tf.network import load_model, read_info

    path = resolve(model)
    info = read_info(path)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / EXPORTERS["tflite-fp16"].file
        EXPORTERS["tflite-fp16"].write(load_model(path), info, exported)
        network = exported.read_bytes()
    face = open_face()
    content, layout = packed(face_arrays(face))
    for name, data in {
        "network.tflite.gz": network,
        "blazeface.tflite.gz": detect.MODEL.read_bytes(),
        "face.bin.gz": content,
    }.items():
        # No time inside: the same bytes each time.
        write_whole(out / name, gzip.compress(data, 9, mtime=0))
    shutil.copyfile(SAMPLE, out / "sample.jpg")
    about = {
        "schema": SCHEMA,
        "software": f"expnet_tf {__version__}",
        "model": {"id": info.id, "size": info.size, "crop_factor": info.crop_factor},
        "licence": info.licence,
        "network_sha256": hashlib.sha256(network).hexdigest(),
        "face_model": "{name}-{version}".format(**face.provenance),
        "nominal_focal": NOMINAL_FOCAL,
        "blendshapes": [str(name) for name in face.blendshape_names],
        "regions": [str(name) for name in face.region_names],
        "arrays": layout,
    }
    write_whole(out / "model.json", f"{json.dumps(about, indent=1)}\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description="Write what the page in web/ loads beside its code.")
    parser.add_argument("--model", default="compact", help="a shipped model, or a .keras file")
    parser.add_argument("--out", type=Path, default=ROOT / "web" / "public")
    arguments = parser.parse_args()
    write_assets(arguments.model, arguments.out)


if __name__ == "__main__":
    main()
