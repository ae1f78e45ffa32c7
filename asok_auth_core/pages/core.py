"""The core's own pages: login, logout, second factor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

from ..auth import Auth
from ..engine.urls import safe_next
from ..errors import CredentialRejected, SealError
from ..flows.attempts import pending_cookie
from ..flows.login import log_out, pending_login
from ..flows.second_factor import challenge_factors, complete_second_factor, enrolling_user
from ..paths import (
    ACCOUNT_PATH,
    CHALLENGE_AGAIN_PATH,
    ENROL_PATH,
    FRAMEWORK_LOGIN_PATH,
    LOGIN_PATH,
    LOGOUT_PATH,
    PREFIX,
    SECOND_FACTOR_PATH,
    login_path,
)
from ..web import Route, WebRequest, WebResponse
from .challenge import Challenge, challenge_again, challenge_page
from .login_page import login_page
from .render import render
from .stylesheet import Stylesheet


class CorePages:
    """The pages that belong to no plugin: one method for each."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._stylesheet = cast("Stylesheet", auth.templates.globals["stylesheet"])

    def routes(self) -> Iterable[Route]:
        """The paths of all of them. A form's path leads a GET back to its page."""
        return (
            Route(self._stylesheet.path, get=self.stylesheet),
            Route(PREFIX, get=self.start),
            Route(LOGIN_PATH, get=self.login),
            Route(FRAMEWORK_LOGIN_PATH, get=self.to_login),
            Route(LOGOUT_PATH, get=self.logout, post=self.log_out),
            Route(SECOND_FACTOR_PATH, get=self.second_factor, post=self.check_second_factor),
            Route(CHALLENGE_AGAIN_PATH, get=_to_challenge, post=self.challenge_again),
            Route(ENROL_PATH, get=self.enrol),
        )

    def stylesheet(self, request: WebRequest) -> WebResponse:
        """Cached for a year: its path changes with its text."""
        return WebResponse(
            self._stylesheet.text,
            content_type="text/css; charset=utf-8",
            headers=(("Cache-Control", "public, max-age=31536000, immutable"),),
        )

    def start(self, request: WebRequest) -> WebResponse:
        return WebResponse.see_other(LOGIN_PATH if request.user is None else ACCOUNT_PATH)

    def login(self, request: WebRequest) -> WebResponse:
        return login_page(self._auth, request)

    def to_login(self, request: WebRequest) -> WebResponse:
        """An app's own page at this path comes first."""
        return WebResponse.see_other(login_path(safe_next(request.query.get("next"))))

    def logout(self, request: WebRequest) -> WebResponse:
        return render(self._auth, request, "auth/logout.html")

    def log_out(self, request: WebRequest) -> WebResponse:
        return WebResponse.see_other(log_out(self._auth, request))

    def second_factor(self, request: WebRequest) -> WebResponse:
        return challenge_page(self._auth, request, self._asked(request))

    def check_second_factor(self, request: WebRequest) -> WebResponse:
        name = request.form.get("factor", "")
        try:
            return WebResponse.see_other(complete_second_factor(self._auth, request, name))
        except (CredentialRejected, SealError) as error:
            return challenge_page(self._auth, request, self._asked(request), error)

    def challenge_again(self, request: WebRequest) -> WebResponse:
        return challenge_again(self._auth, request, self._asked(request))

    def enrol(self, request: WebRequest) -> WebResponse:
        enrolling_user(self._auth, request)
        factors = [one for one in self._auth.second_factors.values() if one.enrol_path is not None]
        return render(self._auth, request, "auth/enrol.html", factors=factors)

    def _asked(self, request: WebRequest) -> Challenge:
        """The challenge of the pending login."""
        _, user = pending_login(self._auth, request)
        return Challenge(
            user=user,
            factors=challenge_factors(self._auth, user),
            path=SECOND_FACTOR_PATH,
            again_path=CHALLENGE_AGAIN_PATH,
            handle=request.cookies.get(pending_cookie(request), ""),
            heading=request.translate("Two-factor authentication"),
            button=request.translate("Log in"),
            other_way=(LOGIN_PATH, request.translate("Back to login")),
            trust_days=math.ceil(self._auth.settings.trusted_device / 86_400),
        )


def _to_challenge(request: WebRequest) -> WebResponse:
    return WebResponse.see_other(SECOND_FACTOR_PATH)
