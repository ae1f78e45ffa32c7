"""The pages to change an email address and to undo that."""

from __future__ import annotations

from collections.abc import Iterable

from asok_auth_core.plugin import (
    AccountExists,
    Auth,
    AuthError,
    CredentialRejected,
    EmailInvalid,
    Route,
    WebRequest,
    WebResponse,
    error_text,
    leave_message,
    render,
    require_recent_login,
    to_account,
)

from .emails import CODE_PATH, CONFIRM_PATH, EMAIL_PATH, UNDO_PATH, EmailChanges
from .links import action_of, token_of

FIRST_ATTEMPT = 2.0
"""Seconds a page waits for the mail server, so that it can report a failure."""


class EmailPages:
    """Routes below ``/auth/account/email``."""

    def __init__(self, auth: Auth, changes: EmailChanges) -> None:
        self._auth = auth
        self._changes = changes

    def routes(self) -> Iterable[Route]:
        """All routes. GET changes nothing."""
        return (
            Route(EMAIL_PATH, get=self._form, post=self._ask),
            Route(CODE_PATH, get=self._code_page, post=self._enter_code),
            Route(CONFIRM_PATH, get=self._confirm_page, post=self._confirm),
            *self.undo_routes(),
        )

    def undo_routes(self) -> Iterable[Route]:
        """The page of the link that was mailed to a former address; it needs no login."""
        return (Route(UNDO_PATH, get=self._undo_page, post=self._undo),)

    def _form(self, request: WebRequest) -> WebResponse:
        return self._show_form(request, None)

    def _show_form(self, request: WebRequest, error: AuthError | None) -> WebResponse:
        user = require_recent_login(self._auth, request)
        return render(
            self._auth,
            request,
            "auth/account/email_form.html",
            status=200 if error is None else error.status,
            current=self._auth.users.email_of(user),
            email=request.form.get("email", "")[:254],
            waits=self._changes.waiting(user) is not None,
            error=None if error is None else error_text(request, error),
        )

    def _ask(self, request: WebRequest) -> WebResponse:
        user = require_recent_login(self._auth, request)
        try:
            _, delivery = self._changes.ask(request, user, request.form.get("email", ""))
        except EmailInvalid as error:
            return self._show_form(request, error)
        if delivery.wait(FIRST_ATTEMPT) == "failed" and delivery.error is not None:
            raise delivery.error
        return WebResponse.see_other(CODE_PATH)

    def _code_page(self, request: WebRequest) -> WebResponse:
        return self._show_code_page(request, None)

    def _show_code_page(self, request: WebRequest, error: AuthError | None) -> WebResponse:
        user = require_recent_login(self._auth, request)
        email = self._changes.waiting(user)
        if email is None and error is None:
            return WebResponse.see_other(EMAIL_PATH)
        return render(
            self._auth,
            request,
            "auth/account/email_code.html",
            status=200 if error is None else error.status,
            email=email,
            error=None if error is None else error_text(request, error),
        )

    def _enter_code(self, request: WebRequest) -> WebResponse:
        user = require_recent_login(self._auth, request)
        try:
            email = self._changes.confirm_code(request, user, request.form.get("code", ""))
        except (CredentialRejected, AccountExists) as error:
            return self._show_code_page(request, error)
        return self._changed(request, email)

    def _confirm_page(self, request: WebRequest) -> WebResponse:
        """Show the button that consumes the link.

        GET does not, because mail scanners follow links.
        """
        user = require_recent_login(self._auth, request)
        email = self._changes.look(user, token_of(request))
        return render(
            self._auth, request, "auth/account/email_confirm.html", email=email, action=action_of(request)
        )

    def _confirm(self, request: WebRequest) -> WebResponse:
        user = require_recent_login(self._auth, request)
        return self._changed(request, self._changes.confirm_link(request, user, token_of(request)))

    def _changed(self, request: WebRequest, email: str) -> WebResponse:
        text = request.translate("Your email address is {email}.", email=email)
        leave_message(self._auth, request, text)
        return to_account(request)

    def _undo_page(self, request: WebRequest) -> WebResponse:
        email = self._changes.find_undo(token_of(request)).email
        action = action_of(request)
        return render(self._auth, request, "auth/account/email_undo.html", email=email, action=action)

    def _undo(self, request: WebRequest) -> WebResponse:
        email = self._changes.undo(request, token_of(request))
        return render(self._auth, request, "auth/account/email_undone.html", email=email)
