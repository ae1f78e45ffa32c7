"""A proof that could not be checked is not a missing login."""

from __future__ import annotations

import pytest

from asok_auth_core.errors import AuthError, SignerUnavailable, StoreUnavailable, TokenError
from asok_auth_core.flows.current_user import require_login, require_session_login
from asok_auth_core.testing.fakes import FakeRequest
from asok_auth_core.testing.raises import raises_code


@pytest.mark.parametrize(
    ("rejected", "code"),
    [
        (SignerUnavailable("The signer is down."), "signer_unavailable"),
        (StoreUnavailable("The store is down."), "store_unavailable"),
        (TokenError("The token has been revoked.", code="token_revoked"), "login_required"),
        (None, "login_required"),
    ],
)
def test_only_an_outage_is_told_from_a_missing_login(rejected: AuthError | None, code: str) -> None:
    request = FakeRequest("/api/things")
    request.rejected_proof = rejected
    for require in (require_login, require_session_login):
        with raises_code(code):
            require(request)
