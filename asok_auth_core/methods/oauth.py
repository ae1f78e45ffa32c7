"""``request.auth.oauth``, the pages of every provider, and the linked identities of an account."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, cast

from markupsafe import Markup

from ..auth import Auth
from ..contracts import LoginMethod
from ..engine.message import Send
from ..engine.urls import is_listed, origin, safe_next
from ..errors import OAuthError
from ..flows.linking import account_for, link, linked, unlink
from ..flows.login import complete_login
from ..flows.oauth import Finished, OAuthFlow, user_info
from ..flows.oauth_state import invalid_state
from ..flows.recent_login import require_recent_login
from ..http_client import Transport
from ..oauth_errors import OAuthDenied, OAuthEmailUnverified
from ..pages.problems import error_text
from ..pages.render import fragment, render
from ..providers import OAuth2Provider
from ..types import JSON, Identity, User
from ..web import Handler, Route, WebRequest, WebResponse

ACCOUNT_PATH = "/auth/account"
UNLINK_PATH = "/auth/oauth/unlink"

OnLogin = Callable[[object, dict[str, JSON]], object]


class OAuthMethod(LoginMethod):
    """Logging in at providers: one method for all of them."""

    name: ClassVar[str] = "oauth"

    def __init__(self, auth: Auth, send: Send | None = None) -> None:
        self._auth = auth
        self.flow = OAuthFlow(auth, send or Transport(debug=auth.settings.app.debug))

    @property
    def enabled(self) -> tuple[OAuth2Provider, ...]:
        """The providers that have a client id, in the order their plugins were found."""
        return tuple(provider for provider in self._auth.providers.values() if provider.client_id)

    def routes(self) -> Iterable[Route]:
        for provider in self.enabled:
            yield Route(login_path(provider), get=self._ask(provider), post=self._start(provider))
            yield Route(callback_path(provider), get=self._callback(provider))
            yield Route(f"/auth/{provider.name}/link", post=self._link(provider))
        if self.enabled:
            yield Route(UNLINK_PATH, post=self._unlink)

    def login_block(self, request: WebRequest) -> Markup | None:
        if not self.enabled:
            return None
        return self.buttons(request, safe_next(request.query.get("next")))

    def buttons(self, request: WebRequest, next_url: str | None = None) -> Markup:
        """A button for each provider; each is a form of its own, sent with POST."""
        return fragment(
            self._auth, request, "auth/oauth_buttons.html", providers=self.enabled, next_url=next_url or ""
        )

    def account_block(self, request: WebRequest) -> Markup | None:
        if not self.enabled or request.user is None:
            return None
        identities = linked(self._auth, request.user)
        has = {identity.provider for identity in identities}
        return fragment(
            self._auth,
            request,
            "auth/oauth_account.html",
            identities=identities,
            others=[provider for provider in self.enabled if provider.name not in has],
        )

    @property
    def api(self) -> OAuthApi:
        return OAuthApi(self.flow)

    @property
    def origins(self) -> list[str]:
        """Where a form of ours may end up: what the CSP's ``form-action`` must allow."""
        addresses = (
            self.flow.authorization_endpoint(provider) or provider.issuer
            for provider in self._auth.providers.values()
        )
        return sorted({origin(address) for address in addresses})

    def allows_redirect(self, url: str) -> bool:
        """True if ``url`` is a registered provider's authorization endpoint, with any query."""
        endpoints = (self.flow.authorization_endpoint(one) for one in self._auth.providers.values())
        return is_listed(url, [endpoint for endpoint in endpoints if endpoint])

    # -- pages -------------------------------------------------------------------------------------

    def _ask(self, provider: OAuth2Provider) -> Handler:
        """A link to the login page of a provider shows a button: a GET begins nothing."""

        def get(request: WebRequest) -> WebResponse:
            next_url = safe_next(request.query.get("next")) or ""
            return render(self._auth, request, "auth/oauth_start.html", provider=provider, next_url=next_url)

        return get

    def _start(self, provider: OAuth2Provider) -> Handler:
        def post(request: WebRequest) -> WebResponse:
            url = self.flow.begin(
                request,
                provider,
                redirect_uri=request.base_url + callback_path(provider),
                next_url=safe_next(request.form.get("next")),
            )
            return self._leave(request, provider, url)

        return post

    def _link(self, provider: OAuth2Provider) -> Handler:
        def post(request: WebRequest) -> WebResponse:
            user = require_recent_login(self._auth, request)
            url = self.flow.begin(
                request, provider, redirect_uri=request.base_url + callback_path(provider), link=user
            )
            return self._leave(request, provider, url)

        return post

    def _leave(self, request: WebRequest, provider: OAuth2Provider, url: str) -> WebResponse:
        """On to the provider.

        Browsers apply ``form-action`` to the redirect after a form too. The origin they were told of
        at start-up is the issuer's, unless the endpoint was known; from a page of ours a browser may
        go anywhere, so that is what another origin gets.
        """
        if origin(url) == origin(provider.authorization_endpoint or provider.issuer):
            return WebResponse.see_other(url)
        return render(self._auth, request, "auth/oauth_leave.html", provider=provider, url=url)

    def _callback(self, provider: OAuth2Provider) -> Handler:
        def get(request: WebRequest) -> WebResponse:
            if request.method == "HEAD":
                return WebResponse()
            try:
                finished = self.flow.finish(request, provider)
            except OAuthDenied as error:
                return self._denied(request, error)
            if finished.link_user_id is not None:
                return self._finish_link(request, finished, finished.link_user_id)
            if self._auth.settings.on_login is not None:
                return self._hand_over(request, finished)
            user = self._account(request, finished.identity)
            location = complete_login(
                self._auth,
                request,
                user,
                method=provider.name,
                identity=finished.identity,
                next_url=finished.next_url,
            )
            return WebResponse.see_other(location)

        return get

    def _account(self, request: WebRequest, identity: Identity) -> User:
        """The identity's account; that there is none for it is an event, as every failed login is."""
        try:
            return account_for(self._auth, identity)
        except OAuthError as error:
            self._auth.emit(
                "login.failed", method=identity.provider, client_ip=request.client_ip, error=error.code
            )
            raise

    def _denied(self, request: WebRequest, error: OAuthDenied) -> WebResponse:
        """The person's own choice is not a failure, and its page does not look like one."""
        return render(
            self._auth,
            request,
            "auth/oauth_denied.html",
            status=error.status,
            message=error_text(request, error),
            code=error.code,
        )

    def _finish_link(self, request: WebRequest, finished: Finished, user_id: str) -> WebResponse:
        user = request.user
        if user is None or str(user.id) != user_id:
            raise invalid_state()
        link(self._auth, user, finished.identity)
        return WebResponse.see_other(ACCOUNT_PATH)

    def _hand_over(self, request: WebRequest, finished: Finished) -> WebResponse:
        """To the app's own function, as asok-auth-providers did."""
        prove(request, finished.identity)
        request.wanted_url = finished.next_url
        on_login = cast("OnLogin", self._auth.settings.on_login)
        on_login(request.native, user_info(finished.identity))
        return WebResponse.see_other(finished.next_url or self._auth.settings.login_redirect)

    def _unlink(self, request: WebRequest) -> WebResponse:
        user: User = require_recent_login(self._auth, request)
        unlink(self._auth, user, request.form.get("identity", ""))
        return WebResponse.see_other(ACCOUNT_PATH)


class OAuthApi:
    """The framework's documented calls. State, PKCE, nonce and the browser's part are kept for them."""

    def __init__(self, flow: OAuthFlow) -> None:
        self._flow = flow

    def get_auth_url(
        self,
        request: WebRequest,
        provider_name: str,
        client_id: str | None = None,
        redirect_uri: str | None = None,
        state: str | None = None,
    ) -> str:
        """Where to send the browser; give it to ``request.redirect``.

        ``client_id`` and ``redirect_uri`` default to the settings and our own callback page;
        ``state`` to a random one. Raises OAuthError.
        """
        provider = self._flow.provider(provider_name, client_id=client_id)
        return self._flow.begin(
            request,
            provider,
            redirect_uri=redirect_uri or request.base_url + callback_path(provider),
            state=state,
        )

    def callback(
        self,
        request: WebRequest,
        provider_name: str,
        client_id: str | None = None,
        client_secret: str | None = None,
        code: str | None = None,
        redirect_uri: str | None = None,
        state: str | None = None,
        expected_state: str | None = None,
        *,
        require_verified_email: bool = True,
    ) -> dict[str, JSON]:
        """Who came back: email, name, picture, provider_id, provider, issuer, email_verified, raw.

        The state is found in the request and checked against the flow this browser began; the
        caller's own ``state`` and ``expected_state`` are checked too. As documented pages look
        accounts up by ``email``, an address the provider did not verify is refused; a page that
        keys its accounts by ``(issuer, provider_id)`` says ``require_verified_email=False``.

        Raises OAuthError, StoreUnavailable.
        """
        provider = self._flow.provider(provider_name, client_id=client_id, client_secret=client_secret)
        finished = self._flow.finish(
            request,
            provider,
            redirect_uri=redirect_uri,
            state=state,
            expected_state=expected_state,
            code=code,
        )
        if finished.link_user_id is not None:
            raise invalid_state()
        if require_verified_email or finished.identity.email_verified:
            prove(request, finished.identity)
        return user_info(finished.identity)


def prove(request: WebRequest, identity: Identity) -> None:
    """Record that this request proved the identity's address. Raises OAuthEmailUnverified."""
    if not identity.email or not identity.email_verified:
        raise OAuthEmailUnverified(
            "The provider did not give us an email address that it has verified. Verify it there, or "
            "log in another way."
        )
    request.verified_email, request.verified_by = identity.email, identity.provider


def login_path(provider: OAuth2Provider) -> str:
    """Where a login at ``provider`` begins."""
    return f"/auth/{provider.name}/login"


def callback_path(provider: OAuth2Provider) -> str:
    """Where ``provider`` sends people back to; the redirect URI to register there ends in it."""
    return f"/auth/{provider.name}/callback"
