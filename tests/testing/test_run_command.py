"""``run_command``: output, reported errors, and exceptions that are faults."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer

from asok_auth_core.plugin import ConfigurationError, current_auth, hookimpl
from asok_auth_core.testing import asok_app, run_command


class Commands:
    @hookimpl
    def asok_auth_commands(self, cli: typer.Typer) -> None:
        @cli.command()
        def say(context: typer.Context) -> None:
            typer.echo(current_auth(context).settings.app_name)
            typer.echo("to stderr", err=True)

        @cli.command()
        def report() -> None:
            raise ConfigurationError("It is not set.")

        @cli.command()
        def leave() -> None:
            raise typer.Exit(3)

        @cli.command()
        def fail() -> None:
            raise ZeroDivisionError


def test_output_errors_and_exit_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ModuleType("wsgi")
    monkeypatch.setitem(sys.modules, "wsgi", before)
    with asok_app(tmp_path, auth={"APP_NAME": "Acme"}, plugins=[Commands()]) as app:
        said = run_command(app, "say")
        assert (said.code, said.output, said.errors) == (0, "Acme\n", "to stderr\n")
        failed = run_command(app, "report")
        assert (failed.code, failed.errors) == (1, "asok-auth: It is not set.\n")
        assert run_command(app, "leave").code == 3
        with pytest.raises(ZeroDivisionError):
            run_command(app, "fail")
    assert sys.modules["wsgi"] is before


def test_it_leaves_no_module_behind(tmp_path: Path) -> None:
    assert "wsgi" not in sys.modules
    with asok_app(tmp_path, plugins=[Commands()]) as app:
        assert run_command(app, "say").code == 0
    assert "wsgi" not in sys.modules
