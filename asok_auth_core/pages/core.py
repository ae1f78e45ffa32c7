"""The core's own pages: login, logout, second factor, account."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

from markupsafe import Markup

from ..auth import Auth
from ..contracts import LoginMethod, SecondFactor
from ..errors import AuthError, CredentialRejected, RateLimited
from ..flows.challenge import begin_challenge, has_begin
from ..flows.current_user import require_session_login
from ..flows.login import log_out, pending_login
from ..flows.plugin_faults import ask, block
from ..flows.second_factor import challenge_factors, complete_second_factor, enrolling_user
from ..flows.sessions import client_ip_of, end_other_sessions, sessions_of
from ..flows.trusted_devices import forget_devices, trusted_devices
from ..paths import (
    ACCOUNT_PATH,
    CHALLENGE_AGAIN_PATH,
    END_SESSIONS_PATH,
    ENROL_PATH,
    FORGET_BROWSERS_PATH,
    LOGIN_PATH,
    LOGOUT_PATH,
    SECOND_FACTOR_PATH,
)
from ..types import SessionRecord, User
from ..web import Route, WebRequest, WebResponse
from .login_page import login_page
from .problems import error_text
from .render import fragment, render
from .stylesheet import Stylesheet


class CorePages:
    """The pages that belong to no plugin: one method for each."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._stylesheet = cast("Stylesheet", auth.templates.globals["stylesheet"])

    def routes(self) -> Iterable[Route]:
        """The paths of all of them. A form's own path, opened as a link, leads back to its page."""
        return (
            Route(self._stylesheet.path, get=self.stylesheet),
            Route(LOGIN_PATH, get=self.login),
            Route(LOGOUT_PATH, get=self.logout, post=self.log_out),
            Route(SECOND_FACTOR_PATH, get=self.second_factor, post=self.check_second_factor),
            Route(CHALLENGE_AGAIN_PATH, get=_to_challenge, post=self.challenge_again),
            Route(ENROL_PATH, get=self.enrol),
            Route(ACCOUNT_PATH, get=self.account),
            Route(END_SESSIONS_PATH, get=_to_account, post=self.end_sessions),
            Route(FORGET_BROWSERS_PATH, get=_to_account, post=self.forget_browsers),
        )

    def stylesheet(self, request: WebRequest) -> WebResponse:
        """Cached for a year: its path changes with its text."""
        return WebResponse(
            self._stylesheet.text,
            content_type="text/css; charset=utf-8",
            headers=(("Cache-Control", "public, max-age=31536000, immutable"),),
        )

    def login(self, request: WebRequest) -> WebResponse:
        return login_page(self._auth, request)

    def logout(self, request: WebRequest) -> WebResponse:
        return render(self._auth, request, "auth/logout.html")

    def log_out(self, request: WebRequest) -> WebResponse:
        return WebResponse.see_other(log_out(self._auth, request))

    def second_factor(self, request: WebRequest) -> WebResponse:
        return self._challenge(request, None)

    def check_second_factor(self, request: WebRequest) -> WebResponse:
        name = request.form.get("factor", "")
        try:
            return WebResponse.see_other(complete_second_factor(self._auth, request, name))
        except CredentialRejected as error:
            return self._challenge(request, error)

    def challenge_again(self, request: WebRequest) -> WebResponse:
        user, factor, _ = self._challenged(request)
        try:
            begin_challenge(self._auth, request, user, factor, again=True)
        except RateLimited as error:
            return self._challenge(request, error)
        return WebResponse.see_other(f"{SECOND_FACTOR_PATH}?factor={factor.name}&again=1")

    def enrol(self, request: WebRequest) -> WebResponse:
        enrolling_user(self._auth, request)
        factors = [one for one in self._auth.second_factors.values() if one.enrol_path is not None]
        return render(self._auth, request, "auth/enrol.html", factors=factors)

    def account(self, request: WebRequest) -> WebResponse:
        user = require_session_login(request)
        parts: list[LoginMethod | SecondFactor] = [
            *sorted(self._auth.login_methods.values(), key=lambda one: one.order),
            *self._auth.second_factors.values(),
        ]
        found = (block(self._auth, part, part.account_block, request) for part in parts)
        blocks = [one for one in found if one is not None]
        if (browsers := self._trusted_browsers(request, user)) is not None:
            blocks.append(browsers)
        return render(
            self._auth,
            request,
            "auth/account.html",
            blocks=blocks,
            email=self._auth.users.email_of(user),
            sessions=self._sessions(request, user),
        )

    def end_sessions(self, request: WebRequest) -> WebResponse:
        end_other_sessions(self._auth, request)
        return _to_account(request)

    def forget_browsers(self, request: WebRequest) -> WebResponse:
        forget_devices(self._auth, require_session_login(request), client_ip=request.client_ip)
        return _to_account(request)

    def _challenged(self, request: WebRequest) -> tuple[User, SecondFactor, list[SecondFactor]]:
        """The user of the pending login, the chosen factor, and the user's other factors."""
        _, user = pending_login(self._auth, request)
        factors = challenge_factors(self._auth, user)
        wanted = request.form.get("factor") or request.query.get("factor") or ""
        factor = factors.get(wanted) or next(iter(factors.values()))
        return user, factor, [other for other in factors.values() if other is not factor]

    def _challenge(self, request: WebRequest, error: CredentialRejected | RateLimited | None) -> WebResponse:
        user, factor, others = self._challenged(request)
        text = None if error is None else error_text(request, error)
        try:
            if error is None and request.method != "HEAD":
                begin_challenge(self._auth, request, user, factor)
            problem = text if isinstance(error, CredentialRejected) else None
            fields = ask(self._auth, factor, factor.challenge, request, user, problem)
        except RateLimited as limited:
            return self._challenge(request, limited)
        except AuthError as failed:
            if not others:
                raise
            return self._choose_another(request, factor, others, failed)
        return render(
            self._auth,
            request,
            "auth/second_factor.html",
            status=200 if error is None else error.status,
            factor=factor,
            others=others,
            challenge=fields,
            again_path=CHALLENGE_AGAIN_PATH if has_begin(factor) else None,
            done_again="again" in request.query,
            trust_days=math.ceil(self._auth.settings.trusted_device / 86_400),
            error=text,
        )

    def _choose_another(
        self, request: WebRequest, factor: SecondFactor, others: list[SecondFactor], failed: AuthError
    ) -> WebResponse:
        """The page of a factor that failed, with links to the user's other ones."""
        return render(
            self._auth,
            request,
            "auth/second_factor.html",
            status=failed.status,
            factor=factor,
            others=others,
            challenge=None,
            again_path=None,
            done_again=False,
            trust_days=0,
            error=request.translate("This method does not work at the moment. Please use another one."),
        )

    def _sessions(self, request: WebRequest, user: User) -> list[tuple[SessionRecord, str | None]]:
        """The user's other sessions, each with its client IP while that is kept."""
        here = request.session_record
        found = [record for record in sessions_of(self._auth, user) if here is None or record.id != here.id]
        return [(record, client_ip_of(self._auth, record)) for record in found]

    def _trusted_browsers(self, request: WebRequest, user: User) -> Markup | None:
        """The section of the account page, or None if the user trusts no browser."""
        if not self._auth.settings.trusted_device:
            return None
        count = len(trusted_devices(self._auth, user))
        return fragment(self._auth, request, "auth/trusted_devices.html", count=count) if count else None


def _to_challenge(request: WebRequest) -> WebResponse:
    return WebResponse.see_other(SECOND_FACTOR_PATH)


def _to_account(request: WebRequest) -> WebResponse:
    return WebResponse.see_other(ACCOUNT_PATH)
