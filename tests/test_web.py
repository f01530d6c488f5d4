"""The page in web/: its data files, and what of its code runs in node alone. `make web-test` runs it in a browser."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from expnet_tf import camera, detect
from expnet_tf.image import crop, read_image
from expnet_tf.morphable import open_face

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "web"
SAMPLE = ROOT / "expnet_tf" / "assets" / "astronaut.jpg"
PHOTO_SIZES = [(512, 512), (384, 288), (97, 130), (75, 75)]
BOXES = [(10.4, 12.5, 50, 61.7), (-20, 3, 90, 40), (55, 40, 7, 9), (0, 0, 400, 300)]


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    path = ROOT / "tools" / "build_web_assets.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def code() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    return {"expression": rng.normal(0, 0.4, 29), "identity": rng.normal(0, 0.5, 99),
            "pose": np.array([0.1, -0.4, 0.05, 8, -12, -900])}  # fmt: skip


@pytest.fixture(scope="module")
def litert() -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without XNNPACK, which would keep the constants to itself.
    network = Interpreter(str(detect.MODEL), num_threads=1,
                          experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                          experimental_preserve_all_tensors=True)  # fmt: skip
    network.allocate_tensors()
    return network


@pytest.fixture(scope="module")
def answers(builder: ModuleType, code: dict[str, np.ndarray], litert: Any,
            tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:  # fmt: skip
    """What the page's modules answer, from one run of node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").split(".")[0]) < 20:
        pytest.skip(f"node is {version.strip()}; the page's modules are tested in node 20 and newer")
    folder = tmp_path_factory.mktemp("web")
    sample = read_image(SAMPLE)

    def image(name: str, pixels: np.ndarray) -> dict[str, Any]:
        (folder / name).write_bytes(pixels.tobytes())
        return {"file": name, "height": pixels.shape[0], "width": pixels.shape[1], "channels": pixels.shape[2]}

    crops = []
    for height, width in PHOTO_SIZES:
        # With a fourth channel, as a canvas gives them, that no one may read.
        pixels = np.dstack([sample[:height, :width], np.full((height, width), 77, np.uint8)])
        photo = image(f"{height}x{width}.rgba", pixels)
        crops += [{"image": photo, "box": box, "size": 96, "factor": 1.25} for box in BOXES]
    window = cv2.resize(sample, (192, 192), interpolation=cv2.INTER_AREA)
    litert.set_tensor(litert.get_input_details()[0]["index"], window[None] / np.float32(127.5) - np.float32(1))
    litert.invoke()
    for tensor in litert.get_output_details():
        name = "geometry.f32" if tensor["shape"][-1] == 16 else "logits.f32"
        (folder / name).write_bytes(litert.get_tensor(tensor["index"]).tobytes())
    content, layout = builder.packed(builder.face_arrays(open_face()))
    (folder / "face.bin").write_bytes(content)
    names = {"blendshapes": list(map(str, open_face().blendshape_names)), "regions": [], "arrays": layout}
    face = {"about": names, "focal": 400, "center": [50, 60], **{name: c.tolist() for name, c in code.items()}}
    questions = {"crops": crops, "photo": image("sample.rgb", sample), "graph": str(detect.MODEL), "face": face}
    (folder / "input.json").write_text(json.dumps(questions))
    subprocess.run([node, WEB / "tests" / "node.js", folder], check=True, timeout=60)
    answer: dict[str, Any] = json.loads((folder / "output.json").read_text())
    return answer


def few_bits(builder: ModuleType, codes: dict[str, np.ndarray]) -> np.ndarray:
    """Vertices [n, 3] mm from the rounded face model."""
    arrays = builder.face_arrays(open_face())
    vertices = arrays["mean"] * float(arrays["mean_scale"][0])
    for name in ("expression", "identity"):
        basis = arrays[name] * arrays[f"{name}_scale"][:, None, None].astype(np.float64)
        vertices = vertices + np.tensordot(codes[name][: len(basis)], basis, 1)
    return vertices


def test_the_face_model_in_few_bits_is_the_face_model(builder, code):
    identity = np.where(np.arange(99) < builder.IDENTITIES, code["identity"], 0)
    truth = open_face().decode(identity, code["expression"])
    error = np.linalg.norm(few_bits(builder, code) - truth, axis=-1)
    # Half a step of int8 is 1/254 of a component's largest motion (11 mm at most); 49 of them add up at random.
    assert np.sqrt((error**2).mean()) < 0.08
    assert error.max() < 0.5
    neutral = few_bits(builder, {"expression": np.zeros(29), "identity": np.zeros(99)})
    assert np.abs(neutral - open_face().mean).max() < 0.01  # int16


def test_packed_arrays_lie_where_the_layout_says(builder):
    arrays = {"a": np.arange(3, dtype=np.int8), "b": np.array([[1.5, -2]], np.float32)}
    content, layout = builder.packed(arrays)
    for name, array in arrays.items():
        entry = layout[name]
        assert entry["offset"] % 4 == 0
        read = np.frombuffer(content, entry["type"], array.size, entry["offset"]).reshape(entry["shape"])
        assert np.array_equal(read, array)


def test_the_lock_has_versions_and_hashes_and_no_addresses():
    packages = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert len(packages) > 10
    for name, package in packages.items():
        assert "resolved" not in package, name
        if name:
            assert package["version"]
            assert package["integrity"].startswith("sha512-"), name
    wanted = json.loads((WEB / "package.json").read_text())
    for name, version in {**wanted["dependencies"], **wanted["devDependencies"]}.items():
        assert packages[f"node_modules/{name}"]["version"] == version


def test_the_page_names_no_other_host():
    for path in (WEB / "src").iterdir():
        addresses = re.findall(r"https?://[\w.]+", path.read_text())
        assert set(addresses) <= {"http://www.w3.org"}, path  # a name of SVG, no address
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', (WEB / "src" / "index.html").read_text())
    assert policy
    assert "default-src 'none'" in policy[1]
    assert "connect-src 'self';" in policy[1]


def test_crops_are_those_of_image_py(answers):
    sample = read_image(SAMPLE)
    wanted = [crop(sample[:h, :w], box, 96, 1.25) for h, w in PHOTO_SIZES for box in BOXES]
    assert len(answers["crops"]) == len(wanted)
    for found, expected in zip(answers["crops"], wanted, strict=True):
        difference = np.abs(np.array(found) - expected.ravel().astype(int))
        # One level where OpenCV rounds a half the other way.
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.02


def test_detection_is_that_of_detect_py(answers, litert):
    asked = np.array(answers["asked"], np.float32)
    assert np.abs(asked - litert.get_tensor(litert.get_input_details()[0]["index"]).ravel()).max() < 1e-6
    wanted = detect.BlazeFace().detect(read_image(SAMPLE))
    assert len(answers["found"]) == len(wanted) == 1
    assert answers["found"][0]["box"] == pytest.approx(wanted[0].box, abs=1e-3)
    assert answers["found"][0]["score"] == pytest.approx(wanted[0].score, abs=1e-5)


def test_a_tflite_file_is_read_as_litert_reads_it(answers, litert):
    graph = answers["graph"]
    assert graph["inputs"] == [tensor["name"] for tensor in litert.get_input_details()]
    assert graph["outputs"] == [tensor["name"] for tensor in litert.get_output_details()]
    assert graph["operators"] == [operator["op_name"] for operator in litert._get_ops_details()]
    tensors = {tensor["name"]: tensor for tensor in litert.get_tensor_details()}
    assert len(graph["constants"]) > 170
    for found in graph["constants"]:
        tensor = tensors[found["name"]]
        values = litert.get_tensor(tensor["index"])
        assert (found["shape"], found["type"]) == (list(values.shape), values.dtype.name)
        assert found["count"] == values.size
        assert found["sum"] == pytest.approx(np.abs(values.astype(np.float64)).sum(), rel=1e-6)
        assert found["last"] == values.ravel()[-1]


def test_mesh_places_and_blendshapes_are_those_of_the_face_model(answers, builder, code):
    vertices = np.array(answers["vertices"]).reshape(-1, 3)
    assert np.abs(vertices - few_bits(builder, code)).max() < 1e-3
    places = camera.project(vertices, code["pose"], 400, [50, 60])
    assert np.abs(np.array(answers["places"]).reshape(-1, 2) - places).max() < 1e-3
    weights = open_face().blendshapes(code["expression"])
    assert list(answers["blendshapes"]) == list(open_face().blendshape_names)
    assert np.abs(np.array(list(answers["blendshapes"].values())) - weights).max() < 1e-6
