"""Import second factors from Asok's Admin, user by user; can be rerun."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import pyotp

from asok_auth_core.plugin import (
    Auth,
    CredentialRejected,
    FrameworkFactor,
    FrameworkFactors,
    KeyRing,
    SealedValues,
    SealError,
    User,
    import_factor,
)

from .authenticator import KIND, Authenticators
from .totp import Parameters

logger = logging.getLogger("asok_auth")

ASOK_PARAMETERS = Parameters("SHA1", 6)
"""The fixed parameters of Asok's Admin."""


@dataclass(slots=True)
class Report:
    """The result of an import or dry run.

    ``unreadable`` and ``without_codes`` are user ids.
    """

    moved: int = 0
    already: int = 0
    unreadable: list[str] = field(default_factory=list)
    without_codes: list[str] = field(default_factory=list)
    """Imported, but with unreadable backup codes."""


def move(
    auth: Auth,
    admin: FrameworkFactors,
    authenticators: Authenticators,
    *,
    apply: bool,
    keep: bool,
    advance: Callable[[], None],
) -> Report:
    """Read every user's second factor and, with ``apply``, import it.

    Users who already have an authenticator app here keep it. Unless ``keep``, imported factors are
    removed from the user table, so that the Admin does not ask for them too. ``advance`` is called
    after each user. A user counts as done only when everything is stored, so another run completes
    an interrupted one.
    """
    report = Report()
    workers = os.cpu_count() or 1
    enrolments = admin.all()
    with ThreadPoolExecutor(workers) as pool:
        while batch := list(islice(enrolments, workers * 4)):
            new = [one for one in batch if not authenticators.is_enrolled(one.user_id)]
            # Asok's key derivation takes 0.2 s per user and releases the GIL.
            secrets = dict(zip((one.user_id for one in new), pool.map(admin.secret, new), strict=True))
            for enrolment in batch:
                if enrolment.user_id in secrets:
                    _take_over(auth, enrolment, secrets[enrolment.user_id], authenticators, apply, report)
                else:
                    report.already += 1
                if apply and not keep and authenticators.is_enrolled(enrolment.user_id):
                    admin.clear(enrolment)
                advance()
    return report


def _take_over(
    auth: Auth,
    enrolment: FrameworkFactor,
    secret: str | None,
    authenticators: Authenticators,
    apply: bool,
    report: Report,
) -> None:
    if secret is None or not _is_secret(secret):
        report.unreadable.append(enrolment.user_id)
        return
    if enrolment.backup_codes is None:
        report.without_codes.append(enrolment.user_id)
    if apply:
        user_id = enrolment.user_id

        def store() -> None:
            authenticators.store(user_id, secret, ASOK_PARAMETERS, replace=False, imported=True)

        try:
            import_factor(auth, user_id, KIND, store, backup_codes=enrolment.backup_codes or ())
        except CredentialRejected:
            report.already += 1
            return
    report.moved += 1


class LoginImport:
    """Imports a user's second factor from Asok's Admin at the next login."""

    def __init__(self, auth: Auth, authenticators: Authenticators) -> None:
        self._auth = auth
        self._authenticators = authenticators

    def waits_for(self, user: User) -> bool:
        """True if the Admin has a second factor of ``user``, whatever is stored here."""
        return self._kept(user) is not None

    def run(self, user: User) -> None:
        """Import it unless the user has an app here. Takes 0.2 s of CPU, once per user.

        Raises SealError if the Admin's secret cannot be read.
        """
        found = self._kept(user)
        if found is None or self._authenticators.is_enrolled(found[1].user_id):
            return
        admin, kept = found
        report = Report()
        _take_over(self._auth, kept, admin.secret(kept), self._authenticators, True, report)
        if report.unreadable:
            error = SealError(
                f"The Admin's second factor of user {kept.user_id} cannot be read with TOTP_ENCRYPTION_KEY "
                "or SECRET_KEY, so they cannot log in. Restore the key, or reset the factor with: "
                f"asok-auth second-factor reset {kept.user_id}"
            )
            logger.error("%s", error.message)
            raise error
        self.forget(user)

    def forget(self, user: User) -> None:
        """Remove the Admin's copy, from ``user`` too."""
        found = self._kept(user)
        if found is not None:
            admin, kept = found
            admin.clear(kept)
            vars(user).update(totp_enabled=False, totp_secret=None, backup_codes=None)

    def _kept(self, user: User) -> tuple[FrameworkFactors, FrameworkFactor] | None:
        admin = self._auth.users.framework_factors()
        kept = None if admin is None else admin.of(user)
        return None if admin is None or kept is None else (admin, kept)


class SealedInAdmin(SealedValues[FrameworkFactor]):
    """Authenticator apps that Asok's Admin still keeps, for ``asok-auth keys``.

    The Admin reads them with TOTP_ENCRYPTION_KEY or the newest SECRET_KEY only, so they are imported, as at
    the user's next login.
    """

    label = "authenticator apps of Asok's Admin"

    def __init__(self, auth: Auth, authenticators: Authenticators) -> None:
        self._auth = auth
        self._authenticators = authenticators

    def all(self) -> Iterator[FrameworkFactor]:
        admin = self._auth.users.framework_factors()
        return iter(()) if admin is None else admin.all()

    def user_id(self, value: FrameworkFactor) -> str:
        return value.user_id

    def is_readable(self, value: FrameworkFactor, keys: KeyRing) -> bool:
        # Which key encrypted it is not written in it, and trying one takes 0.2 s: it may be any of them.
        return {*self._auth.keys.ids} <= {*keys.ids}

    def reseal(self, value: FrameworkFactor) -> bool:
        admin = self._auth.users.framework_factors()
        if admin is None:
            return False
        report = Report()
        if not self._authenticators.is_enrolled(value.user_id):
            _take_over(self._auth, value, admin.secret(value), self._authenticators, True, report)
        if report.unreadable:
            raise SealError("No key decrypts the Admin's second factor.", code="seal_key_retired")
        admin.clear(value)
        return report.moved == 1


def _is_secret(text: str) -> bool:
    try:
        pyotp.TOTP(text).byte_secret()
    except ValueError:
        return False
    return True
