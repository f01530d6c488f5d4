"""TensorFlow Serving: models.config, batching_parameters.txt, monitoring.config, docker-compose.yaml."""

from __future__ import annotations

from collections.abc import Sequence

from expnet_tf.serving.targets import (
    BATCH,
    CPUS,
    DELAY_US,
    QUEUED_BATCHES,
    ROOT,
    VERSIONS,
    Model,
    RepositoryError,
    Server,
)
from expnet_tf.serving.targets.compose import compose

IMAGE = "tensorflow/serving:2.21.0"  # of the TensorFlow that makes the SavedModels
ARTIFACTS = {"savedmodel": "", "savedmodel-bytes": ""}
ONE_MODEL = False
UNBATCHED = {"savedmodel-bytes"}  # one photo a request; and bytes that cannot be decoded would fail a whole batch
METRICS = "/monitoring/prometheus/metrics"
POLL_S = 30  # versions arrive by a rename, so what is seen is whole


def files(models: Sequence[Model], image: str | None = None) -> dict[str, str]:
    """Every file of the target; raises RepositoryError where the models cannot share a server."""
    return configs(models) | {"docker-compose.yaml": compose(server(models, image, poll=POLL_S))}


def configs(models: Sequence[Model]) -> dict[str, str]:
    """The server's own files, for a repository at ROOT."""
    written = {"models.config": _models(models), "monitoring.config": _monitoring()}
    if _batched(models):
        written["batching_parameters.txt"] = batching_parameters()
    return written


def server(models: Sequence[Model], image: str | None, poll: int = 0) -> Server:
    """The container. It looks for new versions every `poll` seconds; 0: once, at its start."""
    command = [
        "tensorflow_model_server",
        "--port=8500",
        "--rest_api_port=8501",
        f"--model_config_file={ROOT}/models.config",
        f"--monitoring_config_file={ROOT}/monitoring.config",
        f"--file_system_poll_wait_seconds={poll}",
        *([f"--model_config_file_poll_wait_seconds={poll}"] if poll else []),
        *session_flags(),
        *([*batching_flags(ROOT)] if _batched(models) else []),
    ]
    # Metadata is answered only by a loaded model, the plain path by one that is still loading.
    path = f"/v1/models/{models[0].name}"
    return Server(image or IMAGE, tuple(command), 8501, 8500, (8501, METRICS), path, f"{path}/metadata", user=65532)


def session_flags() -> list[str]:
    """As many threads as the container has CPUs: the server itself counts those of the machine."""
    return [f"--tensorflow_intra_op_parallelism={CPUS}", f"--tensorflow_inter_op_parallelism={CPUS}"]


def batching_flags(folder: str) -> list[str]:
    return ["--enable_batching", f"--batching_parameters_file={folder}/batching_parameters.txt"]


def batching_parameters() -> str:
    """Text of a tensorflow.serving.BatchingParameters."""
    return f"""\
# Images in one run of the network; a request with more is refused.
max_batch_size {{ value: {BATCH} }}
# How long a batch that is not full waits for company.
batch_timeout_micros {{ value: {DELAY_US} }}
# Beyond this the server answers UNAVAILABLE at once.
max_enqueued_batches {{ value: {QUEUED_BATCHES} }}
# Batches at a time: one a CPU.
num_batch_threads {{ value: {CPUS} }}
"""


def _batched(models: Sequence[Model]) -> bool:
    unbatched = [model.name for model in models if model.artifact in UNBATCHED]
    if unbatched and len(unbatched) < len(models):
        raise RepositoryError(
            f"{unbatched[0]} takes one photo a request and the others are served in batches, which is a setting of "
            "the whole server: give it a folder of its own."
        )
    return not unbatched


def _models(models: Sequence[Model]) -> str:
    entries = "".join(
        f"""\
  config {{
    name: "{model.name}"
    base_path: "{ROOT}/models/{model.name}"
    model_platform: "tensorflow"
    # The newest and the one before it: going back needs no loading.
    model_version_policy {{ latest {{ num_versions: {VERSIONS} }} }}
  }}
"""
        for model in models
    )
    return f"model_config_list {{\n{entries}}}\n"


def _monitoring() -> str:
    return f"""\
prometheus_config {{
  enable: true
  path: "{METRICS}"
}}
"""
