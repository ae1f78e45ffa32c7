"""Users change their address, take their data with them, leave, and come back."""

from __future__ import annotations

import itertools
import json
import re

import pytest

pytestmark = pytest.mark.browser

numbers = itertools.count(1)


@pytest.fixture
def address() -> str:
    return f"owner-{next(numbers)}@example.org"


def test_change_the_email_address(visitor, another, address):
    new = address.replace("owner", "moved")
    other = another()
    other.log_in_by_link(address)
    visitor.log_in_by_link(address)
    visitor.mail_with(address, "New login to your account")
    visitor.goto("/auth/account")
    visitor.look("account with an email address")
    visitor.press(re.compile(r"Change\s*: Email address"))
    visitor.look("change the email address")
    visitor.fill("New email address", "ada@example")
    visitor.press("Send me a link and a code")
    visitor.look("wrong new address")
    assert visitor.page.get_by_label("New email address").get_attribute("aria-invalid") == "true"
    visitor.fill("New email address", new)
    visitor.press("Send me a link and a code")
    visitor.look("code for the new address")
    visitor.goto(visitor.mailed_link(new, "/auth/account/email/confirm"))
    visitor.look("confirm the new address")
    visitor.press("Change your email address")
    assert f"Your email address is {new}." in visitor.page.inner_text("main")
    visitor.look("account with a message")
    other.goto("/")
    assert "You are not logged in" in other.page.inner_text("body")
    other.goto(visitor.mailed_link(address, "/auth/account/email/undo"))
    other.look("undo the change")
    other.press("Restore your email address")
    assert other.heading == "Your email address is restored"
    other.look("undone")
    visitor.goto("/")
    assert "You are not logged in" in visitor.page.inner_text("body")


def test_take_the_data_and_leave(visitor, address):
    visitor.log_in_by_link(address)
    visitor.goto("/auth/account")
    visitor.press(re.compile(r"Download\s*: Your data"))
    visitor.look("download the data")
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "account.json"
    assert json.loads(download.value.path().read_text())["asok_auth_core"]["email"] == address
    visitor.goto("/auth/account/delete")
    visitor.look("delete")
    visitor.press("Delete your account")
    assert visitor.heading == "Your account will be deleted"
    visitor.look("will be deleted")
    visitor.goto("/")
    assert "You are not logged in" in visitor.page.inner_text("body")
    visitor.goto(visitor.mailed_link(address, "/auth/account/keep"))
    visitor.look("keep the account")
    visitor.press("Keep your account")
    assert visitor.heading == "Your account stays"
    visitor.look("kept")
    visitor.press("Log in")
    visitor.log_in_by_link(address)
    assert address in visitor.page.inner_text("body")


def test_recover_an_account(visitor, address):
    new = address.replace("owner", "moved")
    visitor.log_in_by_link(address)
    visitor.goto(f"/auth/test/recover?email={address}&to={new}")
    stop = visitor.mailed_link(address, "/auth/account/recover/stop")
    visitor.goto(visitor.mailed_link(new, "/auth/account/recover"))
    visitor.look("recover, not yet")
    assert "You can continue here after" in visitor.page.inner_text("main")
    visitor.goto(stop)
    visitor.look("stop the recovery")
    visitor.press("Stop the recovery")
    assert visitor.heading == "The recovery is stopped"
    visitor.look("stopped")
    visitor.mail_with(new, "was stopped")
    visitor.goto(f"/auth/test/recover?email={address}&to={new}")
    link = visitor.mailed_link(new, "/auth/account/recover")
    visitor.goto(f"/auth/test/clock?ahead={3 * 86_400 + 1}")
    try:
        visitor.goto(link)
        visitor.look("recover")
        visitor.press("Recover your account")
        assert visitor.heading == "Your account is yours again"
        visitor.look("recovered")
    finally:
        visitor.goto("/auth/test/clock?ahead=0")
    visitor.log_in_by_link(new)
    assert new in visitor.page.inner_text("body")


def test_agree_to_the_terms(visitor, address):
    visitor.goto("/auth/test/terms?terms=/auth/login")
    try:
        visitor.log_in_by_link(address)
        assert visitor.heading.startswith("Terms of ")
        assert address in visitor.page.inner_text("main")
        visitor.look("terms")
        if visitor.mode == "mouse":
            visitor.page.evaluate("document.querySelector('main form').noValidate = true")
            visitor.press("Continue")
            assert "you must agree to the terms" in visitor.page.get_by_role("alert").inner_text()
            assert visitor.page.get_by_label("I agree to the terms").get_attribute("aria-invalid") == "true"
            visitor.look("terms, not agreed")
        visitor.press(re.compile("Read the terms of .*"))
        assert visitor.page.url.endswith("/auth/login")
        visitor.goto("/")
        assert "You are not logged in" in visitor.page.inner_text("body")
        visitor.goto("/auth/sign-up")
        visitor.tick(re.compile("I agree to the terms of .*"))
        visitor.press("Continue")
        assert address in visitor.page.inner_text("body")
        visitor.goto("/auth/sign-up")
        assert visitor.heading == "This login is no longer valid"
    finally:
        visitor.goto("/auth/test/terms?terms=")


def test_german_pages_fit(another, address):
    ada = another(language="de-AT")
    ada.goto("/auth/login")
    ada.fill("E-Mail-Adresse", address)
    ada.press("Link und Code senden")
    ada.goto(ada.mail(address)[0])
    ada.press("Anmelden")
    for path in ("account", "account/email", "account/data", "account/delete"):
        ada.goto(f"/auth/{path}")
        ada.look(f"{path} in German")
