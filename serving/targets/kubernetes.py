"""Plain Kubernetes: Deployment, Service, HorizontalPodAutoscaler, PodDisruptionBudget, a claim for the models."""

from __future__ import annotations

from collections.abc import Sequence

from expnet_tf.serving.targets import CPU_TARGET, REPLICAS, ROOT, Model, Server, tfserving, triton
from expnet_tf.serving.targets.pods import claim, container_security, disruption, loader, pod_security, resources

ARTIFACTS = tfserving.ARTIFACTS | triton.ARTIFACTS
ONE_MODEL = True


def files(models: Sequence[Model], image: str | None = None) -> dict[str, str]:
    """The server's files, and kubernetes/: TensorFlow Serving for SavedModels, Triton for ONNX and TensorRT."""
    target = tfserving if models[0].artifact in tfserving.ARTIFACTS else triton
    server = target.server(models, image)
    name = models[0].name
    return target.configs(models) | {
        "kubernetes/claim.yaml": claim(name),
        "kubernetes/deployment.yaml": _deployment(models[0], server),
        "kubernetes/service.yaml": _service(name, server),
        "kubernetes/autoscaler.yaml": _autoscaler(name),
        "kubernetes/disruption.yaml": disruption(name, f"app.kubernetes.io/name: {name}"),
        "loader.yaml": loader(name),
    }


def _deployment(model: Model, server: Server) -> str:
    name = model.name
    arguments = "\n".join(f"            - {argument}" for argument in server.command[1:])
    port, path = server.metrics
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app.kubernetes.io/name: {name}}}
spec:
  # No `replicas`: their number is the autoscaler's.
  selector:
    matchLabels: {{app.kubernetes.io/name: {name}}}
  strategy:
    rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata:
      labels: {{app.kubernetes.io/name: {name}}}
      annotations:
        # A new version changes this line, so that `kubectl apply` renews the pods one by one.
        expnet/versions: "{", ".join(map(str, model.versions))}"
        prometheus.io/scrape: "true"
        prometheus.io/port: "{port}"
        prometheus.io/path: {path}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 45
{pod_security(server.user, indent=6)}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{app.kubernetes.io/name: {name}}}
      containers:
        - name: serving
          image: {server.image}
          command: [{server.command[0]}]
          args:
{arguments}
          ports:
            - {{name: http, containerPort: {server.http}}}
            - {{name: grpc, containerPort: {server.grpc}}}
{f"            - {{name: metrics, containerPort: {port}}}" if port != server.http else ""}
          # Up to two minutes for loading; liveness and readiness start after it.
          startupProbe:
            httpGet: {{path: {server.ready}, port: http}}
            periodSeconds: 2
            failureThreshold: 60
          readinessProbe:
            httpGet: {{path: {server.ready}, port: http}}
            periodSeconds: 5
            timeoutSeconds: 3
          livenessProbe:
            httpGet: {{path: {server.live}, port: http}}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 3
          # The service forgets the pod before the server stops.
          lifecycle:
            preStop: {{exec: {{command: [sleep, "5"]}}}}
{container_security(indent=10)}
{resources(server.gpu, indent=10)}
          volumeMounts:
            - {{name: models, mountPath: {ROOT}, readOnly: true}}
            - {{name: tmp, mountPath: /tmp}}
      volumes:
        - name: models
          persistentVolumeClaim: {{claimName: {name}-models, readOnly: true}}
        - name: tmp
          emptyDir: {{sizeLimit: 64Mi}}
""".replace("\n\n", "\n")


def _service(name: str, server: Server) -> str:
    return f"""\
# Inside the cluster. A gRPC channel stays on one pod: many clients, a mesh or a headless service spread the load.
apiVersion: v1
kind: Service
metadata:
  name: {name}
  labels: {{app.kubernetes.io/name: {name}}}
spec:
  selector: {{app.kubernetes.io/name: {name}}}
  ports:
    - {{name: http, port: {server.http}, targetPort: http, appProtocol: http}}
    - {{name: grpc, port: {server.grpc}, targetPort: grpc, appProtocol: kubernetes.io/h2c}}
"""


def _autoscaler(name: str) -> str:
    least, most = REPLICAS
    return f"""\
# Needs metrics-server. With a GPU the CPU says little: scale by the server's queue time instead (Prometheus adapter).
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {name}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}
  minReplicas: {least}
  maxReplicas: {most}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {{type: Utilization, averageUtilization: {CPU_TARGET}}}
  behavior:
    scaleDown: {{stabilizationWindowSeconds: 300}}
"""
