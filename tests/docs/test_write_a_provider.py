"""The packages of docs/write-a-provider.md, taken from its text."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from asok_auth_core.plugins import Plugins
from asok_auth_core.providers import OAuth2Provider
from asok_auth_core.registry import PluginRegistry
from asok_auth_core.settings import read
from asok_auth_core.testing.fakes import FakeRequest
from asok_auth_core.testing.oauth_app import OAuthApp

PAGE = Path(__file__).parents[2] / "docs" / "write-a-provider.md"
BLOCKS = dict(re.findall(r"`([\w./]+\.\w+)`:\n\n```\w+\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
LIMITS = {"gitlab": 12, "discord": 30}


def code_lines(name: str) -> int:
    return sum(1 for line in BLOCKS[name].splitlines() if line.strip())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in BLOCKS.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in LIMITS:
        sys.modules.pop(f"asok_oauth_{name}", None)


def provider(name: str) -> OAuth2Provider:
    """As the plugin manager gets it from the package's entry point."""
    registry = PluginRegistry(strict=True)
    registry.discover([EntryPoint(name, f"asok_oauth_{name}", "asok_auth")])
    return Plugins(registry).providers(read({}, {}))[name]


@pytest.mark.parametrize("name", LIMITS)
def test_the_providers_button_appears_and_logs_in(folder: Path, name: str) -> None:
    given = provider(name)
    profile = {"id": "1", "sub": "1", "email": "ada@example.com", "verified": True, "email_verified": True}
    app = OAuthApp(given, folder, profile=profile)
    assert f"Continue with {given.label}" in app.send(FakeRequest("/auth/login")).body
    browser, _ = app.log_in()
    assert browser.session.user is not None


def test_the_documented_providers_pass_their_suites(folder: Path) -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(folder),
            str(folder / "tests"),
        ],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(folder), "PATH": ""},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"\b[3-9]\d passed", run.stdout), run.stdout


@pytest.mark.parametrize("name", LIMITS)
def test_the_provider_is_as_short_as_promised(name: str) -> None:
    assert code_lines(f"asok_oauth_{name}/__init__.py") <= LIMITS[name]


def test_the_whole_package_is_as_short_as_promised() -> None:
    assert (
        code_lines("asok_oauth_gitlab/__init__.py")
        + code_lines("pyproject.toml")
        + code_lines("tests/test_gitlab.py")
        <= 80
    )


def test_every_name_on_the_page_exists() -> None:
    for module, name in re.findall(r"from (asok_auth_core[\w.]*) import ([\w, ]+)", PAGE.read_text("utf-8")):
        for one in name.split(", "):
            assert hasattr(importlib.import_module(module), one), one
