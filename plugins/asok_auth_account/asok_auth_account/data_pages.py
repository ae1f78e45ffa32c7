"""The pages on which users take their data with them, leave, and come back."""

from __future__ import annotations

import json
from collections.abc import Iterable

from asok_auth_core.plugin import (
    Auth,
    Route,
    WebRequest,
    WebResponse,
    export_user,
    render,
    require_recent_login,
)

from .deletion import KEEP_PATH, Deletions
from .links import action_of, token_of

DATA_PATH = "/auth/account/data"
DELETE_PATH = "/auth/account/delete"
EXPORTS, WINDOW = 10, 3600
"""Exports of a user in an hour: each reads all that there is."""


class DataPages:
    """Routes below ``/auth/account/``: ``data``, ``delete`` and ``keep``."""

    def __init__(self, auth: Auth, deletions: Deletions, *, deletes: bool) -> None:
        self._auth = auth
        self._deletions = deletions
        self._deletes = deletes

    def routes(self) -> Iterable[Route]:
        """All routes. GET changes nothing."""
        yield Route(DATA_PATH, get=self._show, post=self._export)
        if self._deletes:
            yield Route(DELETE_PATH, get=self._ask_page, post=self._ask)
        yield Route(KEEP_PATH, get=self._keep_page, post=self._keep)

    def _show(self, request: WebRequest) -> WebResponse:
        require_recent_login(self._auth, request)
        return render(self._auth, request, "auth/account/data.html")

    def _export(self, request: WebRequest) -> WebResponse:
        user = require_recent_login(self._auth, request)
        self._auth.limits.hit("account-export", str(user.id), limit=EXPORTS, window=WINDOW)
        found = json.dumps(export_user(self._auth, user), indent=2, ensure_ascii=False)
        self._auth.events.emit("account.exported", user=user, client_ip=request.client_ip)
        headers = (
            ("Content-Disposition", 'attachment; filename="account.json"'),
            ("Cache-Control", "no-store"),
        )
        return WebResponse(found, content_type="application/json", headers=headers)

    def _ask_page(self, request: WebRequest) -> WebResponse:
        require_recent_login(self._auth, request)
        return render(self._auth, request, "auth/account/delete.html", days=self._deletions.days)

    def _ask(self, request: WebRequest) -> WebResponse:
        user = require_recent_login(self._auth, request)
        due = self._deletions.ask(user, request)
        return render(self._auth, request, "auth/account/leaving.html", due=due)

    def _keep_page(self, request: WebRequest) -> WebResponse:
        _, user = self._deletions.find(token_of(request))
        email = self._auth.users.email_of(user)
        return render(self._auth, request, "auth/account/keep.html", email=email, action=action_of(request))

    def _keep(self, request: WebRequest) -> WebResponse:
        self._deletions.keep_by_link(request, token_of(request))
        return render(self._auth, request, "auth/account/kept.html")
