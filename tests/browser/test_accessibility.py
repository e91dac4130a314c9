"""What a script can know of WCAG 2.2 AA, on each page, theme and size."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

THEMES = ("light", "dark")
SIZES = ("desktop", "panel", "phone")
TARGET_PX = {"desktop": 44, "panel": 56, "phone": 56}


def ready(page: Page) -> None:
    expect(page.locator(".value").first).to_be_visible()
    expect(page.locator(".uplot").first).to_be_visible()


def small_targets(page: Page, least_px: int) -> list[str]:
    return page.evaluate(
        """(least) => [...document.querySelectorAll('button, input, a[href], select')]
            .filter((node) => node.checkVisibility() && !node.matches('.skip'))
            .filter((node) => node.getBoundingClientRect().height < least - 0.5)
            .map((node) => node.outerHTML.slice(0, 120))""",
        least_px,
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("url", ["trouble_url", "hub_url"])
def test_overviews_have_no_violation(url, theme, size, request, visit, axe):
    page = visit(request.getfixturevalue(url), theme=theme, size=size)
    ready(page)
    if url == "trouble_url":
        page.get_by_role("button", name="Broker").click()
    assert axe(page) == []
    assert small_targets(page, TARGET_PX[size]) == []
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("theme", THEMES)
def test_sign_in_has_no_violation(theme, gateway_url, visit, axe):
    page = visit(gateway_url, theme=theme, size="phone", signed_in=False)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("Fill in")
    page.get_by_role("button", name="Display").click()
    assert axe(page) == []


@pytest.mark.parametrize("url", ["gateway_url", "hub_url"])
def test_nothing_is_cut_off_at_320_px(url, request, visit):
    page = visit(request.getfixturevalue(url), size="phone")
    ready(page)
    page.set_viewport_size({"width": 320, "height": 640})
    page.wait_for_timeout(300)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 320
