"""Repositories made from a real export of a toy network: what is in them, what is refused, what is kept."""

import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from expnet_tf.export import MANIFEST, REFERENCE_INPUTS, ExportError, manifest, reference, runners
from expnet_tf.export.bundle import export_model
from expnet_tf.network import ExpNet, ModelInfo
from expnet_tf.serving.repository import TARGETS, RepositoryError, build

SIZE = 32
INFO = ModelInfo("toy", "0.1", "compact", SIZE, 1.5, ("expression", "identity", "pose"), "none", "Apache-2.0")
WHOLE = {
    "tfserving": {"models.config", "batching_parameters.txt", "monitoring.config", "docker-compose.yaml"},
    "triton": {"models/expnet/config.pbtxt", "docker-compose.yaml"},
    "kserve": {"models/expnet/batching_parameters.txt", "kserve/inferenceservice.yaml", "kserve/claim.yaml"},
    "kubernetes": {"models.config", "batching_parameters.txt", "kubernetes/deployment.yaml", "loader.yaml"},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Look, do not touch: `export` is a copy."""
    keras.utils.set_random_seed(0)
    network = ExpNet("compact", size=SIZE, mean_image=np.full((SIZE, SIZE, 3), 120.0))
    images = np.random.default_rng(0).integers(0, 255, (3, SIZE, SIZE, 3), dtype=np.uint8)
    folder = tmp_path_factory.mktemp("exported")
    assert export_model(network, folder, "onnx,savedmodel", info=INFO, images=images).passed
    return folder


@pytest.fixture
def export(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "export"))


def rewrite(export: Path, **changes: object) -> None:
    """Change the manifest's input, or with `verified` its artifacts."""
    record = json.loads((export / MANIFEST).read_text())
    for noted in record["artifacts"].values():
        noted.update({key: value for key, value in changes.items() if key == "verified"})
    record["input"].update({key: value for key, value in changes.items() if key != "verified"})
    manifest.write_json(export / MANIFEST, record)


def listed(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("target", TARGETS)
def test_the_repository_is_whole(exported, tmp_path, target):
    built = build(exported, tmp_path / "out", target)
    there = listed(built.folder)
    assert set(built.files) <= set(there)
    assert set(built.files) >= WHOLE[target]
    versions = {path: data for path, data in there.items() if path.startswith("models/expnet/1/")}
    source = "savedmodel" if target != "triton" else "model.onnx"
    found = {path.removeprefix("models/expnet/1/"): data for path, data in versions.items()}
    assert found == (listed(exported / source) if target != "triton" else {source: (exported / source).read_bytes()})
    assert set(there) == {*built.files, *versions, "repository.json"}


def test_what_is_in_it_answers_what_the_model_answers(exported, tmp_path):
    images, wanted = reference.read_inputs(exported / REFERENCE_INPUTS)
    served = {
        "savedmodel-v1": build(exported, tmp_path / "tf", "tfserving").folder / "models/expnet/1",
        "onnxruntime": build(exported, tmp_path / "triton", "triton").folder / "models/expnet/1/model.onnx",
    }
    for runner, path in served.items():
        outputs = runners.RUNNERS[runner](path).run(images)
        for head, values in wanted.items():
            np.testing.assert_allclose(outputs[head], values, rtol=1e-5, atol=1e-5)  # float32 against float64


def test_tritons_configuration_names_the_tensors_of_the_onnx_file(exported, tmp_path):
    import onnx
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as triton_pb2

    folder = build(exported, tmp_path / "out", "triton").folder / "models/expnet"
    config = text_format.Parse((folder / "config.pbtxt").read_text(), triton_pb2.ModelConfig())
    graph = onnx.load(folder / "1/model.onnx").graph
    types = {triton_pb2.TYPE_UINT8: onnx.TensorProto.UINT8, triton_pb2.TYPE_FP32: onnx.TensorProto.FLOAT}
    for told, real in ((config.input, graph.input), (config.output, graph.output)):
        said = {tensor.name: (types[tensor.data_type], list(tensor.dims)) for tensor in told}
        assert said == {
            value.name: (value.type.tensor_type.elem_type, [d.dim_value for d in value.type.tensor_type.shape.dim[1:]])
            for value in real
        }


def test_a_version_is_added_and_the_others_stay(exported, tmp_path):
    first = build(exported, tmp_path, "kubernetes", image="mine:1")
    before = listed(tmp_path)
    second = build(exported, tmp_path, "kubernetes", version=3)
    assert (first.model.versions, second.model.versions) == ((1,), (1, 3))
    after = listed(tmp_path)
    versioned = {path for path in before if path.startswith("models/expnet/1/")}
    assert {path: after[path] for path in versioned} == {path: before[path] for path in versioned}
    deployment = after["kubernetes/deployment.yaml"].decode()
    assert 'expnet/versions: "1, 3"' in deployment
    assert "image: mine:1\n" in deployment  # once said, it stays
    record = json.loads(after["repository.json"])["models"]["expnet"]
    assert set(record["versions"]) == {"1", "3"}
    assert record["versions"]["3"]["sha256"] == manifest.read(exported)["artifacts"]["savedmodel"]["sha256"]


def test_a_second_name_joins_the_repository(exported, tmp_path):
    build(exported, tmp_path, "tfserving")
    build(exported, tmp_path, "tfserving", name="other")
    config = (tmp_path / "models.config").read_text()
    assert 'name: "expnet"' in config
    assert 'name: "other"' in config


def test_the_same_again_changes_nothing(exported, tmp_path):
    build(exported, tmp_path, "triton")
    before = listed(tmp_path)
    (tmp_path / "docker-compose.yaml").unlink()
    assert build(exported, tmp_path, "triton").model.versions == (1,)
    assert listed(tmp_path) == before


def test_a_run_cut_short_is_made_good_by_the_next(exported, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            build(exported, tmp_path, "tfserving")
    assert set(listed(tmp_path)) <= {"repository.json"}
    build(exported, tmp_path, "tfserving")
    assert WHOLE["tfserving"] < set(listed(tmp_path))


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_another_user_can_read_all_of_it(exported, tmp_path):
    old = os.umask(0o077)
    try:
        folder = build(exported, tmp_path / "out", "kserve").folder
    finally:
        os.umask(old)
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


@pytest.mark.parametrize(("verified", "warned"), [("pass", False), ("not run", True), (None, True)])
def test_what_was_not_verified_is_said(export, tmp_path, verified, warned):
    if verified:
        rewrite(export, verified=verified)
    built = build(export, tmp_path / "out", "tfserving")
    assert [("has not been verified" in warning) for warning in built.warnings] == [True] * warned


def test_what_failed_is_refused(export, tmp_path):
    rewrite(export, verified="fail")
    with pytest.raises(RepositoryError, match=r"savedmodel of .* failed `expnet verify`"):
        build(export, tmp_path / "out", "tfserving")
    assert not (tmp_path / "out").exists()


def test_a_damaged_artifact_is_refused(export, tmp_path):
    file = export / "savedmodel/saved_model.pb"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ExportError, match=r"saved_model\.pb: its sha256 is not the one"):
        build(export, tmp_path / "out", "tfserving")
    assert not (tmp_path / "out").exists()


def test_a_version_does_not_change(export, tmp_path):
    out = tmp_path / "out"
    build(export, out, "triton")
    before = listed(out)
    (export / "model.onnx").write_bytes(b"another network")
    record = json.loads((export / MANIFEST).read_text())
    record["artifacts"]["onnx"].update(manifest.entry(export, "model.onnx"))
    manifest.write_json(export / MANIFEST, record)
    with pytest.raises(RepositoryError, match=r"there already with another content.*--model-version other than 1"):
        build(export, out, "triton")
    assert listed(out) == before
    assert build(export, out, "triton", version=2).model.versions == (1, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"crop_factor": 1.25}, "crop_factor 1.5 and this export has 1.25"), ({"shape": [None, 64, 64, 3]}, "size 32")],
)
def test_a_name_keeps_its_contract(export, tmp_path, change, said):
    out = tmp_path / "out"
    build(export, out, "tfserving")
    rewrite(export, **change)
    with pytest.raises(RepositoryError, match=rf"expnet has {said}.*another name"):
        build(export, out, "tfserving", version=2)
    assert build(export, out, "tfserving", name="other").model.versions == (1,)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"target": "torchserve"}, "Unknown target 'torchserve'; accepted: tfserving, triton"),
        ({"artifact": "onnx"}, "tfserving does not serve onnx; it serves savedmodel"),
        (
            {"target": "triton", "artifact": "tensorrt-fp16"},
            "has no tensorrt-fp16; its manifest names",
        ),
        ({"version": 0}, "Version 0 is not accepted"),
        ({"name": "Exp_Net"}, "The name 'Exp_Net' is not accepted"),
        ({"name": "../x"}, "is not accepted"),
        ({"image": "tensorflow/serving"}, "a container image with a tag"),
        ({"image": 'x:1"\nuser: root'}, "is not accepted"),
    ],
)
def test_what_cannot_be_is_refused(exported, tmp_path, arguments, said):
    with pytest.raises(RepositoryError, match=said):
        build(exported, tmp_path / "out", **{"target": "tfserving", **arguments})
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_something_else_is_refused(exported, tmp_path):
    build(exported, tmp_path / "one", "kubernetes")
    with pytest.raises(RepositoryError, match="is a repository for kubernetes; give triton a folder"):
        build(exported, tmp_path / "one", "triton")
    with pytest.raises(RepositoryError, match="deploys expnet; give other a folder of its own"):
        build(exported, tmp_path / "one", "kubernetes", name="other")
    with pytest.raises(RepositoryError, match="lies in the export"):
        build(exported, exported / "savedmodel", "triton")
    (tmp_path / "one/repository.json").write_text("[]")
    with pytest.raises(RepositoryError, match="not a repository's record"):
        build(exported, tmp_path / "one", "kubernetes")
    (tmp_path / "file").touch()
    with pytest.raises(RepositoryError, match="is a file"):
        build(exported, tmp_path / "file", "kubernetes")


def test_an_export_without_anything_to_serve_is_refused(export, tmp_path):
    record = json.loads((export / MANIFEST).read_text())
    del record["artifacts"]["onnx"]
    manifest.write_json(export / MANIFEST, record)
    with pytest.raises(RepositoryError, match="no artifact for triton: it serves onnx, onnx-fp16, tensorrt-fp16"):
        build(export, tmp_path / "out", "triton")
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json"):
        build(tmp_path, tmp_path / "out", "triton")
