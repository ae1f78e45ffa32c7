"""Rotate an app's ``SECRET_KEY`` while something that was made with the older one is in use."""

from __future__ import annotations

from collections.abc import Callable

from ..auth import Auth
from ..pages.router import Router
from ..web import WebResponse
from .fakes import FakeRequest
from .parts import SECRET_KEY, Browser


def rotated_config(times: int = 1) -> dict[str, object]:
    """The app's configuration after ``SECRET_KEY`` was rotated; older keys are its fallbacks."""
    keys = [SECRET_KEY, *(f"{SECRET_KEY}{number}" for number in range(1, times + 1))]
    return {"SECRET_KEY": keys[-1], "SECRET_KEY_FALLBACKS": keys[-2::-1]}


class RotatingBrowser(Browser):
    """A browser of an app that is restarted with a new ``SECRET_KEY`` before each request."""

    def __init__(self, auth: Auth, restart: Callable[[dict[str, object]], Auth]) -> None:
        """``restart`` starts the app with a configuration; the stores are those of ``auth``."""
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
