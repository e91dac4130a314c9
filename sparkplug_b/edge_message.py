"""The messages of an edge node, each made from what it has to say: no state but the identity.

`edge.py` decides which message comes when, and with which seq.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from sparkplug_b.birth import DeviceBirth, birth_metrics
from sparkplug_b.codec import encode
from sparkplug_b.columns import data_payload
from sparkplug_b.command import NODE_REBIRTH
from sparkplug_b.compression import CompressionAlgorithm, compressed
from sparkplug_b.datatype import DataType
from sparkplug_b.payload import Metric, Payload
from sparkplug_b.timestamp import TimestampUnit
from sparkplug_b.topic import check_id, device_topic, node_topic

BD_SEQ: Final = "bdSeq"
SessionState = Literal["offline", "connected", "born"]


class OutboundMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One MQTT message to publish, or the Will."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class EdgeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How an edge node writes.

    Attributes:
        timestamp_unit: of payload and metric timestamps; "ns" is no Sparkplug 3.0, but what
            Factory+ (ACS 6) writes. Bodies given to `data` have to be encoded in it too.
        packet_bytes_max: greatest MQTT packet to send; None: no limit of ours. The limit that an
            MQTT 5 broker names in CONNACK goes to `connected`; the smaller one counts.
        compression: of births and data where it makes them smaller; no Sparkplug 3.0 either, and
            understood by few hosts.
    """

    timestamp_unit: TimestampUnit = "ms"
    packet_bytes_max: int | None = None
    compression: CompressionAlgorithm | None = None


def next_bd_seq(last: int | None) -> int:
    """Return the bdSeq of the next CONNECT: 0 the first time ever, 255 goes to 0.

    Source: Sparkplug 3.0, tck-id-topics-nbirth-bdseq-increment,
    tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq.
    """
    if last is None:
        return 0
    assert 0 <= last <= 255
    return (last + 1) % 256


class EdgeMessages:
    """Makes the messages of one edge node on one MQTT connection."""

    def __init__(
        self,
        group_id: str,
        node_id: str,
        *,
        bd_seq: int,
        payload_uuid: str | None,
        options: EdgeOptions,
    ) -> None:
        assert 0 <= bd_seq <= 255
        check_id(group_id, what="group id")
        check_id(node_id, what="edge node id")
        self.group_id: Final = group_id
        self.node_id: Final = node_id
        self.bd_seq: Final = bd_seq
        self._uuid = payload_uuid
        self._unit: Final = options.timestamp_unit
        self._compression: Final = options.compression

    def node_death(self, now_ms: int) -> OutboundMessage:
        """Return the NDEATH, also for the Will.

        Source: Sparkplug 3.0, tck-id-topics-ndeath-topic, -payload, -seq;
        tck-id-payloads-ndeath-bdseq, -seq, -will-message-qos, -will-message-retain.
        """
        payload = Payload(timestamp_ms=now_ms, metrics=(self._bd_seq_metric(now_ms),))
        topic = node_topic(self.group_id, "NDEATH", self.node_id)
        return OutboundMessage(topic=topic, payload=self._encode(payload), qos=1, retain=False)

    def birth(self, birth: DeviceBirth, seq: int, now_ms: int) -> OutboundMessage:
        """Return the NBIRTH (with bdSeq and Node Control/Rebirth) or a DBIRTH.

        Source: Sparkplug 3.0, tck-id-topics-nbirth-topic, -mqtt, -timestamp, -bdseq-included,
        -bdseq-matching, -rebirth-metric; tck-id-topics-dbirth-topic, -mqtt, -timestamp;
        tck-id-operational-behavior-data-commands-rebirth-name, -name-aliases, -datatype, -value;
        tck-id-payloads-nbirth-bdseq, -bdseq-repeat, -rebirth-req, -timestamp, -seq, -qos, -retain;
        tck-id-payloads-dbirth-timestamp, -seq, -qos, -retain;
        tck-id-message-flow-edge-node-birth-publish-nbirth-payload, -nbirth-qos, -nbirth-retained;
        tck-id-message-flow-device-birth-publish-dbirth-payload, -dbirth-qos, -dbirth-retained.

        Raises:
            EncodeError: sparkplug.encode, when a value does not fit its data type.
        """
        if birth.device_id is None:
            topic = node_topic(self.group_id, "NBIRTH", self.node_id)
            rebirth = Metric(
                name=NODE_REBIRTH, time_ms=now_ms, data_type=DataType.BOOLEAN, value=False
            )
            metrics = birth_metrics(birth, self._bd_seq_metric(now_ms), rebirth)
        else:
            topic = device_topic(self.group_id, "DBIRTH", self.node_id, birth.device_id)
            metrics = birth_metrics(birth)
        payload = self._encode(
            Payload(timestamp_ms=now_ms, metrics=metrics, seq=seq, uuid=self._uuid)
        )
        packed = self._packed(payload, seq, now_ms)
        return OutboundMessage(topic=topic, payload=packed, qos=0, retain=False)

    def data(self, device_id: str | None, body: bytes, seq: int, now_ms: int) -> OutboundMessage:
        """Wrap encoded metrics as NDATA (`device_id` None) or DDATA.

        Source: Sparkplug 3.0, tck-id-topics-ndata-topic, -mqtt, -timestamp;
        tck-id-topics-ddata-topic, -mqtt, -timestamp; tck-id-payloads-ndata-qos, -retain;
        tck-id-payloads-ddata-qos, -retain.
        """
        if device_id is None:
            topic = node_topic(self.group_id, "NDATA", self.node_id)
        else:
            topic = device_topic(self.group_id, "DDATA", self.node_id, device_id)
        payload = data_payload(
            body, timestamp_ms=now_ms, seq=seq, uuid=self._uuid, timestamp_unit=self._unit
        )
        packed = self._packed(payload, seq, now_ms)
        return OutboundMessage(topic=topic, payload=packed, qos=0, retain=False)

    def device_death(self, device_id: str, seq: int, now_ms: int) -> OutboundMessage:
        """Return the DDEATH of a device.

        Source: Sparkplug 3.0, tck-id-topics-ddeath-topic, -mqtt;
        tck-id-payloads-ddeath-timestamp, -seq.
        """
        topic = device_topic(self.group_id, "DDEATH", self.node_id, device_id)
        payload = Payload(timestamp_ms=now_ms, seq=seq, uuid=self._uuid)
        return OutboundMessage(topic=topic, payload=self._encode(payload), qos=0, retain=False)

    def _encode(self, payload: Payload) -> bytes:
        return encode(payload, timestamp_unit=self._unit)

    def _packed(self, payload: bytes, seq: int, now_ms: int) -> bytes:
        if self._compression is None:
            return payload
        outer = compressed(payload, algorithm=self._compression, timestamp_ms=now_ms, seq=seq)
        packed = self._encode(outer)
        return packed if len(packed) < len(payload) else payload

    def _bd_seq_metric(self, now_ms: int) -> Metric:
        return Metric(name=BD_SEQ, time_ms=now_ms, data_type=DataType.INT64, value=self.bd_seq)
