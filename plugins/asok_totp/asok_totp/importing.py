"""Moves the second factors of Asok's Admin over, user by user; can be stopped and run again."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import pyotp

from asok_auth_core.adapters.asok.admin_totp import AdminEnrolment, AdminTotp
from asok_auth_core.auth import Auth
from asok_auth_core.errors import CredentialRejected

from .authenticator import Authenticators
from .recovery import RecoveryCodes
from .totp import Parameters

ASOK_PARAMETERS = Parameters("SHA1", 6)
"""What Asok's Admin always uses."""


@dataclass(slots=True)
class Report:
    """What was done, or would be. ``unreadable`` and ``without_codes`` are ids of users."""

    moved: int = 0
    already: int = 0
    unreadable: list[str] = field(default_factory=list)
    without_codes: list[str] = field(default_factory=list)
    """Moved, but their backup codes cannot be read."""


def move(
    auth: Auth,
    admin: AdminTotp,
    authenticators: Authenticators,
    codes: RecoveryCodes,
    *,
    apply: bool,
    keep: bool,
    advance: Callable[[], None],
) -> Report:
    """Read every user's second factor and, with ``apply``, take it over.

    Who has an authenticator app with us already keeps that. What was taken over is removed from the
    user table, so that the Admin does not ask for it too, except with ``keep``. ``advance`` is called
    after each user. A user is done only when everything is in place, so a run that was stopped
    anywhere is finished by another.
    """
    report = Report()
    workers = os.cpu_count() or 1
    enrolments = admin.enrolments()
    with ThreadPoolExecutor(workers) as pool:
        while batch := list(islice(enrolments, workers * 4)):
            new = [one for one in batch if not authenticators.is_enrolled(one.user_id)]
            # Asok's key derivation takes 0.2 s for each and leaves the interpreter to other threads.
            secrets = dict(zip((one.user_id for one in new), pool.map(admin.secret, new), strict=True))
            for enrolment in batch:
                if enrolment.user_id in secrets:
                    _take_over(
                        auth, enrolment, secrets[enrolment.user_id], authenticators, codes, apply, report
                    )
                else:
                    report.already += 1
                if apply and not keep and authenticators.is_enrolled(enrolment.user_id):
                    admin.clear(enrolment)
                advance()
    return report


def _take_over(
    auth: Auth,
    enrolment: AdminEnrolment,
    secret: str | None,
    authenticators: Authenticators,
    codes: RecoveryCodes,
    apply: bool,
    report: Report,
) -> None:
    if secret is None or not _is_secret(secret):
        report.unreadable.append(enrolment.user_id)
        return
    if enrolment.backup_codes is None:
        report.without_codes.append(enrolment.user_id)
    if apply:
        try:
            # The app comes last: with it the user counts as done.
            codes.adopt(enrolment.user_id, enrolment.backup_codes or ())
            authenticators.store(enrolment.user_id, secret, ASOK_PARAMETERS, replace=False)
        except CredentialRejected:
            report.already += 1
            return
        auth.events.emit("second_factor.imported", user=auth.users.by_id(enrolment.user_id), method="totp")
    report.moved += 1


def _is_secret(text: str) -> bool:
    try:
        pyotp.TOTP(text).byte_secret()
    except ValueError:
        return False
    return True
