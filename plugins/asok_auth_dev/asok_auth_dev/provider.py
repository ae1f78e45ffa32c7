"""A local Google and GitHub: a real server on loopback, in its own thread.

``/google`` speaks OpenID Connect, ``/github`` OAuth 2.0 with GitHub's peculiarities: errors of the
token endpoint have status 200, its reply is a form unless the client asks for JSON, and the email
address takes a second call. Both enforce PKCE. For development and tests only.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from authlib.oauth2.rfc6749.errors import OAuth2Error

from asok_auth_core.plugin import JSON, ConfigurationError, is_loopback_host

from .accounts import ACCOUNTS, Account
from .consent_page import consent_page, rejected_page
from .oauth_server import Answer, RegisteredClient, Request, Server

CLIENT_ID = "dev-client"
CLIENT_SECRET = "dev-secret"  # noqa: S105 - public, like the server
MAX_BODY = 64 * 1024
JSON_TYPE = "application/json"
LABELS = {"google": "Google", "github": "GitHub"}
HTML_TYPE = "text/html; charset=utf-8"


class DevProvider:
    """A local provider for the app at ``app_url``.

    ``port`` 0 picks a free one. ``accounts`` can be chosen on its page. ``delay`` (seconds) slows down
    its responses to the app, ``down`` turns them into 503, :meth:`rotate_keys` changes its signing
    key. Raises ConfigurationError unless ``debug`` is True.
    """

    def __init__(
        self,
        app_url: str = "http://127.0.0.1:8000",
        *,
        debug: bool,
        port: int = 0,
        accounts: Sequence[Account] = ACCOUNTS,
    ) -> None:
        if debug is not True:
            raise ConfigurationError(
                "The local provider lets anyone log in as any user, so it runs only with DEBUG on. Remove "
                "DevProvider from the production configuration."
            )
        self.accounts = {str(account.number): account for account in accounts}
        self.delay = 0.0
        self.down = False
        self.requests: list[str] = []
        """Method and path of every request, for tests."""
        self._http = _HTTPServer(("127.0.0.1", port), _Handler)
        self._http.provider = self
        self._thread: threading.Thread | None = None
        self.servers = {
            name: Server(self._client(app_url, name), f"{self.url}/{name}", openid=name == "google")
            for name in ("google", "github")
        }

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def settings(self) -> dict[str, dict[str, JSON]]:
        """The value for ``AUTH["PROVIDERS"]`` that leads both buttons here."""
        github = f"{self.url}/github"
        # Trusted as the real ones are for addresses like these; the core trusts them by their issuer only.
        domains = {account.email.partition("@")[2] for account in self.accounts.values() if account.email}
        keys: dict[str, JSON] = {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "trusted_email_domains": [*sorted(domains)],
        }
        return {
            "google": {**keys, "issuer": f"{self.url}/google"},
            "github": {
                **keys,
                "issuer": github,
                "authorization_endpoint": f"{github}/authorize",
                "token_endpoint": f"{github}/token",
                "userinfo_endpoint": f"{github}/user",
                "emails_endpoint": f"{github}/user/emails",
            },
        }

    def start(self) -> DevProvider:
        """Serve requests until :meth:`close`. The provider is also a context manager."""
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop the server and free the port."""
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._thread = None
        self._http.server_close()

    def __enter__(self) -> DevProvider:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    def rotate_keys(self, *, keep: bool = True) -> None:
        """Sign with a new key; ``keep`` publishes the old keys too."""
        self.servers["google"].rotate_keys(keep=keep)

    @staticmethod
    def _client(app_url: str, name: str) -> RegisteredClient:
        paths = (f"/auth/{name}/callback", f"/own/{name}/callback")
        return RegisteredClient(CLIENT_ID, CLIENT_SECRET, tuple(app_url.rstrip("/") + path for path in paths))

    # -- answers -----------------------------------------------------------------------------------

    def answer(self, request: Request, path: str) -> Answer:
        """Return the response to ``request`` for ``path``."""
        name, _, rest = path.strip("/").partition("/")
        server = self.servers.get(name)
        if server is None:
            return _html(404, "<h1>Not found</h1>")
        if rest == "authorize":
            return self._authorize(server, name, request)
        if self.delay:
            time.sleep(self.delay)
        if self.down:
            return _html(503, "<h1>Service unavailable</h1>")
        if rest == "token":
            return self._token(server, name, request)
        if name == "google" and rest == ".well-known/openid-configuration":
            return _json(200, self._discovery(server))
        if name == "google" and rest == "jwks":
            return _json(200, {"keys": [key.as_dict(private=False) for key in server.keys]})
        return self._resource(server, name, rest, request)

    def _authorize(self, server: Server, name: str, request: Request) -> Answer:
        """Show the page to choose an account (GET), or act on the choice (POST)."""
        grant = server.get_authorization_grant(request)
        try:
            redirect_uri = grant.validate_authorization_request()
        except OAuth2Error as error:
            return _html(400, rejected_page(str(error.description or error.error)))
        if request.method != "POST":
            return _html(200, consent_page(LABELS[name], self.accounts.values(), redirect_uri))
        account = self.accounts.get(request.form.get("account", ""))
        return cast("Answer", server.create_authorization_response(request, grant_user=account, grant=grant))

    def _token(self, server: Server, name: str, request: Request) -> Answer:
        answer = cast("Answer", server.create_token_response(request))
        body = cast("dict[str, JSON]", answer.body)
        if name == "google":
            return _json(answer.status, body)
        if request.headers.get("Accept") != JSON_TYPE:
            return Answer(200, urlencode(body), [("Content-Type", "application/x-www-form-urlencoded")])
        return _json(200, body)

    def _resource(self, server: Server, name: str, rest: str, request: Request) -> Answer:
        account = server.account_of(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if account is None:
            return _json(401, {"message": "Bad credentials"})
        known: dict[tuple[str, str], object] = {
            ("google", "userinfo"): account.claims(),
            ("github", "user"): account.profile(),
            ("github", "user/emails"): account.emails(),
        }
        found = known.get((name, rest))
        return _json(404, {"message": "Not Found"}) if found is None else _json(200, found)

    def _discovery(self, server: Server) -> dict[str, JSON]:
        base = server.issuer
        return {
            "issuer": base,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "userinfo_endpoint": f"{base}/userinfo",
            "jwks_uri": f"{base}/jwks",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    provider: DevProvider

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore closed connections: with ``delay`` set, the app may have given up."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length") or 0), MAX_BODY)
        self._answer(dict(parse_qsl(self.rfile.read(length).decode(), keep_blank_values=True)))

    def _answer(self, form: Mapping[str, str]) -> None:
        provider = cast("_HTTPServer", self.server).provider
        parts = urlsplit(self.path)
        provider.requests.append(f"{self.command} {parts.path}")
        if not is_loopback_host(self.headers.get("Host")):  # DNS rebinding, as for the mailbox
            self.send_error(403, "The local provider answers only at a loopback address.")
            return
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        request = Request(self.command, provider.url + self.path, query, form, dict(self.headers.items()))
        answer = provider.answer(request, parts.path)
        body = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing; the app logs what matters."""


def _json(status: int, body: object) -> Answer:
    return Answer(status, json.dumps(body), [("Content-Type", JSON_TYPE), ("Cache-Control", "no-store")])


def _html(status: int, body: str) -> Answer:
    return Answer(status, body, [("Content-Type", HTML_TYPE), ("Cache-Control", "no-store")])
