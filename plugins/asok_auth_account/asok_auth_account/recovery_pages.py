"""The pages that stop and complete the recovery of an account."""

from __future__ import annotations

from collections.abc import Iterable

from asok_auth_core.plugin import Auth, Route, WebRequest, WebResponse, render

from .links import action_of, token_of
from .recovery import RECOVER_PATH, STOP_PATH, Recoveries


class RecoveryPages:
    """Routes below ``/auth/account/recover``.

    They need no login: the user has lost it.
    """

    def __init__(self, auth: Auth, recoveries: Recoveries) -> None:
        self._auth = auth
        self._recoveries = recoveries

    def routes(self) -> Iterable[Route]:
        """All routes. GET changes nothing."""
        return (
            Route(RECOVER_PATH, get=self._show, post=self._complete),
            Route(STOP_PATH, get=self._ask_to_stop, post=self._stop),
        )

    def _show(self, request: WebRequest) -> WebResponse:
        return self._page(request, 200)

    def _page(self, request: WebRequest, status: int) -> WebResponse:
        found = self._recoveries.find(token_of(request))
        return render(
            self._auth,
            request,
            "auth/account/recover.html",
            status=status,
            email=found.email,
            due=None if found.due <= self._auth.clock() else found.due,
            action=action_of(request),
        )

    def _complete(self, request: WebRequest) -> WebResponse:
        if not self._recoveries.complete(request, token_of(request)):
            return self._page(request, 403)
        return render(self._auth, request, "auth/account/recovered.html")

    def _ask_to_stop(self, request: WebRequest) -> WebResponse:
        self._recoveries.find_to_stop(token_of(request))
        return render(self._auth, request, "auth/account/recovery_stop.html", action=action_of(request))

    def _stop(self, request: WebRequest) -> WebResponse:
        self._recoveries.stop_by_link(request, token_of(request))
        return render(self._auth, request, "auth/account/recovery_stopped.html")
