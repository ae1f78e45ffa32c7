"""Path x policy, in a real Asok app: a pending login never sets ``request.user``.

The second factors here are the authenticator app and one of another kind (a code by mail), which is
a test plugin: the pipeline knows neither by name.
"""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import pyotp
import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient
from markupsafe import Markup

from asok_auth_core import AuthExtension
from asok_auth_core.flows.factor_policy import change_factor_names
from asok_auth_core.flows.second_factor import reset_factors
from asok_auth_core.methods.oauth import OAuthMethod
from asok_auth_core.pages.router import Router
from asok_auth_core.plugin import (
    LoginMethod,
    OpenIDProvider,
    Proof,
    Route,
    SecondFactor,
    WebResponse,
    complete_enrolment,
    complete_login,
    enrolling_user,
    hookimpl,
)
from asok_auth_core.testing import FakeProvider, FakeRequest, asgi_call, asok_app

pytestmark = pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
"""Asok leaves the connections that an async page opened in a thread of its loop to the collector."""

ADDRESS = "ann@example.org"

USER = """\
from asok import Field, Model


class User(Model):
    email = Field.String(unique=True, nullable=False)
    name = Field.String()
    password = Field.Password()
    is_active = Field.Boolean(default=True)
"""

PAGES = {
    "own.py": """\
from models.user import User


def get(request):
    request.login(User.find(email="ann@example.org"))
    return request.redirect("/")
""",
    "own_async.py": """\
from models.user import User


async def get(request):
    request.login(User.find(email="ann@example.org"))
    return request.redirect("/")
""",
    "swallowing.py": """\
from models.user import User


def get(request):
    try:
        request.login(User.find(email="ann@example.org"))
    except Exception:
        pass
    return request.user.email if request.user else "nobody"
""",
    "password.py": """\
def get(request):
    user = request.authenticate(email="ann@example.org", password="Correct-horse1!")
    return request.user.email if request.user else "nobody"
""",
    "magic.py": """\
from models.user import User


def get(request):
    email = request.auth.magic.verify_token(request, request.query.get("token"))
    request.login(User.find(email=email))
    return request.redirect("/")
""",
    "session.py": """\
def get(request):
    request.session["user_id"] = 1
    return "set"
""",
    "recent.py": """\
from asok_auth_core import requires_recent_login


@requires_recent_login
def get(request):
    return "secret page"
""",
    "recent_async.py": """\
from asok_auth_core import requires_recent_login


@requires_recent_login
async def get(request):
    return "secret page"
""",
    "api/me.py": """\
def get(request):
    return request.user.email if request.user else "nobody"
""",
}


class ThirdParty(LoginMethod):
    """A third-party login method."""

    name = "thirdparty"

    def __init__(self, auth) -> None:
        self.auth = auth

    def routes(self):
        return [Route("/auth/thirdparty", get=self._enter)]

    def _enter(self, request):
        user = self.auth.users.by_email(ADDRESS)
        return WebResponse.see_other(complete_login(self.auth, request, user, Proof(self.name)))


class MailCode(SecondFactor):
    """A second factor that has nothing to do with authenticator apps."""

    name = "mailcode"
    label = "Code by mail"
    enrol_path = "/auth/mailcode"

    def __init__(self, auth) -> None:
        self.auth = auth
        self.sent: list[str] = []

    def is_enrolled(self, user) -> bool:
        return self.auth.credentials.find("mailcode", str(user.id)) is not None

    def reset(self, user) -> None:
        self.auth.credentials.remove(self.auth.credentials.find("mailcode", str(user.id)))

    def begin(self, request, user) -> None:
        code = f"{int.from_bytes(self.auth.random(3), 'big') % 10**6:06}"
        self.auth.state.put(f"mailcode:{user.id}:{code}", b"", 600)
        self.sent.append(code)

    def challenge(self, request, user, problem=None):
        return Markup('<input name="code">')

    def verify(self, request, user) -> bool:
        return self.auth.state.take(f"mailcode:{user.id}:{request.form.get('code', '')}") is not None

    def routes(self):

        def page(request):
            self.begin(request, enrolling_user(self.auth, request))
            return WebResponse(f"<form>{request.csrf_field}</form>")

        def confirm(request):
            user = enrolling_user(self.auth, request)
            assert self.verify(request, user)
            self.auth.credentials.add(str(user.id), "mailcode", str(user.id), {})
            return WebResponse.see_other(complete_enrolment(self.auth, request, user, self.name))

        return [Route("/auth/mailcode", get=page, post=confirm)]


class Plugin:
    """A third-party login method, a second factor, and permissions."""

    grants: tuple[str, ...] = ()

    @hookimpl
    def asok_auth_login_methods(self, auth):
        return [ThirdParty(auth)]

    @hookimpl
    def asok_auth_second_factors(self, auth):
        return [MailCode(auth)]

    @hookimpl
    def asok_auth_permissions(self, user):
        return self.grants


class AsgiClient:
    """As Asok's TestClient, through the app's ASGI side."""

    def __init__(self, app: Asok) -> None:
        self.app = app
        self.cookies: dict[str, str] = {}

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self._send("GET", path, b"", headers)

    def post(self, path: str, data: Mapping[str, str]) -> Answer:
        return self._send("POST", path, urlencode(data).encode(), None)

    def _send(self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None) -> Answer:
        sent = list((headers or {}).items())
        if self.cookies:
            sent.append(("cookie", "; ".join(f"{name}={text}" for name, text in self.cookies.items())))
        status, pairs, text = asgi_call(self.app, method, path, sent, body)
        for name, value in pairs:
            if name == "set-cookie":
                cookie, _, attributes = value.partition(";")
                key, _, content = cookie.partition("=")
                if "Max-Age=0" in attributes:
                    self.cookies.pop(key, None)
                else:
                    self.cookies[key] = content
        return Answer(status, {name.title(): value for name, value in pairs}, text)


class Answer:
    def __init__(self, status: int, headers: dict[str, str], text: str) -> None:
        self.status_code = status
        self.headers = headers
        self.text = text


class Browser:
    """Clicks: forms carry the CSRF token, redirects are followed."""

    def __init__(self, client) -> None:
        self.client = client

    def get(self, path: str, **named):
        answer = self.client.get(path, **named)
        return self._followed(answer)

    def post(self, path: str, data: Mapping[str, str], *, page: str):
        token = re.search(r'name="csrf_token" value="([^"]+)"', self.client.get(page).text)
        assert token, page
        return self._followed(self.client.post(path, data={"csrf_token": token[1], **data}))

    def _followed(self, answer):
        self.trail = []
        while answer.status_code in (301, 302, 303):
            self.trail.append(answer.headers["Location"])
            answer = self.client.get(answer.headers["Location"])
        return answer

    @property
    def who(self) -> str:
        return self.client.get("/").text.partition("\n")[0].strip()  # in DEBUG Asok adds a script


class World:
    """The app, its user and the login paths."""

    def __init__(self, app: Asok, provider: FakeProvider, plugin: Plugin) -> None:
        self.app = app
        self.extension: AuthExtension = app.extensions["AuthExtension"]
        self.auth = self.extension.auth
        self.provider = provider
        self.plugin = plugin
        self.factor = self.auth.second_factors["mailcode"]

    def enrol_totp(self) -> pyotp.TOTP:
        api = self.auth.second_factors["totp"].api
        secret, parameters = api._authenticators.begin("1")
        api._authenticators.store("1", secret, parameters)
        return pyotp.TOTP(secret)

    def enrol_mail(self) -> None:
        self.auth.credentials.add("1", "mailcode", "1", {})


CORP = {"client_id": "a", "client_secret": "b"}


class Corp(OpenIDProvider):
    name = "corp"
    label = "Corp"
    issuer = "https://login.example"


class GivesProvider:
    @hookimpl
    def asok_auth_providers(self, settings):
        return [Corp()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable]:
    @contextmanager
    def make(**auth: object) -> Iterator[World]:
        plugin = Plugin()
        settings = {
            "PLUGINS": ["totp", "magic-link"],
            "PROVIDERS": {"corp": {**CORP, "trusted_email_domains": ["example.org"]}},
        }
        with asok_app(
            tmp_path,
            pages=PAGES,
            models={"user.py": USER},
            auth={**settings, **auth},
            plugins=[plugin, GivesProvider()],
        ) as app:
            User = MODELS_REGISTRY["User"]
            user = User(email=ADDRESS, name="Ann", password="Correct-horse1!")
            user.save()
            extension = app.extensions["AuthExtension"]
            profile = {"sub": "s-1", "email": ADDRESS, "email_verified": True}
            fake = FakeProvider(extension.auth.providers["corp"], profile=profile)
            extension.auth.login_methods["oauth"] = OAuthMethod(extension.auth, send=lambda call: fake(call))
            extension.app_auth.router = Router(extension.auth)
            extension.auth.credentials.add("1", "email", ADDRESS, {})  # her email address is verified
            yield World(app, fake, plugin)

    yield make
    gc.collect()  # while the mark above holds


# -- the login paths ---------------------------------------------------------------------------------


def by_own_page(world: World, browser: Browser):
    return browser.get("/own")


def by_own_async_page(world: World, browser: Browser):
    return browser.get("/own_async")


def by_swallowing_page(world: World, browser: Browser):
    return browser.get("/swallowing")


def by_password(world: World, browser: Browser):
    return browser.get("/password")


def by_magic_link(world: World, browser: Browser):
    token = world.auth.login_methods["magic"].create_token(None, ADDRESS)
    return browser.post("/auth/magic/callback", {"token": token}, page=f"/auth/magic/callback?token={token}")


def by_magic_page_of_the_app(world: World, browser: Browser):
    token = world.auth.login_methods["magic"].create_token(None, ADDRESS)
    return browser.get(f"/magic?token={token}")


def by_third_party(world: World, browser: Browser):
    return browser.get("/auth/thirdparty")


def by_provider(world: World, browser: Browser):
    token = re.search(r'name="csrf_token" value="([^"]+)"', browser.client.get("/auth/login").text)
    away = browser.client.post("/auth/corp/login", data={"csrf_token": token[1]})
    back = world.provider.authorize(away.headers["Location"])
    return browser.get("/" + back.partition("://")[2].partition("/")[2])


WAYS = [
    by_own_page,
    by_own_async_page,
    by_swallowing_page,
    by_password,
    by_magic_link,
    by_magic_page_of_the_app,
    by_third_party,
    by_provider,
]
CLIENTS = [TestClient, AsgiClient]


@pytest.mark.requirement("SECURITY-18", "SECURITY-19")
@pytest.mark.parametrize("client", CLIENTS, ids=["wsgi", "asgi"])
def test_an_enrolled_user_is_challenged_on_every_path(world, client) -> None:
    """The challenge appears under every policy."""
    for policy in (False, True, "admin.*"):
        with world(REQUIRE_2FA=policy) as here:
            app = here.enrol_totp()
            for way in WAYS:
                browser = Browser(client(here.app))
                answer = way(here, browser)
                assert browser.who == "nobody", (policy, way.__name__, answer.text)
                assert browser.get("/auth/account").status_code == 401, (policy, way.__name__)
                challenge = browser.get("/auth/second-factor")
                assert challenge.status_code == 200, (policy, way.__name__)
                wrong = browser.post(
                    "/auth/second-factor", {"factor": "mailcode", "code": "1"}, page="/auth/second-factor"
                )
                assert wrong.status_code == 400
                assert browser.who == "nobody"
            session = browser.client.cookies.get("asok_sid")
            browser.post(
                "/auth/second-factor", {"factor": "totp", "code": app.now()}, page="/auth/second-factor"
            )
            assert browser.who == ADDRESS, policy
            assert browser.client.cookies["asok_sid"] != session
        (Path(here.app.root_dir) / "db.sqlite3").unlink()


@pytest.mark.requirement("SECURITY-34")
@pytest.mark.parametrize("client", CLIENTS, ids=["wsgi", "asgi"])
def test_a_user_whose_factors_plugin_is_gone_is_rejected_on_every_path(world, client) -> None:
    with world() as here:
        user = here.auth.users.by_id("1")
        change_factor_names(here.auth, user, lambda kept: kept | {"passkey"})
        for way in WAYS:
            browser = Browser(client(here.app))
            answer = way(here, browser)
            assert browser.who == "nobody", way.__name__
            assert browser.get("/auth/account").status_code == 401, way.__name__
            if way is not by_swallowing_page:
                assert answer.status_code == 403, way.__name__
                assert "not available at the moment" in answer.text, way.__name__
        reset_factors(here.auth, user, "passkey")
        browser = Browser(client(here.app))
        by_own_page(here, browser)
        assert browser.who == ADDRESS


@pytest.mark.parametrize("client", CLIENTS, ids=["wsgi", "asgi"])
def test_a_user_without_a_factor_is_let_in_unless_one_is_required(world, client) -> None:
    with world(REQUIRE_2FA=False) as here:
        for way in WAYS:
            browser = Browser(client(here.app))
            answer = way(here, browser)
            assert browser.who == ADDRESS, (way.__name__, answer.status_code, answer.text)


POLICIES = [
    (True, (), True),
    ("admin.*", (), False),
    ("admin.*", ("posts.*", "administrator.see"), False),
    ("admin.*", ("admin.users.edit",), True),
    ("admin.*", ("admin.*",), True),
    ("admin.*", ("*",), True),
    ("posts.edit", ("posts.*",), True),
    ("posts.edit", ("posts.view",), False),
    ("*", ("posts.view",), True),
    ("*", (), False),
]


@pytest.mark.requirement("SECURITY-19")
@pytest.mark.parametrize(
    ("client", "policy", "grants", "required"),
    [*((TestClient, *policy) for policy in POLICIES), *((AsgiClient, *policy) for policy in POLICIES[2:4])],
)
def test_a_required_second_factor_must_be_enrolled_first(world, client, policy, grants, required) -> None:
    """It may be required by policy or permission; the enrolment then logs in."""
    with world(REQUIRE_2FA=policy) as here:
        here.plugin.grants = grants
        browser = Browser(client(here.app))
        browser.get("/own")
        assert browser.who == ("nobody" if required else ADDRESS)
        if not required:
            return
        assert browser.trail == ["/auth/second-factor/enrol"]
        choice = browser.get("/auth/second-factor/enrol")
        assert 'href="/auth/totp"' in choice.text
        assert 'href="/auth/mailcode"' in choice.text
        browser.get("/auth/mailcode")
        browser.post("/auth/mailcode", {"code": here.factor.sent[-1]}, page="/auth/mailcode")
        browser.post("/auth/mailcode", {"code": here.factor.sent[-1]}, page="/auth/mailcode")
        assert browser.who == ADDRESS


@pytest.mark.requirement("SECURITY-19")
def test_every_path_leads_to_the_enrolment_where_it_is_required(world) -> None:
    with world(REQUIRE_2FA=True) as here:
        for way in WAYS:
            browser = Browser(TestClient(here.app))
            way(here, browser)
            assert browser.who == "nobody", way.__name__
            assert browser.get("/auth/second-factor/enrol").status_code == 200, way.__name__


@pytest.mark.requirement("SECURITY-19", "SECURITY-23")
@pytest.mark.parametrize("client", CLIENTS, ids=["wsgi", "asgi"])
@pytest.mark.parametrize("policy", [True, "admin.*"])
def test_a_later_policy_applies_to_open_sessions(world, client, policy: str | bool) -> None:
    """From the next request on; the next login leads to the enrolment."""
    with world() as here:
        alone, enrolled = Browser(client(here.app)), Browser(client(here.app))
        alone.get("/own")
        enrolled.get("/own")
        enrolled.get("/auth/mailcode")
        enrolled.post("/auth/mailcode", {"code": here.factor.sent[-1]}, page="/auth/mailcode")
        here.auth.settings = msgspec.structs.replace(here.auth.settings, require_2fa=policy)
        here.plugin.grants = ("posts.edit",)
        assert alone.who == ("nobody" if policy is True else ADDRESS)
        here.plugin.grants = ("admin.users",)
        assert alone.who == "nobody"
        assert enrolled.who == ADDRESS, "setting one up in this session counts as giving it"
        reset_factors(here.auth, here.auth.users.by_id("1"))
        alone.get("/own")
        assert alone.trail == ["/auth/second-factor/enrol"]


def enter_by_the_app_s_function(request, info) -> None:
    from models.user import User

    request.login(User.find(email=info["email"]))


@pytest.mark.parametrize("required", [False, True], ids=["enrolled", "enrols"])
def test_on_login_leads_to_the_page_the_user_asked_for(world, required: bool) -> None:
    """The URL asked for survives the second factor, given or set up."""
    with world(ON_LOGIN=enter_by_the_app_s_function, REQUIRE_2FA=required) as here:
        app = None if required else here.enrol_totp()
        browser = Browser(TestClient(here.app))
        token = re.search(r'name="csrf_token" value="([^"]+)"', browser.client.get("/auth/login").text)
        start = {"csrf_token": token[1], "next": "/recent"}
        away = browser.client.post("/auth/corp/login", data=start)
        back = here.provider.authorize(away.headers["Location"])
        browser.get("/" + back.partition("://")[2].partition("/")[2])
        if app is None:
            browser.get("/auth/mailcode")
            browser.post("/auth/mailcode", {"code": here.factor.sent[-1]}, page="/auth/mailcode")
        else:
            code = {"factor": "totp", "code": app.now()}
            browser.post("/auth/second-factor", code, page="/auth/second-factor")
        assert browser.trail == ["/recent"]
        assert browser.who == ADDRESS


@pytest.mark.requirement("SECURITY-19")
@pytest.mark.parametrize("client", CLIENTS, ids=["wsgi", "asgi"])
def test_bearer_tokens_are_a_factor_of_their_own(world, client) -> None:
    """The policy does not affect them; they get no session and change no factor."""
    with world(REQUIRE_2FA=True) as here:
        here.enrol_totp()
        browser = client(here.app)
        issued = here.auth.login_methods["token"].api.create(FakeRequest(), 1)
        token = {"Authorization": f"Bearer {issued}"}
        assert browser.get("/api/me", headers=token).text.startswith(ADDRESS)
        assert browser.get("/", headers={}).text.startswith("nobody")
        assert browser.get("/recent", headers=token).status_code == 403
        assert browser.get("/auth/totp", headers=token).status_code == 403


@pytest.mark.requirement("SECURITY-19")
@pytest.mark.parametrize("client", CLIENTS, ids=["wsgi", "asgi"])
def test_a_session_without_a_login_has_no_authority(world, client) -> None:
    """Asok's own session key, left by an older login or a page, is not enough."""
    with world() as here:
        here.enrol_totp()
        browser = client(here.app)
        assert browser.get("/session").text.startswith("set")
        assert browser.get("/").text.startswith("nobody")


@pytest.mark.requirement("SECURITY-19")
@pytest.mark.parametrize("client", CLIENTS, ids=["wsgi", "asgi"])
def test_a_forged_pending_login_is_none(world, client) -> None:
    with world() as here:
        here.enrol_totp()
        for cookie in ("", "x", "A" * 43, "../../etc/passwd", "%00", "é"):
            browser = client(here.app)
            browser.cookies["asok_auth_login"] = cookie
            assert browser.get("/auth/second-factor").status_code == 400, cookie
            assert browser.get("/").text.startswith("nobody"), cookie


@pytest.mark.requirement("SECURITY-24")
@pytest.mark.parametrize("client", CLIENTS, ids=["wsgi", "asgi"])
@pytest.mark.parametrize("page", ["/recent", "/recent_async"])
def test_handlers_can_ask_for_a_recent_login(world, client, page) -> None:
    with world(RECENT_LOGIN=2) as here:
        browser = client(here.app)
        assert browser.get(page).status_code == 401
        browser.get("/own")
        assert browser.get(page).text.startswith("secret page")
        now = here.auth.clock
        here.auth.clock = lambda: now() + 3
        stale = browser.get(page)
        assert stale.status_code == 403
        assert f"/auth/login?next={page}" in stale.text
        browser.get("/own")
        assert browser.get(page).text.startswith("secret page")


@pytest.mark.parametrize("client", CLIENTS, ids=["wsgi", "asgi"])
def test_the_whole_flow_in_a_browser(world, client, recovery_codes_in) -> None:
    """Set up, log out, log in with a code, with a recovery code, turn off."""
    with world() as here:
        browser = Browser(client(here.app))
        browser.get("/own")
        page = browser.post("/auth/totp/enrol", {}, page="/auth/totp")
        assert page.headers["Cache-Control"] == "no-store"
        uri = re.search(r'href="(otpauth://[^"]+)"', page.text)[1].replace("&amp;", "&")
        app = pyotp.parse_uri(uri)
        shown = browser.post("/auth/totp/confirm", {"code": app.now()}, page="/auth/totp")
        assert shown.status_code == 200, shown.text
        codes = recovery_codes_in(shown.text)
        assert len(codes) == 10
        browser.post("/auth/logout", {}, page="/auth/account")
        assert browser.who == "nobody"
        browser.get("/own")
        assert browser.who == "nobody"
        browser.post(
            "/auth/second-factor",
            {"factor": "recovery", "code": codes[3]},
            page="/auth/second-factor?factor=recovery",
        )
        assert browser.who == ADDRESS
        assert here.auth.second_factors["recovery"].codes.remaining("1") == 9
        browser.post("/auth/totp/disable", {}, page="/auth/totp")
        assert Browser(client(here.app)).get("/own").status_code == 200


@pytest.mark.requirement("SECURITY-17")
@pytest.mark.parametrize("client", CLIENTS, ids=["wsgi", "asgi"])
def test_forms_need_the_csrf_token(world, client) -> None:
    with world() as here:
        browser = client(here.app)
        browser.get("/own")
        for path in (
            "/auth/totp/enrol",
            "/auth/totp/confirm",
            "/auth/totp/disable",
            "/auth/recovery/codes",
        ):
            assert browser.post(path, data={"code": "1"}).status_code == 403


SECOND_WORKER = """
import json, re, sys
from pathlib import Path
from asok.testing import TestClient
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.types import Proof

root, cookies, code = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
user = (root / "src/models/user.py").read_text()
auth = {"PLUGINS": ["totp", "magic-link"]}
with asok_app(root, models={"user.py": user}, auth=auth) as app:
    client = TestClient(app)
    client.cookies = cookies
    before = client.get("/").text.partition("\\n")[0]
    page = client.get("/auth/second-factor")
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)[1]
    data = {"csrf_token": token, "factor": "totp", "code": code}
    status = client.post("/auth/second-factor", data=data).status_code
    after = client.get("/").text.partition("\\n")[0]
print(json.dumps([before, page.status_code, status, after]))
"""


@pytest.mark.requirement("SECURITY-1", "SECURITY-19")
def test_two_workers_share_a_pending_login_that_completes_once(world) -> None:
    """Started in one worker, completed in another process."""
    with world() as here:
        app = here.enrol_totp()
        browser = TestClient(here.app)
        browser.get("/own")
        cookies = dict(browser.cookies)
        code = app.now()
        command = [sys.executable, "-c", SECOND_WORKER, here.app.root_dir, json.dumps(cookies), code]
        other = subprocess.run(command, capture_output=True, text=True, check=True)
        assert json.loads(other.stdout.splitlines()[-1]) == ["nobody", 200, 303, ADDRESS]
        assert browser.get("/").text.startswith("nobody")
        assert browser.get("/auth/second-factor").status_code == 400  # finished, so not here again
