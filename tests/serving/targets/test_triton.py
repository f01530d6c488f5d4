"""Triton's model repository, parsed by its own message."""

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton_pb2

from expnet_tf.serving.targets import BATCH, triton

Kind = triton_pb2.ModelInstanceGroup.Kind


@pytest.fixture
def config(model):
    def parse(artifact: str) -> triton_pb2.ModelConfig:
        text = triton.files([model(artifact)])["models/expnet/config.pbtxt"]
        return text_format.Parse(text, triton_pb2.ModelConfig())

    return parse


@pytest.mark.parametrize(
    ("artifact", "backend", "file", "kind"),
    [
        ("onnx", "onnxruntime", "model.onnx", "KIND_AUTO"),
        ("onnx-fp16", "onnxruntime", "model.onnx", "KIND_GPU"),
        ("tensorrt-fp16", "tensorrt", "model.plan", "KIND_GPU"),
    ],
)
def test_backend_and_instances(config, artifact, backend, file, kind):
    parsed = config(artifact)
    assert (parsed.name, parsed.backend, parsed.default_model_filename) == ("expnet", backend, file)
    assert triton.ARTIFACTS[artifact] == file
    (group,) = parsed.instance_group
    assert (group.count, Kind.Name(group.kind)) == (2, kind)
    threads = {key: value.string_value for key, value in parsed.parameters.items()}
    only_onnx = {"intra_op_thread_count": "1", "inter_op_thread_count": "1"} if backend == "onnxruntime" else {}
    assert threads == only_onnx


def test_inputs_and_outputs(config):
    parsed = config("onnx")
    (image,) = parsed.input
    assert (image.name, list(image.dims)) == ("image", [96, 96, 3])
    assert image.data_type == triton_pb2.TYPE_UINT8
    assert [(head.name, list(head.dims)) for head in parsed.output] == [
        ("expression", [29]),
        ("identity", [99]),
        ("pose", [6]),
    ]
    assert {head.data_type for head in parsed.output} == {triton_pb2.TYPE_FP32}


def test_batching_warm_up_and_versions(config):
    parsed = config("onnx")
    assert parsed.max_batch_size == BATCH
    assert parsed.HasField("dynamic_batching")
    assert parsed.dynamic_batching.max_queue_delay_microseconds == 2000
    # It counts requests; all of them full, they fit beside the server (half of the limit, 2 GiB).
    queued = parsed.dynamic_batching.default_queue_policy.max_queue_size
    assert queued == 800
    assert queued * BATCH * 96 * 96 * 3 < 2**30
    assert parsed.version_policy.latest.num_versions == 2
    assert [warmup.batch_size for warmup in parsed.model_warmup] == [1, BATCH]
    for warmup in parsed.model_warmup:
        assert list(warmup.inputs) == ["image"]
        assert list(warmup.inputs["image"].dims) == [96, 96, 3]
        assert warmup.inputs["image"].zero_data


def test_one_configuration_a_model(model):
    files = triton.files([model("onnx"), model("tensorrt-fp16", "expnet-trt")])
    assert {path for path in files if path.endswith(".pbtxt")} == {
        "models/expnet/config.pbtxt",
        "models/expnet-trt/config.pbtxt",
    }


def test_models_cannot_be_loaded_over_the_network(model):
    assert "--model-control-mode=none" in triton.server([model("onnx")], None).command
