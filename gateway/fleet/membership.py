"""What this box holds as a member: ``DIR/hub/{key,certificate,ca}.pem`` and ``membership.json``.

The directory is replaced whole: the new one is written and synced beside it as ``hub.new``, the
old one moves to ``hub.before``, the new one moves in, the old one goes. A crash leaves the old or
the new membership, never a mix: while ``hub`` is missing, ``hub.before`` is read.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from gateway.errors import EnrolError
from runtime.tls import write_private

HUB_NAME = "hub"
_NEW_NAME = "hub.new"
_BEFORE_NAME = "hub.before"
MEMBERSHIP_NAME = "membership.json"
KEY_NAME = "key.pem"
CERTIFICATE_NAME = "certificate.pem"
CA_NAME = "ca.pem"


class MembershipRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``membership.json``.

    Attributes:
        gateway_id: the hub's id of this box; its certificate's common name.
        uplink_url: where to send, ``https://HOST:PORT``.
        name: what the box called itself.
        site: where it said it stands.
        ca_fingerprint: SHA-256 of the hub's CA certificate, hex.
        enrolled_us: when.
        not_after_us: when the certificate ends.
    """

    gateway_id: str
    uplink_url: str
    name: str
    site: str
    ca_fingerprint: str
    enrolled_us: int
    not_after_us: int


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """A membership as it lies on the disk; ``stamp`` tells it from a newer one."""

    record: MembershipRecord
    ca_pem: str
    certificate_path: Path
    key_path: Path
    stamp: tuple[int, int]

    @property
    def gateway_id(self) -> str:
        """The hub's id of this box."""
        return self.record.gateway_id

    @property
    def uplink_url(self) -> str:
        """Where to send."""
        return self.record.uplink_url


def load_membership(data_dir: Path) -> Membership | None:
    """Read the membership; None when this box never enrolled.

    Raises:
        EnrolError: there is one, but it cannot be read.
    """
    for name in (HUB_NAME, _BEFORE_NAME):
        directory = data_dir / name
        if directory.is_dir():
            return _read(directory)
    return None


def membership_changed(data_dir: Path, known: Membership | None) -> bool:
    """Say whether the disk holds another membership than ``known``; costs one or two stats."""
    for name in (HUB_NAME, _BEFORE_NAME):
        stamp = _stamp(data_dir / name)
        if stamp is not None:
            return known is None or stamp != known.stamp
    return known is not None


def store_membership(
    data_dir: Path, record: MembershipRecord, key_pem: bytes, certificate_pem: str, ca_pem: str
) -> Membership:
    """Put a membership in place of what was there, whole, durably, readable by its owner only.

    Raises:
        OSError: the disk refused; the membership before is untouched.
    """
    current, new, before = (data_dir / n for n in (HUB_NAME, _NEW_NAME, _BEFORE_NAME))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    write_private(new / KEY_NAME, key_pem)
    write_private(new / CERTIFICATE_NAME, certificate_pem.encode("ascii"))
    write_private(new / CA_NAME, ca_pem.encode("ascii"))
    write_private(new / MEMBERSHIP_NAME, msgspec.json.encode(record))
    if current.is_dir():
        shutil.rmtree(before, ignore_errors=True)
        current.rename(before)
    new.rename(current)
    _sync_directory(data_dir)
    shutil.rmtree(before, ignore_errors=True)
    return _read(current)


def _read(directory: Path) -> Membership:
    stamp = _stamp(directory)
    try:
        record = msgspec.json.decode(
            (directory / MEMBERSHIP_NAME).read_bytes(), type=MembershipRecord
        )
        ca_pem = (directory / CA_NAME).read_text("ascii")
    except (OSError, ValueError) as error:
        raise _unreadable(directory, type(error).__name__) from error
    paths = (directory / CERTIFICATE_NAME, directory / KEY_NAME)
    if stamp is None or not all(path.is_file() for path in paths):
        raise _unreadable(directory, "a file is missing")
    return Membership(
        record=record, ca_pem=ca_pem, certificate_path=paths[0], key_path=paths[1], stamp=stamp
    )


def _unreadable(directory: Path, cause: str) -> EnrolError:
    return EnrolError(
        f"the membership in {directory} cannot be read ({cause}): enrol again with a new code"
    )


def _stamp(directory: Path) -> tuple[int, int] | None:
    try:
        found = (directory / MEMBERSHIP_NAME).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
