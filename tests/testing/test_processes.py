"""Workers do what they are given, and say so when they cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

from asok_auth_core.testing import processes
from asok_auth_core.testing.processes import WorkerFailed, Workers


def own_pid(first: int, fails: int) -> int:
    if os.getpid() == fails:
        raise ValueError("this one fails")
    return os.getpid()


def nothing() -> int:
    return 0


def test_a_failed_tasks_answers_are_not_mixed_up_with_the_next() -> None:
    with Workers(nothing, 2) as workers:
        with pytest.raises(WorkerFailed, match="this one fails"):
            workers.run(own_pid, workers.pids[0])
        assert workers.run(nothing_of) == ["next", "next"]


def nothing_of(first: int) -> str:
    return "next"


def broken() -> int:
    raise ValueError("cannot be opened")


def sleep(first: int, seconds: int) -> None:
    time.sleep(seconds)


def never_ends() -> int:
    threading.Thread(target=time.sleep, args=(600,)).start()
    return 0


def test_a_context_that_fails_is_reported() -> None:
    with pytest.raises(WorkerFailed, match="cannot be opened"):
        Workers(broken, 1)


def test_killed_workers_are_reported() -> None:
    with Workers(nothing, 1) as workers:
        workers.start(sleep, 600)
        workers.kill()
        with pytest.raises(WorkerFailed, match="exited with code -9"):
            workers.results()
        with pytest.raises(WorkerFailed, match="exited before it got its task"):
            workers.run(own_pid, 0)


def test_a_worker_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.1)
    with Workers(never_ends, 1) as workers:
        [pid] = workers.pids
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_functions_of_a_script_can_be_tasks(tmp_path: Path) -> None:
    """Its main part is not run again in the workers."""
    script = tmp_path / "script.py"
    script.write_text("""
from asok_auth_core.testing.processes import Workers

def start():
    return 40

def add(first, more):
    return first + more

if __name__ == "__main__":
    with Workers(start, 2) as workers:
        print(workers.run(add, 2), workers.run(add, 3))
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.stdout == "[42, 42] [43, 43]\n", done.stderr


@pytest.mark.parametrize(
    ("file", "says"),
    [(None, "No module named 'made_up'"), ("made_up.txt", "Cannot import .*made_up.txt")],
)
def test_a_function_that_cannot_be_imported_is_reported(
    monkeypatch: pytest.MonkeyPatch, file: str | None, says: str
) -> None:
    module = ModuleType("made_up")
    module.__file__ = file
    exec("def start(): return 0", vars(module))
    monkeypatch.setitem(sys.modules, "made_up", module)
    with pytest.raises(WorkerFailed, match=says):
        Workers(module.start, 1)
