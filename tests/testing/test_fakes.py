"""The fakes fulfill the contracts of what they replace."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from asok_auth_core.auth import Auth
from asok_auth_core.engine.message import Call, Reply
from asok_auth_core.errors import CredentialExists
from asok_auth_core.methods.oauth import OAuthMethod
from asok_auth_core.methods.token_api import TokenApi
from asok_auth_core.pages.router import Router
from asok_auth_core.providers import OpenIDProvider
from asok_auth_core.testing.fakes import (
    FakeRequest,
    FakeUser,
    FrozenClock,
    MemoryCredentialStore,
    MemoryUsers,
)
from asok_auth_core.testing.oauth_app import OAuthApp
from asok_auth_core.testing.parts import Browser
from asok_auth_core.testing.waiting import PATIENCE
from asok_auth_core.types import SessionRecord


def test_a_browser_keeps_its_session_and_its_cookies() -> None:
    first = FakeRequest("/auth/login?next=%2Fhome")
    assert (first.method, first.path, first.query) == ("GET", "/auth/login", {"next": "/home"})
    first.session.set("seen", 1)
    first.set_cookie("flow", "abc", max_age=60)
    second = first.follow("/auth/magic", form={"email": "ada@example.com"})
    assert second.method == "POST"
    assert second.cookies == {"flow": "abc"}
    assert second.session.get("seen") == 1
    second.set_cookie("flow", "", max_age=0)
    assert second.follow("/").cookies == {}
    assert FakeRequest("/").session.get("seen") is None


def test_logging_in_and_out_changes_the_session_id_and_the_csrf_token() -> None:
    request = FakeRequest("/")
    ids, tokens = {request.session.id}, {str(request.csrf_field)}
    user = FakeUser("1")
    request.session.begin(user, SessionRecord("s", "1", "app", (), 0.0, 0.0, True, ""))
    assert request.session.remembered
    assert request.user is user
    ids.add(request.session.id)
    tokens.add(str(request.csrf_field))
    request.session.set("cart", [1])
    request.session.end()
    assert request.user is None
    assert request.session.get("cart") is None
    assert len(ids | {request.session.id}) == len(tokens | {str(request.csrf_field)}) == 3


def test_a_browser_is_known_by_a_token_in_its_request(
    make_auth: Callable[..., Auth], fake_users: MemoryUsers
) -> None:
    auth = make_auth()
    browser = Browser(auth)
    ada = fake_users.by_id("1")
    assert ada is not None
    bob = fake_users.create("bob@example.com")
    browser.log_in(bob)
    token = auth.api(TokenApi).create(browser.request, "1", scopes=["a.b"])
    request = browser.request.follow("/", headers={"Authorization": f"Bearer {token}"})
    assert (request.user, request.scopes, request.session_record) == (ada, ("a.b",), None)
    wrong = browser.request.follow("/", headers={"Authorization": f"Bearer {token}x"})
    assert (wrong.user, wrong.scopes) == (None, None), "the session's user is not the one it means"
    assert wrong.rejected_proof is not None
    ada.is_active = False
    disabled = browser.request.follow("/", headers={"Authorization": f"Bearer {token}"})
    assert (disabled.user, disabled.scopes) == (None, None)
    plain = browser.request.follow("/")
    assert (plain.user, plain.authentication, plain.rejected_proof) == (bob, None, None)


def test_users_are_found_by_id_and_email() -> None:
    users = MemoryUsers(FakeUser("7", "ada@example.com"))
    ada = users.by_id("7")
    assert ada is not None
    assert users.by_email("ada@example.com") is ada
    assert users.email_of(ada) == "ada@example.com"
    ada.is_active = False
    assert not users.is_active(ada)
    new = users.create("grace@example.com", "Grace")
    assert users.by_id(new.id) is new
    assert len(users) == 2


def test_credentials_are_unique_replaced_once_and_removed_once() -> None:
    clock = FrozenClock()
    store = MemoryCredentialStore(clock)
    row = store.add("7", "totp", "main", {"step": 1})
    with pytest.raises(CredentialExists):
        store.add("8", "totp", "main", {})
    results: list[bool] = []
    barrier = threading.Barrier(8)

    def replace(number: int) -> None:
        barrier.wait(PATIENCE)
        results.append(store.replace(row, {"step": number}) is not None)

    threads = [threading.Thread(target=replace, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 7 + [True]
    store.touch(row, clock.now + 5)
    [kept] = store.list("7", "totp")
    assert (kept.version, kept.last_used_at) == (2, clock.now + 5)
    assert store.list("7", "token") == []
    assert [store.remove(kept), store.remove(kept)] == [True, False]
    assert store.find("totp", "main") is None


def test_a_request_without_a_framework_has_no_layout() -> None:
    with pytest.raises(NotImplementedError, match="has no layouts"):
        FakeRequest().in_layout("html/auth.html", {})


def test_a_path_without_a_page_is_not_found(tmp_path: Path) -> None:
    """A browser gets a 404 page; an OAuthApp raises, as only a wrong test gets there."""
    provider = OpenIDProvider.named("example", label="Example", issuer="https://login.example")
    app = OAuthApp(provider, tmp_path)
    with pytest.raises(LookupError, match="/auth/exmaple/login"):
        app.send(FakeRequest("/auth/exmaple/login"))
    assert Browser(app.auth).get("/auth/exmaple/login").status == 404


def test_the_providers_other_urls_are_not_found(tmp_path: Path) -> None:
    provider = OpenIDProvider.named("example", label="Example", issuer="https://login.example")
    app = OAuthApp(provider, tmp_path)
    reply = app.fake(Call("https://login.example/other"))
    assert reply.status == 404


@pytest.mark.parametrize("altered", ["code", "redirect_uri", "code_verifier"])
def test_the_fake_provider_rejects_an_unknown_code(tmp_path: Path, altered: str) -> None:
    """RFC 6749, 4.1.3, and RFC 7636, 4.6: a flow that sends a wrong one fails."""
    provider = OpenIDProvider.named("example", label="Example", issuer="https://login.example")
    app = OAuthApp(provider, tmp_path)
    send = app.fake

    def alter(call: Call) -> Reply:
        form = call.form if call.form is None else {**call.form, altered: "another"}
        return send(replace(call, form=form))

    app.oauth = OAuthMethod(app.auth, send=alter)
    app.auth.login_methods["oauth"] = app.oauth
    app.router = Router(app.auth)
    browser, response = app.log_in()
    assert browser.user is None
    assert "Error code: oauth_" in response.body


@pytest.mark.parametrize("value", ["a b", "a;b", "a,b", 'a"b', "a\\b", "a\r\nX: y", "é"])
def test_a_cookie_that_no_adapter_sends_is_rejected(value: str) -> None:
    request = FakeRequest("/")
    with pytest.raises(ValueError, match="cookie flavor"):
        request.set_cookie("flavor", value, max_age=60)
    assert request.sent_cookies == {}
