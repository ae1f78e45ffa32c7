"""The page of the link in an invitation."""

from __future__ import annotations

from collections.abc import Iterable

from asok_auth_core.plugin import Auth, Route, WebRequest, WebResponse, mark_browser, render

from .invitations import INVITATION_PATH, Invitations
from .links import action_of, token_of


class InvitationPages:
    """Routes below ``/auth/account/invitation``."""

    def __init__(self, auth: Auth, invitations: Invitations) -> None:
        self._auth = auth
        self._invitations = invitations

    def routes(self) -> Iterable[Route]:
        """All routes. GET changes nothing."""
        return (Route(INVITATION_PATH, get=self._show, post=self._accept),)

    def _show(self, request: WebRequest) -> WebResponse:
        invitation = self._invitations.find(token_of(request))
        mark_browser(self._auth, request)
        return render(
            self._auth,
            request,
            "auth/account/invitation.html",
            email=invitation.email,
            action=action_of(request),
        )

    def _accept(self, request: WebRequest) -> WebResponse:
        return WebResponse.see_other(self._invitations.accept(request, token_of(request)))
