"""A browser whose answer was dropped gets the same login again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from asok_auth_tests.pipeline import Browser, World, target

from asok_auth_core.flows import receipts
from asok_auth_core.flows.receipts import COOKIE, LIFETIME
from asok_auth_core.flows.sessions import end_sessions, session_cookie, sessions_of
from asok_auth_core.plugin import hookimpl
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, MemoryUsers
from asok_auth_core.testing.oauth_app import error_code
from asok_auth_core.testing.races import in_threads
from asok_auth_core.types import LoginAttempt, User

EMAIL = "ada@example.com"
USED = "already used"
HOST_COOKIE = f"__Host-{COOKIE}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, MemoryUsers(FakeUser("1", EMAIL)))


def ada(world: World) -> User:
    user = world.users.by_id("1")
    assert user is not None
    return user


def code_for(world: World) -> str:
    """The code of a mail to Ada."""
    world.magic.send(FakeRequest(), EMAIL)
    world.auth.outbox.flush(60)
    text = world.app._parts.mail.sent[-1].text
    return next(line.strip() for line in text.splitlines() if len(line.strip()) == 9 and "-" in line)


def by_link(world: World, browser: Browser) -> Callable[[bool], object]:
    token = world.token(EMAIL)
    browser.open(token)
    return lambda dropped: browser.press(token, dropped=dropped)


def by_code(world: World, browser: Browser) -> Callable[[bool], object]:
    form = {"email": EMAIL, "code": code_for(world)}
    browser.get("/auth/magic/code")
    return lambda dropped: browser.post("/auth/magic/code", form, dropped=dropped)


WAYS = pytest.mark.parametrize("way", [by_link, by_code])
Way = Callable[[World, Browser], Callable[[bool], object]]


@WAYS
@pytest.mark.requirement("SECURITY-1")
def test_pressing_again_gives_the_same_session(world: World, way: Way) -> None:
    browser = Browser(world)
    press = way(world, browser)
    press(True)
    assert browser.user_id is None
    [record] = sessions_of(world.auth, ada(world))
    world.clock.advance(LIFETIME - 1)
    assert target(press(False)) == "/"  # type: ignore[arg-type]
    assert browser.user_id == "1"
    [again] = sessions_of(world.auth, ada(world))
    assert again.id == record.id
    assert world.names.count("login.succeeded") == 1
    assert "magic.rejected" not in world.names


@WAYS
@pytest.mark.requirement("SECURITY-1")
def test_it_lasts_thirty_seconds(world: World, way: Way) -> None:
    assert LIFETIME == 30
    browser = Browser(world)
    press = way(world, browser)
    press(True)
    world.clock.advance(LIFETIME + 1)
    assert USED in press(False).body  # type: ignore[attr-defined]
    assert browser.user_id is None


@WAYS
@pytest.mark.requirement("SECURITY-1")
def test_pressing_again_after_the_answer_arrived_changes_nothing(world: World, way: Way) -> None:
    browser = Browser(world)
    press = way(world, browser)
    press(False)
    cookie = browser.at.follow("/").cookies[session_cookie(secure=True)]
    press(False)
    assert browser.user_id == "1"
    assert browser.at.follow("/").cookies[session_cookie(secure=True)] == cookie
    assert len(sessions_of(world.auth, ada(world))) == 1


class TestOthers:
    @pytest.mark.requirement("SECURITY-1")
    def test_another_browser_is_told_that_the_link_was_used(self, world: World) -> None:
        token = world.token(EMAIL)
        first, second = Browser(world), Browser(world)
        for browser in (first, second):
            browser.open(token)
        first.press(token, dropped=True)
        assert USED in second.press(token).body
        assert second.user_id is None

    @pytest.mark.requirement("SECURITY-1")
    def test_a_browser_that_was_shown_no_button_gets_no_receipt(self, world: World) -> None:
        """A program that has the link, say; it posts without having opened the page."""
        token = world.token(EMAIL)
        browser = Browser(world)
        browser.press(token, dropped=True)
        assert USED in browser.press(token).body

    @pytest.mark.parametrize("cookie", ["", "guess", "x" * 5000])
    def test_a_cookie_that_was_made_up_finds_nothing(self, world: World, cookie: str) -> None:
        token = world.token(EMAIL)
        first = Browser(world)
        first.open(token)
        first.press(token, dropped=True)
        other = Browser(world)
        other.at.cookies[HOST_COOKIE] = cookie
        assert USED in other.press(token).body
        assert other.user_id is None

    @pytest.mark.requirement("SECURITY-1")
    def test_an_apps_own_page_gets_none(self, world: World) -> None:
        token = world.token(EMAIL)
        browser = Browser(world)
        browser.open(token)
        assert world.magic.verify_token(browser.at.follow("/own", form={}), token) == EMAIL
        assert world.magic.verify_token(browser.at.follow("/own", form={}), token) is None
        assert USED in browser.press(token).body

    @pytest.mark.requirement("SECURITY-1")
    def test_the_code_of_the_same_mail_is_used_too(self, world: World) -> None:
        world.magic.send(FakeRequest(), EMAIL)
        browser = Browser(world)
        press = by_link(world, browser)
        press(True)
        form = {"email": EMAIL, "code": "WRONG-CODE"}
        assert browser.post("/auth/magic/code", form).status == 400


class TestVoid:
    """The receipt ends with what it is for."""

    @pytest.mark.requirement("SECURITY-37")
    def test_logging_out_voids_it(self, world: World) -> None:
        browser = Browser(world)
        press = by_link(world, browser)
        press(False)
        browser.post("/auth/logout")
        assert USED in press(False).body  # type: ignore[attr-defined]
        assert browser.user_id is None

    @pytest.mark.requirement("SECURITY-37")
    def test_ending_all_sessions_voids_it(self, world: World) -> None:
        browser = Browser(world)
        press = by_link(world, browser)
        press(True)
        end_sessions(world.auth, ada(world))
        assert USED in press(False).body  # type: ignore[attr-defined]

    @pytest.mark.requirement("SECURITY-23")
    def test_disabling_the_user_voids_it(self, world: World) -> None:
        browser = Browser(world)
        press = by_link(world, browser)
        press(True)
        ada(world).is_active = False  # type: ignore[attr-defined]
        assert press(False).status == 400  # type: ignore[attr-defined]
        assert browser.user_id is None

    def test_a_login_that_was_rejected_leaves_none(self, world: World) -> None:
        browser = Browser(world)
        press = by_link(world, browser)
        world.part.closed = True
        assert error_code(press(False)) == "login_rejected"  # type: ignore[arg-type]
        world.part.closed = False
        assert USED in press(False).body  # type: ignore[attr-defined]

    def test_another_users_session_in_this_browser_ends(self, world: World) -> None:
        """As with any other login."""
        browser = Browser(world)
        press = by_link(world, browser)
        press(True)
        browser.log_in_by_mail("ben@example.com")
        assert browser.user_id == "2"
        press(False)
        assert browser.user_id == "1"
        assert "session" not in world.kinds("2")


class TestHalfLogins:
    @pytest.mark.requirement("SECURITY-1", "SECURITY-19")
    def test_pressing_again_gives_the_same_pending_login(self, world: World) -> None:
        world.word.users.add("1")
        browser = Browser(world)
        press = by_link(world, browser)
        press(True)
        assert target(press(False)) == "/auth/second-factor"  # type: ignore[arg-type]
        assert browser.user_id is None
        assert world.names.count("login.second_factor_required") == 1
        assert target(browser.give_word()) == "/"
        assert browser.user_id == "1"
        assert USED in press(False).body, "it was completed"  # type: ignore[attr-defined]

    @pytest.mark.requirement("SECURITY-37")
    def test_ending_all_sessions_voids_it(self, world: World) -> None:
        world.word.users.add("1")
        browser = Browser(world)
        press = by_link(world, browser)
        press(True)
        end_sessions(world.auth, ada(world))
        assert USED in press(False).body  # type: ignore[attr-defined]


class TestWhileTheFirstPressRuns:
    @pytest.mark.requirement("SECURITY-1")
    def test_a_second_press_gives_up_waiting_and_logs_nobody_in(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(receipts, "PAUSE", 0)
        answers: list[str] = []

        class Slow:
            """A policy that answers only after the user has pressed again."""

            @hookimpl
            def asok_auth_before_login(self, attempt: LoginAttempt) -> None:
                tab = Browser(world)
                tab.at.cookies.update(cookies)
                answers.append(tab.press(token).body)
                assert tab.user_id is None

        world = World(tmp_path, MemoryUsers(FakeUser("1", EMAIL)), plugins=[Slow()])
        token, browser = world.token(EMAIL), Browser(world)
        browser.open(token)
        cookies = browser.at.follow("/").cookies
        assert target(browser.press(token)) == "/"
        [answer] = answers
        assert USED in answer
        assert browser.user_id == "1"
        assert len(sessions_of(world.auth, ada(world))) == 1

    @pytest.mark.requirement("SECURITY-1", "SECURITY-32")
    def test_if_it_fails_before_it_used_the_link_the_second_press_logs_in(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        browser = Browser(world)
        press = by_link(world, browser)
        add = world.auth.state.add

        def late(key: str, value: bytes, ttl: int) -> bool:
            """The other press had its receipt here, failed, and voided it just now."""
            return not key.startswith("receipt:") and add(key, value, ttl)

        monkeypatch.setattr(world.auth.state, "add", late)
        assert target(press(False)) == "/"  # type: ignore[arg-type]
        assert browser.user_id == "1"
        assert USED in press(False).body  # type: ignore[attr-defined]


@pytest.mark.parametrize("factor", [False, True])
@pytest.mark.requirement("SECURITY-1")
def test_eight_presses_of_one_browser_at_once_are_one_login(
    world: World, tmp_path: Path, factor: bool
) -> None:
    if factor:
        world.word.users.add("1")
    token = world.token(EMAIL)
    browser = Browser(world)
    browser.open(token)
    cookies = browser.at.follow("/").cookies
    workers = [World(tmp_path, same_as=world) for _ in range(8)]
    fresh = iter(workers)

    def once() -> list[tuple[str, str]]:
        tab = Browser(next(fresh))
        tab.at.cookies.update(cookies)
        response = tab.press(token)
        name = "__Host-asok_auth_login" if factor else session_cookie(secure=True)
        return [(target(response), tab.at.follow("/").cookies.get(name, ""))]

    answers = {answer for part in in_threads(once, 8) for answer in part}
    assert len(answers) == 1, "every tab may be the one that the browser shows"
    [(location, cookie)] = answers
    assert location == ("/auth/second-factor" if factor else "/")
    assert cookie
    assert len(sessions_of(world.auth, ada(world))) == (0 if factor else 1)
    names = [name for worker in workers for name in worker.names]
    assert names.count("login.second_factor_required" if factor else "login.succeeded") == 1


@pytest.mark.requirement("SECURITY-30")
def test_no_store_holds_the_handle_or_the_browsers_cookie(world: World) -> None:
    browser = Browser(world)
    press = by_link(world, browser)
    press(False)
    cookies = browser.at.follow("/").cookies
    secrets = [cookies[HOST_COOKIE], cookies[session_cookie(secure=True)].partition(".")[2]]
    kept = repr([world.credentials._rows, world.app._parts.state.__dict__])
    assert all(len(secret) >= 40 and secret not in kept for secret in secrets)
