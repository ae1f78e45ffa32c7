"""Errors of an app's pages, of ``request.auth`` and of the store, as answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from asok import Asok
from asok.testing import TestClient

from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.testing.apps import asok_app


class TestErrors:
    def test_an_error_in_an_apps_page(self, client: TestClient) -> None:
        response = client.get("/fail")
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "7"
        assert "Slow down." in response.text
        assert "Traceback" not in response.text

    def test_json_where_a_program_asked(self, client: TestClient) -> None:
        response = client.get("/api/fail")
        assert response.status_code == 401
        assert response.json == {"error": "login_required", "message": "Please log in first."}
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        response = client.get("/fail", headers={"Accept": "application/json"})
        assert response.json["error"] == "rate_limited"

    def test_other_errors_stay_asoks(self, client: TestClient) -> None:
        assert client.get("/boom").status_code == 500
        assert client.get("/stop").status_code == 404

    def test_an_inner_error_says_nothing_of_the_inside(self, tmp_path: Path) -> None:
        page = """
from asok_auth_core.errors import StoreUnavailable

def get(request):
    raise StoreUnavailable("/var/lib/secret/place is locked")
"""
        with asok_app(tmp_path, pages={"down.py": page}, environ={"DEBUG": "false"}) as app:
            response = TestClient(app).get("/down")
            assert response.status_code == 503
            assert "/var/lib" not in response.text
            assert "try again" in response.text

    def test_a_method_that_is_not_installed(self, client: TestClient) -> None:
        assert "request.auth has no 'telepathy'. Installed: " in client.get("/nothing").text

    def test_what_a_method_does_not_give(self, client: TestClient) -> None:
        """Only public functions are the API; private names cannot be called."""
        *of_badge, plain, word = client.get("/mistaken").json["data"]
        names = ("nothing", "auth", "_private", "a_private")
        assert of_badge == [f"Badge has no {name!r}" for name in names]
        assert plain == "request.auth has no 'plain'."
        assert word == "request.auth has no 'word'."

    def test_query(self, app: Asok, client: TestClient) -> None:
        """request.query does not exist in Asok 0.8."""
        assert client.get("/enter?as=ada@example.org").status_code == 302


class TestStoreTrouble:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        return tmp_path / "state" / "auth.sqlite3"

    @pytest.mark.requirement("SECURITY-32")
    def test_a_store_that_cannot_be_opened_denies_quickly(self, tmp_path: Path, place: Path) -> None:
        place.parent.write_text("a file where a folder should be")
        with asok_app(
            tmp_path, auth={"STATE_STORE": f"sqlite:///{place}"}, environ={"DEBUG": "false"}
        ) as app:
            client = TestClient(app)
            client.get("/auth/login")
            data = {"csrf_token": client.cookies["asok_csrf"], "email": "ada@example.org"}
            response = client.post("/auth/magic/send", data=data)
            assert response.status_code == 503
            assert str(place) not in response.text
            with pytest.raises(StoreUnavailable, match=r"auth\.sqlite3"):
                app.extensions["AuthExtension"].auth.state.get("x")
