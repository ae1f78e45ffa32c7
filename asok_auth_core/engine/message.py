"""HTTP calls to a provider as values, their replies, and strict JSON parsing."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ..errors import OAuthError
from ..types import JSON
from .storable import is_exact
from .strict_json import JSONInvalid, read_strict

MAX_REPLY_BYTES = 256 * 1024
"""Far more than any honest discovery document, key set, token or profile."""

MAX_SUBJECT = 255
"""Characters of a subject (OpenID Connect Core 1.0, section 2)."""


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call to make. A ``form`` makes it a POST, otherwise it is a GET."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    seconds: float | None = None
    """Seconds before giving up, retries included; None: the default."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a call; ``body`` is at most :data:`MAX_REPLY_BYTES` long."""

    status: int
    body: bytes = field(repr=False)
    date: str = ""
    """The Date header, unparsed."""


Send = Callable[[Call], Reply]
"""Does the I/O. Raises OAuthError if there is no usable reply."""


class Claims(Mapping[str, JSON]):
    """What a provider says about a user, with checked access to each type."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, JSON]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> JSON:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Claims {sorted(self._values)}>"

    @classmethod
    def each(cls, value: JSON) -> list[Claims]:
        """The objects in ``value``, if it is a list; other items are skipped."""
        return [cls(item) for item in value if isinstance(item, dict)] if isinstance(value, list) else []

    def text(self, name: str) -> str | None:
        """The claim if it is a string that is not blank, else None."""
        value = self._values.get(name)
        return value if isinstance(value, str) and value.strip() else None

    def is_true(self, name: str) -> bool:
        """True only for the boolean ``true``, not for ``"true"`` or 1."""
        return self._values.get(name) is True

    def subject(self, name: str) -> str:
        """The user's ID at the provider: a string, or an integer in some OAuth 2.0.

        Raises OAuthError ``oauth_subject`` if it is missing, empty, longer than 255, of another type, or not
        as the provider wrote it.
        """
        value = self._values.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value.strip() and len(value) <= MAX_SUBJECT and is_exact(value):
            return value
        raise OAuthError(
            "The provider did not identify you. Please log in another way.", code="oauth_subject"
        )


def read_json(body: bytes, *, clean: bool = False) -> JSON:
    """Parse JSON strictly; skip a byte order mark.

    As :func:`read_strict` does. Raises OAuthError ``oauth_reply``.
    """
    if len(body) > MAX_REPLY_BYTES:
        raise OAuthError("The provider's answer is too large.", code="oauth_reply")
    try:
        return read_strict(body.removeprefix(BOM_UTF8), clean=clean)
    except JSONInvalid:
        raise OAuthError(
            "The provider's answer could not be read. Please try again.", code="oauth_reply"
        ) from None


def read_object(body: bytes, *, clean: bool = False) -> dict[str, JSON]:
    """Like :func:`read_json`, but it must be an object."""
    value = read_json(body, clean=clean)
    if not isinstance(value, dict):
        raise OAuthError("The provider's answer could not be read. Please try again.", code="oauth_reply")
    return value


def read_profile(reply: Reply) -> JSON:
    """Parse the JSON of a successful reply about a user, with storable text.

    Raises OAuthError ``oauth_reply`` for any other status.
    """
    if reply.status not in (200, 201):
        raise OAuthError("The provider did not answer as expected. Please try again.", code="oauth_reply")
    return read_json(reply.body, clean=True)
