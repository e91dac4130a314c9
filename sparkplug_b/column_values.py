"""Raw columns to typed ones: what `scalar.from_wire` does, for many values at once.

Internal to `decode_columns`. What does not fit its type is left to protobuf and `from_wire`, which
say why: NotPlainError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sparkplug_b.datatype import INTEGER_RANGE, SIGNED_BITS, WIRE_FIELD, DataType

_INTEGER_FIELDS: Final = frozenset({"int_value", "long_value"})
_UINT32_MAX: Final = 2**32 - 1


class NotPlainError(Exception):
    """Raised when protobuf has to judge the whole payload."""


def typed_values(
    raw: NDArray[Any], field: str, kinds: DataType | Sequence[DataType | None] | None
) -> list[Any]:
    """Return the values of one protobuf field as Python scalars.

    Args:
        raw: uint64, float or bool, as they stand in the field.
        field: its name.
        kinds: data type of all rows, or of each.

    Raises:
        NotPlainError: a value does not fit its data type.
    """
    if field == "int_value" and int(raw.max()) > _UINT32_MAX:
        raise NotPlainError
    if kinds is None or isinstance(kinds, DataType):
        return list(_typed(raw, field, kinds).tolist())
    distinct = set(kinds)
    if field not in _INTEGER_FIELDS:
        for kind in distinct:
            _check_field(field, kind)
        return list(raw.tolist())
    if len(distinct) == 1:
        return list(_typed(raw, field, kinds[0]).tolist())
    codes = np.array([-1 if kind is None else kind for kind in kinds], np.int64)
    found = np.empty(len(raw), object)
    for kind in distinct:
        rows = codes == (-1 if kind is None else kind)
        found[rows] = _typed(raw[rows], field, kind)
    return found.tolist()


def _check_field(field: str, kind: DataType | None) -> None:
    if kind and WIRE_FIELD.get(kind) != field:
        raise NotPlainError


def _typed(raw: NDArray[Any], field: str, kind: DataType | None) -> NDArray[Any]:
    if not kind:
        return raw
    limits = INTEGER_RANGE.get(kind)
    if limits is None or field not in _INTEGER_FIELDS:
        _check_field(field, kind)
        return raw
    low, high = limits
    if int(raw.max()) <= high:
        return raw
    bits = SIGNED_BITS.get(kind)
    if bits is None:
        raise NotPlainError
    return _signed(raw, bits, low, high)


def _signed(raw: NDArray[np.uint64], bits: int, low: int, high: int) -> NDArray[np.int64]:
    """Undo two's complement in the type's own width, in 32 bits, or in 64."""
    signed = raw.view(np.int64).copy()
    for sender_bits in sorted({bits, 32} - {64}):
        negative = (signed > high) & (signed < 1 << sender_bits)
        signed[negative] -= 1 << sender_bits
    if int(signed.min()) < low or int(signed.max()) > high:
        raise NotPlainError
    return signed
