"""``asok-auth token``: API tokens on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from asok.orm import MODELS_REGISTRY
from typer.testing import CliRunner, Result

from asok_auth_core.commands import CommandLine
from asok_auth_core.commands.tokens import app as commands
from asok_auth_core.errors import AuthError, ConfigurationError
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.raises import raises_code


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    with asok_app(tmp_path) as app:
        MODELS_REGISTRY["User"].create(email="ada@app.example")
        yield CommandLine("wsgi:app", app.extensions["AuthExtension"].auth)


def run(line: CommandLine, *arguments: str, text: str | None = None, status: int = 0) -> Result:
    result = CliRunner().invoke(commands, arguments, obj=line, input=text)
    if isinstance(result.exception, AuthError):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


def created(line: CommandLine, *arguments: str) -> str:
    return run(line, "create", "ada@app.example", *arguments).stdout.strip()


def test_create_prints_only_the_token_on_standard_output(line: CommandLine) -> None:
    result = run(
        line,
        "create",
        "1",
        "--expires-in",
        "60",
        "--scope",
        "posts.view",
        "--scope",
        "files.*",
        "--name",
        "ci",
    )
    assert result.stdout.count(".") == 2
    assert "cannot be shown again" in result.stderr
    said = json.loads(run(line, "inspect", result.stdout.strip()).stdout)
    assert (said["user_id"], said["scopes"]) == ("1", ["posts.view", "files.*"])


def test_list_never_shows_a_token(line: CommandLine) -> None:
    assert run(line, "list", "1").stdout == "No tokens.\n"
    token = created(line, "--name", "ci")
    shown = run(line, "list", "1").stdout + run(line, "list", "1", "--json").stdout
    assert "ci" in shown
    assert "permanent" in shown
    assert "never used" in shown
    assert token.split(".")[2] not in shown
    (found,) = json.loads(run(line, "list", "1", "--json").stdout)
    assert found["name"] == "ci"


def test_revoke_by_token(line: CommandLine) -> None:
    token, other = created(line), created(line)
    run(line, "inspect", "-", text=token + "\n")
    assert run(line, "revoke", "-", text=token + "\n").stdout == "1 token revoked.\n"
    with raises_code("token_revoked"):
        run(line, "inspect", token)
    run(line, "revoke", token, status=1)
    run(line, "inspect", other)


def test_revoke_by_id_and_all(line: CommandLine) -> None:
    tokens = [created(line) for _ in range(3)]
    (first, *_) = json.loads(run(line, "list", "1", "--json").stdout)
    run(line, "revoke", "--user", "1", "--id", first["id"])
    assert run(line, "revoke", "--user", "ada@app.example", "--all").stdout == "2 tokens revoked.\n"
    assert run(line, "revoke", "--user", "1", "--all").stdout == "0 tokens revoked.\n"
    for token in tokens:
        with raises_code("token_revoked"):
            run(line, "inspect", token)


@pytest.mark.parametrize(
    "arguments", [[], ["--all"], ["--id", "x"], ["x", "--all"], ["x", "--user", "1"], ["--user", "1"]]
)
def test_revoke_needs_a_token_an_id_or_all(line: CommandLine, arguments: list[str]) -> None:
    run(line, "revoke", *arguments, status=2)


def test_mistakes_are_reported(line: CommandLine) -> None:
    with pytest.raises(ConfigurationError, match="no user"):
        run(line, "create", "99")
    with pytest.raises(ConfigurationError, match="pattern"):
        run(line, "create", "1", "--scope", "a b")
    run(line, "create", "1", "--expires-in", "0", status=2)
