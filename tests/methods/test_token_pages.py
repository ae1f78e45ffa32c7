"""Create and revoke an API token on the account page."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

import pytest

from asok_auth_core.methods.token import TokenMethod
from asok_auth_core.methods.token_pages import DAY, HOURLY
from asok_auth_core.plugin import Auth, Grant, User, hookimpl
from asok_auth_core.testing import Browser, TestParts
from asok_auth_core.testing.fakes import MemoryUsers

NEW = "/auth/token/new"
GOOD = {"name": "Backup", "days": "30", "access": "limited", "scope:posts.*": "1", "form": "one"}


class Grants:
    @hookimpl
    def asok_auth_permissions(self, user: User) -> list[Grant]:
        return [Grant("posts.*"), Grant("files.read")]


class Site:
    """Ada's browser, and her tokens."""

    def __init__(self, auth: Auth, ada: User) -> None:
        self.browser = Browser(auth)
        self.browser.log_in(ada)
        self.tokens = cast("TokenMethod", auth.login_methods["token"]).tokens

    def create(self, **changes: str | None) -> str | None:
        """The token that the form ``GOOD`` with ``changes`` makes; None if rejected."""
        form = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
        answer = self.browser.post(NEW, form)
        found = re.search(r'id="asok-auth-token"[^>]*>([^<]+)<', answer.text)
        self.status, self.page = answer.status, answer.text
        return None if found is None else found[1]


@pytest.fixture
def make_site(make_auth: Callable[..., Auth], fake_users: MemoryUsers) -> Callable[..., Site]:
    def make(**settings: object) -> Site:
        return Site(make_auth(plugins=(Grants(),), settings=settings), cast("User", fake_users.by_id("1")))

    return make


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


def test_a_token_is_created_and_shown_once(site: Site) -> None:
    assert f'href="{NEW}"' in site.browser.get("/auth/account").text
    page = site.browser.get(NEW).text
    assert re.findall(r'name="(scope:[^"]+)"', page) == ["scope:files.read", "scope:posts.*"]
    token = site.create()
    assert token is not None
    verified = site.tokens.verify(token)
    assert (verified.user_id, verified.scopes) == ("1", ("posts.*",))
    (made,) = site.tokens.list("1")
    assert made.name == "Backup"
    assert made.expires_at == made.created_at + 30 * DAY
    assert token not in site.browser.get("/auth/account").text
    assert "Backup" in site.browser.get("/auth/account").text


def test_sending_the_form_twice_creates_one(site: Site) -> None:
    assert site.create() is not None
    assert site.create() is None
    assert site.status == 303
    assert "This token was already created." in site.browser.get("/auth/account").text
    assert len(site.tokens.list("1")) == 1
    forms = {re.search(r'name="form" value="([^"]+)"', site.browser.get(NEW).text)[1] for _ in range(2)}  # type: ignore[index]
    assert len(forms) == 2
    assert site.create(form="two") is not None


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"name": ""}, "Give the token a name of at most 100 characters."),
        ({"name": "  "}, "Give the token a name of at most 100 characters."),
        ({"name": "n" * 101}, "Give the token a name of at most 100 characters."),
        ({"days": "31"}, "Choose how long the token is valid."),
        ({"days": None}, "Choose how long the token is valid."),
        ({"scope:posts.*": None}, "Choose 1 to 64 permissions."),
        ({"scope:posts.*": None, "scope:admin.*": "1"}, "Choose 1 to 64 permissions."),
        ({"scope:posts.*": None, "access": None}, "Choose 1 to 64 permissions."),
    ],
)
def test_a_wrong_form_says_what_is_wrong_and_creates_nothing(
    site: Site, changes: dict[str, str | None], error: str
) -> None:
    assert site.create(**changes) is None
    assert site.status == 400
    assert error in site.page
    assert 'aria-invalid="true"' in site.page or 'id="asok-auth-scopes-error"' in site.page
    assert site.tokens.list("1") == []
    assert site.create() is not None, "the rejected form used nothing up"


def test_a_user_without_permissions_has_no_choice(
    make_auth: Callable[..., Auth], fake_users: MemoryUsers
) -> None:
    site = Site(make_auth(), cast("User", fake_users.by_id("1")))
    page = site.browser.get(NEW).text
    assert 'name="access" value="all"' in page
    assert 'type="radio"' not in page
    assert site.create(access="all") is not None


def test_full_access_and_no_time_limit(site: Site) -> None:
    token = site.create(access="all", days="never")
    assert token is not None
    verified = site.tokens.verify(token)
    assert (verified.scopes, verified.expires_at) == (None, None)


def test_a_token_that_cannot_be_revoked_expires(make_site: Callable[..., Site]) -> None:
    site = make_site(TOKEN_REVOCATION="stateless")
    assert "No time limit" not in site.browser.get(NEW).text
    assert site.create(days="never") is None
    assert site.create() is not None


def test_the_page_can_be_switched_off(make_site: Callable[..., Site]) -> None:
    site = make_site(TOKEN_PAGE=False)
    assert site.browser.get(NEW).status == 404
    assert NEW not in site.browser.get("/auth/account").text
    site.tokens.create("1", name="from code")
    assert "from code" in site.browser.get("/auth/account").text


def test_creating_is_limited(site: Site) -> None:
    for number in range(HOURLY):
        assert site.create(form=str(number)) is not None
    assert site.create(form="more") is None
    assert site.status == 429
    assert len(site.tokens.list("1")) == HOURLY


@pytest.mark.requirement("SECURITY-24")
def test_it_needs_a_recent_login(site: Site, auth_parts: TestParts) -> None:
    auth_parts.clock.advance(601)
    assert site.create() is None
    assert site.status == 403
    assert site.browser.get(NEW).status == 403


def test_revoking_asks_first(site: Site) -> None:
    site.create()
    (made,) = site.tokens.list("1")
    assert "<h1>Revoke Backup?</h1>" in site.browser.post("/auth/token/revoke", {"token": made.id}).text
    assert len(site.tokens.list("1")) == 1
    site.browser.post("/auth/token/revoke", {"token": made.id, "confirmed": "yes"})
    assert site.tokens.list("1") == []
    assert "The token was revoked." in site.browser.get("/auth/account").text
    assert site.browser.post("/auth/token/revoke", {"token": made.id}).status == 303
