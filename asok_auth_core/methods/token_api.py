"""``request.auth.token``: create, verify, list and revoke API tokens."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import PermissionDenied, TokenError
from ..flows.api_tokens import ApiToken, ApiTokens
from ..flows.current_user import is_impersonated
from ..web import WebRequest


class TokenApi:
    """The calls that the framework documents, and those that manage a user's tokens."""

    def __init__(self, tokens: ApiTokens) -> None:
        self._tokens = tokens

    @property
    def tokens(self) -> ApiTokens:
        """The same calls without a request, for jobs and commands."""
        return self._tokens

    def create(
        self,
        request: WebRequest,
        user_id: int | str,
        expires_in: int | None = None,
        scopes: Iterable[str] | None = None,
        name: str | None = None,
    ) -> str:
        """Create a token. Anyone who has it can act as the user; show it once.

        ``expires_in`` is in seconds; None makes a permanent token. ``scopes`` are permission patterns;
        None means everything the user may do. In a request that came with a token, the defaults are that
        token's expiry and scopes, and the new one is void when that one is revoked.

        Raises PermissionDenied if such a request asks for more, or for another user's token, and during
        impersonation; ValueError for invalid arguments.
        """
        made_with = request.authentication
        if is_impersonated(request):
            raise PermissionDenied("During impersonation no API tokens can be created.")
        return self._tokens.create(user_id, expires_in, scopes, name, made_with=made_with)[0]

    def verify(self, request: WebRequest, token: str | None) -> str | None:
        """The user id of a valid token, else None. Raises StoreUnavailable.

        Does not check whether that user may log in; ``request.user`` does.
        """
        try:
            return self._tokens.verify(token or "").user_id
        except TokenError:
            return None

    def revoke(self, request: WebRequest, token: str) -> bool:
        """Revoke a token on every worker; False if it was not valid.

        Raises StoreUnavailable.
        """
        try:
            return self._tokens.revoke(token)
        except TokenError:
            return False

    def revoke_all(self, request: WebRequest, user_id: int | str) -> int:
        """Revoke all tokens of a user; returns their number. Raises StoreUnavailable."""
        return self._tokens.revoke_all(user_id)

    def list(self, request: WebRequest, user_id: int | str) -> list[ApiToken]:
        """A user's tokens, oldest first: names, scopes and times, no secrets."""
        return self._tokens.list(user_id)
