"""Check that the state store works and that all workers share it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..auth import Auth
from ..errors import StoreError
from ..types import Finding

KEY = "doctor:probe"
VALUE = b"probe"


def store(auth: Auth) -> Iterator[Finding]:
    """Report a store that workers do not share, or that fails a write and two takes."""
    name = _without_password(auth.settings.state_store)
    scheme = name.partition(":")[0]
    if scheme == "memory":
        workers = _workers()
        if workers > 1 or not auth.settings.app.debug:
            yield Finding(
                "store",
                "error" if workers > 1 else "warning",
                f'AUTH["STATE_STORE"] is memory:, but {workers or "several"} workers may run: each would '
                "have its own login links, rate limits and revoked tokens.",
                'Use "sqlite:///.asok/auth-state.sqlite3" on one machine, or install asok-auth-redis or '
                "asok-auth-postgres for several.",
            )
    key = f"{KEY}:{auth.random(8).hex()}"
    try:
        auth.state.put(key, VALUE, 60)
        if auth.state.take(key) != VALUE or auth.state.take(key) is not None:
            yield Finding(
                "store",
                "error",
                f"{name} did not return a stored value exactly once.",
                "Do not use this store: links could be used more than once. Run its contract suite.",
            )
        yield from auth.state.check()
    except StoreError as error:
        yield Finding(
            "store",
            "error",
            f"{name} is not available: {error.message}",
            'Make the store reachable and writable for the app, or change AUTH["STATE_STORE"]. '
            "Until then every login is rejected.",
        )


def _workers() -> int:
    """The configured number of worker processes; 0 if unknown."""
    text = os.environ.get("WEB_CONCURRENCY", "")
    return int(text) if text.isdigit() else 0


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    return f"{scheme}{separator}{host}{slash}{path.partition('?')[0]}" if separator else url
