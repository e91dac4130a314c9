"""Which of several hubs is the Sparkplug host: one row in the database, taken and renewed by CAS.

The rule rests on no two wall clocks. A holder raises ``version`` every third of the lease; it stops
by itself when its last good renewal *began* more than two thirds of the lease ago, on its own
monotonic clock. Another hub takes the row only after it has *seen* the same version for the whole
lease, on its own monotonic clock. So both never hold it at once, unless a process is frozen; then
the broker ends the older connection, because all hubs use one client id.
``expires_us`` is for people; nobody decides by it. A hub that comes back takes its own row at once.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import msgspec
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from central.database import Database
from central.ingest.sparkplug.tables import LeaseRow
from runtime.clock import Clock

RENEWALS_PER_LEASE = 3
HELD_SHARE = 2 / 3


class LeaseView(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lease, as the database has it; ``holder`` "" is nobody."""

    holder: str
    url: str
    version: int
    expires_us: int


def hub_id(data_dir: Path) -> str:
    """Return this data directory's own id, made when missing; one process has the directory."""
    path = data_dir / "hub-id"
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.write_text(f"hub-{uuid.uuid4().hex[:12]}\n")
        fresh.replace(path)
    return path.read_text().strip()


class Lease:
    """One named lease, as one hub sees it."""

    def __init__(
        self, database: Database, name: str, holder: str, lease_s: float, clock: Clock
    ) -> None:
        self._database = database
        self._name = name
        self.holder = holder
        self._lease_s = lease_s
        self._clock = clock
        self._seen: tuple[int, float] | None = None
        self._version = 0
        self._held_until_s: float | None = None
        self.taken_count = 0
        self.lost_count = 0
        self.url = ""

    @property
    def check_interval_s(self) -> float:
        """Return how often to renew, and how often to look whether it may be taken."""
        return self._lease_s / RENEWALS_PER_LEASE

    @property
    def is_held(self) -> bool:
        """Say whether this hub may act now."""
        return self._held_until_s is not None and self._clock.monotonic_s() < self._held_until_s

    @property
    def left_s(self) -> float:
        """Return how long this hub may act without another renewal."""
        return max(0.0, (self._held_until_s or 0.0) - self._clock.monotonic_s())

    async def view(self) -> LeaseView | None:
        """Return the row; None before anybody took it."""
        async with self._database.reading() as session:
            row = await session.get(LeaseRow, self._name)
        if row is None:
            return None
        return LeaseView(
            holder=row.holder, url=row.url, version=row.version, expires_us=row.expires_us
        )

    async def take(self) -> bool:
        """Take the lease if nobody holds it, if it was ours, or if its holder fell silent."""
        began_s = self._clock.monotonic_s()
        row = await self.view()
        if row is None:
            return await self._insert(began_s)
        if self._seen is None or self._seen[0] != row.version:
            self._seen = (row.version, self._clock.monotonic_s())
        is_silent = began_s - self._seen[1] >= self._lease_s
        if row.holder not in {"", self.holder} and not is_silent:
            return False
        if not await self._swap(row.version, began_s, self.holder):
            return False
        self.taken_count += 1
        return True

    async def renew(self) -> bool:
        """Prolong the lease; False: another hub has it, and this one has to stop at once."""
        if await self._swap(self._version, self._clock.monotonic_s(), self.holder):
            return True
        self.lost_count += 1
        self._held_until_s = None
        return False

    async def release(self) -> None:
        """Give the lease back, so that another hub need not wait."""
        if self._held_until_s is not None:
            self._held_until_s = None
            await self._swap(self._version, self._clock.monotonic_s(), "")
            self._held_until_s = None

    async def _insert(self, began_s: float) -> bool:
        try:
            async with self._database.transaction() as session:
                session.add(
                    LeaseRow(
                        name=self._name,
                        holder=self.holder,
                        url=self.url,
                        version=1,
                        expires_us=self._expires_us(),
                    )
                )
        except IntegrityError:  # another hub was faster
            return False
        self._note(1, began_s)
        self.taken_count += 1
        return True

    async def _swap(self, version: int, began_s: float, holder: str) -> bool:
        async with self._database.transaction() as session:
            swapped = await session.scalar(
                update(LeaseRow)  # index: primary key
                .where(LeaseRow.name == self._name, LeaseRow.version == version)
                .values(
                    holder=holder,
                    url=self.url,
                    version=version + 1,
                    expires_us=self._expires_us() if holder else self._clock.wall_us(),
                )
                .returning(LeaseRow.version)
            )
        if swapped is None:
            return False
        self._note(version + 1, began_s)
        return True

    def _note(self, version: int, began_s: float) -> None:
        self._version = version
        self._seen = (version, began_s)
        self._held_until_s = began_s + self._lease_s * HELD_SHARE

    def _expires_us(self) -> int:
        return self._clock.wall_us() + round(self._lease_s * 1e6)
