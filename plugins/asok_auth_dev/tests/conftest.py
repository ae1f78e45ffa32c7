"""An Asok app with the development mail server, and a browser on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from asok import Asok
from asok.testing import TestClient
from asok_auth_dev.smtp_server import MailServer, mail_server

from asok_auth_core.testing import asok_app

Wsgi = Callable[[dict[str, object], Callable[..., object]], Iterable[bytes]]


@pytest.fixture
def server() -> Iterator[MailServer]:
    """The server an app of this test gets, stopped afterwards."""
    mail_server.cache_clear()
    started = mail_server(0)
    yield started
    started.stop()
    mail_server.cache_clear()


@pytest.fixture
def app(tmp_path: Path, server: MailServer) -> Iterator[Asok]:
    with asok_app(tmp_path, auth={"MAIL_TRANSPORT": "dev"}) as started:
        yield started


@pytest.fixture
def browser_at(app: Asok) -> Callable[..., TestClient]:
    """``browser_at("192.0.2.1")``: a browser at that address."""

    def make(client: str = "127.0.0.1") -> TestClient:
        def from_there(environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
            return app({**environ, "REMOTE_ADDR": client}, start_response)

        return TestClient(from_there)

    return make
