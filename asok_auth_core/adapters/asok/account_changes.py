"""Follow the app's changes to accounts: forget deleted, end logins of disabled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from weakref import WeakSet

from asok.events import EventEmitter, events
from asok.orm import Model

from ...auth import Auth
from ...errors import ConfigurationError, StoreError
from ...flows.sessions import end_sessions
from ...flows.user_data import remove_rows, remove_user
from ...stores.credentials import SqlCredentialStore
from .app_auth import auth_of_account
from .credentials import AsokCredentialStore
from .users import AsokUsers

logger = logging.getLogger("asok_auth")

_watched: WeakSet[EventEmitter] = WeakSet()


def watch_users() -> None:
    """Watch Asok's signals about models. Idempotent."""
    if events not in _watched:
        _watched.add(events)
        events.on("model:deleted", _deleted)
        events.on("model:updated", _updated)
        events.on("model:created", _created)


def _deleted(instance: Model) -> None:
    auth = _auth_or_none(instance)
    if auth is not None:
        # A rollback brings the account back, but not what was removed for good, such as its second factor.
        _after_transaction(auth, lambda: _forget(auth, instance))


def _updated(instance: Model) -> None:
    """A disabled account's logins end for good: enabling it again brings none back."""
    auth = _auth_or_none(instance)
    if auth is not None and not auth.users.is_active(instance):
        # The app's transaction may hold the lock that ending them needs; until its end they are suspended.
        _after_transaction(auth, lambda: _end_logins(auth, instance))


def _after_transaction(auth: Auth, action: Callable[[], None]) -> None:
    """Run ``action`` when the app's transaction has ended, or now if there is none."""
    credentials = auth.credentials
    if isinstance(credentials, SqlCredentialStore) and credentials.in_transaction():
        credentials.repeat_after_transaction(action)
    else:
        action()


def _end_logins(auth: Auth, instance: Model) -> None:
    try:
        end_sessions(auth, instance)
    except StoreError:
        logger.exception(
            "The sessions of disabled user %s could not be ended. They are suspended; end them before you "
            "enable the account again: call end_sessions(auth, user).",
            instance.id,
        )


def _forget(auth: Auth, instance: Model) -> None:
    try:
        # A soft delete keeps the row, and the user can come back.
        if isinstance(auth.users, AsokUsers) and not auth.users.is_stored(instance):
            remove_user(auth, instance)
    except (ConfigurationError, StoreError):
        logger.exception("The data of deleted user %s remains. Call remove_user(auth, user).", instance.id)


def _auth_or_none(instance: Model) -> Auth | None:
    try:
        return auth_of_account(instance)
    except ConfigurationError:
        logger.exception(
            "The account of user %s changed, but its app is unknown. Call remove_user(auth, user) if it was "
            "deleted, end_sessions(auth, user) if it was disabled.",
            instance.id,
        )
        return None


def _created(instance: Model) -> None:
    """SQLite may give a new account the id of one that a query has deleted."""
    try:
        auth = auth_of_account(instance)
        # Creating the table here would end the app's transaction on MySQL.
        if (
            auth is not None
            and isinstance(auth.credentials, AsokCredentialStore)
            and auth.credentials.exists()
        ):
            remove_rows(auth, str(instance.id))
    except (ConfigurationError, StoreError):
        logger.exception("Whether an earlier account had the id %s could not be checked.", instance.id)
