"""An email address in any case is one account, and it is verified."""

from __future__ import annotations

import re
from pathlib import Path

from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.testing import asok_app

AUTH_PAGE = """
def get(request):
    return request.auth.magic.create_token(request, request.query["email"])
"""


def log_in(browser: TestClient, email: str) -> None:
    token = browser.get(f"/token?email={email}").text.split("<")[0].strip()
    page = browser.get(f"/auth/magic/callback?token={token}").text
    csrf = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert csrf is not None
    browser.post("/auth/magic/callback", data={"token": token, "csrf_token": csrf[1]})


def test_two_spellings_are_one_account_with_a_verified_email(tmp_path: Path) -> None:
    with asok_app(tmp_path, pages={"token.py": AUTH_PAGE}) as app:
        for email in ("Ann@APP.example", "ann@app.example", "ANN@app.example"):
            browser = TestClient(app)
            log_in(browser, email)
            assert browser.get("/").text.startswith("ann@app.example")
        users = MODELS_REGISTRY["User"].all()
        assert [user.email for user in users] == ["ann@app.example"]
        proved = (
            MODELS_REGISTRY["User"]
            .get_engine()
            .execute("SELECT identifier FROM auth_credentials WHERE kind = ?", ["email"])
        )
        assert [row["identifier"] for row in proved] == ["ann@app.example"]
