"""The pages to set up, confirm and disable an app."""

from __future__ import annotations

from collections.abc import Iterable

from asok_auth_core.plugin import (
    ACCOUNT_PATH,
    Auth,
    CredentialRejected,
    Route,
    WebRequest,
    WebResponse,
    enrolling_user,
    error_text,
    render,
    show_recovery_codes,
    waiting_login,
)

from .api import TotpApi

MANAGE_PATH = "/auth/totp"
ENROL_PATH = "/auth/totp/enrol"
CONFIRM_PATH = "/auth/totp/confirm"
DISABLE_PATH = "/auth/totp/disable"


class TotpPages:
    """Routes below ``/auth/totp``."""

    def __init__(self, auth: Auth, api: TotpApi) -> None:
        self._auth = auth
        self._api = api

    def routes(self) -> Iterable[Route]:
        """All routes.

        A GET of a form's URL redirects to the first page and changes nothing.
        """
        return (
            Route(MANAGE_PATH, get=self._manage),
            Route(ENROL_PATH, get=_to_start, post=self._enrol),
            Route(CONFIRM_PATH, get=_to_start, post=self._confirm),
            Route(DISABLE_PATH, get=_to_start, post=self._disable),
        )

    def _manage(self, request: WebRequest) -> WebResponse:
        enrolling_user(self._auth, request)
        # Another user may be logged in while a login waits for its second factor.
        waits = waiting_login(self._auth, request) is not None
        status = None if waits else self._api.status(request)
        return render(self._auth, request, "auth/totp/manage.html", standing=status)

    def _enrol(self, request: WebRequest) -> WebResponse:
        enrolment = self._api.enroll(request)
        return render(self._auth, request, "auth/totp/enrol.html", enrolment=enrolment, error=None)

    def _confirm(self, request: WebRequest) -> WebResponse:
        try:
            codes, location = self._api.confirm_and_continue(request, request.form.get("code", ""))
        except CredentialRejected as error:
            return render(
                self._auth,
                request,
                "auth/totp/enrol.html",
                status=error.status,
                enrolment=self._api.waiting_enrolment(request),
                error=error_text(request, error),
            )
        return show_recovery_codes(self._auth, request, codes, location)

    def _disable(self, request: WebRequest) -> WebResponse:
        self._api.disable(request)
        return WebResponse.see_other(ACCOUNT_PATH)


def _to_start(request: WebRequest) -> WebResponse:
    return WebResponse.see_other(MANAGE_PATH)
