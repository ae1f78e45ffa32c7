"""The steps that newcomers take before their account exists, one page for each."""

from __future__ import annotations

from collections.abc import Iterable

from ..auth import Auth
from ..errors import CredentialRejected
from ..flows.login import answer_step
from ..flows.plugin_faults import ask, markup
from ..flows.sign_up import step_to_take
from ..paths import SIGN_UP_PATH
from ..web import Route, WebRequest, WebResponse
from .problems import error_text
from .render import render


class SignUpPages:
    """Shows the step to take, and checks its form."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    def routes(self) -> Iterable[Route]:
        """The one path. GET changes nothing."""
        return (Route(SIGN_UP_PATH, get=self.show, post=self.take),)

    def show(self, request: WebRequest) -> WebResponse:
        return self._page(request, None)

    def take(self, request: WebRequest) -> WebResponse:
        newcomer, step = step_to_take(self._auth, request)
        if request.form.get("step") != step.name:
            # The form of another step, from a page that was left open.
            return WebResponse.see_other(SIGN_UP_PATH)
        try:
            answer = ask(self._auth, step, step.check, request, newcomer)
        except CredentialRejected as error:
            return self._page(request, error)
        return WebResponse.see_other(answer_step(self._auth, request, step.name, answer))

    def _page(self, request: WebRequest, error: CredentialRejected | None) -> WebResponse:
        newcomer, step = step_to_take(self._auth, request)
        problem = None if error is None else error_text(request, error)
        return render(
            self._auth,
            request,
            "auth/sign_up.html",
            status=200 if error is None else error.status,
            email=newcomer.email,
            step=step.name,
            heading=ask(self._auth, step, step.heading, request),
            fields=markup(self._auth, step, step.fields, request, newcomer, problem),
        )
