"""Requests that prove their user themselves, and CSRF."""

from __future__ import annotations

from asok import Asok
from asok.testing import TestClient

from .apps import home


class TestAuthenticatedRequests:
    def test_a_method_that_proves_the_request_itself(self, client: TestClient) -> None:
        assert home(client, headers={"X-Badge": "ada@example.org"}) == "ada@example.org"
        assert home(client) == "nobody"

    def test_a_bad_proof_counts_more_than_a_session(self, client: TestClient) -> None:
        client.get("/enter?as=ada@example.org")
        assert home(client, headers={"X-Badge": "old"}) == "nobody"
        assert home(client) == "ada@example.org"

    def test_it_needs_no_csrf_token_without_cookies(self, app: Asok) -> None:
        response = TestClient(app).post("/posted", headers={"X-Badge": "ada@example.org"})
        assert response.status_code == 200
        assert response.text.startswith("done ada@example.org")

    def test_it_needs_one_with_a_session_cookie(self, client: TestClient) -> None:
        """CSRF is for cookies: with one, the browser may have been made to send this."""
        client.get("/")
        assert client.post("/posted", headers={"X-Badge": "ada@example.org"}).status_code == 403

    def test_a_request_without_a_user_needs_one(self, app: Asok) -> None:
        assert TestClient(app).post("/posted").status_code == 403
        assert TestClient(app).post("/posted", headers={"X-Badge": "old"}).status_code == 401
        assert TestClient(app).post("/posted", headers={"X-Badge": "eve@example.org"}).status_code == 403
