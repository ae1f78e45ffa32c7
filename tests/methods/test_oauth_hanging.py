"""Anonymous clicks on a provider that hangs leave the app's other threads alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from asok_auth_core.engine.message import Claims
from asok_auth_core.http_client import PER_PROVIDER, WAITING
from asok_auth_core.methods.oauth import OAuthMethod
from asok_auth_core.pages.router import Router
from asok_auth_core.providers import Fetch, OAuth2Provider, OpenIDProvider, ProviderAnswer
from asok_auth_core.testing.fakes import FakeRequest
from asok_auth_core.testing.oauth_app import OAuthApp, error_code
from asok_auth_core.testing.waiting import PATIENCE, wait_until
from asok_auth_core.types import Identity

pytestmark = pytest.mark.requirement("SECURITY-42")

CLICKS = 8


class HangingProvider(ThreadingHTTPServer):
    """Accepts every call and answers none until ``released``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HangingHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.calls: list[str] = []
        self.released = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class HangingHandler(BaseHTTPRequestHandler):
    server: HangingProvider

    def do_GET(self) -> None:
        self.server.calls.append(self.path)
        self.server.released.wait(PATIENCE)
        self.send_error(503)

    do_POST = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def hanging() -> Iterator[HangingProvider]:
    server = HangingProvider()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def on_the_network(app: OAuthApp) -> OAuthApp:
    """``app`` with the real HTTP client instead of the provider in memory."""
    app.oauth = app.auth.login_methods["oauth"] = OAuthMethod(app.auth)
    app.router = Router(app.auth)
    return app


def all_at_once(work: Callable[[], str], codes: list[str]) -> list[threading.Thread]:
    threads = [threading.Thread(target=lambda: codes.append(work())) for _ in range(CLICKS)]
    for thread in threads:
        thread.start()
    return threads


def test_eight_clicks_while_the_discovery_document_hangs(
    make_app: Callable[..., OAuthApp], hanging: HangingProvider
) -> None:
    provider = OpenIDProvider.named("example", label="Example", issuer=hanging.url)
    app = on_the_network(make_app(provider, debug=True))
    codes: list[str] = []

    def click() -> str:
        return error_code(app.send(FakeRequest("/auth/example/login", form={})))

    for thread in all_at_once(click, codes):
        thread.join(PATIENCE)
    assert set(codes) == {"oauth_busy", "oauth_unavailable"}
    assert len(codes) == CLICKS, "every thread is free again, though the provider still hangs"
    assert {click() for _ in range(2 * CLICKS)} == {"oauth_unavailable"}
    assert len(hanging.calls) <= 2, "the document is not asked for again"


def test_eight_answers_while_the_token_endpoint_hangs(
    make_app: Callable[..., OAuthApp], hanging: HangingProvider
) -> None:
    class Example(OAuth2Provider):
        name = "example"
        label = "Example"
        issuer = "https://login.example"
        authorization_endpoint = f"{hanging.url}/authorize"
        token_endpoint = f"{hanging.url}/token"
        userinfo_endpoint = f"{hanging.url}/me"

        def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
            raise AssertionError("no login gets this far")

    app = on_the_network(make_app(Example(), debug=True))
    started = [app.start(FakeRequest()) for _ in range(CLICKS)]
    codes: list[str] = []

    def come_back() -> str:
        browser, url = started.pop()
        state = parse_qs(urlsplit(url).query)["state"][0]
        return error_code(app.send(browser.follow(f"/auth/example/callback?code=invented&state={state}")))

    threads = all_at_once(come_back, codes)
    wait_until(lambda: len(codes) == CLICKS - PER_PROVIDER, "threads that are free again")
    assert set(codes) == {"oauth_busy"}
    assert len(hanging.calls) <= PER_PROVIDER
    assert PER_PROVIDER + WAITING < CLICKS
    hanging.released.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(codes) == ["oauth_busy"] * (CLICKS - PER_PROVIDER) + ["oauth_unavailable"] * PER_PROVIDER
    # It failed several times, so nobody is kept waiting for it now.
    browser, url = app.start(FakeRequest())
    started.append((browser, url))
    before = len(hanging.calls)
    assert come_back() == "oauth_unavailable"
    assert len(hanging.calls) == before
