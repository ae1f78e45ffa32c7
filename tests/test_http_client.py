"""The HTTP transport against misbehaving servers on loopback."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from asok_auth_core.engine.message import MAX_REPLY_BYTES, Call
from asok_auth_core.http_client import Transport
from asok_auth_core.testing.raises import raises_code
from asok_auth_core.testing.waiting import PATIENCE, Stopwatch

Script = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.path, dict(self.headers.items()), self.client_address))
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        script = self.server.scripts.pop(0) if len(self.server.scripts) > 1 else self.server.scripts[0]
        script(self)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scripts: list[Script] = [reply(200, b"{}")]
        self.seen: list[tuple[str, str, dict[str, str], object]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gives up is what these tests are about."""


def reply(status: int, body: bytes, *headers: tuple[str, str]) -> Script:
    def script(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return script


def drip(handler: Handler) -> None:
    """One byte every 50 ms, without end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def hang_up(handler: Handler) -> None:
    """Close the connection now; closing the socket would wait for the files that share it."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport(debug=True, connect_timeout=PATIENCE, read_timeout=PATIENCE, deadline=PATIENCE)
    yield made
    made.close()


def test_connections_are_reused(server: Server, transport: Transport) -> None:
    for _ in range(5):
        assert transport(Call(f"{server.url}/")).body == b"{}"
        assert transport(Call(f"{server.url}/", form={"a": "b"})).status == 200
    assert len({client for _, _, _, client in server.seen}) == 1


@pytest.mark.requirement("SECURITY-13")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(server: Server, transport: Transport, status: int) -> None:
    server.scripts = [reply(status, b"", ("Location", f"{server.url}/elsewhere"))]
    for form in (None, {"client_secret": "x"}):
        with raises_code("oauth_redirected"):
            transport(Call(f"{server.url}/token", form=form))
    assert {path for _, path, _, _ in server.seen} == {"/token"}


@pytest.mark.requirement("SECURITY-13")
@pytest.mark.parametrize("packed", [False, True])
def test_a_huge_reply_is_cut_off(server: Server, transport: Transport, packed: bool) -> None:
    """Compressed too: 64 MB of nothing are 65 kB on the wire."""
    body = gzip.compress(b" " * 64_000_000) if packed else b" " * (MAX_REPLY_BYTES + 1)
    headers = [("Content-Encoding", "gzip")] if packed else []
    server.scripts = [reply(200, body, *headers)]
    with raises_code("oauth_reply_too_large"):
        transport(Call(f"{server.url}/"))


@pytest.mark.requirement("SECURITY-13")
def test_a_trickling_reply_times_out(server: Server) -> None:
    server.scripts = [drip]
    transport = Transport(debug=True, deadline=0.6)
    with Stopwatch() as watch, raises_code("oauth_unavailable"):
        transport(Call(f"{server.url}/", form={}))
    transport.close()
    assert watch.seconds < 2


def test_a_get_is_retried_once_and_a_post_never(server: Server, transport: Transport) -> None:
    for script in (reply(503, b""), hang_up):
        server.seen.clear()
        server.scripts = [script, reply(200, b"[]")]
        assert transport(Call(f"{server.url}/")).body == b"[]"
        assert len(server.seen) == 2
        server.seen.clear()
        server.scripts = [script, reply(200, b"[]")]
        with raises_code("oauth_unavailable"):
            transport(Call(f"{server.url}/", form={"code": "once"}))
        assert len(server.seen) == 1


def test_a_get_is_not_retried_forever(server: Server, transport: Transport) -> None:
    server.scripts = [reply(500, b"")]
    with raises_code("oauth_unavailable"):
        transport(Call(f"{server.url}/"))
    assert len(server.seen) == 2


def test_a_closed_port_is_unavailable(server: Server, transport: Transport) -> None:
    closed = Server()
    url = closed.url
    closed.server_close()
    with raises_code("oauth_unavailable"):
        transport(Call(f"{url}/"))


@pytest.mark.parametrize("status", [200, 400, 401, 404])
def test_a_providers_status_is_passed_on(server: Server, transport: Transport, status: int) -> None:
    server.scripts = [reply(status, b'{"error": "x"}')]
    assert transport(Call(f"{server.url}/", form={})).status == status


@pytest.mark.requirement("SECURITY-13")
def test_plain_http_is_for_loopback_in_debug(server: Server) -> None:
    transport = Transport(debug=False)
    for url in (
        f"{server.url}/",
        "file:///etc/passwd",
        "http://login.example/",
        "ftp://login.example/",
        "https://",
    ):
        with raises_code("oauth_insecure_address"):
            transport(Call(url))
    transport.close()
    assert not server.seen


@pytest.mark.requirement("SECURITY-30")
def test_cookies_and_netrc_are_not_sent(
    server: Server, transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.scripts = [reply(200, b"{}", ("Set-Cookie", "tracker=1"))]
    for _ in range(2):
        transport(Call(f"{server.url}/", {"Authorization": "Bearer mine"}))
    for _, _, headers, _ in server.seen:
        assert headers["Authorization"] == "Bearer mine"
        assert "Cookie" not in headers


def test_many_threads_share_one_transport(server: Server, transport: Transport) -> None:
    statuses: list[int] = []

    def ask() -> None:
        statuses.extend(transport(Call(f"{server.url}/")).status for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 80
