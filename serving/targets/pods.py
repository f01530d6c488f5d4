"""What the Kubernetes and the KServe set share: the volume, who fills it, and what a pod may do."""

from __future__ import annotations

from expnet_tf.serving.targets import CPUS, MEMORY_LIMIT, MEMORY_REQUEST, ROOT

LOADER_IMAGE = "busybox:1.37"
LOADER_USER = 65532


def claim(name: str) -> str:
    """A volume for the repository that many pods can mount."""
    return f"""\
# ReadWriteMany (NFS, CephFS, a cloud's file store): pods on several nodes read it. Where there is no such storage, bake
# the repository into an image: docs/serving-cluster.md.
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {name}-models
  labels: {{app.kubernetes.io/name: {name}}}
spec:
  accessModes: [ReadWriteMany]
  resources: {{requests: {{storage: 2Gi}}}}
"""


def loader(name: str) -> str:
    """A pod that holds the volume open for writing while the repository is copied into it."""
    return f"""\
# Fills the volume, and goes again; in the repository's folder, after the claim was applied:
#   kubectl apply -f loader.yaml && kubectl wait --for=condition=Ready pod/{name}-loader
#   tar -cf - * | kubectl exec -i {name}-loader -- tar -xf - -C {ROOT}
#   kubectl delete -f loader.yaml
apiVersion: v1
kind: Pod
metadata:
  name: {name}-loader
spec:
  restartPolicy: Never
  activeDeadlineSeconds: 3600
  automountServiceAccountToken: false
{pod_security(LOADER_USER, indent=2)}
  containers:
    - name: loader
      image: {LOADER_IMAGE}
      command: [sleep, "3600"]
{container_security(indent=6)}
      resources:
        requests: {{cpu: 100m, memory: 64Mi}}
        limits: {{cpu: "1", memory: 256Mi}}
      volumeMounts:
        - {{name: models, mountPath: {ROOT}}}
  volumes:
    - name: models
      persistentVolumeClaim: {{claimName: {name}-models}}
"""


def disruption(name: str, selector: str) -> str:
    """Nodes may be drained while one pod is left."""
    return f"""\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {name}
spec:
  minAvailable: 1
  selector:
    matchLabels: {{{selector}}}
"""


def pod_security(user: int, indent: int) -> str:
    """A pod's securityContext of the `restricted` pod security standard; the user can read and write its volumes."""
    return _indented(
        f"""\
securityContext:
  runAsNonRoot: true
  runAsUser: {user}
  runAsGroup: {user}
  fsGroup: {user}
  # Without this a volume with many files is walked through at every start.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {{type: RuntimeDefault}}""",
        indent,
    )


def container_security(indent: int) -> str:
    """A container's securityContext of the `restricted` pod security standard, on a read-only root."""
    return _indented(
        """\
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}""",
        indent,
    )


def resources(gpu: bool, indent: int) -> str:
    """Requests and limits; the CPU limit is what the server's threads are counted by."""
    limit = f'cpu: "{CPUS}", memory: {MEMORY_LIMIT}' + (', nvidia.com/gpu: "1"' if gpu else "")
    return _indented(
        f"""\
resources:
  requests: {{cpu: "1", memory: {MEMORY_REQUEST}}}
  limits: {{{limit}}}""",
        indent,
    )


def _indented(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in text.splitlines())
