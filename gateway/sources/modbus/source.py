"""A Modbus TCP device as a source: each group is read on its own beat, one request at a time.

Modbus has neither source time nor quality nor memory: a sample's time is when its block arrived,
a tag that the device refuses has a status and no value, and what changed while we were away is not
known (``session_gap``). A beat that could not be kept is entered as ``poll_missed``. A block that
is refused is read tag by tag, so that one wrong address faults its own tag only. The device is
never written.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import anyio
import numpy as np
from numpy.typing import NDArray
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from contract.config import ModbusSourceConfig, ModbusTagConfig
from contract.sample import SampleBatch, SampleColumns, ValueKind, concatenate
from gateway.errors import SourceError, WriteRefusedError
from gateway.sources.base import SourcePort, SourceReport, SourceState, TagSpec, TagTrouble
from gateway.sources.modbus.plan import (
    BIT_TABLES,
    DATA_TYPE_OF,
    Block,
    Take,
    plan_blocks,
    take_values,
)
from runtime.clock import Clock
from runtime.log import logger
from sparkplug_b.datatype import DataType

PORT = 502
TROUBLES_SHOWN = 100
RETRY_REFUSED_S = 30.0
"""A tag that the device refused is asked for again this often, and not at every beat."""
STATUS_REFUSED = 0x80340000
"""BadNodeIdUnknown: the device has no such address. Source: OPC 10000-6, annex A."""
STATUS_DEVICE = 0x808B0000
"""BadDeviceFailure."""
_EXCEPTIONS = {
    1: "the device does not know this function",
    2: "the device has no such address",
    3: "the device refuses the count",
    4: "the device failed",
    5: "the device needs time",
    6: "the device is busy",
    8: "the device found a parity error in its memory",
    10: "the gateway has no path to this unit",
    11: "the unit behind the gateway does not answer",
}
"""By exception code. Source: MODBUS Application Protocol 1.1b3, section 7."""


class ModbusSource:
    """One device. ``run_session`` is one connection; the engine calls it again."""

    def __init__(self, config: ModbusSourceConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._state: SourceState = "starting"
        self._reason = ""
        self._indexes: NDArray[np.uint32] = np.zeros(0, dtype=np.uint32)
        self._refused: dict[int, tuple[float, TagTrouble]] = {}  # by number: until when, and why
        self._values_count = 0
        self._sessions_count = 0
        self._missed_count = 0
        self._last_value_s: float | None = None
        self._last_time_us = 0
        self._gap_from_us: int | None = None  # no gap is open
        self._asking = anyio.Lock()

    @property
    def name(self) -> str:
        """The source's name in the configuration."""
        return self._config.name

    def status(self) -> SourceReport:
        """Return what to show of the source now."""
        troubles = [trouble for _, trouble in self._refused.values()]
        return SourceReport(
            state=self._state,
            endpoint=self._config.endpoint,
            reason=self._reason,
            tags_total=len(self._config.tags),
            values_count=self._values_count,
            sessions_count=self._sessions_count,
            last_value_s=self._last_value_s,
            troubles=troubles[:TROUBLES_SHOWN],
            troubles_count=len(troubles),
        )

    async def write(self, address: str, value: object) -> None:  # noqa: ARG002 - the seam's
        """Refuse: this kind of source is read only; see ``sources.base.Source``."""
        raise WriteRefusedError("not_supported", f"Modbus sources are never written ({address})")

    async def run_session(self, port: SourcePort) -> None:
        """Connect and read until the link is lost; see ``sources.base.Source``."""
        self._state, self._reason = "connecting", ""
        client = self._client()
        try:
            await self._connect(client)
            self._sessions_count += 1
            specs = [_spec(self._config, tag) for tag in self._config.tags]
            self._indexes = np.array(port.register(specs), dtype=np.uint32)
            self._gap_from_us = self._last_time_us or port.last_stored_time_us()
            await self._poll(client, port)
        except SourceError as error:
            self._state, self._reason = "waiting", str(error)
            raise
        except BaseExceptionGroup as group:
            expected, other = group.split(SourceError)
            if expected is None or other is not None:
                raise
            self._state, self._reason = "waiting", str(_first(expected))
            raise SourceError(self._reason) from group
        finally:
            client.close()

    def _client(self) -> AsyncModbusTcpClient:
        parts = urlsplit(self._config.endpoint)
        return AsyncModbusTcpClient(
            parts.hostname or "",
            port=parts.port or PORT,
            name=self.name,
            timeout=self._config.timeout_ms / 1000,
            retries=0,
            reconnect_delay=0,  # the engine connects again, with back-off
        )

    async def _connect(self, client: AsyncModbusTcpClient) -> None:
        with anyio.move_on_after(self._config.timeout_ms / 1000) as waiting:
            if await client.connect():
                return
        why = "no answer in time" if waiting.cancelled_caught else "nothing listens there"
        raise SourceError(f"{self._config.endpoint}: {why}")

    async def _poll(self, client: AsyncModbusTcpClient, port: SourcePort) -> None:
        async with anyio.create_task_group() as tasks:
            for group in self._config.groups:
                members = [(n, t) for n, t in enumerate(self._config.tags) if t.group == group.name]
                if members:
                    tasks.start_soon(
                        self._beat, client, port, group.name, members, group.interval_ms / 1000
                    )

    async def _beat(
        self,
        client: AsyncModbusTcpClient,
        port: SourcePort,
        group: str,
        members: Sequence[tuple[int, ModbusTagConfig]],
        interval_s: float,
    ) -> None:
        """Read a group for ever; the next read is due a whole number of intervals later."""
        blocks = plan_blocks(members, self._config.unit_id, self._config.gap_registers_max)
        due_s = self._clock.monotonic_s()
        while True:
            await self._read_group(client, port, blocks)
            due_s += interval_s
            late_s = self._clock.monotonic_s() - due_s
            if late_s > 0:
                missed = int(late_s / interval_s)
                if missed:
                    self._miss(port, group, missed, len(members), interval_s)
                    due_s += missed * interval_s
            await self._clock.sleep_s(max(0.0, due_s - self._clock.monotonic_s()))

    def _miss(
        self, port: SourcePort, group: str, missed: int, tags_count: int, interval_s: float
    ) -> None:
        self._missed_count += missed
        now_us = self._clock.wall_us()
        port.lose(
            "poll_missed",
            now_us - int((missed + 1) * interval_s * 1e6),
            now_us,
            count=missed * tags_count,
            detail=f"group {group}: {missed} reads were not made in time",
        )

    async def _read_group(
        self, client: AsyncModbusTcpClient, port: SourcePort, blocks: Sequence[Block]
    ) -> None:
        parts: list[SampleBatch] = []
        for block in blocks:
            parts += await self._read_block(client, block)
        batch = concatenate(parts)
        if not len(batch):
            return
        if self._state != "up":
            self._state, self._reason = "up", ""
            port.up()
            logger().info("modbus.session_opened", source=self.name)
        self._close_gap(port, batch)
        self._values_count += len(batch)
        self._last_value_s = self._clock.monotonic_s()
        await port.put(batch, (), _nobody_waits)

    def _close_gap(self, port: SourcePort, batch: SampleBatch) -> None:
        """Enter the time without a session: from the last durable value to the first one now."""
        first_us, self._last_time_us = batch.time_range_us()
        if self._gap_from_us is not None:
            port.lose(
                "session_gap",
                self._gap_from_us,
                max(first_us, self._gap_from_us),
                detail="there was no connection; Modbus devices keep no values",
            )
        self._gap_from_us = None

    async def _read_block(self, client: AsyncModbusTcpClient, block: Block) -> list[SampleBatch]:
        """Read a block; one that is refused is read tag by tag."""
        if len(block.members) > 1 and any(m.number in self._refused for m in block.members):
            return [b for part in block.parts() for b in await self._read_block(client, part)]
        if len(block.members) == 1 and self._is_resting(block.members[0].number):
            return []
        answer = await self._ask(client, block)
        if answer.isError():
            if len(block.members) > 1:
                return [b for part in block.parts() for b in await self._read_block(client, part)]
            return [self._refuse(block, answer)]
        for member in block.members:
            self._refused.pop(member.number, None)
        words = np.array(answer.bits if block.is_bits else answer.registers, dtype=np.uint16)
        if len(words) < block.count:
            raise SourceError(f"{len(words)} registers or bits came, {block.count} were asked for")
        now_us = self._clock.wall_us()
        return [self._columns(take, words, now_us) for take in block.takes]

    def _is_resting(self, number: int) -> bool:
        held = self._refused.get(number)
        return held is not None and self._clock.monotonic_s() < held[0]

    async def _ask(self, client: AsyncModbusTcpClient, block: Block) -> ModbusPDU:
        read = {
            "coil": client.read_coils,
            "discrete_input": client.read_discrete_inputs,
            "input_register": client.read_input_registers,
            "holding_register": client.read_holding_registers,
        }[block.table]
        try:
            async with self._asking:  # devices answer one request at a time
                return await read(block.start, count=block.count, device_id=block.unit_id)
        except (ModbusException, OSError, TimeoutError) as error:
            raise SourceError(f"{self._config.endpoint}: the device does not answer") from error

    def _refuse(self, block: Block, answer: ModbusPDU) -> SampleBatch:
        member = block.members[0]
        code = answer.exception_code
        tag = member.config
        if member.number not in self._refused:
            logger().warning(
                "modbus.tag_refused", source=self.name, tag=tag.name, exception_code=code
            )
        trouble = TagTrouble(
            tag=tag.name,
            address=address_of(self._config, tag),
            code=f"ModbusException{code}",
            message=f"{_EXCEPTIONS.get(code, 'the device refuses it')}; "
            "check table, address (from 0), type and unit_id",
        )
        self._refused[member.number] = (self._clock.monotonic_s() + RETRY_REFUSED_S, trouble)
        status = STATUS_REFUSED if code == 2 else STATUS_DEVICE
        columns = SampleColumns(
            ValueKind.NULL,
            self._indexes[[member.number]],
            np.array([self._clock.wall_us()], dtype=np.int64),
            np.array([status], dtype=np.uint32),
            None,
        )
        return SampleBatch((columns,))

    def _columns(self, take: Take, words: NDArray[np.uint16], now_us: int) -> SampleBatch:
        kind, values = take_values(take, words)
        count = len(take.numbers)
        tag = self._indexes[take.numbers]
        times = np.full(count, now_us, dtype=np.int64)
        status = np.zeros(count, dtype=np.uint32)
        if kind is ValueKind.TEXT:
            return SampleBatch((SampleColumns(kind, tag, times, status, values),))
        assert isinstance(values, np.ndarray)
        gain, offset, scaled = self._scales(take.numbers)
        parts = []
        if not scaled.all():
            plain = ~scaled
            parts.append(
                SampleBatch(
                    (SampleColumns(kind, tag[plain], times[plain], status[plain], values[plain]),)
                )
            )
        if scaled.any():
            value = values[scaled].astype(np.float64) * gain[scaled] + offset[scaled]
            columns = SampleColumns(
                ValueKind.DOUBLE, tag[scaled], times[scaled], status[scaled], value
            )
            parts.append(SampleBatch((columns,)))
        return concatenate(parts)

    def _scales(
        self, numbers: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        scales = [self._config.tags[n].scale for n in numbers.tolist()]
        return (
            np.array([s.gain if s else 1.0 for s in scales]),
            np.array([s.offset if s else 0.0 for s in scales]),
            np.array([s is not None for s in scales]),
        )


def address_of(config: ModbusSourceConfig, tag: ModbusTagConfig) -> str:
    """Return a tag's address as it stands in its definition: ``unit=1;holding_register=100``."""
    unit = config.unit_id if tag.unit_id is None else tag.unit_id
    bit = "" if tag.bit is None else f";bit={tag.bit}"
    return f"unit={unit};{tag.table}={tag.address}{bit}"


def _spec(config: ModbusSourceConfig, tag: ModbusTagConfig) -> TagSpec:
    data_type = DataType.BOOLEAN if tag.table in BIT_TABLES else DATA_TYPE_OF[tag.type]
    is_number = data_type not in {DataType.BOOLEAN, DataType.STRING}
    return TagSpec(
        name=tag.name,
        device=tag.device or config.name,
        data_type=DataType.DOUBLE if tag.scale else data_type,
        address=address_of(config, tag),
        gain=tag.scale.gain if tag.scale else 1.0,
        offset=tag.scale.offset if tag.scale else 0.0,
        deadband=tag.deadband.absolute if tag.deadband and is_number else 0.0,
        unit=tag.unit,
        description=tag.description,
        record=tag.record,
    )


def _nobody_waits() -> None:
    """Modbus acknowledges nothing: there is nobody to tell that values are durable."""


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
