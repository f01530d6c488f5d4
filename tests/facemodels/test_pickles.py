"""The reader of pickles: what it reads, and files made to harm, none of which may run anything."""

import builtins
import contextlib
import io
import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from expnet_tf.facemodels import FaceModelError
from expnet_tf.facemodels.pickles import read

FACE = {
    "mean": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "faces": np.array([[0, 1, 1]], np.uint32),
    "big_endian": np.arange(3, dtype=">f8"),
    "one": np.float64(2.5),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 3)),
    "words": np.array(["jaw", "chin"]),
    "name": "face",
    "numbers": [1, 2.5, None, ("a", b"b")],
}


def written(folder: Path, data: bytes) -> Path:
    path = folder / "model.pkl"
    path.write_bytes(data)
    return path


def same(got: dict[str, Any]) -> None:
    assert got.keys() == FACE.keys()
    for name, value in FACE.items():
        if isinstance(value, np.ndarray | np.generic):
            np.testing.assert_array_equal(got[name], value)
            assert got[name].dtype == value.dtype
        else:
            assert got[name] == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_reads_what_pickle_wrote(tmp_path, protocol):
    same(read(written(tmp_path, pickle.dumps(FACE, protocol))))


class Python2(pickle._Pickler):
    """Writes as Python 2 did: strings of text and of bytes alike, modules by their old names."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, 2, fix_imports=True)

    def save_string(self, value: str | bytes) -> None:
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def python2(value: Any) -> bytes:
    file = io.BytesIO()
    Python2(file).dump(value)
    return file.getvalue().replace(b"numpy._core", b"numpy.core")


def test_reads_python_2(tmp_path):
    data = python2(FACE)
    assert b"cnumpy.core.multiarray\n_reconstruct" in data
    assert b"_codecs" not in data
    with pytest.raises(UnicodeDecodeError):
        pickle.loads(data)  # so it is such a pickle
    got = read(written(tmp_path, data))
    got["numbers"][3] = ("a", got["numbers"][3][1].encode("latin1"))
    same(got)


def chumpy_module(monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> type:
    """A class of chumpy as far as a pickle knows it: a name in a module, and a state."""
    made = type(name, (), {"__module__": module})
    for part in (module.split(".")[0], module):
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    setattr(sys.modules[module], name, made)
    return made


@pytest.mark.parametrize("dump", [pickle.dumps, lambda value: pickle.dumps(value, 0), python2])
def test_chumpy_is_read_without_chumpy(tmp_path, monkeypatch, dump):
    with monkeypatch.context() as installed:
        plain = chumpy_module(installed, "chumpy.ch", "Ch")()
        plain.__dict__ |= {"x": FACE["fortran"], "_dirty_vars": {"x"}, "_itr": None, "_status": "new"}
        select = chumpy_module(installed, "chumpy.reordering", "Select")()
        select.__dict__ |= {"a": plain, "idxs": np.array([5, 4, 3, 2]), "preferred_shape": (2, 2), "mode": "raise"}
        data = dump({"v": plain, "some": select})
    assert "chumpy" not in sys.modules
    got = read(written(tmp_path, data))
    np.testing.assert_array_equal(got["v"], FACE["fortran"])
    np.testing.assert_array_equal(got["some"], [[5.0, 4.0], [3.0, 2.0]])


@pytest.mark.parametrize("dump", [pickle.dumps, python2])
@pytest.mark.parametrize("form", ["csc_matrix", "csr_matrix"])
def test_sparse_matrices_are_read_without_scipy(tmp_path, dump, form):
    sparse = pytest.importorskip("scipy.sparse", reason="writes the file")
    dense = np.zeros((5, 20))
    dense[[0, 0, 3, 4], [2, 19, 7, 7]] = [1.0, 2.0, 3.0, 4.0]
    got = read(written(tmp_path, dump({"J": getattr(sparse, form)(dense)})))
    np.testing.assert_array_equal(got["J"], dense)


def test_a_bare_array_is_read(tmp_path):
    np.testing.assert_array_equal(read(written(tmp_path, pickle.dumps(FACE["faces"]))), FACE["faces"])


# Files made to harm.


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def harmed(marker: Path) -> None:
    marker.write_text("harmed")


def refused(path: Path, *words: str) -> None:
    """Reading raises one sentence that names the file and says these words."""
    with pytest.raises(FaceModelError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


CALLS = {
    "system": lambda marker: (os.system, f"touch {marker}"),
    "eval": lambda marker: (builtins.eval, f"open({str(marker)!r}, 'w').close()"),
    "exec": lambda marker: (builtins.exec, f"open({str(marker)!r}, 'w').close()"),
    "open": lambda marker: (builtins.open, str(marker), "w"),
    "getattr": lambda marker: (getattr, os, "system"),
    "import": lambda marker: (builtins.__import__, "antigravity"),
    "own module": lambda marker: (harmed, marker),
    "numpy.load": lambda marker: (np.load, str(marker)),
    "numpy.save": lambda marker: (np.save, str(marker), 1),
    "numpy.memmap": lambda marker: (np.memmap, str(marker), "u1", "w+", 0, (9,)),
    "numpy.fromfile": lambda marker: (np.fromfile, "/dev/zero", "u1", 9),
    "numpy.ones": lambda marker: (np.ones, (1 << 40,)),
    "pickle.loads": lambda marker: (pickle.loads, pickle.dumps(Calls(os.system, f"touch {marker}"))),
    "codecs.decode": lambda marker: (__import__("_codecs").decode, b"QQ==", "base64"),
    "dict": lambda marker: (dict, [("a", 1)]),
}


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("call", CALLS)
def test_calls_are_not_made(tmp_path, call, protocol):
    marker = tmp_path / "marker.npy"
    function, *arguments = CALLS[call](marker)
    if call == "getattr":
        data = b"cbuiltins\ngetattr\n(cposix\nsystem\nS'__call__'\ntR."  # a module itself cannot be pickled
    else:
        data = pickle.dumps({"v": Calls(function, *arguments)}, protocol)
    refused(written(tmp_path, data), "names ", "which no face model needs; it was not run")
    assert os.listdir(tmp_path) == ["model.pkl"]


def test_calls_within_what_is_allowed_are_not_made(tmp_path):
    """Within an array's objects, an array's state, a stand-in's state and a call's arguments."""
    marker = tmp_path / "marker"
    harm = Calls(os.system, f"touch {marker}")
    objects = np.empty(1, object)
    objects[0] = harm
    for value in (objects, {"a": [objects]}, (np.zeros(2), {"x": harm}), Calls(np.dtype, harm)):
        refused(written(tmp_path, pickle.dumps(value)), "names posix.system")
    assert not marker.exists()


GLOBAL_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n"
HAND_MADE = {  # protocol 0, instruction by instruction
    "another class than ndarray": (GLOBAL_ARRAY + b"(cnumpy\ndtype\n(I0\ntS'b'\ntR.", "makes another array"),
    "a class of chumpy as ndarray": (GLOBAL_ARRAY + b"(cchumpy.ch\nCh\n(I0\ntS'b'\ntR.", "makes another array"),
    "ndarray called": (b"cnumpy\nndarray\n((I99999999\ntI1\ntR.", "calls numpy.ndarray"),
    "object called": (b"c__builtin__\nobject\n(tR.", "calls object"),
    "a codec": (b"c_codecs\nencode\n(S'a'\nS'zip'\ntR.", "encodes as 'zip'"),
    "a record dtype": (b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR.", "has arrays of 'V8'"),
    "a dtype that numpy would parse": (b"cnumpy\ndtype\n(S'f8,O'\nI0\nI1\ntR.", "has arrays of 'f8,O'"),
    "fields in a dtype's state": (
        b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nN(S'a'\nt(dI-1\nI-1\nI0\ntb.", "has arrays of records"),
    "state for a function": (GLOBAL_ARRAY + b"(dS'__code__'\nI1\nsb.", "writes to a function"),
    "slot state for a function": (GLOBAL_ARRAY + b"(N(dS'_does'\nI1\nstb.", "writes to a function"),
    "state for a class": (b"cchumpy.ch\nCh\n(dS'__setstate__'\nI1\nsb.", "not a readable pickle"),
    "slot state for a class": (b"cchumpy.ch\nCh\n(N(dS'__setstate__'\nI1\nstb.", "not a readable pickle"),
    "slot state for a stand-in": (
        b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR(N(dS'__class__'\nI1\nstb.",
        "of an unknown form"),
    "an object made of a function": (
        b"ccopy_reg\n_reconstructor\n(cnumpy\ndtype\nc__builtin__\nobject\nNtR.", "makes an object in an old way"),
    "a dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x13f2py.os.system.call\x93.", "names numpy.f2py.os.system.call"),
    "a module named like chumpy": (b"\x80\x04\x8c\x09chumpyish\x8c\x06system\x93.", "names chumpyish.system"),
    "a number of bytes": (b"c__builtin__\nbytes\n(L1099511627776L\ntR.", "not a readable pickle"),
    "INST": (b"(S'id'\nios\nsystem\n.", "has the instruction INST"),
    "OBJ": (b"(cos\nsystem\nS'id'\no.", "has the instruction OBJ"),
    "EXT1": (b"\x80\x02\x82\x01.", "has the instruction EXT1"),
    "PERSID": (b"Pid\n.", "has the instruction PERSID"),
    "a memory index of two thousand million": (b"\x80\x02Nr\xff\xff\xff\x7f.", "numbers its memory out of order"),
    "more bytes than there are": (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x0fabc.", "not a readable pickle"),
    "an array larger than its bytes": (
        GLOBAL_ARRAY + b"(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(L1099511627776L\ntcnumpy\ndtype\n(S'f8'\nI0\nI1\ntR"
        b"I0\nS'abcdefgh'\ntb.", "not a readable pickle"),
    "an array of a number of bytes": (
        b"cnumpy.core.numeric\n_frombuffer\n(L1099511627776L\ncnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I1\ntS'C'\ntR.",
        "fills an array with a int"),
    "a sparse matrix of a trillion numbers": (
        b"(dS'J'\nccopy_reg\n_reconstructor\n(cscipy.sparse.csc\ncsc_matrix\nc__builtin__\nobject\nNtR"
        b"(dS'_shape'\n(I1000000\nI1000000\ntsbs.", "has a sparse matrix of 1000000 x 1000000"),
    "a sparse matrix that claims its numbers": (
        b"(dS'J'\nccopy_reg\n_reconstructor\n(cscipy.sparse.csc\ncsc_matrix\nc__builtin__\nobject\nNtR"
        b"(dS'_shape'\n(I10\nI10\ntsS'data'\n(lsS'indices'\n(lsS'indptr'\n(lI0\naL1099511627776L\nasbs.",
        "do not fit together"),
    "an object within itself": (
        b"(dS'v'\nccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtRp1\n(dS'x'\ng1\nsbs.",
        "within itself"),
    "chumpy without numbers": (
        b"(dS'v'\nccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR(dbs.", "without numbers"),
    "tuples that take for ever to hash": (
        b"\x80\x02})q\x00" + b"".join(b"h%ch%c\x86q%c" % (k, k, k + 1) for k in range(60)) + b"K\x01s.",
        "nests tuples in tuples"),
    "the same in a set": (
        b"\x80\x04\x8f()\x94" + b"".join(b"h%ch%c\x86\x94" % (k, k) for k in range(60)) + b"\x90.",
        "nests tuples in tuples"),
    "wide tuples": (
        b"\x80\x02})q\x00" + b"".join(b"(" + b"h%c" % k * 99 + b"tq%c" % (k + 1) for k in range(4)) + b"K\x01s.",
        "nests tuples in tuples"),
    "an empty stack": (b"\x80\x02\x86.", "not a readable pickle"),
    "nothing": (b"", "not a readable pickle"),
    "no end": (b"(dS'a'\nI1\ns", "not a readable pickle"),
    "not a pickle": (b"MATLAB 5.0", "not a readable pickle"),
}  # fmt: skip


@pytest.mark.parametrize("case", HAND_MADE)
def test_hand_made_harm(tmp_path, case):
    data, words = HAND_MADE[case]
    refused(written(tmp_path, data), words)
    assert os.listdir(tmp_path) == ["model.pkl"]


def test_what_a_file_does_to_a_stand_in_ends_with_it(tmp_path):
    """No stand-in is shared by two files, so nothing can be left for the next."""
    data, _ = HAND_MADE["slot state for a class"]
    refused(written(tmp_path, data))
    good = b"(dS'v'\nccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR(dS'x'\nI7\nsbs."
    assert read(written(tmp_path, good)) == {"v": 7}


def test_too_many_instructions(tmp_path):
    refused(written(tmp_path, b"(" + b"N0" * 60_000 + b"."), "has more than 100,000 instructions")


def test_too_large_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("expnet_tf.facemodels.pickles.LIMIT", 9)
    refused(written(tmp_path, pickle.dumps(FACE)), "at most 9 are read")


def test_truncated_and_flipped_bytes_never_escape_as_another_error(tmp_path):
    whole, rng = pickle.dumps(FACE, 2), np.random.default_rng(0)
    for end in range(0, len(whole), 7):
        refused(written(tmp_path, whole[:end]))
    for _ in range(300):
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        with contextlib.suppress(FaceModelError):
            read(written(tmp_path, bytes(data)))
    assert os.listdir(tmp_path) == ["model.pkl"]


def test_the_hand_made_are_programs_that_pickle_would_run(tmp_path):
    """They are harmful to pickle itself, or the tests above would show nothing."""
    marker = tmp_path / "marker"
    data = pickle.dumps(Calls(builtins.eval, f"open({str(marker)!r}, 'w').close()"), 0)
    refused(written(tmp_path, data), "names builtins.eval" if b"builtins" in data else "names __builtin__.eval")
    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists()
