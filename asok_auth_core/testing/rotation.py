"""Rotate ``SECRET_KEY`` while something made with the older one is in use."""

from __future__ import annotations

from collections.abc import Callable

from ..auth import Auth
from ..pages.router import Router
from ..web import WebResponse
from .fakes import FakeRequest
from .parts import SECRET_KEY, Browser

ROTATIONS = 30
KEYS = (SECRET_KEY, *(f"{SECRET_KEY}{number}" for number in range(1, ROTATIONS + 1)))


def rotated_config(times: int = 1) -> dict[str, object]:
    """The configuration after a rotation; older keys are the fallbacks."""
    newest = min(times, ROTATIONS)
    return {"SECRET_KEY": KEYS[newest], "SECRET_KEY_FALLBACKS": KEYS[:newest][::-1]}


def prepared_config() -> dict[str, object]:
    """The configuration of a worker that still writes with the oldest key.

    It accepts all newer ones.
    """
    return {"SECRET_KEY": KEYS[0], "SECRET_KEY_FALLBACKS": KEYS[1:]}


class RotatingBrowser(Browser):
    """A browser of an app that gets a new ``SECRET_KEY`` before each request."""

    def __init__(self, auth: Auth, restart: Callable[[dict[str, object]], Auth]) -> None:
        """``restart`` starts the app with a configuration and the stores of ``auth``."""
        super().__init__(auth)
        self._restart = restart
        self._times = 0

    def _send(self, request: FakeRequest) -> WebResponse:
        self._times += 1
        self._auth = self._restart(rotated_config(self._times))
        self._router = Router(self._auth)
        answer = super()._send(request)
        self._auth.outbox.flush(60)
        return answer
