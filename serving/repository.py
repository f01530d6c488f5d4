"""build: a folder that production servers can mount, made from an export and its manifest.

models/NAME/VERSION/ holds the artifact, the target's files lie beside it, and repository.json says what each name is.
Which versions there are is read from the folders, and a version that is there is never changed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from expnet_tf.export import manifest
from expnet_tf.files import write_whole
from expnet_tf.serving import repository_record as records
from expnet_tf.serving.targets import (
    Model,
    RepositoryError,
    checked_image,
    checked_name,
    kserve,
    kubernetes,
    tfserving,
    triton,
)


class Target(Protocol):
    """A module of `targets`."""

    ARTIFACTS: dict[str, str]
    ONE_MODEL: bool

    def files(self, models: Sequence[Model], image: str | None = None) -> dict[str, str]: ...


TARGETS: dict[str, Target] = {
    "tfserving": tfserving,
    "triton": triton,
    "kserve": kserve,
    "kubernetes": kubernetes,
}


class Built(NamedTuple):
    """What `build` made."""

    folder: Path
    model: Model  # with all its versions
    files: tuple[str, ...]  # paths in the folder of the files written anew
    warnings: tuple[str, ...]


def build(
    export: str | os.PathLike,
    out: str | os.PathLike,
    target: str,
    *,
    name: str = "expnet",
    version: int = 1,
    artifact: str | None = None,
    image: str | None = None,
) -> Built:
    """Put one artifact of the folder `export` into the repository `out` as `name`, `version`, and write its files.

    `artifact` is by default the first that the target serves; `image` replaces the server's container image, now
    and when versions are added later. Other names and versions stay as they are. The artifact is compared with the
    manifest's sha256 before and after it is copied; nothing of `out` changes before all has been checked.

    Raises RepositoryError for what cannot be, ExportError for an export that is damaged, FileNotFoundError where
    `export` has no manifest, OSError.
    """
    source, folder = Path(export), Path(out)
    if target not in TARGETS:
        raise RepositoryError(f"Unknown target {target!r}; accepted: {', '.join(TARGETS)}.")
    if version < 1:
        raise RepositoryError(f"Version {version} is not accepted: a whole number of at least 1.")
    exported = manifest.read(source)
    if folder.resolve().is_relative_to(source.resolve()):
        raise RepositoryError(f"{folder} lies in the export {source}: give a folder outside it.")
    artifact = artifact or _default(exported, target, source)
    noted, warnings = _usable(exported, artifact, target, source)
    record = records.read(folder, target)
    contract = records.contract(exported, artifact)
    records.check_contract(folder, record, checked_name(name), contract)
    facts = record["models"].get(name, {}).get("versions", {}) | {str(version): records.facts(exported, noted)}
    record["models"][name] = {**contract, "versions": facts}
    record["image"] = checked_image(image) if image else record["image"]
    models = records.models(folder, record, adding=(name, version))
    if TARGETS[target].ONE_MODEL and len(models) > 1:
        others = ", ".join(model.name for model in models if model.name != name)
        raise RepositoryError(f"{folder} deploys {others}; give {name} a folder of its own.")
    files = TARGETS[target].files(models, record["image"])

    manifest.check(source, noted)
    _make_folder(folder)
    scratch = Path(tempfile.mkdtemp(prefix=".repository-", dir=folder))
    try:
        copied = _copied(source, noted, scratch, TARGETS[target].ARTIFACTS[artifact])
        home = folder / "models" / name / str(version)
        if home.exists() and _contents(home) != _contents(copied):
            raise RepositoryError(
                f"{home} is there already with another content, and versions do not change: "
                f"give a --model-version other than {version}."
            )
        # The record first: cut short after it, a version lacks its files, never its description.
        _write(folder, records.RECORD, records.text(record))
        if not home.exists():
            _make_folder(home.parent)
            copied.rename(home)
    finally:
        shutil.rmtree(scratch)
    for path, text in files.items():
        _write(folder, path, text)
    return Built(folder, next(model for model in models if model.name == name), tuple(files), tuple(warnings))


def _default(exported: dict[str, Any], target: str, source: Path) -> str:
    served = TARGETS[target].ARTIFACTS
    found = [artifact for artifact in served if artifact in exported["artifacts"]]
    if not found:
        raise RepositoryError(
            f"{source} has no artifact for {target}: it serves {', '.join(served)}, and the manifest names "
            f"{', '.join(exported['artifacts']) or 'none'}."
        )
    return found[0]


def _usable(exported: dict[str, Any], artifact: str, target: str, source: Path) -> tuple[dict[str, Any], list[str]]:
    """The manifest's entry of the artifact, and what there is to say about it."""
    served = TARGETS[target].ARTIFACTS
    if artifact not in served:
        raise RepositoryError(f"{target} does not serve {artifact}; it serves {', '.join(served)}.")
    if artifact not in exported["artifacts"]:
        raise RepositoryError(
            f"{source} has no {artifact}; its manifest names {', '.join(exported['artifacts']) or 'none'}."
        )
    noted = exported["artifacts"][artifact]
    if Path(noted["path"]).name != noted["path"]:
        raise RepositoryError(f"{source}: the manifest's path of {artifact}, {noted['path']!r}, is not a plain name.")
    verified = noted.get("verified", "not run")
    if verified == "fail":
        raise RepositoryError(f"{artifact} of {source} failed `expnet verify` and is not served; export it anew.")
    if verified != "pass":
        return noted, [f"{artifact} of {source} has not been verified; run `expnet verify {source}`."]
    return noted, []


def _copied(source: Path, noted: dict[str, Any], scratch: Path, place: str) -> Path:
    """A version folder inside `scratch` with the artifact at `place`; the copy was compared with the manifest."""
    path = noted["path"]
    if (source / path).is_dir():
        shutil.copytree(source / path, scratch / path, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(source / path, scratch / path)
    manifest.check(scratch, noted)
    made = scratch / path
    if place:
        made = scratch / "version"
        made.mkdir()
        (scratch / path).rename(made / place)
    for item in (made, *made.rglob("*")):
        item.chmod(0o755 if item.is_dir() else 0o644)
    return made


def _contents(folder: Path) -> set[tuple[str, str]]:
    """Every file's path in the folder and its sha256."""
    listed = manifest.list_files(folder.parent, folder.name)
    return {(path.partition("/")[2], facts["sha256"]) for path, facts in listed.items()}


# Everything is readable by all, whatever the umask: the server's user is not the one that runs this.


def _make_folder(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        path.chmod(0o755)


def _write(folder: Path, path: str, text: str) -> None:
    file = folder / path
    _make_folder(file.parent)
    write_whole(file, text.encode())
    file.chmod(0o644)
