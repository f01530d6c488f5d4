"""Bodies of the REST predict call: JSON to named arrays and back, as TensorFlow Serving's REST page defines them.

Row format: `instances`, one item a row, answered by `predictions`. Column format: `inputs`, one array a name,
answered by `outputs`. Binary values are {"b64": "..."}; NaN, Infinity and -Infinity are tokens, in both directions.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from expnet_tf.serving.errors import invalid
from expnet_tf.serving.limits import Limits
from expnet_tf.serving.protocol import DT_STRING, DT_UINT8, types_pb2
from expnet_tf.serving.signatures import Signature, Tensor, choose

Inputs = dict[str, np.ndarray]


def read_body(body: bytes, known: Mapping[str, Signature], limits: Limits) -> tuple[Signature, Inputs, bool]:
    """The signature, its inputs, and whether they came as rows.

    Raises ServingError: INVALID_ARGUMENT for what is no such JSON, RESOURCE_EXHAUSTED for too many rows.
    """
    try:
        document = json.loads(body)
    except RecursionError:
        raise invalid("JSON Parse error: nested too deeply.") from None
    except ValueError as error:  # not UTF-8, not JSON, or a number of thousands of digits
        raise invalid(f"JSON Parse error: {error}.") from None
    if not isinstance(document, dict):
        raise invalid(f"The body is a JSON {_kind(document)}; an object with 'instances' or 'inputs' is expected.")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value.")
    signature = choose(known, name)
    if ("instances" in document) == ("inputs" in document):
        raise invalid("Exactly one of the keys 'instances' and 'inputs' is expected.")
    rows = "instances" in document
    columns = _transpose(document["instances"], signature, limits) if rows else _named(document["inputs"], signature)
    signature.check_names(set(columns))
    inputs = {key: _array(column, key, signature.inputs[key], limits) for key, column in columns.items()}
    if len({len(values) for values in inputs.values()}) > 1:
        counts = ", ".join(f"{key} {len(values)}" for key, values in inputs.items())
        raise invalid(f"The inputs have different numbers of rows: {counts}.")
    return signature, inputs, rows


def write_body(outputs: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """The answer; a single output goes without its name."""
    columns = {name: _plain(values, name.endswith("_bytes")) for name, values in outputs.items()}
    if len(columns) == 1:
        answer: Any = next(iter(columns.values()))
    elif rows:
        answer = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    else:
        answer = columns
    return json.dumps({"predictions" if rows else "outputs": answer}, ensure_ascii=False).encode()


def _sole(signature: Signature) -> str:
    """The input that a value without a name is: the only one that must be given."""
    required = [name for name, tensor in signature.inputs.items() if not tensor.optional]
    if len(required) > 1:
        raise invalid(f"Signature {signature.name} has several inputs; they must be named.")
    return required[0]


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _named(value: Any, signature: Signature) -> dict[str, Any]:
    return value if _is_named(value) else {_sole(signature): value}


def _transpose(instances: Any, signature: Signature, limits: Limits) -> dict[str, list[Any]]:
    if not isinstance(instances, list) or not instances:
        raise invalid("'instances' must be a list with at least one item.")
    limits.check_rows(len(instances))
    named = _is_named(instances[0])
    for number, item in enumerate(instances):
        if _is_named(item) != named:
            raise invalid(f"Item {number} of 'instances' is not of the same kind, named or not, as item 0.")
        if named:
            try:
                signature.check_names(set(item))
            except Exception as error:
                raise invalid(f"Item {number} of 'instances': {error}") from None
    if not named:
        return {_sole(signature): instances}
    # An optional input may be missing in some rows; null says the same.
    names = [name for name in signature.inputs if any(name in item for item in instances)]
    return {name: [item.get(name) for item in instances] for name in names}


def _array(column: Any, name: str, expected: Tensor, limits: Limits) -> np.ndarray:
    if not isinstance(column, list) or not column:
        raise invalid(f"Input {name} is {_kind(column)}; a list with an item a row is expected.")
    limits.check_rows(len(column))
    if expected.dtype == DT_STRING:
        made = np.empty(len(column), object)
        made[:] = [_bytes(value, name, row) for row, value in enumerate(column)]
        return made
    made = np.empty((len(column), *expected.row), np.uint8 if expected.dtype == DT_UINT8 else np.float32)
    for row, value in enumerate(column):
        made[row] = np.nan if value is None and expected.optional else _numbers(value, name, row, expected)
    return made


def _numbers(value: Any, name: str, row: int, expected: Tensor) -> np.ndarray:
    where = f"Input {name}, row {row}"
    if _is_base64(value):
        raise invalid(f"{where}: encoded bytes; an array {list(expected.row)} is expected. Photos go to image_bytes.")
    try:
        made = np.array(value, object)  # of any other dtype one long string would make all items as long
    except (ValueError, RecursionError):  # lists of unequal depth
        raise invalid(f"{where}: not an array of shape {list(expected.row)}.") from None
    if made.shape != expected.row:
        raise invalid(f"{where}: shape {list(made.shape)}; {list(expected.row)} is expected.")
    if not set(map(type, made.flat)) <= ({int} if expected.dtype == DT_UINT8 else {int, float}):
        kind = types_pb2.DataType.Name(expected.dtype)
        raise invalid(f"{where}: values that are not of expected type: {kind}.")
    try:
        numbers = made.astype(np.int64 if expected.dtype == DT_UINT8 else np.float64)
    except OverflowError:
        raise invalid(f"{where}: integers of more digits than the type holds.") from None
    if expected.dtype == DT_UINT8 and (numbers.min() < 0 or numbers.max() > 255):
        raise invalid(f"{where}: values outside 0..255.")
    return numbers


def _bytes(value: Any, name: str, row: int) -> bytes:
    if isinstance(value, str):
        return value.encode(errors="replace")  # JSON can say half of a surrogate pair
    if not _is_base64(value):
        raise invalid(f'Input {name}, row {row}: {_kind(value)}; {{"b64": "..."}} is expected.')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"Input {name}, row {row}: Unable to base64 decode.") from None


def _plain(values: np.ndarray, binary: bool) -> list[Any]:
    if values.dtype == object:
        if binary:
            return [{"b64": base64.b64encode(value).decode()} for value in values]
        return [value.decode() for value in values]
    # Through text: the shortest decimals that give the float32 back, not those of its double (0.2, not 0.200000003).
    return values.astype("U16").astype(np.float64).tolist()


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")
