"""Link and unlink a provider on the account page."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asok_auth_core.contracts import LoginMethod
from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.flows.linking import KIND, account_for, identity_key, linked
from asok_auth_core.flows.sessions import begin_session
from asok_auth_core.methods.oauth_api import OAuthApi
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, MemoryUsers
from asok_auth_core.testing.oauth_app import OAuthApp, error_code, location
from asok_auth_core.testing.raises import raises_code
from asok_auth_core.types import JSON, Authentication, Credential, Proof, User
from asok_auth_core.web import WebResponse

ISSUER = "https://login.example"
MakeApp = Callable[..., OAuthApp]


def test_linking_adds_an_identity_to_the_current_user(make_app: MakeApp) -> None:
    user = FakeUser("9", "nine@example.com")
    app = make_app(users=MemoryUsers(user))
    app.fake.claims["email_verified"] = False  # linking does not depend on the email address
    browser, url = app.start(app.logged_in(user), action="link")
    browser, response = app.finish(browser, app.fake.authorize(url))
    assert location(response) == "/auth/account"
    assert [identity.provider for identity in linked(app.auth, user)] == ["example"]
    again, _ = app.log_in()
    assert again.session.user is user
    page = app.send(app.logged_in(user))
    assert "Unlink Example" in page.body


def test_linking_fails_if_another_user_logs_in_meanwhile(make_app: MakeApp) -> None:
    user, other = FakeUser("9", "nine@example.com"), FakeUser("8", "eight@example.com")
    app = make_app(users=MemoryUsers(user, other))
    browser, url = app.start(app.logged_in(user), action="link")
    begin_session(app.auth, browser, other, method="app", factors=(), remember=False)
    _, response = app.finish(browser, app.fake.authorize(url))
    assert error_code(response) == "oauth_state"
    assert not app.credentials.list("9", "identity")
    assert not app.credentials.list("8", "identity")


def test_an_identity_is_not_taken_from_another_account(app: OAuthApp) -> None:
    app.log_in()
    other = app.users.create("other@example.com")
    browser, url = app.start(app.logged_in(other), action="link")
    _, response = app.finish(browser, app.fake.authorize(url))
    assert error_code(response) == "oauth_identity_taken"


def test_linking_twice_changes_nothing(app: OAuthApp) -> None:
    browser, _ = app.log_in()
    user = browser.session.user
    assert user is not None
    before = app.credentials.list(str(user.id), KIND)
    browser, url = app.start(app.logged_in(user), action="link")
    _, response = app.finish(browser, app.fake.authorize(url))
    assert location(response) == "/auth/account"
    assert [row.id for row in app.credentials.list(str(user.id), KIND)] == [row.id for row in before]
    assert app.events.count("identity.linked") == 1


@pytest.mark.requirement("SECURITY-14")
def test_an_identity_linked_to_another_account_meanwhile_stays_there(make_app: MakeApp) -> None:
    user, other = FakeUser("9", "nine@example.com"), FakeUser("8", "eight@example.com")
    app = make_app(users=MemoryUsers(user, other))
    add = app.credentials.add

    def late(user_id: str, kind: str, identifier: str, data: JSON) -> Credential:
        add("8", kind, identifier, data)  # another worker, after this one's lookup
        return add(user_id, kind, identifier, data)

    browser, url = app.start(app.logged_in(user), action="link")
    app.credentials.add = late  # type: ignore[method-assign]
    _, response = app.finish(browser, app.fake.authorize(url))
    assert error_code(response) == "oauth_identity_taken"
    assert linked(app.auth, user) == []
    assert len(linked(app.auth, other)) == 1
    assert "identity.linked" not in app.events


def test_an_identity_linked_and_unlinked_meanwhile_is_linked(app: OAuthApp) -> None:
    """By the same user in another worker, after this one's lookup."""
    user = app.users.create("nine@example.com")
    add = app.credentials.add

    def late(user_id: str, kind: str, identifier: str, data: JSON) -> Credential:
        app.credentials.add = add  # type: ignore[method-assign]
        unlinked = add(user_id, kind, identifier, data)
        try:
            return add(user_id, kind, identifier, data)
        finally:
            app.credentials.remove(unlinked)

    browser, url = app.start(app.logged_in(user), action="link")
    app.credentials.add = late  # type: ignore[method-assign]
    _, response = app.finish(browser, app.fake.authorize(url))
    assert location(response) == "/auth/account"
    assert [identity.provider for identity in linked(app.auth, user)] == ["example"]


@pytest.mark.requirement("SECURITY-24")
def test_linking_and_unlinking_need_a_recent_login(app: OAuthApp) -> None:
    browser, _ = app.log_in()
    app.clock.advance(app.auth.settings.recent_login + 1)
    for path in ("/auth/example/link", "/auth/oauth/unlink"):
        response = app.send(browser.follow(path, form={}))
        assert error_code(response) == "recent_login_required"
        assert error_code(app.send(FakeRequest(path, form={}))) == "login_required"


@pytest.mark.requirement("SECURITY-43")
@pytest.mark.parametrize("path", ["/auth/example/link", "/auth/oauth/unlink", "callback"])
@pytest.mark.parametrize("proof", ["token", "impersonator"])
def test_neither_an_impersonator_nor_a_token_links_or_unlinks(app: OAuthApp, path: str, proof: str) -> None:
    """Not even one that finishes what its user started."""
    user = app.users.create("nine@example.com")
    browser = app.logged_in(user)
    if path == "callback":
        browser, url = app.start(browser, action="link")
        request = browser.follow(app.fake.authorize(url).removeprefix("https://app.example"))
    else:
        request = browser.follow(path, form={})
    if proof == "token":
        request.authentication = Authentication(user, scopes=("*",), ambient=False)
    else:
        other = app.users.create("root@example.com")
        record = begin_session(app.auth, FakeRequest(), other, method="app", factors=(), remember=False)
        request = FakeRequest(
            request.path,
            method=request.method,
            query=request.query,
            form=request.form,
            cookies=request.cookies,
        )
        request.session.user, request.session.record = user, record
    assert error_code(app.send(request)) == "permission_denied"
    assert linked(app.auth, user) == []


@pytest.mark.requirement("SECURITY-24")
def test_a_link_cannot_be_finished_as_a_documented_login(app: OAuthApp) -> None:
    """A logged-in user started it to add a login method; it must not log any user in."""
    app.log_in()
    browser, url = app.start(app.logged_in(app.users.create("other@example.com")), action="link")
    request = browser.follow(app.fake.authorize(url).removeprefix("https://app.example"))
    with raises_code("oauth_state"):
        OAuthApi(app.oauth.flow).callback(request, "example")
    assert request.proofs == []


def unlink(app: OAuthApp, user: User) -> WebResponse:
    (identity,) = linked(app.auth, user)
    return app.send(app.logged_in(user, "/auth/oauth/unlink", {"identity": identity.id, "confirmed": "yes"}))


def test_unlinking_asks_first(app: OAuthApp) -> None:
    browser, _ = app.log_in()
    user = browser.session.user
    assert user is not None
    app.auth.login_methods["other"] = Other()
    (identity,) = linked(app.auth, user)
    page = app.send(app.logged_in(user, "/auth/oauth/unlink", {"identity": identity.id})).text
    assert "<h1>Unlink Example?</h1>" in page
    assert f'name="identity" value="{identity.id}"' in page
    assert len(linked(app.auth, user)) == 1
    unknown = app.logged_in(user, "/auth/oauth/unlink", {"identity": "unknown", "confirmed": "yes"})
    assert location(app.send(unknown)) == "/auth/account"
    assert len(linked(app.auth, user)) == 1


class Other(LoginMethod):
    """Another login method, whose ``can_log_in`` returns ``answer``."""

    name = "other"

    def __init__(self, answer: object = True) -> None:
        self.answer = answer

    def can_log_in(self, user: User) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]


@pytest.mark.requirement("SECURITY-34")
@pytest.mark.parametrize(
    "answer", [False, None, "yes", 1, OSError("down"), StoreUnavailable("down"), LoginMethod], ids=repr
)
def test_only_true_counts_as_another_login_method(app: OAuthApp, answer: object) -> None:
    browser, _ = app.log_in()
    user = browser.session.user
    assert user is not None
    app.auth.login_methods["other"] = Other(answer)
    assert error_code(unlink(app, user)) == "oauth_last_login_method"
    assert len(linked(app.auth, user)) == 1


def test_the_last_login_method_cannot_be_unlinked(app: OAuthApp) -> None:
    browser, _ = app.log_in()
    user = browser.session.user
    assert user is not None
    assert error_code(unlink(app, user)) == "oauth_last_login_method"
    assert len(linked(app.auth, user)) == 1
    app.auth.login_methods["other"] = Other()
    assert location(unlink(app, user)) == "/auth/account"
    assert linked(app.auth, user) == []
    assert "identity.unlinked" in app.events


@pytest.mark.parametrize("gone", [False, True])
def test_after_a_transaction_the_last_login_method_is_linked_again_unless_its_user_is_gone(
    app: OAuthApp, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """A later account with the same id must not inherit it."""
    browser, _ = app.log_in()
    user = browser.session.user
    assert user is not None
    later: list[Callable[[], None]] = []
    monkeypatch.setattr(app.credentials, "repeat_after_transaction", later.append)
    assert error_code(unlink(app, user)) == "oauth_last_login_method"
    for row in app.credentials.list(str(user.id), KIND):
        app.credentials.remove(row)  # what was added in the transaction is rolled back
    if gone:
        monkeypatch.setattr(app.users, "by_id", lambda user_id: None)
    [action] = later
    action()
    assert len(app.credentials.list(str(user.id), KIND)) == (0 if gone else 1)


@pytest.mark.parametrize(("provider", "allowed"), [("example", True), ("uninstalled", False)])
def test_an_identity_is_a_login_method_while_its_provider_is_installed(
    app: OAuthApp, provider: str, allowed: bool
) -> None:
    browser, _ = app.log_in()
    user = browser.session.user
    assert user is not None
    (first,) = linked(app.auth, user)
    app.credentials.add(str(user.id), KIND, identity_key(ISSUER, "other"), {"provider": provider})
    response = app.send(app.logged_in(user, "/auth/oauth/unlink", {"identity": first.id, "confirmed": "yes"}))
    if allowed:
        assert location(response) == "/auth/account"
    else:
        assert error_code(response) == "oauth_last_login_method"
    assert len(linked(app.auth, user)) == (1 if allowed else 2)


def test_the_identity_of_another_user_cannot_be_unlinked(app: OAuthApp) -> None:
    browser, _ = app.log_in()
    owner = browser.session.user
    assert owner is not None
    (identity,) = linked(app.auth, owner)
    other = app.users.create("other@example.com")
    app.credentials.add("2", KIND, identity_key(ISSUER, "other"), {"provider": "example"})
    assert str(other.id) == "2"  # a user with another login method
    app.send(app.logged_in(other, "/auth/oauth/unlink", {"identity": identity.id, "confirmed": "yes"}))
    assert len(linked(app.auth, owner)) == 1


@pytest.mark.requirement("SECURITY-14")
def test_a_proof_without_an_identity_leads_to_no_account(app: OAuthApp) -> None:
    """Not even with a verified email address: the proof's flow decides."""
    app.users.create("ada@example.com")
    with pytest.raises(ValueError, match="without an identity"):
        account_for(app.auth, Proof("magic", "ada@example.com"))
