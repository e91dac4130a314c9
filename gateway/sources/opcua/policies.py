"""The security policies: their URIs, asyncua's classes, and what keys and hashes they admit.

Source: OPC 10000-7, security policies (key lengths and certificate signatures of each).
"""

from __future__ import annotations

import msgspec
from asyncua import ua
from asyncua.crypto import security_policies as crypto

from contract.config_opcua import INSECURE_POLICIES, PolicyName

_STRONG_HASHES = frozenset({"sha256", "sha384", "sha512"})
_OLD_HASHES = _STRONG_HASHES | {"sha1"}


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One security policy.

    Attributes:
        name: as in the configuration.
        uri: as servers announce it.
        crypto: asyncua's implementation.
        key_bits_min: of RSA keys of the peer and its issuers.
        key_bits_max: likewise.
        hashes: that a certificate may be signed with.
        strength: the higher the better, for sorting offers; 0 protects nothing.
    """

    name: PolicyName
    uri: str
    crypto: type[crypto.SecurityPolicy]
    key_bits_min: int = 2048
    key_bits_max: int = 4096
    hashes: frozenset[str] = _STRONG_HASHES
    strength: int = 0

    @property
    def is_insecure(self) -> bool:
        """It protects nothing, or no longer: only by consent."""
        return self.name in INSECURE_POLICIES


_ALL = (
    Policy(name="None", uri=crypto.SecurityPolicyNone.URI, crypto=crypto.SecurityPolicyNone),
    Policy(
        name="Basic128Rsa15",
        uri=crypto.SecurityPolicyBasic128Rsa15.URI,
        crypto=crypto.SecurityPolicyBasic128Rsa15,
        key_bits_min=1024,
        hashes=_OLD_HASHES,
        strength=1,
    ),
    Policy(
        name="Basic256",
        uri=crypto.SecurityPolicyBasic256.URI,
        crypto=crypto.SecurityPolicyBasic256,
        key_bits_min=1024,
        hashes=_OLD_HASHES,
        strength=2,
    ),
    Policy(
        name="Aes128_Sha256_RsaOaep",
        uri=crypto.SecurityPolicyAes128Sha256RsaOaep.URI,
        crypto=crypto.SecurityPolicyAes128Sha256RsaOaep,
        strength=3,
    ),
    Policy(
        name="Basic256Sha256",
        uri=crypto.SecurityPolicyBasic256Sha256.URI,
        crypto=crypto.SecurityPolicyBasic256Sha256,
        strength=4,
    ),
    Policy(
        name="Aes256_Sha256_RsaPss",
        uri=crypto.SecurityPolicyAes256Sha256RsaPss.URI,
        crypto=crypto.SecurityPolicyAes256Sha256RsaPss,
        strength=5,
    ),
)
POLICIES: dict[str, Policy] = {policy.name: policy for policy in _ALL}
BY_URI: dict[str, Policy] = {policy.uri: policy for policy in _ALL}

MODES = {
    "None": ua.MessageSecurityMode.None_,
    "Sign": ua.MessageSecurityMode.Sign,
    "SignAndEncrypt": ua.MessageSecurityMode.SignAndEncrypt,
}
MODE_NAMES = {mode: name for name, mode in MODES.items()}


def policy_text(uri: str | None) -> str:
    """Return a policy's name for people, the end of its URI where we do not know it."""
    known = BY_URI.get(uri or "")
    return known.name if known is not None else (uri or "").rpartition("#")[2][:60] or "?"
