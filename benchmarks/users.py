"""Measure how long it takes to find an account by its email address.

    nox -s bench -- users [--accounts 1000,100000,1000000]

The time must not grow with the number of accounts, nor tell known addresses from unknown ones.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from asok.orm import MODELS_REGISTRY

from asok_auth_core.adapters.asok.users import AsokUsers
from asok_auth_core.testing.apps import asok_app

LOOKUPS = 500


def fill(count: int) -> None:
    engine = MODELS_REGISTRY["User"].get_engine()
    with engine.transaction():
        for number in range(count):
            engine.execute("INSERT INTO users (email) VALUES (?)", (f"User{number}@Example.org",))


def microseconds(users: AsokUsers, email: str, *, known: bool) -> float:
    """The median time of one lookup."""
    times = []
    for _ in range(LOOKUPS):
        start = time.perf_counter()
        found = users.by_email(email)
        times.append(time.perf_counter() - start)
        assert (found is not None) is known, email
    return statistics.median(times) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", default="1000,100000,1000000")
    print(f"{'accounts':>10} {'exact':>10} {'other case':>12} {'unknown':>10}   (microseconds, SQLite)")
    for count in map(int, parser.parse_args().accounts.split(",")):
        with tempfile.TemporaryDirectory() as folder, asok_app(Path(folder)) as app:
            fill(count)
            users, last = AsokUsers(app), f"User{count - 1}@Example.org"
            exact = microseconds(users, last, known=True)
            other = microseconds(users, last.lower(), known=True)
            unknown = microseconds(users, "nobody@example.org", known=False)
        print(f"{count:>10} {exact:>10.0f} {other:>12.0f} {unknown:>10.0f}")


if __name__ == "__main__":
    main()
