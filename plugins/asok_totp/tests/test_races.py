"""Eight processes at once: each proof is accepted from one of them.

The processes share the app's database through Asok's own engine, and the SQLite state store.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from asok.orm import close_all_db_connections
from asok.orm.engines import get_engine
from asok_totp.authenticator import Authenticators
from asok_totp.settings import TotpSettings
from asok_totp.totp import Parameters, code_at

from asok_auth_core.flows.recovery_codes import RecoveryCodes
from asok_auth_core.plugin import KeyRing, SQLiteStateStore
from asok_auth_core.stores.credentials import SqlCredentialStore
from asok_auth_core.testing import FrozenClock

PROCESSES = 8
HEAD_START = 0.01
"""Seconds between handing out a task and its start."""
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
AT = 1_790_000_010
KEY = b"k" * 32

FLEET = """
import os, signal, sys, time
from asok.orm.engines import get_engine
from asok_totp.authenticator import Authenticators
from asok_auth_core.flows.recovery_codes import RecoveryCodes
from asok_totp.settings import TotpSettings
from asok_auth_core.engine.keys import KeyRing
from asok_auth_core.errors import AuthError
from asok_auth_core.events import Events
from asok_auth_core.limits import Limits
from asok_auth_core.plugins import Plugins
from asok_auth_core.registry import PluginRegistry
from asok_auth_core.stores.credentials import SqlCredentialStore
from asok_auth_core.stores import sqlite_file
from asok_auth_core.stores.sqlite import SQLiteStateStore

sqlite_file.DEADLINE = 300.0  # other processes may keep a writer waiting
database, state_path, processes = sys.argv[1:4]

def clock():
    return 1790000010.0

def work(tasks, answers):
    store = SqlCredentialStore(get_engine(database), clock=clock, random=os.urandom)
    state = SQLiteStateStore(state_path, clock=clock)
    keys = KeyRing([b"k" * 32])
    authenticators = Authenticators(
        TotpSettings(), credentials=store, state=state, keys=keys, clock=clock, random=os.urandom
    )
    limits = Limits(state, Events(Plugins(PluginRegistry()), clock), clock)

    def guess(user, code):
        limits.hit("second-factor", f"totp:{user}", limit=10, window=900)
        return authenticators.verify(user, code)

    def confirm(user, code):
        authenticators.confirm(user, code)
        return True

    recovery = RecoveryCodes(store, keys, os.urandom).claim
    attempts = {"verify": authenticators.verify, "recovery": recovery, "confirm": confirm, "guess": guess}
    for line in tasks:
        start, what, user, *given = line.split()
        time.sleep(max(0.0, float(start) - time.monotonic()))  # all of them have the task by then
        outcome = []
        for code in given:
            try:
                outcome.append("yes" if attempts[what](user, code) else "no")
            except AuthError as error:
                outcome.append(error.code)
        print(*outcome, file=answers, flush=True)

fleet = []
for _ in range(int(processes)):
    (task_out, task_in), (answer_out, answer_in) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        work(os.fdopen(task_out), os.fdopen(answer_in, "w"))
    fleet.append((pid, os.fdopen(task_in, "w"), os.fdopen(answer_out)))
print("ready", flush=True)
for line in sys.stdin:
    for _, tasks, _ in fleet:
        tasks.write(line)
    for _, tasks, _ in fleet:
        tasks.flush()
    print(*[answers.readline().strip() for _, _, answers in fleet], flush=True)
for pid, _, _ in fleet:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


class Fleet:
    """Processes that wait for a line and then all do the same, and what they share."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        database, path = f"sqlite://{folder / 'db.sqlite3'}", folder / "state.sqlite3"
        clock, keys = FrozenClock(AT), KeyRing([KEY])
        store = SqlCredentialStore(get_engine(database), clock=clock, random=os.urandom)
        state = SQLiteStateStore(path, clock=clock)
        stack.callback(close_all_db_connections)
        stack.callback(state.close)
        self.codes = RecoveryCodes(store, keys, os.urandom)
        self.authenticators = Authenticators(
            TotpSettings(), credentials=store, state=state, keys=keys, clock=clock, random=os.urandom
        )
        self.authenticators.enrolled("1")  # makes the table
        self._launcher = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", FLEET, database, str(path), str(PROCESSES)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert self._launcher.stdout.readline() == "ready\n"

    def all_do(self, what: str, user: str, *codes: str) -> list[str]:
        start = time.monotonic() + HEAD_START
        self._launcher.stdin.write(" ".join((str(start), what, user, *codes)) + "\n")
        self._launcher.stdin.flush()
        return self._launcher.stdout.readline().split()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(stack, tmp_path_factory.mktemp("races"))


@pytest.mark.requirement("SECURITY-1", "SECURITY-20")
def test_one_code_sent_by_eight_processes_is_accepted_once(fleet) -> None:
    code = code_at(SECRET, Parameters(), AT // 30)
    for _ in range(50):
        fleet.authenticators.store("code", SECRET, Parameters())
        assert sorted(fleet.all_do("verify", "code", code)) == ["no"] * 7 + ["yes"]


@pytest.mark.requirement("SECURITY-20")
def test_no_step_of_the_window_is_accepted_twice(fleet) -> None:
    window = [code_at(SECRET, Parameters(), AT // 30 + off) for off in (-1, 0, 1)]
    for _ in range(10):
        fleet.authenticators.store("window", SECRET, Parameters())
        assert 1 <= fleet.all_do("verify", "window", *window).count("yes") <= 3
        assert fleet.all_do("verify", "window", *window).count("yes") == 0


@pytest.mark.requirement("SECURITY-1")
def test_one_recovery_code_used_by_eight_processes_is_accepted_once(fleet) -> None:
    """Parse Server CVE-2026-33624."""
    for _ in range(5):
        for code in fleet.codes.issue("recovery"):
            assert sorted(fleet.all_do("recovery", "recovery", code)) == ["no"] * 7 + ["yes"]
        assert fleet.codes.remaining("recovery") == 0


@pytest.mark.requirement("SECURITY-1")
def test_all_recovery_codes_at_once_are_each_accepted_once(fleet) -> None:
    """Parallel claims of different codes lose none of each other's writes."""
    issued = fleet.codes.issue("ten")
    assert fleet.all_do("recovery", "ten", *issued).count("yes") == len(issued)
    assert fleet.codes.remaining("ten") == 0


@pytest.mark.requirement("SECURITY-1")
def test_an_enrolment_is_confirmed_once(fleet) -> None:
    for _ in range(10):
        secret, parameters = fleet.authenticators.begin("enrol")
        code = code_at(secret, parameters, AT // 30)
        assert fleet.all_do("confirm", "enrol", code).count("yes") == 1


@pytest.mark.requirement("SECURITY-21")
def test_ten_of_200_wrong_codes_from_eight_processes_are_evaluated(fleet) -> None:
    fleet.authenticators.store("guess", SECRET, Parameters())
    right = {code_at(SECRET, Parameters(), AT // 30 + off) for off in (-1, 0, 1)}
    wrong = [f"{number:06}" for number in range(30) if f"{number:06}" not in right][:25]
    outcomes = fleet.all_do("guess", "guess", *wrong)
    assert len(outcomes) == 200
    assert outcomes.count("no") == 10
    assert outcomes.count("rate_limited") == 190
