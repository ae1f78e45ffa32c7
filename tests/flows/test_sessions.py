"""Sessions are records: what ends one, on every worker (ASVS 7.3, 7.4)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from asok.testing import TestClient

from asok_auth_core.auth import Auth
from asok_auth_core.errors import LoginRequired, RecentLoginRequired, StoreUnavailable
from asok_auth_core.flows.login import complete_login, log_out
from asok_auth_core.flows.sessions import (
    KIND,
    add_factor,
    begin_session,
    client_ip_of,
    end_other_sessions,
    end_sessions,
    find_session,
    session_cookie,
    sessions_of,
)
from asok_auth_core.pages.messages import leave_message, take_message
from asok_auth_core.plugin import Event, Proof, User, hookimpl
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, FrozenClock, MemoryUsers

ADA, BOB = FakeUser("1", "ada@example.org"), FakeUser("2", "bob@example.org")
HOUR, DAY = 3600, 86_400


@pytest.fixture
def fake_users() -> MemoryUsers:
    return MemoryUsers(ADA, BOB)


class Watcher:
    def __init__(self) -> None:
        self.events: list[Event] = []

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        self.events.append(event)


def logged_in(auth: Auth, user: FakeUser = ADA, *, remember: bool = False) -> FakeRequest:
    """A request that follows the login, in the same browser."""
    request = FakeRequest("/auth/login", auth=auth)
    complete_login(auth, request, user, Proof("app"), remember=remember)
    return request.follow("/")


def here(auth: Auth, request: FakeRequest) -> bool:
    """True if the browser of ``request`` is logged in now."""
    return request.follow("/").user is not None


def advance(auth: Auth, seconds: float) -> None:
    assert isinstance(auth.clock, FrozenClock)
    auth.clock.advance(seconds)


class TestTheRecord:
    def test_it_holds_the_login_and_no_secret(self, auth: Auth) -> None:
        request = logged_in(auth)
        [record] = sessions_of(auth, ADA)
        assert request.session_record == record
        assert (record.user_id, record.method, record.factors) == ("1", "app", ())
        [row] = auth.credentials.list("1", KIND)
        secret = request.cookies[session_cookie(secure=True)].partition(".")[2]
        assert len(secret) >= 40
        assert secret not in row.data + row.identifier

    @pytest.mark.requirement("SECURITY-18")
    def test_each_login_has_a_record_of_its_own_and_the_old_one_of_the_browser_ends(self, auth: Auth) -> None:
        first = logged_in(auth)
        second = first.follow("/auth/login")
        complete_login(auth, second, BOB, Proof("app"))
        assert second.follow("/").user is BOB
        assert not here(auth, first)
        assert sessions_of(auth, ADA) == []

    def test_the_cookie_is_bound_to_the_host_when_the_request_is_secure(self, auth: Auth) -> None:
        """RFC 6265bis, section 4.1.3.2: no other host of the domain can set it."""
        request = logged_in(auth)
        assert "__Host-asok_auth_session" in request.cookies
        value = request.cookies["__Host-asok_auth_session"]
        planted = FakeRequest("/", auth=auth, cookies={"asok_auth_session": value})
        assert planted.user is None, "an unprefixed name is not read on a secure request"

    @pytest.mark.parametrize(
        "change", ["", ".", "x", "{id}", "{id}.", ".{secret}", "{id}.{secret}x", "{id}.é"]
    )
    def test_a_cookie_that_is_not_exactly_right_is_nobodys(self, auth: Auth, change: str) -> None:
        name = session_cookie(secure=True)
        handle, _, secret = logged_in(auth).cookies[name].partition(".")
        assert find_session(auth, change.format(id=handle, secret=secret)) is None
        assert find_session(auth, f"{handle}.{secret}") is not None

    def test_another_sessions_secret_does_not_open_it(self, auth: Auth) -> None:
        name = session_cookie(secure=True)
        ids = [logged_in(auth, user).cookies[name].split(".") for user in (ADA, BOB)]
        assert find_session(auth, f"{ids[0][0]}.{ids[1][1]}") is None

    def test_the_client_ip_is_forgotten_after_some_days(self, auth: Auth) -> None:
        logged_in(auth)
        [record] = sessions_of(auth, ADA)
        assert client_ip_of(auth, record) == "192.0.2.1"
        advance(auth, 10 * DAY)
        find_session(auth, None)
        assert client_ip_of(auth, record) == "192.0.2.1"
        advance(auth, 21 * DAY)
        assert client_ip_of(auth, record) is None
        assert "192.0.2.1" not in str(auth.credentials.list("1", KIND))

    def test_the_client_ip_goes_with_an_ended_session(
        self, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What removes an account later would no longer find it.

        And without the store, sessions end.
        """
        logged_in(auth)
        [record] = sessions_of(auth, ADA)
        end_sessions(auth, ADA)
        assert client_ip_of(auth, record) is None
        logged_in(auth)

        def fail(operations: object) -> None:
            raise StoreUnavailable("The store is down.")

        monkeypatch.setattr(auth.state, "batch", fail)
        assert end_sessions(auth, ADA) == 1
        assert sessions_of(auth, ADA) == []

    def test_no_client_ip_is_kept_if_the_setting_is_0(self, make_auth: Callable[..., Auth]) -> None:
        auth = make_auth(settings={"SESSION_IP_DAYS": 0})
        logged_in(auth)
        [record] = sessions_of(auth, ADA)
        assert client_ip_of(auth, record) is None


class TestLimits:
    @pytest.mark.requirement("SECURITY-45")
    def test_an_unused_session_ends_after_the_idle_limit(self, auth: Auth) -> None:
        request = logged_in(auth)
        for _ in range(2):
            advance(auth, 13 * DAY)
            assert here(auth, request)
        advance(auth, 14 * DAY)
        assert not here(auth, request)

    @pytest.mark.requirement("SECURITY-45")
    def test_a_used_session_ends_after_the_absolute_limit(self, auth: Auth) -> None:
        request = logged_in(auth)
        for _ in range(29):
            advance(auth, DAY)
            assert here(auth, request)
        advance(auth, DAY)
        assert not here(auth, request)

    @pytest.mark.requirement("SECURITY-45")
    def test_a_remembered_session_has_no_idle_limit_but_an_absolute_one(self, auth: Auth) -> None:
        request = logged_in(auth, remember=True)
        advance(auth, 364 * DAY)
        assert here(auth, request)
        advance(auth, DAY)
        assert not here(auth, request)

    def test_the_limits_are_settings(self, make_auth: Callable[..., Auth]) -> None:
        auth = make_auth(settings={"SESSION_IDLE": HOUR, "SESSION_LIFETIME": 2 * HOUR})
        idle, used = logged_in(auth), logged_in(auth)
        advance(auth, HOUR - 1)
        assert here(auth, used)
        advance(auth, 60)
        assert (here(auth, idle), here(auth, used)) == (False, True)
        advance(auth, HOUR)
        assert not here(auth, used)

    def test_rows_that_are_over_go_at_the_next_login(self, auth: Auth) -> None:
        for _ in range(3):
            logged_in(auth)
        advance(auth, 31 * DAY)
        assert sessions_of(auth, ADA) == []
        logged_in(auth)
        assert len(auth.credentials.list("1", KIND)) == 1

    def test_last_seen_is_stored_once_a_minute(self, auth: Auth) -> None:
        request = logged_in(auth)
        advance(auth, 59)
        assert here(auth, request)
        [record] = sessions_of(auth, ADA)
        assert record.last_seen == record.logged_in_at
        advance(auth, 1)
        assert here(auth, request)
        [record] = sessions_of(auth, ADA)
        assert record.last_seen == record.logged_in_at + 60

    def test_a_last_use_that_cannot_be_stored_ends_nothing(
        self, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        request = logged_in(auth)
        advance(auth, HOUR)

        def down(*_: object) -> None:
            raise StoreUnavailable("The database is read-only.")

        monkeypatch.setattr(auth.credentials, "touch", down)
        assert here(auth, request)


class TestEnding:
    @pytest.mark.requirement("SECURITY-23", "SECURITY-37")
    def test_logging_out_ends_the_record_and_no_replay_of_the_cookie_revives_it(self, auth: Auth) -> None:
        request = logged_in(auth)
        running = request.follow("/slow")
        assert running.user is ADA
        log_out(auth, request)
        assert request.follow("/").user is None
        assert FakeRequest("/", auth=auth, cookies=running.cookies).user is None
        assert auth.credentials.list("1", KIND) == []

    @pytest.mark.requirement("SECURITY-23")
    def test_a_disabled_or_deleted_user_has_no_session(self, auth: Auth) -> None:
        request = logged_in(auth)
        ADA.is_active = False
        try:
            assert not here(auth, request)
        finally:
            ADA.is_active = True
        assert here(auth, request)
        auth.users = MemoryUsers(BOB)
        assert not here(auth, request)

    @pytest.mark.requirement("SECURITY-23")
    def test_other_sessions_end_and_this_one_stays(self, auth: Auth) -> None:
        this, there, bob = logged_in(auth), logged_in(auth), logged_in(auth, BOB)
        assert [here(auth, one) for one in (this, there, bob)] == [True, True, True]
        end_other_sessions(auth, this)
        assert [here(auth, one) for one in (this, there, bob)] == [True, False, True]

    def test_other_sessions_can_be_ended_repeatedly(self, auth: Auth) -> None:
        this = logged_in(auth)
        for _ in range(3):
            there = logged_in(auth)
            assert here(auth, there)
            end_other_sessions(auth, this)
            assert not here(auth, there)
        end_other_sessions(auth, later := logged_in(auth))
        assert not here(auth, this)
        assert here(auth, later)

    def test_simultaneous_calls_leave_at_most_one_session(self, auth: Auth) -> None:
        requests = [logged_in(auth) for _ in range(4)]

        def end(request: FakeRequest) -> None:
            try:
                end_other_sessions(auth, request)
            except LoginRequired:
                return  # another one was faster

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(end, one) for one in requests]:
                done.result()
        assert [here(auth, one) for one in requests].count(True) <= 1

    def test_all_sessions_can_be_ended(self, auth: Auth) -> None:
        requests = [logged_in(auth), logged_in(auth)]
        assert end_sessions(auth, ADA) == 2
        assert [here(auth, one) for one in requests] == [False, False]

    @pytest.mark.requirement("SECURITY-31")
    def test_ending_other_sessions_emits_an_event(self, make_auth: Callable[..., Auth]) -> None:
        watcher = Watcher()
        auth = make_auth(plugins=(watcher,))
        end_other_sessions(auth, logged_in(auth))
        assert [(one.name, one.user_id) for one in watcher.events][-1] == ("sessions.ended", "1")

    def test_a_factor_given_later_is_noted_unless_the_session_is_over(self, auth: Auth) -> None:
        logged_in(auth)
        [record] = sessions_of(auth, ADA)
        add_factor(auth, record, "word")
        add_factor(auth, record, "word")
        [after] = sessions_of(auth, ADA)
        assert after.factors == ("word",)
        end_sessions(auth, ADA)
        add_factor(auth, record, "word")
        assert sessions_of(auth, ADA) == []

    @pytest.mark.requirement("SECURITY-32")
    def test_a_factor_that_cannot_be_noted_is_a_store_error(
        self, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logged_in(auth)
        [record] = sessions_of(auth, ADA)
        monkeypatch.setattr(auth.credentials, "replace", lambda row, data: None)
        with pytest.raises(StoreUnavailable, match="try again"):
            add_factor(auth, record, "word")


class TestRefusal:
    def test_an_anonymous_request_must_log_in(self, auth: Auth) -> None:
        with pytest.raises(LoginRequired):
            end_other_sessions(auth, FakeRequest("/"))

    @pytest.mark.requirement("SECURITY-24")
    def test_an_old_login_must_be_renewed_first(self, auth: Auth) -> None:
        this, there = logged_in(auth), logged_in(auth)
        advance(auth, auth.settings.recent_login + 1)
        with pytest.raises(RecentLoginRequired):
            end_other_sessions(auth, this)
        assert here(auth, there)

    @pytest.mark.requirement("SECURITY-32")
    def test_an_unavailable_store_lets_no_session_in(
        self, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        request = logged_in(auth)

        def down(*_: object) -> None:
            raise StoreUnavailable("The database is gone.")

        monkeypatch.setattr(auth.credentials, "find", down)
        with pytest.raises(StoreUnavailable):
            _ = request.follow("/").user


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


def ada(app: object) -> User:
    user = app.extensions["AuthExtension"].auth.users.by_email("ada@example.org")
    assert user is not None
    return user


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

    def test_one_other_device_is_ended_and_the_page_says_so_once(self, app: object) -> None:
        here, there, third = TestClient(app), TestClient(app), TestClient(app)
        for client in (there, third, here):
            client.get("/enter")
        page = here.get("/auth/account").text
        ids = re.findall(r'name="session" value="([^"]+)"', page)
        assert len(ids) == 2
        assert page.index("This device") < page.index("Last active")
        form = {**self.form(here), "session": ids[0]}
        assert here.post("/auth/session/end", data=form).status_code == 303
        assert sorted([who(there), who(third)]) == ["ada@example.org", "nobody"]
        assert who(here) == "ada@example.org"
        assert "The device was logged out." in here.get("/auth/account").text
        assert "The device was logged out." not in here.get("/auth/account").text
        assert here.post("/auth/session/end", data=form).status_code == 303
        assert "The device was logged out." not in here.get("/auth/account").text

    @pytest.mark.parametrize("whose", ["this one", "another user's", "none"])
    def test_no_other_session_can_be_ended(self, app: object, whose: str) -> None:
        auth = app.extensions["AuthExtension"].auth
        bob = auth.users.create("bob@example.org")
        other = begin_session(auth, FakeRequest(), bob, method="app", factors=(), remember=False)
        here = TestClient(app)
        here.get("/enter")
        (mine,) = sessions_of(auth, ada(app))
        name = {"this one": mine.id, "another user's": other.id, "none": "x"}[whose]
        answer = here.post("/auth/session/end", data={**self.form(here), "session": name})
        assert answer.status_code == 303
        assert [len(sessions_of(auth, user)) for user in (bob, ada(app))] == [1, 1]

    def test_a_message_of_another_session_is_not_shown(self, app: object) -> None:
        auth = app.extensions["AuthExtension"].auth
        there = FakeRequest("/", auth=auth)
        complete_login(auth, there, ada(app), Proof("app"))
        there = there.follow("/")
        leave_message(auth, there, "Your account was <moved>.")
        value = there.sent_cookies["asok_auth_message"][0]
        assert take_message(auth, there.follow("/")) == "Your account was <moved>."
        other = FakeRequest("/", auth=auth)
        complete_login(auth, other, ada(app), Proof("app"))
        for cookie in (value, "", "%", "AAAA", value[:-2], "é"):
            request = other.follow("/")
            request.cookies = {**request.cookies, "asok_auth_message": cookie}
            assert take_message(auth, request) is None
            assert request.sent_cookies["asok_auth_message"][1] == 0

    def test_an_old_login_is_sent_to_log_in_and_back_here(self, app: object) -> None:
        here = TestClient(app)
        here.get("/enter")
        form = self.form(here)
        app.extensions["AuthExtension"].auth.clock = lambda: time.time() + 3600
        answer = here.post("/auth/sessions/end", data=form)
        assert answer.status_code == 403
        assert "recent_login_required" in answer.text
        browser = {"Accept": "text/html", "Referer": "http://testserver/settings?tab=2"}
        answer = here.post("/auth/sessions/end", data=form, headers=browser)
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith("/auth/confirm?next=/")

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
