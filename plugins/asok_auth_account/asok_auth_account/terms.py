"""Users agree to the app's terms before their account exists: ``TERMS``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import msgspec
from markupsafe import Markup

from asok_auth_core.plugin import (
    JSON,
    Auth,
    CredentialRejected,
    Newcomer,
    SignUpStep,
    User,
    WebRequest,
    change_row,
    current_request,
    digest,
    fragment,
)

from .settings import AccountSettings

AGREEMENT = "account_terms"
"""Kind of credentials: one row per user who agreed."""


class Agreement(msgspec.Struct, frozen=True):
    """What a user agreed to. ``at`` is in seconds since the epoch."""

    terms: str
    version: str
    at: float


class TermsStep(SignUpStep):
    """A checkbox, with a link to the terms."""

    name = "terms"

    def __init__(self, auth: Auth, terms: str, version: str) -> None:
        self._auth = auth
        self._terms = terms
        self._version = version
        self._shown = digest(f"{terms} {version}")
        """Stands in the form, so that an agreement is to what the page showed."""

    def heading(self, request: WebRequest) -> str:
        return request.translate("Terms of {app}", app=self._auth.settings.app_name)

    def fields(self, request: WebRequest, newcomer: Newcomer, problem: str | None = None) -> Markup:
        return fragment(
            self._auth,
            request,
            "auth/account/terms.html",
            terms=self._terms,
            version=self._version,
            shown=self._shown,
            error=problem,
        )

    def check(self, request: WebRequest, newcomer: Newcomer) -> JSON:
        if request.form.get("terms") != self._shown:
            raise CredentialRejected("The terms have changed. Please read them again.")
        if request.form.get("agree") != "yes":
            raise CredentialRejected(
                "To open an account, you must agree to the terms of {app}.", app=self._auth.settings.app_name
            )
        return cast("JSON", msgspec.to_builtins(Agreement(self._terms, self._version, self._auth.clock())))

    def keep(self, user: User, answer: JSON) -> None:
        user_id, agreed = str(user.id), msgspec.convert(answer, Agreement)
        change_row(self._auth.credentials, AGREEMENT, user_id, lambda row: answer, owner=user_id)
        request = current_request(self._auth)
        self._auth.events.emit(
            "account.terms_agreed",
            user=user,
            client_ip=None if request is None else request.client_ip,
            version=agreed.version or None,
        )


def steps(auth: Auth) -> Iterable[SignUpStep]:
    """See ``asok_auth_sign_up_steps``."""
    settings = auth.settings.section(AccountSettings)
    return () if settings.terms is None else (TermsStep(auth, settings.terms, settings.terms_version),)


def agreement(auth: Auth, user_id: str) -> Agreement | None:
    """What the user agreed to, or None."""
    row = auth.credentials.find(AGREEMENT, user_id)
    return None if row is None else msgspec.json.decode(row.data, type=Agreement)
