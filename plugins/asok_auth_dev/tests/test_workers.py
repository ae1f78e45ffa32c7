"""A login started in one process finishes in another, and only once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import requests
from asok.testing import TestClient
from asok_auth_dev.provider import DevProvider

from asok_auth_core.testing import Workers, asok_app
from asok_auth_core.testing.waiting import PATIENCE

APP_URL = "http://localhost"
PROCESSES = 4
START = """\
def get(request):
    return request.auth.oauth.get_auth_url("google", redirect_uri="http://localhost/auth/google/callback")
"""
OPEN = ExitStack()
"""Keeps a worker's app open until its process ends."""


def open_app(root: Path, settings: Mapping[str, object]) -> TestClient:
    """One worker of the app, with its state and its database in ``root``."""
    pages = {"start.py": START}
    return TestClient(OPEN.enter_context(asok_app(root, pages=pages, auth={"PROVIDERS": settings})))


def finish(client: TestClient, path: str, cookies: dict[str, str]) -> tuple[int, str]:
    """The answer to the callback, and who is logged in then."""
    client.cookies = dict(cookies)
    status = client.get(path).status_code
    return status, client.get("/").text.split()[0].split("<")[0]


@pytest.fixture
def local() -> Iterator[DevProvider]:
    with DevProvider(APP_URL, debug=True) as provider:
        yield provider


@pytest.mark.requirement("SECURITY-1")
@pytest.mark.slow
def test_a_callback_sent_to_four_workers_at_once_is_one_login(local: DevProvider, tmp_path: Path) -> None:
    settings = local.settings()
    with asok_app(tmp_path, pages={"start.py": START}, auth={"PROVIDERS": settings}) as app:
        started = TestClient(app)
        with Workers(partial(open_app, tmp_path, settings), PROCESSES) as workers:
            for _ in range(20):
                started.cookies = {}
                url = started.get("/start").text.split()[0].split("<")[0]
                answer = requests.post(url, data={"account": "1001"}, allow_redirects=False, timeout=PATIENCE)
                path = answer.headers["Location"].removeprefix(APP_URL)
                results = workers.run(finish, path, dict(started.cookies))
                assert sorted(status for status, _ in results) == [303, *[400] * (PROCESSES - 1)]
                assert sorted(who for _, who in results) == ["ada@example.com", *["nobody"] * (PROCESSES - 1)]
    assert local.requests.count("POST /google/token") == 20
