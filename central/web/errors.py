"""The hub's errors as HTTP answers."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from litestar import MediaType, Request, Response

from central import errors
from contract.errors import ErrorBody, Fault
from runtime.log import logger

_STATUS: dict[type[errors.HubError], int] = {
    errors.CodeRefusedError: 403,
    errors.PasswordRefusedError: 422,
    errors.SignInRefusedError: 401,
    errors.TooManyAttemptsError: 429,
    errors.EnrolmentRefusedError: 403,
    errors.CsrRefusedError: 422,
    errors.UnknownGatewayError: 404,
    errors.UploadMalformedError: 422,
    errors.UploadTooLargeError: 413,
    errors.UnknownTagsError: 409,
    errors.ForkDetectedError: 409,
    errors.SpoolFullError: 503,
    errors.SparkplugOffError: 409,
    errors.NotTheHostError: 503,
    errors.UnknownNodeError: 404,
    errors.NodeOfflineError: 409,
    errors.CommandValueError: 422,
    errors.CommandRefusedError: 403,
    errors.QueryError: 422,
    errors.LakeError: 503,
}
_RETRY_AFTER_S = 5


def answer(_request: Request[Any, Any, Any], error: errors.HubError) -> Response[Any]:
    """Turn a hub error into its status and ``ErrorBody``."""
    status, body, headers = describe(error)
    return Response(
        msgspec.json.encode(body), status_code=status, media_type=MediaType.JSON, headers=headers
    )


def describe(error: errors.HubError) -> tuple[int, ErrorBody, dict[str, str]]:
    """Return status, body and headers of a hub error."""
    status = _STATUS.get(type(error), 500)
    message, faults = str(error), []
    headers: dict[str, str] = {}
    named = errors.UploadMalformedError | errors.CommandValueError | errors.CommandRefusedError
    if isinstance(error, named):
        faults = [Fault(code=error.fault_code, path=error.path, message=message)]
    elif isinstance(error, errors.SpoolWriteError):
        status = 507 if error.full else 503
    elif isinstance(error, errors.LakeError):
        logger().error("lake.failed", reason=message)
        message = "the time series cannot be read just now"
    if isinstance(error, errors.TooManyAttemptsError):
        headers["retry-after"] = str(math.ceil(error.wait_s))
    elif status in {503, 507}:
        headers["retry-after"] = str(_RETRY_AFTER_S)
    body = ErrorBody(code=error.code, message=message, remedy=error.remedy, faults=faults)
    return status, body, headers
