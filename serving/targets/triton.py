"""NVIDIA Triton: config.pbtxt of each model (ONNX Runtime or TensorRT), docker-compose.yaml."""

from __future__ import annotations

from collections.abc import Sequence

from expnet_tf.serving.targets import BATCH, CPUS, DELAY_US, ROOT, VERSIONS, Model, Server
from expnet_tf.serving.targets.compose import compose

# A TensorRT engine loads only in the TensorRT that built it: for `tensorrt-fp16` give the image that has it.
IMAGE = "nvcr.io/nvidia/tritonserver:26.08-py3"
ARTIFACTS = {"onnx": "model.onnx", "onnx-fp16": "model.onnx", "tensorrt-fp16": "model.plan"}
ONE_MODEL = False
BACKENDS = {"onnx": "onnxruntime", "onnx-fp16": "onnxruntime", "tensorrt-fp16": "tensorrt"}
# Triton counts requests, not images: of 32 crops of 96 px each these are 0.7 GB, of the 2 GiB that the container has.
QUEUED_REQUESTS = 800
GPU = {"onnx-fp16", "tensorrt-fp16"}  # half precision gains nothing on a CPU


def files(models: Sequence[Model], image: str | None = None) -> dict[str, str]:
    """Every file of the target."""
    return configs(models) | {"docker-compose.yaml": compose(server(models, image))}


def configs(models: Sequence[Model]) -> dict[str, str]:
    """The server's own files."""
    return {f"models/{model.name}/config.pbtxt": config(model) for model in models}


def server(models: Sequence[Model], image: str | None) -> Server:
    """The container. Versions are read at its start; models cannot be loaded or removed over the network."""
    gpu = any(model.artifact in GPU for model in models)
    command = [
        "tritonserver",
        f"--model-repository={ROOT}/models",
        "--model-control-mode=none",
        # What config.pbtxt says is all there is: nothing is guessed from the model file.
        "--disable-auto-complete-config",
        "--http-port=8000",
        "--grpc-port=8001",
        "--metrics-port=8002",
        f"--allow-gpu-metrics={str(gpu).lower()}",
    ]
    health = "/v2/health"
    metrics = (8002, "/metrics")
    return Server(
        image or IMAGE, tuple(command), 8000, 8001, metrics, f"{health}/live", f"{health}/ready", user=1000, gpu=gpu
    )


def config(model: Model) -> str:
    """Text of an inference.ModelConfig."""
    dims = f"[ {model.size}, {model.size}, 3 ]"
    outputs = ",\n".join(
        f'  {{ name: "{head}" data_type: TYPE_FP32 dims: [ {width} ] }}' for head, width in model.outputs.items()
    )
    warmups = ",\n".join(_warmup(batch, dims) for batch in (1, BATCH))
    kind = "KIND_GPU" if model.artifact in GPU else "KIND_AUTO"  # AUTO: the GPUs where there are some
    return f"""\
name: "{model.name}"
backend: "{BACKENDS[model.artifact]}"
default_model_filename: "{ARTIFACTS[model.artifact]}"
# Images in one run of the network; a request with more is refused.
max_batch_size: {BATCH}
input [
  {{ name: "image" data_type: TYPE_UINT8 dims: {dims} }}
]
output [
{outputs}
]
# The newest and the one before it.
version_policy {{ latest {{ num_versions: {VERSIONS} }} }}
dynamic_batching {{
  max_queue_delay_microseconds: {DELAY_US}
  # Requests that wait; beyond this they are refused at once.
  default_queue_policy {{ max_queue_size: {QUEUED_REQUESTS} }}
}}
# Batches at a time, on the CPU or on each GPU.
instance_group [
  {{ count: {CPUS} kind: {kind} }}
]
{_threads(model)}\
# A version is ready only after these have run: no caller pays for the first pass.
model_warmup [
{warmups}
]
"""


def _threads(model: Model) -> str:
    if BACKENDS[model.artifact] != "onnxruntime":
        return ""
    # One thread an instance: they share the container's CPUs, and ONNX Runtime counts those of the machine.
    return "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "1" }} }}\n'
        for key in ("intra_op_thread_count", "inter_op_thread_count")
    )


def _warmup(batch: int, dims: str) -> str:
    return f"""\
  {{
    name: "batch of {batch}"
    batch_size: {batch}
    inputs {{ key: "image" value {{ data_type: TYPE_UINT8 dims: {dims} zero_data: true }} }}
  }}"""
