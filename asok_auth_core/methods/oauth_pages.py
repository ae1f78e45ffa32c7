"""The pages of one provider: start a login, link an account, return."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from ..auth import Auth
from ..engine.urls import origin, safe_next
from ..errors import OAuthDenied, OAuthError
from ..flows.current_user import require_session_login
from ..flows.linking import account_for, is_linked, link
from ..flows.login import complete_login
from ..flows.oauth import Finished, OAuthFlow, email_proof, proof_of, user_info
from ..flows.oauth_state import invalid_state, keep_posted, take_posted
from ..flows.recent_login import require_recent_login
from ..flows.waiting_identity import keep_identity
from ..pages.problems import error_text
from ..pages.render import render
from ..paths import (
    ACCOUNT_PATH,
    PROVIDER_EMAIL_PATH,
    provider_callback_path,
    provider_link_path,
    provider_login_path,
)
from ..providers import OAuth2Provider
from ..types import JSON, Newcomer, Proof, User
from ..web import Route, WebRequest, WebResponse

OnLogin = Callable[[object, dict[str, JSON]], object]


class ProviderPages:
    """Log in with a provider, link it, and return from it."""

    def __init__(self, auth: Auth, flow: OAuthFlow, provider: OAuth2Provider) -> None:
        self._auth = auth
        self._flow = flow
        self._provider = provider

    def routes(self) -> Iterable[Route]:
        """The paths of all three."""
        name = self._provider.name
        return (
            Route(provider_login_path(name), get=self.ask, post=self.login),
            Route(provider_link_path(name), post=self.link),
            self._callback_route(provider_callback_path(name)),
        )

    def _callback_route(self, path: str) -> Route:
        if self._provider.response_mode == "form_post":
            # A POST from the provider's site carries no cookie of ours, so no login can be found with it.
            return Route(path, get=self.callback, post=self.pass_on, csrf=False)
        return Route(path, get=self.callback)

    def ask(self, request: WebRequest) -> WebResponse:
        """A page with a button: a GET starts nothing, so no link can start a login."""
        next_url = safe_next(request.query.get("next")) or ""
        return self._render(request, "auth/oauth_start.html", next_url=next_url)

    def login(self, request: WebRequest) -> WebResponse:
        return self._start(request, next_url=safe_next(request.form.get("next")))

    def link(self, request: WebRequest) -> WebResponse:
        return self._start(request, link=require_recent_login(self._auth, request))

    def callback(self, request: WebRequest) -> WebResponse:
        if request.method == "HEAD":
            return WebResponse()
        answer = None
        if self._provider.response_mode == "form_post":
            answer = take_posted(self._auth, request.query.get("answer"))
        try:
            finished = self._flow.finish(request, self._provider, answer=answer)
        except OAuthDenied as error:
            return self._denied(request, error)
        if finished.link_user_id is not None:
            return self._finish_link(request, finished, finished.link_user_id)
        if self._auth.settings.on_login is not None:
            return self._hand_over(request, finished)
        proof = proof_of(finished)
        can_verify = proof.email is None and self._auth.outbox.can_send
        if can_verify and not is_linked(self._auth, finished.identity):
            keep_identity(self._auth, request, finished)
            return WebResponse.see_other(PROVIDER_EMAIL_PATH)
        user = self._account(request, proof)
        location = complete_login(self._auth, request, user, proof, next_url=finished.next_url)
        return WebResponse.see_other(location)

    def pass_on(self, request: WebRequest) -> WebResponse:
        """Keep a posted answer for a minute; send the browser here with its cookies.

        Nothing is checked or used up before that (OAuth 2.0 Form Post Response Mode, section 2).
        """
        handle = keep_posted(self._auth, request)
        path = provider_callback_path(self._provider.name)
        return WebResponse.see_other(f"{path}?answer={handle}")

    def _start(
        self, request: WebRequest, *, next_url: str | None = None, link: User | None = None
    ) -> WebResponse:
        redirect_uri = request.base_url + provider_callback_path(self._provider.name)
        url = self._flow.start(
            request, self._provider, redirect_uri=redirect_uri, next_url=next_url, link=link
        )
        # Browsers apply form-action to the redirect after a form too. It lists the endpoint's origin, or the
        # issuer's if the endpoint was not known at startup. Any other origin needs a page with a link.
        if origin(url) == origin(self._provider.authorization_endpoint or self._provider.issuer):
            return WebResponse.see_other(url)
        return self._render(request, "auth/oauth_leave.html", url=url)

    def _account(self, request: WebRequest, proof: Proof) -> User | Newcomer:
        try:
            return account_for(self._auth, proof)
        except OAuthError as error:
            self._auth.events.emit(
                "login.failed", method=proof.method, client_ip=request.client_ip, error=error.code
            )
            raise

    def _denied(self, request: WebRequest, error: OAuthDenied) -> WebResponse:
        """Show a page of its own, because canceling is not an error."""
        return self._render(
            request,
            "auth/oauth_denied.html",
            status=error.status,
            message=error_text(request, error),
            code=error.code,
        )

    def _finish_link(self, request: WebRequest, finished: Finished, user_id: str) -> WebResponse:
        if request.user is None or str(request.user.id) != user_id:
            raise invalid_state()
        user = require_session_login(request)
        link(self._auth, user, finished.identity)
        return WebResponse.see_other(ACCOUNT_PATH)

    def _hand_over(self, request: WebRequest, finished: Finished) -> WebResponse:
        """Call the app's ``AUTH["ON_LOGIN"]``, as asok-auth-providers did."""
        request.keep_proof(email_proof(finished), finished.next_url)
        on_login = cast("OnLogin", self._auth.settings.on_login)
        on_login(request.native, user_info(finished.identity))
        return WebResponse.see_other(finished.next_url or self._auth.settings.login_redirect)

    def _render(
        self, request: WebRequest, template: str, *, status: int = 200, **context: object
    ) -> WebResponse:
        return render(self._auth, request, template, status=status, provider=self._provider, **context)
