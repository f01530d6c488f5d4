"""What a request can fail with: one gRPC status, the HTTP status that TensorFlow Serving gives it, one sentence."""

from __future__ import annotations

from http import HTTPStatus

from grpc import StatusCode  # type: ignore[import-untyped]

# As tensorflow_serving/util/net_http maps them.
HTTP_STATUS = {
    StatusCode.OK: HTTPStatus.OK,
    StatusCode.CANCELLED: 499,  # no one is left to read it: for the log
    StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    StatusCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}


# Bytes of UTF-8. gRPC sends a message as a header, where clients take 8 KiB and a byte may be written as three; and a
# request can have names of megabytes, which would come back, and into the log.
_LONGEST = 2000


class ServingError(Exception):
    """A request that is refused or fails; `str()` is one sentence for whoever sent it."""

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(message.encode(errors="replace")[:_LONGEST].decode(errors="ignore"))
        self.code = code

    @property
    def http_status(self) -> int:
        return int(HTTP_STATUS[self.code])


def invalid(message: str) -> ServingError:
    return ServingError(StatusCode.INVALID_ARGUMENT, message)


def exhausted(message: str) -> ServingError:
    return ServingError(StatusCode.RESOURCE_EXHAUSTED, message)
