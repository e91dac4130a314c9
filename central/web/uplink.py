"""``/api/uplink``: what gateways call."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from central import errors
from central.fleet.registry import Member
from central.ingest.verify import is_epoch, read_upload
from central.web.errors import describe
from central.web.guard import UPLINK, address_of
from central.web.parts import Parts
from contract.errors import ErrorBody
from contract.fleet import EnrolAnswer, EnrolRequest
from contract.upload import UPLOAD_BYTES_MAX, Upload, UploadReceipt, UploadRefusal
from runtime.http import PUBLIC, Refused, permit

_MSGPACK = "application/msgpack"


@post(
    "/api/uplink/enrol",
    opt=permit(PUBLIC),
    tags=["uplink"],
    status_code=201,
    operation_id="enrolGateway",
)
async def enrol(
    request: Request[Any, Any, Any], data: JSONBody[EnrolRequest], parts: NamedDependency[Parts]
) -> EnrolAnswer:
    """Make a gateway a member: the one-time token buys a certificate for the CSR's key."""
    key = f"enrol@{address_of(request)}"
    parts.enrol_attempts.check(key)
    try:
        answer = await parts.registry.enrol(data, parts.public_url)
    except errors.EnrolmentRefusedError:
        parts.enrol_attempts.fail(key)
        raise
    parts.enrol_attempts.succeed(key)
    return answer


@post(
    "/api/uplink/batches",
    opt=permit(UPLINK),
    tags=["uplink"],
    status_code=200,
    operation_id="uploadBatches",
    request_max_body_size=UPLOAD_BYTES_MAX,
)
async def upload_batches(
    request: Request[Any, Any, Any], parts: NamedDependency[Parts]
) -> Response[UploadReceipt]:
    """Take journal rows (msgpack ``Upload``); the receipt (JSON) is given after durable commit."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != _MSGPACK:
        raise Refused(
            415,
            ErrorBody(code="http.wrong_media_type", message=f"an upload is {_MSGPACK}"),
        )
    member: Member = request.scope["user"]
    upload = read_upload(await request.body())
    try:
        receipt = await parts.receiver.receive(member.number, upload)
    except (errors.UnknownTagsError, errors.ForkDetectedError) as error:
        raise await _with_receipt(parts, member, upload, error) from error
    return Response(receipt, media_type=MediaType.JSON)


async def _with_receipt(
    parts: Parts, member: Member, upload: Upload, error: errors.IngestError
) -> Refused:
    status, body, headers = describe(error)
    receipt = await parts.receiver.receipt(member.number, upload.epoch)
    refusal = UploadRefusal(**msgspec.structs.asdict(body), receipt=receipt)
    return Refused(status, refusal, headers)


@get("/api/uplink/state", opt=permit(UPLINK), tags=["uplink"], operation_id="readUplinkState")
async def read_uplink_state(
    request: Request[Any, Any, Any],
    parts: NamedDependency[Parts],
    epoch: Annotated[str, QueryParameter(description="the journal's epoch, 32 hex digits")],
) -> UploadReceipt:
    """Say what the hub holds durably of an epoch of the calling gateway."""
    if not is_epoch(epoch):
        raise errors.UploadMalformedError("epoch", "an epoch is 32 lower-case hex digits")
    member: Member = request.scope["user"]
    return await parts.receiver.receipt(member.number, epoch)


@get(
    "/api/uplink/crl",
    opt=permit(PUBLIC),
    tags=["uplink"],
    media_type="application/x-pem-file",
    operation_id="readRevocations",
)
async def read_revocations(parts: NamedDependency[Parts]) -> str:
    """Return the list of revoked gateway certificates, PEM, for proxies in front of the hub."""
    return await parts.registry.crl_pem()


HANDLERS = [enrol, upload_batches, read_uplink_state, read_revocations]
