"""Asok's Admin: its own second factor, and its screens of sessions."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asok import Asok
from asok.admin.utils import _encrypt_totp_secret, _hash_backup_code, _totp_at
from asok.cache import default_cache
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.auth import Auth
from asok_auth_core.flows.sessions import sessions_of
from asok_auth_core.plugin import Route, SecondFactor, WebResponse, hookimpl
from asok_auth_core.testing.apps import SECRET_KEY, asok_app
from asok_auth_core.testing.fakes import FrozenClock
from asok_auth_core.types import User

from .apps import PAGES, PERMISSION_MODELS, Plugin, Word, home, logged_in, make_user, started
from .permissions.admin import add_admin

ROOT = "root@example.org"
PASSWORD = "Correct-horse-1"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
CODE = "ABCD-EFGH"


@pytest.fixture
def app(tmp_path: Path, plugin: Plugin) -> Iterator[Asok]:
    """Without asok-totp."""
    default_cache.flush()
    with started(tmp_path, plugin, models=PERMISSION_MODELS, auth={"PLUGINS": ["dev"]}) as made:
        add_admin(made)
        make_user(ROOT, is_admin=True)
        yield made


@pytest.fixture
def auth(app: Asok) -> Auth:
    found: Auth = app.extensions["AuthExtension"].auth
    found.clock = FrozenClock()
    return found


def root() -> Any:
    return MODELS_REGISTRY["User"].find(email=ROOT)


def enrol(*codes: str) -> None:
    """Turn on the Admin's second factor, with these backup codes."""
    hashed = json.dumps([_hash_backup_code(code) for code in codes])
    root().get_engine().execute(
        "UPDATE users SET totp_secret = ?, totp_enabled = ?, backup_codes = ? WHERE email = ?",
        (_encrypt_totp_secret(SECRET, SECRET_KEY), 1, hashed, ROOT),
    )


def post(client: TestClient, path: str, **form: str) -> Any:
    if "asok_csrf" not in client.cookies:
        client.get(path)
    return client.post(path, data={"csrf_token": client.cookies["asok_csrf"], **form})


def code(auth: Auth, steps: int = 0) -> str:
    return _totp_at(SECRET, auth.clock() + 30 * steps)


def opens(client: TestClient) -> bool:
    response = client.get("/admin/posts")
    assert response.status_code == 200 or response.headers["Location"] in ("/admin/2fa", "/admin/login")
    return bool(response.status_code == 200)


@pytest.mark.requirement("SECURITY-40")
class TestItsSecondFactor:
    def test_a_login_by_another_method_does_not_open_it(self, app: Asok, auth: Auth) -> None:
        enrol()
        client = logged_in(app, ROOT)
        assert home(client) == ROOT
        assert client.get("/admin/posts").headers["Location"] == "/admin/2fa"
        assert post(client, "/admin/posts/new", title="x").headers["Location"] == "/admin/2fa"
        assert client.get("/admin/2fa").status_code == 200
        assert post(client, "/admin/2fa", code="000000").status_code == 200
        assert not opens(client)
        assert post(client, "/admin/2fa", code=code(auth)).headers["Location"] == "/admin"
        assert opens(client)
        assert sessions_of(auth, root())[0].factors == ("admin_totp",)
        assert not opens(logged_in(app, ROOT)), "it counts for this session only"

    def test_the_admins_own_login_page_asks_for_both(self, app: Asok, auth: Auth) -> None:
        enrol()
        client = TestClient(app)
        response = post(client, "/admin/login", email=ROOT, password=PASSWORD)
        assert response.headers["Location"] == "/admin/2fa"
        assert not opens(client)
        post(client, "/admin/2fa", code=code(auth))
        assert opens(client)

    def test_without_a_second_factor_the_password_opens_it(self, app: Asok, auth: Auth) -> None:
        client = TestClient(app)
        assert post(client, "/admin/login", email=ROOT, password=PASSWORD).headers["Location"] == "/admin"
        assert opens(client)
        assert len(sessions_of(auth, root())) == 1

    @pytest.mark.requirement("SECURITY-20")
    def test_a_code_counts_once(self, app: Asok, auth: Auth) -> None:
        enrol()
        first, second = logged_in(app, ROOT), logged_in(app, ROOT)
        post(first, "/admin/2fa", code=code(auth))
        for steps in (0, -1):
            post(second, "/admin/2fa", code=code(auth, steps))
            assert not opens(second), "the same step, or an older one"
        post(second, "/admin/2fa", code=code(auth, 1))
        assert opens(second)

    @pytest.mark.requirement("SECURITY-1")
    def test_a_backup_code_counts_once(self, app: Asok, auth: Auth) -> None:
        """Also if Asok's write is lost, as when two requests claim codes at once."""
        enrol(CODE)
        first, second = logged_in(app, ROOT), logged_in(app, ROOT)
        post(first, "/admin/2fa", code=CODE)
        assert opens(first)
        enrol(CODE)
        post(second, "/admin/2fa", code=CODE.lower().replace("-", ""))
        assert not opens(second)

    @pytest.mark.requirement("SECURITY-21")
    def test_a_correct_password_does_not_reset_the_count_of_codes(self, app: Asok, auth: Auth) -> None:
        enrol()
        answers = []
        for _ in range(4):
            default_cache.flush()  # Asok's count by client IP, which an attacker has many of
            client = TestClient(app)
            post(client, "/admin/login", email=ROOT, password=PASSWORD)
            answers += [post(client, "/admin/2fa", code="000000").status_code for _ in range(3)]
        assert answers == [200] * 10 + [429] * 2

    def test_an_api_token_does_not_stand_in_for_it(self, app: Asok, auth: Auth) -> None:
        enrol()
        client = TestClient(app)
        headers = {"X-Badge": ROOT}
        assert client.get("/admin/posts", headers=headers).headers["Location"] == "/admin/2fa"
        assert client.get("/admin/2fa", headers=headers).headers["Location"] == "/admin/login"

    def test_setting_it_up_counts_for_this_session(self, app: Asok, auth: Auth) -> None:
        now = time.time()  # Asok's own clock checks the first code
        auth.clock = lambda: now
        client, other = logged_in(app, ROOT), logged_in(app, ROOT)
        secret = re.search(r"\b[A-Z2-7]{32}\b", client.get("/admin/2fa-setup").text)
        assert secret
        done = post(client, "/admin/2fa-setup", code=_totp_at(secret[0], auth.clock()))
        assert done.headers["Location"] == "/admin/2fa-backup-codes"
        assert opens(client)
        assert not opens(other)
        post(other, "/admin/2fa", code=_totp_at(secret[0], auth.clock()))
        assert not opens(other), "the code of the set-up counts as used"

    def test_a_first_code_of_a_time_step_that_just_ended_sets_it_up(self, app: Asok, auth: Auth) -> None:
        """Asok has accepted it a moment ago; there is no step left to mark as used."""
        now = time.time()
        auth.clock = lambda: now
        client, other = logged_in(app, ROOT), logged_in(app, ROOT)
        secret = re.search(r"\b[A-Z2-7]{32}\b", client.get("/admin/2fa-setup").text)
        assert secret
        auth.clock = lambda: now + 90
        done = post(client, "/admin/2fa-setup", code=_totp_at(secret[0], now))
        assert done.headers["Location"] == "/admin/2fa-backup-codes"
        assert opens(client)
        assert not opens(other)
        post(other, "/admin/2fa", code=_totp_at(secret[0], now))
        assert not opens(other), "the code is too old by now"

    @pytest.mark.parametrize("password", ["wrong", PASSWORD])
    def test_the_password_turns_it_off(self, app: Asok, auth: Auth, password: str) -> None:
        enrol()
        client = logged_in(app, ROOT)
        post(client, "/admin/2fa", code=code(auth))
        post(client, "/admin/2fa-disable", current_password=password)
        assert opens(client)
        assert opens(logged_in(app, ROOT)) is (password == PASSWORD)

    @pytest.mark.requirement("SECURITY-24")
    def test_setting_it_up_needs_a_recent_login(self, app: Asok, auth: Auth) -> None:
        client = logged_in(app, ROOT)
        auth.clock.advance(3600)  # type: ignore[attr-defined]
        assert client.get("/admin/2fa-setup").status_code in (303, 403)

    @pytest.mark.requirement("SECURITY-19")
    def test_a_session_with_one_factor_does_not_open_it_once_its_user_has_two(
        self, app: Asok, auth: Auth
    ) -> None:
        client = logged_in(app, ROOT)
        assert opens(client)
        root().update(name="two")  # now the factor "word" is theirs
        assert client.get("/admin/posts").status_code == 403
        assert "recent login" in client.get("/admin/posts").text
        again = TestClient(app)
        assert again.get(f"/enter?as={ROOT}").headers["Location"] == "/auth/second-factor"
        again.get("/auth/second-factor")
        post(again, "/auth/second-factor", factor="word", word="swordfish")
        assert opens(again)

    def test_impersonation_needs_it_too(self, app: Asok, auth: Auth) -> None:
        make_user("bob@example.org")
        client = logged_in(app, ROOT)
        bob = MODELS_REGISTRY["User"].find(email="bob@example.org")
        client.get("/admin")
        post(client, f"/admin/impersonate/{bob.id}")
        assert home(client) == "bob@example.org"
        enrol()
        assert client.get("/admin/posts").headers["Location"] == "/admin/2fa"


class Totp(Word):
    """A factor in the place of asok-totp's; ``answer`` is what it says of each user."""

    name = "totp"
    enrol_path = "/auth/totp"
    answer: object = False

    def routes(self) -> Iterable[Route]:
        return [Route(self.enrol_path, get=lambda request: WebResponse("set up"))]

    def is_enrolled(self, user: User) -> bool:
        return self.answer  # type: ignore[return-value]


class Successor(Plugin):
    def __init__(self) -> None:
        super().__init__()
        self.totp = Totp()

    @hookimpl
    def asok_auth_second_factors(self, auth: Auth) -> list[SecondFactor]:
        return [self.totp]


@pytest.mark.requirement("SECURITY-40")
class TestWithASuccessor:
    """With asok-totp, the Admin shows its status and leads to its page."""

    @pytest.fixture
    def plugin(self) -> Successor:
        return Successor()

    @pytest.mark.parametrize(("answer", "shown"), [(False, False), (True, True), (None, True)])
    def test_the_profile_shows_its_status(
        self, app: Asok, auth: Auth, plugin: Successor, answer: object, shown: bool
    ) -> None:
        """A factor that does not say counts as set up: the login asks for it."""
        plugin.totp.answer = True
        client = self.with_the_factor(app)
        plugin.totp.answer = answer
        assert ("2FA is Enabled" in client.get("/admin/me").text) is shown

    def test_the_admin_turns_nothing_off(self, app: Asok, auth: Auth, plugin: Successor) -> None:
        enrol()
        plugin.totp.answer = True
        client = self.with_the_factor(app)
        answer = post(client, "/admin/2fa-disable", current_password=PASSWORD)
        assert answer.headers["Location"] == "/auth/totp"
        assert root().totp_enabled

    def with_the_factor(self, app: Asok) -> TestClient:
        client = TestClient(app)
        assert client.get(f"/enter?as={ROOT}").headers["Location"] == "/auth/second-factor"
        client.get("/auth/second-factor")
        post(client, "/auth/second-factor", factor="totp", word="swordfish")
        assert home(client) == ROOT
        return client


@pytest.mark.requirement("SECURITY-40")
class TestWithoutTheExtension:
    """In another app of the process, the patched ``Admin`` does what Asok does."""

    @pytest.fixture
    def app(self, tmp_path: Path, plugin: Plugin) -> Iterator[Asok]:
        default_cache.flush()
        with started(tmp_path / "patched", plugin):
            pass
        with asok_app(tmp_path / "plain", extension=False, pages=PAGES, models=PERMISSION_MODELS) as made:
            add_admin(made)
            make_user(ROOT, is_admin=True)
            yield made

    def test_the_password_opens_it(self, app: Asok) -> None:
        client = TestClient(app)
        assert post(client, "/admin/login", email=ROOT, password=PASSWORD).headers["Location"] == "/admin"
        assert opens(client)

    @pytest.mark.parametrize("backup", [False, True])
    def test_its_second_factor_is_asked_for_after_the_password(self, app: Asok, backup: bool) -> None:
        enrol(CODE)
        client = TestClient(app)
        answer = post(client, "/admin/login", email=ROOT, password=PASSWORD)
        assert answer.headers["Location"] == "/admin/2fa"
        assert not opens(client)
        assert post(client, "/admin/2fa", code="000000").status_code == 200
        assert not opens(client)
        given = CODE if backup else _totp_at(SECRET, time.time())
        assert post(client, "/admin/2fa", code=given).headers["Location"] == "/admin"
        assert opens(client)

    def test_setting_it_up_and_turning_it_off(self, app: Asok) -> None:
        client = logged_in(app, ROOT)
        secret = re.search(r"\b[A-Z2-7]{32}\b", client.get("/admin/2fa-setup").text)
        assert secret
        done = post(client, "/admin/2fa-setup", code=_totp_at(secret[0], time.time()))
        assert done.headers["Location"] == "/admin/2fa-backup-codes"
        assert root().totp_enabled
        post(client, "/admin/2fa-disable", current_password=PASSWORD)
        assert not root().totp_enabled

    def test_impersonation(self, app: Asok) -> None:
        make_user("bob@example.org")
        bob = MODELS_REGISTRY["User"].find(email="bob@example.org")
        client = logged_in(app, ROOT)
        client.get("/admin")
        post(client, f"/admin/impersonate/{bob.id}")
        assert home(client) == "bob@example.org"
        post(client, "/admin/stop-impersonate")
        assert home(client) == ROOT


@pytest.mark.requirement("SECURITY-37")
class TestItsSessions:
    def shown(self, client: TestClient, path: str) -> list[str]:
        return re.findall(r'name="sid" value="(auth-[^"]+)"', client.get(path).text)

    def test_the_profile_lists_what_is_in_force(self, app: Asok, auth: Auth) -> None:
        client, other = logged_in(app, ROOT), logged_in(app, ROOT)
        ours = {f"auth-{one.id}" for one in sessions_of(auth, root())}
        [listed] = self.shown(client, "/admin/me")
        assert listed in ours
        assert self.shown(other, "/admin/me") != [listed], "one's own has no button"
        other.get("/leave")
        assert self.shown(client, "/admin/me") == []

    def test_revoking_a_session_ends_it(self, app: Asok, auth: Auth) -> None:
        client, other = logged_in(app, ROOT), logged_in(app, ROOT)
        [sid] = self.shown(client, "/admin/me")
        post(client, "/admin/revoke-session", sid=sid)
        assert (home(client), home(other)) == (ROOT, "nobody")

    def test_another_users_session_cannot_be_revoked_on_the_profile(self, app: Asok, auth: Auth) -> None:
        make_user("bob@example.org", is_admin=True)
        bob, client = logged_in(app, "bob@example.org"), logged_in(app, ROOT)
        [record] = sessions_of(auth, MODELS_REGISTRY["User"].find(email="bob@example.org"))
        post(client, "/admin/revoke-session", sid=f"auth-{record.id}")
        assert home(bob) == "bob@example.org"

    def test_the_list_of_all_sessions(self, app: Asok, auth: Auth, plugin: Plugin) -> None:
        make_user("bob@example.org")
        bob, client = logged_in(app, "bob@example.org"), logged_in(app, ROOT)
        listed = self.shown(client, "/admin/active-sessions?filter=all")
        [record] = sessions_of(auth, MODELS_REGISTRY["User"].find(email="bob@example.org"))
        assert listed == [f"auth-{record.id}"]
        post(client, "/admin/active-sessions/revoke", sid=listed[0])
        assert home(bob) == "nobody"
        assert plugin.events[-1].name == "sessions.ended"
        assert self.shown(client, "/admin/active-sessions?filter=15m") == []

    def test_a_user_who_is_gone_has_no_session_to_revoke(self, app: Asok, auth: Auth, plugin: Plugin) -> None:
        client = logged_in(app, ROOT)
        post(client, "/admin/active-sessions/revoke-user", user_id="99")
        assert app._session_store.revoke_all_user_sessions(99) == 0
        assert home(client) == ROOT
        assert "sessions.ended" not in [event.name for event in plugin.events]

    def test_revoking_all_sessions_of_a_user(self, app: Asok, auth: Auth) -> None:
        make_user("bob@example.org")
        first, second = (logged_in(app, "bob@example.org") for _ in range(2))
        client = logged_in(app, ROOT)
        bob = MODELS_REGISTRY["User"].find(email="bob@example.org")
        post(client, "/admin/active-sessions/revoke-user", user_id=str(bob.id))
        assert [home(one) for one in (first, second, client)] == ["nobody", "nobody", ROOT]


@pytest.mark.requirement("SECURITY-40")
class TestImpersonation:
    def act_as(self, client: TestClient, email: str) -> Any:
        client.get("/admin")
        return post(client, f"/admin/impersonate/{MODELS_REGISTRY['User'].find(email=email).id}")

    def test_one_after_the_other_stays_the_first_administrators(self, app: Asok, auth: Auth) -> None:
        make_user("boss@example.org", is_admin=True)
        make_user("bob@example.org")
        client = logged_in(app, ROOT)
        self.act_as(client, "boss@example.org")
        assert home(client) == "boss@example.org"
        self.act_as(client, "bob@example.org")
        assert home(client) == "bob@example.org"
        assert sessions_of(auth, root())[0].impersonates is not None
        post(client, "/admin/stop-impersonate")
        assert home(client) == ROOT

    def test_a_disabled_user_cannot_be_impersonated(self, app: Asok, auth: Auth) -> None:
        make_user("bob@example.org", is_active=False)
        client = logged_in(app, ROOT)
        assert self.act_as(client, "bob@example.org").status_code == 403
        assert home(client) == ROOT

    def test_an_api_token_starts_none(self, app: Asok, auth: Auth) -> None:
        make_user("bob@example.org")
        bob = MODELS_REGISTRY["User"].find(email="bob@example.org")
        response = TestClient(app).post(f"/admin/impersonate/{bob.id}", headers={"X-Badge": ROOT})
        assert response.status_code == 403

    def test_logging_out_ends_the_administrators_session(self, app: Asok, auth: Auth) -> None:
        make_user("bob@example.org")
        client = logged_in(app, ROOT)
        self.act_as(client, "bob@example.org")
        kept = dict(client.cookies)
        client.get("/leave")
        assert sessions_of(auth, root()) == []
        client.cookies = kept
        assert home(client) == "nobody"

    def test_it_holds_whatever_becomes_of_asoks_session(self, app: Asok, auth: Auth) -> None:
        """Another worker does not have it; a slower request may save an older one."""
        make_user("bob@example.org")
        client = logged_in(app, ROOT)
        before = client.cookies["asok_sid"]
        self.act_as(client, "bob@example.org")
        client.cookies["asok_sid"] = before
        assert home(client) == "bob@example.org"
        assert "stop-impersonate" in client.get("/admin").text, "the banner is there too"
