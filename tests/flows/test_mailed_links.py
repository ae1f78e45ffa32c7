"""A mailed link or code is void once its account's sessions were all ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from asok_auth_tests.pipeline import Browser, World, target

from asok_auth_core.flows.epoch import raise_epoch
from asok_auth_core.flows.sessions import end_sessions
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, MemoryUsers
from asok_auth_core.testing.oauth_app import error_code

EMAIL = "ada@example.com"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, MemoryUsers(FakeUser("1", EMAIL)))


def end_all(world: World) -> None:
    end_sessions(world.auth, FakeUser("1"))


@pytest.mark.requirement("SECURITY-37")
def test_a_link_does_not_outlive_logging_out_everywhere(world: World) -> None:
    token = world.token(EMAIL)
    browser = Browser(world)
    browser.open(token)
    end_all(world)
    assert browser.press(token).status == 400
    assert browser.user_id is None
    assert Browser(world).open(world.token(EMAIL)).status == 200, "a new one works"


@pytest.mark.requirement("SECURITY-37")
def test_the_page_with_the_button_says_so_too(world: World) -> None:
    token = world.token(EMAIL)
    end_all(world)
    assert error_code(Browser(world).open(token)) == "credential_rejected"


@pytest.mark.requirement("SECURITY-37")
def test_an_apps_own_page_rejects_it(world: World) -> None:
    token = world.token(EMAIL)
    end_all(world)
    assert world.magic.verify_token(FakeRequest(), token) is None


@pytest.mark.requirement("SECURITY-37")
def test_a_code_does_not_outlive_it_either(world: World) -> None:
    world.magic.send(FakeRequest(), EMAIL)
    world.auth.outbox.flush(60)
    text = world.app._parts.mail.sent[-1].text
    code = next(line.strip() for line in text.splitlines() if len(line.strip()) == 9 and "-" in line)
    end_all(world)
    browser = Browser(world)
    assert browser.post("/auth/magic/code", {"email": EMAIL, "code": code}).status == 400
    assert browser.user_id is None


@pytest.mark.requirement("SECURITY-35")
def test_a_link_from_before_a_void_logs_nobody_in(world: World) -> None:
    """Whoever could read the mailbox then may not be its owner any more."""
    old = world.token(EMAIL)
    Browser(world).log_in_by_mail(EMAIL)
    assert world.names.count("account.voided") == 1
    assert Browser(world).press(old).status == 400


@pytest.mark.requirement("SECURITY-23")
def test_a_user_who_was_disabled_meanwhile_is_rejected(world: World) -> None:
    token = world.token(EMAIL)
    user = world.users.by_id("1")
    assert isinstance(user, FakeUser)
    user.is_active = False
    assert error_code(Browser(world).press(token)) == "login_rejected"


def test_two_links_of_a_newcomer_both_work(world: World) -> None:
    first, second = world.token("new@example.com"), world.token("new@example.com")
    assert target(Browser(world).press(first)) == "/"
    assert target(Browser(world).press(second)) == "/"


@pytest.mark.requirement("SECURITY-27")
def test_a_known_address_costs_the_same_statements(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_epoch(world.auth, "1")
    world.magic.send(FakeRequest(), "first@example.com")
    calls: list[str] = []

    def counted(name: str, call: Callable[..., object]) -> Callable[..., object]:
        return lambda *args: (calls.append(name), call(*args))[1]

    for name in ("find", "list", "add", "replace", "remove"):
        monkeypatch.setattr(world.credentials, name, counted(name, getattr(world.credentials, name)))
    costs = []
    for email in (EMAIL, "nobody@example.com"):
        calls.clear()
        world.magic.send(FakeRequest(), email)
        costs.append(list(calls))
    world.auth.outbox.flush(60)
    assert costs[0] == costs[1]
    assert costs[0]


def test_a_link_of_an_account_whose_address_changed_is_void(world: World) -> None:
    """It would open a second account for its old address, or lead to the next owner."""
    links = [world.token(EMAIL), world.token(EMAIL)]
    world.users.set_email(FakeUser("1"), "other@example.com")
    assert Browser(world).press(links[0]).status == 400
    world.users.create(EMAIL)
    assert Browser(world).press(links[1]).status == 400
