"""One real export of a toy network, made once; tests that damage it get a copy of their own."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from expnet_tf.export import MANIFEST, manifest
from expnet_tf.export.bundle import ExportResult, export_model
from expnet_tf.export.certificate import certify
from expnet_tf.export.parity import Report
from expnet_tf.network import ExpNet, ModelInfo, save_model

SIZE = 32
INFO = ModelInfo("toy", "0.1", "compact", SIZE, 1.5, ("expression", "identity", "pose"), "none", "Apache-2.0")


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Smooth blobs, uint8 [6, 32, 32, 3]: unlike noise they reach the last layers as different pictures."""
    coarse = np.random.default_rng(0).uniform(0, 255, (6, 4, 4, 3))
    return keras.ops.convert_to_numpy(keras.ops.image.resize(coarse, (SIZE, SIZE))).astype(np.uint8)


@pytest.fixture(scope="session")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    made = ExpNet("compact", size=SIZE, mean_image=np.random.default_rng(1).uniform(90, 140, (SIZE, SIZE, 3)))
    # Random heads answer with twice the codes that trained ones do, and with twice the error of eight bits.
    for head in ("expression", "identity", "pose_standardised"):
        kernel = made.get_layer(head).kernel
        kernel.assign(kernel * 0.4)
    return made


@pytest.fixture(scope="session")
def model_file(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "toy.keras"
    save_model(model, path, INFO)
    return path


@pytest.fixture(scope="session")
def exported(model_file: Path, images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """Every format of the toy network. Look, do not touch: `bundle` is a copy."""
    return export_model(model_file, tmp_path_factory.mktemp("exported"), "all", images=images)


@pytest.fixture(scope="session")
def report(exported: ExportResult) -> Report:
    """What `certify` finds in the untouched folder."""
    return certify(exported.directory)


@pytest.fixture
def bundle(exported: ExportResult, tmp_path: Path) -> Iterator[Path]:
    """A copy of the export folder to damage."""
    folder = tmp_path / "bundle"
    shutil.copytree(exported.directory, folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def bless() -> Callable[[Path, str], None]:
    """Write what lies there into the manifest: what the sha256 cannot show must show in the numbers."""

    def rewrite(folder: Path, name: str) -> None:
        record = json.loads((folder / MANIFEST).read_text())
        noted = record["reference"].get(name) or record["artifacts"][name]
        noted.update(manifest.entry(folder, noted["path"]))
        manifest.write_json(folder / MANIFEST, record)

    return rewrite


@pytest.fixture
def keep() -> Callable[..., None]:
    """Shorten the manifest to the artifacts named: the others need not run in every test."""

    def rewrite(folder: Path, *names: str) -> None:
        record = json.loads((folder / MANIFEST).read_text())
        record["artifacts"] = {name: record["artifacts"][name] for name in names}
        manifest.write_json(folder / MANIFEST, record)

    return rewrite
