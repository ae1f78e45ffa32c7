"""Attacks on accounts: races, interleavings, leaks, floods."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import asok_magic_link
import pytest
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient
from asok_auth_account.deletion import Deletions
from asok_auth_account.invitations import Invitations
from asok_auth_account.method import AccountMethod
from asok_auth_account.recovery import RECOVERY, Recoveries

from asok_auth_core.plugin import (
    JSON,
    Auth,
    ConfigurationError,
    Credential,
    Event,
    LoginAttempt,
    MailPermanent,
    MailTemporary,
    MailTransport,
    OutgoingMail,
    RateLimited,
    User,
    hookimpl,
)
from asok_auth_core.testing import (
    Browser,
    FakeUser,
    FrozenClock,
    MemoryCredentialStore,
    MemoryUsers,
    asok_app,
    exactly_once,
    run_command,
)
from asok_auth_core.testing.races import in_threads

ADA, NEW, EVE, EVE2 = "ada@example.com", "ada@new.example", "eve@evil.example", "eve2@evil.example"
EMAIL = "/auth/account/email"
DAY = 86_400
DELAY, GRACE = 3 * DAY, 14 * DAY


def path_in(mail: OutgoingMail) -> str:
    [link] = re.findall(r"https://app\.example(\S+)", mail.text)
    return str(link)


def change(site: Any, browser: Browser, email: str) -> str:
    """Change the address; return the path that undoes it."""
    site.mails()
    assert browser.post(EMAIL, {"email": email}).status == 303
    [mail] = site.mails(email)
    former = site.ada.email
    assert browser.post(path_in(mail)).status == 303
    return path_in(site.mails(former)[-1])


def halves(path: str) -> tuple[str, str]:
    """The path of a link without its token, and the token."""
    token = re.split("[=/]", path)[-1]
    return path.removesuffix(token), token


def begin(site: Any, email: str = NEW) -> tuple[str, str]:
    """Start a recovery; return the paths that complete and stop it."""
    site.mails()
    former = site.ada.email
    Recoveries(site.auth).start(site.ada, email)
    mails = {mail.to: mail for mail in site.mails()}
    return path_in(mails[email]), path_in(mails[former])


class On:
    """A plugin that does something when an event happens, once."""

    __name__ = "on"

    def __init__(self, name: str) -> None:
        self.name = name
        self.act: Callable[[], object] | None = None

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        if event.name == self.name and self.act is not None:
            act, self.act = self.act, None
            act()


class Held(MemoryCredentialStore):
    """A store in which the first write of a thread to a kind of row waits."""

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.kind, self.thread = "", -1
        self.reached, self.go_on = threading.Event(), threading.Event()

    def _hold(self, credential: Credential) -> None:
        if credential.kind == self.kind and threading.get_ident() == self.thread:
            self.thread = -1
            self.reached.set()
            assert self.go_on.wait(60)

    def remove(self, credential: Credential) -> bool:
        self._hold(credential)
        return super().remove(credential)

    def replace(self, credential: Credential, data: JSON) -> Credential | None:
        self._hold(credential)
        return super().replace(credential, data)


class TestRecovery:
    @pytest.mark.requirement("SECURITY-1")
    def test_one_that_is_being_completed_cannot_be_stopped(self, make_site: Callable[..., Any]) -> None:
        """Nobody is told that the account is as it was while it moves away."""
        moved = On("email.restored")
        site = make_site(moved, credentials=Held)
        store = site.credentials
        complete, stop = begin(site)
        site.clock.advance(DELAY)
        statuses: list[int] = []

        def press() -> None:
            store.kind, store.thread = RECOVERY, threading.get_ident()
            statuses.append(site.browser().post(stop).status)

        stopper = threading.Thread(target=press)
        stopper.start()
        assert store.reached.wait(60)

        def go_on() -> None:
            store.go_on.set()
            stopper.join(60)

        moved.act = go_on
        completed = site.browser().post(complete).status
        go_on()
        assert (statuses == [200]) != (completed == 200)
        assert site.users.by_id("1").email == (NEW if completed == 200 else ADA)
        stopped = [mail for mail in site.mails() if "was stopped" in mail.subject]
        assert bool(stopped) == (statuses == [200])

    def test_one_goes_before_a_deletion_that_is_due(self, site: Any) -> None:
        """A thief asked for the deletion; the owner, who lost everything, asks support."""
        Deletions(site.auth).ask(site.ada)
        site.clock.advance(GRACE - DAY)
        complete, _ = begin(site)
        site.clock.advance(2 * DAY)
        assert list(Deletions(site.auth).run()) == []
        assert site.users.by_id("1") is not None
        site.clock.advance(DAY)
        assert site.browser().post(complete).status == 200
        assert list(Deletions(site.auth).run()) == []
        assert site.users.by_id("1").email == NEW

    @pytest.mark.parametrize("ends", ["stopped", "expired"])
    def test_but_it_does_not_keep_a_deletion_for_ever(self, site: Any, ends: str) -> None:
        Deletions(site.auth).ask(site.ada)
        site.clock.advance(GRACE - DAY)
        _, stop = begin(site)
        if ends == "stopped":
            assert site.browser().post(stop).status == 200
            site.clock.advance(DAY)
        else:
            site.clock.advance(DELAY + 7 * DAY)
        assert [one.failed for one in Deletions(site.auth).run()] == [()]
        assert site.users.by_id("1") is None

    def test_not_to_an_address_that_another_account_can_have_back(
        self, make_site: Callable[..., Any]
    ) -> None:
        site = make_site(users=MemoryUsers(FakeUser("1", ADA), FakeUser("2", "bob@example.com")))
        complete, _ = begin(site)
        site.clock.advance(DELAY - 60)
        bob = site.users.by_id("2")
        browser = site.logged_in(bob)
        for email in (NEW, "bob@else.example"):
            assert browser.post(EMAIL, {"email": email}).status == 303
            [mail] = site.mails(email)
            assert browser.post(path_in(mail)).status == 303
        site.clock.advance(60)
        assert site.browser().post(complete).status == 409
        assert site.ada.email == ADA

    def test_an_undo_in_between_stops_it_and_says_so(self, site: Any) -> None:
        undo = change(site, site.logged_in(), "second@example.org")
        complete, _ = begin(site)
        assert site.browser().post(undo).status == 200
        assert site.events("account.recovery_stopped") == [{"way": "email"}]
        assert any("was stopped" in mail.subject for mail in site.mails(NEW))
        site.clock.advance(DELAY)
        assert site.browser().post(complete).status == 400

    def test_no_undo_gets_between_the_steps_of_a_recovery(self, make_site: Callable[..., Any]) -> None:
        """Or the finder of the old mailbox has the account, without its second factor."""
        moved = On("email.restored")
        site = make_site(moved)
        undo = change(site, site.logged_in(), "second@example.org")
        complete, _ = begin(site)
        site.clock.advance(DELAY)
        moved.act = lambda: site.browser().post(undo)
        assert site.browser().post(complete).status == 200
        assert site.ada.email == NEW

    def test_an_operator_learns_that_an_address_was_not_told(self, tmp_path: Path) -> None:
        """Users who are not told of it cannot stop it."""

        class Greylisting(MailTransport):
            def send(self, mail: OutgoingMail) -> None:
                if mail.to == ADA:
                    raise MailTemporary("Try again later.")
                if mail.to == "full@example.com":
                    raise MailPermanent("Mailbox full.")

        class Transport:
            @hookimpl
            def asok_auth_mail_transports(self) -> dict[str, Callable[[], MailTransport]]:
                return {"greylisting": Greylisting}

        with asok_app(
            tmp_path,
            environ={"APP_URL": "https://app.example"},
            auth={"MAIL_TRANSPORT": "greylisting"},
            plugins=[Transport()],
        ) as app:
            for email in (ADA, "full@example.com", "bob@example.com"):
                MODELS_REGISTRY["User"].create(email=email)
                answer = run_command(app, "account", "recover", email, f"new-{email}")
                assert answer.code == 0, answer.errors
                assert ("could not be told" in answer.errors) == (email != "bob@example.com")


class TestEmail:
    @pytest.mark.requirement("SECURITY-1")
    def test_an_undo_of_the_attacker_gets_nowhere_during_the_owners(
        self, make_site: Callable[..., Any]
    ) -> None:
        """The attacker changed the address twice, and polls until the session ends."""
        restored = On("email.restored")
        site = make_site(restored)
        browser = site.logged_in()
        owners = change(site, browser, EVE)
        site.clock.advance(60)
        attackers = change(site, browser, EVE2)
        restored.act = lambda: site.browser().post(attackers)
        assert site.browser().post(owners).status == 200
        assert site.ada.email == ADA
        assert site.browser().post(attackers).status == 400

    @pytest.mark.requirement("SECURITY-1", "SECURITY-37")
    def test_a_change_that_is_being_made_does_not_outlive_the_owners_undo(
        self, make_site: Callable[..., Any]
    ) -> None:
        class Slow(MemoryUsers):
            act: Callable[[], object] | None = None

            def set_email(self, user: User, email: str) -> None:
                act, self.act = self.act, None
                if act is not None:
                    act()
                super().set_email(user, email)

        users = Slow(FakeUser("1", ADA, "Ada"))
        site = make_site(users=users)
        browser = site.logged_in()
        owners = change(site, browser, EVE)
        site.clock.advance(60)
        assert browser.post(EMAIL, {"email": EVE2}).status == 303
        [mail] = site.mails(EVE2)
        first: list[int] = []
        users.act = lambda: first.append(site.browser().post(owners).status)
        browser.post(path_in(mail))
        if first != [200]:  # another request was at work: the owner tries again
            assert first == [503]
            assert site.browser().post(owners).status == 200
        assert site.ada.email == ADA
        assert browser.request.follow("/").user is None

    def test_another_account_does_not_void_the_owners_link(self, site: Any) -> None:
        """The attacker's second account got the address from the app, and left it."""
        owners = change(site, site.logged_in(), EVE)
        eve = site.users.create("eve@else.example")
        eve.email = ADA
        second = site.logged_in(eve)
        site.mails()
        assert second.post(EMAIL, {"email": EVE2}).status in (303, 400)
        for mail in site.mails(EVE2):
            second.post(path_in(mail))
        assert eve.email == EVE2
        assert site.browser().post(owners).status == 200
        assert site.ada.email == ADA

    @pytest.mark.requirement("SECURITY-35")
    def test_the_undo_of_an_address_that_was_never_verified_does_not_verify_it(
        self, make_site: Callable[..., Any]
    ) -> None:
        """An attacker created the account for a victim who has never used the app."""
        site = make_site(asok_magic_link)
        attacker = site.logged_in()  # on a page of the app, which verified nothing
        site.credentials.add("1", "identity", "planted", {"provider": "x", "email": EVE})
        site.clock.advance(60)
        undo = change(site, attacker, EVE)
        victim = site.browser()
        assert victim.post(undo).status == 200
        token = site.auth.login_methods["magic"].api.create_token(victim.request, ADA)
        assert victim.post("/auth/magic/callback", {"token": token}).status == 303
        assert len(site.events("account.voided")) == 1
        assert site.credentials.find("identity", "planted") is None

    def test_an_attacker_with_many_mailboxes_makes_no_flood(self, site: Any) -> None:
        browser = site.logged_in()
        changed = 0
        for number in range(60):
            site.clock.advance(300)
            browser.log_in(site.ada)
            answer = browser.post(EMAIL, {"email": f"a{number}@evil.example"})
            if answer.status == 303:
                [mail] = site.mails(f"a{number}@evil.example")
                changed += browser.post(path_in(mail)).status == 303
        site.mails()
        Deletions(site.auth).ask(site.ada)
        assert len(site.mails()) <= 21
        assert changed == 10
        assert (answer.status, "Try again in 7 days." in answer.text) == (429, True)


class TestInvitations:
    @pytest.mark.requirement("SECURITY-30")
    def test_no_link_is_in_the_log_of_requests(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with shop(tmp_path) as one, caplog.at_level("DEBUG"):
            user = one.auth.users.create(ADA)
            Invitations(one.auth).invite("nora@acme.example")
            Recoveries(one.auth).start(user, NEW)
            Deletions(one.auth).ask(user)
            links = [(mail["To"], link) for mail in one.mails() for link in one.links(mail)]
            assert len(links) == 4
            visitor = one.visitor()
            for to, link in links:
                assert visitor.get(link).status_code == 200, (to, link)
                secret = re.findall(r"[0-9a-f]{48}", link)[-1]
                assert secret not in caplog.text

    @pytest.mark.requirement("SECURITY-8")
    def test_a_link_has_one_spelling(self, site: Any) -> None:
        Invitations(site.auth).invite("nora@acme.example")
        base, token = halves(path_in(site.mails()[0]))
        owner, _, secret = token.partition(".")
        spaced = f"{owner[:2]}%20{owner[2:]}"
        for other in (f"{owner.upper()}.{secret}", f"{spaced}.{secret}", f"{owner}.{secret.upper()}"):
            for method in ("GET", "POST"):
                assert site.browser().send(method, base + other).status == 400
        assert site.browser().post(base + token).status == 303

    @pytest.mark.requirement("SECURITY-1")
    def test_two_spellings_at_once_are_one_login(self, make_site: Callable[..., Any]) -> None:
        both = threading.Barrier(2, timeout=1)

        class Together(MemoryUsers):
            """Both presses find that the address has no account yet."""

            def ids_alike(self, email: str) -> Sequence[str]:
                found = super().ids_alike(email)
                if email == "nora@acme.example" and threading.current_thread() is not threading.main_thread():
                    with suppress(threading.BrokenBarrierError):
                        both.wait()
                return found

        site = make_site(users=Together(FakeUser("1", ADA)))
        Invitations(site.auth).invite("nora@acme.example")
        base, token = halves(path_in(site.mails()[0]))
        owner, _, secret = token.partition(".")
        spellings = iter((token, f"{owner.upper()}.{secret}"))

        def press() -> list[str]:
            return ["won"] if site.browser().post(base + next(spellings)).status == 303 else []

        exactly_once(in_threads(press, 2), ["won"])
        assert len(site.events("login.succeeded")) == 1

    @pytest.mark.requirement("SECURITY-42")
    def test_a_page_that_invites_is_no_way_to_flood_a_mailbox(self, site: Any) -> None:
        api = site.auth.api(AccountMethod)
        request = site.logged_in().request.follow("/")
        for _ in range(5):
            api.invite(request, "victim@example.com")
        with pytest.raises(RateLimited):
            api.invite(request, "victim@example.com")
        assert len(site.mails()) == 5

    @pytest.mark.parametrize("name", ["Win!\n\nhttps://evil.example", "a\r\nb", "a\x00b", "a\u2028b"])
    def test_a_name_is_one_line(self, site: Any, name: str) -> None:
        with pytest.raises(ConfigurationError):
            Invitations(site.auth).invite("victim@example.com", name=name)
        assert site.mails() == []

    @pytest.mark.parametrize("role", ["", "\x1b[31meditor", "a\nb", "\x9b31m"])
    def test_so_is_a_role(self, site: Any, role: str) -> None:
        """A command shows it in an operator's terminal."""
        with pytest.raises(ConfigurationError):
            Invitations(site.auth).invite("nora@acme.example", roles=["editor", role])
        assert site.credentials.list("-") == []

    @pytest.mark.parametrize("lifetime", [-1, 0, 59, 366 * DAY, 10**15])
    def test_a_lifetime_has_limits(self, site: Any, lifetime: int) -> None:
        with pytest.raises(ConfigurationError):
            Invitations(site.auth).invite("nora@acme.example", lifetime=lifetime)
        assert site.credentials.list("-") == []

    @pytest.mark.parametrize("days", ["nan", "inf", "1e300", "366"])
    def test_nor_does_the_command_take_any(self, tmp_path: Path, days: str) -> None:
        with asok_app(tmp_path, environ={"APP_URL": "https://app.example"}) as app:
            answer = run_command(app, "invite", "nora@acme.example", "--days", days)
            assert answer.code in (1, 2)


class TestDeletion:
    @pytest.mark.requirement("SECURITY-23", "SECURITY-37")
    @pytest.mark.parametrize("when", ["before_login", "email", "session"])
    def test_a_login_during_the_deletion_leaves_nothing(self, tmp_path: Path, when: str) -> None:
        act: list[Callable[[], object]] = []

        class Meanwhile:
            __name__ = "zz_meanwhile"

            @hookimpl(trylast=True)
            def asok_auth_before_login(self, attempt: LoginAttempt) -> str | None:
                if when == "before_login" and act:
                    act.pop()()
                return None

        with shop(tmp_path, plugins=[Meanwhile()]) as one:
            user = one.auth.users.create(ADA)
            visitor = one.visitor()
            visitor.press("/auth/magic/send", email=ADA)
            [link] = [link for mail in one.mails() for link in one.links(mail)]
            Deletions(one.auth).ask(user)
            visitor.press("/auth/magic/send", email=ADA)
            link = [link for mail in one.mails() for link in one.links(mail) if "magic" in link][-1]
            [row] = one.auth.credentials.list("-")
            one.auth.credentials.replace(row, json.loads(row.data) | {"due": 0})
            add = one.auth.credentials.add

            def added(user_id: str, kind: str, identifier: str, data: JSON) -> Credential:
                if kind == when and act:
                    act.pop()()
                return add(user_id, kind, identifier, data)

            one.auth.credentials.add = added  # type: ignore[method-assign]
            act.append(lambda: list(Deletions(one.auth).run()))
            answer = visitor.press("/auth/magic/callback", token=link.partition("token=")[2])
            assert not act
            assert one.auth.users.by_id(str(user.id)) is None
            assert answer.status_code == 400
            assert {row.kind for row in one.auth.credentials.list(str(user.id))} == {"epoch"}


@pytest.mark.parametrize(
    "value", ["a%0d%0aX-Evil:%20yes", "a%3b%20Domain=evil.example", '"a\\073 Domain=evil.example"']
)
def test_a_cookie_adds_nothing_to_an_answer(tmp_path: Path, value: str) -> None:
    """Asok decodes cookies, and this one is sent back."""
    with shop(tmp_path) as one:
        visitor = one.visitor()
        visitor.cookies["__Host-asok_auth_known"] = value
        one.log_in(visitor, ADA)
        assert re.fullmatch("[0-9a-f]{32}", visitor.cookies["__Host-asok_auth_known"])


def test_an_export_commands_no_terminal_and_says_what_is_missing(tmp_path: Path) -> None:
    class Broken:
        __name__ = "broken"
        works = True

        @hookimpl
        def asok_auth_export_user(self, user: User) -> Mapping[str, JSON]:
            if not self.works:
                raise RuntimeError("no database")
            return {"note": "a\x1b[31m\x9b31m\u202eb\U000e0001"}

    plugin = Broken()
    with shop(tmp_path, plugins=[plugin]) as one:
        one.auth.users.create(ADA)
        answer = run_command(one.app, "account", "export", ADA)
        assert answer.code == 0
        assert all(sign.isprintable() or sign == "\n" for sign in answer.output)
        assert json.loads(answer.output)["broken"] == {"note": "a\x1b[31m\x9b31m\u202eb\U000e0001"}
        plugin.works = False
        answer = run_command(one.app, "account", "export", ADA)
        assert (answer.code, json.loads(answer.output)["failed"]) == (1, ["broken"])
        assert "broken" in answer.errors


class Shop:
    """A real app, its visitors, and the mails that it sent."""

    def __init__(self, app: Any, root: Path) -> None:
        self.app, self.root = app, root
        self.auth: Auth = app.extensions["AuthExtension"].auth
        self._read: set[str] = set()

    def visitor(self) -> Visitor:
        return Visitor(self.app)

    def mails(self) -> list[Any]:
        """The mails that are new since the last call."""
        self.auth.outbox.flush(60)
        files = sorted((self.root / ".asok" / "mail").glob("*.eml"), key=lambda one: one.stat().st_mtime_ns)
        new = [one for one in files if one.name not in self._read]
        self._read |= {one.name for one in new}
        return [message_from_bytes(one.read_bytes(), policy=policy.default) for one in new]

    def log_in(self, visitor: Visitor, email: str) -> None:
        """Log in by a mailed link."""
        self.mails()
        assert visitor.press("/auth/magic/send", email=email).status_code == 303
        [link] = [link for mail in self.mails() if mail["To"] == email for link in self.links(mail)]
        assert visitor.press("/auth/magic/callback", token=link.partition("token=")[2]).status_code == 303

    @staticmethod
    def links(mail: Any) -> list[str]:
        text = mail.get_body(("plain",)).get_content()
        return re.findall(r"https://app\.example(\S+)", text)


class Visitor(TestClient):
    """A browser that sends the CSRF token of its cookie."""

    def press(self, path: str, **form: str) -> Any:
        if "asok_csrf" not in self.cookies:
            self.get("/auth/login")
        return self.post(path, data={"csrf_token": self.cookies["asok_csrf"], **form})


@contextmanager
def shop(root: Path, *, account: Mapping[str, object] | None = None, **options: Any) -> Iterator[Shop]:
    environ = {"APP_URL": "https://app.example", "DEBUG": "false", **options.pop("environ", {})}
    auth = {"ACCOUNT": dict(account or {}), **options.pop("auth", {})}
    with asok_app(root, environ=environ, auth=auth, **options) as app:
        yield Shop(app, root)
