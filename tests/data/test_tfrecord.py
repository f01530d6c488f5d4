"""Framing, checksums and Examples, against TensorFlow's own readers and writers."""

import numpy as np
import pytest
import tensorflow as tf

from expnet_tf.data.tfrecord import FormatError, crc32c, decode_example, encode_example, frame, unframe

FEATURES = {
    "image": bytes(range(256)) * 3,
    "key": "\u00e4/1.jpg".encode(),
    "empty": b"",
    "pose": np.arange(6, dtype=np.float32) - 2.5,
    "points": np.arange(136, dtype=np.float32).reshape(68, 2),
}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"123456789", 0xE3069283),  # the check value of the catalogue of CRCs
        (bytes(32), 0x8A9136AA),  # the others: RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"", 0),
    ],
)
def test_published_checksums(data, expected):
    assert crc32c(data) == expected


def test_an_example_is_tensorflows_own(tmp_path):
    data = encode_example(FEATURES)
    read = tf.train.Example.FromString(data)
    assert read.SerializeToString(deterministic=True) == data
    assert read.features.feature["key"].bytes_list.value[0] == FEATURES["key"]
    assert read.features.feature["points"].float_list.value[:] == list(range(136))


def test_what_tensorflow_wrote_is_read():
    """Also lists of integers, which are left out, and an order of fields that is not ours."""
    feature = {
        "number": tf.train.Feature(int64_list=tf.train.Int64List(value=[3, -1])),
        "pose": tf.train.Feature(float_list=tf.train.FloatList(value=[1.5, -2])),
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a" * 300])),
        "nothing": tf.train.Feature(),
    }
    read = decode_example(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    assert set(read) == {"pose", "image"}
    np.testing.assert_array_equal(read["pose"], np.float32([1.5, -2]))
    assert read["image"] == b"a" * 300


def test_floats_that_are_not_packed_are_read():
    """proto2 writers may write each value of a repeated float as a field of its own."""
    values = b"".join(b"\x0d" + np.float32(x).tobytes() for x in (1, 2, 3))
    feature = b"\x12" + bytes([len(values)]) + values
    entry = b"\x0a\x01z" + b"\x12" + bytes([len(feature)]) + feature
    features = b"\x0a" + bytes([len(entry)]) + entry
    data = b"\x0a" + bytes([len(features)]) + features
    assert tf.train.Example.FromString(data).features.feature["z"].float_list.value[:] == [1, 2, 3]
    np.testing.assert_array_equal(decode_example(data)["z"], np.float32([1, 2, 3]))


def test_values_come_back():
    read = decode_example(encode_example(FEATURES))
    assert set(read) == set(FEATURES)
    for name, value in FEATURES.items():
        np.testing.assert_array_equal(read[name], value if isinstance(value, bytes) else value.ravel())


def test_frames_are_tensorflows_own(tmp_path):
    records = [b"", b"a", bytes(1000), encode_example(FEATURES)]
    (tmp_path / "ours").write_bytes(b"".join(map(frame, records)))
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(tmp_path / "ours"))] == records
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in records:
            writer.write(record)
    assert (tmp_path / "theirs").read_bytes() == (tmp_path / "ours").read_bytes()
    assert [unframe(frame(record)) for record in records] == records


@pytest.mark.parametrize("at", [0, 9, 12, 20, -1])
def test_every_flipped_byte_is_seen(at):
    record = bytearray(frame(bytes(range(50))))
    record[at] ^= 4
    with pytest.raises(FormatError, match=r"damaged length|wrong checksum"):
        unframe(bytes(record))


def test_a_record_that_is_cut_off_is_refused():
    for length in (0, 10, 30):
        with pytest.raises(FormatError):
            unframe(frame(bytes(50))[:length])


@pytest.mark.parametrize("data", [b"\x0a\x05ab", b"\x0b", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x80"])
def test_bytes_that_are_no_example_are_refused(data):
    with pytest.raises(FormatError, match=r"is no tf\.train\.Example"):
        decode_example(data)
