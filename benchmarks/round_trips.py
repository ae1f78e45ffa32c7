"""Count the round trips of logins and requests, and measure their CPU time.

A round trip is one SQL statement of the app's database or one call of the state store. CPU time is
that of this process, so other load on the machine does not matter much.

    python benchmarks/round_trips.py [--requests N]
"""

from __future__ import annotations

import argparse
import logging
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from asok.orm.engines.sqlite import SQLiteEngine
from asok.testing import TestClient

from asok_auth_core.stores.sqlite import SQLiteStateStore
from asok_auth_core.testing.apps import asok_app

ENTER = """
from models.user import User

def get(request):
    request.login(User.find(email="ada@example.org"))
    return "in"
"""
OPERATIONS = ("put", "get", "take", "add", "incr", "delete")
trips: Counter[str] = Counter()


def count(holder: type, name: str, kind: str) -> None:
    original = getattr(holder, name)

    def counted(self: object, *arguments: object, **named: object) -> object:
        trips[kind] += 1
        return original(self, *arguments, **named)

    setattr(holder, name, counted)


@contextmanager
def counted_trips() -> Iterator[Counter[str]]:
    trips.clear()
    yield trips


def last_mail(root: Path) -> str:
    return max((root / ".asok" / "mail").glob("*.eml"), key=lambda path: path.stat().st_mtime_ns).read_text()


def log_in(client: TestClient, root: Path, show: Callable[[str, Callable[[], object]], None]) -> None:
    """A login by magic link, step by step."""
    token = {"csrf_token": ""}
    client.get("/auth/login")
    token["csrf_token"] = client.cookies["asok_csrf"]
    form = {**token, "email": "ada@example.org"}
    show("ask for a mail", lambda: client.post("/auth/magic/send", data=form))
    link = re.search(
        r"/auth/magic/callback\?token=(\S+)", last_mail(root).replace("=\n", "").replace("=3D", "=")
    )
    assert link is not None
    show("open the link", lambda: client.get(f"/auth/magic/callback?token={link[1]}"))
    token["csrf_token"] = client.cookies["asok_csrf"]
    show("press the button", lambda: client.post("/auth/magic/callback", data={**token, "token": link[1]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300)
    requests = parser.parse_args().requests
    logging.disable(logging.CRITICAL)
    count(SQLiteEngine, "execute", "sql")
    for name in OPERATIONS:
        count(SQLiteStateStore, name, "state")

    def show(what: str, call: Callable[[], object]) -> None:
        with counted_trips() as found:
            call()
            print(f"{what:<40}{found['sql']:>6}{found['state']:>8}")

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with asok_app(root, pages={"enter.py": ENTER}) as app:
            auth = app.extensions["AuthExtension"].auth
            ada = auth.users.create("ada@example.org")
            client, warm = TestClient(app), TestClient(app)
            warm.get("/enter")
            print(f"{'round trips':<40}{'sql':>6}{'state':>8}")
            log_in(warm, root, lambda what, call: call())
            log_in(client, root, show)
            bearer = {"Authorization": f"Bearer {auth.login_methods['token'].api._tokens.create(ada.id)[0]}"}
            anonymous = TestClient(app)
            anonymous.get("/")
            doors = {
                "page, anonymous": lambda: anonymous.get("/"),
                "page, with a session": lambda: client.get("/"),
                "page, with a bearer token": lambda: TestClient(app).get("/", headers=bearer),
            }
            for what, call in doors.items():
                assert ("ada@" in call().text) is (what != "page, anonymous"), what
                show(what, call)
            print(f"\n{'CPU time, us':<40}{'median':>8}")
            for what, call in doors.items():
                print(f"{what:<40}{cpu(call, requests):>8.0f}")
            login = cpu(lambda: log_in(TestClient(app), root, lambda _, step: step()), 4) / 1000
            print(f"{'a whole login, ms':<40}{login:>8.1f}")


def cpu(call: Callable[[], object], times: int) -> float:
    """The median CPU time of ``call``, in microseconds."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        call()
        taken.append((time.process_time() - start) * 1e6)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
