"""Pickles as plain arrays: their numbers are read, nothing that they name is looked up or run.

A pickle is a program for a small machine, and its GLOBAL instruction fetches any function of any module. Here
`find_class` never touches a module. It knows the few names that arrays are stored with, and gives stand-ins of its own
for them, which check their arguments and keep numbers; stand-ins for chumpy and scipy.sparse keep what they are given,
so neither needs to be installed. Any other name ends the reading. The stand-ins are made anew for every file, so that a
file which writes to one changes nothing that lasts.

What cannot hurt by running can still hurt by what it takes, so pickle_scan.py looks over the instructions first.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from expnet_tf.facemodels.pickle_scan import Refused, look_over
from expnet_tf.morphable import FaceModelError

LIMIT = 2**31  # bytes of a file; FLAME with 400 components takes 53 million
DENSE = 10**8  # numbers of a sparse matrix written out
_NUMBERS = re.compile(r"[|=<>]?(b1|[iu][1248]|f[248]|[SU]\d{1,4})")
_OBJECTS = re.compile(r"[|=<>]?O[48]?")


def read(path: Path) -> Any:
    """What the pickle holds: arrays as numpy arrays, chumpy's and scipy.sparse's as dense arrays.

    Containers are kept as they are, apart from the values of the outermost dict, which are converted. Python 2 pickles
    are read as latin-1. Raises FaceModelError, one sentence, when the file is too large, damaged, or holds anything
    else.
    """
    if path.stat().st_size > LIMIT:
        raise FaceModelError(f"{path}: a pickle of {path.stat().st_size:,} bytes; at most {LIMIT:,} are read")
    return read_bytes(path, path.read_bytes())


def read_bytes(path: Path, data: bytes) -> Any:
    """`read` of these bytes; path is for the message. Raises FaceModelError."""
    try:
        look_over(data)
        found = _Reader(data).load()
        if isinstance(found, dict):
            return {name: plain(value) for name, value in found.items()}
        return plain(found)
    except Refused as error:
        raise FaceModelError(f"{path}: the pickle {error}, which no face model needs; it was not run") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise FaceModelError(f"{path}: not a readable pickle ({reason})") from error


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        array = _Function(_no_call("numpy.ndarray"))
        new_array = _Function(lambda kind, shape, code: _Array() if kind is array else _refuse("makes another array"))
        scalar = _Function(lambda dtype, raw: _filled(dtype, (), raw, "C"))
        from_buffer = _Function(lambda raw, dtype, shape, order: _filled(dtype, shape, raw, order))
        instance = _Function(_instance)
        sequence = _Function(lambda items=(): list(items))
        self._known: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): array,
            ("numpy", "dtype"): _Function(_Kind),
            ("_codecs", "encode"): _Function(_encode),
            ("collections", "OrderedDict"): _Function(lambda items=(): dict(items)),
        }
        for core in ("numpy.core", "numpy._core"):
            self._known[f"{core}.multiarray", "_reconstruct"] = new_array
            self._known[f"{core}.multiarray", "scalar"] = scalar
            self._known[f"{core}.numeric", "_frombuffer"] = from_buffer
        for builtins in ("__builtin__", "builtins"):
            self._known[builtins, "object"] = _Function(_no_call("object"))
            self._known[builtins, "bytes"] = _Function(lambda: b"")  # how Python 3 writes empty ones for Python 2
            # Lists: what chumpy keeps in sets is of no use here.
            self._known[builtins, "set"] = self._known[builtins, "frozenset"] = sequence
        for registry in ("copy_reg", "copyreg"):
            self._known[registry, "_reconstructor"] = instance

    def find_class(self, module: str, name: str) -> Any:
        key = (module, name)
        if key not in self._known:
            if not f"{module}.".startswith(("chumpy.", "scipy.sparse.")):
                raise Refused(f"names {module}.{name}"[:200])
            self._known[key] = type("StandIn", (_StandIn,), {"__slots__": (), "origin": f"{module}.{name}"})
        return self._known[key]


class _Function:
    """A function for the file to call, which it cannot write to."""

    __slots__ = ("_does",)

    def __init__(self, does: Callable[..., Any]) -> None:
        self._does = does

    def __call__(self, *arguments: Any) -> Any:
        return self._does(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise Refused("writes to a function")


def _refuse(what: str) -> Any:
    raise Refused(what)


def _no_call(name: str) -> Callable[..., Any]:
    return lambda *arguments: _refuse(f"calls {name}")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    # Python 3 writes bytes so in old protocols; the true function would find any codec, zip and hex among them.
    if encoding not in ("latin1", "latin-1"):
        raise Refused(f"encodes as {str(encoding)[:40]!r}")
    return text.encode("latin1")


def _instance(kind: Any, base: Any, state: Any) -> Any:
    if not (isinstance(kind, type) and issubclass(kind, _StandIn)):
        raise Refused("makes an object in an old way")
    return kind()


class _Kind:
    """numpy.dtype of plain numbers, or of objects."""

    __slots__ = ("text",)

    def __init__(self, text: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(text, str) or not (_NUMBERS.fullmatch(text) or _OBJECTS.fullmatch(text)):
            raise Refused(f"has arrays of {str(text)[:40]!r}")
        self.text = text

    def __setstate__(self, state: Any) -> None:
        order, parts = state[1], state[2:5]
        if order not in ("<", ">", "=", "|") or any(part is not None for part in parts):
            raise Refused("has arrays of records")
        self.text = order + self.text.lstrip("|=<>")


class _Array:
    """numpy.ndarray, filled by its state: version, shape, dtype, Fortran order, bytes or a list of objects."""

    __slots__ = ("value",)
    value: Any

    def __setstate__(self, state: Any) -> None:
        shape, kind, fortran, raw = state[-4:]
        self.value = _filled(kind, shape, raw, "F" if fortran else "C").value


def _filled(kind: Any, shape: Any, raw: Any, order: str) -> _Array:
    """An array of bytes that are there: a shape that claims more takes no memory."""
    if not isinstance(kind, _Kind) or order not in ("C", "F"):
        raise Refused("makes an array in an unknown way")
    made = _Array()
    if _OBJECTS.fullmatch(kind.text):
        made.value = list(raw)  # what numpy.save makes of a dict
        return made
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(data, bytes | bytearray):
        raise Refused(f"fills an array with a {type(raw).__name__}")
    made.value = np.frombuffer(data, np.dtype(kind.text)).reshape(shape, order=order)  # type: ignore[call-overload]
    return made


class _StandIn:
    """An object of chumpy or scipy.sparse: what it was given, and nothing that it does."""

    __slots__ = ("state",)
    origin: str
    state: Any

    def __new__(cls, *arguments: Any) -> _StandIn:
        return object.__new__(cls)

    def __init__(self, *arguments: Any) -> None:
        self.state = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise Refused(f"has a {self.origin} of an unknown form")
        self.state = state


def plain(value: Any, depth: int = 0) -> Any:
    """The numbers of an array or a stand-in within what was read; anything else as it is."""
    if isinstance(value, _Array):
        return value.value
    if not isinstance(value, _StandIn):
        return value
    if depth > 4:
        raise Refused(f"has a {value.origin} within itself")
    parts = {name: plain(part, depth + 1) for name, part in value.state.items()}
    if value.origin.startswith("scipy."):
        return _dense(value.origin, parts)
    if "x" in parts:
        return parts["x"]
    if {"a", "idxs", "preferred_shape"} <= set(parts):  # chumpy.reordering.Select
        return np.ravel(parts["a"])[parts["idxs"]].reshape(parts["preferred_shape"])
    raise ValueError(f"a {value.origin} without numbers")


def _dense(origin: str, parts: dict[str, Any]) -> np.ndarray:
    """float64 [rows, columns] of a compressed sparse matrix."""
    rows, columns = (int(length) for length in parts["_shape" if "_shape" in parts else "shape"])
    if rows < 0 or columns < 0 or rows * columns > DENSE:
        raise Refused(f"has a sparse matrix of {rows} x {columns}")
    data, inner, starts = (np.asarray(parts[name]) for name in ("data", "indices", "indptr"))
    counts = np.diff(starts)
    if (counts < 0).any() or counts.sum() != len(data):
        raise ValueError(f"a {origin} whose parts do not fit together")
    outer = np.repeat(np.arange(len(counts)), counts)
    made = np.zeros((rows, columns))
    by_column = origin.rpartition(".")[2].startswith("csc")
    np.add.at(made, (inner, outer) if by_column else (outer, inner), data)
    return made
