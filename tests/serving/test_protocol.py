"""The protocol without TensorFlow, and TensorFlow after it."""

import subprocess
import sys

import pytest


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_client_and_server_load_without_tensorflow():
    code = """
import sys
import expnet_tf.serving.app, expnet_tf.serving.client
print([name for name in sys.modules if name.partition(".")[0] in ("tensorflow", "keras", "onnx")])
"""
    assert run_python(code).strip() == "[]"


@pytest.mark.slow
def test_tensorflow_can_be_imported_afterwards():
    """And its messages are the same classes: protobuf knows no two of one name."""
    code = """
from expnet_tf.serving import protocol
import tensorflow as tf
made = tf.make_tensor_proto([1.5, 2.5])
assert isinstance(made, protocol.TensorProto)
protocol.PredictRequest().inputs["x"].CopyFrom(made)
assert tf.reduce_sum(tf.constant([1.0, 2.0])).numpy() == 3.0
from tensorflow_serving.apis import predict_pb2
assert predict_pb2.PredictRequest is protocol.PredictRequest
"""
    run_python(code)
