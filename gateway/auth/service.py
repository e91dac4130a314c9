"""Who may use this box: claim it once, sign in, stay signed in, sign out.

Promises: no default password; a setup code of ``SETUP_CODE_BITS`` random bits works once; a new
session id at each sign-in, never one that a client proposed; a session ends after
``AuthLimits.idle_s`` without use and ``absolute_s`` at the latest, survives a restart, and is
looked up for each request, so that an ended one stops at once.

All statements run in one worker thread, one at a time; hashes in another.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec

from gateway.auth.passwords import PasswordHashes, check_password, clean_name
from gateway.auth.refusals import (
    AlreadyClaimedError,
    BadNameError,
    WrongCodeError,
    WrongCredentialsError,
)
from gateway.auth.tables import AuthTables
from gateway.auth.throttle import Throttle
from runtime.clock import Clock

DATABASE_NAME = "gateway.db"
SETUP_CODE_BITS = 80
TOKEN_BYTES = 32
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # 32 signs; no I, O, 0, 1
_FUTURE_US_MAX = 300_000_000
"""A session from further in the future than this was made under a wrong clock: it ends."""
_CLAIM_USER = "(setup)"

T = TypeVar("T")


class AuthLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long sessions last and how many a user may have."""

    idle_s: float = 2 * 3600
    absolute_s: float = 12 * 3600
    touch_interval_s: float = 60
    sessions_per_user_max: int = 20


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh session; ``token`` is a secret for the cookie alone."""

    name: str
    token: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session that is good now."""

    name: str


class Auth:
    """Local sign-in over ``gateway.db``; ``open`` before use, ``close`` at the end."""

    def __init__(self, path: Path, clock: Clock, limits: AuthLimits | None = None) -> None:
        self._path = path
        self._clock = clock
        self._limits = limits or AuthLimits()
        self._throttle = Throttle(clock)
        self._hashes = PasswordHashes()
        self._one_thread = anyio.CapacityLimiter(1)
        self._opened: AuthTables | None = None
        self._claimed = False

    def open(self) -> None:
        """Open or create the database; blocking, for the start of the process.

        Raises:
            sqlite3.DatabaseError: the file is damaged or from a newer program.
        """
        self._opened = AuthTables(self._path)
        self._claimed = self._opened.claimed()

    def close(self) -> None:
        """Close the database; blocking."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def limits(self) -> AuthLimits:
        """How long sessions last."""
        return self._limits

    def ensure_setup_code(self) -> str | None:
        """Make the one-time setup code at the first start; blocking.

        Returns:
            The code, to be printed once; None when it was made before or the box is claimed.
        """
        return None if self._tables.has_setup_code() else self.renew_setup_code()

    def renew_setup_code(self) -> str | None:
        """Make another setup code, which replaces the one that was lost; None when claimed."""
        if self._tables.claimed():
            return None
        signs = [secrets.choice(_ALPHABET) for _ in range(SETUP_CODE_BITS // 5)]
        code = "-".join("".join(signs[i : i + 4]) for i in range(0, len(signs), 4))
        self._tables.put_setup_code(_code_hash(code), self._clock.wall_us())
        return code

    async def claimed(self) -> bool:
        """Say whether somebody owns the box; once true, it costs nothing."""
        if not self._claimed:
            self._claimed = await self._in_thread(self._tables.claimed)
        return self._claimed

    async def claim(self, code: str, name: str, password: str, address: str) -> SignedIn:
        """Use the setup code: make the first user and sign in.

        Raises:
            AlreadyClaimedError: somebody did before.
            WrongCodeError: it is not the code.
            WeakPasswordError: too short or too common; the code stays good.
            BadNameError: the name cannot be one.
            TooManyAttemptsError: back-off.
        """
        if await self.claimed():
            raise AlreadyClaimedError("this gateway has been claimed")
        self._throttle.begin(address, _CLAIM_USER)
        given = _code_hash(code)
        wanted = await self._in_thread(self._tables.setup_code_hash)
        if wanted is None or not hmac.compare_digest(given, wanted):
            raise WrongCodeError("this is not the setup code")
        user = clean_name(name)
        check_password(password, user)
        encoded = await self._hashes.make(password)
        now_us = self._clock.wall_us()
        if not await self._in_thread(self._tables.claim, given, user, encoded, now_us):
            raise AlreadyClaimedError("this gateway has been claimed")
        self._throttle.succeed(address, _CLAIM_USER)
        return await self._begin_session(user, address)

    async def sign_in(self, name: str, password: str, address: str) -> SignedIn:
        """Check name and password, and begin a session.

        Raises:
            WrongCredentialsError: one of them is wrong.
            TooManyAttemptsError: back-off.
        """
        try:
            cleaned = clean_name(name)
        except BadNameError:
            cleaned = ""
        self._throttle.begin(address, cleaned.casefold())
        user = await self._in_thread(self._tables.user, cleaned)
        encoded = user.password_hash if user is not None else None
        if not await self._hashes.verify(encoded, password) or user is None:
            raise WrongCredentialsError("name or password is wrong")
        self._throttle.succeed(address, cleaned.casefold())
        return await self._begin_session(user.name, address)

    async def session(self, token: str, *, touch: bool = True) -> Session | None:
        """Look a session up; None when it is unknown or over.

        Args:
            token: what the cookie holds; untrusted.
            touch: whether this counts as use by a person.
        """
        token_hash = _token_hash(token)
        found = await self._in_thread(self._tables.session, token_hash)
        if found is None:
            return None
        now_us = self._clock.wall_us()
        idle_us = now_us - found.seen_us
        age_us = now_us - found.created_us
        if (
            idle_us > self._limits.idle_s * 1e6
            or age_us > self._limits.absolute_s * 1e6
            or age_us < -_FUTURE_US_MAX
        ):
            await self._in_thread(self._tables.end_session, token_hash)
            return None
        if touch and idle_us > self._limits.touch_interval_s * 1e6:
            await self._in_thread(self._tables.touch_session, token_hash, now_us)
        return Session(name=found.user)

    async def sign_out(self, token: str) -> None:
        """End a session; an unknown one is no fault."""
        await self._in_thread(self._tables.end_session, _token_hash(token))

    async def end_sessions_of(self, name: str) -> None:
        """End all sessions of a user."""
        await self._in_thread(self._tables.end_sessions_of, name)

    async def _begin_session(self, user: str, address: str) -> SignedIn:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        now_us = self._clock.wall_us()
        limits = self._limits
        await self._in_thread(
            self._tables.end_old_sessions,
            now_us - int(limits.absolute_s * 1e6),
            now_us - int(limits.idle_s * 1e6),
        )
        await self._in_thread(
            self._tables.put_session,
            _token_hash(token),
            user,
            address,
            now_us,
            limits.sessions_per_user_max,
        )
        return SignedIn(name=user, token=token)

    @property
    def _tables(self) -> AuthTables:
        assert self._opened is not None, "open() comes first"
        return self._opened

    async def _in_thread(self, work: Callable[..., T], *values: object) -> T:
        return await anyio.to_thread.run_sync(work, *values, limiter=self._one_thread)


def _code_hash(code: str) -> bytes:
    signs = "".join(c for c in code.upper()[:100] if c in _ALPHABET)
    return hashlib.sha256(signs.encode("ascii")).digest()


def _token_hash(token: str) -> bytes:
    return hashlib.sha256(token[:200].encode("utf-8", "replace")).digest()
