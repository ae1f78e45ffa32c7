"""The login method: the API for apps, the login form and the pages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal
from urllib.parse import quote

from markupsafe import Markup

from asok_auth_core.plugin import (
    LOGIN_PATH,
    Auth,
    AuthError,
    CredentialRejected,
    DeliveryState,
    EmailInvalid,
    EmailProofs,
    LoginMethod,
    MailError,
    Newcomer,
    Proof,
    Receipt,
    Route,
    User,
    VerifiedEmail,
    WebRequest,
    WebResponse,
    account_key,
    complete_login,
    error_text,
    fragment,
    is_email_verified,
    log_in_once,
    login_page,
    mark_browser,
    parse_email,
    render,
    safe_next,
)

from .mail import compose
from .settings import MagicLinkSettings

CALLBACK = "/auth/magic/callback"
EMAIL_KEY = "asok_auth.magic.email"
FIRST_ATTEMPT = 2.0
"""Seconds a page waits for the mail server, so that it can report a failure."""


class MagicLinkMethod(LoginMethod):
    """Logs in with a link and a code sent by email."""

    name = "magic"

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._settings = auth.settings.section(MagicLinkSettings)
        self._proofs = EmailProofs(auth, self.name)

    @property
    def api(self) -> MagicLinkMethod:
        return self

    # -- request.auth.magic ----------------------------------------------------------------------

    def create_token(self, request: WebRequest, email: str, expires_in: int | None = None) -> str:
        """Create a single-use token for ``email``. Sends nothing.

        It is valid for ``expires_in`` seconds.

        Raises EmailInvalid, StoreUnavailable.
        """
        email = self._parse(email)
        user = self._auth.users.by_email(email)
        return self._proofs.issue(email, expires_in or self._settings.lifetime, user=user).token

    def verify_token(self, request: WebRequest, token: str | None) -> str | None:
        """Consume a token and return its email address; None if it is not valid."""
        try:
            proved = self._proofs.take_link(token or "")
        except CredentialRejected:
            self._report_rejected(request, "link")
            return None
        request.keep_proof(Proof(self.name, proved.email))
        return proved.email

    def send(
        self,
        request: WebRequest,
        email: str,
        subject: str | None = None,
        template: str | None = None,
        *,
        next_url: str | None = None,
    ) -> str:
        """Send a link and a code to ``email`` and return the link.

        ``template`` names a Jinja2 template that replaces ours for the HTML part. Raises
        EmailInvalid, RateLimited, and MailError if the mail server rejects the email at once.
        """
        link, _ = self._send(request, email, subject, template, next_url)
        return link

    def _send(
        self,
        request: WebRequest,
        email: str,
        subject: str | None = None,
        template: str | None = None,
        next_url: str | None = None,
    ) -> tuple[str, DeliveryState]:
        """Send a link and a code; return the link and the delivery state."""
        email = self._parse(email)
        limit, window = self._settings.sends_per_client, self._settings.window
        self._auth.limits.hit_client("magic-send", request.client_ip, limit=limit, window=window)
        self._auth.limits.hit(
            "magic-send", account_key(email), limit=self._settings.sends_per_email, window=window
        )
        user = self._auth.users.by_email(email)
        # An unknown email address gets the same mail: who may open an account is decided once it is proved.
        issued = self._proofs.issue(email, self._settings.lifetime, safe_next(next_url), user=user)
        link = f"{request.base_url}{CALLBACK}?token={quote(issued.token)}"
        mail = compose(self._auth, request, email, issued, link, self._settings.lifetime, subject, template)
        delivery = self._auth.outbox.post(mail)
        self._auth.events.emit("magic.sent", method=self.name, client_ip=request.client_ip)
        state = delivery.wait(FIRST_ATTEMPT)
        if state == "failed" and delivery.error is not None:
            raise delivery.error
        return link, state

    def _report_rejected(self, request: WebRequest, way: Literal["link", "code"]) -> None:
        self._auth.events.emit("magic.rejected", method=self.name, client_ip=request.client_ip, way=way)

    def _parse(self, email: str) -> str:
        return parse_email(email, allow_localhost=self._auth.settings.app.debug)

    # -- pages -----------------------------------------------------------------------------------

    def can_log_in(self, user: User) -> bool:
        email = self._auth.users.email_of(user)
        return email is not None and is_email_verified(self._auth, user, email)

    def login_block(self, request: WebRequest, problem: AuthError | None = None) -> Markup:
        return fragment(
            self._auth,
            request,
            "auth/magic/form.html",
            next_url=safe_next(request.form.get("next") or request.query.get("next")),
            email=self._known_email(request) if problem is None else request.form.get("email", "")[:254],
            error=None if problem is None else error_text(request, problem),
        )

    def _known_email(self, request: WebRequest) -> str:
        """The email address of a user who is logged in and does so again."""
        return "" if request.user is None else self._auth.users.email_of(request.user) or ""

    def routes(self) -> Iterable[Route]:
        return (
            Route("/auth/magic/send", get=self._form_page, post=self._send_page),
            Route("/auth/magic/code", get=self._code_page, post=self._enter_code),
            Route(CALLBACK, get=self._confirm_page, post=self._confirm),
        )

    def _form_page(self, request: WebRequest) -> WebResponse:
        return WebResponse.see_other(LOGIN_PATH)

    def _send_page(self, request: WebRequest) -> WebResponse:
        email = request.form.get("email", "")
        next_url = safe_next(request.form.get("next"))
        try:
            _, state = self._send(request, email, next_url=next_url)
        except EmailInvalid as error:
            return login_page(self._auth, request, self, error)
        except MailError as error:
            return render(self._auth, request, "auth/magic/undelivered.html", status=503, code=error.code)
        request.session.set(EMAIL_KEY, self._parse(email))
        return WebResponse.see_other("/auth/magic/code" if state == "sent" else "/auth/magic/code?slow=1")

    def _code_page(self, request: WebRequest) -> WebResponse:
        return self._show_code_page(request, None)

    def _show_code_page(self, request: WebRequest, error: AuthError | None) -> WebResponse:
        email = request.form.get("email") or request.session.get(EMAIL_KEY) or ""
        mark_browser(self._auth, request)
        return render(
            self._auth,
            request,
            "auth/magic/code.html",
            status=200 if error is None else error.status,
            email=email,
            sent=request.session.get(EMAIL_KEY) is not None,
            slow="slow" in request.query,
            minutes=max(1, self._settings.lifetime // 60),
            error=None if error is None else error_text(request, error),
            email_rejected=isinstance(error, EmailInvalid),
        )

    def _enter_code(self, request: WebRequest) -> WebResponse:
        limit, window = self._settings.code_attempts_per_client, self._settings.window
        self._auth.limits.hit_client("magic-code", request.client_ip, limit=limit, window=window)
        try:
            email = self._parse(request.form.get("email", ""))
            self._auth.limits.hit(
                "magic-code", account_key(email), limit=self._settings.code_attempts, window=window
            )
            code = request.form.get("code", "")
            location = log_in_once(
                self._auth,
                request,
                f"code:{account_key(email)}:{code}",
                lambda: self._proofs.take_code(email, code),
                lambda proved, receipt: self._log_in(request, proved, receipt),
                self._proofs.give_back,
            )
        except (CredentialRejected, EmailInvalid) as error:
            self._report_rejected(request, "code")
            return self._show_code_page(request, error)
        return WebResponse.see_other(location)

    def _confirm_page(self, request: WebRequest) -> WebResponse:
        """Show the button that consumes the link; mail scanners follow links by GET."""
        token = request.query.get("token", "")
        email = self._proofs.look(token).email
        mark_browser(self._auth, request)
        return render(self._auth, request, "auth/magic/confirm.html", token=token, email=email)

    def _confirm(self, request: WebRequest) -> WebResponse:
        token = request.form.get("token", "")
        try:
            location = log_in_once(
                self._auth,
                request,
                f"link:{token}",
                lambda: self._proofs.take_link(token),
                lambda proved, receipt: self._log_in(request, proved, receipt),
                self._proofs.give_back,
            )
        except CredentialRejected:
            self._report_rejected(request, "link")
            raise
        return WebResponse.see_other(location)

    def _log_in(self, request: WebRequest, proved: VerifiedEmail, receipt: Receipt | None) -> str:
        location = complete_login(
            self._auth,
            request,
            proved.user or Newcomer(account_key(proved.email)),
            Proof(self.name, proved.email),
            next_url=proved.next_url,
            receipt=receipt,
            since=proved.epoch,
        )
        request.session.pop(EMAIL_KEY)
        return location
