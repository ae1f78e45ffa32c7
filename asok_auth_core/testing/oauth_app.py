"""An app with an in-memory provider, for OAuth logins without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ..contracts import UserDirectory
from ..flows.sessions import begin_session
from ..hookspecs import hookimpl
from ..methods.oauth import OAuthMethod
from ..pages.router import Router
from ..providers import OAuth2Provider
from ..types import JSON, Event, OutgoingMail, User
from ..web import WebResponse
from .fake_provider import FakeProvider
from .fakes import FakeRequest, FrozenClock, MemoryCredentialStore, MemoryUsers
from .parts import TestParts, build_auth

CREDENTIALS: Mapping[str, JSON] = {"client_id": "app-at-provider", "client_secret": "a-secret"}
BASE_URL = "https://app.example"


class OAuthApp:
    """One worker of an app at ``https://app.example``.

    ``same_as`` is another worker whose stores, users and provider this one shares. ``plugins`` are
    modules or objects with hooks.
    """

    def __init__(
        self,
        provider: OAuth2Provider,
        root: Path,
        *,
        profile: Mapping[str, JSON] | None = None,
        config: Mapping[str, object] | None = None,
        users: UserDirectory | None = None,
        plugins: tuple[object, ...] = (),
        same_as: OAuthApp | None = None,
        debug: bool = False,
    ) -> None:
        self.clock: FrozenClock = same_as.clock if same_as else FrozenClock()
        self.users: UserDirectory = same_as.users if same_as else MemoryUsers() if users is None else users
        credentials: MemoryCredentialStore = (
            same_as.credentials if same_as else MemoryCredentialStore(self.clock)
        )
        self.credentials: MemoryCredentialStore = credentials
        self.events: list[str] = []
        self._parts: TestParts = same_as._parts if same_as else TestParts(self.clock)
        self.auth = build_auth(
            root,
            plugins=(_ProviderPlugin(provider), _EventRecorder(self.events), *plugins),
            settings={"PROVIDERS": {provider.name: CREDENTIALS}, **(config or {})},
            config={"APP_URL": BASE_URL, "DEBUG": debug},
            users=self.users,
            credentials=credentials,
            clock=self.clock,
            parts=self._parts,
        )
        self.provider = self.auth.providers[provider.name]
        self.fake: FakeProvider = (
            same_as.fake if same_as else FakeProvider(self.provider, profile=profile, clock=self.clock)
        )
        self.oauth = OAuthMethod(self.auth, send=lambda call: self.fake(call))
        self.auth.login_methods["oauth"] = self.oauth
        self.router = Router(self.auth)

    @property
    def mails(self) -> Sequence[OutgoingMail]:
        """The mails that were sent; flush ``auth.outbox`` first."""
        return self._parts.mail.sent

    def send(self, request: FakeRequest) -> WebResponse:
        """Return the response to ``request``.

        Raises LookupError for a path without a page.
        """
        route = self.router.match(request.path)
        if route is None:
            raise LookupError(request.path)
        return self.router.respond(route, request)

    def start(
        self, browser: FakeRequest, *, next_url: str = "", action: str = "login"
    ) -> tuple[FakeRequest, str]:
        """Press the provider's button; return the request and the provider's URL."""
        path = f"/auth/{self.provider.name}/{action}"
        request = browser.follow(path, method="POST", form={"next": next_url})
        response = self.send(request)
        return request, location(response)

    def finish(self, browser: FakeRequest, callback: str) -> tuple[FakeRequest, WebResponse]:
        """Follow the redirect to ``callback``; return request and response.

        With ``form_post``, the browser posts the answer first, without its cookies.
        """
        if self.provider.response_mode == "form_post":
            path = urlsplit(callback).path
            posted = FakeRequest(path, method="POST", form=self.fake.sent, auth=self.auth)
            callback = location(self.send(posted))
        request = browser.follow(callback.removeprefix(BASE_URL))
        return request, self.send(request)

    def logged_in(
        self, user: User, url: str = "/auth/account", form: Mapping[str, str] | None = None
    ) -> FakeRequest:
        """A request from a browser in which ``user`` logged in just now."""
        request = FakeRequest(auth=self.auth)
        begin_session(self.auth, request, user, method="app", factors=(), remember=False)
        return request.follow(url, form=form)

    def log_in(self, browser: FakeRequest | None = None, **start: str) -> tuple[FakeRequest, WebResponse]:
        """Run a whole login: button, consent at the provider, callback."""
        request, url = self.start(browser or FakeRequest(auth=self.auth), **start)
        return self.finish(request, self.fake.authorize(url))


def location(response: WebResponse) -> str:
    """The target of a redirect. Raises AssertionError if ``response`` is not one."""
    headers = dict(response.headers)
    assert response.status == 303, (response.status, response.body)
    assert urlsplit(headers["Location"]).path
    return headers["Location"]


def error_code(response: WebResponse) -> str:
    """The error code on a problem page. Raises AssertionError if there is none."""
    marker = '<p class="asok-auth-code">Error code: '
    assert marker in response.body, (response.status, response.body)
    return response.text.split(marker)[1].split("<")[0]


class _ProviderPlugin:
    """A plugin that registers one provider."""

    def __init__(self, provider: OAuth2Provider) -> None:
        self._provider = provider

    @hookimpl
    def asok_auth_providers(self) -> list[OAuth2Provider]:
        return [self._provider]


class _EventRecorder:
    """A plugin that records the names of events."""

    def __init__(self, events: list[str]) -> None:
        self._events = events

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        self._events.append(event.name)
