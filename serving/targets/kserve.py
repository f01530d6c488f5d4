"""KServe: an InferenceService on KServe's own serving runtimes, in its Standard (plain Deployment) mode."""

from __future__ import annotations

from collections.abc import Sequence

from expnet_tf.serving.targets import CPU_TARGET, REPLICAS, Model, Server, tfserving, triton
from expnet_tf.serving.targets.pods import claim, container_security, disruption, loader, pod_security, resources

ARTIFACTS = tfserving.ARTIFACTS | triton.ARTIFACTS
ONE_MODEL = True
MOUNT = "/mnt/models"  # where KServe shows what storageUri names
PORT = 8080  # of every KServe runtime


def files(models: Sequence[Model], image: str | None = None) -> dict[str, str]:
    """The server's files, and kserve/: TensorFlow Serving for SavedModels, Triton for ONNX and TensorRT."""
    model = models[0]
    written = {
        "kserve/claim.yaml": claim(model.name),
        "kserve/disruption.yaml": disruption(model.name, f"serving.kserve.io/inferenceservice: {model.name}"),
        "loader.yaml": loader(model.name),
    }
    if model.artifact in triton.ARTIFACTS:
        return triton.configs(models) | written | {"kserve/inferenceservice.yaml": _triton(model, image)}
    if model.artifact not in tfserving.UNBATCHED:
        # In the folder that is mounted: the runtime shows the server nothing else. Only numbers are versions to it.
        written[f"models/{model.name}/batching_parameters.txt"] = tfserving.batching_parameters()
    return written | {"kserve/inferenceservice.yaml": _tfserving(model, image)}


def _tfserving(model: Model, image: str | None) -> str:
    server = tfserving.server([model], image)
    batched = model.artifact not in tfserving.UNBATCHED
    # KServe appends these to the runtime's own, which name the model, its folder and the ports. Looking once, as in the
    # Kubernetes set: each second, as is usual, a version would be found while it is being copied into the volume.
    flags = [
        "--file_system_poll_wait_seconds=0",
        *tfserving.session_flags(),
        *(tfserving.batching_flags(MOUNT) if batched else []),
    ]
    arguments = "\n".join(f"        - {flag}" for flag in flags)
    return _service(
        model,
        f"""\
      modelFormat: {{name: tensorflow, version: "2"}}
      runtime: kserve-tensorflow-serving
      protocolVersion: v1
      image: {server.image}
      storageUri: pvc://{model.name}-models/models/{model.name}
      args:
{arguments}
""",
        server,
    )


def _triton(model: Model, image: str | None) -> str:
    server = triton.server([model], image)
    return _service(
        model,
        f"""\
      modelFormat: {{name: triton, version: "2"}}
      runtime: kserve-tritonserver
      protocolVersion: v2
      image: {server.image}
      # The folder of all models: Triton takes the name from the folder below it.
      storageUri: pvc://{model.name}-models/models
      args: [--disable-auto-complete-config]
""",
        server,
    )


def _service(model: Model, what: str, server: Server) -> str:
    least, most = REPLICAS
    return f"""\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {model.name}
  annotations:
    # A Deployment with its HorizontalPodAutoscaler: needs no Knative. KServe before 0.16 calls it RawDeployment.
    serving.kserve.io/deploymentMode: Standard
    serving.kserve.io/autoscalerClass: hpa
spec:
  predictor:
    annotations:
      # A new version changes this line, so that `kubectl apply` renews the pods.
      expnet/versions: "{", ".join(map(str, model.versions))}"
    minReplicas: {least}
    maxReplicas: {most}
    scaleMetric: cpu
    scaleTarget: {CPU_TARGET}
    timeout: 30
    automountServiceAccountToken: false
    terminationGracePeriodSeconds: 45
{pod_security(server.user, indent=4)}
    model:
{what}\
      startupProbe:
        httpGet: {{path: {server.ready}, port: {PORT}}}
        periodSeconds: 2
        failureThreshold: 60
      readinessProbe:
        httpGet: {{path: {server.ready}, port: {PORT}}}
        periodSeconds: 5
        timeoutSeconds: 3
      livenessProbe:
        httpGet: {{path: {server.live}, port: {PORT}}}
        periodSeconds: 10
        timeoutSeconds: 5
      # The service forgets the pod before the server stops.
      lifecycle:
        preStop: {{exec: {{command: [sleep, "5"]}}}}
{container_security(indent=6)}
{resources(server.gpu, indent=6)}
      volumeMounts:
        - {{name: tmp, mountPath: /tmp}}
    volumes:
      - name: tmp
        emptyDir: {{sizeLimit: 64Mi}}
"""
