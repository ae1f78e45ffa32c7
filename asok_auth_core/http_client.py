"""The HTTP client for calls to providers."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from queue import Empty, SimpleQueue

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from .engine.message import MAX_REPLY_BYTES, Call, Reply
from .engine.urls import is_secure, origin
from .errors import OAuthError
from .types import Clock

CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 5.0
"""Seconds to connect, and between two chunks of a reply."""

DEADLINE = 10.0
"""Seconds for one call, with its name lookup and retries, even if the server trickles bytes."""

ATTEMPTS = 2
"""Attempts for GET. A POST is never repeated: a code can be used only once."""

RETRY_AFTER = 0.2
CONNECTIONS = 16
PIECE = 16 * 1024
BUSY = frozenset({429, 500, 502, 503, 504})

PER_PROVIDER = 4
PER_PROCESS = 6
"""Most calls in progress: a provider that hangs must not hold all of the app's threads."""

WAITING = 2
WAIT = 1.0
"""How many calls of logins in progress wait for a free place, and for how many seconds."""

FAILURES = 3
PAUSE = 30
"""After this many failures in a row, a provider is not called for this many seconds."""


@dataclass(slots=True)
class _Failures:
    """Failures in a row, and the time of the last one."""

    number: int = 0
    at: float = 0.0


class Transport:
    """Sends calls with limits on time, size and number, without redirects.

    Plain http only to loopback, and only in DEBUG. Cookies and ``.netrc`` are left out; the proxy
    and CA settings of the environment are used. Safe to use from many threads.
    """

    def __init__(
        self,
        *,
        debug: bool = False,
        clock: Clock = time.time,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        deadline: float = DEADLINE,
    ) -> None:
        self._debug = debug
        self._clock = clock
        self._timeouts = (connect_timeout, read_timeout)
        self._deadline = deadline
        self._changed = threading.Condition()
        self._running: Counter[str] = Counter()
        self._waiting = 0
        # Apart for fetches that anyone can cause: they must not keep logins in progress from completing.
        self._failed: defaultdict[tuple[str, bool], _Failures] = defaultdict(_Failures)
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "asok-auth-core"
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Without an auth function, requests replaces our Authorization header with a .netrc entry.
        self._session.auth = _unchanged
        adapter = HTTPAdapter(pool_maxsize=CONNECTIONS, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def __call__(self, call: Call) -> Reply:
        """Send ``call``.

        Raises OAuthError: ``oauth_url_insecure``, ``oauth_redirected``, ``oauth_reply_too_large``,
        ``oauth_busy`` or ``oauth_unavailable`` (also for a reply that the server is busy or broken).
        """
        if not is_secure(call.url, debug=self._debug):
            raise OAuthError(
                "The provider's URL is not https. Please tell the operator of this app.",
                code="oauth_url_insecure",
            )
        address = origin(call.url)
        in_login = call.form is not None or "Authorization" in call.headers
        self._enter(address, in_login=in_login)
        seconds = min(self._deadline, call.seconds or self._deadline)
        ends = time.monotonic() + seconds
        answer: SimpleQueue[Reply | Exception] = SimpleQueue()

        def work() -> None:
            try:
                found: Reply | Exception = self._attempts(call, ends)
            except Exception as error:  # noqa: BLE001  # raised again in the caller's thread
                found = error
            self._leave(address)
            answer.put(found)

        try:
            # In a thread of its own: no time limit of a socket covers a slow name lookup or slow headers.
            threading.Thread(target=work, name="asok-auth-provider", daemon=True).start()
        except RuntimeError:
            self._leave(address)
            raise _unavailable() from None
        try:
            outcome = answer.get(timeout=seconds)
        except Empty:
            outcome = _unavailable()
        failed = isinstance(outcome, OAuthError) and outcome.code == "oauth_unavailable"
        self._remember(address, in_login=in_login, failed=failed)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def _enter(self, address: str, *, in_login: bool) -> None:
        """Take a place for a call to ``address``. Raises OAuthError if none is free."""
        with self._changed:
            self._check_pause(address, in_login)
            if not self._has_place(address) and in_login and self._waiting < WAITING:
                self._waiting += 1
                self._changed.wait_for(lambda: self._has_place(address), WAIT)
                self._waiting -= 1
                self._check_pause(address, in_login)
            if not self._has_place(address):
                raise OAuthError(
                    "Too many logins with this provider are in progress. Please try again in a few seconds.",
                    code="oauth_busy",
                )
            self._running[address] += 1
            if (address, in_login) in self._failed:
                # If it was paused, this call tries it; the others keep away until it has an answer.
                self._failed[address, in_login].at = self._clock()

    def _check_pause(self, address: str, in_login: bool) -> None:
        failed = self._failed.get((address, in_login))
        if failed and failed.number >= FAILURES and 0 <= self._clock() - failed.at < PAUSE:
            raise _unavailable()

    def _has_place(self, address: str) -> bool:
        return self._running[address] < PER_PROVIDER and self._running.total() < PER_PROCESS

    def _leave(self, address: str) -> None:
        """Give the place back."""
        with self._changed:
            self._running[address] -= 1
            self._running += Counter()  # drops what is zero
            self._changed.notify_all()

    def _remember(self, address: str, *, in_login: bool, failed: bool) -> None:
        """Count failures in a row."""
        with self._changed:
            if failed:
                record = self._failed[address, in_login]
                record.number, record.at = record.number + 1, self._clock()
            else:
                self._failed.pop((address, in_login), None)

    def _attempts(self, call: Call, ends: float) -> Reply:
        attempts = ATTEMPTS if call.form is None else 1
        for attempt in range(1, attempts + 1):
            if attempt > 1:
                time.sleep(RETRY_AFTER)
            if time.monotonic() >= ends:
                break
            try:
                reply = self._attempt(call, ends)
            except (requests.RequestException, HTTPError, OSError):
                continue
            if reply.status not in BUSY:
                return reply
        raise _unavailable()

    def _attempt(self, call: Call, ends: float) -> Reply:
        left = ends - time.monotonic()
        with self._session.request(
            "GET" if call.form is None else "POST",
            call.url,
            data=call.form,
            headers=dict(call.headers),
            timeout=(min(self._timeouts[0], left), min(self._timeouts[1], left)),
            allow_redirects=False,
            stream=True,
        ) as response:
            if 300 <= response.status_code < 400:
                raise OAuthError(
                    "The provider redirected the request. The redirect was not followed.",
                    code="oauth_redirected",
                )
            body = bytearray()
            while piece := response.raw.read1(PIECE, decode_content=True):
                body += piece
                if len(body) > MAX_REPLY_BYTES:
                    raise OAuthError("The provider's answer is too large.", code="oauth_reply_too_large")
                if time.monotonic() > ends:
                    raise requests.Timeout
            return Reply(response.status_code, bytes(body), response.headers.get("Date", ""))


def _unavailable() -> OAuthError:
    return OAuthError(
        "The provider does not answer at the moment. Please try again later.", code="oauth_unavailable"
    )


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
