"""Claiming the hub, signing in and out, and who a session belongs to.

Sessions are opaque 256-bit ids (R6): new at each sign-in, kept as SHA-256, ended after
``IDLE_END_S`` without use and ``ABSOLUTE_END_S`` in any case. ``seen_us`` is written at most once
in ``TOUCH_INTERVAL_S``, because a page asks often and each write is an fsync.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

import msgspec
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from central.database import Database
from central.errors import CodeRefusedError, SignInRefusedError
from central.identity.attempts import Attempts
from central.identity.passwords import Passwords, check_allowed
from central.identity.tables import ClaimCode, Session, User
from runtime.clock import Clock
from runtime.log import logger

CLAIM_CODE_VALID_S = 24 * 3600
IDLE_END_S = 12 * 3600
ABSOLUTE_END_S = 7 * 24 * 3600
TOUCH_INTERVAL_S = 60
ADMIN_ROLE = "admin"


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who is signed in."""

    id: int
    name: str
    role: str


class People:
    """Rules of claim and sign-in over the tables of this package."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._passwords = Passwords()
        self._attempts = Attempts(clock)

    async def new_claim_code(self) -> str | None:
        """Make the code for the first admin and forget older ones; None once one exists.

        Only the code's hash is kept: 80 random bits need no slow hash.
        """
        code = base64.b32encode(secrets.token_bytes(10)).decode("ascii")
        code = "-".join(code[i : i + 4] for i in range(0, 16, 4))
        now_us = self._clock.wall_us()
        async with self._database.transaction() as session:
            if await session.scalar(select(func.count()).select_from(User)):
                return None
            await session.execute(delete(ClaimCode))
            session.add(
                ClaimCode(
                    code_hash=_hash(_plain(code)),
                    created_us=now_us,
                    expires_us=now_us + CLAIM_CODE_VALID_S * 1_000_000,
                )
            )
        return code

    async def is_claimed(self) -> bool:
        """Say whether there is a user yet."""
        async with self._database.reading() as session:
            return bool(await session.scalar(select(func.count()).select_from(User)))

    async def claim(self, code: str, name: str, password: str, address: str) -> str:
        """Make the first admin with the one-time code and sign in.

        Returns:
            The new session's id.

        Raises:
            TooManyAttemptsError: this address guessed too often.
            PasswordRefusedError: the password is too weak; the code stays good.
            CodeRefusedError: wrong, used or over.
        """
        key = f"claim@{address}"
        self._attempts.check(key, "claim")
        check_allowed(password, name)
        now_us = self._clock.wall_us()
        password_hash = await self._passwords.hash(password)
        async with self._database.transaction() as session:
            used = await session.execute(
                update(ClaimCode)
                .where(
                    ClaimCode.code_hash == _hash(_plain(code)),
                    ClaimCode.used_us.is_(None),
                    ClaimCode.expires_us > now_us,
                )
                .values(used_us=now_us)
            )
            if used.rowcount != 1:  # type: ignore[attr-defined]
                self._attempts.fail(key, "claim")
                raise CodeRefusedError("this one-time code does not work")
            user = User(name=name, password_hash=password_hash, role=ADMIN_ROLE, created_us=now_us)
            session.add(user)
            await session.flush()
            token = self._add_session(session, user.id, now_us)
        self._attempts.succeed(key, "claim")
        logger().info("identity.claimed", user=name)
        return token

    async def sign_in(self, name: str, password: str, address: str) -> str:
        """Check a password and open a session.

        Returns:
            The new session's id.

        Raises:
            TooManyAttemptsError: this user or address has to wait.
            SignInRefusedError: name or password is wrong.
        """
        keys = (f"user:{name.lower()}@{address}", f"address:{address}")
        self._attempts.check(*keys)
        async with self._database.reading() as session:
            user = await session.scalar(
                select(User).where(User.name == name, User.is_disabled.is_(False))
            )
        if not await self._passwords.matches(user.password_hash if user else None, password):
            self._attempts.fail(*keys)
            logger().warning("identity.sign_in_refused", user=name, address=address)
            raise SignInRefusedError("name or password is wrong")
        assert user is not None
        self._attempts.succeed(*keys)
        now_us = self._clock.wall_us()
        async with self._database.transaction() as session:
            await session.execute(
                delete(Session).where(Session.created_us < now_us - ABSOLUTE_END_S * 1_000_000)
            )
            return self._add_session(session, user.id, now_us)

    async def sign_out(self, token: str) -> None:
        """End a session; an unknown one is no error."""
        async with self._database.transaction() as session:
            await session.execute(delete(Session).where(Session.token_hash == _hash(token)))

    async def person_of(self, token: str) -> Person | None:
        """Return who a session belongs to, or None when it is unknown or over."""
        now_us = self._clock.wall_us()
        async with self._database.reading() as session:
            row = (
                await session.execute(
                    select(Session.created_us, Session.seen_us, User.id, User.name, User.role)
                    .join(User, User.id == Session.user_id)
                    .where(Session.token_hash == _hash(token), User.is_disabled.is_(False))
                )
            ).one_or_none()
        if row is None:
            return None
        created_us, seen_us, user_id, name, role = row
        is_over = now_us - created_us > ABSOLUTE_END_S * 1_000_000
        if is_over or now_us - seen_us > IDLE_END_S * 1_000_000:
            return None
        if now_us - seen_us > TOUCH_INTERVAL_S * 1_000_000:
            async with self._database.transaction() as session:
                await session.execute(
                    update(Session).where(Session.token_hash == _hash(token)).values(seen_us=now_us)
                )
        return Person(id=user_id, name=name, role=role)

    def _add_session(self, session: AsyncSession, user_id: int, now_us: int) -> str:
        token = secrets.token_urlsafe(32)
        session.add(
            Session(token_hash=_hash(token), user_id=user_id, created_us=now_us, seen_us=now_us)
        )
        return token


def _plain(code: str) -> str:
    return "".join(c for c in code.upper() if c.isalnum())


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
