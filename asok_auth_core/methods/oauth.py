"""Login with OAuth and OpenID providers: one method for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from markupsafe import Markup

from ..auth import Auth
from ..contracts import LoginMethod
from ..engine.message import Send
from ..engine.urls import is_listed, origin, safe_next
from ..errors import AuthError
from ..flows.last_method import last_method
from ..flows.linking import has_linked_login, linked, unlink
from ..flows.oauth import OAuthFlow
from ..flows.recent_login import require_recent_login
from ..http_client import Transport
from ..pages.confirmation import confirmation
from ..pages.messages import leave_message, to_account
from ..pages.render import fragment
from ..paths import UNLINK_PATH
from ..providers import OAuth2Provider
from ..types import User
from ..web import Route, WebRequest, WebResponse
from .oauth_api import OAuthApi
from .oauth_email import EmailPages
from .oauth_pages import ProviderPages


class OAuthMethod(LoginMethod):
    """The providers' buttons, pages and calls, and the linked logins of an account."""

    name: ClassVar[str] = "oauth"
    order: ClassVar[int] = 50

    def __init__(self, auth: Auth, send: Send | None = None) -> None:
        self._auth = auth
        self.flow = OAuthFlow(auth, send or Transport(debug=auth.settings.app.debug, clock=auth.clock))

    @property
    def enabled(self) -> tuple[OAuth2Provider, ...]:
        """The providers that have a client id, in the order their plugins were found."""
        return tuple(provider for provider in self._auth.providers.values() if provider.client_id)

    def can_log_in(self, user: User) -> bool:
        return has_linked_login(self._auth, user)

    def routes(self) -> Iterable[Route]:
        for provider in self.enabled:
            yield from ProviderPages(self._auth, self.flow, provider).routes()
        if self.enabled:
            yield Route(UNLINK_PATH, get=to_account, post=self._unlink)
            yield from EmailPages(self._auth).routes()

    def login_block(self, request: WebRequest, problem: AuthError | None = None) -> Markup | None:
        if not self.enabled:
            return None
        return self.buttons(request, safe_next(request.query.get("next")))

    def buttons(self, request: WebRequest, next_url: str | None = None) -> Markup:
        """A button for each provider, each in its own POST form."""
        return fragment(
            self._auth,
            request,
            "auth/oauth_buttons.html",
            providers=self.enabled,
            next_url=next_url or "",
            last=last_method(self._auth, request),
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

    def form_action_origins(self) -> Sequence[str]:
        if not self.enabled:
            return ()
        addresses = (
            self.flow.authorization_endpoint(provider) or provider.issuer
            for provider in self._auth.providers.values()
        )
        return sorted({origin(address) for address in addresses})

    def allows_redirect(self, url: str) -> bool:
        """See LoginMethod: a provider's authorization endpoint, with any query."""
        endpoints = (self.flow.authorization_endpoint(one) for one in self._auth.providers.values())
        return is_listed(url, [endpoint for endpoint in endpoints if endpoint])

    def _unlink(self, request: WebRequest) -> WebResponse:
        user = require_recent_login(self._auth, request)
        name = request.form.get("identity", "")
        identity = next((one for one in linked(self._auth, user) if one.id == name), None)
        if identity is None:
            return to_account(request)
        label = identity.label
        question = confirmation(
            self._auth,
            request,
            request.translate("Unlink {provider}?", provider=label),
            request.translate("You will no longer be able to log in with {provider}.", provider=label),
            request.translate("Unlink {provider}", provider=label),
            fields={"identity": name},
        )
        if question is not None:
            return question
        unlink(self._auth, user, name)
        leave_message(self._auth, request, request.translate("{provider} was unlinked.", provider=label))
        return to_account(request)
