"""Fetch and cache providers' discovery documents and keys, within limits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from ..engine.jwk import SigningKey, read_key_set
from ..engine.message import Call, Send
from ..engine.oidc import Metadata, discovery_url, read_discovery
from ..errors import OAuthError
from ..types import Clock

FRESH = 3600
"""Seconds after which a document is fetched again."""

KEPT = 24 * 3600
"""Seconds for which a document is used while its provider cannot be reached."""

FETCHES = 2
PER = 60
"""Seconds in which one document is fetched at most FETCHES times, whatever tokens arrive."""

PATIENCE = 3.0
"""Seconds for one fetch: anyone can cause it, without logging in."""

WAITING = 3
WAIT = 1.0
"""How many threads wait for another one's fetch of a document, and for how many seconds."""

T = TypeVar("T")


class Document(Generic[T]):
    """One document, fetched at most :data:`FETCHES` times in :data:`PER` seconds.

    During an outage the last document is used for :data:`KEPT` seconds. One thread fetches; the
    others use the last document. If there is none, a few wait, and not for long.
    """

    def __init__(self, fetch: Callable[[], T], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting = threading.BoundedSemaphore(WAITING)
        self._value: T | None = None
        self._fetched_at = float("-inf")
        self._attempts: deque[float] = deque(maxlen=FETCHES)

    def get(self) -> T:
        """The document, at most an hour old if its provider answers.

        Raises the OAuthError of the fetch, ``oauth_unavailable`` or ``oauth_busy``, if there is none.
        """
        value = self._value
        if value is not None and self._age() < FRESH:
            return value
        usable = value is not None and self._age() < KEPT
        if not self._may_refresh(wait=not usable):
            if value is None or not usable:
                raise OAuthError(
                    "Too many logins with this provider are in progress. Please try again in a few seconds.",
                    code="oauth_busy",
                )
            return value
        try:
            return self._refresh(FRESH)
        finally:
            self._lock.release()

    def known(self) -> T | None:
        """The last document, without a request."""
        return self._value

    def newer(self, than: T) -> T:
        """Fetch a document newer than ``than`` if the limit allows it; else the last one."""
        if not self._may_refresh(wait=True):
            return than
        try:
            if self._value is not than and self._value is not None:
                return self._value
            return self._refresh(0)
        finally:
            self._lock.release()

    def _may_refresh(self, *, wait: bool) -> bool:
        """Take the lock of the one thread that fetches; False if another has it."""
        if self._lock.acquire(blocking=False):
            return True
        if not wait or not self._waiting.acquire(blocking=False):
            return False
        try:
            return self._lock.acquire(timeout=WAIT)
        finally:
            self._waiting.release()

    def _refresh(self, max_age: float) -> T:
        if self._value is not None and 0 <= self._age() < max_age:
            return self._value
        failure: OAuthError = OAuthError(
            "The provider does not answer at the moment.", code="oauth_unavailable"
        )
        if self._may_fetch():
            self._attempts.append(self._clock())
            try:
                self._value = self._fetch()
                self._fetched_at = self._clock()
            except OAuthError as error:
                failure = error
        if self._value is not None and self._age() < KEPT:
            return self._value
        raise failure

    def _may_fetch(self) -> bool:
        return len(self._attempts) < FETCHES or self._clock() - self._attempts[0] >= PER

    def _age(self) -> float:
        return self._clock() - self._fetched_at


class ProviderDocuments:
    """The discovery documents and key sets of all providers, in one process."""

    def __init__(self, send: Send, clock: Clock, *, debug: bool) -> None:
        self._send = send
        self._clock = clock
        self._debug = debug
        self._metadata: dict[tuple[str, str], Document[Metadata]] = {}
        self._keys: dict[str, Document[tuple[SigningKey, ...]]] = {}
        self._lock = threading.Lock()

    def metadata(self, issuer: str, url: str = "") -> Metadata:
        """The discovery document of ``issuer``, or the one at ``url``. Raises OAuthError."""
        url = url or discovery_url(issuer)

        def fetch() -> Metadata:
            reply = self._send(Call(url, {"Accept": "application/json"}, seconds=PATIENCE))
            return read_discovery(reply, issuer=issuer, debug=self._debug)

        with self._lock:
            document = self._metadata.setdefault((issuer, url), Document(fetch, self._clock))
        return document.get()

    def known_metadata(self, issuer: str, url: str = "") -> Metadata | None:
        """That document, if it was fetched before."""
        document = self._metadata.get((issuer, url or discovery_url(issuer)))
        return None if document is None else document.known()

    def keys(self, jwks_uri: str, kid: str | None) -> tuple[SigningKey, ...]:
        """The keys at ``jwks_uri``; fetched again if none has the id ``kid``.

        Raises OAuthError.
        """

        def fetch() -> tuple[SigningKey, ...]:
            reply = self._send(Call(jwks_uri, {"Accept": "application/json"}, seconds=PATIENCE))
            if reply.status != 200:
                raise OAuthError(
                    "The provider's keys could not be read. Please try again.", code="oauth_reply"
                )
            return read_key_set(reply.body)

        with self._lock:
            document = self._keys.setdefault(jwks_uri, Document(fetch, self._clock))
        keys = document.get()
        if kid is not None and all(key.kid != kid for key in keys):
            keys = document.newer(keys)
        return keys
