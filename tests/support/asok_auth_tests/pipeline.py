"""An app in memory with a login method of each kind, and its browsers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

import asok_magic_link
from asok_magic_link.method import MagicLinkMethod
from markupsafe import Markup

from asok_auth_core.auth import Auth
from asok_auth_core.flows.second_factor import complete_enrolment, enrolling_user
from asok_auth_core.plugin import SecondFactor, hookimpl
from asok_auth_core.providers import OpenIDProvider
from asok_auth_core.testing.fakes import FakeRequest, MemoryUsers
from asok_auth_core.testing.oauth_app import OAuthApp
from asok_auth_core.types import Event, LoginAttempt, User
from asok_auth_core.web import Route, WebRequest, WebResponse

WORD = "swordfish"
ENROL = "/auth/word/enrol"


class Word(SecondFactor):
    """Asks for a word. It keeps in memory who has set it up."""

    name = "word"
    label = "Secret word"
    enrol_path = ENROL
    auth: Auth

    def __init__(self) -> None:
        self.users: set[str] = set()

    def is_enrolled(self, user: User) -> bool:
        return str(user.id) in self.users

    def reset(self, user: User) -> None:
        self.users.discard(str(user.id))

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        return Markup('<input name="word">')

    def verify(self, request: WebRequest, user: User) -> bool:
        return request.form.get("word") == WORD

    def routes(self) -> Iterable[Route]:
        return [Route(ENROL, post=self.enrol)]

    def enrol(self, request: WebRequest) -> WebResponse:
        user = enrolling_user(self.auth, request)
        self.users.add(str(user.id))
        return WebResponse.see_other(complete_enrolment(self.auth, request, user, self.name))


class Part:
    """The plugin: the factor, a policy that can reject, and recorded events."""

    def __init__(self, factors: Iterable[SecondFactor]) -> None:
        self.factors = list(factors)
        self.closed = False
        self.events: list[Event] = []

    @hookimpl
    def asok_auth_second_factors(self, auth: Auth) -> list[SecondFactor]:
        for factor in self.factors:
            factor.auth = auth  # type: ignore[attr-defined]
        return self.factors

    @hookimpl
    def asok_auth_before_login(self, attempt: LoginAttempt) -> str | None:
        return "Closed." if self.closed else None

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        self.events.append(event)


class World:
    """One worker of the app. The provider ``example`` is trusted for example.com."""

    def __init__(
        self,
        root: Path,
        users: MemoryUsers | None = None,
        *,
        settings: Mapping[str, object] | None = None,
        same_as: World | None = None,
        factors: Iterable[SecondFactor] | None = None,
        plugins: Iterable[object] = (),
    ) -> None:
        provider = OpenIDProvider.named("example", label="Example", issuer="https://login.example")
        provider.trusted_email_domains = ("example.com",)
        self.word: Word = same_as.word if same_as else Word()
        self.part = Part((self.word,) if factors is None else factors)
        self.app: OAuthApp = OAuthApp(
            provider,
            root,
            profile={"email": "ada@example.com", "email_verified": True, "name": "Ada"},
            config=settings,
            users=MemoryUsers() if users is None else users,
            plugins=(asok_magic_link, self.part, *plugins),
            same_as=None if same_as is None else same_as.app,
        )
        self.auth = self.app.auth
        self.users = self.app.users
        self.clock = self.app.clock
        self.credentials = self.app.credentials
        method = self.auth.login_methods["magic"]
        assert isinstance(method, MagicLinkMethod)
        self.magic = method

    @property
    def names(self) -> list[str]:
        """The names of all events."""
        return [event.name for event in self.part.events]

    def events(self, name: str) -> list[Event]:
        return [event for event in self.part.events if event.name == name]

    def token(self, email: str) -> str:
        """The token of a link that was mailed to ``email``."""
        return self.magic.create_token(FakeRequest(), email)

    def kinds(self, user_id: str) -> list[str]:
        """The kinds of the user's rows, sorted; without the epoch, which only counts."""
        return sorted(row.kind for row in self.credentials.list(user_id) if row.kind != "epoch")


class Browser:
    """A browser of ``world``.

    A press whose answer is dropped leaves its cookies as they were.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.at = FakeRequest(auth=world.auth)

    def get(self, url: str) -> WebResponse:
        return self._send(self.at.follow(url))

    def post(self, url: str, form: Mapping[str, str] | None = None, *, dropped: bool = False) -> WebResponse:
        request = self.at.follow(url, form=form or {})
        return self.world.app.send(request) if dropped else self._send(request)

    def open(self, token: str) -> WebResponse:
        return self.get(f"/auth/magic/callback?token={quote(token)}")

    def press(self, token: str, *, dropped: bool = False) -> WebResponse:
        return self.post("/auth/magic/callback", {"token": token}, dropped=dropped)

    def log_in_by_mail(self, email: str) -> WebResponse:
        token = self.world.token(email)
        self.open(token)
        return self.press(token)

    def log_in_at_provider(self, **claims: object) -> WebResponse:
        """Log in at the provider as Ada, or with other ``claims``."""
        fake = self.world.app.fake
        fake.claims.update(claims)  # type: ignore[arg-type]
        self.at, response = self.world.app.log_in(self.at)
        return response

    def give_word(self, word: str = WORD) -> WebResponse:
        return self.post("/auth/second-factor", {"factor": "word", "word": word})

    @property
    def user_id(self) -> str | None:
        user = self.at.follow("/").user
        return None if user is None else str(user.id)

    def _send(self, request: FakeRequest) -> WebResponse:
        self.at = request
        return self.world.app.send(request)


def target(response: WebResponse) -> str:
    """Where a redirect leads, or the status."""
    return dict(response.headers).get("Location", str(response.status))
