"""Logins at a provider: state and browser, accounts and linking, buttons and pages."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from markupsafe import Markup

from asok_auth_core import Claims, Fetch, Identity, SecondFactor, hookimpl
from asok_auth_core.engine.message import Reply
from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.flows.linking import KIND, identity_key, linked
from asok_auth_core.flows.login import LOGIN_KEY
from asok_auth_core.flows.oauth import Finished
from asok_auth_core.flows.oauth_state import LIFETIME, MAX_FLOWS
from asok_auth_core.flows.verified_emails import mark_email_verified
from asok_auth_core.methods.oauth_api import OAuthApi
from asok_auth_core.providers import OAuth2Provider, OpenIDProvider
from asok_auth_core.testing.fake_provider import SUBJECT
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, MemoryUsers
from asok_auth_core.testing.oauth_app import OAuthApp, error_code, location
from asok_auth_core.testing.raises import raises_code
from asok_auth_core.types import JSON, Credential, LoginAttempt, User
from asok_auth_core.web import WebRequest, WebResponse

ISSUER = "https://login.example"
PROFILE: dict[str, JSON] = {"email": "ada@example.com", "email_verified": True, "name": "Ada"}
REDIRECT_URI = "https://app.example/auth/example/callback"


def make(tmp_path: Path, *, name: str = "example", **more: object) -> OAuthApp:
    provider = OpenIDProvider.named(name, label="Example", issuer=ISSUER)
    return OAuthApp(provider, tmp_path, profile=PROFILE, **more)  # type: ignore[arg-type]


@pytest.fixture
def app(tmp_path: Path) -> OAuthApp:
    return make(tmp_path)


def recent(
    app: OAuthApp, user: User, url: str = "/auth/account", form: Mapping[str, str] | None = None
) -> FakeRequest:
    """A browser whose user logged in just now."""
    request = FakeRequest(url, user=user, form=form)
    request.session.set(LOGIN_KEY, {"user": str(user.id), "at": app.clock(), "method": "app", "factor": None})
    return request


# -- state and browser ---------------------------------------------------------------------------


def test_2_code_and_state_are_worth_nothing_in_another_browser(app: OAuthApp) -> None:
    """Authlib CVE-2025-68158, 2026-41425: state not bound to the browser."""
    person, url = app.begin(FakeRequest())
    callback = app.fake.authorize(url)
    thief, response = app.finish(FakeRequest(), callback)
    assert error_code(response) == "oauth_state"
    assert thief.session.user is None
    assert app.fake.count(app.fake.token_endpoint) == 0
    # The theft does not use the login up for the person.
    person, response = app.finish(person, callback)
    assert location(response) == "/"
    assert person.session.user is not None


def test_2_the_cookie_of_another_flow_does_not_do(app: OAuthApp) -> None:
    """The thief has begun a login too, and renames their cookie to the stolen flow's name."""
    person, url = app.begin(FakeRequest())
    callback = app.fake.authorize(url)
    thief, _ = app.begin(FakeRequest())
    (own,) = [value for value, _, _ in thief.sent_cookies.values()]
    (stolen,) = person.sent_cookies
    _, response = app.finish(FakeRequest(cookies={stolen: own}), callback)
    assert error_code(response) == "oauth_state"
    assert app.fake.count(app.fake.token_endpoint) == 0


def test_1_the_same_callback_twice_is_one_login(app: OAuthApp) -> None:
    browser, url = app.begin(FakeRequest())
    callback = app.fake.authorize(url)
    _, first = app.finish(browser, callback)
    _, second = app.finish(browser, callback)  # the tab that still has its cookie
    assert location(first) == "/"
    assert error_code(second) == "oauth_state"
    assert app.events.count("login.succeeded") == 1
    assert app.fake.count(app.fake.token_endpoint) == 1


def test_1_the_same_callback_from_eight_threads_is_one_login(app: OAuthApp) -> None:
    browser, url = app.begin(FakeRequest())
    callback = app.fake.authorize(url)
    barrier, answers = threading.Barrier(8), []

    def finish() -> None:
        barrier.wait()
        answers.append(app.finish(browser, callback)[1].status)

    threads = [threading.Thread(target=finish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [303, *[400] * 7]
    assert len(app.users) == 1  # type: ignore[arg-type]


def test_2_three_interleaved_logins_in_one_browser_all_finish(app: OAuthApp) -> None:
    browser, urls = FakeRequest(), []
    for page in ("/one", "/two", "/three"):
        browser, url = app.begin(browser, next_url=page)
        urls.append(url)
    places = []
    for url in (urls[1], urls[2], urls[0]):
        browser, response = app.finish(browser, app.fake.authorize(url))
        places.append(location(response))
    assert places == ["/two", "/three", "/one"]
    assert len(app.users) == 1  # type: ignore[arg-type]
    assert not [name for name in browser.follow("/").cookies if "oauth" in name]


def test_2_a_login_begun_on_one_worker_finishes_on_another(app: OAuthApp, tmp_path: Path) -> None:
    other = make(tmp_path, same_as=app)
    browser, url = app.begin(FakeRequest(), next_url="/welcome")
    browser, response = other.finish(browser, app.fake.authorize(url))
    assert location(response) == "/welcome"
    assert browser.session.user is not None


def test_2_a_login_that_took_too_long_is_over(app: OAuthApp) -> None:
    browser, url = app.begin(FakeRequest())
    app.clock.advance(LIFETIME + 1)
    _, response = app.finish(browser, app.fake.authorize(url))
    assert error_code(response) == "oauth_state"


def test_2_flow_cookies_do_not_pile_up(app: OAuthApp) -> None:
    browser, first = app.begin(FakeRequest())
    for _ in range(MAX_FLOWS + 3):
        app.clock.advance(1)
        browser, last = app.begin(browser)
    assert sum("oauth" in name for name in browser.follow("/").cookies) == MAX_FLOWS
    _, response = app.finish(browser, app.fake.authorize(first))
    assert error_code(response) == "oauth_state"
    _, response = app.finish(browser, app.fake.authorize(last))
    assert location(response) == "/"


def test_11_an_answer_of_another_provider_does_not_finish_the_flow(tmp_path: Path) -> None:
    """Two providers mixed up: the flow of one comes back on the callback of the other."""
    app = make(tmp_path)
    second = OpenIDProvider.named("second", label="Second", issuer="https://second.example")
    app.auth.providers["second"] = second.configured({"client_id": "a", "client_secret": "b"})
    app.router = type(app.router)(app.auth)
    browser, url = app.begin(FakeRequest())
    callback = app.fake.authorize(url).replace("/auth/example/", "/auth/second/")
    _, response = app.finish(browser, callback)
    assert error_code(response) == "oauth_state"
    assert app.fake.count(app.fake.token_endpoint) == 0


def test_17_a_get_begins_nothing(app: OAuthApp) -> None:
    """OmniAuth CVE-2015-9284: a login started by a cross-site GET."""
    request = FakeRequest("/auth/example/login?next=/there")
    response = app.send(request)
    assert response.status == 200
    assert 'method="post"' in response.body
    assert 'value="/there"' in response.body
    assert not request.sent_cookies
    assert app.router.match("/auth/example/login").csrf  # type: ignore[union-attr]


def test_26_head_of_the_callback_uses_nothing_up(app: OAuthApp) -> None:
    browser, url = app.begin(FakeRequest())
    callback = app.fake.authorize(url)
    head = browser.follow(callback.removeprefix("https://app.example"), method="HEAD")
    assert app.send(head).status == 200
    assert location(app.finish(browser, callback)[1]) == "/"


@pytest.mark.parametrize(
    "place",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/%2f%2fevil.example",
        "/\tx",
        "javascript:1",
    ],
)
def test_16_next_leads_nowhere_else(app: OAuthApp, place: str) -> None:
    _, response = app.log_in(next_url=place)
    assert location(response) == "/"


def test_the_persons_no_is_a_friendly_page(app: OAuthApp) -> None:
    browser, url = app.begin(FakeRequest())
    app.fake.answer.update(code=None, error="access_denied")
    browser, response = app.finish(browser, app.fake.authorize(url))
    assert error_code(response) == "oauth_denied"
    assert "You chose not to log in with Example" in response.body
    assert "/auth/login" in response.body
    assert browser.session.user is None


def test_30_nothing_secret_lies_in_the_state_store_or_the_log(
    app: OAuthApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    kept: list[bytes] = []
    put = app.auth.state.put
    app.auth.state.put = lambda key, value, ttl: (kept.extend((key.encode(), value)), put(key, value, ttl))[1]  # type: ignore[method-assign]
    browser, url = app.begin(FakeRequest())
    callback = app.fake.authorize(url)
    browser, response = app.finish(browser, callback)
    asked = parse_qs(urlsplit(url).query)
    verifier = app.fake.calls[-2].form["code_verifier"] if app.fake.calls[-2].form else ""
    (cookie,) = [value for request in [browser] for value in request.cookies.values()]
    secrets = [asked["state"][0], asked["nonce"][0], verifier, cookie.partition(".")[2], "a-secret", "code-1"]
    assert all(secrets)
    for secret in secrets:
        assert not [item for item in kept if secret.encode() in item]
        assert secret not in caplog.text
        assert secret not in response.body
    assert location(response) == "/"


# -- accounts and linking ------------------------------------------------------------------------


def test_14_an_identity_is_issuer_and_subject(app: OAuthApp) -> None:
    """django-allauth CVE-2025-65431: a renamed user is the same user."""
    first, _ = app.log_in()
    app.fake.profile.update(email="other@example.com", name="Grace")
    second, _ = app.log_in()
    assert first.session.user is second.session.user
    assert len(app.users) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("subject", ["abc ", "ABC", "abc\u0000", "\u0430bc"])
def test_14_a_subject_is_compared_exactly(subject: str) -> None:
    """social-app-django CVE-2024-32879: a database folds case."""
    assert identity_key(ISSUER, "abc") != identity_key(ISSUER, subject)
    assert identity_key("ab", "c") != identity_key("a", "bc")


def test_14_the_same_subject_at_another_issuer_is_somebody_else(app: OAuthApp) -> None:
    app.log_in()
    assert identity_key(ISSUER, SUBJECT) != identity_key("https://second.example", SUBJECT)
    app.auth.credentials.add("1", KIND, identity_key("https://second.example", SUBJECT), {})
    assert len(app.credentials.list("1", KIND)) == 2


def test_15_a_pre_registered_account_is_not_joined(tmp_path: Path) -> None:
    """An attacker registered the person's address and never proved it."""
    attacker = FakeUser("9", "ada@example.com")
    app = make(tmp_path, users=MemoryUsers(attacker))
    browser, response = app.log_in()
    assert error_code(response) == "oauth_link_required"
    assert "Log in to it first" in response.body
    assert browser.session.user is None
    assert not app.credentials.list("9")
    assert app.events == ["login.failed"], "SECURITY 31: that it was refused is an event"


def test_15_an_account_with_a_proved_address_is_joined(tmp_path: Path) -> None:
    user = FakeUser("9", "ada@example.com")
    app = make(tmp_path, users=MemoryUsers(user))
    mark_email_verified(app.auth, user, "ada@example.com")
    browser, response = app.log_in()
    assert location(response) == "/"
    assert browser.session.user is user


def test_15_the_address_is_compared_without_case(tmp_path: Path) -> None:
    user = FakeUser("9", "ada@example.com")
    app = make(tmp_path, users=MemoryUsers(user))
    mark_email_verified(app.auth, user, "ada@example.com")
    app.fake.profile["email"] = "Ada@Example.COM"
    browser, _ = app.log_in()
    assert browser.session.user is user


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_15_an_unverified_address_gets_one_answer_account_or_not(tmp_path: Path, verified: JSON) -> None:
    user = FakeUser("9", "ada@example.com")
    bodies = []
    for users in (MemoryUsers(), MemoryUsers(user)):
        app = make(tmp_path, users=users)
        mark_email_verified(app.auth, user, "ada@example.com")
        app.fake.claims["email_verified"] = verified
        _, response = app.log_in()
        assert error_code(response) == "oauth_address_unproved"
        bodies.append(response.body)
        assert not app.credentials.list("9", KIND)
    assert bodies[0] == bodies[1]


class Careless(OpenIDProvider):
    """A plugin that hands on what it was sent."""

    def identity(self, claims: Claims, fetch: Fetch) -> Identity:
        return replace(super().identity(claims, fetch), email_verified=claims["email_verified"])  # type: ignore[arg-type]


def test_15_a_careless_plugin_verifies_no_address(tmp_path: Path) -> None:
    app = OAuthApp(Careless.named("example", label="Example", issuer=ISSUER), tmp_path, profile=PROFILE)
    app.fake.claims["email_verified"] = "true"
    seen: list[Identity] = []
    finish = app.oauth.flow.finish

    def noting(*given: Any, **more: Any) -> Finished:
        finished = finish(*given, **more)
        seen.append(finished.identity)
        return finished

    app.oauth.flow.finish = noting  # type: ignore[method-assign]
    app.log_in()
    assert seen[0].email_verified is False


class Mistaken(OAuth2Provider):
    """A plugin whose mapping of the profile goes wrong as ``how`` says."""

    name = "example"
    label = "Example"
    issuer = ISSUER
    authorization_endpoint = f"{ISSUER}/authorize"
    token_endpoint = f"{ISSUER}/token"
    userinfo_endpoint = f"{ISSUER}/me"
    how = ""

    def identity(self, claims: Claims, fetch: Fetch) -> Identity:
        if self.how == "missing":
            return Identity(ISSUER, str(claims["id"]))
        if self.how == "type":
            return Identity(ISSUER, claims["email"] + 1)  # type: ignore[operator]
        if self.how == "nothing":
            return None  # type: ignore[return-value]
        return Identity(ISSUER, "" if self.how == "empty" else 7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("missing", "oauth_reply"),
        ("type", "oauth_reply"),
        ("nothing", "oauth_subject"),
        ("empty", "oauth_subject"),
        ("number", "oauth_subject"),
    ],
)
def test_14_a_mistaken_plugin_logs_nobody_in(
    tmp_path: Path, how: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its author finds the error in the log; the person reads a plain sentence."""
    provider = Mistaken()
    provider.how = how
    app = OAuthApp(provider, tmp_path, profile=PROFILE)
    browser, response = app.log_in()
    assert error_code(response) == code
    assert browser.session.user is None
    assert len(app.users) == 0  # type: ignore[arg-type]
    assert ("Provider 'example' could not read a profile." in caplog.text) is (code == "oauth_reply")
    assert "Traceback" not in response.body


def test_9_a_profile_that_is_no_object_logs_nobody_in(tmp_path: Path) -> None:
    app = OAuthApp(Mistaken(), tmp_path, profile=PROFILE)
    app.fake.replies[f"{ISSUER}/me"] = Reply(200, b'["ada@example.com"]')
    browser, response = app.log_in()
    assert error_code(response) == "oauth_reply"
    assert browser.session.user is None


@pytest.mark.parametrize("uri", ["http://app.example/own", "/own", "https://", "javascript:alert(1)"])
def test_10_people_are_sent_back_by_https_only(app: OAuthApp, uri: str) -> None:
    request = FakeRequest("/start")
    with raises_code("oauth_insecure_address", match="must be https"):
        OAuthApi(app.oauth.flow).get_auth_url(request, "example", "own-id", redirect_uri=uri)
    assert not request.sent_cookies
    assert app.fake.calls == []


def test_10_in_debug_they_may_be_sent_back_by_http(tmp_path: Path) -> None:
    app = make(tmp_path, debug=True)
    api = OAuthApi(app.oauth.flow)
    url = api.get_auth_url(FakeRequest(), "example", "own-id", redirect_uri="http://localhost:8000/own")
    assert parse_qs(urlsplit(url).query)["redirect_uri"] == ["http://localhost:8000/own"]


def test_23_a_disabled_account_does_not_log_in(app: OAuthApp) -> None:
    browser, _ = app.log_in()
    user = browser.session.user
    assert isinstance(user, FakeUser)
    user.is_active = False
    browser, response = app.log_in()
    assert error_code(response) == "login_rejected"
    assert browser.session.user is None


def test_an_identity_of_a_deleted_account_begins_anew(app: OAuthApp) -> None:
    app.auth.credentials.add("77", KIND, identity_key(ISSUER, SUBJECT), {"provider": "example"})
    browser, response = app.log_in()
    assert location(response) == "/"
    assert browser.session.user is not None
    assert not app.credentials.list("77")


def test_linking_adds_an_identity_to_who_is_logged_in(tmp_path: Path) -> None:
    user = FakeUser("9", "nine@example.com")
    app = make(tmp_path, users=MemoryUsers(user))
    app.fake.claims["email_verified"] = False  # linking does not rest on the address
    browser, url = app.begin(recent(app, user), action="link")
    browser, response = app.finish(browser, app.fake.authorize(url))
    assert location(response) == "/auth/account"
    assert [identity.provider for identity in linked(app.auth, user)] == ["example"]
    again, _ = app.log_in()
    assert again.session.user is user
    page = app.send(recent(app, user))
    assert "Unlink Example" in page.body


def test_linking_ends_with_the_login_it_began_with(tmp_path: Path) -> None:
    user, other = FakeUser("9", "nine@example.com"), FakeUser("8", "eight@example.com")
    app = make(tmp_path, users=MemoryUsers(user, other))
    browser, url = app.begin(recent(app, user), action="link")
    browser.session.user = other
    _, response = app.finish(browser, app.fake.authorize(url))
    assert error_code(response) == "oauth_state"
    assert not app.credentials.list("9")
    assert not app.credentials.list("8")


def test_an_identity_is_not_taken_from_another_account(app: OAuthApp) -> None:
    app.log_in()
    other = app.users.create("other@example.com")
    browser, url = app.begin(recent(app, other), action="link")
    _, response = app.finish(browser, app.fake.authorize(url))
    assert error_code(response) == "oauth_identity_taken"


def test_linking_what_is_linked_already_changes_nothing(app: OAuthApp) -> None:
    browser, _ = app.log_in()
    user = browser.session.user
    assert user is not None
    before = app.credentials.list(str(user.id), KIND)
    browser, url = app.begin(recent(app, user), action="link")
    _, response = app.finish(browser, app.fake.authorize(url))
    assert location(response) == "/auth/account"
    assert [row.id for row in app.credentials.list(str(user.id), KIND)] == [row.id for row in before]
    assert app.events.count("identity.linked") == 1


def test_14_first_logins_in_two_tabs_make_one_account(app: OAuthApp) -> None:
    """The second is answered while the first still makes the account."""
    create, meanwhile = app.users.create, []

    def slow(email: str, name: str | None = None) -> User:
        meanwhile.append(app.log_in()[1])
        return create(email, name)

    app.users.create = slow  # type: ignore[method-assign]
    _, response = app.log_in()
    assert location(response) == "/"
    assert [error_code(other) for other in meanwhile] == ["oauth_state"]
    assert "in another tab" in meanwhile[0].body
    assert len(app.users) == 1  # type: ignore[arg-type]
    assert location(app.log_in()[1]) == "/", "what kept the second tab out is gone"


def test_14_an_identity_linked_elsewhere_meanwhile_stays_there(tmp_path: Path) -> None:
    user, other = FakeUser("9", "nine@example.com"), FakeUser("8", "eight@example.com")
    app = make(tmp_path, users=MemoryUsers(user, other))
    add = app.credentials.add

    def late(user_id: str, kind: str, identifier: str, data: JSON) -> Credential:
        add("8", kind, identifier, data)  # another worker, after this one has looked
        return add(user_id, kind, identifier, data)

    browser, url = app.begin(recent(app, user), action="link")
    app.credentials.add = late  # type: ignore[method-assign]
    _, response = app.finish(browser, app.fake.authorize(url))
    assert error_code(response) == "oauth_identity_taken"
    assert linked(app.auth, user) == []
    assert len(linked(app.auth, other)) == 1
    assert "identity.linked" not in app.events


def test_24_linking_and_unlinking_need_a_recent_login(app: OAuthApp) -> None:
    browser, _ = app.log_in()
    app.clock.advance(app.auth.settings.recent_login + 1)
    for path in ("/auth/example/link", "/auth/oauth/unlink"):
        response = app.send(browser.follow(path, form={}))
        assert error_code(response) == "recent_login_required"
        assert error_code(app.send(FakeRequest(path, form={}))) == "login_required"


def unlink(app: OAuthApp, user: User) -> WebResponse:
    (identity,) = linked(app.auth, user)
    return app.send(recent(app, user, "/auth/oauth/unlink", {"identity": identity.id}))


def test_the_last_way_in_cannot_be_unlinked(app: OAuthApp) -> None:
    browser, _ = app.log_in()
    user = browser.session.user
    assert user is not None
    assert error_code(unlink(app, user)) == "oauth_last_way_in"
    assert len(linked(app.auth, user)) == 1
    app.auth.login_methods["magic"] = app.oauth  # now mail is another way in, as the address is proved
    assert location(unlink(app, user)) == "/auth/account"
    assert linked(app.auth, user) == []
    assert "identity.unlinked" in app.events


@pytest.mark.parametrize(("provider", "allowed"), [("example", True), ("uninstalled", False)])
def test_another_identity_is_a_way_in_while_its_provider_is_there(
    app: OAuthApp, provider: str, allowed: bool
) -> None:
    browser, _ = app.log_in()
    user = browser.session.user
    assert user is not None
    (first,) = linked(app.auth, user)
    app.credentials.add(str(user.id), KIND, identity_key(ISSUER, "other"), {"provider": provider})
    response = app.send(recent(app, user, "/auth/oauth/unlink", {"identity": first.id}))
    if allowed:
        assert location(response) == "/auth/account"
    else:
        assert error_code(response) == "oauth_last_way_in"
    assert len(linked(app.auth, user)) == (1 if allowed else 2)


def test_somebody_elses_identity_cannot_be_unlinked(app: OAuthApp) -> None:
    browser, _ = app.log_in()
    owner = browser.session.user
    assert owner is not None
    (identity,) = linked(app.auth, owner)
    other = app.users.create("other@example.com")
    app.credentials.add("2", KIND, identity_key(ISSUER, "other"), {"provider": "example"})
    assert str(other.id) == "2"  # who has a way in of their own
    app.send(recent(app, other, "/auth/oauth/unlink", {"identity": identity.id}))
    assert len(linked(app.auth, owner)) == 1


# -- the documented calls ------------------------------------------------------------------------


def documented(app: OAuthApp, **more: str | None) -> tuple[FakeRequest, str]:
    request = FakeRequest("/start")
    url = OAuthApi(app.oauth.flow).get_auth_url(
        request, provider_name="example", client_id="own-id", redirect_uri="https://app.example/own", **more
    )
    return request, url


def test_the_documented_calls_keep_state_by_themselves(app: OAuthApp) -> None:
    request, url = documented(app, state=None)
    callback = app.fake.authorize(url)
    request = request.follow(callback.removeprefix("https://app.example"))
    info = OAuthApi(app.oauth.flow).callback(
        request,
        provider_name="example",
        client_id="own-id",
        client_secret="own-secret",
        code=request.query.get("code"),
        redirect_uri="https://app.example/own",
    )
    assert (info["email"], info["name"], info["provider_id"]) == ("ada@example.com", "Ada", SUBJECT)
    assert (info["provider"], info["issuer"], info["email_verified"]) == ("example", ISSUER, True)
    assert info["picture"] is None
    assert isinstance(info["raw"], dict)
    assert json.dumps(info)
    assert request.verified_email == "ada@example.com"
    form = app.fake.calls[-2].form
    headers = app.fake.calls[-2].headers
    assert form is not None
    assert form["redirect_uri"] == "https://app.example/own"
    basic = base64.b64decode(headers["Authorization"].split()[1])
    assert basic == b"own-id:own-secret"


@pytest.mark.parametrize(
    ("passed", "works"),
    [
        ({"state": "s" * 43, "expected_state": "s" * 43}, True),
        ({"expected_state": "s" * 43}, True),
        ({"state": "s" * 43, "expected_state": "t" * 43}, False),
        ({"expected_state": ""}, False),
        ({"state": "t" * 43}, False),
        ({"redirect_uri": "https://app.example/another"}, False),
    ],
)
def test_the_callers_own_state_is_honoured(app: OAuthApp, passed: dict[str, str], works: bool) -> None:
    request, url = documented(app, state="s" * 43)
    assert parse_qs(urlsplit(url).query)["state"] == ["s" * 43]
    request = request.follow(app.fake.authorize(url).removeprefix("https://app.example"))
    api = OAuthApi(app.oauth.flow)
    if works:
        assert api.callback(request, "example", "own-id", "own-secret", **passed)["email"]
    else:
        with raises_code("oauth_state"):
            api.callback(request, "example", "own-id", "own-secret", **passed)


def test_15_documented_pages_never_see_an_unverified_address(app: OAuthApp) -> None:
    app.fake.claims["email_verified"] = False
    request, url = documented(app)
    request = request.follow(app.fake.authorize(url).removeprefix("https://app.example"))
    with raises_code("oauth_address_unproved"):
        OAuthApi(app.oauth.flow).callback(request, "example", "own-id", "own-secret")
    assert request.verified_email is None


def test_a_page_that_keys_by_issuer_and_subject_may_take_it(app: OAuthApp) -> None:
    app.fake.claims["email_verified"] = False
    request, url = documented(app)
    request = request.follow(app.fake.authorize(url).removeprefix("https://app.example"))
    api = OAuthApi(app.oauth.flow)
    info = api.callback(request, "example", "own-id", "own-secret", require_verified_email=False)
    assert (info["provider_id"], info["email_verified"]) == (SUBJECT, False)
    assert request.verified_email is None


def test_missing_credentials_are_said(tmp_path: Path) -> None:
    app = make(tmp_path)
    app.auth.providers["example"] = OpenIDProvider.named("example", label="Example", issuer=ISSUER)
    api = OAuthApi(app.oauth.flow)
    with raises_code("oauth_not_configured", match="client id is missing"):
        api.get_auth_url(FakeRequest(), "example")
    with raises_code("oauth_not_configured"):
        api.get_auth_url(FakeRequest(), "nobody", "id")
    request, url = documented(app)
    request = request.follow(app.fake.authorize(url).removeprefix("https://app.example"))
    with raises_code("oauth_not_configured", match="client secret is missing"):
        api.callback(request, "example", "own-id")
    assert app.fake.count(app.fake.token_endpoint) == 0


def test_on_login_is_called_as_asok_auth_providers_did(tmp_path: Path) -> None:
    seen: list[tuple[object, dict[str, JSON]]] = []
    app = make(tmp_path, config={"ON_LOGIN": lambda request, info: seen.append((request, info))})
    _, response = app.log_in(next_url="/after")
    assert location(response) == "/after"
    ((_, info),) = seen
    assert {"provider", "provider_id", "email", "name", "picture", "raw"} <= set(info)
    assert len(app.users) == 0  # type: ignore[arg-type]
    app.fake.claims["email_verified"] = False
    _, response = app.log_in()
    assert error_code(response) == "oauth_address_unproved"
    assert len(seen) == 1


def test_on_login_finds_where_the_person_wanted_to_go(tmp_path: Path) -> None:
    """For ``request.login(user)`` within it: a second factor asked for there must not lose the place."""
    seen: list[FakeRequest] = []
    app = make(tmp_path, config={"ON_LOGIN": lambda native, info: None})
    seen.append(app.log_in(next_url="/after")[0])
    assert seen[0].wanted_url == "/after"
    seen.append(app.log_in(next_url="https://evil.example/")[0])
    assert seen[1].wanted_url is None


# -- pages -----------------------------------------------------------------------------------------


def test_the_login_page_has_a_button_for_each_provider(app: OAuthApp) -> None:
    body = app.send(FakeRequest("/auth/login?next=/there")).body
    assert "Continue with Example" in body
    assert 'action="/auth/example/login"' in body
    assert 'value="/there"' in body
    assert "csrf_token" in body


def test_a_provider_without_credentials_has_no_button_and_no_pages(tmp_path: Path) -> None:
    app = make(tmp_path, config={"PROVIDERS": {}})
    assert "Example" not in app.send(FakeRequest("/auth/login")).body
    assert app.router.match("/auth/example/login") is None


def test_a_provider_whose_page_lies_elsewhere_is_left_for_by_a_page(app: OAuthApp) -> None:
    """A browser applies form-action to redirects, and was told of the issuer's origin only."""
    app.fake.metadata["authorization_endpoint"] = "https://elsewhere.example/authorize"
    response = app.send(FakeRequest("/auth/example/login", form={}))
    assert response.status == 200
    assert '<meta http-equiv="refresh" content="0; url=https://elsewhere.example/authorize?' in response.body
    assert app.oauth.origins == ["https://elsewhere.example"]


def test_16_redirects_go_to_the_authorization_endpoint_only(app: OAuthApp) -> None:
    _, url = app.begin(FakeRequest())
    assert app.oauth.allows_redirect(url)
    endpoint = f"{ISSUER}/authorization_endpoint"
    for other in (
        f"{ISSUER}/",
        f"{endpoint}/x",
        f"{endpoint}#x",
        f"{endpoint}@evil.example",
        f"https://evil.example/?{endpoint}",
        "https://login.example.evil.example/authorization_endpoint",
        f"http{endpoint[5:]}",
        f"{endpoint}?a=\r\nX:1",
        "//login.example/authorization_endpoint",
    ):
        assert not app.oauth.allows_redirect(other), other


# -- the rest of the pipeline ----------------------------------------------------------------------


class Pin(SecondFactor):
    """Everybody has it."""

    name = "pin"
    label = "PIN"

    def is_enrolled(self, user: User) -> bool:
        return True

    def challenge(self, request: WebRequest, user: User) -> Markup:
        return Markup('<input name="pin">')

    def verify(self, request: WebRequest, user: User) -> bool:
        return request.form.get("pin") == "1234"


def test_19_the_second_factor_is_asked_for_after_a_provider_too(app: OAuthApp) -> None:
    app.auth.second_factors["pin"] = Pin()
    browser, response = app.log_in(next_url="/welcome")
    assert location(response) == "/auth/second-factor"
    assert browser.session.user is None
    wrong = browser.follow("/auth/second-factor", form={"factor": "pin", "pin": "0"})
    assert app.send(wrong).status == 400
    right = wrong.follow("/auth/second-factor", form={"factor": "pin", "pin": "1234"})
    assert location(app.send(right)) == "/welcome"
    assert right.session.user is not None


def test_18_a_login_gives_the_session_a_new_id(app: OAuthApp) -> None:
    browser = FakeRequest()
    before = browser.session.id
    browser, _ = app.log_in(browser)
    assert browser.session.id != before


class Refusing:
    @hookimpl
    def asok_auth_before_login(self, attempt: LoginAttempt) -> str | None:
        hosted = attempt.identity is not None and attempt.identity.raw.get("hd") == "example.com"
        return None if hosted else "Only people of example.com may log in."


def test_a_hook_sees_the_identity_and_may_refuse(tmp_path: Path) -> None:
    app = make(tmp_path, plugins=(Refusing(),))
    browser, response = app.log_in()
    assert error_code(response) == "login_rejected"
    assert "Only people of example.com" in response.body
    assert browser.session.user is None
    app.fake.claims["hd"] = "example.com"
    assert location(app.log_in()[1]) == "/"


def test_32_a_store_that_is_down_logs_nobody_in(app: OAuthApp) -> None:
    browser, url = app.begin(FakeRequest())
    callback = app.fake.authorize(url)

    def fail(*_: object) -> None:
        raise StoreUnavailable("The state store does not answer.")

    app.auth.state.take = fail  # type: ignore[assignment, method-assign]
    browser, response = app.finish(browser, callback)
    assert response.status == 503
    assert browser.session.user is None
    assert app.fake.count(app.fake.token_endpoint) == 0


def test_33_beginnings_are_limited_for_each_client(app: OAuthApp) -> None:
    app.auth.state.incr = lambda key, ttl: 301  # type: ignore[method-assign]
    response = app.send(FakeRequest("/auth/example/login", form={}))
    assert response.status == 429


def test_24_a_link_cannot_be_finished_as_a_documented_login(app: OAuthApp) -> None:
    """It was begun by somebody who is logged in, to add a way in; it is no login of anybody."""
    app.log_in()
    browser, url = app.begin(recent(app, app.users.create("other@example.com")), action="link")
    request = browser.follow(app.fake.authorize(url).removeprefix("https://app.example"))
    with raises_code("oauth_state"):
        OAuthApi(app.oauth.flow).callback(request, "example")
    assert request.verified_email is None
