"""``@requires`` on the handlers of pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from asok import Asok
from asok.testing import TestClient

from asok_auth_core import requires
from asok_auth_core.errors import ConfigurationError
from asok_auth_core.testing.apps import asok_app

from ..apps import PAGES, Plugin, logged_in, make_user, started


class TestRequires:
    def test_requires(self, app: Asok, plugin: Plugin) -> None:
        make_user("ada@example.org", role="editor")
        make_user("bob@example.org", role="reader")
        for path in ("/guarded", "/api/guarded"):
            assert TestClient(app).get(path).status_code == 401
            assert logged_in(app, "bob@example.org").get(path).status_code == 403
            assert "got in" in logged_in(app, "ada@example.org").get(path).text
        rejected = logged_in(app, "bob@example.org").get("/api/guarded")
        assert rejected.headers["Content-Type"] == "application/json"
        assert (rejected.status_code, rejected.json["error"]) == (403, "permission_denied")
        assert TestClient(app).get("/api/guarded").json["error"] == "login_required"
        assert {event.name for event in plugin.events} >= {"permission.denied"}

    def test_the_explanation_is_shown_in_debug_only(self, tmp_path: Path, plugin: Plugin) -> None:
        for debug, shown in (("true", True), ("false", False)):
            environ = {"DEBUG": debug, "APP_URL": "http://localhost"}
            with started(tmp_path / debug, plugin, environ=environ) as app:
                make_user("bob@example.org", permissions="posts.view")
                client = logged_in(app, "bob@example.org")
                page = client.get("/guarded")
                assert page.status_code == 403
                assert ("Nothing grants it" in page.text) is shown
                assert ("explanation" in client.get("/api/guarded").json) is shown


def test_a_malformed_permission_is_rejected_at_once() -> None:
    with pytest.raises(ValueError, match="not a permission"):
        requires("posts.**")


def test_access_is_denied_without_the_extension(tmp_path: Path) -> None:
    with asok_app(tmp_path, pages={"guarded.py": PAGES["guarded.py"]}, extension=False) as app:
        response = TestClient(app).get("/guarded")
        assert response.status_code == 500
        assert "got in" not in response.text
    with pytest.raises(ConfigurationError, match="first argument is the request"):
        requires("posts.edit")(lambda: "got in")()
