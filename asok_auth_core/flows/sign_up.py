"""A newcomer's login that waits for the app's sign-up steps.

Nothing lasting is made before all of them are taken: what the first factor proved, and the answers so far,
lie in the state store under a digest of a random handle, which only this browser's cookie holds.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from ..auth import Auth
from ..contracts import SignUpStep
from ..engine.keys import digest
from ..errors import AuthError, LoginExpired
from ..types import JSON, LoginAttempt, Newcomer, Proof, RedactedStruct, User
from ..web import WebRequest
from .attempts import StoredIdentity, login_attempt, pending_cookie
from .plugin_faults import ask, verdict
from .user_data import remove_rows

logger = logging.getLogger("asok_auth")

SIGN_UP_LIFETIME = 3600
"""Seconds for which the login waits: terms take time to read."""


class PendingSignUp(RedactedStruct, frozen=True):
    """A login whose first factor was verified for a newcomer; it grants nothing."""

    shown = ("method", "remember")

    email: str
    name: str | None
    method: str
    verified: str | None
    """The email address that the first factor verified."""
    trusted: bool
    identity: StoredIdentity | None
    factors: tuple[str, ...]
    next_url: str
    remember: bool
    answers: dict[str, Any]
    """JSON, by step."""

    @classmethod
    def of(
        cls,
        newcomer: Newcomer,
        proof: Proof,
        *,
        factors: Sequence[str],
        remember: bool,
        next_url: str,
        answers: Mapping[str, JSON],
    ) -> PendingSignUp:
        """The login of ``newcomer`` as it is kept."""
        identity = None if proof.identity is None else StoredIdentity.of(proof.identity)
        return cls(
            newcomer.email,
            newcomer.name,
            proof.method,
            proof.email,
            proof.trusted,
            identity,
            tuple(factors),
            next_url,
            remember,
            dict(answers),
        )

    @property
    def newcomer(self) -> Newcomer:
        """The user without an account."""
        return Newcomer(self.email, self.name)

    @property
    def proof(self) -> Proof:
        """What the first factor proved."""
        identity = None if self.identity is None else self.identity.identity
        return Proof(self.method, self.verified, identity, trusted=self.trusted)


def next_step(auth: Auth, attempt: LoginAttempt, taken: Container[str]) -> SignUpStep | None:
    """The first step that the newcomer of ``attempt`` has yet to take, or None.

    Only False skips a step. Raises PluginFailed, and AuthError as ``is_needed`` does.
    """
    for name, step in auth.sign_up_steps.items():
        if name not in taken and verdict(auth, step, step.is_needed, attempt) is not False:
            return step
    return None


def step_to_take(auth: Auth, request: WebRequest) -> tuple[Newcomer, SignUpStep]:
    """The newcomer of this browser's pending sign-up, and the step to take now.

    Raises LoginExpired if there is none.
    """
    pending = find_sign_up(auth, request.cookies.get(pending_cookie(request)))
    if pending is not None:
        attempt = login_attempt(auth, request, pending.newcomer, pending.proof)
        step = next_step(auth, attempt, pending.answers)
        if step is not None:
            return pending.newcomer, step
    raise _expired()


def keep_sign_up(auth: Auth, handle: str, pending: PendingSignUp) -> None:
    """Let ``pending`` wait under ``handle``. Raises StoreUnavailable."""
    auth.state.put(_key(handle), msgspec.json.encode(pending), SIGN_UP_LIFETIME)


def find_sign_up(auth: Auth, handle: str | None) -> PendingSignUp | None:
    """The sign-up that waits under ``handle``, or None."""
    raw = auth.state.get(_key(handle)) if handle and auth.sign_up_steps else None
    return None if raw is None else msgspec.json.decode(raw, type=PendingSignUp)


def take_sign_up(auth: Auth, request: WebRequest) -> PendingSignUp:
    """Consume this browser's sign-up. Raises LoginExpired for all but one caller."""
    handle = request.cookies.get(pending_cookie(request))
    raw = auth.state.take(_key(handle)) if handle else None
    if raw is None:
        raise _expired()
    return msgspec.json.decode(raw, type=PendingSignUp)


def drop_sign_up(auth: Auth, handle: str) -> None:
    """Void the sign-up that waits under ``handle``, if any."""
    if auth.sign_up_steps:
        auth.state.delete(_key(handle))


def keep_answers(auth: Auth, user: User, answers: Mapping[str, JSON]) -> None:
    """Let each step keep its answer for the new account of ``user``.

    If one cannot, the account is removed again. Raises what the step raises, or PluginFailed.
    """
    try:
        for name, step in auth.sign_up_steps.items():
            if name in answers:
                ask(auth, step, step.keep, user, answers[name])
    except BaseException:
        _remove_again(auth, user)
        raise


def _remove_again(auth: Auth, user: User) -> None:
    try:
        auth.users.remove(user)
    except AuthError:
        logger.exception(
            "The account %s was created, but an answer of its sign-up could not be kept, and the account "
            "cannot be removed. Remove or disable it.",
            user.id,
        )
    with suppress(AuthError):
        remove_rows(auth, str(user.id))


def _expired() -> LoginExpired:
    return LoginExpired("This login has expired. Please start again.")


def _key(handle: str) -> str:
    return f"sign-up:{digest(handle)}"
