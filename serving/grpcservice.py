"""TensorFlow Serving's gRPC services: PredictionService and ModelService, as far as models that predict need them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NoReturn

import grpc  # type: ignore[import-untyped]
import numpy as np

from expnet_tf.serving import protocol as pb
from expnet_tf.serving.errors import ServingError, invalid
from expnet_tf.serving.logs import request_id
from expnet_tf.serving.models import Models, Servable, VersionStatus
from expnet_tf.serving.service import Request, Service
from expnet_tf.serving.signatures import choose
from expnet_tf.serving.tensors import read_tensor, write_tensor

REQUEST_ID = "x-request-id"
CROP_FACTOR = "x-expnet-crop-factor"  # beside the metadata, for who crops on the client's side


class Prediction(pb.PredictionServiceServicer):
    """Classify, Regress and MultiInference are UNIMPLEMENTED: the models have no such signatures."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def Predict(self, request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        told = told_of(context, "predict")
        told.bytes = request.ByteSize()
        context.set_trailing_metadata(((REQUEST_ID, told.id),))
        try:
            with self._service.answering(told):
                return await self._predict(request, context, told)
        except ServingError as error:
            refusal = ServingError(error.code, str(error))
        # gRPC ends the call with an exception that lies in a ring with the frames it passed, until the garbage
        # collector comes round, and that is seldom: neither the request, perhaps of many MB, nor frames that have it.
        del request
        return await abort(context, refusal)

    async def _predict(
        self, request: pb.PredictRequest, context: grpc.aio.ServicerContext, told: Request
    ) -> pb.PredictResponse:
        service, spec = self._service, request.model_spec
        told.model = spec.name
        servable = _find(service.models, spec)
        told.version = servable.version
        with service.door.enter(), servable.in_use():
            async with service.deadline(context.time_remaining()):
                signature = choose(servable.signatures, spec.signature_name)
                signature.check_names(set(request.inputs))
                inputs = {
                    name: read_tensor(proto, name, signature.inputs[name], service.limits)
                    for name, proto in request.inputs.items()
                }
                if len({len(values) for values in inputs.values()}) > 1:
                    raise invalid("The inputs have different numbers of rows.")
                wanted = list(request.output_filter) or list(signature.outputs)
                if unknown := sorted(set(wanted) - set(signature.outputs)):
                    raise invalid(f"output tensor alias not found in signature: {unknown[0]}")
                outputs = await service.predict(servable, signature.name, inputs, told)
        return _response(servable, signature.name, {name: outputs[name] for name in wanted})

    async def GetModelMetadata(
        self, request: pb.GetModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetModelMetadataResponse:
        told = told_of(context, "metadata", request.model_spec.name)
        try:
            with self._service.answering(told):
                servable = _find(self._service.models, request.model_spec)
                told.version = servable.version
                if not request.metadata_field:
                    raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
                for name in request.metadata_field:
                    if name != "signature_def":
                        raise invalid(f"Metadata field {name} is not supported")
        except ServingError as error:
            await abort(context, error)
        if servable.contract.crop_factor is not None:
            context.set_trailing_metadata(((CROP_FACTOR, repr(servable.contract.crop_factor)),))
        return metadata(servable)

    async def Classify(self, request: Any, context: grpc.aio.ServicerContext) -> NoReturn:
        await _unimplemented(context)

    async def Regress(self, request: Any, context: grpc.aio.ServicerContext) -> NoReturn:
        await _unimplemented(context)

    async def MultiInference(self, request: Any, context: grpc.aio.ServicerContext) -> NoReturn:
        await _unimplemented(context)


class Status(pb.ModelServiceServicer):
    """The repository's folders are the configuration: HandleReloadConfigRequest is UNIMPLEMENTED."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def GetModelStatus(
        self, request: pb.GetModelStatusRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetModelStatusResponse:
        spec = request.model_spec
        try:
            with self._service.answering(told_of(context, "status", spec.name)):
                version = spec.version.value if spec.HasField("version") else None
                return status(self._service.models.status(spec.name, version, spec.version_label))
        except ServingError as error:
            await abort(context, error)

    async def HandleReloadConfigRequest(self, request: Any, context: grpc.aio.ServicerContext) -> NoReturn:
        await _unimplemented(context)


def metadata(servable: Servable) -> pb.GetModelMetadataResponse:
    """What GetModelMetadata answers, in either protocol."""
    made = pb.GetModelMetadataResponse()
    made.model_spec.name = servable.name
    made.model_spec.version.value = servable.version
    signatures = {name: signature.proto() for name, signature in servable.signatures.items()}
    made.metadata["signature_def"].Pack(pb.SignatureDefMap(signature_def=signatures))
    return made


def status(versions: list[VersionStatus]) -> pb.GetModelStatusResponse:
    """What GetModelStatus answers, in either protocol."""
    made = pb.GetModelStatusResponse()
    for version in versions:
        one = made.model_version_status.add(
            version=version.version, state=pb.ModelVersionStatus.State.Value(version.state)
        )
        one.status.error_code, one.status.error_message = version.code.value[0], version.message
    return made


def _response(servable: Servable, signature: str, outputs: Mapping[str, np.ndarray]) -> pb.PredictResponse:
    made = pb.PredictResponse(outputs={name: write_tensor(values) for name, values in outputs.items()})
    made.model_spec.name = servable.name
    made.model_spec.version.value = servable.version
    made.model_spec.signature_name = signature
    return made


def _find(models: Models, spec: pb.ModelSpec) -> Servable:
    return models.find(spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label)


def told_of(context: grpc.aio.ServicerContext, method: str, model: str = "") -> Request:
    """The call, for the log and the counters."""
    sent = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    return Request("grpc", request_id(sent.get(REQUEST_ID)), context.peer() or "", method, model)


async def abort(context: grpc.aio.ServicerContext, error: ServingError) -> NoReturn:
    """End the call with the error's code and sentence."""
    try:
        await context.abort(error.code, str(error))
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None  # the client's deadline came first: no one is left to be told
    raise AssertionError("abort raises")


async def _unimplemented(context: grpc.aio.ServicerContext) -> NoReturn:
    await abort(context, ServingError(grpc.StatusCode.UNIMPLEMENTED, "Not served: the models answer Predict."))
