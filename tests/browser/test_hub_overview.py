"""The hub's Overview: the fleet, what is complete, and the history of any tag."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_each_gateway_shows_state_lag_completeness_and_certificate(hub_url, visit):
    page = visit(hub_url)
    fleet = page.get_by_role("grid", name="Gateways")
    press = fleet.get_by_role("row", name="press-shop-1")
    expect(press).to_contain_text("OK")
    expect(press).to_contain_text("2 rows")
    expect(press).to_contain_text(re.compile(r"\d\d:\d\d:\d\d, 0 holes"))
    expect(press).to_contain_text("70 days")
    expect(fleet.get_by_role("row", name="paint-shop-2")).to_contain_text("4 holes")
    expect(fleet.get_by_role("row", name="warehouse")).to_contain_text("Fault")
    expect(page.locator("[data-total=holes]")).to_have_text("3")


def test_a_chosen_gateway_lists_its_holes_with_reasons_and_its_losses(hub_url, visit):
    page = visit(hub_url)
    page.get_by_role("row", name="paint-shop-2").click()
    complete = page.get_by_role("region", name="Completeness of paint-shop-2")
    expect(complete).to_contain_text("3 holes that nothing explains")
    expect(complete).to_contain_text("rows 41,200 to 41,260")
    expect(complete).to_contain_text("journal full")
    expect(complete.get_by_text("unexplained")).to_have_count(3)
    expect(page.get_by_role("region", name="Loss ledger")).to_contain_text("5,002 samples")
    expect(page).to_have_url(re.compile("gateway=paint-shop-2"))
    expect(page.get_by_text("Incomplete: 3 holes or losses")).to_be_visible()


def test_a_tag_is_found_by_search_and_its_history_drawn_over_each_range(hub_url, visit):
    page = visit(hub_url)
    search = page.get_by_role("searchbox", name="Search tags")
    expect(search).to_be_visible()  # a key pressed before the page listens goes nowhere
    page.keyboard.press("/")
    expect(search).to_be_focused()
    page.keyboard.type("Press007/Temp")
    page.get_by_role("row", name="Press007/Temperature").click()
    history = page.get_by_role("region", name="Press007/Temperature")
    summary = re.compile("Press007/Temperature: between .* °C")
    for name, key in (("5 min", "5m"), ("24 h", "24h"), ("1 h", "1h")):
        history.get_by_role("button", name=name).click()
        expect(history.get_by_role("img")).to_have_attribute("aria-label", summary)
        expect(page).to_have_url(re.compile(f"range={key}"))
    expect(history).to_contain_text("lowest to highest of 6 s")
    history.get_by_role("button", name="View as table").click()
    expect(history.get_by_role("columnheader")).to_have_text(
        ["Time", "Lowest", "Mean °C", "Highest"]
    )


def test_the_url_brings_back_gateway_tag_and_range(hub_url, visit):
    page = visit(hub_url, path="/?gateway=warehouse&tag=8&range=24h")
    expect(page.get_by_role("heading", name="Tags of warehouse")).to_be_visible()
    expect(page.get_by_role("button", name="24 h")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("heading", name="Press003/Temperature")).to_be_visible()


def test_text_values_have_a_word_instead_of_a_line(hub_url, visit):
    page = visit(hub_url, path="/?gateway=warehouse&tag=2&range=1h")
    expect(page.get_by_text("This tag has no number to draw.")).to_be_visible()


def test_no_gateway_says_how_to_enrol_one(hub_url, visit):
    page = visit(hub_url)
    nothing = {
        "now_us": time.time_ns() // 1000,
        "samples_count": 0,
        "samples_per_s": 0.0,
        "waiting_samples_count": 0,
        "gateways": [],
    }
    page.route("**/api/overview", lambda route: route.fulfill(json=nothing))
    page.reload()
    expect(page.get_by_text("No gateways yet.")).to_be_visible()
    expect(page.get_by_text("factoryplus central enrol-code")).to_be_visible()


def test_a_hub_that_dies_greys_the_page(start, visit, watch):
    watch.allow("ERR_")
    program = start("fake_hub.py")
    page = visit(program.url)
    expect(page.locator("[data-total=kept]")).to_be_visible()
    program.process.kill()
    expect(page.locator("main[data-lost=true]")).to_be_visible()  # five seconds: poll.test.ts
    expect(page.get_by_role("alert")).to_contain_text("Not connected to hub")
    expect(page.get_by_role("grid", name="Gateways")).to_contain_text("was OK")
