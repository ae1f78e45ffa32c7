"""Two tenants with one state store, one key ring and the same user ids.

Nothing of one tenant (a session, a pending login, a link, an API token) opens anything at the other, and what
ends at one ends there only.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from asok_auth_tests.pipeline import ENROL, Browser, World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from asok_auth_core.errors import AuthError
from asok_auth_core.flows.sessions import end_sessions
from asok_auth_core.methods.token import TokenMethod
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, MemoryUsers

EMAILS = ("ann@example.com", "ben@example.com")
TENANTS = st.integers(0, 1)
TABS = st.integers(0, 1)


@dataclass(eq=False)
class Tab:
    """One browser at one tenant."""

    browser: Browser
    user_id: str | None = None
    half: str | None = None


@dataclass(eq=False)
class Token:
    tenant: int
    user_id: str
    text: str
    is_revoked: bool = False


class Tenants(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.worlds = [World(Path(self.folder.name), MemoryUsers()) for _ in range(2)]
        first, second = (world.auth for world in self.worlds)
        # Each has a database of its own; the store and the keys are the same.
        second.state._store = first.state._store  # type: ignore[attr-defined]
        assert second.keys.key("x") == first.keys.key("x")
        assert second.installation().id != first.installation().id
        for auth in (first, second):
            auth.outbox.post = lambda mail: None  # type: ignore[method-assign,assignment,return-value]
            auth.limits.hit = lambda *args, **kwargs: None  # type: ignore[method-assign]
        self.tabs = [[Tab(Browser(world)) for _ in range(2)] for world in self.worlds]
        self.tokens: list[Token] = []

    def teardown(self) -> None:
        for world in self.worlds:
            world.auth.outbox.close()
        self.folder.cleanup()

    def method(self, tenant: int) -> TokenMethod:
        method = self.worlds[tenant].auth.login_methods["token"]
        assert isinstance(method, TokenMethod)
        return method

    def id_of(self, tenant: int, email: str) -> str | None:
        user = self.worlds[tenant].users.by_email(email)
        return None if user is None else str(user.id)

    # -- what happens ----------------------------------------------------------------------------

    @rule(tenant=TENANTS, tab=TABS, email=st.sampled_from(EMAILS))
    def log_in(self, tenant: int, tab: int, email: str) -> None:
        world, one = self.worlds[tenant], self.tabs[tenant][tab]
        one.browser.log_in_by_mail(email)
        user_id = self.id_of(tenant, email)
        if user_id in world.word.users:
            one.half = user_id
        else:
            one.user_id, one.half = user_id, None

    @rule(tenant=TENANTS, tab=TABS, email=st.sampled_from(EMAILS))
    def a_link_of_the_other_tenant_does_nothing(self, tenant: int, tab: int, email: str) -> None:
        token = self.worlds[1 - tenant].token(email)
        browser = self.tabs[tenant][tab].browser
        assert browser.open(token).status == 400
        assert browser.press(token).status == 400
        at_home = Browser(self.worlds[1 - tenant])
        at_home.open(token)
        assert at_home.press(token).status == 303, "and it is not used up"

    @rule(tenant=TENANTS, tab=TABS)
    def set_up_a_second_factor(self, tenant: int, tab: int) -> None:
        world, one = self.worlds[tenant], self.tabs[tenant][tab]
        before = set(world.word.users)
        one.browser.post(ENROL)
        if one.user_id is not None and one.half is None and one.user_id not in before:
            assert one.user_id in world.word.users
        assert world.word.users - before <= {one.user_id}

    @rule(tenant=TENANTS, tab=TABS)
    def give_the_second_factor(self, tenant: int, tab: int) -> None:
        one = self.tabs[tenant][tab]
        one.browser.give_word()
        if one.half is not None:
            one.user_id, one.half = one.half, None

    @rule(tenant=TENANTS, tab=TABS, email=st.sampled_from(EMAILS))
    def log_out_everywhere(self, tenant: int, tab: int, email: str) -> None:
        user_id = self.id_of(tenant, email)
        if user_id is None:
            return
        end_sessions(self.worlds[tenant].auth, FakeUser(user_id))
        for one in self.tabs[tenant]:
            one.user_id = None if one.user_id == user_id else one.user_id
            one.half = None if one.half == user_id else one.half

    @precondition(lambda self: any(one.user_id for tabs in self.tabs for one in tabs))
    @rule(tenant=TENANTS, tab=TABS)
    def make_a_token(self, tenant: int, tab: int) -> None:
        one = self.tabs[tenant][tab]
        if one.user_id is not None:
            request = one.browser.at.follow("/own")
            text = self.method(tenant).api.create(request, one.user_id)
            self.tokens.append(Token(tenant, one.user_id, text))

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), tenant=TENANTS)
    def revoke_a_token(self, data: st.DataObject, tenant: int) -> None:
        """At its own tenant, or at the other, which must not know it."""
        token = data.draw(st.sampled_from(self.tokens[-4:]))
        revoked = self.method(tenant).api.revoke(FakeRequest(), token.text)
        assert revoked is (tenant == token.tenant and not token.is_revoked)
        token.is_revoked |= revoked

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def each_browser_is_logged_in_at_its_own_tenant(self) -> None:
        for tabs in self.tabs:
            for one in tabs:
                assert one.browser.user_id == one.user_id

    @invariant()
    def the_cookies_of_one_tenant_open_nothing_at_the_other(self) -> None:
        for tenant, tabs in enumerate(self.tabs):
            for one in tabs:
                cookies = one.browser.at.follow("/").cookies
                carried = Browser(self.worlds[1 - tenant])
                carried.at = FakeRequest(cookies=cookies, auth=self.worlds[1 - tenant].auth)
                assert carried.user_id is None
                assert carried.give_word().status >= 400
                assert carried.user_id is None

    @invariant()
    def each_token_opens_only_its_own_tenant(self) -> None:
        for token in self.tokens[-4:]:
            for tenant in (0, 1):
                request = FakeRequest("/api", headers={"Authorization": f"Bearer {token.text}"})
                found = None
                with suppress(AuthError):
                    found = self.method(tenant).authenticate(request)
                opens = tenant == token.tenant and not token.is_revoked
                assert (None if found is None else found.user.id) == (token.user_id if opens else None)


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Tenants, settings=settings(max_examples=examples, stateful_step_count=steps)
    )


@pytest.mark.requirement("SECURITY-38")
def test_a_few_sequences() -> None:
    run(25, 25)


@pytest.mark.slow
@pytest.mark.requirement("SECURITY-38")
def test_many_sequences() -> None:
    run(400, 50)
