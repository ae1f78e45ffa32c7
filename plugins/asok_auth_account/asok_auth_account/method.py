"""``request.auth.account`` and the pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from markupsafe import Markup

from asok_auth_core.plugin import Auth, LoginMethod, Route, User, UserDirectory, WebRequest, fragment

from .data_pages import DataPages
from .deletion import Deletions
from .email_pages import FIRST_ATTEMPT, EmailPages
from .emails import EmailChanges
from .invitation_pages import InvitationPages
from .invitations import Invitation, Invitations
from .recovery import Recoveries
from .recovery_pages import RecoveryPages
from .settings import AccountSettings
from .terms import Agreement, agreement


class AccountMethod(LoginMethod):
    """What users do with their own accounts; nothing on the login page."""

    name = "account"
    order: ClassVar[int] = 0

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._settings = auth.settings.section(AccountSettings)
        self.emails = EmailChanges(auth)
        self.invitations = Invitations(auth)
        self.deletions = Deletions(auth)
        self.recoveries = Recoveries(auth)

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
        """Mail an invitation to open an account.

        By default in the language of ``request``. ``lifetime`` is in seconds. The caller has checked that
        the current user may invite, and give these roles. Raises EmailInvalid, AccountExists,
        ConfigurationError, MailError.
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

    def agreement(self, request: WebRequest, user: User) -> Agreement | None:
        """What ``user`` agreed to when opening the account, or None."""
        return agreement(self._auth, str(user.id))

    # -- pages -----------------------------------------------------------------------------------

    @property
    def changes_email(self) -> bool:
        """True if users can change their email address."""
        return self._settings.email_change and self.recovers

    @property
    def deletes(self) -> bool:
        """True if users can delete their account."""
        able = type(self._auth.users).remove is not UserDirectory.remove
        return self._settings.deletion and able

    @property
    def recovers(self) -> bool:
        """True if the app can change email addresses, so that accounts can be recovered."""
        return type(self._auth.users).set_email is not UserDirectory.set_email

    def account_block(self, request: WebRequest) -> Markup | None:
        if request.user is None or not self.changes_email:
            return None
        email = self._auth.users.email_of(request.user)
        return fragment(self._auth, request, "auth/account/email_block.html", email=email)

    def all_routes(self) -> Iterable[Route]:
        """The pages of the plugin."""
        pages = EmailPages(self._auth, self.emails)
        yield from pages.routes() if self.changes_email else pages.undo_routes()
        yield from InvitationPages(self._auth, self.invitations).routes()
        yield from DataPages(self._auth, self.deletions, deletes=self.deletes).routes()
        if self.recovers:
            yield from RecoveryPages(self._auth, self.recoveries).routes()


def account_method(auth: Auth) -> AccountMethod:
    """The app's. Raises ConfigurationError if another plugin has taken its name."""
    return auth.api(AccountMethod)
