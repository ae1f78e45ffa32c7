"""Machines with copies of one app, each under a real server.

Shared are ``SECRET_KEY``, a PostgreSQL database, the state store, and Asok's sessions in Valkey. The
visitor stands for a browser behind a proxy without sticky sessions: one host name, one set of cookies, and
any machine may answer.
"""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

import requests
from asok_auth_dev.accounts import Account
from asok_auth_dev.provider import DevProvider
from asok_totp.totp import Parameters, code_at

from asok_auth_core.testing.apps import USER_MODEL
from asok_auth_core.testing.waiting import PATIENCE, wait_until

from .valkey_server import free_port

APP_URL = "http://localhost"
TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
SERVE = """\
import json, os, sys
import waitress
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok_auth_core import AuthExtension

app = Asok(os.path.dirname(os.path.abspath(__file__)))
app.config.update(TOOLBAR=False, RATE_LIMIT=False, AUTH=json.loads(os.environ["APP_AUTH"]))
for model in MODELS_REGISTRY.values():
    model.create_table()
app.register_extension(AuthExtension())
waitress.serve(app, listen=sys.argv[1], threads=4, ident=None)
"""
SOURCES = {
    "serve.py": SERVE,
    "src/models/user.py": USER_MODEL,
    "src/pages/page.py": """\
def get(request):
    return request.user.email if request.user else "nobody"
""",
    "src/pages/first.py": """\
from models.user import User


def get(request):
    request.login(User.find(email=request.args["who"]))
""",
    "src/pages/enrol.py": f"""\
from asok_totp.totp import Parameters


def get(request):
    auth = request.app.extensions["AuthExtension"].auth
    user = auth.users.create(request.args["who"])
    auth.second_factors["totp"].authenticators.store(str(user.id), "{TOTP_SECRET}", Parameters())
    return "done"
""",
    "src/pages/token.py": """\
def get(request):
    return request.auth.token.create(request.user.id, expires_in=600)
""",
    "src/pages/rows.py": """\
from models.user import User


def get(request):
    auth = request.app.extensions["AuthExtension"].auth
    found = [user for user in User.all() if user.email == request.args["who"]]
    kinds = [row.kind for user in found for row in auth.credentials.list(str(user.id))]
    return " ".join(["account"] * len(found) + kinds)
""",
    "src/pages/revoke.py": """\
def get(request):
    return str(request.auth.token.revoke(request.args["token"]))
""",
}


class Machine:
    """One server in a folder of its own, on an address of its own."""

    def __init__(
        self, folder: Path, address: str, environ: Mapping[str, str], namespace: str | None = None
    ) -> None:
        self.folder = folder
        self.url = f"http://{address}:{8000 if namespace else free_port(address)}"
        self._inside = ["ip", "netns", "exec", namespace] if namespace else []
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None
        for name, source in SOURCES.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)

    def start(self) -> None:
        command = [*self._inside, sys.executable, "serve.py", self.url.removeprefix("http://")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=dict(self._environ), stdout=log, stderr=log
            )
        wait_until(self._serves, self.url)

    def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        with suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/auth/login", timeout=PATIENCE).status_code == 200
        return False

    def kill(self) -> None:
        """As ``kill -9`` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def mail(self, address: str) -> str:
        """The text of the newest mail to ``address`` that was sent from here."""
        return self.mails(address, 1)[-1]

    def mails(self, address: str, number: int) -> list[str]:
        """At least ``number`` mails to ``address`` sent from here, the newest last."""
        wait_until(lambda: len(self._mails(address)) >= number, f"{number} mails to {address}")
        return self._mails(address)

    def _mails(self, address: str) -> list[str]:
        paths = (self.folder / ".asok" / "mail").glob("*.eml")
        found = []
        for path in sorted(paths, key=lambda one: one.stat().st_mtime_ns):
            mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            body = mail.get_body(("plain",))
            if mail["To"] == address and body is not None:
                found.append(str(body.get_content()))
        return found


class Visitor:
    """A browser for which both machines are one host."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    def get(self, machine: Machine, path: str, **headers: str) -> requests.Response:
        return self._send("GET", machine, path, None, headers)

    def post(self, machine: Machine, path: str, **form: str) -> requests.Response:
        form["csrf_token"] = self.cookies.get("asok_csrf", "")
        return self._send("POST", machine, path, form, {})

    def user(self, machine: Machine) -> str:
        """Who this browser is logged in as, according to ``machine``."""
        return first_line(self.get(machine, "/"))

    def _send(
        self, method: str, machine: Machine, path: str, form: dict[str, str] | None, headers: dict[str, str]
    ) -> requests.Response:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = requests.request(
            method,
            machine.url + path,
            data=form,
            headers={"Host": "localhost", "Cookie": cookies, **headers},
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


def first_line(answer: requests.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.text.split("<")[0].strip()


def new_address() -> str:
    return f"p{secrets.token_hex(5)}@example.org"


def environment(
    state: str, valkey_url: str, postgres_url: str, provider: DevProvider, key: str, **settings: object
) -> Mapping[str, str]:
    """What a machine is told; nothing else is shared.

    ``settings`` are added to ``AUTH``.
    """
    settings = {
        **settings,
        "STATE_STORE": state,
        "MAIL_TRANSPORT": "file",
        "MAGIC_LINK": {"WINDOW": 86_400, "SENDS_PER_CLIENT": 10_000},
        "TOTP": {"DRIFT": 10},  # a code stays valid however long the machine takes
        "PROVIDERS": provider.settings(),
    }
    return {
        **{name: text for name, text in os.environ.items() if not name.startswith(("ASOK_", "COVERAGE_"))},
        "SECRET_KEY": key,
        "DEBUG": "true",  # the provider and the machines speak plain http here
        "APP_URL": APP_URL,
        "DATABASE_URL": postgres_url,
        "MAIL_FROM": "app@app.example",
        "ASOK_SESSION_BACKEND": "redis",
        "ASOK_REDIS_URL": valkey_url,
        "APP_AUTH": json.dumps(settings),
    }


@contextmanager
def started(environs: Mapping[Path, Mapping[str, str]]) -> Iterator[list[Machine]]:
    """A machine in each folder, on an address of its own."""
    with ExitStack() as stack:
        made = []
        for number, (folder, environ) in enumerate(environs.items(), 2):
            made.append(Machine(folder, f"127.0.0.{number}", environ))
            stack.callback(made[-1].kill)
            made[-1].start()
        yield made


def ask(visitor: Visitor, machine: Machine, address: str) -> str:
    """Ask for a link and a code; the mail."""
    visitor.get(machine, "/auth/login")
    assert visitor.post(machine, "/auth/magic/send", email=address).status_code == 303
    return machine.mail(address)


def token_of(mail: str) -> str:
    found = re.search(r"\?token=([\w.%-]+)", mail)
    assert found is not None
    return unquote(found[1])


def code_of(mail: str) -> str:
    found = re.search(r"^    (\w{4}-\w{4})\s*$", mail, re.MULTILINE)
    assert found is not None
    return found[1]


def log_in(machine: Machine, other: Machine, address: str) -> Visitor:
    """A user who requested a link on one machine and pressed the button on the other."""
    visitor = Visitor()
    token = token_of(ask(visitor, machine, address))
    assert visitor.post(other, "/auth/magic/callback", token=token).status_code == 303
    return visitor


def rows(machine: Machine, address: str) -> list[str]:
    """The accounts with this email address and the kinds of their credentials.

    ``account`` for each account, then the kinds, sorted.
    """
    return sorted(first_line(Visitor().get(machine, f"/rows?who={address}")).split())


def new_account(provider: DevProvider) -> Account:
    """A new account at the provider, with a new email address."""
    number = secrets.randbelow(10**9)
    account = Account(number, f"p{number}", f"User {number}", new_address())
    provider.accounts[str(number)] = account
    return account


def come_back(visitor: Visitor, machine: Machine, account: Account) -> str:
    """Start a login with the provider and log in there; return the callback path."""
    visitor.get(machine, "/auth/login")
    started = visitor.post(machine, "/auth/google/login")
    answer = requests.post(
        started.headers["Location"],
        data={"account": str(account.number)},
        allow_redirects=False,
        timeout=PATIENCE,
    )
    return answer.headers["Location"].removeprefix(APP_URL)


def totp_code(secret: str = TOTP_SECRET, *, steps: int = 0) -> str:
    """The code of the current time step, or of one that is ``steps`` later."""
    return code_at(secret, Parameters(), int(time.time()) // 30 + steps)


def enroll(visitor: Visitor, machine: Machine) -> str:
    """Start to set up an authenticator app; its secret."""
    shown = visitor.post(machine, "/auth/totp/enrol").text
    return re.sub(r"\s", "", re.findall(r"<code[^>]*>([A-Z2-7 ]{32,})</code>", shown)[0])


def recovery_codes(answer: requests.Response) -> list[str]:
    """The recovery codes on the page that shows them."""
    return re.findall(r"\b[0-9A-Z]{4}(?:-[0-9A-Z]{4}){3}\b", answer.text)


def give_first_factor(visitor: Visitor, machine: Machine, address: str) -> None:
    """Log in on a page of the app, as a user who has a second factor."""
    visitor.get(machine, "/auth/login")
    assert visitor.get(machine, f"/first?who={address}").headers["Location"] == "/auth/second-factor"
