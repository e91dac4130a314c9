"""Errors that cross a wire, and the tree of the contract's own.

ContractError
├── AclError          a broker's access list would not say what is meant
├── BatchError        a payload is not a sample batch, or breaks a limit
├── ConfigError       a configuration document has faults; carries all of them
└── CodeError         an enrolment code cannot be read
"""

from __future__ import annotations

import msgspec


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with an input, for a person to mend.

    Attributes:
        code: stable, documented, shown in the UI: ``config.unknown_key``.
        path: where, as ``sources[0].tags[3].node``; empty for the whole.
        message: what is wrong, in one sentence.
        remedy: what to do about it.
    """

    code: str
    path: str
    message: str
    remedy: str = ""


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every HTTP answer that refuses: no stack, path or SQL in it."""

    code: str
    message: str
    remedy: str = ""
    faults: list[Fault] = []


class ContractError(Exception):
    """Raised when something that came over a boundary breaks its contract."""

    code = "contract.broken"


class AclError(ContractError):
    """Raised when an access list would not say what is meant; names identity, cause and remedy."""

    code = "broker_acl.refused"


class BatchError(ContractError):
    """Raised when bytes are not a sample batch or break one of its limits."""

    code = "batch.malformed"


class ConfigError(ContractError):
    """Raised when a configuration document has faults."""

    code = "config.invalid"

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{f.path}: {f.message}" for f in faults))
        self.faults = faults


class CodeError(ContractError):
    """Raised when an enrolment code is not one of ours or is damaged."""

    code = "enrol.code_unreadable"
