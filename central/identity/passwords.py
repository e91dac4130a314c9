"""Passwords: what is allowed, Argon2id hashing in worker threads, few at a time.

A hash takes about 0.1 s and 64 MiB (argon2-cffi's defaults, RFC 9106 low-memory profile), so at
most ``HASHES_AT_ONCE`` run together.
"""

from __future__ import annotations

import anyio
import anyio.to_thread
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from central.errors import PasswordRefusedError

PASSWORD_LENGTH_MIN = 12
PASSWORD_LENGTH_MAX = 256
HASHES_AT_ONCE = 2

_COMMON_TEXT = """
    123456789012 1234567890123 000000000000 111111111111 qwertyuiop123 qwertyuiopas qwertyuiop[]
    password1234 password12345 password123456 passwordpassword administrator administrator1
    adminadminadmin admin1234567 admin12345678 letmeinletmein letmein12345 welcome12345
    welcome123456 iloveyou1234 iloveyouiloveyou changeme1234 changemechangeme factoryplus1
    factoryplus12 factoryplus123 factoryplusfactoryplus abcdefghijkl abcdefghijklm abcd12345678
    abc123abc123 1q2w3e4r5t6y 1qaz2wsx3edc qazwsxedcrfv asdfghjkl123 zxcvbnm12345 monkeymonkey
    dragondragon football1234 baseball1234 superman1234 trustno1trustno1 sunshine1234
    princess1234 master123456 defaultdefault default12345 raspberrypi1 raspberryraspberry
    secretsecret secret123456 supersecret1 correcthorsebatterystaple operator1234 engineer1234
"""
_COMMON = frozenset(_COMMON_TEXT.split())


class Passwords:
    """Hash and verify without blocking the loop."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._limiter = anyio.CapacityLimiter(HASHES_AT_ONCE)
        self._nobody = ""

    async def hash(self, password: str) -> str:
        """Return the Argon2id hash of a password that ``check_allowed`` let pass."""
        return await anyio.to_thread.run_sync(self._hasher.hash, password, limiter=self._limiter)

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Say whether the password is right; an unknown user (None) takes as long to refuse."""
        if password_hash is None:
            self._nobody = self._nobody or await self.hash("nobody has this password")
        target = password_hash if password_hash is not None else self._nobody
        found = await anyio.to_thread.run_sync(
            self._verify, target, password, limiter=self._limiter
        )
        return found and password_hash is not None

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (Argon2Error, InvalidHashError):
            return False


def check_allowed(password: str, user_name: str) -> None:
    """Refuse a weak new password.

    Raises:
        PasswordRefusedError: too short, too long, common, one character over and over, or the
            user's own name.
    """
    if not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX:
        raise PasswordRefusedError(
            f"a password has {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters"
        )
    lower = password.lower()
    is_common = lower in _COMMON or len(set(lower)) < 4
    if is_common or lower.replace(user_name.lower(), "") == "":
        raise PasswordRefusedError("this password is among the first that somebody would try")
