"""The address space of the simulated plant, as data.

Promise: every variable has a string node id `<machine>.<name>` that never
changes, and browse path Plant/<line>/<machine>/<name>. Between them the
variables cover the OPC UA scalar types a gateway meets, an enumeration, and
arrays; analogue ones carry EURange and EngineeringUnits.
"""

from enum import StrEnum

import msgspec

from plant import signals
from plant.signals import Signal

NAMESPACE_URI = "urn:example:plant"
SHIFT_URI = "urn:example:plant:shift"
"""Registered before the plant's own namespace to move its index."""
LOAD_FOLDER_ID = "Load"


class Kind(StrEnum):
    """OPC UA built-in type of a variable; ENUM is an Int32 of the type MachineState."""

    BOOLEAN = "Boolean"
    SBYTE = "SByte"
    BYTE = "Byte"
    INT16 = "Int16"
    UINT16 = "UInt16"
    INT32 = "Int32"
    UINT32 = "UInt32"
    INT64 = "Int64"
    UINT64 = "UInt64"
    FLOAT = "Float"
    DOUBLE = "Double"
    STRING = "String"
    DATETIME = "DateTime"
    ENUM = "MachineState"


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """An engineering unit. `code` is the UN/CEFACT common code."""

    code: str
    symbol: str
    name: str

    @property
    def unit_id(self) -> int:
        """Return the OPC UA UnitId. Source: OPC 10000-8, 6.4.3 (code bytes, big endian)."""
        return int.from_bytes(self.code.encode("ascii"), "big")


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """One variable: where it is, what it is and how it moves."""

    machine: str
    name: str
    kind: Kind
    signal: Signal
    is_array: bool = False
    unit: Unit | None = None
    low: float | None = None
    high: float | None = None

    @property
    def string_id(self) -> str:
        """Return the identifier of the node id (`s=`)."""
        return f"{self.machine}.{self.name}"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A production line: a folder of machines."""

    name: str
    machines: tuple[str, ...]


CELSIUS = Unit(code="CEL", symbol="°C", name="degree Celsius")
BAR = Unit(code="BAR", symbol="bar", name="bar [unit of pressure]")
RPM = Unit(code="RPM", symbol="r/min", name="revolutions per minute")
MM_PER_S = Unit(code="C16", symbol="mm/s", name="millimetre per second")
MM = Unit(code="MMT", symbol="mm", name="millimetre")
WATT_HOUR = Unit(code="WHR", symbol="W·h", name="watt hour")
KILONEWTON = Unit(code="B47", symbol="kN", name="kilonewton")
PERCENT = Unit(code="P1", symbol="%", name="percent")
CUBIC_METRE_PER_HOUR = Unit(code="MQH", symbol="m³/h", name="cubic metre per hour")

LINES = (
    Line(name="Line1", machines=("Press", "Conveyor", "Robot")),
    Line(name="Line2", machines=("Oven", "Filler", "Packer")),
)


def _every_machine(machine: str) -> list[Variable]:
    """Return what each machine has: state, counts, energy, text and times."""
    key = machine
    return [
        Variable(machine=machine, name="State", kind=Kind.ENUM, signal=signals.state(key)),
        Variable(
            machine=machine,
            name="Running",
            kind=Kind.BOOLEAN,
            signal=signals.switch(key + ".Running", 0.9, 40),
        ),
        Variable(
            machine=machine,
            name="GoodParts",
            kind=Kind.UINT32,
            signal=signals.total(0, 1, 4),
        ),
        Variable(
            machine=machine,
            name="Energy",
            kind=Kind.UINT64,
            # Beyond 2**53: a receiver that goes through a double shows it.
            signal=signals.total(9_007_199_254_740_993, 7),
            unit=WATT_HOUR,
        ),
        Variable(
            machine=machine,
            name="Batch",
            kind=Kind.STRING,
            signal=signals.batch(machine.upper(), 240),
        ),
        Variable(
            machine=machine,
            name="CycleStarted",
            kind=Kind.DATETIME,
            signal=signals.cycle_start(16),
        ),
    ]


def _analogue(
    machine: str, name: str, kind: Kind, unit: Unit, span: tuple[float, float], period_s: float
) -> Variable:
    low, high = span
    mean, swing = (low + high) / 2, (high - low) / 4
    signal = signals.wave(f"{machine}.{name}", mean, swing, period_s, (high - low) / 200)
    if kind not in {Kind.DOUBLE, Kind.FLOAT}:
        signal = signals.whole(signal)
    return Variable(
        machine=machine, name=name, kind=kind, signal=signal, unit=unit, low=low, high=high
    )


def _special() -> list[Variable]:
    """Return the variables that only one machine has: the remaining types and arrays."""
    return [
        _analogue("Press", "Temperature", Kind.DOUBLE, CELSIUS, (20.0, 220.0), 90),
        _analogue("Press", "Force", Kind.DOUBLE, KILONEWTON, (0.0, 2500.0), 6),
        _analogue("Press", "Pressure", Kind.FLOAT, BAR, (0.0, 250.0), 6),
        _analogue("Press", "Stroke", Kind.INT16, MM, (-400.0, 400.0), 6),
        _analogue("Conveyor", "Speed", Kind.FLOAT, MM_PER_S, (0.0, 1200.0), 120),
        _analogue("Conveyor", "MotorSpeed", Kind.UINT16, RPM, (0.0, 3000.0), 120),
        _analogue("Robot", "AxisSpeed", Kind.DOUBLE, RPM, (-300.0, 300.0), 8),
        _analogue("Robot", "Override", Kind.BYTE, PERCENT, (0.0, 100.0), 200),
        _analogue("Oven", "Temperature", Kind.DOUBLE, CELSIUS, (150.0, 450.0), 300),
        _analogue("Filler", "Flow", Kind.FLOAT, CUBIC_METRE_PER_HOUR, (0.0, 40.0), 30),
        _analogue("Filler", "Level", Kind.DOUBLE, PERCENT, (0.0, 100.0), 45),
        Variable(
            machine="Oven",
            name="Trim",
            kind=Kind.SBYTE,
            signal=signals.held("Oven.Trim", -100, 100, 80),
        ),
        Variable(
            machine="Robot",
            name="Position",
            kind=Kind.INT32,
            signal=signals.whole(signals.wave("Robot.Position", 0, 2_000_000_000, 20)),
        ),
        Variable(
            machine="Robot",
            name="Encoder",
            kind=Kind.INT64,
            signal=signals.total(-(2**62), -1_000_003),
        ),
        Variable(
            machine="Oven",
            name="Zones",
            kind=Kind.DOUBLE,
            is_array=True,
            signal=signals.zones("Oven.Zones", 200.0, 8),
            unit=CELSIUS,
            low=150.0,
            high=450.0,
        ),
        Variable(
            machine="Robot",
            name="Guards",
            kind=Kind.BOOLEAN,
            is_array=True,
            signal=signals.guards("Robot.Guards", 6),
        ),
        Variable(
            machine="Packer",
            name="Alarms",
            kind=Kind.STRING,
            is_array=True,
            signal=signals.messages(
                "Packer.Alarms", ("E101 film end", "E204 jam", "W310 glue low, 40 °C")
            ),
        ),
    ]


VARIABLES: tuple[Variable, ...] = tuple(
    variable
    for line in LINES
    for machine in line.machines
    for variable in (
        *(special for special in _special() if special.machine == machine),
        *_every_machine(machine),
    )
)


def load_name(number: int) -> str:
    """Return the browse name of load tag `number`, counted from 1."""
    return f"T{number:05d}"
