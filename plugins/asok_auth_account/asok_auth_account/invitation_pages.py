"""The page of the link in an invitation."""

from __future__ import annotations

from collections.abc import Iterable

from asok_auth_core.plugin import Auth, Route, WebRequest, WebResponse, mark_browser, render

from .invitations import INVITATION_PATH, Invitations


class InvitationPages:
    """Routes below ``/auth/account/invitation``."""

    def __init__(self, auth: Auth, invitations: Invitations) -> None:
        self._auth = auth
        self._invitations = invitations

    def routes(self) -> Iterable[Route]:
        """All routes. GET changes nothing."""
        return (Route(f"{INVITATION_PATH}/{{token}}", get=self._show, post=self._accept),)

    def _show(self, request: WebRequest) -> WebResponse:
        invitation = self._invitations.find(request.params["token"])
        mark_browser(self._auth, request)
        return render(
            self._auth,
            request,
            "auth/account/invitation.html",
            email=invitation.email,
            action=request.path,
        )

    def _accept(self, request: WebRequest) -> WebResponse:
        return WebResponse.see_other(self._invitations.accept(request, request.params["token"]))
