"""Models as a manifest describes them, and what checks the written files."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from expnet_tf.serving.targets import Model


@pytest.fixture(scope="session")
def model() -> Callable[..., Model]:
    """A model of size 96 with three heads; name, versions and artifact by choice."""

    def make(artifact: str, name: str = "expnet", versions: tuple[int, ...] = (1,)) -> Model:
        return Model(name, artifact, 96, {"expression": 29, "identity": 99, "pose": 6}, versions)

    return make


@pytest.fixture(scope="session")
def objects() -> Callable[[dict[str, str]], dict[str, dict]]:
    """The YAML files of a target, parsed: one object each."""

    def read(files: dict[str, str]) -> dict[str, dict]:
        return {path: yaml.safe_load(text) for path, text in files.items() if path.endswith(".yaml")}

    return read


@pytest.fixture(scope="session")
def python_with() -> Callable[[str, str], Path]:
    """Another environment's interpreter, named by a variable; skips where there is none."""

    def find(variable: str, package: str) -> Path:
        found = shutil.which(os.environ.get(variable, ""))
        if not found:
            pytest.skip(f"{variable} does not name the python of an environment with {package}")
        return Path(found)

    return find
