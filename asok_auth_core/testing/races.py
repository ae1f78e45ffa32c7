"""What many callers do to one store at once; each function is run by several processes or threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from ..contracts import CredentialStore, StateStore
from ..errors import CredentialExists
from ..types import JSON, Credential
from .waiting import PATIENCE

T = TypeVar("T")


def take_each(store: StateStore, keys: Sequence[str]) -> list[str]:
    """The keys whose value this caller got."""
    return [key for key in keys if store.take(key) is not None]


def add_each(store: StateStore, keys: Sequence[str], ttl: int) -> list[str]:
    """The keys that this caller was the one to add."""
    return [key for key in keys if store.add(key, b"x", ttl)]


def count(store: StateStore, key: str, times: int, ttl: int) -> list[int]:
    """The numbers this caller got."""
    return [store.incr(key, ttl) for _ in range(times)]


def work_until_killed(store: StateStore, prefix: str, keys: int, log: str) -> None:
    """Take, add and count, one after the other; each success is written to the file ``log``."""
    with open(log, "ab", buffering=0) as won:
        for number in range(keys):
            if store.take(f"{prefix}take{number}") is not None:
                won.write(b"take %d\n" % number)
            if store.add(f"{prefix}add{number}", b"x", 600):
                won.write(b"add %d\n" % number)
            won.write(b"incr %d\n" % store.incr(f"{prefix}counter", 600))


def check_after_kill(store: StateStore, prefix: str, keys: int, log: str) -> None:
    """Fails if what :func:`work_until_killed` had won by then can be won again, or more is missing."""
    won: dict[str, list[int]] = {"take": [], "add": [], "incr": []}
    for line in log.splitlines():
        kind, number = line.split()
        won[kind].append(int(number))
    left = [n for n in range(keys) if store.take(f"{prefix}take{n}") is not None]
    free = [n for n in range(keys) if store.add(f"{prefix}add{n}", b"x", 600)]
    assert not set(won["take"]) & set(left), "taken twice"
    assert not set(won["add"]) & set(free), "added twice"
    # One operation at most was under way; whether it happened nobody was told.
    assert len(won["take"]) + len(left) >= keys - 1, "lost"
    assert len(won["add"]) + len(free) >= keys - 1, "lost"
    assert won["incr"] == list(range(1, len(won["incr"]) + 1))
    assert store.incr(f"{prefix}counter", 600) - len(won["incr"]) in (1, 2)


def add_credentials(store: CredentialStore, user_id: str, identifiers: Sequence[str]) -> list[str]:
    """The identifiers that this caller was the one to add."""
    won = []
    for identifier in identifiers:
        try:
            store.add(user_id, "race", identifier, None)
        except CredentialExists:
            continue
        won.append(identifier)
    return won


def replace_each(store: CredentialStore, credentials: Sequence[Credential], data: JSON) -> list[str]:
    """The ids of the credentials that this caller was the one to replace."""
    return [credential.id for credential in credentials if store.replace(credential, data) is not None]


def remove_each(store: CredentialStore, credentials: Sequence[Credential]) -> list[str]:
    """The ids of the credentials that this caller was the one to remove."""
    return [credential.id for credential in credentials if store.remove(credential)]


def in_threads(work: Callable[[], Sequence[T]], number: int) -> list[Sequence[T]]:
    """What ``number`` threads got from ``work``, started at once. An exception is raised here."""
    barrier = Barrier(number)

    def one() -> Sequence[T]:
        barrier.wait(PATIENCE)
        return work()

    with ThreadPoolExecutor(number) as pool:
        return [future.result() for future in [pool.submit(one) for _ in range(number)]]


def exactly_once(parts: Sequence[Sequence[str]], keys: Sequence[str]) -> None:
    """Fails, saying how many, unless each key was won by exactly one caller."""
    winners = Counter(key for part in parts for key in part)
    more = sum(winners[key] > 1 for key in keys)
    none = sum(winners[key] == 0 for key in keys)
    assert not more, f"{more} of {len(keys)} were won by more than one caller"
    assert not none, f"{none} of {len(keys)} were won by no caller"
