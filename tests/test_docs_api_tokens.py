"""What docs/api-tokens.md shows is what happens."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from asok_auth_core.auth import Auth
from asok_auth_core.cli import build
from asok_auth_core.engine.signers import SIGNERS
from asok_auth_core.flows.api_tokens import ApiTokens
from asok_auth_core.plugins import Plugins
from asok_auth_core.registry import PluginRegistry

PAGE = (Path(__file__).parent.parent / "docs" / "api-tokens.md").read_text("utf-8")


def test_a_secret_scanner_finds_every_token(make_auth: Callable[..., Auth]) -> None:
    [pattern] = re.findall(r"^eyJ0\S*\[A-Z.*$", PAGE, re.MULTILINE)
    for algorithm in SIGNERS:
        auth = make_auth(settings={"SIGNER": algorithm})
        user = auth.users.create(f"{algorithm}@app.example")
        token, _ = ApiTokens(auth).create(str(user.id), expires_in=60, scopes=["a.*"])
        assert re.fullmatch(pattern, token), algorithm
        assert re.search(pattern, f'curl -H "Authorization: Bearer {token}"')[0] == token


def test_the_documented_commands_exist() -> None:
    cli = build(Plugins(PluginRegistry(inventory=True)))
    commands = set(re.findall(r"^asok-auth (token|keys) (\w+)", PAGE, re.MULTILINE))
    assert len(commands) == 9
    for group, command in commands:
        assert CliRunner().invoke(cli, [group, command, "--help"]).exit_code == 0
