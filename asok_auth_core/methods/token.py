"""Login with API tokens: bearer tokens, the account section, JWKS."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import ClassVar

from markupsafe import Markup

from ..auth import Auth
from ..contracts import AccountGroup, LoginMethod
from ..engine.bearer import bearer_token
from ..errors import AuthError, TokenError
from ..flows.api_tokens import ApiTokens
from ..pages.render import fragment
from ..paths import JWKS_PATH, NEW_TOKEN_PATH, REVOKE_TOKEN_PATH
from ..types import Authentication
from ..web import Route, WebRequest, WebResponse
from .token_api import TokenApi
from .token_pages import TokenPages


class TokenMethod(LoginMethod):
    """``Authorization: Bearer …``."""

    name: ClassVar[str] = "token"
    account_group: ClassVar[AccountGroup] = "tokens"

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self.tokens = ApiTokens(auth)
        self._api = TokenApi(self.tokens)

    @property
    def api(self) -> TokenApi:
        return self._api

    def authenticate(self, request: WebRequest) -> Authentication | None:
        try:
            token = bearer_token(request.headers.get("Authorization"))
            if token is None:
                return None
            verified = self.tokens.verify(token)
            user = self._auth.users.by_id(verified.user_id)
            if user is None or not self._auth.users.is_active(user):
                raise TokenError("The token's user may not log in.", code="token_revoked")
        except AuthError as error:
            self._auth.events.emit(
                "token.rejected", method=self.name, client_ip=request.client_ip, reason=error.code
            )
            raise
        return Authentication(
            user, verified.scopes, ambient=False, expires_at=verified.expires_at, token_id=verified.id
        )

    def routes(self) -> Iterable[Route]:
        return (*TokenPages(self._auth, self.tokens).routes(), Route(JWKS_PATH, get=self._jwks))

    def account_block(self, request: WebRequest) -> Markup | None:
        if request.user is None:
            return None
        tokens = self.tokens.list(str(request.user.id))
        can_create = self._auth.settings.token_page
        if not tokens and not can_create:
            return None
        return fragment(
            self._auth,
            request,
            "auth/tokens.html",
            tokens=tokens,
            revocable=self.tokens.checked,
            revoke_path=REVOKE_TOKEN_PATH,
            new_path=NEW_TOKEN_PATH if can_create else None,
        )

    def _jwks(self, request: WebRequest) -> WebResponse:
        """RFC 7517, section 5. Cached only briefly, so that a new key is known soon."""
        document = json.dumps({"keys": self.tokens.codec.public_jwks()})
        headers = (("Cache-Control", "public, max-age=300"),)
        return WebResponse(document, content_type="application/jwk-set+json", headers=headers)
