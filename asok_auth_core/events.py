"""Events, reported to every observer and written to the log.

Created before anything that emits, so that stores, mail and flows can all report what they do.
"""

from __future__ import annotations

import logging
from typing import Protocol

from .types import Clock, Event, User

logger = logging.getLogger("asok_auth")


class Observers(Protocol):
    """Receives every event; the plugin manager is one. Must not raise."""

    def event(self, event: Event) -> None: ...


class Events:
    """Timestamps events and hands them to ``observers``, in the emitting thread."""

    def __init__(self, observers: Observers, clock: Clock) -> None:
        self._observers = observers
        self._clock = clock

    def emit(
        self,
        name: str,
        *,
        user: User | None = None,
        method: str | None = None,
        client_ip: str | None = None,
        **detail: str | int | float | bool | None,
    ) -> None:
        """Report what happened. ``detail`` is logged as it is, so it must hold no secret."""
        user_id = None if user is None or user.id is None else str(user.id)
        event = Event(name, self._clock(), user_id, method, client_ip, detail)
        logger.info("%s user=%s method=%s client_ip=%s %s", name, user_id, method, client_ip, dict(detail))
        self._observers.event(event)
