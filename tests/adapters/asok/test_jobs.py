"""What docs/api-tokens.md shows for code without a request, in a real app."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.errors import ConfigurationError, TokenError
from asok_auth_core.plugin import TokenApi
from asok_auth_core.testing.apps import asgi_call, asok_app

from .apps import ENTER_PAGE, Plugin, in_thread

PAGE = (Path(__file__).parents[3] / "docs" / "api-tokens.md").read_text("utf-8")
[SNIPPET] = re.findall(r"^`jobs\.py`:\n\n```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
REPORT = """\
from asok_auth_core import requires

@requires("reports.view")
def get(request):
    return request.user.email
"""
ANN = "ann@app.example"


@pytest.fixture
def jobs() -> Any:
    """The page's module."""
    names: dict[str, object] = {"__name__": "jobs"}
    exec(compile(SNIPPET, "jobs.py", "exec"), names)
    return SimpleNamespace(**names)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Asok]:
    plugin = Plugin()
    plugin.grants[ANN] = ["reports.*", "posts.*"]
    pages = {"report.py": REPORT, "enter.py": ENTER_PAGE}
    with asok_app(tmp_path, pages=pages, plugins=[plugin]) as made:
        MODELS_REGISTRY["User"].create(email=ANN)
        MODELS_REGISTRY["User"].create(email="bob@app.example")
        yield made


def opens(app: Asok, token: str) -> bool:
    """True if the token opens the report, with WSGI and ASGI alike."""
    headers = {"Authorization": f"Bearer {token}"}
    found = {
        TestClient(app).get("/report", headers=headers).status_code,
        asgi_call(app, "GET", "/report", list(headers.items()))[0],
    }
    assert len(found) == 1
    return found == {200}


@pytest.fixture(params=["here", "in a thread"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    return in_thread if request.param == "in a thread" else lambda work: work()


def test_a_job_makes_a_token_and_revokes_it(
    app: Asok, jobs: Any, run: Callable[[Callable[[], Any]], Any]
) -> None:
    sent: list[str] = []

    def send(token: str) -> None:
        assert opens(app, token)
        sent.append(token)

    assert run(lambda: jobs.send_report(app, ANN, send)) is True
    assert not opens(app, sent[0])


def test_it_asks_whether_the_user_may_and_is_active(app: Asok, jobs: Any) -> None:
    sent: list[str] = []
    assert jobs.send_report(app, "bob@app.example", sent.append) is False
    user = MODELS_REGISTRY["User"].find(email=ANN)
    app.extensions["AuthExtension"].auth.users.set_active(user, False)
    assert jobs.send_report(app, ANN, sent.append) is False
    assert sent == []
    with pytest.raises(ConfigurationError, match="There is no user"):
        jobs.send_report(app, "eve@app.example", sent.append)


def test_a_job_ends_what_a_user_has(app: Asok, jobs: Any) -> None:
    auth = app.extensions["AuthExtension"].auth
    user = MODELS_REGISTRY["User"].find(email=ANN)
    tokens = auth.api(TokenApi).tokens
    token, record = tokens.create(user.id)
    assert [one.id for one in tokens.list(user.id)] == [record.id]
    browser = TestClient(app)
    browser.get("/enter")
    assert browser.get("/").text.startswith(ANN)
    jobs.lock_out(app, ANN)
    assert browser.get("/").text.startswith("nobody")
    assert not opens(app, token)
    auth.users.set_active(MODELS_REGISTRY["User"].find(email=ANN), True)
    assert browser.get("/").text.startswith("nobody"), "enabling the account brings nothing back"
    with pytest.raises(TokenError):
        tokens.verify(token)
    assert tokens.list(user.id) == []
