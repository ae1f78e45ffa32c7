"""Users of an authenticator app still need it when its plugin is gone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from typer.testing import CliRunner

from asok_auth_core import cli
from asok_auth_core.flows.factor_policy import KIND, enrolled_factors
from asok_auth_core.flows.recovery_codes import recovery_codes
from asok_auth_core.plugin import (
    Auth,
    ConfigurationError,
    LoginRejected,
    Proof,
    SecondFactorRequired,
    complete_login,
    hookimpl,
)
from asok_auth_core.plugins import Plugins
from asok_auth_core.registry import PluginRegistry
from asok_auth_core.testing import FakeRequest, FrozenClock, MemoryCredentialStore, MemoryUsers, build_auth

pytestmark = pytest.mark.requirement("SECURITY-34")

TOTP = next(entry for entry in entry_points(group="asok_auth") if entry.name == "totp")


def policy(name: str) -> ModuleType:
    """A plugin that rejects nobody, under another plugin's name."""
    module = ModuleType(name)
    module.asok_auth_before_login = hookimpl(lambda: None)  # type: ignore[attr-defined]
    return module


Restart = Callable[..., Auth]


@pytest.fixture
def restart(site, tmp_path: Path, clock: FrozenClock) -> Restart:
    """Ann's app after she turned two-factor authentication on, started again."""
    site.enrol()

    def restart(*found: EntryPoint, plugins: tuple[object, ...] = (), **settings: object) -> Auth:
        users = site.auth.users
        assert isinstance(users, MemoryUsers)
        assert isinstance(site.auth.credentials, MemoryCredentialStore)
        return build_auth(
            tmp_path,
            plugins=plugins,
            settings=settings,
            config={"SECRET_KEY": "k" * 32},
            users=users,
            credentials=site.auth.credentials,
            clock=clock,
            entry_points=found,
        )

    return restart


def assert_rejected(auth: Auth) -> None:
    """A recovery code is enough; without one left, the login is rejected."""
    ann = auth.users.by_id("1")
    assert ann is not None
    request = FakeRequest("/")
    with pytest.raises(SecondFactorRequired):
        complete_login(auth, request, ann, Proof("magic"))
    assert list(enrolled_factors(auth, ann)) == ["recovery"]
    assert request.user is None
    recovery_codes(auth).void("1")
    request = FakeRequest("/")
    with pytest.raises(LoginRejected, match="not available at the moment"):
        complete_login(auth, request, ann, Proof("magic"))
    assert request.user is None


def test_uninstalled(restart: Restart) -> None:
    assert_rejected(restart())


def test_left_out_of_the_list(restart: Restart) -> None:
    assert_rejected(restart(TOTP, PLUGINS=[]))


def test_a_library_is_gone_and_the_app_may_start_without_the_plugin(restart: Restart) -> None:
    entry = EntryPoint("totp", "no_such_module_anywhere", "asok_auth")
    assert_rejected(restart(entry, OPTIONAL_PLUGINS=["totp"]))


def test_another_plugin_took_the_name(restart: Restart) -> None:
    with pytest.raises(ConfigurationError, match="the name 'totp' is taken"):
        restart(TOTP, plugins=(policy("totp"),))
    assert_rejected(restart(plugins=(policy("totp"),)))


def test_with_the_plugin_back_the_code_is_asked_for(restart: Restart) -> None:
    auth = restart(TOTP)
    assert list(enrolled_factors(auth, auth.users.by_id("1"))) == ["totp", "recovery"]


def test_recovery_codes_alone_are_no_second_factor(site) -> None:
    site.enrol()
    site.auth.second_factors["totp"].reset(site.ann)
    for row in site.auth.credentials.list("1", KIND):
        site.auth.credentials.remove(row)
    assert site.auth.second_factors["recovery"].is_enrolled(site.ann) is True
    assert enrolled_factors(site.auth, site.ann) == {}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """``asok-auth second-factor reset …`` for an app."""

    def run(auth: Auth, *arguments: str) -> str:
        wsgi = ModuleType("wsgi")
        wsgi.app = SimpleNamespace(extensions={"auth": SimpleNamespace(auth=auth)})  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "wsgi", wsgi)
        command = cli.build(Plugins(PluginRegistry(inventory=True)))
        return (
            CliRunner().invoke(command, ["second-factor", "reset", *arguments], catch_exceptions=False).output
        )

    return run


Run = Callable[..., str]


class TestCommand:
    """``asok-auth second-factor reset USER [NAME]``."""

    @pytest.mark.parametrize("user", ["1", "ann@example.org"])
    def test_without_the_plugin(self, restart: Restart, run: Run, user: str) -> None:
        auth = restart()
        output = run(auth, user)
        assert "Removed: totp." in output
        assert "No loaded plugin provides totp: its data stays" in output
        request = FakeRequest("/")
        complete_login(auth, request, auth.users.by_id("1"), Proof("magic"))
        assert request.user is not None
        assert "has no second factor" in run(auth, user)

    def test_with_the_plugin(self, restart: Restart, run: Run) -> None:
        auth = restart(TOTP)
        assert "has no second factor 'key'" in run(auth, "1", "key")
        assert run(auth, "1", "totp").startswith("Removed: totp.")
        assert auth.credentials.list("1", "totp") == auth.credentials.list("1", "recovery_codes") == []

    @pytest.mark.parametrize("user", ["99", "nobody@example.org", ""])
    def test_an_unknown_user_is_reported(self, restart: Restart, run: Run, user: str) -> None:
        with pytest.raises(ConfigurationError, match="There is no user"):
            run(restart(), user)
