"""verify: passes what is equal, fails what is damaged, and goes on with the rest."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from tensorflow.lite.tools import flatbuffer_utils

from expnet_tf.export import EXPORTERS, ExportError, choose, manifest
from expnet_tf.export.bundle import ExportResult
from expnet_tf.export.certificate import table
from expnet_tf.export.parity import Report, verify
from expnet_tf.export.runner import CannotRun
from expnet_tf.export.runners import RUNNERS
from expnet_tf.export.tolerances import TOLERANCES
from expnet_tf.morphable import open_face
from expnet_tf.network import load_model, read_info

ROWS = [("reference", "keras")] + [(e.name, runner) for e in choose("all") for runner in e.runners]


def failures(report: Report) -> dict[tuple[str, str], str]:
    return {(row.artifact, row.runtime): row.error or "" for row in report.results if not row.passed}


def rewrite_onnx(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    proto = onnx.load(folder / "model.onnx")
    change(proto)
    onnx.save(proto, folder / "model.onnx")


def edit_weight(proto: onnx.ModelProto, smallest: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the first initializer of at least `smallest` elements."""
    for tensor in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= smallest:
            tensor.CopyFrom(onnx.numpy_helper.from_array(change(values.copy()).astype(np.float32), tensor.name))
            return
    raise AssertionError("no such weight")


def test_every_runtime_passes(report: Report) -> None:
    assert failures(report) == {}
    assert report.passed
    assert [(row.artifact, row.runtime) for row in report.results] == ROWS


def test_numbers_are_recomputed_by_hand(exported: ExportResult, report: Report) -> None:
    """The ONNX row, from the artifact and the arrays alone."""
    with np.load(exported.directory / "parity_inputs.npz", allow_pickle=False) as file:
        arrays = dict(file)
    session = onnxruntime.InferenceSession(str(exported.written["onnx"]))
    expression, identity = session.run(["expression", "identity"], {"image": arrays["image"]})
    dz = expression.astype(np.float64) - arrays["expression"]
    moved = np.einsum("ne,evk->nvk", dz, open_face().expression_basis)
    distance = np.sqrt((moved**2).sum(-1))
    row = next(row for row in report.results if row.artifact == "onnx")
    # Other batch sizes sum in another order: the differences themselves are equal to a few units of rounding.
    assert row.max_dz_sigma == pytest.approx(np.abs(dz).max(), abs=2e-6)
    assert row.mean_dz_sigma == pytest.approx(np.abs(dz).mean(), abs=1e-6)
    assert row.vertex_max_mm == pytest.approx(distance.max(), abs=3e-5)
    assert row.vertex_rms_mm == pytest.approx(np.sqrt((distance**2).mean()), abs=3e-5)
    assert row.other_heads["identity"] == pytest.approx(np.abs(identity - arrays["identity"]).max(), abs=2e-6)
    assert row.other_heads["pose"] < 1e-4


def test_certificate(exported: ExportResult, report: Report) -> None:
    record = json.loads((exported.directory / "parity.json").read_text())
    assert record["pass"] is True
    assert record["reference"]["faces"] == 6
    assert len(record["results"]) == len(ROWS)
    half = next(r for r in record["results"] if r["artifact"] == "tflite-fp16")
    assert half["result"] == "pass"
    assert half["tolerance"]["vertex_rms_mm"] == 0.05
    assert half["bytes"] == exported.written["tflite-fp16"].stat().st_size
    assert len(half["sha256"]) == 64
    assert half["runtime_version"]
    assert 1e-6 < half["vertex_rms_mm"] < 0.05  # rounded weights cannot be exact
    assert len(half["component_dz_sigma"]) == 29
    assert np.mean(half["component_dz_sigma"]) == pytest.approx(half["mean_dz_sigma"], rel=1e-6)


def test_worst_faces(exported: ExportResult, report: Report) -> None:
    """The five worst of six faces of the int8 file, recomputed from it."""
    from ai_edge_litert.interpreter import Interpreter

    with np.load(exported.directory / "parity_inputs.npz", allow_pickle=False) as file:
        arrays = dict(file)
    run = Interpreter(str(exported.written["tflite-int8"])).get_signature_runner("serving_default")
    dz = run(image=arrays["image"])["expression"] - arrays["expression"]
    error = (np.einsum("ne,evk->nvk", dz, open_face().expression_basis) ** 2).sum(-1).mean(-1)
    row = next(row for row in report.results if row.artifact == "tflite-int8")
    assert row.worst_faces == np.argsort(-error)[:5].tolist()


def test_verdicts_go_into_the_manifest(bundle: Path, bless, keep) -> None:
    keep(bundle, "onnx", "tflite")
    rewrite_onnx(bundle, lambda proto: edit_weight(proto, 1000, lambda w: w * 1.05))
    bless(bundle, "onnx")
    assert not verify(bundle).passed
    record = json.loads((bundle / "manifest.json").read_text())
    verdicts = {name: entry["verified"] for name, entry in record["artifacts"].items()}
    assert verdicts == {"onnx": "fail", "tflite": "pass"}
    certificate = json.loads((bundle / "parity.json").read_text())
    assert certificate["manifest_sha256"] == manifest.digest(bundle / "manifest.json")


def test_further_runtimes(bundle: Path, keep) -> None:
    """Judged like the artifact's own; one that cannot run here leaves the artifact's verdict as it is."""
    keep(bundle, "onnx")
    report = verify(bundle, also=["openvino", "onnxruntime-tensorrt"])
    found = {row.runtime: row.result for row in report.results}
    assert found == {"keras": "pass", "onnxruntime": "pass", "openvino": "pass", "onnxruntime-tensorrt": "not run"}
    assert json.loads((bundle / "manifest.json").read_text())["artifacts"]["onnx"]["verified"] == "pass"
    with pytest.raises(ExportError, match="No further runtime litert; accepted: openvino, onnxruntime-cuda"):
        verify(bundle, also=["litert"])


def test_what_cannot_run_here_is_not_run(bundle: Path, keep, monkeypatch: pytest.MonkeyPatch) -> None:
    class NeedsDevice:
        name = "onnxruntime"

        def __init__(self, path: Path, threads: int = 1) -> None:
            raise CannotRun("this artifact needs a GPU; there is none here.")

    monkeypatch.setitem(RUNNERS, "onnxruntime", NeedsDevice)
    keep(bundle, "onnx", "tflite")
    report = verify(bundle)
    assert report.passed
    assert [row.result for row in report.results] == ["pass", "not run", "pass"]
    assert report.results[1].error == "this artifact needs a GPU; there is none here."
    assert json.loads((bundle / "manifest.json").read_text())["artifacts"]["onnx"]["verified"] == "not run"
    keep(bundle, "onnx")
    assert not verify(bundle).passed  # nothing was proven


def test_the_others_go_on(bundle: Path) -> None:
    """Three artifacts damaged in three ways: their rows fail, each with its own sentence, and no other."""
    (bundle / "model.onnx").unlink()
    tflite = bundle / "model.tflite"
    tflite.write_bytes(tflite.read_bytes()[:-1000])
    (bundle / "savedmodel" / "assets.extra").mkdir(exist_ok=True)
    (bundle / "savedmodel" / "assets.extra" / "code.py").write_text("")
    report = verify(bundle)
    assert not report.passed
    found = failures(report)
    assert set(found) == {row for row in ROWS if row[0] in ("onnx", "tflite", "savedmodel")}
    assert found["onnx", "onnxruntime"] == "model.onnx: missing."
    assert "bytes; the manifest says" in found["tflite", "litert"]
    assert found["savedmodel", "savedmodel"] == "savedmodel/assets.extra/code.py: not in the manifest."
    record = json.loads((bundle / "parity.json").read_text())
    assert record["pass"] is False
    damaged = ("onnx", "tflite", "savedmodel")
    assert all((r["result"] == "pass") == (r["artifact"] not in damaged) for r in record["results"])


@pytest.mark.parametrize("file", [e.file for e in choose("all")])
def test_one_changed_bit_in_a_weight(bundle: Path, keep, file: str) -> None:
    path = bundle / file
    if path.is_dir():
        path /= "variables/variables.data-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))
    name = next(e.name for e in choose("all") if e.file == file)
    keep(bundle, name)
    found = failures(verify(bundle))
    assert {artifact for artifact, _ in found} == {name}
    assert all("sha256" in sentence for sentence in found.values())


def mean_image(proto: onnx.ModelProto) -> None:
    edit_weight(proto, 3072, lambda mean: mean * 0 + 128)


def one_weight(proto: onnx.ModelProto) -> None:
    def change(kernel: np.ndarray) -> np.ndarray:
        kernel.flat[np.abs(kernel).argmax()] *= -1
        return kernel

    edit_weight(proto, 10_000, change)


def channel_order(proto: onnx.ModelProto) -> None:
    for tensor in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.shape[1:] == (3, 3, 3):
            swapped = np.ascontiguousarray(values[:, ::-1])
            tensor.CopyFrom(onnx.numpy_helper.from_array(swapped, tensor.name))


def not_a_number(proto: onnx.ModelProto) -> None:
    edit_weight(proto, 10_000, lambda kernel: kernel * np.nan)


def output_name(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        node.output[:] = ["Identity:0" if name == "expression" else name for name in node.output]
    next(o for o in proto.graph.output if o.name == "expression").name = "Identity:0"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (one_weight, "beyond"),
        (mean_image, "beyond"),
        (channel_order, "beyond"),
        (not_a_number, "not finite"),
        (output_name, "the outputs are .*Identity:0.*; expected are expression"),
    ],
)
def test_damage_behind_a_matching_manifest(bundle: Path, bless, keep, damage: Callable, message: str) -> None:
    rewrite_onnx(bundle, damage)
    keep(bundle, "onnx")
    bless(bundle, "onnx")
    found = failures(verify(bundle))
    assert set(found) == {("onnx", "onnxruntime")}
    assert re.search(message, found["onnx", "onnxruntime"])


def test_damaged_tflite_behind_a_matching_manifest(bundle: Path, bless, keep) -> None:
    for name, spoil in (("tflite", spoil_weight), ("tflite-fp16", spoil_name)):
        path = bundle / EXPORTERS[name].file
        record = flatbuffer_utils.read_model(str(path))
        spoil(record)
        flatbuffer_utils.write_model(record, str(path))
        bless(bundle, name)
    keep(bundle, "tflite", "tflite-fp16")
    found = failures(verify(bundle))
    assert "beyond" in found["tflite", "litert"]
    assert "the outputs are" in found["tflite-fp16", "litert"]
    assert len(found) == 2


def spoil_weight(record) -> None:
    """One bias or kernel buffer, 5% larger."""
    largest = max(record.buffers, key=lambda b: 0 if b.data is None else len(b.data))
    values = np.frombuffer(bytes(largest.data), np.float32) * 1.05
    largest.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)


def spoil_name(record) -> None:
    entry = next(o for o in record.signatureDefs[0].outputs if o.name in ("pose", b"pose"))
    entry.name = "Identity"


def test_damaged_savedmodel_behind_a_matching_manifest(bundle: Path, model_file: Path, bless, keep) -> None:
    other = load_model(model_file)
    kernel = other.get_layer("stem1_conv").kernel
    kernel.assign(keras.ops.flip(kernel, axis=2))  # red for blue
    shutil.rmtree(bundle / "savedmodel")
    EXPORTERS["savedmodel"].write(other, read_info(model_file), bundle / "savedmodel")
    keep(bundle, "savedmodel")
    bless(bundle, "savedmodel")
    found = failures(verify(bundle))
    assert set(found) == {("savedmodel", "savedmodel"), ("savedmodel", "savedmodel-v1")}
    assert all("beyond" in sentence for sentence in found.values())


@pytest.mark.parametrize("keep_bytes", [0, 100, 0.5])
@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_truncated_file_behind_a_matching_manifest(bundle: Path, bless, keep, name: str, keep_bytes: float) -> None:
    path = bundle / EXPORTERS[name].file
    content = path.read_bytes()
    path.write_bytes(content[: int(keep_bytes * len(content)) if keep_bytes < 1 else int(keep_bytes)])
    keep(bundle, name)
    bless(bundle, name)
    found = failures(verify(bundle))
    assert [artifact for artifact, _ in found] == [name]
    assert all("\n" not in sentence and len(sentence) < 400 for sentence in found.values())


def test_tampered_reference_judges_nothing(bundle: Path, keep) -> None:
    keep(bundle, "onnx")
    with np.load(bundle / "parity_inputs.npz", allow_pickle=False) as file:
        arrays = dict(file)
    arrays["expression"][0, 0] += 1e-4
    np.savez_compressed(bundle / "parity_inputs.npz", **arrays)
    found = failures(verify(bundle))
    assert set(found) == {("reference", "keras"), ("onnx", "onnxruntime")}
    assert all("not judged, because the reference is damaged: parity_inputs.npz" in s for s in found.values())


def test_tampered_answer_behind_a_matching_manifest(bundle: Path, bless, keep) -> None:
    """Answers shifted to fit a bad artifact: the .keras file is judged by them too and gives them away."""
    keep(bundle, "onnx")
    with np.load(bundle / "parity_inputs.npz", allow_pickle=False) as file:
        arrays = dict(file)
    arrays["expression"] += 0.01
    np.savez_compressed(bundle / "parity_inputs.npz", **arrays)
    bless(bundle, "inputs")
    assert ("reference", "keras") in failures(verify(bundle))


def test_unknown_artifact_is_not_passed_over(bundle: Path) -> None:
    record = json.loads((bundle / "manifest.json").read_text())
    record["artifacts"] = {"coreml": record["artifacts"]["onnx"]}
    (bundle / "manifest.json").write_text(json.dumps(record))
    found = failures(verify(bundle))
    assert "coreml: not an artifact that this version knows" in found["coreml", "unknown"]


def test_no_artifacts_is_no_pass(bundle: Path, keep) -> None:
    keep(bundle)
    report = verify(bundle)
    assert not report.passed
    assert table(report).endswith("failed: no artifact was judged, 6 faces, model toy-0.1")


def test_the_manifest_does_not_choose_the_limits(bundle: Path, bless, keep) -> None:
    """An error that eight bits may make, in a float32 file that the manifest calls int8."""
    keep(bundle, "onnx")
    rewrite_onnx(bundle, lambda proto: edit_weight(proto, 1000, lambda w: w * 1.0005))
    bless(bundle, "onnx")
    record = json.loads((bundle / "manifest.json").read_text())
    record["artifacts"]["onnx"]["precision"] = "int8"
    (bundle / "manifest.json").write_text(json.dumps(record))
    report = verify(bundle)
    assert "|dz| is up to" in failures(report)["onnx", "onnxruntime"]
    assert report.results[1].vertex_rms_mm < TOLERANCES["int8"].vertex_rms_mm


def test_faces_are_counted_where_they_are(bundle: Path, bless, keep) -> None:
    """A reference of fewer faces behind a matching manifest is not called what the manifest calls it."""
    keep(bundle, "onnx")
    with np.load(bundle / "parity_inputs.npz", allow_pickle=False) as file:
        np.savez_compressed(bundle / "parity_inputs.npz", **{name: file[name][:2] for name in file.files})
    bless(bundle, "inputs")
    assert verify(bundle).reference["faces"] == 2


def test_a_heading_is_no_reason(bundle: Path, bless, keep) -> None:
    """TensorFlow begins with "Graph execution error:" and says what is wrong in the lines that follow."""
    keep(bundle, "savedmodel")
    data = bundle / "savedmodel/variables/variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0x40
    data.write_bytes(content)
    bless(bundle, "savedmodel")
    found = failures(verify(bundle))
    assert len(found) == 2
    assert all("Checksum does not match" in sentence for sentence in found.values())


def test_nothing_to_judge(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json there"):
        verify(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ExportError, match="not a manifest"):
        verify(tmp_path)
    assert not (tmp_path / "parity.json").exists()
