"""Two machines, each with its own copy of an app under a real server, that share only what they must.

Each has its own address, folder and processes; shared are ``SECRET_KEY``, a PostgreSQL database, the
state store, and Asok's sessions in Valkey. The visitor stands for a browser behind a proxy without
sticky sessions: one host name, one set of cookies, and any machine may answer.
"""

from __future__ import annotations

import email
import email.policy
import html
import json
import os
import re
import secrets
import select
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests
from asok_auth_dev.accounts import Account
from asok_auth_dev.provider import DevProvider
from asok_auth_tests.postgres_server import PostgresServer
from asok_auth_tests.valkey_server import ValkeyServer, free_port
from asok_totp.totp import Parameters, code_at

from asok_auth_core.testing.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slow

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
    "src/models/user.py": """\
from asok import Field, Model


class User(Model):
    email = Field.String(unique=True, nullable=False)
    name = Field.String()
    is_active = Field.Boolean(default=True)
""",
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
        wait_until(lambda: bool(self._mails(address)), f"a mail to {address}")
        return self._mails(address)[-1]

    def _mails(self, address: str) -> list[str]:
        """The texts of all mails to ``address``, the newest last."""
        paths = (self.folder / ".asok" / "mail").glob("*.eml")
        mails = [
            email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            for path in sorted(paths, key=lambda one: one.stat().st_mtime_ns)
        ]
        return [
            str(mail.get_body(("plain",)).get_content())  # type: ignore[attr-defined]
            for mail in mails
            if mail["To"] == address
        ]


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


class Relay(socketserver.ThreadingTCPServer):
    """Gives PostgreSQL's Unix socket, which needs no network, an address that does."""

    daemon_threads = True

    def __init__(self, address: str, path: str) -> None:
        super().__init__((address, 0), _Relayed)
        self.path = path
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class _Relayed(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        relay = self.server
        assert isinstance(relay, Relay)
        with socket.socket(socket.AF_UNIX) as there:
            there.connect(relay.path)
            other = {self.request: there, there: self.request}
            while True:
                for ready in select.select(list(other), [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    other[ready].sendall(data)


@pytest.fixture
def namespaces() -> Iterator[list[tuple[str, str, str]]]:
    """Two network namespaces, each joined to this one by a veth pair: name, address inside, here."""
    tag, ip = secrets.token_hex(3), shutil.which("ip")
    if ip is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and the command ip")
    made = []
    with ExitStack() as stack:
        for number in (1, 2):
            name, here, net = f"asok{tag}{number}", f"as{tag}{number}", f"10.213.{secrets.randbelow(256)}"
            tried = subprocess.run([ip, "netns", "add", name], capture_output=True, text=True)
            if tried.returncode:
                pytest.skip(f"network namespaces are not allowed here: {tried.stderr.strip()}")
            stack.callback(subprocess.run, [ip, "netns", "del", name], check=True)
            for line in (
                f"link add {here} type veth peer name eth0 netns {name}",
                f"addr add {net}.1/24 dev {here}",
                f"link set {here} up",
                f"-n {name} addr add {net}.2/24 dev eth0",
                f"-n {name} link set eth0 up",
                f"-n {name} link set lo up",
            ):
                subprocess.run([ip, *line.split()], check=True)
            made.append((name, f"{net}.2", f"{net}.1"))
        yield made


def environment(
    state: str, valkey_url: str, postgres_url: str, provider: DevProvider, key: str
) -> Mapping[str, str]:
    """What a machine is told; nothing else is shared."""
    settings = {
        "STATE_STORE": state,
        "MAIL_TRANSPORT": "file",
        "MAGIC_LINK": {"WINDOW": 86_400},
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


@pytest.fixture(scope="module", params=["valkey", "postgresql"])
def machines(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    valkey_url: str,
    postgres_url: str,
    provider: DevProvider,
) -> Iterator[tuple[Machine, Machine]]:
    """Two of them, with the state in Valkey or in PostgreSQL."""
    state = valkey_url if request.param == "valkey" else postgres_url
    environ = environment(state, valkey_url, postgres_url, provider, secrets.token_hex(32))
    with ExitStack() as stack:
        made = []
        for address in ("127.0.0.2", "127.0.0.3"):
            made.append(Machine(tmp_path_factory.mktemp("machine"), address, environ))
            stack.callback(made[-1].kill)
            made[-1].start()
        yield made[0], made[1]


@pytest.fixture(scope="module")
def provider() -> Iterator[DevProvider]:
    known = [Account(number, f"p{number}", f"Person {number}", new_address()) for number in range(1, 9)]
    with DevProvider(APP_URL, debug=True, accounts=known) as local:
        yield local


def ask(visitor: Visitor, machine: Machine, address: str) -> str:
    """Ask for a link and a code; the mail."""
    visitor.get(machine, "/auth/login")
    assert visitor.post(machine, "/auth/magic/send", email=address).status_code == 303
    return machine.mail(address)


def token_of(mail: str) -> str:
    found = re.search(r"\?token=([\w.%-]+)", mail)
    assert found is not None
    return requests.utils.unquote(found[1])


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


@pytest.mark.requirement("SECURITY-1")
def test_a_link_from_one_machine_works_once_on_the_other(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    visitor, address = Visitor(), new_address()
    token = token_of(ask(visitor, one, address))
    shown = visitor.get(two, f"/auth/magic/callback?token={token}")
    assert html.escape(address) in shown.text
    assert visitor.post(two, "/auth/magic/callback", token=token).status_code == 303
    assert [visitor.user(machine) for machine in machines] == [address, address]
    for machine in machines:
        late = Visitor()
        late.get(machine, "/auth/login")
        assert late.post(machine, "/auth/magic/callback", token=token).status_code == 400
        assert late.user(machine) == "nobody"


@pytest.mark.requirement("SECURITY-1")
def test_a_code_from_one_machine_works_once_on_the_other(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    visitor, address = Visitor(), new_address()
    code = code_of(ask(visitor, one, address))
    assert visitor.post(two, "/auth/magic/code", email=address, code=code).status_code == 303
    assert [visitor.user(machine) for machine in machines] == [address, address]
    late = Visitor()
    late.get(one, "/auth/login")
    assert late.post(one, "/auth/magic/code", email=address, code=code).status_code == 400
    assert late.user(one) == "nobody"


@pytest.mark.requirement("SECURITY-21")
def test_wrong_codes_are_counted_across_machines(machines: tuple[Machine, Machine]) -> None:
    visitor, address = Visitor(), new_address()
    code = code_of(ask(visitor, machines[0], address))
    for number in range(10):
        wrong = visitor.post(machines[number % 2], "/auth/magic/code", email=address, code="AAAA-AAAA")
        assert wrong.status_code == 400
    for machine in machines:
        assert visitor.post(machine, "/auth/magic/code", email=address, code=code).status_code == 429
        assert visitor.user(machine) == "nobody"


@pytest.mark.requirement("SECURITY-1")
def test_a_provider_login_started_on_one_machine_finishes_once_on_the_other(
    machines: tuple[Machine, Machine], provider: DevProvider, request: pytest.FixtureRequest
) -> None:
    one, two = machines
    visitor = Visitor()
    visitor.get(one, "/auth/login")
    begun = visitor.post(one, "/auth/google/login")
    person = "1" if "valkey" in request.node.name else "2"
    answer = requests.post(
        begun.headers["Location"], data={"account": person}, allow_redirects=False, timeout=PATIENCE
    )
    path = answer.headers["Location"].removeprefix(APP_URL)
    late = Visitor()
    late.cookies = dict(visitor.cookies)
    assert visitor.get(two, path).status_code == 303
    assert visitor.user(one) == provider.accounts[person].email
    assert late.get(one, path).status_code == 400
    assert late.user(one) == "nobody"


@pytest.mark.requirement("SECURITY-20")
def test_a_totp_step_used_on_one_machine_is_rejected_on_the_other(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    address = new_address()
    Visitor().get(one, f"/enrol?who={address}")
    first, second = Visitor(), Visitor()
    for visitor, machine in ((first, one), (second, two)):
        visitor.get(machine, "/auth/login")
        assert visitor.get(machine, f"/first?who={address}").headers["Location"] == "/auth/second-factor"
    code = code_at(TOTP_SECRET, Parameters(), int(time.time()) // 30)
    # The first factor was given at one machine, the second is given at the other.
    assert first.post(two, "/auth/second-factor", factor="totp", code=code).status_code == 303
    assert first.user(one) == address
    assert second.post(one, "/auth/second-factor", factor="totp", code=code).status_code == 400
    assert second.user(two) == "nobody"


@pytest.mark.requirement("SECURITY-23")
def test_a_token_revoked_on_one_machine_is_rejected_on_the_other_at_once(
    machines: tuple[Machine, Machine],
) -> None:
    """From the next request on, wherever it arrives."""
    one, two = machines
    address = new_address()
    token = first_line(log_in(one, two, address).get(one, "/token"))
    bearer = {"Authorization": f"Bearer {token}"}
    for machine in machines:
        assert first_line(Visitor().get(machine, "/", **bearer)) == address
    assert first_line(Visitor().get(two, f"/revoke?token={token}")) == "True"
    for machine in machines:
        assert "nobody" in Visitor().get(machine, "/", **bearer).text


def test_logging_out_other_sessions_reaches_both_machines(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    address = new_address()
    here, there = log_in(one, two, address), log_in(two, one, address)
    assert [there.user(one), there.user(two)] == [address, address]
    assert here.post(one, "/auth/sessions/end").status_code == 303
    for machine in machines:
        assert here.user(machine) == address
        assert there.user(machine) == "nobody"


def test_one_machine_goes_on_when_the_other_is_killed(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    visitor, address = Visitor(), new_address()
    waiting = token_of(ask(visitor, one, address))
    there = log_in(one, two, new_address())
    who = there.user(one)
    one.kill()
    try:
        assert there.user(two) == who
        assert visitor.post(two, "/auth/magic/callback", token=waiting).status_code == 303
        assert visitor.user(two) == address
        assert log_in(two, two, new_address()).user(two) != "nobody"
    finally:
        one.start()
    late = Visitor()
    late.get(one, "/auth/login")
    assert late.post(one, "/auth/magic/callback", token=waiting).status_code == 400


@pytest.fixture(scope="module", params=["valkey", "postgresql"])
def generations(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    valkey_url: str,
    postgres_url: str,
    provider: DevProvider,
) -> Iterator[dict[str, Machine]]:
    """Three machines in the middle of a key rotation: with the old key, with both, with the new one."""
    state = valkey_url if request.param == "valkey" else postgres_url
    old, new = secrets.token_hex(32), secrets.token_hex(32)
    keys = {"old": (old, ""), "both": (new, old), "new": (new, "")}
    with ExitStack() as stack:
        made = {}
        for number, (name, (key, fallbacks)) in enumerate(keys.items(), 4):
            environ = environment(state, valkey_url, postgres_url, provider, key)
            folder = tmp_path_factory.mktemp(name)
            made[name] = Machine(folder, f"127.0.0.{number}", {**environ, "SECRET_KEY_FALLBACKS": fallbacks})
            stack.callback(made[name].kill)
            made[name].start()
        yield made


READERS = {"old": {"old", "both"}, "both": {"both", "new"}, "new": {"both", "new"}}
"""Which generations accept what a generation has signed or sealed: those that have its newest key."""


@pytest.mark.requirement("SECURITY-38")
@pytest.mark.parametrize("maker", READERS)
@pytest.mark.parametrize("reader", READERS)
def test_during_a_rotation_what_was_made_with_a_trusted_key_works(
    generations: dict[str, Machine], maker: str, reader: str
) -> None:
    made, read = generations[maker], generations[reader]
    trusted = reader in READERS[maker]
    address = new_address()
    session = log_in(made, made, address)
    assert session.user(read) == address, "a session lies under no key: nobody is logged out"
    bearer = {"Authorization": f"Bearer {first_line(session.get(made, '/token'))}"}
    shown = Visitor().get(read, "/", **bearer).text
    assert shown.startswith(address if trusted else "nobody")

    visitor, newcomer = Visitor(), new_address()
    token = token_of(ask(visitor, made, newcomer))
    visitor.get(read, f"/auth/magic/callback?token={token}")
    pressed = visitor.post(read, "/auth/magic/callback", token=token)
    assert pressed.status_code == (303 if trusted else 400)
    assert visitor.user(made) == (newcomer if trusted else "nobody")

    enrolled, half = new_address(), Visitor()
    Visitor().get(made, f"/enrol?who={enrolled}")
    half.get(made, "/auth/login")
    assert half.get(made, f"/first?who={enrolled}").headers["Location"] == "/auth/second-factor"
    asked = half.get(read, "/auth/second-factor")
    assert (asked.status_code == 200) is trusted
    assert half.user(read) == "nobody"


def test_a_required_second_factor_is_set_up_on_both_machines_and_a_recovery_code_works_once(
    machines: tuple[Machine, Machine],
) -> None:
    one, two = machines
    address = new_address()
    visitor = log_in(one, two, address)
    shown = visitor.post(one, "/auth/totp/enrol").text
    secret = re.sub(r"\s", "", re.findall(r"<code[^>]*>([A-Z2-7 ]{32,})</code>", shown)[0])
    code = code_at(secret, Parameters(), int(time.time()) // 30)
    done = visitor.post(two, "/auth/totp/confirm", code=code)
    codes = re.findall(r"\b[0-9A-Z]{4}(?:-[0-9A-Z]{4}){3}\b", done.text)
    assert len(codes) == 10
    late = [Visitor(), Visitor()]
    for other in late:
        other.get(one, "/auth/login")
        assert other.get(one, f"/first?who={address}").headers["Location"] == "/auth/second-factor"
    answers = [
        other.post(machine, "/auth/second-factor", factor="recovery", code=codes[0]).status_code
        for other, machine in zip(late, (two, one), strict=True)
    ]
    assert answers == [303, 400]
    assert [late[0].user(one), late[1].user(two)] == [address, "nobody"]


def test_two_machines_in_separate_network_namespaces(
    namespaces: list[tuple[str, str, str]],
    provider: DevProvider,
    tmp_path: Path,
) -> None:
    """Two networks that meet only where the stores listen. (The local provider is on loopback: not here.)"""
    if "DATABASE_URL" in os.environ or "REDIS_URL" in os.environ:
        pytest.skip("the servers of DATABASE_URL and REDIS_URL may be out of the namespaces' reach")
    with ExitStack() as stack:
        database = PostgresServer()
        database.start()
        stack.callback(database.remove)
        path = str(next(database.folder.parent.glob(f"{database.folder.name}/.s.PGSQL.*[0-9]")))
        valkey = ValkeyServer(tmp_path / "valkey", "--save", "", address="0.0.0.0")
        valkey.start()
        stack.callback(valkey.stop)
        relay = stack.enter_context(Relay("0.0.0.0", path))
        stack.callback(relay.shutdown)
        made = []
        key = secrets.token_hex(32)
        for name, address, here in namespaces:
            postgres_url = f"postgresql://postgres@{here}:{relay.server_address[1]}/postgres"
            valkey_url = f"redis://{here}:{valkey.port}/0"
            environ = environment(postgres_url, valkey_url, postgres_url, provider, key)
            machine = Machine(tmp_path / name, address, environ, name)
            stack.callback(machine.kill)
            machine.start()
            made.append(machine)
        machines = made[0], made[1]
        test_a_link_from_one_machine_works_once_on_the_other(machines)
        test_a_code_from_one_machine_works_once_on_the_other(machines)
        test_wrong_codes_are_counted_across_machines(machines)
        test_a_totp_step_used_on_one_machine_is_rejected_on_the_other(machines)
        test_a_token_revoked_on_one_machine_is_rejected_on_the_other_at_once(machines)
        test_logging_out_other_sessions_reaches_both_machines(machines)
        test_one_machine_goes_on_when_the_other_is_killed(machines)
