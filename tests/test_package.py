"""The package as installed: cheap to import, complete, mapped right, and locked."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import expnet_tf

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ["requirements.lock", "tools/bootstrap.lock"]
HEAVY = {"tensorflow", "keras", "jax", "numpy", "onnx", "onnxruntime", "numba", "cv2", "PIL", "trimesh"}


def locked(name: str) -> dict[str, str]:
    """Each requirement of a lock file, its name and version in front, its hashes behind."""
    text = "\n".join(line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#"))
    blocks = text.replace("\\\n", " ").splitlines()
    return {block.split("==")[0]: block for block in blocks}


def run_python(code: str) -> str:
    """Standard output of a fresh interpreter outside the repository: only what is installed counts."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_cheap() -> None:
    code = "import time; t = time.perf_counter(); import expnet_tf; print(time.perf_counter() - t)"
    # The best of three: a busy machine is not the package's fault.
    assert min(float(run_python(code)) for _ in range(3)) < 0.3


def test_import_loads_nothing_heavy() -> None:
    loaded = run_python("import sys, expnet_tf; dir(expnet_tf); print(*sys.modules)").split()
    assert "expnet_tf" in loaded
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("name", expnet_tf.__all__)
def test_public_name_exists(name: str) -> None:
    assert getattr(expnet_tf, name) is not None
    assert name in dir(expnet_tf)


def test_public_names_agree() -> None:
    tree = ast.parse((ROOT / "expnet_tf" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    typed = {name.name: node.module for node in imports for name in node.names}
    lazy = {name: f"expnet_tf.{home}" for name, home in expnet_tf._HOME.items()}
    assert typed == lazy
    assert set(expnet_tf.__all__) == set(lazy) | {"__version__"}


def test_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'lode'.*load"):
        _ = expnet_tf.lode


def test_version_is_one() -> None:
    assert expnet_tf.__version__ == PROJECT["project"]["version"]
    assert f"\nversion: {expnet_tf.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert expnet_tf.__version__ in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("name", ["export", "serving"])
def test_top_level_folder_is_a_subpackage(name: str) -> None:
    module = importlib.import_module(f"expnet_tf.{name}")
    assert Path(module.__file__ or "").parent == ROOT / name
    # Not importable a second time under its bare name: two copies of one class are not equal.
    assert run_python(f"import importlib.util; print(importlib.util.find_spec({name!r}))").strip() == "None"


def test_every_package_is_installed() -> None:
    found = {
        ".".join([top, *init.parent.relative_to(ROOT / folder).parts])
        for top, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert sorted(found) == PROJECT["tool"]["setuptools"]["packages"], "update packages in pyproject.toml"


@pytest.mark.parametrize("name", LOCKS)
def test_lock_has_versions_and_hashes_only(name: str) -> None:
    requirements = locked(name)
    assert requirements
    for block in requirements.values():
        pattern = r"[a-z0-9._-]+==[^ ]+( ; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+"
        assert re.fullmatch(pattern, block.strip()), f"{name}: {block[:80]}"
    # Any index or mirror must be able to serve it.
    assert not re.search(r"://|@|--(extra-)?index|--find-links|--trusted", (ROOT / name).read_text())


def test_lock_meets_pyproject() -> None:
    versions = {key: block.split("==")[1].split()[0] for key, block in locked("requirements.lock").items()}
    declared = [
        *PROJECT["build-system"]["requires"],
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["dev"],
    ]
    for requirement in map(Requirement, declared):
        assert versions[requirement.name] in requirement.specifier, f"{requirement}: run make lock"
    assert [name for name in versions if name.startswith("opencv")] == ["opencv-python-headless"]
    # Neither builds without an NVIDIA driver, and neither is needed.
    assert not [name for name in versions if name.startswith(("nvidia", "tensorrt"))]


def test_bootstrap_lock_holds_uv_alone() -> None:
    assert list(locked("tools/bootstrap.lock")) == ["uv"]


@pytest.mark.parametrize("script", ["expnet"])
def test_console_script_is_declared(script: str) -> None:
    module, _, function = PROJECT["project"]["scripts"][script].partition(":")
    assert importlib.util.find_spec(module) is not None
    assert f"def {function}(" in (ROOT / f"{module.replace('.', '/')}.py").read_text()


def test_every_file_beside_the_code_is_installed() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["expnet_tf"]
    package = ROOT / "expnet_tf"
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    installed |= {path for folder in installed if folder.is_dir() for path in folder.rglob("*")}  # as `**` before 3.13
    there = {p for p in package.rglob("*") if p.is_file() and p.suffix != ".py" and "__pycache__" not in p.parts}
    assert not there - installed
