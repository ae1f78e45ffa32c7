"""Tasks that several processes or threads run against one store at the same time."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from ..contracts import CredentialStore, StateStore
from ..errors import CredentialExists
from ..types import JSON, Credential, Installation
from .fakes import MemoryUsers
from .waiting import PATIENCE

T = TypeVar("T")


def take_each(store: StateStore, keys: Sequence[str]) -> list[str]:
    """Take every key; return those whose value this caller got."""
    return [key for key in keys if store.take(key) is not None]


def add_each(store: StateStore, keys: Sequence[str], ttl: int) -> list[str]:
    """Add every key; return those that this caller added."""
    return [key for key in keys if store.add(key, b"x", ttl)]


def count(store: StateStore, key: str, times: int, ttl: int) -> list[int]:
    """Increment ``key`` and return the numbers this caller got."""
    return [store.incr(key, ttl) for _ in range(times)]


def work_until_killed(store: StateStore, prefix: str, keys: int, log: str) -> None:
    """Take, add and count in turn, writing each success to the file ``log``."""
    with open(log, "ab", buffering=0) as won:
        for number in range(keys):
            if store.take(f"{prefix}take{number}") is not None:
                won.write(b"take %d\n" % number)
            if store.add(f"{prefix}add{number}", b"x", 600):
                won.write(b"add %d\n" % number)
            won.write(b"incr %d\n" % store.incr(f"{prefix}counter", 600))


def check_after_kill(store: StateStore, prefix: str, keys: int, log: str) -> None:
    """Fail if what :func:`work_until_killed` won can be won again or is lost."""
    won: dict[str, list[int]] = {"take": [], "add": [], "incr": []}
    for line in log.splitlines():
        kind, number = line.split()
        won[kind].append(int(number))
    left = [n for n in range(keys) if store.take(f"{prefix}take{n}") is not None]
    free = [n for n in range(keys) if store.add(f"{prefix}add{n}", b"x", 600)]
    assert not set(won["take"]) & set(left), "taken twice"
    assert not set(won["add"]) & set(free), "added twice"
    # At most one operation was in progress; it may or may not have happened.
    assert len(won["take"]) + len(left) >= keys - 1, "lost"
    assert len(won["add"]) + len(free) >= keys - 1, "lost"
    assert won["incr"] == list(range(1, len(won["incr"]) + 1))
    assert store.incr(f"{prefix}counter", 600) - len(won["incr"]) in (1, 2)


def add_credentials(store: CredentialStore, user_id: str, identifiers: Sequence[str]) -> list[str]:
    """Add every identifier; return those that this caller added."""
    won = []
    for identifier in identifiers:
        try:
            store.add(user_id, "race", identifier, None)
        except CredentialExists:
            continue
        won.append(identifier)
    return won


def replace_each(store: CredentialStore, credentials: Sequence[Credential], data: JSON) -> list[str]:
    """Replace every credential; return the ids of those that this caller replaced."""
    return [credential.id for credential in credentials if store.replace(credential, data) is not None]


def remove_each(store: CredentialStore, credentials: Sequence[Credential]) -> list[str]:
    """Remove every credential; return the ids of those that this caller removed."""
    return [credential.id for credential in credentials if store.remove(credential)]


def in_threads(work: Callable[[], Sequence[T]], number: int) -> list[Sequence[T]]:
    """Run ``work`` in ``number`` threads at once; return results or raise."""
    barrier = Barrier(number)

    def one() -> Sequence[T]:
        barrier.wait(PATIENCE)
        return work()

    with ThreadPoolExecutor(number) as pool:
        return [future.result() for future in [pool.submit(one) for _ in range(number)]]


def installation_of(store: CredentialStore) -> Installation:
    """The database's id, made if it is missing; 7 is the highest user id."""
    return store.installation(_SevenUsers(), secrets.token_bytes)


class _SevenUsers(MemoryUsers):
    def highest_id(self) -> int:
        return 7


def exactly_once(parts: Sequence[Sequence[str]], keys: Sequence[str]) -> None:
    """Fail, giving the counts, unless exactly one caller won each key."""
    winners = Counter(key for part in parts for key in part)
    more = sum(winners[key] > 1 for key in keys)
    none = sum(winners[key] == 0 for key in keys)
    assert not more, f"{more} of {len(keys)} were won by more than one caller"
    assert not none, f"{none} of {len(keys)} were won by no caller"
