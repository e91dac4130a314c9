"""Compressed payloads: a payload in the body of another one.

Not in Sparkplug 3.0. The convention is that of Eclipse Tahu and its npm client: the outer payload
has the uuid `SPBV1.0_COMPRESSED`, its body is the encoded inner payload as a zlib stream (DEFLATE)
or a gzip stream, and a String metric `algorithm` says which; without it DEFLATE is meant. Reading
is bounded: a small body that becomes a huge payload is refused while it grows.
"""

from __future__ import annotations

import zlib
from typing import Final, Literal

from sparkplug_b.datatype import DataType
from sparkplug_b.errors import DecodeError
from sparkplug_b.payload import Metric, Payload, Value

COMPRESSED_UUID: Final = "SPBV1.0_COMPRESSED"
ALGORITHM: Final = "algorithm"

CompressionAlgorithm = Literal["DEFLATE", "GZIP"]

_ZLIB_BITS: Final = 15
_RAW_BITS: Final = -15
_GZIP_BITS: Final = 31
_WRITE_BITS: Final[dict[CompressionAlgorithm, int]] = {"DEFLATE": _ZLIB_BITS, "GZIP": _GZIP_BITS}


def compressed(
    encoded: bytes,
    *,
    algorithm: CompressionAlgorithm = "DEFLATE",
    timestamp_ms: int | None = None,
    seq: int | None = None,
) -> Payload:
    """Wrap an encoded payload; the TCKs and most hosts understand no such payload.

    Args:
        encoded: of the inner payload.
        algorithm: DEFLATE, which every reader takes, or GZIP.
        timestamp_ms: of the inner payload, repeated outside; seq likewise.
        seq: for hosts that order messages without looking into them.
    """
    packer = zlib.compressobj(wbits=_WRITE_BITS[algorithm])
    said = Metric(name=ALGORITHM, time_ms=timestamp_ms, data_type=DataType.STRING, value=algorithm)
    return Payload(
        timestamp_ms=timestamp_ms,
        seq=seq,
        uuid=COMPRESSED_UUID,
        body=packer.compress(encoded) + packer.flush(),
        metrics=(said,),
    )


def inflated(body: bytes, algorithm: Value | None, bytes_max: int) -> bytes:
    """Return the inner payload's bytes.

    Args:
        body: of the outer payload.
        algorithm: value of the metric `algorithm`; None: DEFLATE.
        bytes_max: of the inner payload.

    Raises:
        DecodeError: sparkplug.decode, `too_large` or `malformed`.
    """
    name = "DEFLATE" if algorithm is None else algorithm
    if not isinstance(name, str) or name.upper() not in _WRITE_BITS:
        raise DecodeError("malformed", f"algorithm {str(name)[:40]!r} is not DEFLATE or GZIP")
    bits = _GZIP_BITS if name.upper() == "GZIP" else _deflate_bits(body)
    stream = zlib.decompressobj(wbits=bits)
    try:
        found = stream.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise DecodeError("malformed", f"{name}: {error}") from error
    if len(found) > bytes_max:
        raise DecodeError("too_large", f"more than {bytes_max} bytes when decompressed")
    if not stream.eof or stream.unused_data:
        raise DecodeError("malformed", f"{name}: the stream does not end with the body")
    return found


def _deflate_bits(body: bytes) -> int:
    """Tell a zlib stream (RFC 1950) from a raw one (RFC 1951), which some senders mean."""
    is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _ZLIB_BITS if is_zlib else _RAW_BITS
