"""``asok-auth user`` and ``asok-auth sessions``: what support staff see and end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.contracts import SecondFactor, StateStore
from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.flows.api_tokens import ApiTokens
from asok_auth_core.flows.epoch import epoch
from asok_auth_core.flows.factor_policy import change_factor_names
from asok_auth_core.flows.linking import link
from asok_auth_core.flows.recovery_codes import recovery_codes
from asok_auth_core.flows.verified_emails import mark_email_verified
from asok_auth_core.plugin import Event, hookimpl
from asok_auth_core.testing import asok_app
from asok_auth_core.testing.commands import CommandResult, run_command
from asok_auth_core.types import Identity

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
ENTER = """
from models.user import User


def get(request):
    request.login(User.find(id=1))
    return "in"
"""
MODEL = """
from asok import Field, Model


class User(Model):
    email = Field.String(unique=True, nullable=False)
"""


class Pin(SecondFactor):
    name = "pin"
    label = "PIN"
    answer: object = False

    def is_enrolled(self, user: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def reset(self, user: Any) -> None: ...

    def challenge(self, request: Any, user: Any, problem: str | None = None) -> Any: ...

    def verify(self, request: Any, user: Any) -> bool:
        return False


class Plugin:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.pin = Pin()

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        self.events.append(event)

    @hookimpl
    def asok_auth_second_factors(self) -> list[SecondFactor]:
        return [self.pin]

    def said(self, name: str) -> list[dict[str, object]]:
        return [dict(event.detail) for event in self.events if event.name == name and event.user_id == "1"]


@pytest.fixture
def plugin() -> Plugin:
    return Plugin()


@pytest.fixture
def app(tmp_path: Path, plugin: Plugin) -> Iterator[Asok]:
    auth = {"TRUSTED_DEVICE": 86_400}
    with asok_app(tmp_path, pages={"enter.py": ENTER}, auth=auth, plugins=[plugin]) as started:
        MODELS_REGISTRY["User"].create(email="ada@example.org")
        yield started


def auth_of(app: Asok) -> Any:
    return app.extensions["AuthExtension"].auth


def ada() -> Any:
    return MODELS_REGISTRY["User"].find(id=1)


def entered(app: Asok, agent: str = FIREFOX) -> TestClient:
    client = TestClient(lambda environ, start: app({**environ, "REMOTE_ADDR": "203.0.113.7"}, start))
    client.get("/enter", headers={"User-Agent": agent})
    assert "ada@example.org" in client.get("/").text
    return client


def run(app: Asok, *arguments: str) -> CommandResult:
    result = run_command(app, *arguments)
    assert (result.code, result.errors) == (0, ""), result
    return result


def failed(app: Asok, *arguments: str) -> str:
    result = run_command(app, *arguments)
    assert (result.code, result.output) == (1, "")
    assert result.errors.startswith("asok-auth: ")
    return result.errors


class TestShow:
    def test_everything_that_the_account_has(self, app: Asok, plugin: Plugin) -> None:
        auth, user = auth_of(app), ada()
        entered(app)
        plugin.pin.answer = True
        mark_email_verified(auth, user, "ada@example.org")
        link(auth, user, Identity("https://i.example", "7", "google", "ada@\x1b[2Jgmail.example", True))
        codes = recovery_codes(auth).issue("1")
        token, _ = ApiTokens(auth).create("1")
        change_factor_names(auth, user, lambda kept: kept | {"sms"})
        auth.credentials.add("1", "trusted_device", "digest-of-a-handle", {"agent": "x"})

        shown = run(app, "user", "show", "ada@example.org").output
        lines = dict(line.split(maxsplit=1) for line in shown.splitlines() if line.count("  ") > 2)
        assert lines["user"] == "1"
        assert lines["email"] == "ada@example.org"
        assert lines["active"] == "yes"
        assert lines["sessions"] == "1"
        assert lines["identity"].startswith(
            "Google (ada@\N{REPLACEMENT CHARACTER}[2Jgmail.example), linked 20"
        )
        assert "email verified    yes" in shown
        assert "second factors    pin, sms (no loaded plugin provides it)" in shown
        assert "recovery codes    10 left" in shown
        assert "API tokens        1" in shown
        assert "trusted browsers  1" in shown
        assert "login methods     magic" in shown

        as_json = run(app, "user", "show", "1", "--json").output
        account = json.loads(as_json)
        assert account["second_factors"] == {"pin": "available", "sms": "missing"}
        assert account["login_methods"] == {"magic": "available"}
        assert (account["recovery_codes_left"], account["api_tokens"], account["sessions"]) == (10, 1, 1)
        assert [one["provider"] for one in account["identities"]] == ["google"]
        assert account["verified_emails"] == ["ada@example.org"]
        for secret in (*codes, token.split(".")[2], "digest-of-a-handle"):
            assert secret not in shown + as_json

    def test_an_account_that_has_nothing(self, app: Asok) -> None:
        shown = run(app, "user", "show", "1").output
        assert "email verified    no" in shown
        assert "login methods     none" in shown
        assert "second factors    none" in shown
        assert "recovery codes    0 left" in shown

    def test_another_verified_email_is_shown(self, app: Asok) -> None:
        mark_email_verified(auth_of(app), ada(), "old@example.org")
        shown = run(app, "user", "show", "1").output
        assert "email verified    no" in shown
        assert "other verified    old@example.org" in shown

    @pytest.mark.parametrize("answer", ["perhaps", RuntimeError("broken")], ids=["nonsense", "exception"])
    def test_a_factor_that_does_not_answer_is_unknown(
        self, app: Asok, plugin: Plugin, answer: object
    ) -> None:
        plugin.pin.answer = answer
        assert "pin (unknown, because its plugin failed; see the log)" in run(app, "user", "show", "1").output

    def test_a_factor_whose_store_fails_is_an_error(self, app: Asok, plugin: Plugin) -> None:
        plugin.pin.answer = StoreUnavailable("The store does not answer.")
        assert "The store does not answer." in failed(app, "user", "show", "1")


class TestDisable:
    @pytest.mark.requirement("SECURITY-23", "SECURITY-37")
    def test_logins_end_for_good_and_tokens_are_suspended(self, app: Asok, plugin: Plugin) -> None:
        auth, client = auth_of(app), entered(app)
        token, _ = ApiTokens(auth).create("1")
        bearer = {"Authorization": f"Bearer {token}"}
        method = auth.login_methods["magic"]
        link = method._proofs.issue("ada@example.org", 600, user=ada()).token
        assert "ada@example.org" in TestClient(app).get("/", headers=bearer).text

        said = run(app, "user", "disable", "ada@example.org").output
        assert said.startswith("User 1 is disabled. 1 session ended.\n")
        assert "asok-auth token revoke --user 1 --all" in said
        assert not ada().is_active
        assert "nobody" in client.get("/").text
        assert "nobody" in TestClient(app).get("/", headers=bearer).text
        assert "active            no" in run(app, "user", "show", "1").output

        assert run(app, "user", "enable", "1").output == "User 1 is enabled.\n"
        assert "nobody" in client.get("/").text
        assert TestClient(app).get(f"/auth/magic/callback?token={link}").status_code == 400
        assert "ada@example.org" in TestClient(app).get("/", headers=bearer).text
        assert "ada@example.org" in entered(app).get("/").text
        assert plugin.said("account.disabled") == [{"sessions": 1}]
        assert plugin.said("account.enabled") == [{}]

    def test_a_disabled_account_can_be_disabled_again(self, app: Asok) -> None:
        """After a store failed halfway, the command is repeated."""
        run(app, "user", "disable", "1")
        before = epoch(auth_of(app), "1")
        assert run(app, "user", "disable", "1").output == "User 1 is disabled. 0 sessions ended.\n"
        assert epoch(auth_of(app), "1") > before

    def test_a_store_that_fails_is_an_error(self, app: Asok, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*arguments: object) -> None:
            raise StoreUnavailable("The database does not answer.")

        with monkeypatch.context() as patch:
            patch.setattr(type(auth_of(app).credentials), "add", fail)
            assert "The database does not answer." in failed(app, "user", "disable", "1")
        assert not ada().is_active

    @pytest.mark.parametrize(
        ("field", "disabled"),
        [
            ("is_banned = Field.Boolean(default=False)", {"is_banned": True}),
            (
                "enabled = Field.Boolean(default=True)\n    is_banned = Field.Boolean(default=False)",
                {"enabled": False, "is_banned": False},
            ),
        ],
    )
    def test_other_fields_disable_too(self, tmp_path: Path, field: str, disabled: dict[str, bool]) -> None:
        with asok_app(tmp_path, models={"user.py": f"{MODEL}    {field}\n"}) as app:
            MODELS_REGISTRY["User"].create(email="ada@example.org")
            run(app, "user", "disable", "1")
            assert {name: bool(getattr(ada(), name)) for name in disabled} == disabled
            run(app, "user", "enable", "1")
            assert auth_of(app).users.is_active(ada())

    def test_enabling_clears_every_field_that_disables(self, tmp_path: Path) -> None:
        fields = "is_active = Field.Boolean(default=True)\n    is_banned = Field.Boolean(default=False)\n"
        with asok_app(tmp_path, models={"user.py": f"{MODEL}    {fields}"}) as app:
            MODELS_REGISTRY["User"].create(email="ada@example.org", is_active=False, is_banned=True)
            run(app, "user", "enable", "1")
            assert (bool(ada().is_active), bool(ada().is_banned)) == (True, False)

    def test_a_model_without_such_a_field(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, models={"user.py": MODEL}) as app:
            MODELS_REGISTRY["User"].create(email="ada@example.org")
            said = failed(app, "user", "disable", "1")
            assert "User has no field that disables an account" in said
            assert "is_active = Field.Boolean(default=True)" in said

    @pytest.mark.parametrize(
        ("hook", "said"),
        [
            ("self.is_active = True", "User was saved, but the account is still active"),
            ("raise RuntimeError('secret')", "User could not be saved (RuntimeError)"),
            ("self.email = 'no address'", "User does not save this account (field email)"),
        ],
    )
    def test_a_model_that_does_not_save(self, tmp_path: Path, hook: str, said: str) -> None:
        source = MODEL.replace("String(", "Email(") + (
            f"    is_active = Field.Boolean(default=True)\n\n    def before_update(self):\n        {hook}\n"
        )
        with asok_app(tmp_path, models={"user.py": source}) as app:
            MODELS_REGISTRY["User"].create(email="ada@example.org")
            told = failed(app, "user", "disable", "1")
            assert said in told
            assert "secret" not in told


class TestSessions:
    def test_list_says_browser_client_and_method(self, app: Asok) -> None:
        entered(app)
        entered(app, "curl/8.0 \x1b[2J")
        lines = run(app, "sessions", "list", "ada@example.org").output.splitlines()
        assert len(lines) == 2
        assert "curl" not in "".join(lines)
        (firefox,) = [line for line in lines if "Firefox · Linux" in line]
        (unknown,) = [line for line in lines if "unknown browser" in line]
        assert "203.0.113.7" in firefox
        assert "first seen 20" in firefox
        assert "last seen 20" in firefox
        assert "  app  " in unknown

        found = json.loads(run(app, "sessions", "list", "1", "--json").output)
        assert {one["browser"] for one in found} == {"Firefox · Linux", None}
        assert all(one["method"] == "app" and one["client_ip"] == "203.0.113.7" for one in found)
        assert all(one["first_seen"] <= one["last_seen"] for one in found)

    def test_the_cookie_is_never_shown(self, app: Asok) -> None:
        client = entered(app)
        shown = run(app, "sessions", "list", "1").output + run(app, "sessions", "list", "1", "--json").output
        session_id, _, secret = client.cookies["asok_auth_session"].partition(".")
        assert session_id in shown
        assert secret not in shown

    def test_impersonation_is_shown(self, app: Asok) -> None:
        entered(app)
        (row,) = auth_of(app).credentials.list("1", "session")
        auth_of(app).credentials.replace(row, {**json.loads(row.data), "acts_as": "2"})
        assert run(app, "sessions", "list", "1").output.endswith("  impersonates user 2\n")

    def test_without_sessions(self, app: Asok) -> None:
        assert run(app, "sessions", "list", "1").output == "No sessions.\n"
        assert run(app, "sessions", "end", "1").output == "0 sessions ended.\n"

    @pytest.mark.requirement("SECURITY-23")
    def test_end_all(self, app: Asok, plugin: Plugin) -> None:
        clients = [entered(app), entered(app)]
        before = epoch(auth_of(app), "1")
        assert run(app, "sessions", "end", "ada@example.org").output == "2 sessions ended.\n"
        assert all("nobody" in client.get("/").text for client in clients)
        assert epoch(auth_of(app), "1") == before + 1
        assert plugin.said("sessions.ended") == [{}]

    def test_end_one(self, app: Asok, plugin: Plugin) -> None:
        first, second = entered(app), entered(app)
        session_id = first.cookies["asok_auth_session"].partition(".")[0]
        assert run(app, "sessions", "end", "1", "--id", session_id).output == "1 session ended.\n"
        assert "nobody" in first.get("/").text
        assert "ada@example.org" in second.get("/").text
        assert plugin.said("sessions.ended") == [{}]
        assert f"User 1 has no session '{session_id}'" in failed(
            app, "sessions", "end", "1", "--id", session_id
        )

    def test_the_session_of_another_user_is_not_ended(self, app: Asok) -> None:
        MODELS_REGISTRY["User"].create(email="bob@example.org")
        client = entered(app)
        session_id = client.cookies["asok_auth_session"].partition(".")[0]
        failed(app, "sessions", "end", "2", "--id", session_id)
        assert "ada@example.org" in client.get("/").text

    def test_a_state_store_that_is_down(self, app: Asok, monkeypatch: pytest.MonkeyPatch) -> None:
        """Client IPs are there; everything else is in the app's database."""
        entered(app)

        def fail(*arguments: object) -> None:
            raise StoreUnavailable("The state store does not answer.")

        assert isinstance(auth_of(app).state, StateStore)
        monkeypatch.setattr(type(auth_of(app).state), "get", fail)
        assert "The state store does not answer." in failed(app, "sessions", "list", "1")
        run(app, "sessions", "end", "1")


COMMANDS = [
    ("user", "show"),
    ("user", "disable"),
    ("user", "enable"),
    ("sessions", "list"),
    ("sessions", "end"),
    ("second-factor", "reset"),
    ("token", "list"),
    ("permissions", "list"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
class TestFinding:
    @pytest.mark.parametrize("user", ["99", "bob@example.org", "Ada", ""])
    def test_an_unknown_user(self, app: Asok, command: tuple[str, str], user: str) -> None:
        assert f"There is no user {user!r}. Give an id or an email address." in failed(app, *command, user)

    def test_an_ambiguous_email(self, app: Asok, command: tuple[str, str]) -> None:
        for spelling in ("Eve@example.org", "EVE@example.org"):
            MODELS_REGISTRY["User"].create(email=spelling)
        said = failed(app, *command, "eve@example.org")
        assert "Several users have the email address 'eve@example.org' in different spellings" in said
        assert "Give an id instead: 2, 3." in said
        run(app, *command, "Eve@example.org")

    def test_a_database_that_is_down(
        self, app: Asok, command: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(**wanted: object) -> None:
            raise OSError("could not connect to secret-host")

        monkeypatch.setattr(MODELS_REGISTRY["User"], "find", fail)
        said = failed(app, *command, "1")
        assert "The app's database failed or did not answer (OSError) for users." in said
        assert "secret-host" not in said
