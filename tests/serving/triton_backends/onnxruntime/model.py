"""A Triton backend in Python that stands in for Triton's own `onnxruntime`, which no Python package brings.

It opens the model file that config.pbtxt names and takes the threads from there. Everything else (configuration,
versions, warm-up, batching, HTTP and gRPC) is Triton itself.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self.names = [output["name"] for output in config["output"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(config["parameters"]["intra_op_thread_count"]["string_value"])
        path = Path(args["model_repository"], args["model_version"], config["default_model_filename"])
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def execute(self, requests: list) -> list:
        """One run of the network for all requests of a batch."""
        images = [triton.get_input_tensor_by_name(request, "image").as_numpy() for request in requests]
        values = self.session.run(self.names, {"image": np.concatenate(images)})
        ends = np.cumsum([len(image) for image in images])[:-1]
        return [
            triton.InferenceResponse([triton.Tensor(*pair) for pair in zip(self.names, parts, strict=True)])
            for parts in zip(*(np.split(value, ends) for value in values), strict=True)
        ]
