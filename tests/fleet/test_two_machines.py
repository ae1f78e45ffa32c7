"""Two machines with one app: what one starts, the other finishes."""

from __future__ import annotations

import html
import os
import secrets
import select
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from asok_auth_dev.provider import DevProvider
from asok_auth_tests.machines import (
    Machine,
    Visitor,
    ask,
    code_of,
    come_back,
    enroll,
    environment,
    first_line,
    give_first_factor,
    log_in,
    new_account,
    new_address,
    recovery_codes,
    rows,
    started,
    token_of,
    totp_code,
)
from asok_auth_tests.postgres_server import PostgresServer
from asok_auth_tests.valkey_server import ValkeyServer

pytestmark = pytest.mark.slow


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
    """Two network namespaces with veth pairs: name, address inside, address here."""
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
    machines: tuple[Machine, Machine], provider: DevProvider
) -> None:
    one, two = machines
    visitor, account = Visitor(), new_account(provider)
    path = come_back(visitor, one, account)
    late = Visitor()
    late.cookies = dict(visitor.cookies)
    assert visitor.get(two, path).status_code == 303
    assert visitor.user(one) == account.email
    assert late.get(one, path).status_code == 400
    assert late.user(one) == "nobody"


@pytest.mark.requirement("SECURITY-20")
def test_a_totp_step_used_on_one_machine_is_rejected_on_the_other(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    address = new_address()
    Visitor().get(one, f"/enrol?who={address}")
    first, second = Visitor(), Visitor()
    for visitor, machine in ((first, one), (second, two)):
        give_first_factor(visitor, machine, address)
    code = totp_code()
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


def test_a_second_factor_is_set_up_on_both_machines_and_a_recovery_code_works_once(
    machines: tuple[Machine, Machine],
) -> None:
    one, two = machines
    address = new_address()
    visitor = log_in(one, two, address)
    secret = enroll(visitor, one)
    codes = recovery_codes(visitor.post(two, "/auth/totp/confirm", code=totp_code(secret)))
    assert len(codes) == 10
    late = [Visitor(), Visitor()]
    for other in late:
        give_first_factor(other, one, address)
    answers = [
        other.post(machine, "/auth/second-factor", factor="recovery", code=codes[0]).status_code
        for other, machine in zip(late, (two, one), strict=True)
    ]
    assert answers == [303, 400]
    assert [late[0].user(one), late[1].user(two)] == [address, "nobody"]


@pytest.fixture(scope="module")
def strict_machines(
    told: Callable[..., Mapping[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Machine, Machine]]:
    """Two machines of an app whose users must all have a second factor."""
    environ = told(secrets.token_hex(32), REQUIRE_2FA=True)
    with started({tmp_path_factory.mktemp("strict"): environ for _ in range(2)}) as made:
        yield made[0], made[1]


@pytest.mark.requirement("SECURITY-36")
def test_a_demanded_enrollment_starts_on_one_machine_and_completes_once_on_the_other(
    strict_machines: tuple[Machine, Machine],
) -> None:
    one, two = strict_machines
    visitor, address = Visitor(), new_address()
    token = token_of(ask(visitor, one, address))
    pressed = visitor.post(one, "/auth/magic/callback", token=token)
    assert pressed.headers["Location"] == "/auth/second-factor/enrol"
    secret = enroll(visitor, one)
    wrong = visitor.post(two, "/auth/totp/confirm", code=totp_code(secret, steps=-100))
    assert wrong.status_code == 400
    assert [visitor.user(machine) for machine in strict_machines] == ["nobody", "nobody"]
    assert rows(one, address) == ["account", "account_profile"], "its language: no session, no factor"
    late = Visitor()
    late.cookies = dict(visitor.cookies)
    codes = recovery_codes(visitor.post(two, "/auth/totp/confirm", code=totp_code(secret)))
    assert len(codes) == 10
    assert [visitor.user(machine) for machine in strict_machines] == [address, address]
    assert late.post(one, "/auth/totp/confirm", code=totp_code(secret, steps=1)).status_code == 401
    assert [late.user(machine) for machine in strict_machines] == ["nobody", "nobody"]

    again = Visitor()
    give_first_factor(again, two, address)
    given = again.post(one, "/auth/second-factor", factor="totp", code=totp_code(secret, steps=1))
    assert given.status_code == 303
    assert [again.user(machine) for machine in strict_machines] == [address, address]


def test_two_machines_in_separate_network_namespaces(
    namespaces: list[tuple[str, str, str]],
    provider: DevProvider,
    tmp_path: Path,
) -> None:
    """Two networks that meet only at the stores; the provider is left out."""
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
