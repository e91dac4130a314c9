"""Pages of both programs in Debian's chromium: fakes on free loopback ports, one watcher a test.

Page tests take a base URL (``gateway_url``, ``hub_url``), so that the same tests can run against
the real programs. Each test fails on a console error, a page error, or a request to another origin.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
NAME, PASSWORD = "engineer", "correct horse battery"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 20_000  # a busy machine is no fault of a page
expect.set_options(timeout=PATIENCE_MS)
SIZES = {"desktop": (1280, 800), "panel": (800, 480), "phone": (390, 844)}


@dataclass(frozen=True)
class Program:
    """A fake that runs."""

    url: str
    code: str
    process: subprocess.Popen[str]


@contextmanager
def running(script: str, *arguments: str) -> Iterator[Program]:
    """Start a fake on a free port and end it afterwards."""
    command = [sys.executable, str(HERE / script), *arguments]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            yield Program(f"http://127.0.0.1:{told['port']}", told["code"] or "", process)
        finally:
            process.kill()


def _built(program: str) -> None:
    if not (REPOSITORY / program / "web" / "static" / "index.html").is_file():
        pytest.fail(f"the {program} page is not built: (cd ui && npm ci && npm run build)")


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    return {"executable_path": "/usr/bin/chromium", "args": FLAGS}


@pytest.fixture(scope="session")
def gateway_url() -> Iterator[str]:
    """A gateway with 20,000 tags and everything well, claimed by NAME."""
    _built("gateway")
    with running("fake_gateway.py", "--tags", "20000") as program:
        yield program.url


@pytest.fixture(scope="session")
def trouble_url() -> Iterator[str]:
    """A gateway with a refusing broker, losses, a mismatch and a silent source."""
    _built("gateway")
    with running("fake_gateway.py", "--scene", "trouble") as program:
        yield program.url


@pytest.fixture(scope="session")
def hub_url() -> Iterator[str]:
    """A hub with three gateways, claimed by NAME."""
    _built("central")
    with running("fake_hub.py", "--scene", "normal") as program:
        yield program.url


@pytest.fixture
def start(watch: Watch) -> Iterator[Callable[..., Program]]:
    """Start a fake of one's own: ``start("fake_gateway.py", "--tags", "20000")``."""
    del watch  # asked for so that its verdict comes last
    with ExitStack() as programs:

        def begin(script: str, *arguments: str) -> Program:
            return programs.enter_context(running(script, *arguments))

        yield begin


@dataclass
class Watch:
    """What went wrong in the page without anybody clicking."""

    origin: str = ""
    faults: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def allow(self, pattern: str) -> None:
        """Expect faults that match; a lost server cannot but leave some."""
        self.allowed.append(pattern)

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(f"console {message.type}: {message.text}")

    def on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.netloc != urlsplit(self.origin).netloc:
            self.faults.append(f"off-origin: {request.url}")

    def unexpected(self) -> list[str]:
        return [f for f in self.faults if not any(re.search(p, f) for p in self.allowed)]


class Opener:
    """Opens pages: ``visit(url, size="phone", theme="dark")``; signed in unless said."""

    def __init__(self, browser: Browser, watch: Watch) -> None:
        self._browser = browser
        self._watch = watch
        self._contexts: list[BrowserContext] = []

    def __call__(
        self,
        url: str,
        *,
        path: str = "/",
        size: str = "desktop",
        theme: str = "light",
        signed_in: bool = True,
    ) -> Page:
        width, height = SIZES[size]
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
            has_touch=size != "desktop",
            is_mobile=size == "phone",
            locale="en-GB",
            timezone_id="Europe/London",
        )
        context.set_default_timeout(PATIENCE_MS)
        self._contexts.append(context)
        page = context.new_page()
        self._watch.origin = url
        page.on("console", self._watch.on_console)
        page.on("pageerror", lambda error: self._watch.faults.append(f"page error: {error}"))
        page.on("request", self._watch.on_request)
        if signed_in:
            context.add_cookies(session_cookies(url))
        page.goto(url + path)
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()


_cookies: dict[str, list[Any]] = {}


def session_cookies(url: str) -> list[Any]:
    """Sign in once for each program."""
    if url not in _cookies:
        body = {"name": NAME, "password": PASSWORD}
        answer = httpx.post(f"{url}/api/session", json=body)
        answer.raise_for_status()
        _cookies[url] = [
            {"name": cookie.name, "value": cookie.value or "", "url": url}
            for cookie in answer.cookies.jar
        ]
    return _cookies[url]


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Fail the test when the page complained or asked another origin."""
    watching = Watch()
    yield watching
    assert watching.unexpected() == []


@pytest.fixture
def visit(browser: Browser, watch: Watch, start: Callable[..., Program]) -> Iterator[Opener]:
    del start  # asked for so that pages close before programs end
    opener = Opener(browser, watch)
    yield opener
    opener.close()


@pytest.fixture(scope="session")
def axe_source() -> str:
    return (REPOSITORY / "ui" / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")


@pytest.fixture
def axe(axe_source: str) -> Callable[[Page], list[str]]:
    """Return the WCAG violations of a page, each with its first place.

    Injected by the debugger, which the page's CSP does not concern.
    """
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

    def violations(page: Page) -> list[str]:
        page.evaluate(axe_source)
        found = page.evaluate(
            """async (tags) => (await axe.run(document, {
                runOnly: { type: 'tag', values: tags }, resultTypes: ['violations'],
            })).violations
                .map((v) => `${v.id}: ${v.nodes[0].html} ${v.nodes[0].failureSummary}`)""",
            tags,
        )
        return list(found)

    return violations
