"""``asok-auth``: finding the app, plugins, doctor, commands of plugins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from asok_auth_core import __version__, checks, cli
from asok_auth_core.auth import Auth
from asok_auth_core.commands import CommandLine, current_auth
from asok_auth_core.commands import plugins as plugins_command
from asok_auth_core.errors import ConfigurationError
from asok_auth_core.plugin import hookimpl
from asok_auth_core.plugins import Plugins
from asok_auth_core.registry import HOOKS, PluginRegistry
from asok_auth_core.types import Finding

APP = """
from asok import Asok
from asok_auth_core import AuthExtension

app = Asok()
app.config.update({config})
app.register_extension(AuthExtension({arguments}))
empty = Asok()
"""
MODEL = """
from asok.orm import Field, Model

class User(Model):
    email = Field.String(unique=True)
"""
SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f00123456789abcdef0f1e2d3c4b5a6978"


def write_app(folder: Path, config: dict[str, object], arguments: str = "", before: str = "") -> None:
    (folder / "src" / "models").mkdir(parents=True)
    (folder / "src" / "pages").mkdir()
    (folder / "src" / "models" / "user.py").write_text(MODEL)
    (folder / "wsgi.py").write_text(before + APP.format(config=repr(config), arguments=arguments))


def asok_auth(folder: Path, *arguments: str, secret: str = SECRET) -> subprocess.CompletedProcess[str]:
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("ASOK", "MAIL", "SECRET", "APP_"))
    }
    return subprocess.run(
        [sys.executable, "-c", "from asok_auth_core.cli import main; main()", *arguments],
        cwd=folder,
        env={**environment, "SECRET_KEY": secret, "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_doctor_fails_and_prints_remedies(tmp_path: Path) -> None:
    write_app(
        tmp_path,
        {
            "APP_URL": "http://app.example",
            "MAIL_HOST": "127.0.0.1",
            "MAIL_PORT": 9,
            "MAIL_FROM": "a@app.example",
        },
    )
    run = asok_auth(tmp_path, "doctor", "--json")
    found = {finding["check"]: finding for finding in json.loads(run.stdout)}
    assert run.returncode == 1, run.stderr
    assert found["transport"]["severity"] == "error"
    assert all(finding["remedy"] for finding in found.values())
    read = asok_auth(tmp_path, "doctor")
    assert read.returncode == 1
    assert "APP_URL is http://app.example" in read.stdout
    assert "Serve the app over https" in read.stdout


def test_doctor_reports_an_app_that_cannot_start(tmp_path: Path) -> None:
    write_app(tmp_path, {"AUTH": {"LOGIN_REDIRECT": "//evil.example"}})
    run = asok_auth(tmp_path, "doctor", "--app", "wsgi:app")
    assert run.returncode == 1
    assert 'AUTH["LOGIN_REDIRECT"] must be a path' in run.stdout
    run = asok_auth(tmp_path, "doctor", "--json", secret="short")
    assert run.returncode == 1
    [found] = json.loads(run.stdout)
    assert found["check"] == "start"
    assert "SECRET_KEY must be at least 32 characters" in found["message"]
    assert "Traceback" not in run.stderr


def odd(hook: str) -> str:
    """Code that makes a plugin ``odd`` with an unmarked hook."""
    return f"import types\nodd = types.ModuleType('odd')\nodd.{hook} = lambda event: None\n"


def test_plugins_shows_a_broken_plugin(tmp_path: Path) -> None:
    write_app(tmp_path, {"AUTH": {"MAIL_TRANSPORT": "file"}}, "plugins=[odd]", odd("asok_auth_event"))
    run = asok_auth(tmp_path, "--app=wsgi:app", "plugins", "--json")
    assert run.returncode == 1, run.stderr
    listed = {info["name"]: info for info in json.loads(run.stdout)}
    assert listed["odd"]["state"] == "quarantined"
    assert "asok_auth_event" in listed["odd"]["reason"]
    assert {"mail", "store", "checks"} <= set(listed["asok_auth_core"]["kinds"])
    read = asok_auth(tmp_path, "plugins")
    [line] = [line for line in read.stdout.splitlines() if line.startswith("odd ")]
    assert line.rstrip().endswith(" quarantined: asok_auth_event is not marked with @hookimpl")
    [line] = [line for line in read.stdout.splitlines() if line.startswith("asok_auth_core ")]
    assert "checks, login_methods, mail_transports" in line


@pytest.mark.requirement("SECURITY-34")
def test_plugins_and_doctor_work_when_a_plugin_stops_the_app(tmp_path: Path) -> None:
    write_app(tmp_path, {"AUTH": {"MAIL_TRANSPORT": "file"}}, "plugins=[odd]", odd("asok_auth_evnt"))
    run = asok_auth(tmp_path, "--app=wsgi:app", "plugins", "--json")
    assert run.returncode == 1
    assert {"totp", "magic-link"} <= {info["name"] for info in json.loads(run.stdout)}
    assert "Plugin 'odd' is not loaded: there is no hook 'asok_auth_evnt'" in run.stderr
    assert "Traceback" not in run.stderr
    run = asok_auth(tmp_path, "doctor")
    assert run.returncode == 1
    assert "Plugin 'odd' is not loaded" in run.stdout


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("nowhere:app", "There is no module 'nowhere'"),
        ("wsgi:nothing", "has no attribute 'nothing'"),
        ("wsgi:empty", "register_extension(AuthExtension())"),
        ("wsgi", "module:attribute"),
    ],
)
def test_a_missing_app_is_reported_plainly(tmp_path: Path, app: str, said: str) -> None:
    write_app(tmp_path, {"AUTH": {"MAIL_TRANSPORT": "file"}})
    run = asok_auth(tmp_path, "plugins", "--app", app)
    assert run.returncode == 1
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_a_missing_import_inside_the_app_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "wsgi.py").write_text("import a_library_that_is_not_there")
    run = asok_auth(tmp_path, "--app", "wsgi:app", "plugins")
    assert run.returncode != 0
    assert "a_library_that_is_not_there" in run.stderr


def test_without_an_app_installed_plugins_are_listed(tmp_path: Path) -> None:
    run = asok_auth(tmp_path, "plugins")
    assert run.returncode == 0, run.stderr
    assert "no app was loaded" in run.stdout


@pytest.mark.parametrize(
    ("given", "ordered"),
    [
        (["doctor", "--app", "a:b"], ["--app", "a:b", "doctor"]),
        (["doctor", "--app=a:b", "--json"], ["--app=a:b", "doctor", "--json"]),
        (["x", "--", "--app", "y"], ["x", "--", "--app", "y"]),
        (["doctor", "--app"], ["--app", "doctor"]),
    ],
)
def test_the_app_option_works_in_any_position(given: list[str], ordered: list[str]) -> None:
    assert cli._app_first(given) == ordered


class Greeter:
    @staticmethod
    @hookimpl
    def asok_auth_commands(cli: typer.Typer) -> None:
        @cli.command()
        def greet() -> None:
            """Say hello."""
            typer.echo("hello")


class Clumsy:
    @staticmethod
    @hookimpl
    def asok_auth_commands(cli: typer.Typer) -> None:
        raise RuntimeError("no command today")


def test_plugin_commands_are_mounted_and_a_failing_one_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    registry = PluginRegistry()
    registry.register(Greeter(), "greeter")
    registry.register(Clumsy(), "clumsy")
    cli.build(Plugins(registry))(["greet"], standalone_mode=False)
    captured = capsys.readouterr()
    assert captured.out == "hello\n"
    assert "'clumsy'" in captured.err
    assert "no command today" in captured.err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code in (0, None)
    assert capsys.readouterr().out == f"asok-auth {__version__}\n"


def doctor(monkeypatch: pytest.MonkeyPatch, auth: Auth, *arguments: str) -> tuple[int, str]:
    """Exit code and text of ``asok-auth doctor`` for an app that has ``auth``."""
    monkeypatch.setattr(CommandLine, "auth", lambda line: auth)
    ended = CliRunner().invoke(cli.build(Plugins(PluginRegistry())), ["doctor", *arguments])
    return ended.exit_code, ended.stdout


def test_doctor_finds_nothing_in_a_sound_app(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECKS", ())
    assert doctor(monkeypatch, auth, "--strict") == (0, "No problems found.\n")


@pytest.mark.parametrize(("arguments", "code"), [((), 0), (("--strict",), 1)], ids=["plain", "strict"])
def test_doctor_fails_on_warnings_only_if_strict(
    auth: Auth, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int
) -> None:
    def note(auth: Auth) -> list[Finding]:
        return [Finding("note", "info", "All is new."), Finding("risk", "warning", "It creaks.", "Oil it.")]

    monkeypatch.setattr(checks, "CHECKS", (note,))
    ended, said = doctor(monkeypatch, auth, *arguments)
    assert ended == code
    assert [line.strip() for line in said.splitlines()] == [
        "warning  risk: It creaks.",
        "Oil it.",
        "info     note: All is new.",
        "1 warning, 1 info",
    ]


def test_a_command_can_be_invoked_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's test mounts its command in a Typer of its own, without our options."""
    alone = typer.Typer()

    @alone.command()
    def who(context: typer.Context) -> None:
        typer.echo(current_auth(context).settings.app_name)

    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="There is no module 'wsgi'"):
        CliRunner().invoke(alone, catch_exceptions=False)


def test_without_a_plugin_it_prints_how_to_create_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PluginRegistry, "discover", lambda self: None)
    with pytest.raises(SystemExit) as ended:
        cli.main(["plugins"])
    assert ended.value.code in (0, None)
    assert "No plugin is installed. Try: pip install asok-magic-link" in capsys.readouterr().out


def test_every_hook_belongs_to_a_kind() -> None:
    assert sorted(plugins_command.KINDS) == sorted(HOOKS)


def test_a_broken_plugin_never_stops_the_listing() -> None:
    found = PluginRegistry(strict=True, inventory=True)
    found.discover([EntryPoint("gone", "no_such_module_anywhere", "asok_auth")])
    [info] = found.infos
    assert (info.name, info.state) == ("gone", "quarantined")
    assert "no_such_module_anywhere" in info.reason
