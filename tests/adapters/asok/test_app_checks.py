"""``asok-auth doctor`` about the app around its authentication."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.adapters.asok.users import AsokUsers
from asok_auth_core.checks.second_factor import second_factor
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.types import Finding

SERVER = {"DEBUG": "false", "APP_URL": "https://app.example"}
SOUND = {"SESSION_BACKEND": "file", "TRUSTED_PROXIES": ["10.0.0.1"]}


@pytest.fixture
def findings(tmp_path: Path) -> Iterator[Callable[..., list[Finding]]]:
    """The findings of an app on a server, with other settings."""
    with ExitStack() as stack:

        def find(environ: dict[str, str] = SERVER, **config: object) -> list[Finding]:
            settings = {**SOUND, **config}
            app = stack.enter_context(asok_app(tmp_path, config=settings, environ=environ, extension=False))
            AsokUsers(app).create_index()
            return list(AsokUsers(app).check())

        yield find


def test_a_sound_app_has_none(findings: Callable[..., list[Finding]]) -> None:
    assert findings() == []


@pytest.mark.parametrize(
    ("config", "severity", "message", "remedy"),
    [
        ({"SESSION_BACKEND": "memory"}, "warning", "sessions of its own", '"redis"'),
        ({"SESSION_SAMESITE": "None"}, "warning", "requests of other sites", '"Lax"'),
        ({"RATE_LIMIT": True}, "info", "more than 100 requests a minute", "RATE_LIMIT_PER_MINUTE"),
        ({"TRUSTED_PROXIES": None}, "warning", "the proxy's IP address", "TRUSTED_PROXIES"),
    ],
)
def test_settings(
    findings: Callable[..., list[Finding]],
    config: dict[str, object],
    severity: str,
    message: str,
    remedy: str,
) -> None:
    [finding] = findings(**config)
    assert (finding.check, finding.severity) == ("app", severity)
    assert message in finding.message
    assert remedy in finding.remedy


def test_a_developers_machine_has_none(findings: Callable[..., list[Finding]]) -> None:
    local = {"APP_URL": "http://localhost:8000"}
    assert findings(local, SESSION_BACKEND="memory", RATE_LIMIT=True, TRUSTED_PROXIES=None) == []


def test_a_missing_table(tmp_path: Path) -> None:
    with asok_app(tmp_path) as app:
        MODELS_REGISTRY["User"].get_engine().execute("DROP TABLE users")
        finding = next(iter(AsokUsers(app).check()))
        assert finding.severity == "error"
        assert "The table users of User does not exist" in finding.message
        assert "asok migrate" in finding.remedy


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("DATABASE_URL=postgresql://app:secret@db/app", True),
        ("DATABASE_URL='mysql://app:secret@db/app'", True),
        ("DATABASE_URL=sqlite:///db.sqlite3", False),
        ("# DATABASE_URL=postgresql://db/app", False),
        ("", False),
    ],
)
def test_a_database_url_that_came_too_late(tmp_path: Path, line: str, found: bool) -> None:
    with asok_app(tmp_path) as app:
        (tmp_path / ".env").write_text(line + "\n")
        told = [finding for finding in AsokUsers(app).check() if "DATABASE_URL" in finding.message]
        assert [finding.severity for finding in told] == ["error"] * found
        assert not any("secret" in finding.message + finding.remedy for finding in told)


class TestAsoksLoginPage:
    PAGE = "def get(request):\n    request.require_auth()\n    return 'members only'\n"

    def test_require_auth_leads_to_ours_and_back(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, pages={"members.py": self.PAGE}) as app:
            client = TestClient(app)
            asked = client.get("/members?page=2")
            assert asked.headers["Location"].startswith("/login?next=")
            answer = client.get(asked.headers["Location"])
            assert answer.status_code == 303
            assert answer.headers["Location"] == "/auth/login?next=/members%3Fpage%3D2"
            assert client.get("/login?next=//evil.example").headers["Location"] == "/auth/login"

    def test_the_apps_own_page_comes_first(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, pages={"login.py": "def get(request):\n    return 'mine'\n"}) as app:
            assert TestClient(app).get("/login").text.startswith("mine")


def test_factors_of_the_admin_that_are_not_imported(tmp_path: Path) -> None:
    model = """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True)
    totp_secret = Field.String(nullable=True)
    totp_enabled = Field.Boolean(default=False)
    backup_codes = Field.String(nullable=True)
"""
    with asok_app(tmp_path, models={"user.py": model}) as app:
        user, auth = MODELS_REGISTRY["User"], app.extensions["AuthExtension"].auth
        assert list(second_factor(auth)) == []
        user.create(email="ada@example.org", totp_secret="sealed", totp_enabled=True)
        user.create(email="ben@example.org", totp_secret="sealed", totp_enabled=False)
        [finding] = second_factor(auth)
        assert "not imported yet: 1." in finding.message
        assert "asok-auth totp import" in finding.remedy
