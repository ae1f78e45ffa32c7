"""Support staff see how users log in, and change it, if those may do no more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from asok_auth_tests.pipeline import Word

from asok_auth_core.errors import PermissionDenied
from asok_auth_core.flows.api_tokens import ApiTokens
from asok_auth_core.flows.linking import link, linked
from asok_auth_core.flows.sessions import sessions_of
from asok_auth_core.flows.support import ACTIONS, change_account
from asok_auth_core.flows.trusted_devices import trusted_devices
from asok_auth_core.pages.support import STEPS
from asok_auth_core.plugin import (
    Auth,
    Grant,
    Identity,
    OpenIDProvider,
    User,
    hookimpl,
)
from asok_auth_core.testing import Browser
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, FrozenClock, MemoryUsers
from asok_auth_core.types import Event
from asok_auth_core.web import WebResponse

STAFF, ADA, ADMIN, BEN = "1", "2", "3", "4"


class Parts:
    """Grants by user, one second factor, and the events."""

    def __init__(self) -> None:
        self.grants = {
            STAFF: ["auth.support.*", "posts.*"],
            ADA: ["posts.edit"],
            ADMIN: ["*"],
            BEN: ["auth.support.view"],
        }
        self.fails_for: str | None = None
        self.events: list[Event] = []
        self.word = Word()

    @hookimpl
    def asok_auth_permissions(self, user: User) -> list[Grant]:
        if str(user.id) == self.fails_for:
            raise RuntimeError("no answer")
        return [Grant(one) for one in self.grants[str(user.id)]]

    @hookimpl
    def asok_auth_second_factors(self) -> list[Word]:
        return [self.word]

    @hookimpl
    def asok_auth_providers(self) -> list[OpenIDProvider]:
        return [OpenIDProvider.named("google", label="Google", issuer="https://i.example")]

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        self.events.append(event)


class Site:
    """The browser of support staff; Ada's account has two of each, Ben's one."""

    def __init__(self, auth: Auth, parts: Parts, users: MemoryUsers) -> None:
        self.auth, self.parts, self.users = auth, parts, users
        self.staff = self.browser_of(STAFF)
        self.tokens = ApiTokens(auth)
        self.browsers: dict[str, Browser] = {}
        for owner in (ADA, BEN):
            for number in (1, 2) if owner == ADA else (1,):
                self.browsers[owner] = self.browser_of(owner)
                self.tokens.create(owner, name=f"Token {owner}{number}")
                email = f"{owner}{number}@gmail.example"
                link(
                    auth,
                    self.user(owner),
                    Identity("https://i.example", owner + str(number), "google", email),
                )
                auth.credentials.add(owner, "trusted_device", f"handle {owner}{number}", {"agent": "x"})
        parts.word.users.add(ADA)
        parts.events.clear()

    def user(self, user_id: str) -> User:
        return cast("User", self.users.by_id(user_id))

    def browser_of(self, user_id: str) -> Browser:
        browser = Browser(self.auth)
        browser.log_in(self.user(user_id))
        return browser

    def page(self, user_id: str = ADA, browser: Browser | None = None) -> WebResponse:
        return (browser or self.staff).get(f"/auth/support/{user_id}")

    def act(
        self,
        action: str,
        item: str = "",
        user_id: str = ADA,
        confirmed: str = "yes",
        browser: Browser | None = None,
    ) -> WebResponse:
        form = {"action": action, "item": item, "confirmed": confirmed}
        return (browser or self.staff).post(f"/auth/support/{user_id}", form)

    def items(self, owner: str = ADA) -> dict[str, str]:
        """For each action the id of what it is done to: of each kind the first of two."""
        user = self.user(owner)
        return {
            "end-session": sessions_of(self.auth, user)[0].id,
            "revoke-token": self.tokens.list(owner)[0].id,
            "unlink": linked(self.auth, user)[0].id,
            "reset-factor": "word",
        }

    def state(self, owner: str = ADA) -> dict[str, Any]:
        """What an account has, as far as support staff can change it."""
        user = self.user(owner)
        return {
            "sessions": len(sessions_of(self.auth, user)),
            "tokens": len(self.tokens.list(owner)),
            "identities": len(linked(self.auth, user)),
            "browsers": len(trusted_devices(self.auth, user)),
            "active": self.users.is_active(user),
            "factor": owner in self.parts.word.users,
        }

    def said(self, name: str) -> list[tuple[str | None, dict[str, Any]]]:
        return [(event.user_id, dict(event.detail)) for event in self.parts.events if event.name == name]


BEFORE = {"sessions": 2, "tokens": 2, "identities": 2, "browsers": 2, "active": True, "factor": True}
AFTER = {
    "end-session": BEFORE | {"sessions": 1},
    "end-sessions": BEFORE | {"sessions": 0},
    "revoke-token": BEFORE | {"tokens": 1},
    "unlink": BEFORE | {"identities": 1},
    "reset-factor": BEFORE | {"browsers": 0, "factor": False},
    "forget-browsers": BEFORE | {"browsers": 0},
    "disable": BEFORE | {"sessions": 0, "active": False},
    "enable": BEFORE,
}
ASKED_FIRST = {"end-sessions", "revoke-token", "unlink", "reset-factor", "disable"}


@pytest.fixture
def fake_users() -> MemoryUsers:
    return MemoryUsers(
        FakeUser(STAFF, "staff@example.org"),
        FakeUser(ADA, "ada@example.org"),
        FakeUser(ADMIN, "admin@example.org"),
        FakeUser(BEN, "ben@example.org"),
    )


@pytest.fixture
def make_site(make_auth: Callable[..., Auth], fake_users: MemoryUsers) -> Callable[..., Site]:
    def make(**settings: object) -> Site:
        parts = Parts()
        auth = make_auth(
            plugins=(parts,),
            settings={
                "SUPPORT_PAGES": True,
                "TRUSTED_DEVICE": 86_400,
                "PROVIDERS": {"google": {"client_id": "a", "client_secret": "b"}},
                **settings,
            },
        )
        return Site(auth, parts, fake_users)

    return make


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Iterator[Site]:
    site = make_site()
    yield site
    assert site.state(BEN) == BEFORE | dict.fromkeys(("sessions", "tokens", "identities", "browsers"), 1) | {
        "factor": False
    }


class TestLookingUp:
    def test_the_pages_are_off_by_default(self, make_site: Callable[..., Site]) -> None:
        site = make_site(SUPPORT_PAGES=False)
        assert not [path for path in site.staff.paths if "support" in path]
        assert "/auth/support" not in site.staff.get("/auth/account").text

    def test_staff_find_the_page_from_their_account_and_others_do_not(self, site: Site) -> None:
        assert 'href="/auth/support"' in site.staff.get("/auth/account").text
        assert "/auth/support" not in site.browsers[ADA].get("/auth/account").text

    def test_the_question(self, site: Site) -> None:
        page = site.staff.get("/auth/support")
        assert page.status == 200
        assert 'name="user"' in page.text
        assert "aria-invalid" not in page.text

    @pytest.mark.parametrize("text", ["ada@example.org", ADA, " ada@example.org "])
    def test_by_email_address_or_id(self, site: Site, text: str) -> None:
        answer = site.staff.post("/auth/support", {"user": text})
        assert (answer.status, dict(answer.headers)["Location"]) == (303, "/auth/support/2")

    @pytest.mark.parametrize("text", ["nobody@example.org", "99", "", "@", "'\"><script>", "a" * 5000])
    def test_an_unknown_user(self, site: Site, text: str) -> None:
        answer = site.staff.post("/auth/support", {"user": text})
        assert answer.status == 404
        assert "There is no such user." in answer.text
        assert "<script>" not in answer.text

    def test_several_users_of_one_address(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(MemoryUsers, "ids_alike", lambda self, email: ("7", "9"))
        assert "Look up an ID: 7, 9" in site.staff.post("/auth/support", {"user": "X@y.org"}).text

    def test_a_page_of_an_unknown_user(self, site: Site) -> None:
        assert site.page("99").status == 404

    def test_what_the_page_shows(self, site: Site) -> None:
        page = site.page().text
        for text in (
            "ada@example.org",
            "not verified",
            "21@gmail.example",
            "22@gmail.example",
            "Remove Secret word",
        ):
            assert text in page
        for text in ("Token 21", "Token 22", "Browsers that skip the second factor: 2"):
            assert text in page
        assert page.count('value="end-session"') == 2
        assert "Token 41" not in page

    def test_who_looked_is_told(self, site: Site) -> None:
        site.page()
        assert site.said("support.viewed") == [(ADA, {"staff": STAFF})]

    def test_the_session_secret_is_not_on_the_page(self, site: Site) -> None:
        for row in site.auth.credentials.list(ADA, "session"):
            assert re.findall(r'"secret": ?"([^"]+)"', row.data)[0] not in site.page().text


class TestActions:
    def test_each_action_has_its_texts(self) -> None:
        assert STEPS.keys() == ACTIONS.keys() == AFTER.keys()
        assert {name for name, step in STEPS.items() if step.question} == ASKED_FIRST

    @pytest.mark.parametrize("action", AFTER)
    def test_it_does_what_it_says_and_nothing_else(self, site: Site, action: str) -> None:
        assert site.state() == BEFORE
        answer = site.act(action, site.items().get(action, ""))
        assert (answer.status, dict(answer.headers)["Location"]) == (303, "/auth/support/2")
        assert site.state() == AFTER[action]
        assert site.said("support.acted") == [(ADA, {"staff": STAFF, "action": action})]
        assert STEPS[action].done in site.page().text
        assert STEPS[action].done not in site.page().text

    @pytest.mark.parametrize("action", sorted(ASKED_FIRST))
    def test_what_cannot_be_undone_asks_first(self, site: Site, action: str) -> None:
        item = site.items().get(action, "")
        asked = site.act(action, item, confirmed="")
        assert asked.status == 200
        assert STEPS[action].question in asked.text
        assert f'name="item" value="{item}"' in asked.text
        assert "Account of ada@example.org." in asked.text
        assert site.state() == BEFORE
        assert site.said("support.acted") == []

    def test_a_disabled_account_is_enabled_again(self, site: Site) -> None:
        site.act("disable")
        assert "Disabled" in site.page().text
        site.act("enable")
        assert site.state()["active"] is True
        assert [detail["action"] for _, detail in site.said("support.acted")] == ["disable", "enable"]

    @pytest.mark.parametrize("action", ["end-session", "revoke-token", "unlink"])
    def test_what_belongs_to_another_user_stays(self, site: Site, action: str) -> None:
        assert site.act(action, site.items(BEN)[action]).status == 303
        assert site.state() == BEFORE

    def test_the_last_login_method_stays_linked(self, make_site: Callable[..., Site]) -> None:
        site = make_site()
        for identity in linked(site.auth, site.user(ADA)):
            answer = site.act("unlink", identity.id)
        assert answer.status == 409
        assert "This is your only login method." in answer.text
        assert site.state()["identities"] == 1

    def test_an_unknown_action_changes_nothing(self, site: Site) -> None:
        for action in ("", "remove", "__class__"):
            assert site.act(action).status == 303
        assert site.state() == BEFORE
        assert site.said("support.acted") == []

    def test_get_changes_nothing(self, site: Site) -> None:
        assert site.staff.get("/auth/support/2?action=disable&confirmed=yes").status == 200
        assert site.state() == BEFORE

    def test_stateless_tokens_cannot_be_revoked(self, make_site: Callable[..., Site]) -> None:
        page = make_site(TOKEN_REVOCATION="stateless").page().text
        assert "Token 21" in page
        assert "revoke-token" not in page


@pytest.mark.requirement("SECURITY-28")
class TestWhoMay:
    @pytest.mark.parametrize("action", AFTER)
    @pytest.mark.parametrize("user_id", [ADMIN, STAFF])
    def test_nobody_changes_a_user_who_may_do_more_nor_themselves(
        self, site: Site, action: str, user_id: str
    ) -> None:
        assert site.page(user_id).status == 200
        assert 'name="action"' not in site.page(user_id).text
        before = site.state(user_id)
        assert site.act(action, site.items()["end-session"], user_id).status == 403
        assert site.state(user_id) == before
        assert site.said("support.acted") == []

    def test_an_equal_can_be_helped(self, site: Site) -> None:
        site.parts.grants[ADA] = ["auth.support.*", "posts.*"]
        assert site.act("disable").status == 303
        assert site.state()["active"] is False

    def test_a_pattern_that_reaches_further_counts_as_more(self, site: Site) -> None:
        for more in ("posts.edit.all", "files.read"):
            site.parts.grants[STAFF], site.parts.grants[ADA] = ["auth.support.*", "posts.edit"], [more]
            assert site.act("disable").status == 403
        assert site.state() == BEFORE

    def test_what_cannot_be_found_out_counts_as_more(self, site: Site) -> None:
        site.parts.fails_for = ADA
        assert 'name="action"' not in site.page().text
        assert site.act("disable").status == 403
        assert site.state() == BEFORE

    def test_who_may_only_look_changes_nothing(self, site: Site) -> None:
        site.parts.grants[ADA] = []
        viewer = site.browser_of(BEN)
        assert 'name="action"' not in site.page(browser=viewer).text
        assert site.act("disable", browser=viewer).status == 403
        assert site.state() == BEFORE
        viewer.post("/auth/logout")

    def test_other_users_see_nothing(self, site: Site) -> None:
        browser = site.browsers[ADA]
        for answer in (
            browser.get("/auth/support"),
            site.page(BEN, browser),
            site.act("disable", "", BEN, browser=browser),
        ):
            assert answer.status == 403
            assert "ben@example.org" not in answer.text
        assert browser.post("/auth/support", {"user": "ben@example.org"}).status == 403

    def test_nobody_is_logged_in(self, site: Site) -> None:
        browser = Browser(site.auth)
        for answer in (
            browser.get("/auth/support"),
            site.page(browser=browser),
            site.act("disable", browser=browser),
        ):
            assert answer.status == 401
        assert site.state() == BEFORE

    def test_a_login_of_some_time_ago(self, site: Site, frozen_clock: FrozenClock) -> None:
        frozen_clock.advance(601)
        assert site.page().status == 200
        assert site.act("disable").status == 403
        assert site.state()["active"] is True

    def test_an_api_token(self, site: Site) -> None:
        token, _ = site.tokens.create(STAFF)
        for method in ("GET", "POST"):
            answer = Browser(site.auth).send(
                method, "/auth/support/2", headers={"Authorization": f"Bearer {token}"}
            )
            assert answer.status == 403
            assert "ada@example.org" not in answer.text

    def test_during_impersonation(self, site: Site) -> None:
        """An administrator acts as a member of the support staff."""
        admin = site.browser_of(ADMIN)
        for method in ("GET", "POST"):
            form = {"action": "disable", "confirmed": "yes"} if method == "POST" else None
            request = FakeRequest("/auth/support/2", method=method, form=form)
            request.session.user, request.session.record = site.user(STAFF), admin.request.session_record
            answer = admin.repeat(request)
            assert answer.status == 403
            assert "ada@example.org" not in answer.text
        assert site.state() == BEFORE

    def test_the_flow_checks_by_itself(self, site: Site) -> None:
        site.page(ADMIN)
        with pytest.raises(PermissionDenied):
            change_account(site.auth, site.staff.request, site.user(ADMIN), "disable")
        with pytest.raises(KeyError):
            change_account(site.auth, site.staff.request, site.user(ADA), "nothing")
