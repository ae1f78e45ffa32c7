"""Several workers on one machine, with Asok's default sessions per worker.

An app as it is first deployed: gunicorn or uvicorn, SQLite, no setting for sessions. Connections are not
reused, so any worker answers any request.
"""

from __future__ import annotations

import email
import email.policy
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pytest
import requests
from asok_auth_tests.valkey_server import free_port

from asok_auth_core.testing.apps import USER_MODEL
from asok_auth_core.testing.waiting import PATIENCE, wait_until

WORKERS = {"gunicorn": 4, "uvicorn": 2}
PREPARE = """\
import wsgi
from asok.orm import MODELS_REGISTRY
for model in MODELS_REGISTRY.values():
    model.create_table()
"""
SOURCES = {
    "wsgi.py": """\
import os
from asok import Asok
from asok_auth_core import AuthExtension

app = Asok(os.path.dirname(os.path.abspath(__file__)))
app.config.update(
    TOOLBAR=False,
    RATE_LIMIT=False,
    AUTH={
        "PLUGINS": ["magic-link"],
        "MAIL_TRANSPORT": "file",
        "MAGIC_LINK": {"SENDS_PER_CLIENT": 10_000, "WINDOW": 86_400},
    },
)
app.register_extension(AuthExtension())
""",
    "src/models/user.py": USER_MODEL,
    "src/pages/page.py": """\
import os


def get(request):
    return f"{os.getpid()} {request.user.email if request.user else 'nobody'}"
""",
    "src/pages/slow.py": """\
import time
from pathlib import Path

from asok.orm import MODELS_REGISTRY


def get(request):
    here = Path(request.app.root_dir)
    found = request.user
    # As a slow page has to: Asok's pool has ten PostgreSQL connections for all threads of a worker.
    MODELS_REGISTRY["User"].close_connections()
    (here / "started" / request.args["number"]).touch()
    while not (here / "go").exists():
        time.sleep(0.02)
    return found.email
""",
}


@dataclass
class Server:
    """The app in a folder, under a server with several workers."""

    kind: str
    folder: Path
    url: str
    pids: set[str] = field(default_factory=set)

    def command(self) -> list[str]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        workers = ["--workers", str(WORKERS[self.kind])]
        if self.kind == "uvicorn":
            address = ["--host", host, "--port", port, "--interface", "asgi3", "--log-level", "warning"]
            return ["-m", "uvicorn", *workers, *address, "wsgi:app"]
        threads = ["--worker-class", "gthread", "--threads", "100", "--keep-alive", "0"]
        return ["-m", "gunicorn", *workers, *threads, "--bind", f"{host}:{port}", "wsgi:app"]

    def answers(self) -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/auth/login", timeout=PATIENCE).status_code == 200
        return False

    def token_for(self, address: str) -> str:
        """The token of the link that was mailed to ``address``."""
        wait_until(lambda: bool(self._mails(address)), f"a mail to {address}")
        found = re.search(r"\?token=([\w.%-]+)", self._mails(address)[-1])
        assert found is not None
        return unquote(found[1])

    def _mails(self, address: str) -> list[str]:
        found = []
        for path in (self.folder / ".asok" / "mail").glob("*.eml"):
            mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            if mail["To"] == address:
                found.append(str(mail.get_body(("plain",)).get_content()))  # type: ignore[attr-defined]
        return found


NETWORKED = "gunicorn with PostgreSQL and Valkey"


@pytest.fixture(scope="module", params=[*WORKERS, pytest.param(NETWORKED, marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    kind = request.param.partition(" ")[0]
    folder = tmp_path_factory.mktemp(kind)
    for name, source in SOURCES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)
    (folder / "started").mkdir()
    made = Server(kind, folder, f"http://127.0.0.1:{free_port('127.0.0.1')}")
    environ = {name: text for name, text in os.environ.items() if not name.startswith(("ASOK_", "COVERAGE_"))}
    environ |= {
        "SECRET_KEY": secrets.token_hex(32),
        "DEBUG": "true",  # it speaks plain http
        "APP_URL": made.url,
        "DATABASE_URL": f"sqlite://{folder / 'db.sqlite3'}",
        "MAIL_FROM": "app@app.example",
    }
    if request.param == NETWORKED:
        environ |= {
            "DATABASE_URL": request.getfixturevalue("postgres_url"),
            "ASOK_AUTH_STATE_STORE": request.getfixturevalue("valkey_url"),
            "ASOK_AUTH_PLUGINS": "magic-link,redis",
        }
    prepared = subprocess.run(
        [sys.executable, "-c", PREPARE], cwd=folder, env=environ, stderr=subprocess.PIPE
    )
    assert prepared.returncode == 0, prepared.stderr.decode()
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *made.command()], cwd=folder, env=environ, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: process.poll() is not None or made.answers(), made.url)
        assert process.poll() is None, (folder / "log").read_text()
        yield made
    finally:
        process.terminate()
        process.wait(PATIENCE)


class Browser:
    """Opens a new connection for each request."""

    def __init__(self, server: Server, cookies: dict[str, str] | None = None) -> None:
        self.server = server
        self.cookies = dict(cookies or {})

    def request(self, method: str, path: str, **form: str) -> requests.Response:
        if method == "POST":
            form["csrf_token"] = self.cookies["asok_csrf"]
        answer = requests.request(
            method,
            self.server.url + path,
            data=form,
            headers={"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items()), "Connection": "close"},
            allow_redirects=False,
            timeout=PATIENCE,
        )
        for line in answer.raw.headers.getlist("Set-Cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer

    def user(self) -> str:
        answer = self.request("GET", "/")
        assert answer.status_code == 200, answer.text
        pid, user = answer.text.split("<")[0].split()
        self.server.pids.add(pid)
        return user

    def log_in(self) -> str:
        """Log in by magic link as a new user; their email address."""
        address = f"p{secrets.token_hex(5)}@example.org"
        self.request("GET", "/auth/login")
        assert self.request("POST", "/auth/magic/send", email=address).status_code == 303
        token = self.server.token_for(address)
        assert self.request("GET", f"/auth/magic/callback?token={token}").status_code == 200
        assert self.request("POST", "/auth/magic/callback", token=token).status_code == 303
        return address


def seen_at_once(server: Server, browser: Browser, pool: ThreadPoolExecutor) -> list[str]:
    """The users that eight requests at once see, of ``browser`` as it is now."""
    return list(pool.map(lambda _: Browser(server, browser.cookies).user(), range(8)))


@pytest.mark.parametrize("logins", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_a_login_by_magic_link_holds_on_every_worker(server: Server, logins: int) -> None:
    server.pids.clear()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(logins):
            browser = Browser(server)
            address = browser.log_in()
            assert seen_at_once(server, browser, pool) == [address] * 8
            browser.request("GET", "/auth/account")
            kept = dict(browser.cookies)
            assert browser.request("POST", "/auth/logout").status_code == 303
            assert browser.user() == "nobody"
            assert seen_at_once(server, Browser(server, kept), pool) == ["nobody"] * 8
        browser = Browser(server)
        wait_until(
            lambda: bool(seen_at_once(server, browser, pool)) and len(server.pids) == WORKERS[server.kind],
            "an answer of every worker",
        )


@pytest.mark.requirement("SECURITY-37")
@pytest.mark.parametrize("running", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_logging_out_holds_against_requests_that_are_still_running(server: Server, running: int) -> None:
    """Each starts with the session's cookies and ends after the logout."""
    if server.kind == "uvicorn":
        running = min(running, 4)  # as many threads as a small machine gives each of its workers
    for path in (server.folder / "started").iterdir():
        path.unlink()
    (server.folder / "go").unlink(missing_ok=True)
    browser = Browser(server)
    address = browser.log_in()
    browser.request("GET", "/auth/account")
    kept = dict(browser.cookies)
    slow = [Browser(server, kept) for _ in range(running)]
    with ThreadPoolExecutor(running) as pool:
        answers = [
            pool.submit(one.request, "GET", f"/slow?number={number}") for number, one in enumerate(slow)
        ]
        try:
            started = server.folder / "started"
            wait_until(lambda: len(list(started.iterdir())) == running, "the slow requests")
            assert browser.request("POST", "/auth/logout").status_code == 303
        finally:
            (server.folder / "go").touch()
        assert all(answer.result().text.startswith(address) for answer in answers)
    # With the cookies that each answer left, and once more with the earlier ones.
    found = [one.user() for one in (*slow, browser, Browser(server, kept))]
    assert found == ["nobody"] * (running + 2)
