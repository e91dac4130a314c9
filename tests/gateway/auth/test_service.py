import contextlib
import re
import sqlite3
import stat

import anyio
import pytest

from gateway.auth.refusals import (
    AlreadyClaimedError,
    BadNameError,
    TooManyAttemptsError,
    WeakPasswordError,
    WrongCodeError,
    WrongCredentialsError,
)
from gateway.auth.service import Auth, AuthLimits
from tests.gateway.manual_clock import ManualClock

PASSWORD = "copper lathe under rain"
HERE = "10.0.0.1"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gateway.db"


@pytest.fixture
def auth(path, clock):
    opened = Auth(path, clock)
    opened.open()
    yield opened
    opened.close()


async def claimed(auth):
    return await auth.claim(auth.ensure_setup_code(), "Ada", PASSWORD, HERE)


def test_setup_codes_have_eighty_bits_and_never_repeat(auth):
    codes = {auth.renew_setup_code() for _ in range(10_000 // 20)}
    assert len(codes) == 500
    assert all(re.fullmatch(r"([A-HJ-NP-Z2-9]{4}-){3}[A-HJ-NP-Z2-9]{4}", code) for code in codes)


def test_the_setup_code_is_given_once_and_lies_nowhere_in_clear(path, clock):
    first = Auth(path, clock)
    first.open()
    code = first.ensure_setup_code()
    assert code
    assert first.ensure_setup_code() is None
    first.close()
    again = Auth(path, clock)
    again.open()
    assert again.ensure_setup_code() is None
    again.close()
    stored = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert code.encode() not in stored
    assert code.replace("-", "").encode() not in stored


async def test_claiming_makes_the_first_user_and_signs_in(auth):
    assert not await auth.claimed()
    signed_in = await claimed(auth)
    assert await auth.claimed()
    assert (await auth.session(signed_in.token)).name == "Ada"


async def test_a_code_may_be_typed_in_small_letters_and_with_spaces(auth):
    code = auth.ensure_setup_code()
    await auth.claim(f" {code.lower().replace('-', ' ')} ", "Ada", PASSWORD, HERE)


async def test_a_second_claim_is_refused(auth):
    code = auth.ensure_setup_code()
    await auth.claim(code, "Ada", PASSWORD, HERE)
    with pytest.raises(AlreadyClaimedError):
        await auth.claim(code, "Eve", PASSWORD, HERE)
    assert auth.ensure_setup_code() is None
    assert auth.renew_setup_code() is None


async def test_of_two_claims_at_once_one_wins(auth):
    code = auth.ensure_setup_code()
    results = []

    async def one(name):
        try:
            results.append((await auth.claim(code, name, PASSWORD, HERE)).name)
        except AlreadyClaimedError:
            results.append("refused")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, "Ada")
        tasks.start_soon(one, "Eve")
    assert sorted(results) in (["Ada", "refused"], ["Eve", "refused"])


async def test_a_wrong_code_and_a_replaced_code_are_refused(auth):
    first = auth.ensure_setup_code()
    second = auth.renew_setup_code()
    for code in ("", "AAAA-AAAA-AAAA-AAAA", first):
        with pytest.raises(WrongCodeError):
            await auth.claim(code, "Ada", PASSWORD, HERE)
    await auth.claim(second, "Ada", PASSWORD, HERE)


async def test_a_weak_password_or_a_bad_name_leaves_the_code_good(auth):
    code = auth.ensure_setup_code()
    with pytest.raises(WeakPasswordError):
        await auth.claim(code, "Ada", "Password2026!", HERE)
    with pytest.raises(BadNameError):
        await auth.claim(code, "\n", PASSWORD, HERE)
    assert not await auth.claimed()
    await auth.claim(code, "Ada", PASSWORD, HERE)


async def test_codes_cannot_be_guessed_at_speed(auth):
    auth.ensure_setup_code()
    kinds = []
    for _ in range(10):
        with pytest.raises((WrongCodeError, TooManyAttemptsError)) as caught:
            await auth.claim("AAAA", "Ada", PASSWORD, HERE)
        kinds.append(caught.type)
    assert kinds[-1] is TooManyAttemptsError


async def test_sign_in_works_in_any_case_of_the_name_and_refuses_all_else_alike(auth):
    await claimed(auth)
    assert (await auth.sign_in("aDA", PASSWORD, HERE)).name == "Ada"
    texts = set()
    for name, password in (("Ada", "wrong wrong wrong"), ("Eve", PASSWORD), ("\n", PASSWORD)):
        with pytest.raises(WrongCredentialsError) as caught:
            await auth.sign_in(name, password, HERE)
        texts.add(str(caught.value))
    assert len(texts) == 1


async def test_after_many_wrong_passwords_the_right_one_works_once_the_wait_is_over(auth, clock):
    await claimed(auth)
    for _ in range(4):
        with pytest.raises(WrongCredentialsError):
            await auth.sign_in("Ada", "wrong wrong wrong", "10.9.9.9")
    with pytest.raises(TooManyAttemptsError) as caught:
        await auth.sign_in("Ada", PASSWORD, "10.9.9.9")
    clock.pass_s(caught.value.wait_s)
    await auth.sign_in("Ada", PASSWORD, "10.9.9.9")


async def test_each_sign_in_has_a_new_token_of_over_128_bits(auth):
    await claimed(auth)
    tokens = {(await auth.sign_in("Ada", PASSWORD, HERE)).token for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) >= 40 for token in tokens)


async def test_a_session_survives_a_restart_and_its_token_is_not_stored(path, auth):
    token = (await claimed(auth)).token
    auth.close()
    stored = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert token.encode() not in stored
    assert PASSWORD.encode() not in stored
    auth.open()
    assert (await auth.session(token)).name == "Ada"


async def test_a_session_ends_at_sign_out(auth):
    token = (await claimed(auth)).token
    other = (await auth.sign_in("Ada", PASSWORD, HERE)).token
    await auth.sign_out(token)
    assert await auth.session(token) is None
    assert await auth.session(other) is not None
    await auth.end_sessions_of("Ada")
    assert await auth.session(other) is None


@pytest.mark.parametrize("token", ["", "x", "null", "x" * 10_000, "\ud800", "' or 1=1 --"])
async def test_an_unknown_token_is_no_session(auth, token):
    await claimed(auth)
    assert await auth.session(token) is None


async def test_an_unused_session_ends_and_a_used_one_goes_on_to_its_absolute_end(auth, clock):
    token = (await claimed(auth)).token
    limits = auth.limits
    steps = int(limits.absolute_s / (limits.idle_s * 0.9))
    for _ in range(steps):
        clock.pass_s(limits.idle_s * 0.9)
        assert await auth.session(token) is not None
    clock.pass_s(limits.idle_s * 0.9)
    assert await auth.session(token) is None
    idle = (await auth.sign_in("Ada", PASSWORD, HERE)).token
    clock.pass_s(limits.idle_s + 1)
    assert await auth.session(idle) is None
    clock.step_wall_s(-limits.idle_s)
    assert await auth.session(idle) is None


async def test_a_look_without_touch_does_not_keep_a_session_alive(auth, clock):
    token = (await claimed(auth)).token
    for _ in range(3):
        clock.pass_s(auth.limits.idle_s * 0.4)
        alive = await auth.session(token, touch=False)
    assert alive is None


async def test_a_session_made_under_a_clock_far_ahead_ends_when_the_clock_is_set_right(auth, clock):
    token = (await claimed(auth)).token
    clock.step_wall_s(-86400)
    assert await auth.session(token) is None


async def test_a_disabled_user_is_out_at_once(auth, path):
    token = (await claimed(auth)).token
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        other.execute("update users set disabled_us = 1")
    assert await auth.session(token) is None
    with pytest.raises(WrongCredentialsError):
        await auth.sign_in("Ada", PASSWORD, HERE)
    assert await auth.claimed()


async def test_a_user_has_a_bounded_number_of_sessions_the_oldest_end(path, clock):
    auth = Auth(path, clock, AuthLimits(sessions_per_user_max=2))
    auth.open()
    first = (await claimed(auth)).token
    second = (await auth.sign_in("Ada", PASSWORD, HERE)).token
    third = (await auth.sign_in("Ada", PASSWORD, HERE)).token
    assert [await auth.session(t) is not None for t in (first, second, third)] == [
        False,
        True,
        True,
    ]
    auth.close()


@pytest.mark.usefixtures("auth")
def test_the_database_is_readable_by_its_owner_only(path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_database_of_a_newer_program_is_refused(path, auth):
    auth.close()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("pragma user_version = 99")
    with pytest.raises(sqlite3.DatabaseError, match="newer"):
        auth.open()
