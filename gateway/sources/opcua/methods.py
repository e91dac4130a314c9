"""Call methods of the allow-list, and acknowledge conditions.

Arguments come by name and are held against the method's InputArguments: none may be missing, none
unknown, each has its type and shape. A method is called once, never again by itself.
Source: OPC 10000-4, 5.12.2 (Call); OPC 10000-9, 5.7.3 (Acknowledge).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import anyio
from asyncua import ua

from gateway.errors import WriteRefusedError
from gateway.sources.acting import Argument
from gateway.sources.base import Done
from gateway.sources.opcua.nodes import Nodes, held
from gateway.sources.opcua.outgoing import variant_of
from gateway.sources.opcua.types import as_text, iso, readable

CALL_TIMEOUT_S = 8.0
RESULTS_MAX = 1_000
_REMEDIES = {
    "BadUserAccessDenied": "this login may not call the method: give it the right in the server",
    "BadNotExecutable": "the method cannot be called now",
    "BadMethodInvalid": "the object has no such method",
    "BadNodeIdUnknown": "the server does not know the object or the method",
    "BadArgumentsMissing": "the server wants more arguments",
    "BadInvalidState": "the machine does not do it in the state it is in",
    "BadEventIdUnknown": "the server does not know this event: the condition has changed since",
    "BadConditionBranchAlreadyAcked": "it is acknowledged already",
    "BadConditionDisabled": "the condition is disabled",
}


class Caller:
    """Calls methods over one session."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    async def arguments(self, method_id: Any) -> tuple[list[Any], list[Any]]:
        """Return the server's descriptions of what goes in and what comes out."""
        given, returned = await self._nodes.properties(
            method_id, ("InputArguments", "OutputArguments")
        )
        return _arguments(given), _arguments(returned)

    async def described(self, method_id: Any) -> tuple[list[Argument], list[Argument]]:
        """Return the same for people."""
        given, returned = await self.arguments(method_id)
        return [await self._shown(a) for a in given], [await self._shown(a) for a in returned]

    async def _shown(self, argument: Any) -> Argument:
        return Argument(
            name=readable(argument.Name or ""),
            type=await self._nodes.type_name(argument.DataType),
            is_array=int(argument.ValueRank) >= 0,
            description=readable((argument.Description.Text or "")[:500]),
        )

    async def call(self, object_id: Any, method_id: Any, given: Mapping[str, Any]) -> Done:
        """Call a method; its results by name. Raises as ``Writer.write`` does."""
        with anyio.fail_after(CALL_TIMEOUT_S):
            await self._check_executable(method_id)
            wanted, returned = await self.arguments(method_id)
            arguments = await self._variants(wanted, given)
            outputs = await self._send(object_id, method_id, arguments, wanted)
        names = [readable(argument.Name or "") for argument in returned]
        results = {
            names[n] if n < len(names) and names[n] else f"result{n + 1}": plain(output)
            for n, output in enumerate(outputs[:RESULTS_MAX])
        }
        return Done(results=results)

    async def acknowledge(self, condition_id: Any, event_id: bytes, comment: str) -> Done:
        """Acknowledge a condition's state, as its event named it."""
        arguments = [
            ua.Variant(event_id, ua.VariantType.ByteString),
            ua.Variant(ua.LocalizedText(comment), ua.VariantType.LocalizedText),
        ]
        method_id = ua.NodeId(ua.ObjectIds.AcknowledgeableConditionType_Acknowledge)
        with anyio.fail_after(CALL_TIMEOUT_S):
            await self._send(condition_id, method_id, arguments, ())
        return Done(message="acknowledged")

    async def _check_executable(self, method_id: Any) -> None:
        ids = ua.AttributeIds
        told = await self._nodes.attributes(method_id, [ids.Executable, ids.UserExecutable])
        executable, for_user = (held(value) for value in told)
        if executable is False:
            raise WriteRefusedError("not_executable", _REMEDIES["BadNotExecutable"])
        if for_user is False:
            raise WriteRefusedError("access_denied", _REMEDIES["BadUserAccessDenied"])

    async def _variants(self, wanted: Sequence[Any], given: Mapping[str, Any]) -> list[Any]:
        names = [readable(argument.Name or "") for argument in wanted]
        unknown = sorted(set(given) - set(names))
        missing = [name for name in names if name not in given]
        if unknown or missing or len(set(names)) != len(names):
            takes = ", ".join(names) or "no arguments"
            what = f"unknown: {', '.join(unknown)}" if unknown else f"missing: {', '.join(missing)}"
            raise WriteRefusedError("wrong_arguments", f"the method takes {takes}; {what}"[:500])
        variants = []
        for name, argument in zip(names, wanted, strict=True):
            target = await self._nodes.target(
                argument.DataType, argument.ValueRank, argument.ArrayDimensions, None
            )
            if not target.type_id:
                raise WriteRefusedError(
                    "type_not_writable", f"argument {name} is of a type that cannot be given"
                )
            try:
                variants.append(variant_of(target, given[name]))
            except WriteRefusedError as error:
                raise WriteRefusedError(error.reason, f"argument {name}: {error}") from error
        return variants

    async def _send(
        self, object_id: Any, method_id: Any, arguments: list[Any], wanted: Sequence[Any]
    ) -> list[Any]:
        request = ua.CallMethodRequest()
        request.ObjectId, request.MethodId = object_id, method_id
        request.InputArguments = arguments
        results = await self._nodes.session.services.call([request])
        if len(results) != 1:
            raise WriteRefusedError("BadUnknownResponse", "the server did not answer the call")
        status = results[0].StatusCode
        if not status.is_good():
            name = str(status.name)
            why = _REMEDIES.get(name)
            message = f"{why}: {name}" if why else f"the server answers {name}"
            raise WriteRefusedError(name, message + _refused_arguments(results[0], wanted))
        return list(results[0].OutputArguments or [])


def _refused_arguments(result: Any, wanted: Sequence[Any]) -> str:
    statuses = result.InputArgumentResults or []
    bad = [
        f"{readable(argument.Name or '')} {status.name}"
        for argument, status in zip(wanted, statuses, strict=False)
        if not status.is_good()
    ]
    return f" ({', '.join(bad)})" if bad else ""


def _arguments(told: Any) -> list[Any]:
    # ua.Argument is a subclass that is only made by hand: decoded ones are of the class above it
    kind = ua.uaprotocol_auto.Argument
    return [one for one in told if isinstance(one, kind)] if isinstance(told, list) else []


def plain(variant: Any) -> Any:
    """Return a variant's value as JSON can carry it: bytes as base64, times as ISO 8601 text."""
    return _plain(variant.Value if isinstance(variant, ua.Variant) else variant)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value[:RESULTS_MAX]]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return iso(value)
    return as_text(value)
