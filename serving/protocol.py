"""The messages and stubs of TensorFlow Serving's protocol, without TensorFlow.

tensorflow-serving-api imports messages from `tensorflow.core`: plain protobuf modules, whose parent package imports
all of TensorFlow, seconds and hundreds of MB that neither a client nor a server of ONNX and TFLite needs. While they
are imported an empty package stands in for it; whoever imports TensorFlow afterwards gets the real one.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def _without_tensorflow() -> Iterator[None]:
    found = None if "tensorflow" in sys.modules else importlib.util.find_spec("tensorflow")
    if found is None or not found.submodule_search_locations:
        yield
        return
    stand_in = ModuleType("tensorflow")
    stand_in.__path__ = list(found.submodule_search_locations)
    sys.modules["tensorflow"] = stand_in
    try:
        yield
    finally:
        # The message classes stay registered with protobuf: TensorFlow, imported later, finds the same ones.
        for name in [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]:
            del sys.modules[name]


with _without_tensorflow():
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.framework.tensor_pb2 import TensorProto
    from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
    from tensorflow_serving.apis.get_model_metadata_pb2 import (  # type: ignore[import-untyped]
        GetModelMetadataRequest,
        GetModelMetadataResponse,
        SignatureDefMap,
    )
    from tensorflow_serving.apis.get_model_status_pb2 import (  # type: ignore[import-untyped]
        GetModelStatusRequest,
        GetModelStatusResponse,
        ModelVersionStatus,
    )
    from tensorflow_serving.apis.model_pb2 import ModelSpec  # type: ignore[import-untyped]
    from tensorflow_serving.apis.model_service_pb2_grpc import (  # type: ignore[import-untyped]
        ModelServiceServicer,
        ModelServiceStub,
        add_ModelServiceServicer_to_server,
    )
    from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse  # type: ignore[import-untyped]
    from tensorflow_serving.apis.prediction_service_pb2_grpc import (  # type: ignore[import-untyped]
        PredictionServiceServicer,
        PredictionServiceStub,
        add_PredictionServiceServicer_to_server,
    )

DT_FLOAT, DT_STRING, DT_UINT8 = types_pb2.DT_FLOAT, types_pb2.DT_STRING, types_pb2.DT_UINT8

__all__ = [
    "DT_FLOAT",
    "DT_STRING",
    "DT_UINT8",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "ModelServiceServicer",
    "ModelServiceStub",
    "ModelSpec",
    "ModelVersionStatus",
    "PredictRequest",
    "PredictResponse",
    "PredictionServiceServicer",
    "PredictionServiceStub",
    "SavedModel",
    "SignatureDef",
    "SignatureDefMap",
    "TensorInfo",
    "TensorProto",
    "add_ModelServiceServicer_to_server",
    "add_PredictionServiceServicer_to_server",
    "types_pb2",
]
