"""Asok's own tokens and links, which the extension rejects, cannot be made."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from asok import Asok
from asok.testing import TestClient

from asok_auth_core.testing.apps import asgi_call, asok_app

CALLS = {
    "token": ("BearerToken.create(request, 1, 60)", "request.auth.token.create(request, user_id)"),
    "link": (
        "MagicLink.create_token(request, 'ann@app.example')",
        "request.auth.magic.create_token(request, email)",
    ),
    "send": ("MagicLink.send(request, 'ann@app.example')", "request.auth.magic.send(request, email)"),
    "named": (
        "BearerToken.create(request=request, user_id=1)",
        "request.auth.token.create(request, user_id)",
    ),
}
IMPORTS = "from asok.auth import BearerToken, MagicLink"
PAGES = {
    **{
        f"{name}.py": f"{IMPORTS}\n\ndef get(request):\n    return {call}\n"
        for name, (call, _) in CALLS.items()
    },
    "read.py": """\
from asok.auth import BearerToken

def get(request):
    return str(BearerToken.verify(request, BearerToken.create(request, 7, 60)))
""",
}


@pytest.mark.parametrize("name", CALLS)
def test_the_call_names_its_replacement(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    with asok_app(tmp_path, pages=PAGES) as app, caplog.at_level(logging.ERROR, "asok_auth"):
        answers = (TestClient(app).get(f"/{name}").text, asgi_call(app, "GET", f"/{name}")[2])
    for text in (*answers, caplog.text):
        assert f"Call {CALLS[name][1]} instead." in text
    assert f"{name}.py" in caplog.text


def test_in_production_only_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    environ = {"DEBUG": "false", "APP_URL": "http://localhost"}
    with asok_app(tmp_path, pages=PAGES, environ=environ, config={"DEBUG": False}) as app:
        answer = TestClient(app).get("/token")
    assert answer.status_code == 500
    assert "request.auth" not in answer.text
    assert "Call request.auth.token.create(request, user_id) instead." in caplog.text


def test_in_an_app_without_the_extension_they_are_as_before(tmp_path: Path) -> None:
    def answer(app: Asok) -> str:
        return str(TestClient(app).get("/read").text.splitlines()[0])

    for folder in ("with", "without"):
        (tmp_path / folder).mkdir()
    with asok_app(tmp_path / "with"), asok_app(tmp_path / "without", pages=PAGES, extension=False) as other:
        assert answer(other) == "7"


def test_a_wrong_call_is_still_reported_as_such(tmp_path: Path) -> None:
    page = "from asok.auth import BearerToken\n\ndef get(request):\n    return BearerToken.create()\n"
    with asok_app(tmp_path, pages={"wrong.py": page}) as app:
        assert "missing 1 required positional argument" in TestClient(app).get("/wrong").text
