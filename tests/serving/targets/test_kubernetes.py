"""The Kubernetes set against Kubernetes' own schemas, and its objects against each other."""

import kubernetes_validate
import pytest

from expnet_tf.serving.targets import ROOT, kubernetes

OLDEST, NEWEST = "1.29", kubernetes_validate.latest_version()
SET = {
    "kubernetes/claim.yaml": "PersistentVolumeClaim",
    "kubernetes/deployment.yaml": "Deployment",
    "kubernetes/service.yaml": "Service",
    "kubernetes/autoscaler.yaml": "HorizontalPodAutoscaler",
    "kubernetes/disruption.yaml": "PodDisruptionBudget",
    "loader.yaml": "Pod",
}
ARTIFACTS = ["savedmodel", "onnx", "tensorrt-fp16"]


@pytest.fixture(params=ARTIFACTS)
def written(request, model, objects):
    return objects(kubernetes.files([model(request.param, versions=(1, 3))]))


@pytest.fixture
def pod(written):
    return written["kubernetes/deployment.yaml"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_fits_its_schema(written, version):
    assert {path: found["kind"] for path, found in written.items()} == SET
    for found in written.values():
        kubernetes_validate.validate(found, version, strict=True)


def test_the_checker_finds_a_misspelt_field(model, objects):
    deployment = objects(kubernetes.files([model("onnx")]))["kubernetes/deployment.yaml"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["readynessProbe"] = container.pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(deployment, NEWEST, strict=True)


def test_the_objects_name_each_other(written, pod):
    deployment, service = written["kubernetes/deployment.yaml"], written["kubernetes/service.yaml"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert written["kubernetes/disruption.yaml"]["spec"]["selector"]["matchLabels"] == labels
    target = written["kubernetes/autoscaler.yaml"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]  # each apply would undo what the autoscaler did
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    for port in service["spec"]["ports"]:
        assert ports[port["targetPort"]] == port["port"]
    claim = written["kubernetes/claim.yaml"]["metadata"]["name"]
    for volumes in (pod["volumes"], written["loader.yaml"]["spec"]["volumes"]):
        claims = [volume["persistentVolumeClaim"] for volume in volumes if "persistentVolumeClaim" in volume]
        assert [found["claimName"] for found in claims] == [claim]


def test_the_server_finds_its_files_and_may_do_little(pod):
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts[ROOT]["readOnly"] is True
    assert {mount["name"] for mount in mounts.values()} == {volume["name"] for volume in pod["volumes"]}
    # The "restricted" pod security standard.
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] >= 1000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    allowed = container["securityContext"]
    assert allowed["allowPrivilegeEscalation"] is False
    assert allowed["readOnlyRootFilesystem"] is True
    assert allowed["capabilities"] == {"drop": ["ALL"]}
    assert pod["automountServiceAccountToken"] is False
    assert {"cpu", "memory"} <= set(container["resources"]["limits"])


def test_probes(pod):
    (container,) = pod["containers"]
    names = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] in names
    ready = container["readinessProbe"]["httpGet"]["path"]
    assert ready == container["startupProbe"]["httpGet"]["path"]
    # A pod that has lost its models must leave the service, not be killed.
    assert ready != container["livenessProbe"]["httpGet"]["path"]


def test_draining_nodes_leaves_a_pod(written):
    scale = written["kubernetes/autoscaler.yaml"]["spec"]
    assert written["kubernetes/disruption.yaml"]["spec"]["minAvailable"] < scale["minReplicas"] < scale["maxReplicas"]


def test_a_new_version_renews_the_pods(model, objects):
    old, new = (
        objects(kubernetes.files([model("onnx", versions=versions)]))["kubernetes/deployment.yaml"]
        for versions in ((1,), (1, 2))
    )
    assert old["spec"]["template"] != new["spec"]["template"]
    assert old["spec"]["selector"] == new["spec"]["selector"]


def test_a_gpu_is_asked_for_where_one_is_needed(model, objects):
    for artifact, gpus in (("savedmodel", None), ("tensorrt-fp16", "1")):
        deployment = objects(kubernetes.files([model(artifact)]))["kubernetes/deployment.yaml"]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["resources"]["limits"].get("nvidia.com/gpu") == gpus
