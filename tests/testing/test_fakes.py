"""The fakes keep the contracts they stand in for."""

from __future__ import annotations

import base64
import hashlib
import threading
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from asok_auth_core import Claims, Fetch, Identity, OAuth2Provider
from asok_auth_core.engine.message import Call
from asok_auth_core.errors import CredentialExists
from asok_auth_core.flows.auth import Auth
from asok_auth_core.testing import Browser
from asok_auth_core.testing.fake_provider import FakeProvider
from asok_auth_core.testing.fakes import (
    FakeRequest,
    FakeUser,
    FrozenClock,
    MemoryCredentialStore,
    MemoryUsers,
)
from asok_auth_core.testing.oauth_app import OAuthApp


class Forge(OAuth2Provider):
    name = "forge"
    label = "Forge"
    issuer = "https://forge.example"
    authorization_endpoint = "https://forge.example/authorize"
    token_endpoint = "https://forge.example/token"
    userinfo_endpoint = "https://forge.example/me"

    def identity(self, claims: Claims, fetch: Fetch) -> Identity:
        return Identity(self.issuer, claims.subject("id"))


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
    request.session.begin(user, remember=True)
    assert request.user is user
    ids.add(request.session.id)
    tokens.add(str(request.csrf_field))
    request.session.set("cart", [1])
    request.session.end()
    assert request.user is None
    assert request.session.get("cart") is None
    assert len(ids | {request.session.id}) == len(tokens | {str(request.csrf_field)}) == 3


def test_users_are_found_by_id_and_address() -> None:
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
        barrier.wait(5)
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


def test_a_page_that_is_not_there_is_told(auth: Auth, tmp_path: Path) -> None:
    assert Browser(auth).get("/auth/magik").status == 404
    with pytest.raises(LookupError, match="/auth/magik"):
        OAuthApp(Forge(), tmp_path).send(FakeRequest("/auth/magik"))


class TestFakeProvider:
    """It is as strict as a real one: what our flow leaves out must not pass a test."""

    @pytest.fixture
    def asked(self) -> dict[str, str]:
        """What an app asks with; its verifier is "right"."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(b"right").digest()).rstrip(b"=").decode()
        return {
            "response_type": "code",
            "state": "s" * 43,
            "redirect_uri": "https://app.example/back",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({}, 200),
            ({"code_verifier": "wrong"}, 400),
            ({"code_verifier": ""}, 400),
            ({"redirect_uri": "https://evil.example/"}, 400),
            ({"code": "made up"}, 400),
        ],
    )
    def test_12_a_code_is_for_who_has_the_verifier(
        self, asked: dict[str, str], changes: dict[str, str], status: int
    ) -> None:
        fake = FakeProvider(Forge())
        callback = fake.authorize(f"https://forge.example/authorize?{urlencode(asked)}")
        [code] = parse_qs(urlsplit(callback).query)["code"]
        form = {"code": code, "code_verifier": "right", "redirect_uri": asked["redirect_uri"], **changes}
        reply = fake(Call(fake.token_endpoint, {}, form))
        assert reply.status == status
        assert (b"invalid_grant" in reply.body) is (status == 400)
        assert fake.count(fake.token_endpoint) == 1

    def test_an_address_it_does_not_have_is_not_found(self) -> None:
        fake = FakeProvider(Forge())
        assert fake(Call("https://forge.example/tokens", {})).status == 404
