"""Run by test_kserve.py in an environment with kserve: standard input, JSON, as an InferenceService of its models.

The models drop what they do not know, so every field is looked up in the model's own table of names and types.
"""

import json
import re
import sys

import kserve
from kubernetes import client

PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object}


def build(value: object, kind: str, where: str) -> object:
    """`value` as the type `kind` of the models' tables; exits with a sentence where it does not fit."""
    if found := re.fullmatch(r"(list|dict)[\[(](?:str, )?(\w+)[\])]", kind, re.IGNORECASE):
        kind = found[1].lower()
        if kind == "list" and isinstance(value, list):
            return [build(item, found[2], f"{where}[{i}]") for i, item in enumerate(value)]
        if kind == "dict" and isinstance(value, dict):
            return {key: build(item, found[2], f"{where}.{key}") for key, item in value.items()}
        sys.exit(f"{where}: not a {kind}")
    if kind in PLAIN:
        if not isinstance(value, PLAIN[kind]) or (isinstance(value, bool) and kind == "int"):
            sys.exit(f"{where}: {value!r} is not {kind}")
        return value
    model = getattr(kserve.models, kind, None) or getattr(client, kind, None)
    if model is None:  # a quantity
        if not isinstance(value, str | int):
            sys.exit(f"{where}: {value!r} is not {kind}")
        return value
    if not isinstance(value, dict):
        sys.exit(f"{where}: not a {kind}")
    names = {name: attribute for attribute, name in model.attribute_map.items()}
    if unknown := sorted(set(value) - set(names)):
        sys.exit(f"{where}: {kind} has no {unknown[0]}")
    arguments = {
        names[key]: build(item, model.openapi_types[names[key]], f"{where}.{key}") for key, item in value.items()
    }
    return model(**arguments)  # raises where a field that is required is missing


build(json.load(sys.stdin), "V1beta1InferenceService", "InferenceService")
