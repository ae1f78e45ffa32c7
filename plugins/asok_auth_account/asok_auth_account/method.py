"""``request.auth.account``, the pages and the section on the account page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from markupsafe import Markup

from asok_auth_core.plugin import Auth, LoginMethod, Route, UserDirectory, WebRequest, fragment

from .email_pages import FIRST_ATTEMPT, EmailPages
from .emails import EmailChanges
from .invitation_pages import InvitationPages
from .invitations import Invitation, Invitations
from .settings import AccountSettings


class AccountMethod(LoginMethod):
    """What users do with their own accounts. It has no part on the login page."""

    name = "account"
    order: ClassVar[int] = 900

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._settings = auth.settings.section(AccountSettings)
        self.emails = EmailChanges(auth)
        self.invitations = Invitations(auth)

    @property
    def api(self) -> AccountMethod:
        return self

    # -- request.auth.account --------------------------------------------------------------------

    def invite(
        self,
        request: WebRequest,
        email: str,
        *,
        name: str | None = None,
        roles: Sequence[str] = (),
        lifetime: int | None = None,
        language: str | None = None,
    ) -> Invitation:
        """Mail an invitation to open an account; by default in the language of ``request``.

        ``lifetime`` is in seconds. The caller has checked that the current user may invite, and give these
        roles. Raises EmailInvalid, AccountExists, ConfigurationError, MailError.
        """
        invitation, delivery = self.invitations.invite(
            email,
            name=name,
            roles=roles,
            lifetime=lifetime,
            language=language or request.locale,
            request=request,
        )
        if delivery.wait(FIRST_ATTEMPT) == "failed" and delivery.error is not None:
            raise delivery.error
        return invitation

    # -- pages -----------------------------------------------------------------------------------

    @property
    def changes_email(self) -> bool:
        """True if users can change their email address."""
        able = type(self._auth.users).set_email is not UserDirectory.set_email
        return self._settings.email_change and able

    def all_routes(self) -> Iterable[Route]:
        """The pages of the plugin."""
        pages = EmailPages(self._auth, self.emails)
        yield from pages.routes() if self.changes_email else pages.undo_routes()
        yield from InvitationPages(self._auth, self.invitations).routes()

    def account_block(self, request: WebRequest) -> Markup | None:
        if request.user is None or not self.changes_email:
            return None
        return fragment(
            self._auth,
            request,
            "auth/account/block.html",
            email=self._auth.users.email_of(request.user),
        )


def account_method(auth: Auth) -> AccountMethod:
    """The app's. Raises ConfigurationError if another plugin has taken its name."""
    return auth.api(AccountMethod)
