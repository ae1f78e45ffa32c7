"""The app as an ASGI callable."""

from __future__ import annotations

from asok import Asok
from asok.testing import TestClient

from asok_auth_core.testing.apps import asgi_call


class TestASGI:
    def call(
        self, app: Asok, path: str, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], str]:
        status, pairs, body = asgi_call(app, "GET", path, list((headers or {}).items()))
        cookies = "; ".join(v.split(";")[0] for k, v in pairs if k == "set-cookie")
        return status, {**dict(pairs), "cookies": cookies}, body

    def test_pages(self, app: Asok) -> None:
        status, _, body = self.call(app, "/auth/login")
        assert status == 200
        assert "badge here" in body

    def test_login(self, app: Asok) -> None:
        """Asok 0.8 answers 500 to any request.redirect() under ASGI."""
        status, headers, _ = self.call(app, "/enter?as=ada@example.org")
        assert (status, headers["location"]) == (302, "/")
        _, _, body = self.call(app, "/", {"cookie": headers["cookies"]})
        assert body.startswith("ada@example.org")

    def test_second_factor(self, app: Asok) -> None:
        status, headers, _ = self.call(app, "/enter?as=two@example.org")
        assert (status, headers["location"]) == (303, "/auth/second-factor")
        _, _, body = self.call(app, "/", {"cookie": headers["cookies"]})
        assert body.startswith("nobody")
        status, _, body = self.call(app, "/auth/second-factor", {"cookie": headers["cookies"]})
        assert status == 200
        assert 'name="word"' in body

    def test_a_form_without_csrf_token_is_rejected_as_with_wsgi(self, app: Asok) -> None:
        """Asok 0.8 answers 500 under ASGI."""
        for path in ("/posted", "/posted_async", "/auth/badge/echo"):
            assert TestClient(app).post(path, data={"a": "b"}).status_code == 403, path
            assert asgi_call(app, "POST", path, body=b"a=b")[0] == 403, path

    def test_errors(self, app: Asok) -> None:
        assert self.call(app, "/fail")[0] == 429
        assert self.call(app, "/stop")[0] == 404
        assert self.call(app, "/boom")[0] == 500
        assert self.call(app, "/go")[1]["location"] == "/other"
