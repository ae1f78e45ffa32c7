"""Logging in and out of an app, and the sessions that count."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.flows.sessions import end_sessions

from .apps import Plugin, first_line, home


class TestLogin:
    def test_an_apps_own_login(self, client: TestClient, plugin: Plugin) -> None:
        client.get("/")
        before = client.cookies["asok_sid"]
        response = client.get("/enter?as=ada@example.org")
        assert (response.status_code, response.headers["Location"]) == (302, "/")
        assert home(client) == "ada@example.org"
        assert client.cookies["asok_sid"] != before
        assert [(e.name, e.method) for e in plugin.events] == [("login.succeeded", "app")]

    def test_logging_out(self, client: TestClient, plugin: Plugin) -> None:
        client.get("/enter?as=ada@example.org")
        old = dict(client.cookies)
        client.get("/leave")
        assert home(client) == "nobody"
        assert plugin.events[-1].name == "logout"
        client.cookies = old
        assert home(client) == "nobody", "the old cookies are worth nothing"

    @pytest.mark.parametrize("how", ["still logged in", "ended by another session", "only visiting"])
    def test_what_one_user_kept_in_the_session_is_not_shown_to_the_next(
        self, app: Asok, client: TestClient, how: str
    ) -> None:
        users = MODELS_REGISTRY["User"]
        users.create(email="bob@example.org")
        if how != "only visiting":
            client.get("/enter?as=ada@example.org")
        client.get("/note?keep=secret")
        if how == "ended by another session":
            auth = app.extensions["AuthExtension"].auth
            end_sessions(auth, users.find(email="ada@example.org"))
            assert home(client) == "nobody"
        client.get("/enter?as=bob@example.org")
        kept = first_line(client, "/note")
        assert kept == ("secret" if how == "only visiting" else "nothing"), "a visitor's cart stays"
        client.get("/note?keep=mine")
        client.get("/enter?as=bob@example.org")
        assert first_line(client, "/note") == "mine"

    @pytest.mark.requirement("SECURITY-19")
    def test_an_apps_own_login_asks_for_the_second_factor(self, client: TestClient) -> None:
        response = client.get("/enter?as=two@example.org")
        assert (response.status_code, response.headers["Location"]) == (303, "/auth/second-factor")
        assert home(client) == "nobody"
        page = client.get("/auth/second-factor").text
        assert 'name="word"' in page
        data = {"csrf_token": client.cookies["asok_csrf"], "factor": "word", "word": "trout"}
        rejected = client.post("/auth/second-factor", data=data)
        assert rejected.status_code == 400
        assert 'role="alert"' in rejected.text
        assert home(client) == "nobody"
        response = client.post("/auth/second-factor", data={**data, "word": "swordfish"})
        assert (response.status_code, response.headers["Location"]) == (303, "/")
        assert home(client) == "two@example.org"

    @pytest.mark.parametrize(
        ("wanted", "reached"),
        [("/inbox?tab=2", "/inbox?tab=2"), ("//evil.example", "/"), ("https://evil.example", "/"), ("", "/")],
    )
    def test_the_page_to_go_on_to_survives_the_second_factor(
        self, client: TestClient, wanted: str, reached: str
    ) -> None:
        client.get(f"/enter?as=two@example.org&next={quote(wanted)}")
        client.get("/auth/second-factor")
        data = {"csrf_token": client.cookies["asok_csrf"], "factor": "word", "word": "swordfish"}
        assert client.post("/auth/second-factor", data=data).headers["Location"] == reached

    def changed(self, app: Asok, client: TestClient, **changes: object) -> str:
        """The session's user after Asok's part of the session was changed."""
        client.get("/enter?as=ada@example.org")
        sid = app._unsign(client.cookies["asok_sid"])
        data = app._session_store.load(sid)
        data.update(changes)
        app._session_store.save(sid, {name: value for name, value in data.items() if value is not None})
        return home(client)

    def test_asoks_own_session_logs_nobody_in(self, app: Asok, client: TestClient) -> None:
        two = MODELS_REGISTRY["User"].find(email="two@example.org")
        assert self.changed(app, client, user_id=two.id) == "ada@example.org", "the record decides"
        del client.cookies["asok_auth_session"]
        assert home(client) == "nobody"
        sid = app._unsign(client.cookies["asok_sid"])
        assert "user_id" not in app._session_store.load(sid), "nor does the Admin take it for one"

    @pytest.mark.requirement("SECURITY-40")
    def test_only_an_administrators_own_session_impersonates(self, app: Asok, client: TestClient) -> None:
        ada, bob = (MODELS_REGISTRY["User"].create(email=f"{name}@example.net") for name in ("ada", "bob"))
        owner = MODELS_REGISTRY["User"].find(email="ada@example.org")
        acting = {"user_id": bob.id, "impersonate_started_at": time.time()}
        assert self.changed(app, client, **acting, impersonator_id=owner.id) == "ada@example.org", "no admin"
        assert self.changed(app, client, **acting, impersonator_id=ada.id) == "ada@example.org", "not hers"

    def test_a_signed_number_is_no_session(self, app: Asok, client: TestClient) -> None:
        """In DEBUG, Asok 0.8 takes any signed user id for a session."""
        client.cookies["asok_session"] = app._sign("1")
        assert home(client) == "nobody"

    def test_a_deleted_user(self, client: TestClient) -> None:
        client.get("/enter?as=ada@example.org")
        MODELS_REGISTRY["User"].find(email="ada@example.org").delete()
        assert home(client) == "nobody"
