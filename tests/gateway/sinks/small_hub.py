"""A small hub over plain HTTP: keeps rows by identity, checks their chain, answers with receipts.

Tests script it: ``refuse`` answers the next uploads, ``keep`` decides what becomes durable.
"""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from contract.batch import chain_hash, decode_batch
from contract.errors import Fault
from contract.upload import SequenceRange, Upload, UploadReceipt, UploadRefusal
from tests.contract.batches import rows_of


class SmallHub:
    """The hub's state; used under its lock."""

    def __init__(self):
        self.lock = threading.Lock()
        self.rows = {}
        self.tags = {}
        self.losses = {}
        self.uploads = []
        self.asked = 0
        self.duplicates = 0
        self.refuse = []
        self.never = set()
        self.lose_answers = 0
        self.needs_tags = True

    def receipt(self, epoch):
        numbers = set(self.rows)
        contiguous = 0
        while contiguous + 1 in numbers:
            contiguous += 1
        highest = max(numbers, default=0)
        missing = []
        for number in range(contiguous + 1, highest + 1):
            if number in numbers:
                continue
            if missing and missing[-1].last == number - 1:
                missing[-1] = SequenceRange(missing[-1].first, number)
            else:
                missing.append(SequenceRange(number, number))
        return UploadReceipt(
            epoch=epoch,
            contiguous_to=contiguous,
            received_to=highest,
            missing=missing[:100],
            tags_known=len(self.tags),
            losses_known=len(self.losses),
        )

    def take(self, upload):
        """Return (status, answer)."""
        self.uploads.append(upload)
        if self.refuse:
            return self.refuse.pop(0)(self, upload)
        previous = upload.previous_hash
        for number, row in enumerate(upload.rows):
            if row.sequence in self.never:
                return 422, _refusal("ingest.row_invalid", f"rows[{number}]")
            assert row.hash == chain_hash(previous, upload.epoch, row.sequence, row.payload)
            previous = row.hash
        self.tags |= {tag.index: tag for tag in upload.tags}
        for row in upload.rows:
            used = {sample[1] for sample in rows_of(decode_batch(row.payload))}
            if self.needs_tags and not used <= set(self.tags):
                refusal = _refusal("ingest.unknown_tags", "rows[0]", self.receipt(upload.epoch))
                return 409, refusal
        for row in upload.rows:
            self.duplicates += row.sequence in self.rows
            self.rows[row.sequence] = row
        self.losses |= {loss.id: loss for loss in upload.losses}
        return 200, self.receipt(upload.epoch)

    def values(self):
        with self.lock:
            rows = [self.rows[n] for n in sorted(self.rows)]
        return [v for row in rows for v in decode_batch(row.payload).columns[0].value.tolist()]


def _refusal(code, path, receipt=None):
    fault = Fault(code=code, path=path, message="scripted")
    return UploadRefusal(code=code, message="scripted", faults=[fault], receipt=receipt)


def refused(status, code="hub.busy", path=""):
    """A scripted refusal."""
    return lambda _hub, _upload: (status, _refusal(code, path))


def lacks_tags(hub, upload):
    """Forget all definitions and say so, as a hub restored from a backup does."""
    hub.tags = {}
    return 409, _refusal("ingest.unknown_tags", "rows[0]", hub.receipt(upload.epoch))


def dropped(hub, upload):
    """Answer 200 with a receipt that does not cover the rows."""
    return 200, hub.receipt(upload.epoch)


@contextlib.contextmanager
def serving(hub):
    """Serve the hub on a free port; give its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            assert self.path.startswith("/api/uplink/state?epoch=")
            with hub.lock:
                hub.asked += 1
                self._answer(200, hub.receipt(self.path.partition("=")[2]))

        def do_POST(self):
            assert self.path == "/api/uplink/batches"
            assert self.headers["content-type"] == "application/msgpack"
            body = self.rfile.read(int(self.headers["content-length"]))
            with hub.lock:
                status, answer = hub.take(msgspec.msgpack.decode(body, type=Upload))
                if hub.lose_answers:
                    hub.lose_answers -= 1
                    self.close_connection = True
                    return
            self._answer(status, answer)

        def _answer(self, status, answer):
            body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
