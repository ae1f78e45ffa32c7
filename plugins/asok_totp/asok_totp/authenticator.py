"""Enroll, confirm, verify and remove authenticator apps.

There is one row per user in the CredentialStore.

An unconfirmed secret is kept sealed in the StateStore, so enrolling again does not affect the app in
use, and an abandoned enrollment leaves nothing behind.
"""

from __future__ import annotations

from typing import cast

import msgspec

from asok_auth_core.plugin import (
    JSON,
    NONCE_BYTES,
    Clock,
    Credential,
    CredentialRejected,
    CredentialStore,
    KeyRing,
    Random,
    RedactedStruct,
    SealedRows,
    Sealer,
    StateStore,
    User,
    change_row,
)

from .settings import TotpSettings
from .totp import NEVER, SECRET_BYTES, Parameters, accepted_step, new_secret, read_code

KIND = "totp"
ENROLMENT = "totp-enrolment"

WRONG_CODE = (
    "This code is wrong. Wait for the next one, and check that the device with your app sets its clock "
    "automatically: codes depend on the time."
)


class AuthenticatorRow(RedactedStruct, frozen=True):
    """The stored data: sealed secret, parameters and last accepted time step."""

    shown = ("algorithm", "digits", "step")

    secret: str
    algorithm: str
    digits: int
    step: int = NEVER
    imported: bool = False
    """True if it comes from Asok's Admin."""

    @property
    def parameters(self) -> Parameters:
        return Parameters(self.algorithm, self.digits)


class Authenticators:
    """The authenticator apps of all users."""

    def __init__(
        self,
        settings: TotpSettings,
        *,
        credentials: CredentialStore,
        state: StateStore,
        keys: KeyRing,
        clock: Clock,
        random: Random,
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._state = state
        self._sealer = Sealer(keys, KIND)
        self._clock = clock
        self._random = random

    def is_enrolled(self, user_id: str) -> bool:
        """True if the user has confirmed an app."""
        return self.enrolled(user_id) is not None

    def is_imported(self, user_id: str) -> bool:
        """True if the user's app was imported from Asok's Admin."""
        stored = self.enrolled(user_id)
        return stored is not None and _row(stored).imported

    def enrolled(self, user_id: str) -> Credential | None:
        """The user's row, or None."""
        return self._credentials.find(KIND, user_id)

    def begin(self, user_id: str) -> tuple[str, Parameters]:
        """Create a secret (base32) that takes effect with :meth:`confirm`.

        Voids an earlier unconfirmed secret; the app in use is not affected.
        """
        parameters = self._settings.parameters
        secret = new_secret(self._random(SECRET_BYTES[parameters.algorithm]))
        row = AuthenticatorRow(
            self._seal(ENROLMENT, user_id, secret), parameters.algorithm, parameters.digits
        )
        self._state.put(_pending(user_id), msgspec.json.encode(row), self._settings.enrolment_lifetime)
        return secret, parameters

    def waiting(self, user_id: str) -> tuple[str, Parameters] | None:
        """The secret that waits for :meth:`confirm`, or None.

        Raises SealError, StoreUnavailable.
        """
        raw = self._state.get(_pending(user_id))
        if raw is None:
            return None
        row = msgspec.json.decode(raw, type=AuthenticatorRow)
        return self._sealer.open(row.secret, user_id, ENROLMENT).decode(), row.parameters

    def confirm(self, user_id: str, text: str, *, replace: bool = True) -> None:
        """Activate the new secret if ``text`` is one of its codes, and consume the code.

        Unless ``replace``, an app in use is kept and the new one rejected. Raises CredentialRejected,
        also for a wrong code or without a secret to confirm; SealError, StoreUnavailable.
        """
        raw = self._state.get(_pending(user_id))
        if raw is None:
            raise CredentialRejected("The setup of your authenticator app has expired. Please start over.")
        row = msgspec.json.decode(raw, type=AuthenticatorRow)
        secret = self._sealer.open(row.secret, user_id, ENROLMENT).decode()
        step = self._step(secret, row, text)
        if step is None:
            raise CredentialRejected(WRONG_CODE)
        if self._state.take(_pending(user_id)) != raw:
            raise CredentialRejected("This app was already confirmed, or you started over in another window.")
        self.store(user_id, secret, row.parameters, step, replace=replace)

    def store(
        self,
        user_id: str,
        secret: str,
        parameters: Parameters,
        step: int = NEVER,
        *,
        replace: bool = True,
        imported: bool = False,
    ) -> None:
        """Activate ``secret``, replacing the app in use.

        Unless ``replace``, raises CredentialRejected if there is an app in use. Raises
        StoreUnavailable.
        """
        row = AuthenticatorRow(
            self._seal(KIND, user_id, secret), parameters.algorithm, parameters.digits, step, imported
        )

        def activated(stored: Credential | None) -> JSON:
            if stored is not None and not replace:
                raise CredentialRejected("Your account already has an authenticator app. Log in with it.")
            return _data(row)

        busy = "Your authenticator app is being changed in another session. Try again."
        change_row(self._credentials, KIND, user_id, activated, owner=user_id, busy=busy)

    def verify(self, user_id: str, text: str) -> bool:
        """Return True, once per code, if ``text`` is a code of the user's app.

        RFC 6238, section 5.2.

        Raises SealError if the secret cannot be read, StoreUnavailable.
        """

        def used(stored: Credential | None) -> JSON:
            row = None if stored is None else _row(stored)
            if row is None:
                return None
            secret = self._sealer.open(row.secret, user_id, KIND).decode()
            step = self._step(secret, row, text)
            if step is None:
                return None
            sealed = row.secret if self._sealer.is_current(row.secret) else self._seal(KIND, user_id, secret)
            return _data(msgspec.structs.replace(row, secret=sealed, step=step))

        busy = "Your authenticator app is in use in another session. Try again."
        return change_row(self._credentials, KIND, user_id, used, busy=busy) is not None

    def remove(self, user_id: str) -> bool:
        """Remove the user's app; return True if this call removed a confirmed one."""
        self._state.delete(_pending(user_id))
        stored = self.enrolled(user_id)
        while stored is not None and not self._credentials.remove(stored):
            stored = self.enrolled(user_id)
        return stored is not None

    def _step(self, secret: str, row: AuthenticatorRow, text: str) -> int | None:
        code = read_code(text, row.digits)
        if code is None:
            return None
        return accepted_step(
            secret, row.parameters, code, at=self._clock(), after=row.step, drift=self._settings.drift
        )

    def _seal(self, kind: str, user_id: str, secret: str) -> str:
        return self._sealer.seal(secret.encode(), self._random(NONCE_BYTES), user_id, kind)


class SealedApps(SealedRows):
    """Secrets of authenticator apps, for ``asok-auth keys``."""

    kind = KIND
    label = "authenticator apps"

    def __init__(self, credentials: CredentialStore, keys: KeyRing, random: Random) -> None:
        super().__init__(credentials, keys)
        self._random = random

    def is_readable(self, value: Credential, keys: KeyRing) -> bool:
        return Sealer(keys, KIND).has_key(_row(value).secret)

    def resealed(self, row: Credential) -> JSON:
        stored, sealer = _row(row), Sealer(self.keys, KIND)
        secret = sealer.open(stored.secret, row.identifier, KIND)
        sealed = sealer.seal(secret, self._random(NONCE_BYTES), row.identifier, KIND)
        return _data(msgspec.structs.replace(stored, secret=sealed))


def check_code(authenticators: Authenticators, user: User, text: str) -> bool:
    """Consume the code ``text`` and return True. The caller limits attempts.

    Raises CredentialRejected for a wrong code, SealError, StoreUnavailable.
    """
    if not authenticators.verify(str(user.id), text):
        raise CredentialRejected(WRONG_CODE)
    return True


def _pending(user_id: str) -> str:
    return f"totp:enrolment:{user_id}"


def _row(stored: Credential) -> AuthenticatorRow:
    return msgspec.json.decode(stored.data, type=AuthenticatorRow)


def _data(row: AuthenticatorRow) -> JSON:
    return cast("JSON", msgspec.to_builtins(row))
