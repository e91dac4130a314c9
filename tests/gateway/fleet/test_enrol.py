import json
import stat

import msgspec
import pytest

from contract.errors import ErrorBody
from gateway.errors import EnrolError
from gateway.fleet.enrol import enrol
from gateway.fleet.membership import load_membership
from runtime.tls import client_context
from tests.gateway.fleet.scripted_hub import DAY, Authority, scripted_hub
from tests.gateway.manual_clock import ManualClock


@pytest.fixture
async def hub(tmp_path):
    (tmp_path / "hub-side").mkdir()
    async with scripted_hub(tmp_path / "hub-side") as served:
        yield served


@pytest.fixture
def data_dir(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


async def refusal(hub, data_dir, code=None, **more):
    """Enrol, expect a refusal that leaves nothing behind, and return it."""
    with pytest.raises(EnrolError) as caught:
        await enrol(code or hub.code(), data_dir, "press-shop-1", clock=ManualClock(), **more)
    assert load_membership(data_dir) is None
    assert list(data_dir.iterdir()) == []
    return caught.value


async def test_enrolment_gives_a_membership_that_is_stored_and_usable(hub, data_dir):
    made = await enrol(hub.code(), data_dir, "press-shop-1", "Sheffield", clock=ManualClock())
    assert made == load_membership(data_dir)
    assert made.gateway_id == "gw-7"
    assert made.uplink_url == hub.url
    assert made.ca_pem == hub.authority.pem
    assert made.record.site == "Sheffield"
    client_context(made.ca_pem, made.certificate_path, made.key_path)


async def test_the_hub_gets_token_and_csr_and_never_the_key(hub, data_dir):
    made = await enrol(hub.code(), data_dir, "press-shop-1", "Sheffield", clock=ManualClock())
    (line, request) = hub.requests[0]
    assert line == "POST /api/uplink/enrol HTTP/1.1"
    assert (request.token, request.name, request.site) == (
        "token-of-the-test",
        "press-shop-1",
        "Sheffield",
    )
    assert request.csr_pem.startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert "PRIVATE" in made.key_path.read_text()
    assert "PRIVATE" not in repr(request)


async def test_what_is_stored_is_readable_by_its_owner_only(hub, data_dir):
    await enrol(hub.code(), data_dir, "press-shop-1", clock=ManualClock())
    directory = data_dir / "hub"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert modes == dict.fromkeys(
        ("key.pem", "certificate.pem", "ca.pem", "membership.json"), 0o600
    )
    stored = b"".join(path.read_bytes() for path in directory.iterdir())
    assert b"token-of-the-test" not in stored


async def test_a_hub_with_another_ca_gets_no_byte_after_the_handshake(hub, data_dir):
    error = await refusal(hub, data_dir, hub.code(fingerprint=Authority().fingerprint))
    assert error.code == "enrol.wrong_hub"
    assert "nothing was sent" in str(error)
    assert hub.received_bytes == 0


async def test_an_unreachable_hub_says_that_the_code_stays_good(hub, data_dir, free_tcp_port):
    error = await refusal(hub, data_dir, hub.code(url=f"https://127.0.0.1:{free_tcp_port}"))
    assert (error.code, error.retryable) == ("enrol.unreachable", True)
    assert "the code stays good" in str(error)


@pytest.mark.parametrize("code", ["", "hello", "fpe1.abc.123456"])
async def test_a_text_that_is_no_code_says_so(hub, data_dir, code):
    error = await refusal(hub, data_dir, code or " ")
    assert error.code == "enrol.code_unreadable"


async def test_a_used_or_expired_code_is_told_in_the_hub_s_words(hub, data_dir):
    told = ErrorBody(
        code="fleet.enrolment_refused", message="this code was used\x1b[31m", remedy=""
    )
    hub.answer = lambda _request: (403, msgspec.json.encode(told))
    error = await refusal(hub, data_dir)
    assert error.code == "fleet.enrolment_refused"
    assert "this code was used?[31m" in str(error)
    assert "ask the hub's administrator for a new code" in str(error)


async def test_something_that_is_no_hub_is_told_from_one(hub, data_dir):
    hub.answer = lambda _request: (404, b"<html>not here</html>")
    assert "is that the address of a hub?" in str(await refusal(hub, data_dir))
    hub.answer = lambda _request: (200, b"{}")
    assert (await refusal(hub, data_dir)).code == "enrol.bad_answer"
    hub.answer = lambda _request: (200, b" " * 200_000)
    assert (await refusal(hub, data_dir)).code == "enrol.bad_answer"


async def test_an_answer_that_is_not_for_us_is_not_believed(hub, data_dir):
    other = Authority()
    wrong = {
        "issued by the hub's CA": lambda r: {"certificate_pem": other.issue(r.csr_pem, "gw-7")},
        "another CA": lambda _r: {"ca_pem": other.pem},
        "another gateway": lambda _r: {"gateway_id": "gw-8"},
        "not https": lambda _r: {"uplink_url": "http://127.0.0.1"},
        "no certificate": lambda _r: {"certificate_pem": "junk"},
        "another key": lambda _r: {"certificate_pem": hub.authority.pem},
    }
    for words, changes in wrong.items():
        hub.answer = lambda r, changes=changes: (201, hub.good_answer(r, **changes(r)))
        error = await refusal(hub, data_dir)
        assert error.code == "enrol.bad_answer"
        assert words in str(error)


@pytest.mark.parametrize(
    "dates", [{"begins": DAY, "ends": DAY * 2}, {"begins": -DAY * 3, "ends": -DAY}]
)
async def test_a_certificate_out_of_date_points_at_the_clock(hub, data_dir, dates):
    hub.answer = lambda r: (
        201,
        hub.good_answer(r, certificate_pem=hub.authority.issue(r.csr_pem, "gw-7", **dates)),
    )
    error = await refusal(hub, data_dir)
    assert error.code == "enrol.clock_wrong"


async def test_a_refused_second_enrolment_leaves_the_first_membership(hub, data_dir):
    first = await enrol(hub.code(), data_dir, "press-shop-1", clock=ManualClock())
    hub.answer = lambda _request: (403, json.dumps({"code": "x", "message": "y"}).encode())
    with pytest.raises(EnrolError):
        await enrol(hub.code(), data_dir, "press-shop-1", clock=ManualClock())
    assert load_membership(data_dir) == first
