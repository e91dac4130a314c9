"""The uplink against a small real HTTP server: a row is confirmed by a receipt, and only so."""

import contextlib
import sqlite3
import ssl

import anyio
import pytest

from contract.upload import SequenceRange, UploadReceipt
from gateway.errors import SinkError
from gateway.flow import outlet as outlet_module
from gateway.flow.drive import drive_sink
from gateway.flow.ledger import LossNote
from gateway.flow.tags import TagTable
from gateway.flow.view import TagBook
from gateway.journal.cursors import Cursor
from gateway.journal.log import DATABASE_NAME
from gateway.sinks.hub import uplink
from gateway.sinks.hub.uplink import HubAccess, HubSink
from gateway.sources.base import TagSpec
from plant.ports import free_port
from sparkplug_b import DataType
from tests.contract.batches import doubles
from tests.gateway.flow.parts import Middle, backoff
from tests.gateway.sinks.broker_host import until
from tests.gateway.sinks.small_hub import SmallHub, dropped, lacks_tags, refused, serving

CONTEXT = ssl.create_default_context()


class Box:
    """A journal with tags 0 to 2 and an uplink."""

    def __init__(self, directory, cursor=None):
        self.middle = Middle(directory)
        self.tags = TagTable(self.middle.journal.tags())
        self.tags.register("s", [self.spec(n) for n in range(3)])
        self.middle.intake.take_definitions = self.tags.take_unsaved
        self.outlet = self.middle.outlet(cursor)
        self.access = None
        self.changed = False
        self.sink = HubSink(
            lambda: self.access,
            lambda: self.changed,
            TagBook(self.tags, self.middle.last),
            self.middle.clock,
        )

    @staticmethod
    def spec(number):
        return TagSpec(
            name=f"t{number}", device="d", data_type=DataType.DOUBLE, address=f"i={number}"
        )

    def enrol(self, url):
        self.access = HubAccess(url=url, gateway_id="gw", context=CONTEXT)

    async def put(self, *values, tag=0):
        """Commit one row per value."""
        for value in values:
            before = len(self.middle.stored)
            await self.middle.put(value, doubles((tag, float(value))))
            await self.middle.until(lambda wanted=before: len(self.middle.stored) > wanted)

    @property
    def pending(self):
        return self.outlet.lanes.pending_rows


@contextlib.asynccontextmanager
async def running(directory, *, cursor=None, start=True):
    box = Box(directory, cursor)
    try:
        async with box.middle.running(), anyio.create_task_group() as tasks:

            async def drive():
                await drive_sink(box.sink, box.outlet, box.middle.clock, backoff())

            box.start = lambda: tasks.start_soon(drive)
            if start:
                box.start()
            yield box
            tasks.cancel_scope.cancel()
    finally:
        box.outlet.close()
        box.middle.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(uplink, "GATHER_S", 0.0)
    monkeypatch.setattr(uplink, "IDLE_S", 0.05)


@pytest.fixture
def hub():
    return SmallHub()


@pytest.fixture
def url(hub):
    with serving(hub) as url:
        yield url


async def test_rows_with_their_tags_reach_the_hub_and_are_confirmed(tmp_path, hub, url):
    async with running(tmp_path) as box:
        box.enrol(url)
        await box.put(1, 2)
        await until(lambda: len(hub.rows) == 2 and box.pending == 0)
        await box.put(3, tag=1)
        await until(lambda: box.pending == 0)
        assert hub.values() == [1.0, 2.0, 3.0]
        assert [tag.name for tag in hub.tags.values()] == ["t0", "t1", "t2"]
        report = box.sink.report()
        assert (report.state, report.sent, report.target) == ("live", 3, url)
        assert report.last_acknowledged_s is not None
        assert hub.uploads[-1].head_sequence == 3


async def test_definitions_go_along_once(tmp_path, hub, url):
    async with running(tmp_path) as box:
        box.enrol(url)
        await box.put(1)
        await until(lambda: box.pending == 0)
        box.tags.add("s", [box.spec(3)])
        await box.put(2, tag=3)
        await until(lambda: box.pending == 0)
        sent = [tag.index for upload in hub.uploads for tag in upload.tags]
        assert sent == [0, 1, 2, 3]


async def test_a_box_that_is_not_enrolled_keeps_its_rows_and_sends_them_once_it_is(
    tmp_path, hub, url
):
    async with running(tmp_path) as box:
        await box.put(1)
        await until(lambda: box.sink.report().state == "off")
        assert "not enrolled" in box.sink.report().reason
        assert box.pending == 1
        box.enrol(url)
        await until(lambda: box.pending == 0)
        assert hub.values() == [1.0]


async def test_an_answer_that_got_lost_costs_a_repetition_not_a_row(tmp_path, hub, url):
    hub.lose_answers = 2
    async with running(tmp_path) as box:
        box.enrol(url)
        await box.put(1, 2, 3)
        await until(lambda: box.pending == 0)
        await until(lambda: hub.values() == [1.0, 2.0, 3.0])


async def test_a_hub_that_is_down_is_waited_for(tmp_path, hub):
    async with running(tmp_path) as box:
        box.enrol(f"http://127.0.0.1:{free_port()}")
        await box.put(1)
        await until(lambda: box.sink.report().state == "waiting")
        assert "cannot be reached" in box.sink.report().reason
        assert box.pending == 1
        with serving(hub) as url:
            box.enrol(url)
            await until(lambda: box.pending == 0)


async def test_a_hub_that_never_answers_is_given_up(tmp_path, hub, url, monkeypatch):
    monkeypatch.setattr(uplink, "TIMEOUT_S", 0.2)
    async with running(tmp_path) as box:
        with hub.lock:
            box.enrol(url)
            await box.put(1)
            await until(lambda: "did not answer" in box.sink.report().reason)
        await until(lambda: box.pending == 0)


async def test_a_hub_that_forgot_the_tags_gets_them_again(tmp_path, hub, url):
    async with running(tmp_path) as box:
        box.enrol(url)
        await box.put(1)
        await until(lambda: box.pending == 0)
        hub.refuse = [lacks_tags]
        await box.put(2)
        await until(lambda: box.pending == 0)
        assert len(hub.tags) == 3
        assert hub.values() == [1.0, 2.0]
        assert box.sink.report().connects == 1


async def test_a_hub_that_asks_for_tags_for_ever_ends_the_session_not_the_process(
    tmp_path, hub, url
):
    hub.refuse = [lacks_tags] * 3
    async with running(tmp_path) as box:
        box.enrol(url)
        await box.put(1)
        await until(lambda: box.pending == 0)
        assert box.sink.report().connects == 2


@pytest.mark.parametrize(("status", "code"), [(503, "hub.busy"), (409, "ingest.fork_detected")])
async def test_a_refusal_ends_the_session_and_confirms_nothing(tmp_path, hub, url, status, code):
    hub.refuse = [refused(status, code)] * 10**6
    async with running(tmp_path) as box:
        box.enrol(url)
        await box.put(1)
        await until(lambda: code in box.sink.report().reason)
        assert box.pending == 1
        hub.refuse = []
        await until(lambda: box.pending == 0)


async def test_a_receipt_that_does_not_cover_the_rows_confirms_nothing(tmp_path, hub, url):
    hub.refuse = [dropped] * 10**6
    async with running(tmp_path) as box:
        box.enrol(url)
        await box.put(1)
        await until(lambda: "does not cover" in box.sink.report().reason)
        assert box.pending == 1
        hub.refuse = []
        await until(lambda: box.pending == 0)
        assert hub.values() == [1.0]


async def test_an_answer_that_is_no_receipt_confirms_nothing(tmp_path, hub, url):
    hub.refuse = [lambda _hub, _upload: (200, b"<html>a proxy</html>")] * 10**6
    async with running(tmp_path) as box:
        box.enrol(url)
        await box.put(1)
        await until(lambda: "no receipt" in box.sink.report().reason)
        assert box.pending == 1
        hub.refuse = [lambda _hub, _upload: (502, b"bad gateway")] * 10**6
        await until(lambda: "answered 502" in box.sink.report().reason)
        hub.refuse = []
        await until(lambda: box.pending == 0)


async def test_a_row_that_the_hub_can_never_take_is_given_up_by_name_and_the_others_go(
    tmp_path, hub, url
):
    hub.never = {2}
    async with running(tmp_path, start=False) as box:
        await box.put(1, 2, 3, 4)
        box.enrol(url)
        box.start()
        await until(lambda: box.pending == 0)
        assert sorted(hub.rows) == [1, 3, 4]
        await box.middle.until(lambda: box.middle.journal.last_loss_id == 1)
        (entry,) = box.middle.ledger()
        assert (entry.first_sequence, entry.last_sequence) == (2, 2)
        await until(lambda: len(hub.losses) == 1)


async def test_losses_reach_the_hub_also_when_there_are_no_rows(tmp_path, hub, url):
    async with running(tmp_path) as box:
        box.enrol(url)
        await until(lambda: hub.asked)
        box.middle.intake.lose(LossNote(reason="session_gap", first_time_us=1, last_time_us=2))
        await until(lambda: len(hub.losses) == 1)
        assert hub.losses[1].reason == "session_gap"
        assert hub.rows == {}


async def test_what_the_hub_has_already_is_not_sent_again(tmp_path, hub, url):
    async with running(tmp_path) as box:
        box.enrol(url)
        await box.put(1, 2, 3)
        await until(lambda: box.pending == 0)
    # a gateway that crashed before its cursor was kept
    uploads = len(hub.uploads)
    async with running(tmp_path, cursor=Cursor(0)) as box:
        box.enrol(url)
        await until(lambda: box.pending == 0)
        assert all(not upload.rows for upload in hub.uploads[uploads:])
    assert hub.duplicates == 0


async def test_only_the_holes_of_the_hub_are_filled(tmp_path, hub, url):
    async with running(tmp_path, start=False) as box:
        box.enrol(url)
        await box.put(*range(1, 7))
        box.start()
        await until(lambda: box.pending == 0)
    for number in (2, 5):
        del hub.rows[number]
    before = len(hub.uploads)
    async with running(tmp_path, cursor=Cursor(0)) as box:
        box.enrol(url)
        await until(lambda: box.pending == 0)
    assert [row.sequence for u in hub.uploads[before:] for row in u.rows] == [2, 5]
    assert hub.values() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


async def test_another_membership_is_taken_up(tmp_path, url):
    other = SmallHub()
    with serving(other) as other_url:
        async with running(tmp_path) as box:
            box.enrol(url)
            await box.put(1)
            await until(lambda: box.pending == 0)
            box.enrol(other_url)
            box.changed = True
            await until(lambda: "membership changed" in box.sink.report().reason)
            box.changed = False
            await box.put(2)
            await until(lambda: 2 in other.rows)
            assert box.sink.report().target == other_url


@pytest.mark.parametrize("limit", ["rows", "bytes"])
async def test_uploads_keep_within_their_limits(tmp_path, hub, url, monkeypatch, limit):
    if limit == "rows":
        monkeypatch.setattr(uplink, "ROWS_MAX", 2)
    else:
        monkeypatch.setattr(uplink, "PAYLOADS_BYTES_MAX", 3000)
    async with running(tmp_path, start=False) as box:
        await box.put(*range(7))
        box.enrol(url)
        box.start()
        await until(lambda: box.pending == 0)
    sizes = [len(upload.rows) for upload in hub.uploads if upload.rows]
    assert max(sizes) == 2
    assert sum(sizes) == 7
    assert hub.values() == [float(n) for n in range(7)]


async def test_rows_that_are_dropped_before_they_could_be_sent_do_not_stop_the_uplink(
    tmp_path, hub, url, monkeypatch
):
    monkeypatch.setattr(outlet_module, "BACKLOG_ROWS_PER_PORTION", 2)
    async with running(tmp_path, start=False) as box:
        await box.put(*range(1, 7))
        compose = box.sink._compose

        async def trim_first(outlet, rows):
            if rows and rows[0].sequence == 3:
                box.middle.journal.trim(4)
            return await compose(outlet, rows)

        box.sink._compose = trim_first
        box.enrol(url)
        box.start()
        await until(lambda: box.pending == 0)
        assert sorted(hub.rows) == [1, 2, 5, 6]


async def test_a_damaged_row_is_named_and_the_rest_goes(tmp_path, hub, url):
    async with running(tmp_path, start=False) as box:
        await box.put(1, 2, 3)
        db = sqlite3.connect(tmp_path / DATABASE_NAME)
        db.execute("UPDATE rows SET payload = x'00' WHERE sequence = 2")
        db.commit()
        db.close()
        box.enrol(url)
        box.start()
        await until(lambda: sorted(hub.rows) == [1, 3])
        await until(lambda: box.pending == 0)
        await until(lambda: len(hub.losses) == 1)


# -- receipts ---


def receipt(received_to, *missing):
    ranges = [SequenceRange(*hole) for hole in missing]
    contiguous = ranges[0].first - 1 if ranges else received_to
    return UploadReceipt(
        epoch="e", contiguous_to=contiguous, received_to=received_to, missing=ranges
    )


@pytest.mark.parametrize(
    ("given", "held"),
    [
        (receipt(0), []),
        (receipt(7), [(1, 7)]),
        (receipt(9, (3, 4), (6, 6)), [(1, 2), (5, 5), (7, 9)]),
        (receipt(5, (1, 2)), [(3, 5)]),
    ],
)
def test_what_the_hub_holds_is_read_from_its_holes(given, held):
    assert uplink._held(given) == held


def test_beyond_a_full_list_of_holes_nothing_is_believed():
    holes = [(2 * n, 2 * n) for n in range(1, 101)]
    held = uplink._held(receipt(10_000, *holes))
    assert max(last for _, last in held) == 199


async def test_a_full_list_of_holes_confirms_no_row_behind_it(tmp_path):
    box = Box(tmp_path)
    rows = [type("R", (), {"sequence": 900, "samples_count": 1})()]
    holes = [(2 * n, 2 * n) for n in range(1, 101)]
    with pytest.raises(SinkError, match="does not cover"):
        box.sink._accept(receipt(10_000, *holes), box.outlet, rows)
    box.outlet.close()
    box.middle.close()
