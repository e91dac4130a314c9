"""Which security and login of an OPC UA source go together; used for documents and for checks."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from contract.config_opcua import INSECURE_POLICIES, SecurityConfig
from contract.config_shape import joined
from contract.errors import Fault

PASSWORD_BYTES_MAX = 150
"""With the server's nonce it has to fit one RSA block of 2048 bits (OPC 10000-4, 7.40.2.2)."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Who we are to the server; anonymous when nothing is set."""

    username: str | None = None
    password: str | None = None
    user_certificate_file: str | None = None
    user_key_file: str | None = None


def security_faults(security: SecurityConfig, login: Login, at: str) -> Iterator[Fault]:
    """Find what is insecure without consent, or contradicts itself.

    Args:
        security: the source's.
        login: the source's.
        at: path of the source in the document, ``sources[0]``; "" for a single connection.
    """
    yield from _policy_faults(security, joined(at, "security"))
    unsecured = "None" in {security.policy, security.mode}
    if unsecured and login.password is not None:
        yield Fault(
            code="config.insecure",
            path=joined(at, "password"),
            message="a password is never sent over an unsecured channel (policy None)",
            remedy="choose a security policy, or leave user name and password out",
        )
    if unsecured and login.user_certificate_file is not None:
        yield Fault(
            code="config.insecure",
            path=joined(at, "user_certificate_file"),
            message="a user certificate proves nothing over an unsecured channel (policy None)",
            remedy="choose a security policy, or leave the user certificate out",
        )
    yield from _login_faults(login, at)


def _policy_faults(security: SecurityConfig, path: str) -> Iterator[Fault]:
    if (security.policy == "None") != (security.mode == "None"):
        yield Fault(
            code="config.conflict",
            path=joined(path, "mode"),
            message=f"mode {security.mode} does not go with policy {security.policy}",
            remedy="both have to be None, or neither",
        )
    elif security.policy in INSECURE_POLICIES and not security.allow_insecure:
        why = (
            "policy None sends all values in clear and proves no identity"
            if security.policy == "None"
            else f"policy {security.policy} is deprecated: it rests on SHA-1, which is broken"
        )
        yield Fault(
            code="config.insecure",
            path=joined(path, "policy"),
            message=why,
            remedy="choose Basic256Sha256, or accept it with allow_insecure: true",
        )


def _login_faults(login: Login, at: str) -> Iterator[Fault]:
    if login.password is not None and login.username is None:
        yield Fault(
            code="config.conflict",
            path=joined(at, "password"),
            message="a password is given, but no user name",
            remedy="add username",
        )
    if login.password is not None and len(login.password.encode()) > PASSWORD_BYTES_MAX:
        yield Fault(
            code="config.out_of_range",
            path=joined(at, "password"),
            message=f"the password is longer than {PASSWORD_BYTES_MAX} bytes",
            remedy="OPC UA encrypts it in one block: choose a shorter one",
        )
    if (login.user_certificate_file is None) != (login.user_key_file is None):
        lone, other = ("user_certificate_file", "user_key_file")
        if login.user_certificate_file is None:
            lone, other = other, lone
        yield Fault(
            code="config.conflict",
            path=joined(at, lone),
            message=f"{lone} is given without {other}",
            remedy=f"add {other}: a certificate and its private key log in together",
        )
    if login.user_certificate_file is not None and login.username is not None:
        yield Fault(
            code="config.conflict",
            path=joined(at, "user_certificate_file"),
            message="both a user name and a user certificate are given",
            remedy="leave one of them out: a session has one user",
        )
