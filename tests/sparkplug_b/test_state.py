import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkplug_b import HostState, PrimaryHost, parse_state


def test_a_state_is_read():
    assert parse_state(b'{"online": true, "timestamp": 5}') == HostState(online=True, timestamp=5)
    assert parse_state(b'{"timestamp":0,"online":false,"x":1}') == HostState(
        online=False, timestamp=0
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ONLINE",
        b"OFFLINE",
        b"null",
        b"[]",
        b"{}",
        b'{"online": true}',
        b'{"timestamp": 5}',
        b'{"online": 1, "timestamp": 5}',
        b'{"online": "true", "timestamp": 5}',
        b'{"online": true, "timestamp": "5"}',
        b'{"online": true, "timestamp": 5.0}',
        b'{"online": true, "timestamp": -1}',
        b'{"online": true, "timestamp": 99999999999999999999999}',
        b'{"online": true, "timestamp": true}',
        b'{"online": true, "timestamp": 5',
        b"\xff\xfe",
        b"[" * 4000,
        b'{"online": true, "timestamp": 5}' + b" " * 5000,
    ],
)
def test_anything_else_is_no_state(body):
    assert parse_state(body) is None


@given(st.binary(max_size=100))
def test_no_bytes_raise(body):
    assert parse_state(body) is None or isinstance(parse_state(body), HostState)


def state(online, timestamp):
    return HostState(online=online, timestamp=timestamp)


def test_the_first_state_counts_always():
    host = PrimaryHost("H")
    assert not host.is_online
    assert host.accept(state(True, 5))
    assert host.is_online


def test_an_older_state_is_not_believed_and_an_equal_one_is():
    host = PrimaryHost("H")
    host.accept(state(True, 10))
    assert not host.accept(state(False, 9))
    assert host.is_online
    assert host.accept(state(False, 10))
    assert not host.is_online
    assert not host.accept(state(True, 9))
    assert not host.is_online
    assert host.accept(state(True, 11))
    assert host.is_online


def test_the_memory_survives_the_reconnect():
    host = PrimaryHost("H")
    host.accept(state(True, 10))
    host.forget_online()
    assert not host.is_online
    assert not host.accept(state(True, 9))
    assert not host.is_online
    assert host.accept(state(True, 10))
    assert host.is_online
