"""repository.json: what each name of a repository is, and what its versions were made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from expnet_tf.serving.targets import Model, RepositoryError, checked_name

RECORD = "repository.json"
SCHEMA = 1


def read(folder: Path, target: str) -> dict[str, Any]:
    """repository.json of the folder, or an empty one; raises RepositoryError for one that does not fit."""
    if folder.exists() and not folder.is_dir():
        raise RepositoryError(f"{folder}: is a file; a repository is a folder.")
    path = folder / RECORD
    if not path.exists():
        return {"schema": SCHEMA, "target": target, "image": None, "models": {}}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        schema, found, _ = record["schema"], record["target"], record["image"]
        names = [checked_name(name) for name in record["models"]]
        for entry in record["models"].values():
            _ = {key: entry[key] for key in ("artifact", "size", "outputs", "versions")}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RepositoryError(f"{path}: not a repository's record: {error}.") from None
    if schema != SCHEMA:
        raise RepositoryError(f"{path}: schema {schema}; this version reads schema {SCHEMA}.")
    if found != target:
        raise RepositoryError(f"{folder} is a repository for {found}; give {target} a folder of its own.")
    # A name without a version is what a run that was cut short left: it binds nobody.
    record["models"] = {name: record["models"][name] for name in names if _versions(folder, name)}
    return dict(record)


def _versions(folder: Path, name: str) -> set[int]:
    """The versions of a name that lie in the repository."""
    place = folder / "models" / name
    return {int(path.name) for path in place.iterdir() if path.name.isdecimal()} if place.is_dir() else set()


def check_contract(folder: Path, record: dict[str, Any], name: str, contract: dict[str, Any]) -> None:
    """Raise RepositoryError where the name is there already with another contract."""
    there = record["models"].get(name)
    if there is None:
        return
    for key, value in contract.items():
        if there.get(key) != value:
            raise RepositoryError(
                f"{folder}: {name} has {key} {there.get(key)} and this export has {value}; its clients rely "
                "on that, so give this model another name."
            )


def models(folder: Path, record: dict[str, Any], adding: tuple[str, int]) -> list[Model]:
    """The models as they will be."""
    return [
        Model(
            name,
            entry["artifact"],
            entry["size"],
            entry["outputs"],
            tuple(sorted(_versions(folder, name) | ({adding[1]} if name == adding[0] else set()))),
        )
        for name, entry in sorted(record["models"].items())
    ]


def text(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=1, sort_keys=True) + "\n"


def contract(exported: dict[str, Any], artifact: str) -> dict[str, Any]:
    """What clients of a name rely on: it stays the same from version to version."""
    return {
        "artifact": artifact,
        "size": exported["input"]["shape"][1],
        "crop_factor": exported["input"]["crop_factor"],
        "outputs": {head: facts["shape"][1] for head, facts in exported["outputs"].items()},
    }


def facts(exported: dict[str, Any], noted: dict[str, Any]) -> dict[str, Any]:
    """What a version was made from."""
    return {
        "model": exported["model"].get("id"),
        "weights_sha256": exported.get("weights_sha256"),
        "sha256": noted["sha256"],
        "verified": noted.get("verified", "not run"),
    }
