"""The pages that belong to no plugin: log in, log out, second factor, account."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..auth import Auth
from ..contracts import LoginMethod, SecondFactor
from ..engine.urls import safe_next
from ..errors import CredentialRejected, LoginRequired
from ..flows.factor_policy import enrolled_factors
from ..flows.login import ENROL_PATH, SECOND_FACTOR_PATH, log_out, pending_login
from ..flows.second_factor import complete_second_factor, enrolling_user
from ..flows.sessions import end_other_sessions
from ..web import Route, WebRequest, WebResponse
from .problems import error_text
from .render import render
from .trusted_devices import devices_block, devices_route


def core_routes(auth: Auth) -> Iterable[Route]:
    """The core's own routes."""

    def login(request: WebRequest) -> WebResponse:
        next_url = safe_next(request.query.get("next"))
        blocks = [
            block
            for method in auth.login_methods.values()
            if (block := method.login_block(request)) is not None
        ]
        return render(auth, request, "auth/login.html", blocks=blocks, next_url=next_url)

    def logout_page(request: WebRequest) -> WebResponse:
        return render(auth, request, "auth/logout.html")

    def logout(request: WebRequest) -> WebResponse:
        return WebResponse.see_other(log_out(auth, request))

    def challenge(request: WebRequest) -> WebResponse:
        return _challenge(auth, request, None)

    def check(request: WebRequest) -> WebResponse:
        name = request.form.get("factor", "")
        try:
            return WebResponse.see_other(complete_second_factor(auth, request, name))
        except CredentialRejected as error:
            return _challenge(auth, request, error)

    def enrol(request: WebRequest) -> WebResponse:
        enrolling_user(auth, request)
        choices = [factor for factor in auth.second_factors.values() if factor.enrol_path is not None]
        return render(auth, request, "auth/enrol.html", factors=choices)

    def account(request: WebRequest) -> WebResponse:
        if request.user is None:
            raise LoginRequired("Please log in first.")
        parts: list[LoginMethod | SecondFactor] = [
            *auth.login_methods.values(),
            *auth.second_factors.values(),
        ]
        blocks = [block for part in parts if (block := part.account_block(request)) is not None]
        if (devices := devices_block(auth, request)) is not None:
            blocks.append(devices)
        return render(
            auth,
            request,
            "auth/account.html",
            blocks=blocks,
            address=auth.users.email_of(request.user),
            devices=request.session.other_sessions(),
        )

    def end_sessions(request: WebRequest) -> WebResponse:
        end_other_sessions(auth, request)
        return WebResponse.see_other("/auth/account")

    def to_account(request: WebRequest) -> WebResponse:
        return WebResponse.see_other("/auth/account")

    return (
        Route("/auth/login", get=login),
        Route("/auth/logout", get=logout_page, post=logout),
        Route(SECOND_FACTOR_PATH, get=challenge, post=check),
        Route(ENROL_PATH, get=enrol),
        devices_route(auth),
        Route("/auth/account", get=account),
        Route("/auth/sessions/end", get=to_account, post=end_sessions),
    )


def _challenge(auth: Auth, request: WebRequest, error: CredentialRejected | None) -> WebResponse:
    _, user = pending_login(auth, request)
    factors = enrolled_factors(auth, user)
    wanted = request.form.get("factor") or request.query.get("factor") or ""
    factor = factors.get(wanted) or next(iter(factors.values()))
    if error is None:
        factor.begin(request, user)
    request.rejected = error is not None
    return render(
        auth,
        request,
        "auth/second_factor.html",
        status=200 if error is None else error.status,
        factor=factor,
        others=[other for other in factors.values() if other is not factor],
        challenge=factor.challenge(request, user),
        trust_days=math.ceil(auth.settings.trusted_device / 86_400),
        error=None if error is None else error_text(request, error),
    )
