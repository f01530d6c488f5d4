"""InsightFace's RecordIO: files of MXNet itself, of an independent writer, and damaged ones."""

import base64
import pickle
import struct
from pathlib import Path

import pytest

from expnet_tf.data import recordio_scan
from expnet_tf.data.recordio import RecordIO
from expnet_tf.data.sources import SourceError, open_source

MAGIC = struct.pack("<I", 0xCED7230A)

# Written by mxnet 1.9.1 (MXIndexedRecordIO and pack, in the order of insightface's face2rec2.py): two images of person
# 7 with labels [7, 1], one of person 3 with a scalar label, record 0 with [4, 6], a record [first, last + 1] a person.
# Images 2 and 3 hold the magic number, at 4-byte boundaries and beside one. A larger file of the same writer (54
# images, 40 of random bytes with magic numbers at random places) was read back to the byte when this was written.
MXNET_REC = base64.b64decode(
    "CiPXziUAAAACAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAOBAAACAP2ZpcnN0AAAACiPXziAAACACAAAAAAAAAAIAAAAAAAAAAAAA"
    "AAAAAAAAAOBAAACAPwoj184AAABACiPXzgQAAGB0YWlsCiPXziAAACAAAAAAAABAQAMAAAAAAAAAAAAAAAAAAABhYgoj185jZAoj"
    "184AAABgCiPXziAAAAACAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIBAAADAQAoj184gAAAAAgAAAAAAAAAEAAAAAAAAAAAAAAAA"
    "AAAAAACAPwAAQEAKI9fOIAAAAAIAAAAAAAAABQAAAAAAAAAAAAAAAAAAAAAAQEAAAIBA"
)
MXNET_IDX = "1\t0\n2\t48\n3\t108\n0\t156\n4\t196\n5\t236\n"
MXNET_IMAGES = [
    ("0000007/00000001.jpg", "0000007", b"first"),
    ("0000007/00000002.jpg", "0000007", MAGIC * 2 + b"tail"),
    ("0000003/00000003.jpg", "0000003", b"ab" + MAGIC + b"cd" + MAGIC),
]


def split_record(data: bytes) -> bytes:
    """dmlc's WriteRecord: parts end where an aligned word of the data is the magic number."""
    cuts = [at for at in range(0, len(data) // 4 * 4, 4) if data[at : at + 4] == MAGIC]
    ends, starts = [*cuts, len(data)], [0, *(cut + 4 for cut in cuts)]
    out = b""
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        flag = 0 if not cuts else 3 if end == len(data) and number == len(cuts) else 1 if number == 0 else 2
        out += MAGIC + struct.pack("<I", flag << 29 | end - start) + data[start:end] + bytes(-(end - start) % 4)
    return out


def header(number: int, labels: list[float] | float) -> bytes:
    if isinstance(labels, float):
        return struct.pack("<IfQQ", 0, labels, number, 0)
    return struct.pack(f"<IfQQ{len(labels)}f", len(labels), 0.0, number, 0, *labels)


def write(folder: Path, images: list[tuple[int, bytes]], index: bool = True) -> Path:
    """train.rec as face2rec2 orders it: images from key 1 on, then record 0, then a record a person."""
    folder.mkdir(exist_ok=True)
    records = [(n, header(n, [float(person), 1.0]) + data) for n, (person, data) in enumerate(images, 1)]
    people = sorted({person for person, _ in images})
    end = len(images) + 1
    records.append((0, header(0, [float(end), float(end + len(people))])))
    records += [(end + n, header(end + n, [1.0, 2.0])) for n in range(len(people))]
    out, lines = b"", ""
    for number, record in records:
        lines += f"{number}\t{len(out)}\n"
        out += split_record(record)
    (folder / "train.rec").write_bytes(out)
    if index:
        (folder / "train.idx").write_text(lines)
    (folder / "property").write_text(f"{len(people)},112,112")
    return folder / "train.rec"


def contents(source) -> list[tuple[str, str, bytes]]:
    samples = [source.read(i) for i in range(len(source))]
    return [(sample.key, sample.identity, sample.image_bytes) for sample in samples]


def mxnet_file(folder: Path) -> Path:
    (folder / "train.rec").write_bytes(MXNET_REC)
    (folder / "train.idx").write_text(MXNET_IDX)
    return folder


def test_a_file_of_mxnet(tmp_path):
    source = open_source(mxnet_file(tmp_path))
    assert source.kind == "recordio"
    assert contents(source) == MXNET_IMAGES
    assert (source.unreadable, source.notes) == ([], [])
    assert contents(open_source(tmp_path / "train.rec")) == MXNET_IMAGES


@pytest.mark.parametrize(
    "images",
    [
        [(45, b"\xff\xd8" + b"x" * 101)],
        [(0, MAGIC), (0, MAGIC * 3), (1, b"abcd" + MAGIC + b"e"), (2, b"ab" + MAGIC + b"cdefgh" + MAGIC)],
        [(5, b"a" * n + MAGIC + b"b" * n) for n in range(9)],
    ],
    ids=["whole", "split", "every alignment"],
)
def test_records_come_back_as_they_were_written(tmp_path, images):
    source = RecordIO(write(tmp_path, images))
    expected = [(f"{p:07d}/{n:08d}.jpg", f"{p:07d}", data) for n, (p, data) in enumerate(images, 1)]
    assert contents(source) == expected
    assert source.describe()["property"] == f"{len({p for p, _ in images})},112,112"


def test_the_keys_decide_the_order_not_the_place_in_the_index(tmp_path):
    mxnet_file(tmp_path)
    lines = MXNET_IDX.splitlines()[::-1]
    (tmp_path / "train.idx").write_text("\n".join(lines))
    assert contents(open_source(tmp_path)) == MXNET_IMAGES


def test_without_an_index_the_records_are_found_one_after_the_other(tmp_path):
    mxnet_file(tmp_path)
    (tmp_path / "train.idx").unlink()
    source = open_source(tmp_path)
    assert contents(source) == MXNET_IMAGES
    assert source.notes == ["train.idx is not there: train.rec was read from front to back (6 records)."]


@pytest.mark.parametrize("length", [len("1\t0\n"), len("1\t0\n2\t4"), len("1\t0\n2\t48\n3\t1")])
def test_a_truncated_index_loses_nothing_and_is_named(tmp_path, length):
    """Also where the last number is cut, so that it points into the middle of a record."""
    mxnet_file(tmp_path)
    (tmp_path / "train.idx").write_text(MXNET_IDX[:length])
    source = open_source(tmp_path)
    assert contents(source) == MXNET_IMAGES
    assert source.unreadable == []
    assert "train.idx ends early" in source.notes[0]


@pytest.mark.parametrize("index", [True, False])
def test_of_a_truncated_file_the_whole_records_are_read_and_the_rest_is_listed(tmp_path, index):
    images = [(n, bytes([n]) * 50) for n in range(1, 6)]
    path = write(tmp_path, images, index)
    size = len(split_record(header(1, [1.0, 1.0]) + bytes(50)))
    path.write_bytes(path.read_bytes()[: 3 * size + 20])
    source = RecordIO(path)
    assert [data for _, _, data in contents(source)] == [data for _, data in images[:3]]
    # Record 0, images 4 and 5 and the five people's records; without an index only the one that was begun.
    assert len(source.unreadable) == (8 if index else 1)
    assert "is cut off" in dict(source.unreadable)["record 4" if index else f"record at byte {3 * size}"]
    assert all(str(path) in reason for _, reason in source.unreadable)


@pytest.mark.parametrize("index", [True, False])
def test_a_damaged_record_costs_no_other(tmp_path, index):
    images = [(n, bytes([n]) * 50) for n in range(1, 6)]
    path = write(tmp_path, images, index)
    size = len(split_record(header(1, [1.0, 1.0]) + bytes(50)))
    data = bytearray(path.read_bytes())
    data[size : size + 4] = b"????"
    path.write_bytes(data)
    source = RecordIO(path)
    assert list(source.keys) == [f"{n:07d}/{n:08d}.jpg" for n in (1, 3, 4, 5)]
    assert [key for key, _ in source.unreadable] == ["record 2" if index else f"record at byte {size}"]
    assert f"has 0x3f3f3f3f in place of 0xced7230a at byte {size}" in source.unreadable[0][1]
    assert "Record 0 speaks of 5 images; 4 can be read." in source.notes


def test_a_label_that_names_nobody_is_listed(tmp_path):
    (tmp_path / "train.rec").write_bytes(
        split_record(header(1, float("nan")) + b"x") + split_record(header(2, 1.5) + b"x")
        + split_record(header(3, 2.0) + b"x")
    )  # fmt: skip
    source = open_source(tmp_path)
    assert list(source.identities) == ["0000002"]
    assert ["nan" in why or "1.5" in why for _, why in source.unreadable] == [True, True]


def test_the_magic_number_that_mxnet_rejects_is_rejected(tmp_path):
    (tmp_path / "train.rec").write_bytes(struct.pack("<I", 0x3ED7230A) + MXNET_REC[4:])
    with pytest.raises(SourceError, match=r"train\.rec begins with 0x3ed7230a, the number of files that MXNet itself"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"JFIF....", r"begins with 0x4649464a; RecordIO begins with 0xced7230a"),
        (split_record(header(0, [1.0, 1.0])), "holds no image that can be read"),
        (MXNET_REC[:20], "holds no image that can be read; 1 records are damaged"),
    ],
    ids=["empty", "foreign", "no image", "nothing whole"],
)
def test_a_file_without_an_image_is_refused(tmp_path, data, message):
    (tmp_path / "train.rec").write_bytes(data)
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path)


def test_a_source_travels_to_a_worker_whole_or_in_part(tmp_path):
    source = RecordIO(write(tmp_path, [(n, bytes([n]) * 9) for n in range(6)]))
    source.read(0)  # with a file open
    assert contents(pickle.loads(pickle.dumps(source))) == contents(source)
    part = source.part([4, 1])
    assert contents(part) == [contents(source)[4], contents(source)[1]]
    assert list(part.keys) == [source.keys[4], source.keys[1]]
    assert len(pickle.dumps(part)) < 2000


def test_a_file_that_shrank_since_it_was_opened_is_an_error_of_the_image(tmp_path):
    path = write(tmp_path, [(1, bytes(99)), (2, bytes(99))])
    source = RecordIO(path)
    path.write_bytes(path.read_bytes()[:150])
    assert source.read(0).image_bytes == bytes(99)
    with pytest.raises(SourceError, match=r"0000002/00000002\.jpg of .*train\.rec is cut off"):
        source.read(1)


@pytest.mark.parametrize("key", [2**63, 2**64 - 1, int("9" * 25)])
def test_a_key_that_is_no_key_is_listed(tmp_path, key):
    mxnet_file(tmp_path)
    (tmp_path / "train.idx").write_text(MXNET_IDX.replace("2\t48", f"{key}\t48"))
    source = open_source(tmp_path)
    if key < 2**64:
        assert contents(source) == [MXNET_IMAGES[0], MXNET_IMAGES[2]]
        assert source.unreadable[0][0] == f"record {key}"
        assert f"has the key {key}; keys below 2^63 are read" in source.unreadable[0][1]
    else:  # no number at all: a line that counts as missing
        assert contents(source) == MXNET_IMAGES
        assert "1 lines of train.idx are not KEY<TAB>OFFSET." in source.notes


def test_an_offset_of_any_size_is_listed_and_its_record_found(tmp_path):
    mxnet_file(tmp_path)
    (tmp_path / "train.idx").write_text(MXNET_IDX.replace("2\t48", f"2\t{2**63 + 4}\n77\t{'4' * 5000}"))
    source = open_source(tmp_path)
    assert contents(source) == MXNET_IMAGES
    assert source.notes == [
        "1 lines of train.idx are not KEY<TAB>OFFSET.",
        "train.idx leaves out 1 records before its last; they are in train.rec.",
    ]


@pytest.mark.parametrize("ids", [[1, 2**63], [1, 2**64 - 1], [2**63 - 1, 2**63 - 1]])
def test_an_id_that_is_no_key_is_listed(tmp_path, ids):
    """The last: the second record of an id gets the next free key, and after the largest there is none."""
    first = split_record(header(ids[0], 5.0) + b"first")
    (tmp_path / "train.rec").write_bytes(first + split_record(header(ids[1], 5.0) + b"next"))
    source = open_source(tmp_path)
    assert [data for _, _, data in contents(source)] == [b"first"]
    assert [key for key, _ in source.unreadable] == [f"record at byte {len(first)}"]
    assert "keys below 2^63 are read" in source.unreadable[0][1]


def test_the_keys_of_repeated_ids_are_found_without_looking_through_all(tmp_path, monkeypatch):
    """For every record all keys were compared once: half an hour for CASIA's half million."""

    def small(values, *others, **named):
        nonlocal whole
        whole += not others and len(values) > 1
        return max(values, *others, **named)

    whole = 0
    monkeypatch.setattr(recordio_scan, "max", small, raising=False)
    one = split_record(header(0, 5.0) + b"x")
    (tmp_path / "train.rec").write_bytes(one * 500)
    source = open_source(tmp_path)
    assert list(source.keys) == [f"0000005/{number:08d}.jpg" for number in range(500)]
    assert whole <= 1


@pytest.mark.parametrize("missing", [["2\t48\n"], ["1\t0\n"], ["1\t0\n", "2\t48\n", "0\t156\n"]])
def test_what_the_index_leaves_out_is_found_and_told(tmp_path, missing):
    mxnet_file(tmp_path)
    text = MXNET_IDX
    for line in missing:
        text = text.replace(line, "")
    (tmp_path / "train.idx").write_text(text)
    source = open_source(tmp_path)
    assert contents(source) == MXNET_IMAGES
    assert source.unreadable == []
    assert source.notes == [f"train.idx leaves out {len(missing)} records before its last; they are in train.rec."]


def test_a_damaged_record_that_the_index_leaves_out_is_listed_once(tmp_path):
    """Its later parts look like records that begin wrongly."""
    mxnet_file(tmp_path)
    (tmp_path / "train.idx").write_text(MXNET_IDX.replace("2\t48\n", ""))
    data = bytearray(MXNET_REC)
    data[48:52] = b"????"
    (tmp_path / "train.rec").write_bytes(data)
    source = open_source(tmp_path)
    assert contents(source) == [MXNET_IMAGES[0], MXNET_IMAGES[2]]
    assert [key for key, _ in source.unreadable] == ["record at byte 48"]


def test_two_records_under_one_key_are_both_read(tmp_path):
    mxnet_file(tmp_path)
    (tmp_path / "train.idx").write_text(MXNET_IDX.replace("2\t48", "1\t48"))
    assert contents(open_source(tmp_path)) == MXNET_IMAGES


def test_record_0_may_say_nonsense(tmp_path):
    (tmp_path / "train.rec").write_bytes(
        split_record(header(0, [float("nan"), float("inf")])) + split_record(header(1, 5.0) + b"x")
    )
    assert len(open_source(tmp_path)) == 1
