"""Apps in one folder: no process sees a half-written file of another."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from asok_auth_core.testing.apps import HOME_PAGE, asok_app


def test_files_are_written_atomically(tmp_path: Path) -> None:
    with asok_app(tmp_path):
        pass
    with (tmp_path / "src" / "pages" / "page.py").open() as reader:
        with asok_app(tmp_path, pages={"page.py": "def get(request):\n    return 'another'\n"}):
            pass
        assert reader.read() == HOME_PAGE
    assert not list(tmp_path.rglob("*.tmp"))


def test_environment_variables_of_the_test_run_are_not_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASOK_AUTH_KILLS", "200")
    monkeypatch.setenv("ASOK_AUTH_APP_NAME", "of the shell")
    with asok_app(tmp_path, environ={"ASOK_AUTH_LOGIN_REDIRECT": "/in"}) as app:
        settings = app.extensions["AuthExtension"].auth.settings
        assert (settings.app_name, settings.login_redirect) == ("this app", "/in")
    assert os.environ["ASOK_AUTH_KILLS"] == "200"


def test_a_failed_start_restores_everything(tmp_path: Path) -> None:
    before = dict(os.environ), list(sys.path)
    with (
        pytest.raises(RuntimeError, match="SECRET_KEY"),
        asok_app(tmp_path, environ={"SECRET_KEY": "", "DEBUG": "false"}),
    ):
        pass
    assert (dict(os.environ), sys.path) == before
