"""``request.auth.oauth``: the framework's documented calls."""

from __future__ import annotations

from ..flows.oauth import OAuthFlow, email_proof, user_info
from ..flows.oauth_state import invalid_state
from ..paths import provider_callback_path
from ..types import JSON
from ..web import WebRequest


class OAuthApi:
    """The documented calls; state, PKCE, nonce and cookie are handled."""

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
        """The provider's URL to send the browser to, by ``request.redirect``.

        ``client_id`` and ``redirect_uri`` default to the settings and our own callback page;
        ``state`` to a random one. Raises OAuthError.
        """
        provider = self._flow.provider(provider_name, client_id=client_id)
        return self._flow.start(
            request,
            provider,
            redirect_uri=redirect_uri or request.base_url + provider_callback_path(provider.name),
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
        """The user's profile.

        Keys: email, name, picture, provider_id, provider, issuer, email_verified, raw. The state is read from
        the request and must belong to a login this browser started; ``state`` and ``expected_state`` of the
        caller are checked too. Documented pages look users up by ``email``, so an email address that the
        provider has not verified is rejected. A page that looks them up by ``(issuer, provider_id)`` can pass
        ``require_verified_email=False``.

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
            request.keep_proof(email_proof(finished))
        return user_info(finished.identity)
