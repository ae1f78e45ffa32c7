"""Users' authenticator apps: enrol, confirm, verify, disable; one row per user in the CredentialStore.

A secret that is not confirmed yet lives in the StateStore, sealed, so enrolling again does not touch
the app that is in use and nothing is left behind by who gives up.
"""

from __future__ import annotations

import logging
from typing import cast

import msgspec

from asok_auth_core.contracts import CredentialStore, StateStore
from asok_auth_core.engine.keys import KeyRing
from asok_auth_core.engine.sealing import NONCE_BYTES, Sealer
from asok_auth_core.errors import CredentialExists, CredentialRejected, SealError, StoreUnavailable
from asok_auth_core.types import JSON, Clock, Credential, Random, RedactedStruct, User

from .settings import TotpSettings
from .totp import NEVER, SECRET_BYTES, Parameters, accepted_step, new_secret, read_code

logger = logging.getLogger("asok_auth")

KIND = "totp"
ENROLMENT = "totp-enrolment"
TRIES = 20
"""Times a replaced row is read again before giving up; each means that somebody else got on."""


WRONG_CODE = (
    "That code is not right. Wait for the next one, and check that the clock of the device with your "
    "app is set automatically: codes go by the time."
)


class AuthenticatorRow(RedactedStruct, frozen=True):
    """What is stored: the sealed secret, its parameters, and the last time step that was accepted."""

    shown = ("algorithm", "digits", "step")

    secret: str
    algorithm: str
    digits: int
    step: int = NEVER

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

    def enrolled(self, user_id: str) -> Credential | None:
        """The user's row, or None."""
        return self._credentials.find(KIND, user_id)

    def begin(self, user_id: str) -> tuple[str, Parameters]:
        """A new secret (base32) that counts only once :meth:`confirm` was given a code of it.

        An earlier one that was not confirmed is void; the app in use stays.
        """
        parameters = self._settings.parameters
        secret = new_secret(self._random(SECRET_BYTES[parameters.algorithm]))
        row = AuthenticatorRow(
            self._seal(ENROLMENT, user_id, secret), parameters.algorithm, parameters.digits
        )
        self._state.put(_pending(user_id), msgspec.json.encode(row), self._settings.enrolment_lifetime)
        return secret, parameters

    def confirm(self, user_id: str, text: str, *, replace: bool = True) -> None:
        """Put the new secret in use if ``text`` is one of its codes, which is used up by this.

        Without ``replace`` only for who has no app in use. Raises CredentialRejected with what to do
        if the code is wrong or there is nothing to confirm; SealError, StoreUnavailable.
        """
        raw = self._state.get(_pending(user_id))
        if raw is None:
            raise CredentialRejected("There is no new authenticator app to confirm. Please start again.")
        row = msgspec.json.decode(raw, type=AuthenticatorRow)
        secret = self._sealer.open(row.secret, user_id, ENROLMENT).decode()
        step = self._step(secret, row, text)
        if step is None:
            raise CredentialRejected(WRONG_CODE)
        if self._state.take(_pending(user_id)) != raw:
            raise CredentialRejected("This authenticator app was confirmed already, or you started again.")
        self.store(user_id, secret, row.parameters, step, replace=replace)

    def store(
        self,
        user_id: str,
        secret: str,
        parameters: Parameters,
        step: int = NEVER,
        *,
        replace: bool = True,
    ) -> None:
        """Put ``secret`` in use, in place of one the user may have.

        Without ``replace`` an app in use stays. Raises CredentialRejected then, StoreUnavailable.
        """
        row = AuthenticatorRow(
            self._seal(KIND, user_id, secret), parameters.algorithm, parameters.digits, step
        )
        for _ in range(TRIES):
            stored = self.enrolled(user_id)
            try:
                if stored is None:
                    self._credentials.add(user_id, KIND, user_id, _json(row))
                    return
            except CredentialExists:
                continue
            if not replace:
                raise CredentialRejected("Your account has an authenticator app already. Log in with it.")
            if self._credentials.replace(stored, _json(row)) is not None:
                return
        raise StoreUnavailable("Your authenticator app is being changed elsewhere. Try again.")

    def verify(self, user_id: str, text: str) -> bool:
        """True if ``text`` is a code of the user's app, for exactly one caller (RFC 6238, section 5.2).

        Raises SealError if the secret cannot be read, StoreUnavailable.
        """
        for _ in range(TRIES):
            stored = self.enrolled(user_id)
            if stored is None:
                return False
            row = msgspec.json.decode(stored.data, type=AuthenticatorRow)
            secret = self._sealer.open(row.secret, user_id, KIND).decode()
            step = self._step(secret, row, text)
            if step is None:
                return False
            sealed = row.secret if self._sealer.is_current(row.secret) else self._seal(KIND, user_id, secret)
            if self._credentials.replace(
                stored, _json(msgspec.structs.replace(row, secret=sealed, step=step))
            ):
                return True
        raise StoreUnavailable("Your authenticator app is in use elsewhere. Try again.")

    def remove(self, user_id: str) -> bool:
        """Forget the user's app, confirmed or not; True for the caller who did it."""
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


def check_code(authenticators: Authenticators, user: User, text: str) -> bool:
    """True if ``text`` proves the factor; used up by this. Attempts are limited by the caller.

    Raises CredentialRejected with what to do if it does not, SealError, StoreUnavailable.
    """
    try:
        right = authenticators.verify(str(user.id), text)
    except SealError as error:
        logger.error("The authenticator app of user %s cannot be checked: %s", user.id, error.message)
        raise
    if not right:
        raise CredentialRejected(WRONG_CODE)
    return True


def _pending(user_id: str) -> str:
    return f"totp:enrolment:{user_id}"


def _json(row: AuthenticatorRow) -> JSON:
    return cast("JSON", msgspec.to_builtins(row))
