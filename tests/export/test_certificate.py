"""The certificate as people read it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from expnet_tf.export import certificate, choose
from expnet_tf.export.bundle import ExportResult
from expnet_tf.export.parity import NOT_RUN, Report, Row

ROWS = [("reference", "keras")] + [(e.name, runner) for e in choose("all") for runner in e.runners]


def test_table(report: Report) -> None:
    lines = certificate.table(report).splitlines()
    ran = sum(row.result != NOT_RUN for row in report.results)
    assert len([line for line in lines[2:] if line.endswith("  pass")]) == ran
    assert lines[-1].startswith(f"{ran} of {ran} pass")
    assert lines[-1].endswith("6 faces, model toy-0.1")
    bad = Row("onnx", "onnxruntime", error="model.onnx: missing.")
    absent = Row("tensorrt-fp16", "tensorrt", result=NOT_RUN, error="it needs a GPU.")
    text = certificate.table(Report(**{**vars(report), "results": [report.results[0], bad, absent]}))
    assert "FAIL" in text
    assert text.splitlines()[-3:] == [
        "tensorrt-fp16 in tensorrt: it needs a GPU.",
        "onnx in onnxruntime: model.onnx: missing.",
        "1 of 2 pass, 1 not run here, 6 faces, model toy-0.1",
    ]


def test_page(report: Report, exported: ExportResult) -> None:
    page = (exported.directory / "parity.md").read_text()
    assert page.startswith("# Parity of toy-0.1\n\n**Passed**")
    for artifact, runtime in ROWS:
        assert f"| {artifact} | {runtime} |" in page
    assert "| int8 | - | 0.15 | - | 0.35 | 0.5 |" in page
    header = next(line for line in page.splitlines() if line.startswith("| artifact |")).split(" | ")
    line = next(line for line in page.splitlines() if line.startswith("| savedmodel | savedmodel |")).strip("| ")
    cells = dict(zip((name.strip("| ") for name in header), line.split(" | "), strict=True))
    row = next(row for row in report.results if row.runtime == "savedmodel")
    assert float(cells["max pose"]) == pytest.approx(row.other_heads["pose"], rel=0.05)
    assert float(cells["decode, max mm"]) == pytest.approx(row.decode_vertex_max_mm, rel=0.05)
    assert "![Error on the mesh, by component, and the worst faces](parity.png)" in page


def test_picture(report: Report, exported: ExportResult) -> None:
    """A row for each artifact that was judged, and each row's heat map has hot and cold places."""
    picture = cv2.imread(str(exported.directory / "parity.png"))
    judged = [row for row in report.results if row.vertex_rms is not None]
    step = certificate.PANEL + certificate.GAP
    assert picture.shape[0] > len(judged) * step
    for i in range(len(judged)):
        mesh = picture[44 + i * step : 44 + i * step + certificate.PANEL,
                       certificate.LEFT : certificate.LEFT + certificate.PANEL].astype(float)  # fmt: skip
        warm = mesh[..., 2] - mesh[..., 0]  # red over blue
        assert warm.max() > 60
        assert warm.min() < -10


def test_heat_follows_the_error() -> None:
    from expnet_tf.morphable import open_face

    face = open_face()
    error = np.where(face.mean[:, 1] < face.mean[face.landmark_ids[33], 1], 1.0, 0.0)  # below the nose
    picture = certificate._heat(face, error).astype(float)
    warm = picture[..., 0] - picture[..., 2]
    half = certificate.PANEL // 2
    assert warm[half + 20 : half + 60].max() > 60
    assert warm[: half - 20].max() < 10


def test_no_expression_no_picture(report: Report, exported: ExportResult, tmp_path: Path) -> None:
    rows = [Row("onnx", "onnxruntime", error="model.onnx: missing.")]
    bare = Report(**{**vars(report), "results": rows})
    assert certificate.draw(bare, exported.directory, None) is None
    assert "parity.png" not in certificate.markdown(bare, picture=False)
