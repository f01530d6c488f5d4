"""gRPC as a client of TensorFlow Serving uses it: raw stubs and TensorFlow's own tensor functions, nothing of ours."""

import gc
from types import FrameType

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from expnet_tf.image import crop, decode_image
from expnet_tf.models import ASSETS
from expnet_tf.serving import grpcservice

PHOTO = (ASSETS / "astronaut.jpg").read_bytes()
BOX = (190, 60, 110, 150)
TOLERANCE = 1e-4  # sigma, rad, mm; two runtimes in float32, on pose up to 900 mm


@pytest.fixture(scope="module")
def running(serve, put, tmp_path_factory):
    base = tmp_path_factory.mktemp("repository")
    put(base, "toy", 3)
    return serve(base)


@pytest.fixture(scope="module")
def channel(running):
    with grpc.insecure_channel(running.grpc) as made:
        yield made


@pytest.fixture(scope="module")
def predict(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict


def request(name="toy", signature="", **inputs):
    made = predict_pb2.PredictRequest()
    made.model_spec.name = name
    made.model_spec.signature_name = signature
    for key, values in inputs.items():
        made.inputs[key].CopyFrom(tf.make_tensor_proto(values))
    return made


def refused(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, timeout=10, **options)
    return caught.value.code(), caught.value.details()


def test_predict(predict, crops, expected):
    answer = predict(request(image=crops), timeout=10)
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("toy", 3)
    assert answer.model_spec.signature_name == "serving_default"
    assert set(answer.outputs) == set(expected)
    for head, values in expected.items():
        np.testing.assert_allclose(tf.make_ndarray(answer.outputs[head]), values, rtol=1e-4, atol=TOLERANCE)


def test_output_filter_and_version(predict, crops):
    made = request(image=crops[:1])
    made.output_filter.append("expression")
    made.model_spec.version.value = 3
    assert list(predict(made, timeout=10).outputs) == ["expression"]
    made.output_filter.append("smile")
    assert refused(predict, made) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "output tensor alias not found in signature: smile",
    )


def test_values_instead_of_content(predict, crops, expected):
    """Clients in other languages fill int_val; one value stands for all."""
    made = request()
    tensor = made.inputs["image"]
    tensor.dtype = tf.uint8.as_datatype_enum
    for size in crops[:1].shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.int_val.extend(crops[0].reshape(-1).tolist())
    values = tf.make_ndarray(predict(made, timeout=10).outputs["expression"])
    np.testing.assert_allclose(values, expected["expression"][:1], rtol=1e-4, atol=TOLERANCE)
    del tensor.int_val[1:]
    same = request(image=np.full((1, 32, 32, 3), tensor.int_val[0], np.uint8))
    assert predict(made, timeout=10).outputs["pose"] == predict(same, timeout=10).outputs["pose"]
    tensor.int_val[0] = 256
    assert refused(predict, made)[0] == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.inputs["image"].CopyFrom(tf.make_tensor_proto(np.zeros((1, 32, 32, 3), np.float32))), "DT_FLOAT"),
        (lambda r: r.inputs["image"].CopyFrom(tf.make_tensor_proto(np.zeros((1, 31, 32, 3), np.uint8))), "31"),
        (lambda r: r.inputs["image"].CopyFrom(tf.make_tensor_proto(np.zeros((0, 32, 32, 3), np.uint8))), "0 rows"),
        (lambda r: r.inputs["other"].CopyFrom(tf.make_tensor_proto(1)), "image, other"),
        (lambda r: r.inputs.pop("image"), "Inputs none"),
        (lambda r: setattr(r.inputs["image"], "tensor_content", b"short"), "5 bytes"),
        (lambda r: setattr(r.model_spec, "signature_name", "nope"), '"nope" not found in signature def'),
        (lambda r: setattr(r.model_spec, "version_label", "canary"), "Unrecognized servable version label: canary"),
    ],
)  # fmt: skip
def test_bad_request(predict, crops, change, message):
    made = request(image=crops[:1])
    change(made)
    code, details = refused(predict, made)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message in details


@pytest.mark.parametrize("sizes", [(2**40, 32, 32, 3), (2**62, 2**62, 2**62, 4), (-1, 32, 32, 3)])
def test_absurd_shape_is_refused_before_memory_is_taken(predict, crops, sizes):
    made = request(image=crops[:1])
    for dim, size in zip(made.inputs["image"].tensor_shape.dim, sizes, strict=True):
        dim.size = size
    assert refused(predict, made)[0] in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)


def test_unknown_model_and_version(predict, crops):
    assert refused(predict, request("nope", image=crops)) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(nope)",
    )
    made = request(image=crops)
    made.model_spec.version.value = 1
    assert refused(predict, made) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Specific(toy, 1)",
    )


def test_photos(predict, network):
    """With a box, without one, and with rows that cannot be used: their neighbours are answered."""
    photos = np.array([PHOTO, b"\xff\xd8\xff\xe0 no photo", PHOTO, PHOTO], object)
    boxes = np.array([BOX, BOX, [np.nan] * 4, (5000, 0, 10, 10)], np.float32)
    answer = predict(request(signature="photo", image_bytes=photos, box=boxes), timeout=10)
    outputs = {name: tf.make_ndarray(proto) for name, proto in answer.outputs.items()}
    own = crop(decode_image(PHOTO), BOX, 32, 1.5)  # 1.5: the toy's crop factor
    wanted = network(own[None], training=False)["expression"][0]
    np.testing.assert_allclose(outputs["expression"][0], wanted, rtol=1e-4, atol=TOLERANCE)
    assert outputs["box"][0].tolist() == list(BOX)
    found = outputs["box"][2]  # by the detector; the face is the one of BOX
    assert np.abs(found[:2] + found[2:] / 2 - (190 + 55, 60 + 75)).max() < 30
    assert [bool(error) for error in outputs["error"]] == [False, True, False, True]
    assert outputs["error"][1].startswith(b"INVALID_ARGUMENT: row 1 is a truncated or damaged image")
    assert b"row 3" in outputs["error"][3]
    assert b"outside" in outputs["error"][3]
    for name in ("expression", "identity", "pose", "box"):
        assert np.isnan(outputs[name][[1, 3]]).all()
        assert np.isfinite(outputs[name][[0, 2]]).all()


def test_only_bad_photos(predict):
    code, details = refused(predict, request(signature="photo", image_bytes=np.array([b"a", b"b"], object)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "row 0" in details
    assert "row 1" in details


def test_metadata(channel):
    call = prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata
    made = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    made.model_spec.name = "toy"
    answer = call(made, timeout=10)
    packed = get_model_metadata_pb2.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(packed)
    assert answer.model_spec.version.value == 3
    signature = packed.signature_def["serving_default"]
    image, expression = signature.inputs["image"], signature.outputs["expression"]
    assert [dim.size for dim in image.tensor_shape.dim] == [-1, 32, 32, 3]
    assert image.dtype == tf.uint8.as_datatype_enum
    assert [dim.size for dim in expression.tensor_shape.dim] == [-1, 29]
    assert signature.method_name == "tensorflow/serving/predict"
    assert set(packed.signature_def["photo"].outputs) == {"expression", "identity", "pose", "box", "error"}
    made.metadata_field[0] = "weights"
    assert refused(call, made)[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_status(channel):
    call = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
    made = get_model_status_pb2.GetModelStatusRequest()
    made.model_spec.name = "toy"
    (one,) = call(made, timeout=10).model_version_status
    assert (one.version, one.state, one.status.error_code) == (3, get_model_status_pb2.ModelVersionStatus.AVAILABLE, 0)
    made.model_spec.name = "nope"
    assert refused(call, made) == (grpc.StatusCode.NOT_FOUND, "Could not find any versions of model nope")


def test_health(channel):
    check = health_pb2_grpc.HealthStub(channel).Check
    for service in ("", "tensorflow.serving.PredictionService"):
        answer = check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert refused(check, health_pb2.HealthCheckRequest(service="nope"))[0] == grpc.StatusCode.NOT_FOUND


def test_not_served(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    assert refused(stub.Classify, classification_pb2.ClassificationRequest())[0] == grpc.StatusCode.UNIMPLEMENTED
    reload = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest
    assert refused(reload, model_management_pb2.ReloadConfigRequest())[0] == grpc.StatusCode.UNIMPLEMENTED
    reflection = channel.unary_unary("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    assert refused(reflection, b"")[0] == grpc.StatusCode.UNIMPLEMENTED


def test_request_id_comes_back(predict, crops):
    _, call = predict.with_call(request(image=crops[:1]), timeout=10, metadata=(("x-request-id", "abc-1"),))
    assert dict(call.trailing_metadata())["x-request-id"] == "abc-1"
    with pytest.raises(grpc.RpcError) as caught:
        predict(request("nope", image=crops), timeout=10, metadata=(("x-request-id", "abc-2"),))
    assert dict(caught.value.trailing_metadata())["x-request-id"] == "abc-2"


def test_short_deadline(predict, crops):
    with pytest.raises(grpc.RpcError) as caught:
        predict(request(signature="photo", image_bytes=np.array([PHOTO] * 60, object)), timeout=0.02)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert predict(request(image=crops), timeout=10).outputs


@pytest.mark.parametrize("data", [b"\xff" * 100, b"\x0a\xff\x01"], ids=["noise", "cut off"])
def test_bytes_that_are_no_message(channel, data):
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    assert refused(call, data)[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_a_type_that_does_not_exist(predict, crops):
    made = request(image=crops[:1])
    made.inputs["image"].dtype = 99
    code, message = refused(predict, made)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message.startswith("Input image is type 99 ")


@pytest.mark.parametrize("name", ["n" * 100_000, "ü" * 10_000], ids=["ascii", "other"])
def test_a_long_name_is_not_sent_back(predict, crops, name):
    """A message is a header, and clients take 8 KiB of those."""
    assert refused(predict, request(name, image=crops[:1]))[0] == grpc.StatusCode.NOT_FOUND
    assert refused(predict, request(signature=name, image=crops[:1]))[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_a_refused_request_is_let_go_at_once(predict, crops):
    """And not when the garbage collector comes round: it may be 32 MB."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            refused(predict, request(signature="x", image=crops))
        frames = [found for found in gc.get_objects() if isinstance(found, FrameType)]
        ours = [frame for frame in frames if frame.f_code.co_filename == grpcservice.__file__]
        assert not [frame.f_code.co_name for frame in ours if "request" in frame.f_locals]
    finally:
        gc.enable()
