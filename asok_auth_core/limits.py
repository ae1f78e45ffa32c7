"""Limit attempts, atomically across all workers."""

from __future__ import annotations

from .contracts import StateStore
from .engine.client_ip import client_network
from .engine.keys import digest
from .errors import RateLimited
from .events import Events
from .types import Clock


class Limits:
    """Attempts per subject and fixed window of time, counted in the StateStore.

    An attempt is counted before it is evaluated, so that any number of parallel attempts evaluates
    at most ``limit`` of them (RFC 4226 section 7.3). Successful attempts count too.
    """

    def __init__(self, state: StateStore, events: Events, clock: Clock) -> None:
        self._state = state
        self._events = events
        self._clock = clock

    def hit(self, name: str, subject: str, *, limit: int, window: int) -> None:
        """Count one attempt of ``subject`` at ``name``; ``window`` in seconds.

        Raises RateLimited beyond ``limit`` attempts in this window, StoreUnavailable if it cannot
        be counted.
        """
        now = self._clock()
        key = f"limit:{name}:{digest(subject)}:{int(now // window)}"
        if self._state.incr(key, window) > limit:
            self._events.emit("attempt.limited", what=name)
            wait = max(1, int(window - now % window))
            if wait < 90:
                raise RateLimited("Too many attempts. Try again in {seconds} seconds.", wait, seconds=wait)
            minutes = round(wait / 60)
            raise RateLimited("Too many attempts. Try again in {minutes} minutes.", wait, minutes=minutes)

    def hit_client(self, name: str, client_ip: str, *, limit: int, window: int) -> None:
        """Count one attempt from a client IP; IPv6 addresses are counted by their /64."""
        self.hit(f"{name}:client", client_network(client_ip), limit=limit, window=window)
