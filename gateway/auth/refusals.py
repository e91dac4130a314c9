"""Why a claim or a sign-in is refused.

AuthRefusedError
├── WrongCodeError         the setup code is not the one that was printed
├── AlreadyClaimedError    the box has an owner; a second claim is refused
├── WrongCredentialsError  no such name, or not its password: never says which
├── WeakPasswordError      too short, too common, or like the name
├── BadNameError           the name cannot be a user's name
└── TooManyAttemptsError   back-off; carries the seconds to wait
"""

from __future__ import annotations

from typing import ClassVar

from gateway.errors import GatewayError


class AuthRefusedError(GatewayError):
    """Raised when a claim or sign-in is refused; ``remedy`` says what to do."""

    code = "auth.refused"
    remedy: ClassVar[str] = ""


class WrongCodeError(AuthRefusedError):
    """Raised when the setup code is not the one that was printed."""

    code = "auth.wrong_code"
    remedy = "read it again where the gateway was started; make a new one with setup-code"


class AlreadyClaimedError(AuthRefusedError):
    """Raised when somebody has claimed the box before."""

    code = "auth.already_claimed"
    remedy = "sign in, or ask the person who claimed it"


class WrongCredentialsError(AuthRefusedError):
    """Raised when name or password is wrong; never says which."""

    code = "auth.wrong_credentials"
    remedy = "check name, password and caps lock"


class WeakPasswordError(AuthRefusedError):
    """Raised when a password is too short, too common, or like the name."""

    code = "auth.weak_password"
    remedy = "take a sentence, or four words that do not belong together"


class BadNameError(AuthRefusedError):
    """Raised when a text cannot be a user's name."""

    code = "auth.bad_name"
    remedy = "use 1 to 64 visible characters"


class TooManyAttemptsError(AuthRefusedError):
    """Raised when attempts come faster than the back-off allows."""

    code = "auth.too_many_attempts"
    remedy = "wait and try again"

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many attempts: wait {wait_s:.0f} s")
        self.wait_s = wait_s
