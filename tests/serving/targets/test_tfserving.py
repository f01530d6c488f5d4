"""TensorFlow Serving's files, parsed by its own messages."""

import re

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from expnet_tf.serving.targets import BATCH, ROOT, RepositoryError, tfserving

# tensorflow-serving-api has no code for these two: declared from the server's session_bundle_config.proto and
# monitoring_config.proto, field by field. The latter is the same as in the package tensorflow-serving-config 0.0.2.
FIELDS = {
    "BatchingParameters": {
        "max_batch_size": (1, ".google.protobuf.Int64Value"),
        "batch_timeout_micros": (2, ".google.protobuf.Int64Value"),
        "max_enqueued_batches": (3, ".google.protobuf.Int64Value"),
        "num_batch_threads": (4, ".google.protobuf.Int64Value"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, ".tensorflow.serving.PrometheusConfig")},
}


@pytest.fixture(scope="module")
def messages() -> dict[str, type]:
    file = descriptor_pb2.FileDescriptorProto(
        name="declared.proto", package="tensorflow.serving", syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in FIELDS.items():
        declared = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            made = declared.field.add(name=field, number=number, label=kinds.LABEL_OPTIONAL)
            if kind.startswith("."):
                made.type, made.type_name = kinds.TYPE_MESSAGE, kind
            else:
                made.type = {"bool": kinds.TYPE_BOOL, "string": kinds.TYPE_STRING}[kind]
    pool = descriptor_pool.DescriptorPool()  # of its own: the names are the server's
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"tensorflow.serving.{name}")) for name in FIELDS}


def test_models_config(model):
    from tensorflow_serving.config import model_server_config_pb2

    text = tfserving.files([model("savedmodel"), model("savedmodel", "other")])["models.config"]
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    configs = {config.name: config for config in parsed.model_config_list.config}
    assert list(configs) == ["expnet", "other"]
    assert configs["other"].base_path == f"{ROOT}/models/other"
    assert configs["other"].model_platform == "tensorflow"
    assert configs["other"].model_version_policy.latest.num_versions == 2


def test_batching_parameters(model, messages):
    text = tfserving.files([model("savedmodel")])["batching_parameters.txt"]
    parsed = text_format.Parse(text, messages["BatchingParameters"]())
    values = {field.name: value.value for field, value in parsed.ListFields()}
    assert values == {
        "max_batch_size": BATCH,
        "batch_timeout_micros": 2000,
        "max_enqueued_batches": 100,
        "num_batch_threads": 2,
    }


def test_monitoring_config(model, messages):
    models = [model("savedmodel")]
    parsed = text_format.Parse(tfserving.files(models)["monitoring.config"], messages["MonitoringConfig"]())
    assert parsed.prometheus_config.enable
    assert (8501, parsed.prometheus_config.path) == tfserving.server(models, None).metrics


@pytest.mark.parametrize("artifact", ["savedmodel", "savedmodel-bytes"])
def test_every_file_that_a_flag_names_is_written(model, artifact):
    models = [model(artifact)]
    command = " ".join(tfserving.server(models, None).command)
    named = re.findall(rf"_file={ROOT}/(\S+)", command)
    assert {"models.config", "monitoring.config"} <= set(named)
    assert set(named) | {"docker-compose.yaml"} == set(tfserving.files(models))
    assert ("--enable_batching" in command) == ("batching_parameters.txt" in named) == (artifact == "savedmodel")


def test_a_model_of_single_photos_is_not_put_beside_one_in_batches(model):
    with pytest.raises(RepositoryError, match=r"photos takes one photo a request .* a folder of its own"):
        tfserving.files([model("savedmodel"), model("savedmodel-bytes", "photos")])


def test_new_versions_are_looked_for_only_where_they_arrive_whole(model, objects):
    flag = "--file_system_poll_wait_seconds="
    compose = objects(tfserving.files([model("savedmodel")]))["docker-compose.yaml"]
    assert f"{flag}30" in compose["services"]["serving"]["command"]
    assert f"{flag}0" in tfserving.server([model("savedmodel")], None).command  # in a cluster
