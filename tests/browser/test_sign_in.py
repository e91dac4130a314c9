"""Claim, sign in, sign out: the same form on both programs."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def claim(page: Page, code: str, password: str) -> None:
    page.get_by_label("One-time code").fill(code)
    page.get_by_label("Name", exact=True).fill("anna")
    page.get_by_label("New password").fill(password)
    page.get_by_role("button", name="Claim and sign in").click()


def sign_in(page: Page, password: str) -> None:
    page.get_by_label("Name", exact=True).fill("anna")
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()


@pytest.mark.parametrize("script", ["fake_gateway.py", "fake_hub.py"])
def test_a_new_machine_is_claimed_once_and_then_asks_for_name_and_password(
    script, start, visit, watch
):
    watch.allow("401|403|422")
    program = start(script, "--scene", "unclaimed")
    page = visit(program.url, signed_in=False)
    claim(page, "AAAA-BBBB-CCCC-DDDD", "four gates in the rain")
    expect(page.get_by_role("alert")).to_contain_text("The one-time code is wrong")
    claim(page, program.code, "short")
    expect(page.get_by_role("alert")).to_contain_text("7 characters are missing")
    claim(page, program.code, "four gates in the rain")
    expect(page.get_by_role("heading", name="Tags").first).to_be_visible()

    page.get_by_role("button", name="Sign out").click()
    sign_in(page, "not the password")
    expect(page.get_by_role("alert")).to_have_text("Name or password is wrong.")
    sign_in(page, "four gates in the rain")
    expect(page.get_by_text("Signed in as anna")).to_be_visible()


def test_the_password_can_be_shown_and_pasted(gateway_url, visit):
    page = visit(gateway_url, signed_in=False)
    field = page.get_by_label("Password", exact=True)
    field.fill("pasted from a manager")
    expect(field).to_have_attribute("type", "password")
    page.get_by_role("button", name="Show password").click()
    expect(field).to_have_attribute("type", "text")
    expect(field).to_have_attribute("autocomplete", "current-password")


@pytest.mark.parametrize("url", ["gateway_url", "hub_url"])
def test_when_the_session_ends_the_page_asks_to_sign_in(url, request, visit, watch):
    watch.allow("401|403|WebSocket")
    page = visit(request.getfixturevalue(url))
    expect(page.get_by_role("row").nth(3)).to_be_visible()
    page.context.clear_cookies()
    if url == "gateway_url":  # its status is public; the next answer about tags is the refusal
        page.get_by_role("row").nth(3).click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=15_000)
