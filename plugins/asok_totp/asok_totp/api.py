"""``request.auth.totp``: what an app calls that builds its own pages; ours call the same."""

from __future__ import annotations

from dataclasses import dataclass, field

from markupsafe import Markup

from asok_auth_core.auth import Auth
from asok_auth_core.errors import CredentialRejected, PermissionDenied
from asok_auth_core.flows.factor_policy import enrolled_factors, second_factor_required
from asok_auth_core.flows.recent_login import require_login, require_recent_login
from asok_auth_core.flows.second_factor import (
    check_second_factor,
    complete_enrolment,
    complete_second_factor,
    count_factor_attempt,
    enrolling_user,
    factor_removed,
)
from asok_auth_core.types import User
from asok_auth_core.web import WebRequest

from .authenticator import Authenticators, check_code
from .qr import svg
from .recovery import RecoveryCodes
from .settings import TotpSettings
from .totp import provisioning_uri

NAME = "totp"
RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator app needs to know, to be shown once and kept nowhere."""

    secret: str = field(repr=False)
    """For typing: base32, without spaces."""
    uri: str = field(repr=False)
    """``otpauth://totp/…``"""
    qr: Markup = field(repr=False)
    """The URI as a QR code: inline SVG."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a user stands. ``required``: may not be without a second factor."""

    enabled: bool
    recovery_codes: int
    """How many are left."""
    required: bool
    enrolled_at: float | None = None
    """Seconds since the epoch."""


class TotpApi:
    """The calls; each takes the request first."""

    def __init__(
        self, auth: Auth, settings: TotpSettings, authenticators: Authenticators, codes: RecoveryCodes
    ) -> None:
        self._auth = auth
        self._settings = settings
        self._authenticators = authenticators
        self._codes = codes

    def enroll(self, request: WebRequest) -> Enrolment:
        """A new secret for who is logged in, or must enrol to be; :meth:`confirm` puts it in use.

        Raises LoginRequired, RecentLoginRequired, SecondFactorRequired.
        """
        user = enrolling_user(self._auth, request)
        secret, parameters = self._authenticators.begin(str(user.id))
        account = self._auth.users.email_of(user) or str(user.id)
        issuer = self._settings.issuer or self._auth.settings.app_name
        uri = provisioning_uri(secret, parameters, account=account, issuer=issuer)
        return Enrolment(secret, uri, svg(uri, request.translate("QR code for your authenticator app")))

    def confirm(self, request: WebRequest, code: str) -> tuple[str, ...]:
        """Put the new secret in use if ``code`` is one of its codes; the recovery codes, to show once.

        Finishes the login that waited for it. Raises CredentialRejected for a wrong code, RateLimited,
        LoginRequired, RecentLoginRequired.
        """
        return self.confirm_and_continue(request, code)[0]

    def confirm_and_continue(self, request: WebRequest, code: str) -> tuple[tuple[str, ...], str]:
        """:meth:`confirm`, and where to go next."""
        user = enrolling_user(self._auth, request)
        count_factor_attempt(self._auth, request, user, "totp-enrolment")
        # Half logged in, one may add a first factor but never replace one that came up meanwhile.
        self._authenticators.confirm(str(user.id), code, replace=request.user is not None)
        codes = self._codes.issue(str(user.id))
        return codes, complete_enrolment(self._auth, request, user, NAME)

    def verify(self, request: WebRequest, code: str) -> bool:
        """True if ``code`` is right; used up by this. For pages of your own.

        Somebody half logged in is logged in by it. Who is logged in is asked for one more proof.
        Raises RateLimited, LoginExpired, LoginRejected.
        """

        def proof(request: WebRequest, user: User) -> bool:
            return check_code(self._authenticators, user, code)

        try:
            if request.user is None:
                complete_second_factor(self._auth, request, NAME, proof)
            else:
                check_second_factor(self._auth, request, request.user, NAME, proof)
        except CredentialRejected:
            return False
        return True

    def disable(self, request: WebRequest) -> bool:
        """Take the app and the recovery codes away; False if there was none.

        Raises LoginRequired, RecentLoginRequired, and PermissionDenied if the user must have a
        second factor and has no other.
        """
        user = require_recent_login(self._auth, request)
        others = set(enrolled_factors(self._auth, user)) - {NAME, RECOVERY}
        if not others and second_factor_required(self._auth, user):
            raise PermissionDenied(
                "Your account must have a second factor. You can set up another app in place of this one."
            )
        removed = self._authenticators.remove(str(user.id))
        self._codes.void(str(user.id))
        if removed:
            factor_removed(self._auth, request, user, NAME)
        return removed

    def recovery_codes(self, request: WebRequest) -> tuple[str, ...]:
        """Ten new recovery codes, to be shown once; the old ones are void.

        Raises LoginRequired, RecentLoginRequired, CredentialRejected without an app.
        """
        user = require_recent_login(self._auth, request)
        if not self._authenticators.is_enrolled(str(user.id)):
            raise CredentialRejected("Set up an authenticator app first.")
        codes = self._codes.issue(str(user.id))
        self._auth.events.emit(
            "recovery_codes.issued", user=user, method=RECOVERY, client_ip=request.client_ip
        )
        return codes

    def status(self, request: WebRequest) -> Status:
        """How who is logged in stands. Raises LoginRequired."""
        user = require_login(request)
        row = self._authenticators.enrolled(str(user.id))
        return Status(
            enabled=row is not None,
            recovery_codes=0 if row is None else self._codes.remaining(str(user.id)),
            required=second_factor_required(self._auth, user),
            enrolled_at=None if row is None else row.created_at,
        )
