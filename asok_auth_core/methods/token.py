"""``request.auth.token``, bearer tokens on every request, their section of the account page, JWKS."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import ClassVar

from markupsafe import Markup

from ..auth import Auth
from ..contracts import LoginMethod
from ..engine.bearer import bearer_token
from ..engine.permissions import compile_grants
from ..errors import AuthError, LoginRequired, PermissionDenied, TokenError, TokenRevoked
from ..flows.api_tokens import ApiToken, ApiTokens, checked_scopes
from ..pages.render import fragment
from ..types import User
from ..web import Route, WebRequest, WebResponse

REVOKE_PATH = "/auth/token/revoke"
JWKS_PATH = "/.well-known/jwks.json"


class TokenMethod(LoginMethod):
    """``Authorization: Bearer …``."""

    name: ClassVar[str] = "token"

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self.tokens = ApiTokens(auth)
        self._api = TokenApi(self.tokens)

    @property
    def api(self) -> TokenApi:
        return self._api

    def authenticate(self, request: WebRequest) -> User | None:
        try:
            token = bearer_token(request.headers.get("Authorization"))
            if token is None:
                return None
            verified = self.tokens.verify(token)
            user = self._auth.users.by_id(verified.user_id)
            if user is None or not self._auth.users.is_active(user):
                raise TokenRevoked("The token's owner may not log in.")
        except AuthError as error:
            self._auth.events.emit(
                "token.refused", method=self.name, client_ip=request.client_ip, reason=error.code
            )
            raise
        request.scopes = verified.scopes
        return user

    def routes(self) -> Iterable[Route]:
        return (Route(REVOKE_PATH, post=self._revoke), Route(JWKS_PATH, get=self._jwks))

    def account_block(self, request: WebRequest) -> Markup | None:
        if request.user is None:
            return None
        tokens = self.tokens.list(str(request.user.id))
        if not tokens:
            return None
        return fragment(
            self._auth,
            request,
            "auth/tokens.html",
            tokens=tokens,
            revocable=self.tokens.checked,
            revoke_path=REVOKE_PATH,
        )

    def _revoke(self, request: WebRequest) -> WebResponse:
        if request.user is None:
            raise LoginRequired(request.translate("Please log in first."))
        if request.scopes is not None:
            raise PermissionDenied("A token with scopes may not revoke tokens.")
        self.tokens.revoke_id(str(request.user.id), request.form.get("token", ""))
        return WebResponse.see_other("/auth/account")

    def _jwks(self, request: WebRequest) -> WebResponse:
        """RFC 7517, section 5. Short-lived in caches, so that a new key is known soon."""
        document = json.dumps({"keys": self.tokens.codec.public_jwks()})
        headers = (("Cache-Control", "public, max-age=300"),)
        return WebResponse(document, content_type="application/jwk-set+json", headers=headers)


class TokenApi:
    """What ``request.auth.token`` gives."""

    def __init__(self, tokens: ApiTokens) -> None:
        self._tokens = tokens

    def create(
        self,
        request: WebRequest,
        user_id: int | str,
        expires_in: int | None = None,
        scopes: Iterable[str] | None = None,
        name: str | None = None,
    ) -> str:
        """A token with which whoever has it acts as the user; show it once.

        ``expires_in`` is in seconds, None makes a permanent token; ``scopes`` are permission
        patterns, None means all that its owner may do. Asked for with a token that has scopes, the
        new one may have no others. Raises PermissionDenied for that, ValueError for wrong arguments.
        """
        _ = request.user  # reads the bearer token, if the page did not ask yet
        if request.scopes is not None:
            scopes = request.scopes if scopes is None else checked_scopes(scopes)
            own = compile_grants(request.scopes, "token scopes")
            if not all(own.allows(scope) for scope in scopes):
                raise PermissionDenied("A token cannot make one that may do more than itself.")
        return self._tokens.create(user_id, expires_in, scopes, name)[0]

    def verify(self, request: WebRequest, token: str | None) -> str | None:
        """The user id of a token that is in force, else None. Raises StoreUnavailable.

        Whether that user may log in is not asked here; ``request.user`` asks that too.
        """
        try:
            return self._tokens.verify(token or "").user_id
        except TokenError:
            return None

    def revoke(self, request: WebRequest, token: str) -> bool:
        """End a token now, on every worker. False if it was not in force. Raises StoreUnavailable."""
        try:
            return self._tokens.revoke(token)
        except TokenError:
            return False

    def revoke_all(self, request: WebRequest, user_id: int | str) -> int:
        """End all tokens of a user; how many there were. Raises StoreUnavailable."""
        return self._tokens.revoke_all(user_id)

    def list(self, request: WebRequest, user_id: int | str) -> list[ApiToken]:
        """A user's tokens, oldest first: what they are for, never the tokens themselves."""
        return self._tokens.list(user_id)
