"""Continuation points for asyncua's server, which has none: bounded, counted, and hostile."""

import itertools

from asyncua import ua
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.ua_binary import struct_from_binary


class Pager:
    """Hands references out in pages; ``held`` are the continuation points nobody gave back.

    ``endless``: None; "stale" repeats the last page for ever; "fresh" makes up new nodes for ever.
    """

    def __init__(self, plc, monkeypatch, *, page=10, points_max=100, endless=None):
        self.page, self.points_max, self.endless = page, points_max, endless
        self.held = {}
        self.requests_count = 0
        self._numbers = itertools.count(1)
        view = plc.server.iserver.view_service
        self._browse = view.browse
        monkeypatch.setattr(view, "browse", self.browse)

        plain = UaProcessor._process_message

        async def process(processor, kind, header, sequence, body):
            if kind != ua.NodeId(ua.ObjectIds.BrowseNextRequest_Encoding_DefaultBinary):
                return await plain(processor, kind, header, sequence, body)
            response = ua.BrowseNextResponse()
            results = self.browse_next(struct_from_binary(ua.BrowseNextParameters, body))
            response.Parameters.Results = results
            processor.send_response(header.RequestHandle, sequence, response)
            return True

        monkeypatch.setattr(UaProcessor, "_process_message", process)

    def browse(self, parameters):
        self.requests_count += 1
        size = min(parameters.RequestedMaxReferencesPerNode or self.page, self.page)
        return [self._cut(list(r.References), size) for r in self._browse(parameters)]

    def browse_next(self, parameters):
        self.requests_count += 1
        results = []
        for point in parameters.ContinuationPoints:
            left = self.held.pop(point, None)
            if left is None:
                result = ua.BrowseResult()
                result.StatusCode = ua.StatusCode(ua.StatusCodes.BadContinuationPointInvalid)
                results.append(result)
            elif parameters.ReleaseContinuationPoints:
                results.append(ua.BrowseResult())
            else:
                results.append(self._cut(left, self.page))
        return results

    def _cut(self, references, size):
        result = ua.BrowseResult()
        part, left = references[:size], references[size:]
        if self.endless and not left and part:
            left = part if self.endless == "stale" else [self._made_up(part[0])]
        if left and len(self.held) >= self.points_max:
            result.StatusCode = ua.StatusCode(ua.StatusCodes.BadNoContinuationPoints)
            return result
        if left:
            result.ContinuationPoint = b"p%d" % next(self._numbers)
            self.held[result.ContinuationPoint] = left
        result.References = part
        return result

    def _made_up(self, like):
        made = ua.ReferenceDescription()
        made.ReferenceTypeId, made.IsForward = like.ReferenceTypeId, True
        number = next(self._numbers)
        made.NodeId = ua.ExpandedNodeId(number, 1)
        made.BrowseName = ua.QualifiedName(f"made{number}", 1)
        made.DisplayName = ua.LocalizedText("")
        made.NodeClass = ua.NodeClass.Object
        made.TypeDefinition = ua.ExpandedNodeId(58, 0)
        return made
