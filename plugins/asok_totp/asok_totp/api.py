"""``request.auth.totp``: the API for an app's own pages; our pages use it too."""

from __future__ import annotations

from dataclasses import dataclass, field

from markupsafe import Markup

from asok_auth_core.plugin import (
    Auth,
    CredentialRejected,
    User,
    WebRequest,
    check_second_factor,
    complete_enrolment,
    complete_second_factor,
    count_factor_attempt,
    enrolling_user,
    issue_recovery_codes,
    recovery_codes_left,
    remove_factor,
    renew_recovery_codes,
    require_login,
    second_factor_required,
    waiting_login,
)

from .authenticator import Authenticators, check_code
from .importing import LoginImport
from .qr import svg
from .settings import TotpSettings
from .totp import Parameters, provisioning_uri

NAME = "totp"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The data of a new authenticator app, to be shown once and stored nowhere."""

    secret: str = field(repr=False)
    """Base32 without spaces, for typing."""
    uri: str = field(repr=False)
    """``otpauth://totp/…``"""
    qr: Markup = field(repr=False)
    """The URI as a QR code: inline SVG."""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a user's two-factor authentication."""

    enabled: bool
    recovery_codes: int
    """The number of codes left."""
    required: bool
    """True if the user must have a second factor."""
    enrolled_at: float | None = None
    """Seconds since the epoch."""


class TotpApi:
    """The methods of ``request.auth.totp``; each takes the request first."""

    def __init__(self, auth: Auth, settings: TotpSettings, authenticators: Authenticators) -> None:
        self._auth = auth
        self._settings = settings
        self._authenticators = authenticators
        self._imports = LoginImport(auth, authenticators)

    def enroll(self, request: WebRequest) -> Enrolment:
        """Create a secret for the current user, or for one who must enroll to log in.

        It takes effect with :meth:`confirm`.

        Raises LoginRequired, RecentLoginRequired, SecondFactorRequired.
        """
        user = enrolling_user(self._auth, request)
        return self._enrolment(request, user, *self._authenticators.begin(str(user.id)))

    def waiting_enrolment(self, request: WebRequest) -> Enrolment | None:
        """The enrollment that waits for its first code, or None.

        It is shown again after a wrong code. Raises as :meth:`enroll`.
        """
        user = enrolling_user(self._auth, request)
        waiting = self._authenticators.waiting(str(user.id))
        return None if waiting is None else self._enrolment(request, user, *waiting)

    def _enrolment(self, request: WebRequest, user: User, secret: str, parameters: Parameters) -> Enrolment:
        account = self._auth.users.email_of(user) or str(user.id)
        issuer = self._settings.issuer or self._auth.settings.app_name
        uri = provisioning_uri(secret, parameters, account=account, issuer=issuer)
        return Enrolment(secret, uri, svg(uri, request.translate("QR code for your authenticator app")))

    def confirm(self, request: WebRequest, code: str) -> tuple[str, ...]:
        """Activate the new secret if ``code`` matches; return the recovery codes.

        Completes a login that required the enrollment. Raises CredentialRejected for a wrong code,
        RateLimited, LoginRequired, RecentLoginRequired.
        """
        return self.confirm_and_continue(request, code)[0]

    def confirm_and_continue(self, request: WebRequest, code: str) -> tuple[tuple[str, ...], str]:
        """Like :meth:`confirm`, but also return the URL to go to next."""
        user = enrolling_user(self._auth, request)
        count_factor_attempt(self._auth, request, user, "totp-enrolment")
        # A user who is not fully logged in may add a first factor but must not replace an existing one.
        may_replace = waiting_login(self._auth, request) is None
        self._authenticators.confirm(str(user.id), code, replace=may_replace)
        codes = issue_recovery_codes(self._auth, user)
        return codes, complete_enrolment(self._auth, request, user, NAME)

    def verify(self, request: WebRequest, code: str) -> bool:
        """Consume ``code`` and return True if it is correct; for your own pages.

        Completes a login that waits for the second factor. For a user who is logged in, it is an
        additional check. Raises RateLimited, LoginExpired, LoginRejected.
        """

        def proof(request: WebRequest, user: User) -> bool:
            self._imports.run(user)
            return check_code(self._authenticators, user, code)

        try:
            if request.user is not None and waiting_login(self._auth, request) is None:
                check_second_factor(self._auth, request, request.user, NAME, proof)
            else:
                complete_second_factor(self._auth, request, NAME, proof)
        except CredentialRejected:
            return False
        return True

    def disable(self, request: WebRequest) -> bool:
        """Remove the user's app, and with the last second factor the recovery codes.

        Return False if there was no app. Raises LoginRequired, RecentLoginRequired, and PermissionDenied
        if the user must have a second factor and has no other.
        """
        return remove_factor(self._auth, request, require_login(request), NAME)

    def recovery_codes(self, request: WebRequest) -> tuple[str, ...]:
        """Create ten recovery codes, to be shown once; the old ones become void.

        Raises LoginRequired, RecentLoginRequired, CredentialRejected without a second factor.
        """
        return renew_recovery_codes(self._auth, request)

    def status(self, request: WebRequest) -> Status:
        """The current user's status. Raises LoginRequired."""
        user = require_login(request)
        row = self._authenticators.enrolled(str(user.id))
        return Status(
            enabled=row is not None or self._imports.waits_for(user),
            recovery_codes=0 if row is None else recovery_codes_left(self._auth, user),
            required=second_factor_required(self._auth, user),
            enrolled_at=None if row is None else row.created_at,
        )
