"""``/api/config``: what runs, without its secrets, and a check of a document that could."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.to_thread
import msgspec
from litestar import Request, get, post

from contract.errors import ConfigError, Fault
from gateway.config.document import parse_config
from gateway.config.store import redacted
from gateway.web.access import CONFIG_CHECK, CONFIG_READ, View
from runtime.http import permit

CHECK_BYTES_MAX = 2_000_000
"""A larger document is checked by ``gateway check``: it would take the data's processor time."""

_one_check = anyio.CapacityLimiter(1)


class ConfigPage(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration that runs; secrets that are set read ``***``."""

    config: dict[str, Any]


class ConfigVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found; ``ok`` when there is no fault."""

    ok: bool
    faults: list[Fault]


@get("/api/config", opt=permit(CONFIG_READ), sync_to_thread=False)
def read_config(view: View) -> ConfigPage:
    """Return the configuration that runs, without secrets."""
    return ConfigPage(config=redacted(view.config()))


@post(
    "/api/config/check",
    opt=permit(CONFIG_CHECK),
    status_code=200,
    request_max_body_size=CHECK_BYTES_MAX,
)
async def check_config(request: Request[Any, Any, Any]) -> ConfigVerdict:
    """Check a whole document (YAML or JSON in the body) and name every fault; nothing is changed.

    The checking thread gives way to others; one document at a time.
    """
    data = await request.body()
    try:
        await anyio.to_thread.run_sync(parse_config, data, limiter=_one_check)
    except ConfigError as error:
        return ConfigVerdict(ok=False, faults=error.faults)
    return ConfigVerdict(ok=True, faults=[])


CONFIG_ROUTES = [read_config, check_config]
