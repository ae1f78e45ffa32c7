"""kill -9 before every n-th instruction of SQLite in take, add and incr."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.requirement("SECURITY-1")

# One process without threads forks the victims, which is a hundred times faster than starting each.
CODE = """
import os, signal, sqlite3, sys
from asok_auth_core.stores.sqlite import SQLiteStateStore
from asok_auth_core.testing.races import check_after_kill, work_until_killed

path, stride = sys.argv[1], int(sys.argv[2])
connect = sqlite3.connect

def victim(at, prefix, log):
    seen = 0
    def step():
        nonlocal seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0
    def counted(*arguments, **keywords):
        connection = connect(*arguments, **keywords)
        connection.set_progress_handler(step, 1)
        return connection
    sqlite3.connect = counted
    work_until_killed(SQLiteStateStore(path), prefix, 1, log)
    os._exit(0)

at, kills, halfway = 1, 0, set()
while True:
    prefix, log = f"{at}:", f"{path}.{at}.log"
    store = SQLiteStateStore(path)
    store.put(prefix + "take0", b"v", 600)
    store.close()
    pid = os.fork()
    if pid == 0:
        victim(at, prefix, log)
    status = os.waitpid(pid, 0)[1]
    won = open(log).read() if os.path.exists(log) else ""
    store = SQLiteStateStore(path)
    check_after_kill(store, prefix, 1, won)
    assert store.add(prefix + "new link", b"v", 60) and store.take(prefix + "new link") == b"v"
    store.close()
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    kills, at = kills + 1, at + stride
    halfway.add(len(won.splitlines()))
assert halfway == {0, 1, 2}, halfway
print(kills)
"""


def kills(path: Path, stride: int) -> int:
    command = [sys.executable, "-c", CODE, str(path), str(stride)]
    # Measuring coverage would start threads, and count for nothing in what is killed.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_killed_at_every_eleventh_instruction(tmp_path: Path) -> None:
    assert kills(tmp_path / "state.sqlite3", 11) > 10


@pytest.mark.slow
def test_killed_at_every_instruction(tmp_path: Path) -> None:
    assert kills(tmp_path / "state.sqlite3", 1) > 100
