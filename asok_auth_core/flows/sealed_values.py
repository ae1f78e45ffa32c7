"""What the app keeps under its secret keys: count it, and seal it again.

Values are sealed one by one, each in one step, so the work can be stopped and run again at any time, beside
running workers and other runs.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..auth import Auth
from ..contracts import SealedValues
from ..engine.keys import KeyRing
from ..errors import StoreError
from ..stores.rows import rows_of_kind
from .api_tokens import KIND as API_TOKEN
from .api_tokens import TokenRow

logger = logging.getLogger("asok_auth")


@dataclass(slots=True)
class Resealed:
    """How many values :func:`reseal` sealed, and which it could not open.

    ``unreadable`` maps the label of values to the ids of their users.
    """

    done: int = 0
    unreadable: dict[str, list[str]] = field(default_factory=dict)


def needing(auth: Auth, key: str) -> Counter[str]:
    """How many values cannot be used without the secret ``key``, by label.

    Values that no key of the ring opens do not count. Raises StoreUnavailable, and ConfigurationError for a
    plugin that cannot say which values it has.
    """
    left = auth.keys.without(key)
    return Counter(
        values.label
        for values in auth.plugins.sealed_values(auth)
        for value in values.all()
        if not _is_readable(values, value, left) and _is_readable(values, value, auth.keys, at_worst=True)
    )


def tokens_needing(auth: Auth, key: str) -> int:
    """The number of valid API tokens that the secret ``key`` signed or may have."""
    now, found = auth.clock(), 0
    for row in rows_of_kind(auth.credentials, API_TOKEN):
        try:
            token = msgspec.json.decode(row.data, type=TokenRow)
        except msgspec.MsgspecError:
            continue  # a damaged record is valid for no token
        found += token.key in (key, None) and (token.exp is None or token.exp > now)
    return found


def waiting(auth: Auth) -> int:
    """The number of values that need an older key. Raises as :func:`needing`."""
    return sum(1 for _ in _waiting(auth))


def reseal(auth: Auth, advance: Callable[[], None]) -> Resealed:
    """Seal every value with the newest key; ``advance`` is called after each.

    Raises as :func:`needing`; values that were sealed until then stay so.
    """
    report = Resealed()
    for values, value in _waiting(auth):
        try:
            report.done += values.reseal(value)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - the other values are sealed again all the same
            user_id = values.user_id(value)
            # Without its text, which may quote the value.
            logger.error("%s of user %s: not sealed again (%s).", values.label, user_id, type(error).__name__)
            report.unreadable.setdefault(values.label, []).append(user_id)
        advance()
    return report


def _waiting(auth: Auth) -> Iterator[tuple[SealedValues[Any], Any]]:
    newest = auth.keys.newest()
    for values in auth.plugins.sealed_values(auth):
        for value in values.all():
            if not _is_readable(values, value, newest):
                yield values, value


def _is_readable(values: SealedValues[Any], value: Any, keys: KeyRing, *, at_worst: bool = False) -> bool:
    """What ``values`` says; ``at_worst`` if it raises."""
    try:
        return values.is_readable(value, keys)
    except StoreError:
        raise
    except Exception:  # noqa: BLE001 - a damaged value, or a fault of the plugin
        return at_worst
