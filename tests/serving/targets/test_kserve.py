"""The InferenceService: against KServe's own models where they are at hand, and against the files beside it."""

import json
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest

from expnet_tf.serving.targets import kserve

ARTIFACTS = ["savedmodel", "savedmodel-bytes", "onnx", "tensorrt-fp16"]
FILE = "kserve/inferenceservice.yaml"


@pytest.fixture(params=ARTIFACTS)
def files(request, model):
    return kserve.files([model(request.param)])


@pytest.fixture
def predictor(files, objects):
    return objects(files)[FILE]["spec"]["predictor"]


def test_autoscaling(files, objects, predictor):
    service = objects(files)[FILE]
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    notes = service["metadata"]["annotations"]
    assert notes["serving.kserve.io/deploymentMode"] == "Standard"
    assert notes["serving.kserve.io/autoscalerClass"] == "hpa"
    assert 1 <= predictor["minReplicas"] < predictor["maxReplicas"]
    assert (predictor["scaleMetric"], predictor["scaleTarget"]) == ("cpu", 70)


@pytest.mark.parametrize(
    ("artifact", "runtime", "protocol", "folder"),
    [
        ("savedmodel", "kserve-tensorflow-serving", "v1", "models/expnet"),
        ("onnx", "kserve-tritonserver", "v2", "models"),
    ],
)
def test_the_runtime_sees_its_models(model, objects, artifact, runtime, protocol, folder):
    files = kserve.files([model(artifact)])
    served = objects(files)[FILE]["spec"]["predictor"]["model"]
    assert (served["runtime"], served["protocolVersion"]) == (runtime, protocol)
    claim = objects(files)["kserve/claim.yaml"]["metadata"]["name"]
    assert served["storageUri"] == f"pvc://{claim}/{folder}"
    # What a flag names below the mount point is written below the folder that is mounted there.
    named = [flag.partition("=/mnt/models/")[2] for flag in served["args"] if "=/mnt/models/" in flag]
    assert named == (["batching_parameters.txt"] if artifact == "savedmodel" else [])
    for path in named:
        assert f"{folder}/{path}" in files


def test_the_service_forgets_the_pod_before_the_server_stops(predictor):
    waited = int(predictor["model"]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert 0 < waited < predictor["terminationGracePeriodSeconds"]


def test_single_photos_are_not_batched(model, objects):
    files = kserve.files([model("savedmodel-bytes")])
    assert not any("batching" in path for path in files)
    assert "--enable_batching" not in objects(files)[FILE]["spec"]["predictor"]["model"]["args"]


def test_the_pod_may_do_little(predictor):
    assert predictor["securityContext"]["runAsNonRoot"] is True
    assert predictor["model"]["securityContext"]["readOnlyRootFilesystem"] is True
    assert predictor["model"]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_plain_objects_fit_their_schemas(files, objects):
    plain = {path: found for path, found in objects(files).items() if path != FILE}
    assert set(plain) == {"kserve/claim.yaml", "kserve/disruption.yaml", "loader.yaml"}
    for found in plain.values():
        kubernetes_validate.validate(found, kubernetes_validate.latest_version(), strict=True)


CHECK = Path(__file__).with_name("kserve_check.py")


def test_kserves_own_models_accept_it(files, objects, python_with):
    python = python_with("EXPNET_KSERVE_PYTHON", "kserve")
    service = objects(files)[FILE]

    def check(found: dict) -> subprocess.CompletedProcess:
        return subprocess.run(
            [python, CHECK], input=json.dumps(found), capture_output=True, text=True, timeout=120, check=False
        )

    done = check(service)
    assert done.returncode == 0, done.stderr
    service["spec"]["predictor"]["minReplica"] = service["spec"]["predictor"].pop("minReplicas")
    assert "V1beta1PredictorSpec has no minReplica" in check(service).stderr
