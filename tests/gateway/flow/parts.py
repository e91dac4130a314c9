"""The middle of a gateway for tests: a real journal with intake, relief and outlets."""

import contextlib
from random import Random

import anyio

from contract.config import JournalConfig
from gateway.errors import JournalError
from gateway.flow.held import HeldSamples
from gateway.flow.intake import Arrival, Intake
from gateway.flow.outlet import JournalOutlet, JournalSide
from gateway.flow.port import IntakePort
from gateway.flow.relief import Relief
from gateway.journal.cursors import Cursor
from gateway.journal.log import Journal
from gateway.journal.reader import JournalReader
from gateway.pipeline.last import LastValues
from runtime.backoff import Backoff
from runtime.clock import SystemClock
from runtime.tasks import supervise
from tests.contract.batches import doubles

DEADLINE_S = 20


class StubbornJournal(Journal):
    """A real journal whose commits fail as often as told, without touching the file."""

    def __init__(self, directory):
        super().__init__(directory)
        self.failures = 0
        self.surprises = 0
        self.attempts = []

    def commit(self, transaction, now_us):
        self.attempts.append(transaction)
        if self.failures:
            self.failures -= 1
            raise JournalError("the disk refuses")
        if self.surprises and transaction.batch is not None:
            self.surprises -= 1
            raise ValueError("nobody foresaw this")
        return super().commit(transaction, now_us)


class Middle:
    """Journal, relief and intake, as the composition root joins them."""

    def __init__(self, directory, *, interval_s=0.0, config=None, clock=None):
        self.directory = directory
        self.clock = clock or SystemClock()
        self.journal = StubbornJournal(directory)
        self.last = LastValues()
        self.cursors = {}
        self.relief = Relief(
            self.journal, config or JournalConfig(), directory, self.clock, lambda: self.cursors
        )
        self.intake = Intake(self.journal, self.last, self.relief, self.clock, interval_s)
        self.intake.set_deadbands([(tag, 0.0) for tag in range(10)])
        self.committed = []
        self.stored = []
        self._held = None
        self.changed = anyio.Event()
        self.intake.listeners.append(self._listen)

    def port(self, source, tags):
        """The engine's side of a source."""
        if self._held is None:
            self._held = HeldSamples(JournalReader(self.directory, self.journal.epoch))
        return IntakePort(source, self.intake, tags, held=self._held)

    def _listen(self, row):
        self.committed.append(row)
        self.check_counters()
        self.tell()

    def tell(self):
        self.changed.set()
        self.changed = anyio.Event()

    def check_counters(self):
        """The promise: read = stored + filtered + dropped + in flight."""
        c = self.intake.counters
        dropped = sum(c.dropped.values())
        assert min(c.read, c.stored, c.filtered, c.in_flight) >= 0
        assert c.read == c.stored + c.filtered + dropped + c.in_flight, c

    async def put(self, name, batch, *, source="s", marks=()):
        """Put a batch; ``name`` is in ``stored`` once the intake says so."""

        def stored():
            self.check_counters()
            self.stored.append(name)
            self.tell()

        await self.intake.put(Arrival(source, batch, marks, stored))
        self.check_counters()

    async def put_value(self, value, tag=1):
        await self.put(value, doubles((tag, float(value))))

    async def until(self, condition):
        """Wait until something the intake tells of makes it true."""
        with anyio.fail_after(DEADLINE_S):
            while not condition():
                with anyio.move_on_after(0.05):
                    await self.changed.wait()

    @contextlib.asynccontextmanager
    async def running(self):
        """Run the intake; stop it in order at the end."""
        done = anyio.Event()

        async def run():
            await supervise("intake", lambda: self.intake.run(backoff()), self.clock, backoff())
            done.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            yield self
            self.intake.stop()
            with anyio.fail_after(DEADLINE_S):
                await done.wait()

    def rows(self):
        """All rows in the file, chain verified."""
        reader = JournalReader(self.directory, self.journal.epoch)
        rows = reader.rows(
            self.journal.first_sequence,
            max(self.journal.last_sequence, 1),
            bytes_max=10**9,
            rows_max=10**6,
        )
        reader.close()
        return rows

    def values(self):
        """All Doubles stored, in order of rows."""
        return [v for row in self.rows() for v in row.batch().columns[0].value.tolist()]

    def ledger(self):
        reader = JournalReader(self.directory, self.journal.epoch)
        losses = reader.losses(0, 10_000)
        reader.close()
        return losses

    def snapshot(self):
        reader = JournalReader(self.directory, self.journal.epoch)
        found = reader.snapshot()
        reader.close()
        return found

    def outlet(self, cursor=None, *, rate=1e9, name="hub"):
        """An outlet that hears of every commit; its confirmations go to the intake."""
        reader = JournalReader(self.directory, self.journal.epoch)
        side = JournalSide(
            reader=reader,
            reading=anyio.CapacityLimiter(1),
            epoch=self.journal.epoch,
            clock=self.clock,
            confirmed=self.intake.confirm,
            lose=self.intake.lose,
        )
        head = (self.journal.last_sequence, self.clock.wall_us())
        outlet = JournalOutlet(name, cursor or Cursor(), head, side, rate)
        self.intake.listeners.append(outlet.committed)
        self.cursors[name] = outlet.lanes.confirmed
        outlet.close = reader.close
        return outlet

    def close(self):
        self.journal.close()


def backoff():
    return Backoff(Random(1), first_s=0.001, max_s=0.002)  # noqa: S311 - repeatable
