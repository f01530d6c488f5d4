"""Write the photos and the answers that the page is tested with: python web/tests/golden.py FOLDER

The answers are those of the page's model in Keras, made on the day of the test, so that they cannot grow old.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import expnet_tf
from expnet_tf.data.synth import face_shots

PAGE = Path(__file__).parent.parent / "public" / "model.json"
SAMPLE = Path(expnet_tf.__file__).parent / "assets" / "astronaut.jpg"


def photos() -> dict[str, bytes]:
    """Files by name: the sample, as it is and changed, and rendered faces."""
    data = SAMPLE.read_bytes()
    sample = expnet_tf.read_image(SAMPLE)
    found = {"sample.jpg": data}
    # Taken with the camera on its side: the pixels lie, EXIF says how to turn them.
    lying = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(sample)).save(lying, "JPEG", quality=95, exif=exif)
    found["lying.jpg"] = lying.getvalue()
    # Large, so that the crop shrinks a lot; small, so that it grows, with the face at the edge.
    found["large.png"] = _png(cv2.resize(sample, (1500, 1500), interpolation=cv2.INTER_CUBIC))
    found["edge.png"] = _png(cv2.resize(sample, (256, 256), interpolation=cv2.INTER_AREA)[22:, 92:])
    # Two faces in a wide picture, found by the finer searches only.
    wide = np.full((620, 1240, 3), 128, np.uint8)
    small = cv2.resize(sample, (150, 150), interpolation=cv2.INTER_AREA)
    wide[300:450, 120:270], wide[180:330, 900:1050] = small, small[:, ::-1]
    found["wide.png"] = _png(wide)
    for number, shot in enumerate(face_shots(4, 160, seed=12)):
        found[f"rendered{number}.png"] = _png(shot.image)
    return found


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shown = json.loads(PAGE.read_text())["model"]["id"]
    predictor = expnet_tf.load(shown.rsplit("-", 1)[0])
    if predictor.info.id != shown:
        raise SystemExit(f"{PAGE}: it has {shown}, and {predictor.info.id} is shipped; make web.")
    answers = {}
    for name, data in photos().items():
        (folder / name).write_bytes(data)
        faces = predictor.predict(expnet_tf.read_image(folder / name))
        answers[name] = [
            {
                "box": face.box,
                "square": face.square,
                "expression": face.expression.tolist(),
                "pose": face.pose.tolist(),
                "quality": face.quality,
                "blendshapes": face.blendshapes,
                "crop": base64.b64encode(predictor.crops(expnet_tf.read_image(folder / name), [face.box])).decode(),
            }
            for face in faces
        ]
    # More pixels than are read, in few bytes.
    Image.new("1", (8000, 7000)).save(folder / "pixels.png")
    # A camera for the browser: frames one after another are Motion JPEG.
    (folder / "camera.mjpeg").write_bytes((folder / "sample.jpg").read_bytes() * 30)
    (folder / "golden.json").write_text(json.dumps(answers))


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))[1].tobytes()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
