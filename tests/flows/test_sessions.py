"""Log out of all other sessions: from the next request on, in every worker (ASVS 7.4.1, 7.5.2)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from asok.testing import TestClient

from asok_auth_core import Event, hookimpl
from asok_auth_core.auth import Auth
from asok_auth_core.errors import LoginRequired, RecentLoginRequired, StoreUnavailable
from asok_auth_core.flows.login import complete_login
from asok_auth_core.flows.sessions import end_other_sessions, is_ended
from asok_auth_core.testing.asok_app import asok_app
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, FrozenClock, MemoryUsers

ADA, BOB = FakeUser("1", "ada@example.org"), FakeUser("2", "bob@example.org")


@pytest.fixture
def fake_users() -> MemoryUsers:
    return MemoryUsers(ADA, BOB)


class Watcher:
    def __init__(self) -> None:
        self.events: list[Event] = []

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        self.events.append(event)


def logged_in(auth: Auth, user: FakeUser = ADA) -> FakeRequest:
    request = FakeRequest("/auth/login")
    complete_login(auth, request, user, method="app")
    return request.follow("/")


class TestEnding:
    @pytest.mark.requirement("SECURITY-23")
    def test_other_sessions_end_and_this_one_stays(self, auth: Auth) -> None:
        here, there, bob = logged_in(auth), logged_in(auth), logged_in(auth, BOB)
        assert [is_ended(auth, one.session) for one in (here, there, bob)] == [False, False, False]
        end_other_sessions(auth, here)
        assert [is_ended(auth, one.session) for one in (here, there, bob)] == [False, True, False]

    def test_other_sessions_can_be_ended_repeatedly(self, auth: Auth) -> None:
        here = logged_in(auth)
        for _ in range(3):
            there = logged_in(auth)
            assert not is_ended(auth, there.session)
            end_other_sessions(auth, here)
            assert is_ended(auth, there.session)
        end_other_sessions(auth, later := logged_in(auth))
        assert is_ended(auth, here.session)
        assert not is_ended(auth, later.session)

    def test_a_running_request_cannot_revive_an_ended_session(self, auth: Auth) -> None:
        here, there = logged_in(auth), logged_in(auth)
        loaded = dict(there.session.values)
        end_other_sessions(auth, here)
        there.session.values = loaded
        assert is_ended(auth, there.session)

    def test_simultaneous_calls_leave_at_most_one_session(self, auth: Auth) -> None:
        requests = [logged_in(auth) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(end_other_sessions, auth, one) for one in requests]:
                done.result()
        assert [is_ended(auth, one.session) for one in requests].count(False) == 1

    @pytest.mark.requirement("SECURITY-31")
    def test_ending_other_sessions_emits_an_event(self, make_auth: Callable[..., Auth]) -> None:
        watcher = Watcher()
        auth = make_auth(plugins=(watcher,))
        end_other_sessions(auth, logged_in(auth))
        assert [(one.name, one.user_id) for one in watcher.events][-1] == ("sessions.ended", "1")


class TestRefusal:
    def test_a_session_without_a_login_record_is_ended(self, auth: Auth) -> None:
        """Its user could never end it."""
        session = FakeRequest("/").session
        assert is_ended(auth, session)
        for odd in (None, "1", [], True):
            session.set("asok_auth.login", odd)
            assert is_ended(auth, session), odd

    def test_an_anonymous_request_must_log_in(self, auth: Auth) -> None:
        with pytest.raises(LoginRequired):
            end_other_sessions(auth, FakeRequest("/"))

    @pytest.mark.requirement("SECURITY-24")
    def test_an_old_login_must_be_renewed_first(self, auth: Auth) -> None:
        here, there = logged_in(auth), logged_in(auth)
        assert isinstance(auth.clock, FrozenClock)
        auth.clock.advance(auth.settings.recent_login + 1)
        with pytest.raises(RecentLoginRequired):
            end_other_sessions(auth, here)
        assert not is_ended(auth, there.session)

    @pytest.mark.requirement("SECURITY-32")
    def test_an_unavailable_store_lets_no_session_in(
        self, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = logged_in(auth)

        def down(*_: object) -> None:
            raise StoreUnavailable("The database is gone.")

        monkeypatch.setattr(auth.credentials, "find", down)
        with pytest.raises(StoreUnavailable):
            is_ended(auth, here.session)

    def test_a_session_with_a_malformed_generation_is_ended(self, auth: Auth) -> None:
        here, there = logged_in(auth), logged_in(auth)
        end_other_sessions(auth, here)
        for odd in (None, "1", True, 1.5, -1, 2, [1]):
            record = there.session.get("asok_auth.login")
            assert isinstance(record, dict)
            there.session.set("asok_auth.login", {**record, "generation": odd})
            assert is_ended(auth, there.session), odd


ENTER = """
from models.user import User

def get(request):
    request.login(User.find(email="ada@example.org"))
    return "in"
"""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[object]:
    with asok_app(tmp_path, pages={"enter.py": ENTER}) as made:
        made.extensions["AuthExtension"].auth.users.create("ada@example.org")
        yield made


def who(client: TestClient) -> str:
    return str(client.get("/").text).split()[0]


class TestAccountPage:
    def form(self, client: TestClient) -> dict[str, str]:
        page = client.get("/auth/account").text
        return {"csrf_token": re.search(r'name="csrf_token" value="([^"]+)"', page)[1]}

    @pytest.mark.requirement("SECURITY-23")
    def test_other_devices_are_listed_and_ended(self, app: object) -> None:
        firefox = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
        here, there = TestClient(app), TestClient(app)
        here.get("/enter")
        there.get("/enter", headers=firefox)
        page = here.get("/auth/account").text
        assert "Firefox · Linux" in page
        assert "Last active" in page
        assert here.post("/auth/sessions/end", data=self.form(here)).status_code == 303
        assert who(there) == "nobody"
        assert who(here) == "ada@example.org"
        assert "Last active" not in here.get("/auth/account").text

    def test_sessions_unknown_to_this_worker_are_ended_too(
        self, app: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another worker's memory cannot be reached; its sessions are void all the same."""
        here, there = TestClient(app), TestClient(app)
        here.get("/enter")
        there.get("/enter")
        monkeypatch.setattr(app._session_store, "get_user_sessions", lambda user_id: [])
        assert "Some sessions may not be listed" in here.get("/auth/account").text
        here.post("/auth/sessions/end", data=self.form(here))
        assert who(there) == "nobody"

    def test_an_old_login_is_sent_to_log_in_and_back_here(self, app: object) -> None:
        here = TestClient(app)
        here.get("/enter")
        form = self.form(here)
        app.extensions["AuthExtension"].auth.clock = lambda: time.time() + 3600
        answer = here.post("/auth/sessions/end", data=form)
        assert answer.status_code == 403
        assert 'href="/auth/login?next=/auth/account"' in answer.text

    def test_get_ends_no_session(self, app: object) -> None:
        here, there = TestClient(app), TestClient(app)
        here.get("/enter")
        there.get("/enter")
        assert here.get("/auth/sessions/end").status_code == 303
        assert who(there) == "ada@example.org"

    def test_ending_sessions_needs_the_csrf_token(self, app: object) -> None:
        here, there = TestClient(app), TestClient(app)
        here.get("/enter")
        there.get("/enter")
        assert here.post("/auth/sessions/end", data={}).status_code == 403
        assert who(there) == "ada@example.org"
