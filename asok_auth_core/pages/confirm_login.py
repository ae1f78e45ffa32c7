"""Confirm it's you: before a sensitive step, when the login is some time ago."""

from __future__ import annotations

from collections.abc import Iterable

from ..auth import Auth
from ..engine.urls import safe_next
from ..errors import CredentialRejected, LoginRequired, SealError
from ..flows.confirmation import confirm_login, confirming_user
from ..flows.recent_login import is_recent
from ..paths import ACCOUNT_PATH, CONFIRM_AGAIN_PATH, CONFIRM_PATH, login_path
from ..types import SessionRecord
from ..web import Route, WebRequest, WebResponse
from .challenge import Challenge, challenge_again, challenge_page
from .login_page import login_page


class ConfirmPages:
    """Asks for the user's second factor; a user who has none logs in again."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    def routes(self) -> Iterable[Route]:
        """Both paths."""
        return (
            Route(CONFIRM_PATH, get=self.show, post=self.check),
            Route(CONFIRM_AGAIN_PATH, get=_to_page, post=self.again),
        )

    def show(self, request: WebRequest) -> WebResponse:
        user, factors = confirming_user(self._auth, request)
        if is_recent(self._auth, request, user):
            return WebResponse.see_other(_next(request))
        if not factors:
            return login_page(self._auth, request, confirms=True)
        return challenge_page(self._auth, request, self._asked(request))

    def check(self, request: WebRequest) -> WebResponse:
        try:
            confirm_login(self._auth, request, _record(request), request.form.get("factor", ""))
        except (CredentialRejected, SealError) as error:
            if not confirming_user(self._auth, request)[1]:
                return _to_page(request)
            return challenge_page(self._auth, request, self._asked(request), error)
        return WebResponse.see_other(_next(request))

    def again(self, request: WebRequest) -> WebResponse:
        if not confirming_user(self._auth, request)[1]:
            return _to_page(request)
        return challenge_again(self._auth, request, self._asked(request))

    def _asked(self, request: WebRequest) -> Challenge:
        """The challenge of the current user, who has a second factor."""
        user, factors = confirming_user(self._auth, request)
        record = _record(request)
        next_url = _next(request)
        return Challenge(
            user=user,
            factors=factors,
            path=CONFIRM_PATH,
            again_path=CONFIRM_AGAIN_PATH,
            handle=f"{record.id}:{record.confirmed_at}",
            heading=request.translate("Confirm it's you"),
            button=request.translate("Continue"),
            other_way=(login_path(next_url), request.translate("Log in again instead")),
            next_url=next_url,
        )


def _record(request: WebRequest) -> SessionRecord:
    """The session of the current user. Raises LoginRequired without one."""
    if request.session_record is None:
        raise LoginRequired("Please log in first.")
    return request.session_record


def _next(request: WebRequest) -> str:
    return safe_next(request.form.get("next") or request.query.get("next")) or ACCOUNT_PATH


def _to_page(request: WebRequest) -> WebResponse:
    return WebResponse.see_other(CONFIRM_PATH)
