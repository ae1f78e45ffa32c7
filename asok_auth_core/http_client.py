"""The HTTP client for calls to providers."""

from __future__ import annotations

import time
from http.cookiejar import DefaultCookiePolicy

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from .engine.message import MAX_REPLY_BYTES, Call, Reply
from .engine.urls import is_secure
from .errors import OAuthError

CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 5.0
"""Seconds to connect, and between two chunks of a reply."""

DEADLINE = 10.0
"""Seconds for one whole attempt, even if the server trickles bytes."""

ATTEMPTS = 2
"""Attempts for GET. A POST is never repeated: a code can be used only once."""

RETRY_AFTER = 0.2
CONNECTIONS = 16
PIECE = 16 * 1024
BUSY = frozenset({429, 500, 502, 503, 504})


class Transport:
    """Sends calls with time and size limits and without redirects; reuses connections.

    Plain http only to loopback, and only in DEBUG. Cookies and ``.netrc`` are left out; the proxy
    and CA settings of the environment are used. Safe to use from many threads.
    """

    def __init__(
        self,
        *,
        debug: bool = False,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        deadline: float = DEADLINE,
    ) -> None:
        self._debug = debug
        self._timeout = (connect_timeout, read_timeout)
        self._deadline = deadline
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

        Raises OAuthError: ``oauth_insecure_address``, ``oauth_redirected``, ``oauth_reply_too_large``
        or ``oauth_unavailable`` (also for a reply that the server is busy or broken).
        """
        if not is_secure(call.url, debug=self._debug):
            raise OAuthError(
                "The provider's URL is not https. Please tell the operator of this app.",
                code="oauth_insecure_address",
            )
        attempts = ATTEMPTS if call.form is None else 1
        for attempt in range(1, attempts + 1):
            if attempt > 1:
                time.sleep(RETRY_AFTER)
            try:
                reply = self._attempt(call)
            except (requests.RequestException, HTTPError, OSError):
                continue
            if reply.status not in BUSY:
                return reply
        raise OAuthError(
            "The provider does not answer at the moment. Please try again later.", code="oauth_unavailable"
        )

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def _attempt(self, call: Call) -> Reply:
        ends = time.monotonic() + self._deadline
        with self._session.request(
            "GET" if call.form is None else "POST",
            call.url,
            data=call.form,
            headers=dict(call.headers),
            timeout=self._timeout,
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


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
