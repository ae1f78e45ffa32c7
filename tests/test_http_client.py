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

from asok_auth_core.engine.message import MAX_REPLY_BYTES, Call, Send
from asok_auth_core.errors import OAuthError
from asok_auth_core.http_client import FAILURES, PAUSE, PER_PROCESS, PER_PROVIDER, WAITING, Transport
from asok_auth_core.testing.fakes import FrozenClock
from asok_auth_core.testing.raises import raises_code
from asok_auth_core.testing.waiting import PATIENCE, Stopwatch, wait_until

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


def trickle(handler: Handler) -> None:
    """One byte every 50 ms, without end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def trickle_headers(handler: Handler) -> None:
    """One header a moment, without end: no read of the client ever times out."""
    handler.send_response(200)
    for number in range(200):
        handler.send_header(f"X-{number}", "x")
        handler.flush_headers()
        time.sleep(0.05)


def hang_up(handler: Handler) -> None:
    """Close the connection now, not when the files that share it are closed."""
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
    server.scripts = [reply(status, b"", ("Location", f"{server.url}/other"))]
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
    server.scripts = [trickle]
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
        with raises_code("oauth_url_insecure"):
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

    threads = [threading.Thread(target=ask) for _ in range(PER_PROVIDER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 10 * PER_PROVIDER


# -- no provider holds threads for long ----------------------------------------------------------------


class Gate:
    """A script that answers when it is told to."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def __call__(self, handler: Handler) -> None:
        self.open.wait(PATIENCE)
        reply(200, b"{}")(handler)


class Crowd:
    """Threads that each make one call, and their outcomes."""

    def __init__(self, send: Send, calls: list[Call]) -> None:
        self.outcomes: list[str] = []
        self.threads = [threading.Thread(target=self._make, args=(send, call)) for call in calls]
        for thread in self.threads:
            thread.start()

    def _make(self, send: Send, call: Call) -> None:
        try:
            self.outcomes.append(str(send(call).status))
        except OAuthError as error:
            self.outcomes.append(error.code)

    def until(self, number: int) -> list[str]:
        """The outcomes of the first ``number`` threads to finish."""
        wait_until(lambda: len(self.outcomes) >= number, f"{number} outcomes, got {self.outcomes}")
        return sorted(self.outcomes)

    def join(self) -> list[str]:
        for thread in self.threads:
            thread.join()
        return sorted(self.outcomes)


@pytest.mark.requirement("SECURITY-42")
@pytest.mark.parametrize("form", [None, {"code": "x"}], ids=["anonymous", "login in progress"])
def test_a_provider_that_hangs_keeps_few_threads(
    server: Server, transport: Transport, form: dict[str, str] | None
) -> None:
    gate = Gate()
    server.scripts = [gate]
    crowd = Crowd(transport, [Call(f"{server.url}/", form=form)] * 12)
    try:
        assert crowd.until(12 - PER_PROVIDER) == ["oauth_busy"] * (12 - PER_PROVIDER)
    finally:
        gate.open.set()
    assert crowd.join() == ["200"] * PER_PROVIDER + ["oauth_busy"] * (12 - PER_PROVIDER)
    assert transport(Call(f"{server.url}/")).status == 200


@pytest.mark.requirement("SECURITY-42")
def test_several_providers_that_hang_keep_few_threads(server: Server, transport: Transport) -> None:
    gate = Gate()
    server.scripts = [gate]
    port = server.server_address[1]
    urls = [f"http://{host}:{port}/" for host in ("127.0.0.1", "localhost", "127.0.0.1")]
    crowd = Crowd(transport, [Call(url) for url in urls * 6])
    try:
        assert crowd.until(18 - PER_PROCESS) == ["oauth_busy"] * (18 - PER_PROCESS)
    finally:
        gate.open.set()
    assert crowd.join().count("200") == PER_PROCESS


@pytest.mark.requirement("SECURITY-42")
def test_a_machine_without_a_thread_to_spare_takes_no_place(
    server: Server, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        for _ in range(PER_PROVIDER + 1):
            with raises_code("oauth_unavailable"):
                transport(Call(f"{server.url}/"))
    assert server.seen == []
    assert transport(Call(f"{server.url}/")).status == 200


def test_a_login_in_progress_waits_for_a_place(server: Server, transport: Transport) -> None:
    gate = Gate()
    server.scripts = [gate]
    first = Crowd(transport, [Call(f"{server.url}/")] * PER_PROVIDER)
    wait_until(lambda: len(server.seen) == PER_PROVIDER, "all places taken")
    calls = [Call(f"{server.url}/token", form={}), Call(f"{server.url}/me", {"Authorization": "Bearer x"})]
    assert len(calls) <= WAITING
    later = Crowd(transport, calls)
    wait_until(lambda: transport._waiting == len(calls), "both wait")
    gate.open.set()
    assert later.join() == ["200", "200"]
    assert first.join() == ["200"] * PER_PROVIDER


@pytest.mark.requirement("SECURITY-42")
def test_a_provider_that_failed_is_left_alone_for_a_while(server: Server) -> None:
    clock = FrozenClock()
    transport = Transport(debug=True, clock=clock)
    server.scripts = [reply(503, b"")]
    call = Call(f"{server.url}/token", form={})
    for _ in range(FAILURES + 5):
        with raises_code("oauth_unavailable"):
            transport(call)
    assert len(server.seen) == FAILURES
    clock.advance(PAUSE)
    for _ in range(5):
        with raises_code("oauth_unavailable"):
            transport(call)
    assert len(server.seen) == FAILURES + 1, "one call tries whether it is back"
    server.scripts = [reply(200, b"{}")]
    clock.advance(PAUSE)
    for _ in range(5):
        assert transport(call).status == 200
    transport.close()


@pytest.mark.requirement("SECURITY-42")
def test_another_provider_is_not_affected(server: Server, transport: Transport) -> None:
    server.scripts = [reply(503, b"")]
    for _ in range(FAILURES + 1):
        with raises_code("oauth_unavailable"):
            transport(Call(f"{server.url}/", form={}))
    server.scripts = [reply(200, b"{}")]
    other = server.url.replace("127.0.0.1", "localhost")
    assert transport(Call(f"{other}/", form={})).status == 200
    with raises_code("oauth_unavailable"):
        transport(Call(f"{server.url}/", form={}))


@pytest.mark.requirement("SECURITY-42")
def test_fetches_that_fail_keep_no_login_in_progress_from_completing(server: Server) -> None:
    """Anyone can cause a fetch of the discovery document."""
    transport = Transport(debug=True, clock=FrozenClock())
    server.scripts = [reply(503, b"")]
    for _ in range(FAILURES + 1):
        with raises_code("oauth_unavailable"):
            transport(Call(f"{server.url}/.well-known/openid-configuration"))
    assert len(server.seen) == 2 * FAILURES, "each of them was tried twice, then none"
    server.scripts = [reply(200, b"{}")]
    assert transport(Call(f"{server.url}/token", form={})).status == 200
    assert transport(Call(f"{server.url}/me", {"Authorization": "Bearer x"})).status == 200
    transport.close()


@pytest.mark.parametrize("status", [400, 401, 404])
def test_an_answer_is_no_failure_whatever_it_says(server: Server, transport: Transport, status: int) -> None:
    """Wrong codes, which anyone can send, do not keep others from logging in."""
    server.scripts = [reply(503, b""), *[reply(status, b"{}"), reply(503, b"")] * 4, reply(200, b"{}")]
    for number in range(9):
        call = Call(f"{server.url}/token", form={"code": "x"})
        if number % 2:
            assert transport(call).status == status
        else:
            with raises_code("oauth_unavailable"):
                transport(call)
    assert transport(Call(f"{server.url}/token", form={"code": "y"})).status == 200


@pytest.mark.requirement("SECURITY-42")
def test_trickling_headers_time_out(server: Server) -> None:
    server.scripts = [trickle_headers]
    transport = Transport(debug=True, deadline=0.6)
    with Stopwatch() as watch, raises_code("oauth_unavailable"):
        transport(Call(f"{server.url}/"))
    transport.close()
    assert watch.seconds < 2


@pytest.mark.requirement("SECURITY-42")
def test_a_slow_name_lookup_times_out(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def slow(*arguments: object, **options: object) -> list[object]:
        answered.wait(PATIENCE)
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    crowd = Crowd(transport, [Call("https://login.example/", seconds=0.3)] * 8)
    try:
        assert set(crowd.join()) == {"oauth_busy", "oauth_unavailable"}
        # Their lookups still run, so no more are started.
        with raises_code("oauth_unavailable"):
            transport(Call("https://login.example/"))
    finally:
        answered.set()


@pytest.mark.requirement("SECURITY-42")
def test_retries_end_with_the_calls_own_time_limit(server: Server, transport: Transport) -> None:
    gate = Gate()
    server.scripts = [gate]
    with raises_code("oauth_unavailable"):
        transport(Call(f"{server.url}/", seconds=0.3))
    gate.open.set()
    wait_until(lambda: not transport._running, "the end of the call")
    assert len(server.seen) == 1


def test_an_error_of_the_thread_is_raised_in_the_callers(
    server: Server, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(call: Call, ends: float) -> None:
        raise LookupError("a fault of ours")

    with monkeypatch.context() as patch:
        patch.setattr(transport, "_attempts", broken)
        for _ in range(PER_PROVIDER + 1):
            with pytest.raises(LookupError, match="a fault of ours"):
                transport(Call(f"{server.url}/"))
    assert transport(Call(f"{server.url}/")).status == 200
