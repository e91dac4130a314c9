"""Both Overviews on the real programs, as ``factoryplus demo`` starts them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]

SHOTS = Path("/tmp/shots")  # noqa: S108 - pictures for people, kept after the run


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Iterator[dict[str, tuple[str, str]]]:
    """Run the demo; give address and one-time code of hub and gateway."""
    directory = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "factoryplus", "demo", "--dir", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        found: dict[str, tuple[str, str]] = {}
        assert process.stdout is not None
        for line in process.stdout:
            told = re.match(r"(hub|gateway)\s+(\S+)\s+first sign-in with code (\S+)", line)
            if told:
                found[told.group(1)] = (told.group(2), told.group(3))
            if line.startswith("data flows"):
                break
        try:
            assert set(found) == {"hub", "gateway"}, "the demo did not start"
            yield found
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@pytest.fixture
def claimed_page(browser: Browser, demo, request) -> Iterator[Page]:
    """Claim one of the programs with its one-time code, as its first user."""
    url, code = demo[request.param]
    context = browser.new_context(
        ignore_https_errors=True, viewport={"width": 1280, "height": 900}, locale="en-GB"
    )
    context.set_default_timeout(20_000)
    page = context.new_page()
    faults: list[str] = []
    # before the claim, the page asks who is signed in and is told: nobody
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on(
        "request",
        lambda r: faults.append(r.url) if not re.match(r"(https?|wss?)://127", r.url) else 0,
    )
    page.goto(url)
    page.get_by_label("One-time code").fill(code)
    page.get_by_label("Name", exact=True).fill("engineer")
    page.get_by_label("New password").fill("four gates in the rain")
    page.get_by_role("button", name="Claim and sign in").click()
    yield page
    context.close()
    assert [fault for fault in faults if not re.search("401|403", fault)] == []


@pytest.mark.parametrize("claimed_page", ["gateway"], indirect=True)
def test_the_gateways_page_shows_live_values_and_a_green_way(claimed_page: Page, axe):
    page = claimed_page
    row = page.get_by_role("row", name="Press/Temperature").first
    expect(row).to_contain_text("Good")
    for name in ("Source", "Buffer", "Broker", "Hub"):
        expect(page.get_by_role("button", name=re.compile(name)).first).to_contain_text("OK")
    before = row.inner_text()
    expect(row).not_to_have_text(before, timeout=15_000)
    row.click()
    expect(page.locator(".uplot").first).to_be_visible()
    expect(page.get_by_text("No loss recorded")).to_be_visible()
    assert axe(page) == []
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / "real-gateway.png", full_page=True)


@pytest.mark.parametrize("claimed_page", ["hub"], indirect=True)
def test_the_hubs_page_shows_the_gateway_complete_and_its_trend(claimed_page: Page, axe):
    page = claimed_page
    gateway = page.get_by_role("grid", name="Gateways").get_by_role("row", name="demo")
    expect(gateway).to_contain_text("OK")
    expect(gateway).to_contain_text("0 holes")
    page.get_by_role("row", name="Press/Temperature").first.click()
    expect(page.locator(".uplot").first).to_be_visible()
    expect(page.get_by_text("Everything is here")).to_be_visible()
    assert axe(page) == []
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / "real-hub.png", full_page=True)
