"""Pages that verify a provider login's email address by a mailed code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..auth import Auth
from ..engine.email_address import account_key, parse_email
from ..errors import AuthError, CredentialRejected, EmailInvalid
from ..flows.email_proofs import EmailProofs
from ..flows.linking import account_for
from ..flows.login import complete_login
from ..flows.waiting_identity import note_email, take_identity, waiting_identity
from ..pages.problems import error_text
from ..pages.render import fragment, render
from ..paths import PROVIDER_CODE_PATH, PROVIDER_EMAIL_PATH
from ..types import OutgoingMail
from ..web import Route, WebRequest, WebResponse

LIFETIME = 1800
"""Seconds for which a code can be entered."""
SENDS_PER_EMAIL = 5
SENDS_PER_CLIENT = 30
CODE_ATTEMPTS = 10
CODE_ATTEMPTS_PER_CLIENT = 50
WINDOW = 900


class EmailPages:
    """Verify an email address before the account of a provider login exists."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._proofs = EmailProofs(auth, "provider-email")

    def routes(self) -> Iterable[Route]:
        """Both pages."""
        return (
            Route(PROVIDER_EMAIL_PATH, get=self._ask, post=self._send),
            Route(PROVIDER_CODE_PATH, get=self._ask_code, post=self._check),
        )

    def _ask(self, request: WebRequest, error: AuthError | None = None) -> WebResponse:
        identity = waiting_identity(self._auth, request).identity
        return self._page(
            request,
            "auth/oauth_email.html",
            error,
            provider=self._label(identity.provider),
            email=request.form.get("email", "")[:254] or identity.email or "",
        )

    def _send(self, request: WebRequest) -> WebResponse:
        waiting = waiting_identity(self._auth, request)
        limits, debug = self._auth.limits, self._auth.settings.app.debug
        limits.hit_client("provider-email", request.client_ip, limit=SENDS_PER_CLIENT, window=WINDOW)
        try:
            email = parse_email(request.form.get("email", ""), allow_localhost=debug)
        except EmailInvalid as error:
            return self._ask(request, error)
        limits.hit("provider-email", account_key(email), limit=SENDS_PER_EMAIL, window=WINDOW)
        # The same work, and the same mail, whether or not an account has this email address.
        user = self._auth.users.by_email(email)
        code = self._proofs.issue(email, LIFETIME, user=user).code
        note_email(self._auth, request, waiting, email)
        self._auth.outbox.post(self._mail(request, email, code, self._label(waiting.identity.provider)))
        return WebResponse.see_other(PROVIDER_CODE_PATH)

    def _ask_code(self, request: WebRequest, error: AuthError | None = None) -> WebResponse:
        email = waiting_identity(self._auth, request).sent_to
        if email is None:
            return WebResponse.see_other(PROVIDER_EMAIL_PATH)
        return self._page(request, "auth/oauth_code.html", error, email=email, minutes=LIFETIME // 60)

    def _check(self, request: WebRequest) -> WebResponse:
        email = waiting_identity(self._auth, request).sent_to
        if email is None:
            return WebResponse.see_other(PROVIDER_EMAIL_PATH)
        limits = self._auth.limits
        limits.hit_client("provider-code", request.client_ip, limit=CODE_ATTEMPTS_PER_CLIENT, window=WINDOW)
        limits.hit("provider-code", account_key(email), limit=CODE_ATTEMPTS, window=WINDOW)
        try:
            self._proofs.take_code(email, request.form.get("code", ""))
        except CredentialRejected:
            wrong = CredentialRejected("The code is incorrect. Check it and try again.")
            return self._ask_code(request, wrong)
        waiting = take_identity(self._auth, request)
        proof = waiting.proof(account_key(email))
        # The code opens a new account, never an existing one: whether a mailbox is enough for that is up to
        # the app's login methods.
        user = account_for(self._auth, replace(proof, trusted=False))
        location = complete_login(self._auth, request, user, proof, next_url=waiting.next_url)
        return WebResponse.see_other(location)

    def _page(
        self, request: WebRequest, template: str, error: AuthError | None, **context: object
    ) -> WebResponse:
        text = None if error is None else error_text(request, error)
        status = 200 if error is None else error.status
        return render(self._auth, request, template, status=status, error=text, **context)

    def _mail(self, request: WebRequest, email: str, code: str, provider: str) -> OutgoingMail:
        shown = f"{code[:4]}-{code[4:]}"
        context = {"code": shown, "minutes": LIFETIME // 60, "provider": provider}
        return OutgoingMail(
            to=email,
            subject=request.translate("Your code for {app}", app=self._auth.settings.app_name),
            text=str(fragment(self._auth, request, "auth/oauth_email.txt", **context)),
        )

    def _label(self, provider: str) -> str:
        known = self._auth.providers.get(provider)
        return provider if known is None else known.label
