"""``asok-auth permissions``: reasons, and an exit status for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asok.orm import MODELS_REGISTRY
from typer.testing import CliRunner

from asok_auth_core.cli import build
from asok_auth_core.commands import CommandLine
from asok_auth_core.commands.permissions import app as commands
from asok_auth_core.errors import ConfigurationError
from asok_auth_core.plugin import hookimpl
from asok_auth_core.plugins import Plugins
from asok_auth_core.registry import PluginRegistry
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.types import User

MODEL = """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True)
    permissions = Field.String(nullable=True)
"""


class Friday:
    @hookimpl
    def asok_auth_denies(self, permission: str) -> str | None:
        return "not on a Friday" if permission == "posts.publish" else None


class Broken:
    @hookimpl
    def asok_auth_permissions(self, user: User) -> list[str]:
        raise LookupError("gone")


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    with asok_app(tmp_path, models={"user.py": MODEL}, plugins=[Friday(), Broken()]) as app:
        MODELS_REGISTRY["User"].create(email="ada@example.org", permissions="posts.*, posts.")
        yield CommandLine("wsgi:app", app.extensions["AuthExtension"].auth)


def run(line: CommandLine, *arguments: str) -> Any:
    return CliRunner().invoke(commands, arguments, obj=line)


def test_explain_prints_the_reasons_and_the_verdict(line: CommandLine) -> None:
    allowed = run(line, "explain", "ada@example.org", "posts.edit")
    assert allowed.exit_code == 0
    assert allowed.stdout.splitlines() == [
        "'posts.edit': allowed.",
        "Granted by 'posts.*' of the user's own permissions (plugin roles).",
        "Plugin Broken raised an error and granted nothing; see the log.",
        "'posts.' of the user's own permissions is not well formed and grants nothing.",
    ]
    denied = run(line, "explain", "1", "posts.publish")
    assert denied.exit_code == 3
    assert "Denied by plugin Friday: not on a Friday" in denied.stdout
    malformed = run(line, "explain", "1", "posts.**")
    assert malformed.exit_code == 3
    assert "This is not a permission" in malformed.stdout


def test_explain_prints_json(line: CommandLine) -> None:
    denied = run(line, "explain", "1", "users.edit", "--json")
    assert denied.exit_code == 3
    found = json.loads(denied.stdout)
    assert (found["allowed"], found["missing"]) == (False, ["users.edit", "users.*", "*"])


def test_list_prints_grants_and_their_sources(line: CommandLine) -> None:
    assert run(line, "list", "1").stdout.splitlines() == [
        "posts.*  the user's own permissions  (plugin roles)",
        "'posts.'  the user's own permissions  is malformed and grants nothing",
        "Plugin Broken raised an error and granted nothing; see the log.",
    ]


@pytest.mark.parametrize("user", ["eve@example.org", "77", "nobody"])
def test_an_unknown_user_is_an_error(line: CommandLine, user: str) -> None:
    result = run(line, "explain", user, "posts.edit")
    assert isinstance(result.exception, ConfigurationError)
    assert f"There is no user {user!r}" in result.exception.message


def test_it_is_a_subcommand_of_asok_auth(line: CommandLine) -> None:
    shown = CliRunner().invoke(build(Plugins(PluginRegistry())), ["permissions", "--help"])
    assert "explain" in shown.stdout
    assert "list" in shown.stdout
