import anyio
import pytest

from gateway.auth.passwords import WAITING_MAX, PasswordHashes, check_password, clean_name
from gateway.auth.refusals import BadNameError, TooManyAttemptsError, WeakPasswordError

GOOD = "copper lathe under rain"


@pytest.mark.parametrize(
    "password",
    [
        GOOD,
        "Blaue-Tasse-7-Regen",
        "zwölf Äpfel im Korb",
        "x7#Qp!vR2m@Lz9",
        "dragon football monkey",
    ],
)
def test_a_password_of_one_s_own_is_good(password):
    check_password(password, "ada")


@pytest.mark.parametrize(
    "password",
    [
        "",
        "eleven char",
        "aaaaaaaaaaaaaaaa",
        "abababababababab",
        "abc123abc123abc123",
        "123456789012",
        "012345678901234",
        "abcdefghijklmnop",
        "987654321098",
        "Password2026!",
        "P4ssw0rd!2026",
        "passwordpassword",
        "correct horse battery staple",
        "Administrator1",
        "qwertyuiopasdf",
        "Manchester-2026",
        "factoryplus1234",
        "x" * 300,
    ],
)
def test_what_is_tried_first_is_refused(password):
    with pytest.raises(WeakPasswordError):
        check_password(password, "ada")


def test_a_password_made_of_the_name_is_refused():
    with pytest.raises(WeakPasswordError):
        check_password("margaret.hamilton1", "Margaret.Hamilton")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 65, "\u202egnp", "a\x00"])
def test_a_name_without_visible_characters_is_refused(name):
    with pytest.raises(BadNameError):
        clean_name(name)


def test_a_name_is_stored_without_outer_spaces():
    assert clean_name("  Ada  ") == "Ada"


async def test_a_hash_is_argon2id_and_knows_its_password_only():
    hashes = PasswordHashes()
    encoded = await hashes.make(GOOD)
    assert encoded.startswith("$argon2id$")
    assert GOOD not in encoded
    assert await hashes.verify(encoded, GOOD)
    assert not await hashes.verify(encoded, GOOD + " ")
    assert not await hashes.verify(None, GOOD)
    assert not await hashes.verify("not a hash", GOOD)


async def test_one_password_written_in_two_forms_of_unicode_is_one():
    hashes = PasswordHashes()
    assert await hashes.verify(await hashes.make("zw\u00f6lf Aepfel"), "zwo\u0308lf Aepfel")


async def test_more_waiting_sign_ins_than_allowed_are_refused_at_once():
    hashes = PasswordHashes()
    refused = []

    async def one():
        try:
            await hashes.verify("$argon2id$bad", GOOD)
        except TooManyAttemptsError:
            refused.append(1)

    async with anyio.create_task_group() as tasks:
        for _ in range(WAITING_MAX + 5):
            tasks.start_soon(one)
    assert len(refused) == 5
    assert hashes._waiting_count == 0
