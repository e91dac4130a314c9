"""Who we are to the server: anonymous, user and password, or a user certificate.

asyncua takes the first token policy of the wanted kind, and sends a password in clear when that
policy is None and the channel does not encrypt. So the token policies are sifted here before it
sees them: only those under which the secret stays one are left. Source: OPC 10000-4, 7.41.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio.to_thread
from asyncua import Client, ua
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from contract.config_opcua import SecurityConfig
from contract.config_security import Login
from gateway.errors import SourceError
from gateway.sources.opcua.policies import BY_URI, POLICIES, policy_text

FILE_BYTES_MAX = 100_000


async def set_login(client: Client, login: Login) -> None:
    """Give the client its user. Raises SourceError when the user's files cannot be used."""
    if login.username is not None:
        client.set_user(login.username)
        client.set_password(login.password or "")
    if login.user_certificate_file is not None and login.user_key_file is not None:
        certificate, key = await anyio.to_thread.run_sync(
            _read_pair, Path(login.user_certificate_file), Path(login.user_key_file)
        )
        client.user_certificate, client.user_private_key = certificate, key


def _read_pair(
    certificate_path: Path, key_path: Path
) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    content = _read(certificate_path, "user_certificate_file")
    try:
        pem = b"-----BEGIN" in content
        load = x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate
        certificate = load(content)
    except ValueError as error:
        raise _unusable("user_certificate_file", certificate_path, "is no certificate") from error
    content = _read(key_path, "user_key_file")
    try:
        pem = b"-----BEGIN" in content
        key = (
            serialization.load_pem_private_key(content, None)
            if pem
            else serialization.load_der_private_key(content, None)
        )
    except (ValueError, TypeError) as error:
        why = "is no private key, or is encrypted"
        raise _unusable("user_key_file", key_path, why) from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.public_key() != certificate.public_key():
        raise _unusable("user_key_file", key_path, "does not belong to the user certificate")
    return certificate, key


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise _unusable(what, path, f"cannot be read: {error.strerror}") from error


def _unusable(what: str, path: Path, why: str) -> SourceError:
    return SourceError(
        f"{what} {path} {why}",
        reason_code="BadIdentityTokenInvalid",
        remedy="name a PEM or DER file that the gateway's user can read",
    )


def wanted_token(login: Login) -> ua.UserTokenType:
    """Return the kind of token that a login needs."""
    if login.user_certificate_file is not None:
        return ua.UserTokenType.Certificate
    if login.username is not None:
        return ua.UserTokenType.UserName
    return ua.UserTokenType.Anonymous


def safe_tokens(
    offered: Sequence[ua.UserTokenPolicy] | None, login: Login, security: SecurityConfig
) -> list[ua.UserTokenPolicy]:
    """Return the token policies that may be used for a login, the strongest first.

    Raises:
        SourceError: the server offers none of the kind, or only such as would give the secret away.
    """
    kind = wanted_token(login)
    of_kind = [policy for policy in offered or () if policy.TokenType == kind]
    if not of_kind:
        kinds = sorted({policy.TokenType.name for policy in offered or ()}) or ["nothing"]
        raise SourceError(
            f"the server takes no login of the kind {kind.name} here; it takes {', '.join(kinds)}",
            reason_code="BadIdentityTokenRejected",
            remedy="choose one of these logins, or enable this one on the server",
        )
    usable = [policy for policy in of_kind if _keeps_secret(policy, login, security)]
    if not usable:
        uris = sorted({policy_text(_uri_of(policy, security)) for policy in of_kind})
        raise SourceError(
            f"the server wants the password under {', '.join(uris)}, which does not protect it",
            reason_code="BadIdentityTokenRejected",
            remedy="use mode SignAndEncrypt, or a user token policy with encryption on the server",
        )
    return sorted(usable, key=lambda policy: -_strength(policy, security))


def _uri_of(policy: ua.UserTokenPolicy, security: SecurityConfig) -> str:
    return policy.SecurityPolicyUri or POLICIES[security.policy].uri


def _strength(policy: ua.UserTokenPolicy, security: SecurityConfig) -> int:
    known = BY_URI.get(_uri_of(policy, security))
    return known.strength if known is not None else -1


def _keeps_secret(policy: ua.UserTokenPolicy, login: Login, security: SecurityConfig) -> bool:
    """Tell whether the secret of a login stays one under a token policy."""
    if policy.TokenType == ua.UserTokenType.Anonymous:
        return True
    known = BY_URI.get(_uri_of(policy, security))
    if known is None:
        return False
    if policy.TokenType == ua.UserTokenType.UserName and not login.password:
        return True
    if known.name == "None":
        # the channel alone protects it then; a user certificate needs a signature of its own
        return security.mode == "SignAndEncrypt" and login.username is not None
    return not known.is_insecure or security.allow_insecure
