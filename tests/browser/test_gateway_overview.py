"""The gateway's Overview: true figures, live values, and honesty when the gateway is gone."""

from __future__ import annotations

import re
import signal

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def counter(page: Page, key: str) -> int:
    text = page.locator(f"[data-counter={key}]").inner_text()
    return int(text.replace(",", ""))


def expect_lost(page: Page) -> None:
    """That it takes no more than five seconds is held by poll.test.ts, on a clock of its own."""
    expect(page.locator("main[data-lost=true]")).to_be_visible()


def test_the_strip_shows_each_hop_and_opens_its_reason(trouble_url, visit):
    page = visit(trouble_url)
    strip = page.get_by_role("region", name="The way of a value")
    expect(strip.get_by_role("button")).to_have_text(
        [
            re.compile(text)
            for text in ("Source.*OK", "Buffer.*Attention", "Broker.*Fault", "Hub.*OK")
        ]
    )
    strip.get_by_role("button", name="Broker").click()
    expect(strip).to_contain_text("12 tries, next in 30 s. Data is safe: 41 h of buffer left.")
    page.keyboard.press("Escape")
    expect(page.locator("#strip-detail")).to_be_hidden()


def test_every_value_read_is_accounted_for(gateway_url, visit):
    page = visit(gateway_url)
    expect(page.locator("[data-balanced=true]")).to_contain_text("Adds up")
    # one status is drawn at once, so the figures on the page add up as well
    figures = page.locator("[data-counter]").all_inner_texts()
    read, stored, filtered, dropped, in_flight = (int(f.replace(",", "")) for f in figures)
    assert read == stored + filtered + dropped + in_flight
    assert dropped == 0
    expect(page.get_by_text("decode failed 0 · intake full 0")).to_be_visible()
    before = counter(page, "read")
    expect(page.locator("[data-counter=read]")).not_to_have_text(f"{before:,}")
    assert counter(page, "read") > before


def test_a_mismatch_and_losses_cannot_be_overlooked(trouble_url, visit):
    page = visit(trouble_url)
    expect(page.locator("[data-balanced=false]")).to_contain_text("12 values are not accounted for")
    ledger = page.get_by_role("region", name="Loss ledger")
    expect(ledger.get_by_role("listitem")).to_have_count(3)
    expect(ledger).to_contain_text("1,236,000 samples")
    expect(ledger).to_contain_text("count unknown")


def test_live_values_move_and_stop_while_paused(gateway_url, visit):
    page = visit(gateway_url)
    value = page.get_by_role("row", name="Slide/Position").first.locator(".value")
    first = value.inner_text()
    expect(value).not_to_have_text(first)
    tags = page.get_by_role("region", name="Tags")
    tags.get_by_role("button", name="Pause").click()
    still = value.inner_text()
    page.wait_for_timeout(1200)
    assert value.inner_text() == still


def test_values_of_a_silent_source_are_called_stale(trouble_url, visit):
    page = visit(trouble_url)
    row = page.get_by_role("row", name="Assembly01/Recipe/Name")
    expect(row).to_contain_text("Stale")
    expect(row).to_contain_text(" min")
    expect(row.locator(".value")).to_have_css("font-style", "italic")


def test_bad_and_missing_values_have_their_own_words(gateway_url, visit):
    page = visit(gateway_url)
    search = page.get_by_role("searchbox")
    for name, word in (
        ("Press01/Drive/Power", "Bad"),
        ("Blanking01/Vibration/RMS", "Uncertain"),
        ("Weld01/Slide/Position", "No value"),
        ("Press01/Slide/Position", "Good"),
    ):
        search.fill(name)
        expect(page.get_by_role("row", name=name)).to_contain_text(word)


def test_search_filters_says_what_it_hides_and_clears(gateway_url, visit):
    page = visit(gateway_url)
    search = page.get_by_role("searchbox")
    tags = page.get_by_role("region", name="Tags")
    expect(tags).to_contain_text("20,000 tags")
    page.keyboard.press("/")
    expect(search).to_be_focused()
    page.keyboard.type("hydraulics")
    expect(tags).to_contain_text("2,000 of 20,000")
    search.fill("temp2")
    expect(tags).to_contain_text("No tag matches “temp2”.")
    expect(tags).to_contain_text("20,000 tags hidden by the filter.")
    tags.get_by_role("button", name="Clear filter").click()
    expect(tags).to_contain_text("20,000 tags")
    expect(search).to_be_focused()


def test_the_trend_draws_says_its_sentence_and_shows_a_table(gateway_url, visit):
    page = visit(gateway_url)
    page.get_by_role("searchbox").fill("Assembly01/Temperature")
    page.get_by_role("row", name="Assembly01/Temperature").click()
    trend = page.get_by_role("region", name="Assembly01/Temperature")
    chart = trend.get_by_role("img")
    expect(chart).to_have_attribute("aria-label", re.compile(r"between .* °C .* mean .* last"))
    page.wait_for_timeout(500)
    assert inked_pixels(page) > 500
    expect(trend).to_contain_text("times in Europe/London")
    trend.get_by_role("button", name="View as table").click()
    assert trend.get_by_role("row").count() > 100


def inked_pixels(page: Page) -> int:
    """Count the pixels of the chart that have the line's colour."""
    return page.evaluate(
        """() => {
            const canvas = document.querySelector('.uplot canvas')
            const probe = document.createElement('i')
            probe.style.color = 'var(--trend)'
            document.body.append(probe)
            const line = getComputedStyle(probe).color.match(/[0-9]+/g).map(Number)
            probe.remove()
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
            let inked = 0
            for (let i = 0; i < data.length; i += 4)
                if (data[i + 3] > 200 && line.every((c, n) => Math.abs(c - data[i + n]) < 12))
                    inked += 1
            return inked
        }"""
    )


def test_a_gateway_that_hangs_and_one_that_dies_grey_the_page(start, visit, watch, axe):
    watch.allow("ERR_|WebSocket")
    program = start("fake_gateway.py")
    page = visit(program.url, size="panel", theme="dark")
    expect(page.locator(".value").first).to_be_visible()

    program.process.send_signal(signal.SIGSTOP)
    expect_lost(page)
    program.process.send_signal(signal.SIGCONT)
    expect(page.locator("main[data-lost=false]")).to_be_visible(timeout=15_000)
    expect(page.get_by_role("alert")).to_have_count(0)

    program.process.kill()
    expect_lost(page)
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("Not connected to gateway for")
    expect(banner).to_contain_text(re.compile("Next try in|Trying now"))
    expect(banner.get_by_role("button", name="Retry now")).to_be_visible()
    expect(page.get_by_role("row").nth(2)).to_contain_text("Old")
    expect(page.get_by_role("button", name="Broker")).to_contain_text(
        re.compile("Unknown.*was OK", re.DOTALL)
    )
    expect(page.locator("main")).to_have_css("filter", re.compile("grayscale"))
    assert axe(page) == []


def test_the_keyboard_reaches_everything(gateway_url, visit):
    page = visit(gateway_url)
    expect(page.locator(".value").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Source")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#strip-detail")).to_contain_text("opc.tcp://")
    grid = page.get_by_role("grid")
    grid.focus()
    first = grid.get_attribute("aria-activedescendant")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(grid).not_to_have_attribute("aria-activedescendant", first)
    page.keyboard.press("Enter")
    selected = grid.locator("[aria-selected=true]")
    expect(selected).to_contain_text("Speed")
    expect(page.get_by_role("heading", name="Assembly01/Drive/Speed")).to_be_visible()
    outline = grid.evaluate("node => getComputedStyle(node).outlineWidth")
    assert outline == "3px"


def test_twenty_thousand_tags_scroll_with_few_rows_in_the_page(gateway_url, visit):
    page = visit(gateway_url)
    grid = page.get_by_role("grid")
    expect(grid).to_have_attribute("aria-rowcount", "20001")
    grid.focus()
    page.keyboard.press("End")
    last = grid.locator("[aria-rowindex='20001']")
    expect(last.locator(".value")).to_be_visible()
    assert grid.get_by_role("row").count() < 60
    frames = page.evaluate(
        """async () => {
            const grid = document.querySelector('[role=grid]')
            const began = performance.now()
            let longest = 0, before = began
            for (let i = 0; i < 60; i += 1) {
                grid.scrollTop = (i * 9973) % (grid.scrollHeight - 500)
                await new Promise(requestAnimationFrame)
                longest = Math.max(longest, performance.now() - before)
                before = performance.now()
            }
            return { mean: (before - began) / 60, longest }
        }"""
    )
    assert frames["mean"] < 50
    expect(grid.locator(".value").first).to_be_visible()


def test_theme_and_size_are_chosen_and_remembered(gateway_url, visit):
    page = visit(gateway_url)
    page.get_by_role("button", name="Display").click()
    page.get_by_label("Dark").check()
    page.get_by_label("Touch").check()
    page.reload()
    html = page.locator("html")
    expect(html).to_have_attribute("data-theme", "dark")
    expect(html).to_have_css("background-color", "rgb(15, 21, 27)")
    button = page.get_by_role("button", name="Sign out")
    assert button.bounding_box()["height"] >= 56
