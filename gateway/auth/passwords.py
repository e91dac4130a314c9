"""Which passwords are good enough, and their Argon2id hashes.

A hash takes about 0.1 s and 32 MiB on purpose, so at most one is made at a time, in a worker
thread, and at most ``WAITING_MAX`` wait for it; more are refused.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import TypeVar

import anyio
import anyio.to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.auth.refusals import BadNameError, TooManyAttemptsError, WeakPasswordError

T = TypeVar("T")

PASSWORD_CHARS_MIN = 12
PASSWORD_CHARS_MAX = 256
NAME_CHARS_MAX = 64
WAITING_MAX = 8
DISTINCT_CHARS_MIN = 5

# Source: RFC 9106 section 4, scaled to a Raspberry Pi: time 4, 32 MiB, one lane
_HASHER = PasswordHasher(time_cost=4, memory_cost=32 * 1024, parallelism=1)
_ENDS = string.digits + string.punctuation + " "
_LEET = str.maketrans("0134578@$!", "oleastbasi")


def clean_name(name: str) -> str:
    """Return a user's name as it is stored.

    Raises:
        BadNameError: empty, too long, or with control or invisible characters.
    """
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(cleaned) <= NAME_CHARS_MAX or not cleaned.isprintable():
        raise BadNameError("this cannot be a user's name")
    return cleaned


def check_password(password: str, name: str) -> None:
    """Refuse what an attacker tries first.

    Raises:
        WeakPasswordError: with what is wrong in one sentence.
    """
    if len(password) < PASSWORD_CHARS_MIN:
        raise WeakPasswordError(f"the password needs at least {PASSWORD_CHARS_MIN} characters")
    if len(password) > PASSWORD_CHARS_MAX:
        raise WeakPasswordError(f"the password has over {PASSWORD_CHARS_MAX} characters")
    folded = password.casefold()
    if len(set(folded)) < DISTINCT_CHARS_MIN or _is_run(folded):
        raise WeakPasswordError("the password repeats or counts up few characters")
    core = re.sub(r"[^a-z]", "", folded.strip(_ENDS).translate(_LEET))
    bare = re.sub(r"[\W\d_]+", "", folded)
    if folded in _common() or core in _common_words() or bare in _common_words():
        raise WeakPasswordError("the password is one of those that are tried first")
    if name.casefold() in folded and len(folded) - len(name) < PASSWORD_CHARS_MIN // 2:
        raise WeakPasswordError("the password is hardly more than the user's name")


def _is_run(text: str) -> bool:
    """Say whether it is one short piece over and over, or characters that count up or down."""
    for size in range(1, len(text) // 2 + 1):
        if (text[:size] * (len(text) // size + 1))[: len(text)] == text and size <= 6:
            return True
    steps = {ord(b) - ord(a) for a, b in pairwise(text)}
    return steps <= {1, -9} or steps <= {-1, 9}


@cache
def _common() -> frozenset[str]:
    return frozenset(_words()) | {w + w for w in _words()}


@cache
def _common_words() -> frozenset[str]:
    """Return the letters of the common ones: ``Password2024!`` is ``password`` too."""
    bare = {re.sub(r"[^a-z]", "", w) for w in _words()}
    single = {w for w in bare if len(w) >= 4}
    return frozenset(single | {w + w for w in single})


@cache
def _words() -> tuple[str, ...]:
    text = resources.files("gateway.auth").joinpath("common_passwords.txt").read_text("utf-8")
    return tuple(w for w in text.casefold().split() if not w.startswith("#"))


class PasswordHashes:
    """Makes and verifies hashes, one at a time, off the event loop."""

    def __init__(self) -> None:
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._waiting_count = 0
        self._decoy = ""

    async def make(self, password: str) -> str:
        """Return the encoded Argon2id hash of a password."""
        return await self._run(_make, password)

    async def verify(self, encoded: str | None, password: str) -> bool:
        """Compare; an unknown user (None) takes as long as a known one."""
        if encoded is None:
            self._decoy = self._decoy or await self._run(_make, "nobody's password")
        same = await self._run(_verify, encoded or self._decoy, password)
        return same and encoded is not None

    async def _run(self, work: Callable[..., T], *texts: str) -> T:
        if self._waiting_count >= WAITING_MAX:
            raise TooManyAttemptsError(2.0)
        self._waiting_count += 1
        try:
            return await anyio.to_thread.run_sync(work, *texts, limiter=self._one_at_a_time)
        finally:
            self._waiting_count -= 1


def _make(password: str) -> str:
    return _HASHER.hash(_normal(password))


def _verify(encoded: str, password: str) -> bool:
    try:
        return _HASHER.verify(encoded, _normal(password[: PASSWORD_CHARS_MAX + 1]))
    except (VerificationError, InvalidHashError):
        return False


def _normal(password: str) -> str:
    return unicodedata.normalize("NFC", password)
