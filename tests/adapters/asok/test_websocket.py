"""WebSockets: the user of the handshake, and of each message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.flows.sessions import sessions_of
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.waiting import wait_until

from .apps import PAGES, Plugin, home, logged_in, started
from .sockets import ANSWER, Server, Socket, sockets


@pytest.fixture
def server(app: Asok) -> Iterator[Server]:
    with sockets(app) as made:
        yield made


@pytest.mark.requirement("SECURITY-40")
class TestHandshake:
    def test_the_session_of_the_page(self, app: Asok, server: Server) -> None:
        socket = Socket(server, logged_in(app, "ada@example.org"))
        assert socket.hello == "hello ada@example.org"
        assert socket.ask("hi") == "hi ada@example.org"

    def test_no_session(self, client: TestClient, server: Server) -> None:
        socket = Socket(server, client)
        assert socket.hello == "hello nobody"
        assert socket.ask("hi") == "hi nobody"

    def test_a_bearer_proof_names_one_user(self, server: Server) -> None:
        socket = Socket(server, headers={"X-Badge": "ada@example.org"})
        assert socket.hello == "hello ada@example.org"
        assert socket.ask("hi") == "hi ada@example.org"

    def test_asoks_own_cookies_log_nobody_in(self, app: Asok, server: Server) -> None:
        client = logged_in(app, "ada@example.org")
        del client.cookies["asok_auth_session"]
        assert {"asok_sid", "asok_session"} <= client.cookies.keys()
        assert Socket(server, client).hello == "hello nobody"

    def test_a_store_that_does_not_answer_opens_no_socket(
        self, app: Asok, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = logged_in(app, "ada@example.org")
        break_store(app, monkeypatch)
        assert Socket(server, client).hello == "closed"

    def test_on_https_only_the_prefixed_cookie_counts(self, app: Asok, server: Server) -> None:
        client = logged_in(app, "ada@example.org")
        server.asok.allowed_origins = ["https://app.example"]
        secure = {"Origin": "https://app.example"}
        assert Socket(server, client, headers=secure).hello == "hello nobody"
        client.cookies["__Host-asok_auth_session"] = client.cookies.pop("asok_auth_session")
        assert Socket(server, client, headers=secure).hello == "hello ada@example.org"


def break_store(app: Asok, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no statement reach the database."""
    engine = MODELS_REGISTRY["User"].get_engine()

    def fail(*arguments: object) -> None:
        raise OSError("gone")

    monkeypatch.setattr(type(engine), "execute", fail)


def test_an_app_without_the_extension_keeps_asoks_own(tmp_path: Path, plugin: Plugin) -> None:
    """Another app of the process has it, and ``WebSocketServer`` is patched."""
    with started(tmp_path / "patched", plugin):
        pass
    with asok_app(tmp_path / "plain", extension=False, pages=PAGES) as app, sockets(app) as server:
        MODELS_REGISTRY["User"].create(email="ada@example.org")
        socket = Socket(server, logged_in(app, "ada@example.org"))
        assert socket.hello == "hello ada@example.org"
        assert socket.ask("hi") == "hi ada@example.org"
        server.asok.broadcast(ANSWER, "news")
        assert socket.read() == "news"
        assert Socket(server, TestClient(app)).hello == "hello nobody"
        socket.close()
        wait_until(lambda: server.left == [ANSWER], "the app is told that the socket is closed")


@pytest.mark.requirement("SECURITY-40")
class TestMessages:
    @pytest.mark.requirement("SECURITY-37")
    def test_logging_out_closes_the_socket_before_its_next_message(
        self, app: Asok, server: Server, plugin: Plugin
    ) -> None:
        client = logged_in(app, "ada@example.org")
        socket = Socket(server, client)
        old = dict(client.cookies)
        client.get("/leave")
        assert socket.ask("hi") == "closed 1008"
        assert server.delivered == []
        client.cookies = old
        assert home(client) == "nobody", "the message brought nothing back"
        assert Socket(server, client).hello == "hello nobody"

    def test_presence_ends_with_the_session(self, app: Asok, server: Server) -> None:
        client = logged_in(app, "ada@example.org")
        socket = Socket(server, client)
        ada = MODELS_REGISTRY["User"].find(email="ada@example.org")
        assert server.asok.is_user_online(ada.id)
        client.get("/leave")
        assert socket.ask("hi") == "closed 1008"
        assert not server.asok.is_user_online(ada.id)

    def test_a_user_with_another_session_stays_online(
        self, app: Asok, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client, other = logged_in(app, "ada@example.org"), logged_in(app, "ada@example.org")
        socket, kept = Socket(server, client), Socket(server, other)
        ada = MODELS_REGISTRY["User"].find(email="ada@example.org")
        told: list[str] = []
        monkeypatch.setattr(server.asok, "_broadcast_presence", lambda user_id, status: told.append(status))
        client.get("/leave")
        assert socket.ask("hi") == "closed 1008"
        assert server.asok.is_user_online(ada.id)
        assert kept.ask("hi") == "hi ada@example.org"
        assert told == []
        other.get("/leave")
        assert kept.ask("hi") == "closed 1008"
        assert told == ["offline"]

    def test_a_store_that_does_not_answer_delivers_no_message(
        self, app: Asok, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        socket = Socket(server, logged_in(app, "ada@example.org"))
        break_store(app, monkeypatch)
        assert socket.ask("hi") == "closed 1013"
        assert server.delivered == []

    @pytest.mark.requirement("SECURITY-43")
    def test_a_tokens_scopes_hold_in_sockets(self, server: Server, plugin: Plugin) -> None:
        plugin.grants["ada@example.org"] = ["posts.*"]
        socket = Socket(server, headers={"X-Badge": "ada@example.org;posts.view"})
        assert socket.ask("can posts.view") == "True"
        assert socket.ask("can posts.edit") == "False"

    @pytest.mark.requirement("SECURITY-43")
    def test_a_scoped_token_does_not_follow_models(self, app: Asok, server: Server) -> None:
        ada = MODELS_REGISTRY["User"].find(email="ada@example.org")
        join = {"op": "join_room", "room": f"model:User:{ada.id}"}
        scoped = Socket(server, path="/asok/live", headers={"X-Badge": "ada@example.org;posts.view"})
        assert "Unauthorized" in scoped.ask(join)
        whole = Socket(server, path="/asok/live", headers={"X-Badge": "ada@example.org"})
        whole.send(join)
        assert "presence_list" in whole.ask({"op": "get_presence"}), "joined, which is not answered"

    def test_a_role_that_was_taken_away(self, app: Asok, server: Server, plugin: Plugin) -> None:
        plugin.grants["ada@example.org"] = ["posts.edit"]
        socket = Socket(server, logged_in(app, "ada@example.org"))
        assert socket.ask("can posts.edit") == "True"
        plugin.grants.clear()
        assert socket.ask("can posts.edit") == "False"


@pytest.mark.requirement("SECURITY-40")
class TestPushes:
    """What the app sends without being asked."""

    @pytest.mark.requirement("SECURITY-37")
    @pytest.mark.parametrize("reason", ["logged out", "disabled", "ended by another session"])
    def test_a_user_who_is_out_gets_none(self, app: Asok, server: Server, reason: str) -> None:
        MODELS_REGISTRY["User"].create(email="bob@example.org")
        ada, bob = logged_in(app, "ada@example.org"), logged_in(app, "bob@example.org")
        sockets = [Socket(server, client) for client in (ada, bob, TestClient(app))]
        if reason == "logged out":
            ada.get("/leave")
        if reason == "disabled":
            MODELS_REGISTRY["User"].find(email="ada@example.org").update(is_active=False)
        later(app, 11)
        if reason == "ended by another session":
            auth = app.extensions["AuthExtension"].auth
            [record] = sessions_of(auth, MODELS_REGISTRY["User"].find(email="ada@example.org"))
            auth.credentials.remove(auth.credentials.find("session", record.id))
        server.asok.broadcast(ANSWER, "news")
        assert [socket.read() for socket in sockets] == ["closed 1008", "news", "news"]

    def test_their_socket_is_cleaned_up(self, app: Asok, server: Server) -> None:
        client = logged_in(app, "ada@example.org")
        socket = Socket(server, client)
        client.get("/leave")
        later(app, 11)
        server.asok.broadcast(ANSWER, "news")
        assert socket.read() == "closed 1008"
        ada = MODELS_REGISTRY["User"].find(email="ada@example.org")
        wait_until(
            lambda: server.left == [ANSWER] and not server.asok.is_user_online(ada.id),
            "the socket is cleaned up",
        )

    def test_a_store_that_does_not_answer_delivers_none(
        self, app: Asok, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        socket = Socket(server, logged_in(app, "ada@example.org"))
        later(app, 11)
        break_store(app, monkeypatch)
        server.asok.broadcast(ANSWER, "news")
        assert socket.read() == "closed 1013"

    @pytest.mark.requirement("SECURITY-45")
    def test_pushes_keep_no_idle_session_alive(self, app: Asok, server: Server) -> None:
        socket = Socket(server, logged_in(app, "ada@example.org"))
        idle = app.extensions["AuthExtension"].auth.settings.session_idle
        for _ in range(2):
            later(app, idle / 2 - 1)
            server.asok.broadcast(ANSWER, "news")
            assert socket.read() == "news"
        later(app, 60)
        server.asok.broadcast(ANSWER, "news")
        assert socket.read() == "closed 1008"

    def test_users_are_not_looked_up_for_every_push(
        self, app: Asok, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        socket = Socket(server, logged_in(app, "ada@example.org"))
        break_store(app, monkeypatch)
        server.asok.broadcast(ANSWER, "news")
        assert socket.read() == "news"


def later(app: Asok, seconds: float) -> None:
    auth = app.extensions["AuthExtension"].auth
    now = auth.clock()
    auth.clock = lambda: now + seconds
