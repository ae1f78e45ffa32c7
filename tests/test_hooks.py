"""Every hook is documented, has a failure policy, and is called."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pluggy
import pytest
import typer
from asok_auth_tests.tools import load_tool

from asok_auth_core import cli
from asok_auth_core import hookspecs as specs
from asok_auth_core.auth import Auth
from asok_auth_core.flows.login import complete_login
from asok_auth_core.flows.permissions import user_can
from asok_auth_core.flows.user_data import export_user, remove_user
from asok_auth_core.plugin import (
    AccountSection,
    Event,
    Finding,
    Grant,
    LoginMethod,
    OAuth2Provider,
    SealedValues,
    SecondFactor,
    SignUpStep,
    hookimpl,
)
from asok_auth_core.plugins import Plugins
from asok_auth_core.registry import HOOKS, PluginRegistry
from asok_auth_core.settings import Settings
from asok_auth_core.testing import FakeRequest, MemoryUsers
from asok_auth_core.types import JSON, LoginAttempt, Proof, User
from asok_auth_core.web import Route

ROOT = Path(__file__).parents[1]


def test_the_reference_is_current() -> None:
    reference = load_tool("hook_reference")
    source = (ROOT / "asok_auth_core" / "hookspecs.py").read_text("utf-8")
    assert (ROOT / "docs" / "hooks.md").read_text("utf-8") == reference.render(source), (
        "run: python tools/hook_reference.py"
    )


@pytest.mark.parametrize("name", HOOKS)
def test_each_hook_is_documented_with_its_exact_signature(name: str) -> None:
    signature = inspect.signature(getattr(specs, name))
    parameters = ", ".join(f"{p.name}: {p.annotation}" for p in signature.parameters.values())
    documented = (ROOT / "docs" / "hooks.md").read_text("utf-8")
    plain = re.sub(r"\s", "", documented).replace('"', "'")
    assert re.sub(r"\s", "", f"{name}({parameters})->{signature.return_annotation}") in plain


def test_hookspecs_is_short() -> None:
    assert len((ROOT / "asok_auth_core" / "hookspecs.py").read_text().splitlines()) <= 270


class Probe:
    """Implements every hook."""

    @hookimpl
    def asok_auth_providers(self, settings: Settings) -> Iterable[OAuth2Provider]:
        return []

    @hookimpl
    def asok_auth_signers(self, settings: Settings) -> dict[str, Callable[[bytes], object]]:
        return {}

    @hookimpl
    def asok_auth_mail_transports(self, settings: Settings) -> dict[str, Callable[[], object]]:
        return {}

    @hookimpl
    def asok_auth_state_stores(self, settings: Settings) -> dict[str, Callable[[str], object]]:
        return {}

    @hookimpl
    def asok_auth_login_methods(self, auth: Auth) -> Iterable[LoginMethod]:
        return []

    @hookimpl
    def asok_auth_second_factors(self, auth: Auth) -> Iterable[SecondFactor]:
        return []

    @hookimpl
    def asok_auth_account_sections(self, auth: Auth) -> Iterable[AccountSection]:
        return []

    @hookimpl
    def asok_auth_sign_up_steps(self, auth: Auth) -> Iterable[SignUpStep]:
        return []

    @hookimpl
    def asok_auth_routes(self, auth: Auth) -> Iterable[Route]:
        return []

    @hookimpl
    def asok_auth_start(self, auth: Auth) -> None:
        return None

    @hookimpl
    def asok_auth_stop(self, auth: Auth) -> None:
        return None

    @hookimpl
    def asok_auth_permissions(self, user: User) -> Iterable[Grant]:
        return [Grant("posts.edit", "probe")]

    @hookimpl
    def asok_auth_denies(self, user: User, permission: str, resource: object | None) -> str | None:
        return None

    @hookimpl
    def asok_auth_before_login(self, attempt: LoginAttempt) -> str | None:
        return None

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        return None

    @hookimpl
    def asok_auth_export_user(self, user: User) -> dict[str, JSON]:
        return {"posts": 3}

    @hookimpl
    def asok_auth_remove_user(self, user: User) -> None:
        return None

    @hookimpl
    def asok_auth_checks(self, auth: Auth) -> Iterable[Finding]:
        return []

    @hookimpl
    def asok_auth_sealed_values(self, auth: Auth) -> list[SealedValues[Any]]:
        return []

    @hookimpl
    def asok_auth_commands(self, cli: typer.Typer) -> None:
        return None


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, frozenset[str]]:
    """Hook name to the names of the arguments that it was called with."""
    seen: dict[str, frozenset[str]] = {}
    original = pluggy.PluginManager.__init__

    def watched(self: pluggy.PluginManager, project_name: str) -> None:
        original(self, project_name)

        def before(hook: str, implementations: object, arguments: dict[str, object]) -> None:
            seen[hook] = frozenset(arguments)

        self.add_hookcall_monitoring(before, lambda outcome, hook, implementations, arguments: None)

    monkeypatch.setattr(pluggy.PluginManager, "__init__", watched)
    return seen


def test_every_hook_is_called_as_documented(
    called: dict[str, frozenset[str]], make_auth: Callable[..., Auth], fake_users: MemoryUsers
) -> None:
    auth = make_auth(plugins=(Probe(),))
    ada = fake_users.by_id("1")
    assert ada is not None
    complete_login(auth, FakeRequest("/"), ada, Proof("app"))
    assert user_can(auth, ada, "posts.edit")
    list(auth.plugins.checks(auth))
    auth.plugins.sealed_values(auth)
    export_user(auth, ada)
    remove_user(auth, ada)
    auth.plugins.stop(auth)
    tools = PluginRegistry()
    tools.register(Probe(), "probe")
    cli.build(Plugins(tools))
    for name in HOOKS:
        assert called.get(name) == frozenset(inspect.signature(getattr(specs, name)).parameters), name
