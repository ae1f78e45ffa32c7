"""Every path into an app (a door) rejects a user for each reason to be out.

A door answers with the email address of the user who may edit posts there now, or with nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asok import Asok
from asok.component import Component, exposed
from asok.context import current_request
from asok.orm import MODELS_REGISTRY, close_all_db_connections, tenant_context
from asok.orm.tenant import clear_tenant_databases, register_tenant_database
from asok.testing import TestClient
from asok.ws.connection import Connection

from asok_auth_core.auth import Auth
from asok_auth_core.flows.sessions import end_sessions
from asok_auth_core.testing.apps import asok_app

from .apps import PERMISSION_MODELS, USER_MODEL, Plugin
from .permissions.admin import add_admin
from .sockets import Server, Socket, sockets

pytestmark = pytest.mark.requirement("SECURITY-40")

# Without passwords, whose hashes take longer than everything else here.
MODELS = {**PERMISSION_MODELS, "user.py": USER_MODEL.replace("    password = Field.Password()\n", "")}

ADA, ROOT = "ada@example.org", "root@example.org"
MINUTE, HOUR, DAY = 60, 3600, 86_400

PAGES = {
    "enter.py": """
from models.user import User

def get(request):
    request.login(User.find(email=request.query.get("as")))
    return request.redirect("/")
""",
    "leave.py": """
def get(request):
    request.logout()
    return request.redirect("/")
""",
    "editor.py": """
from asok_auth_core import requires

@requires("posts.edit")
def get(request):
    request.status_code(200)
    return request.user.email
""",
    "api/editor.py": """
from asok_auth_core import requires

@requires("posts.edit")
def get(request):
    return request.api({"editor": request.user.email})
""",
}


class Editor(Component):  # type: ignore[misc]
    """A live component that names its user."""

    shown = ""

    @exposed
    def look(self) -> None:
        self.shown = editor(current_request.user)

    def render(self) -> str:
        return "<p>{{ shown }}</p>"


def editor(user: Any) -> str:
    return str(user.email) if user is not None and user.can("posts.edit") else ""


class Here:
    """One app with a socket server, and a client of a user who may edit posts."""

    def __init__(self, app: Asok, server: Server, plugin: Plugin) -> None:
        self.app, self.server, self.plugin = app, server, plugin
        self.client = TestClient(app)
        self.headers: Mapping[str, str] = {}
        self.auth: Auth = app.extensions["AuthExtension"].auth
        server.asok.on_connect("/editor")(self._hello)
        server.asok.on("/editor")(lambda conn, text: conn.send(editor(conn.user)))

    def _hello(self, conn: Connection) -> None:
        conn.send(editor(conn.user))

    def log_in(self, email: str = ADA) -> None:
        assert self.client.get(f"/enter?as={email}").status_code == 302

    def impersonate(self) -> None:
        """The superuser logs in and acts as Ada."""
        self.log_in(ROOT)
        self.client.get("/admin")
        form = {"csrf_token": self.client.cookies["asok_csrf"]}
        response = self.client.post(f"/admin/impersonate/{find(ADA).id}", data=form)
        assert response.headers["Location"] == "/admin"

    def wait(self, seconds: float) -> None:
        now = self.auth.clock()
        self.auth.clock = lambda: now + seconds


def create(email: str, **fields: object) -> None:
    MODELS_REGISTRY["User"].create(_trust=True, email=email, **fields)


def find(email: str) -> Any:
    return MODELS_REGISTRY["User"].find(email=email)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Asok, Server, Plugin]]:
    """One app and socket server for all tests, because starting them is slow."""
    plugin = Plugin()
    with app_in(tmp_path_factory.mktemp("app"), plugin) as app, sockets(app) as server:
        yield app, server, plugin


@pytest.fixture
def here(running: tuple[Asok, Server, Plugin]) -> Iterator[Here]:
    app, server, plugin = running
    engine = MODELS_REGISTRY["User"].get_engine()
    for table in ("users", "auth_credentials"):
        engine.execute(f"DELETE FROM {table}", ())
    populate(plugin)
    made = Here(app, server, plugin)
    kept = made.auth.clock, made.auth.settings
    yield made
    made.auth.clock, made.auth.settings = kept


@contextmanager
def app_in(root: Path, plugin: Plugin) -> Iterator[Asok]:
    with asok_app(root, pages=PAGES, models=MODELS, plugins=[plugin]) as app:
        add_admin(app)
        yield app


def populate(plugin: Plugin) -> None:
    create(ADA)
    create(ROOT, is_admin=True)
    plugin.grants[ADA] = ["posts.*"]


# -- doors: each opens one, and returns how to ask there -----------------------------------------

Ask = Callable[[], str]


def page(here: Here) -> Ask:
    def ask() -> str:
        response = here.client.get("/editor", headers=dict(here.headers))
        return response.text.splitlines()[0] if response.status_code == 200 else ""

    return ask


def api(here: Here) -> Ask:
    def ask() -> str:
        response = here.client.get("/api/editor", headers=dict(here.headers))
        return response.json["data"]["editor"] if response.status_code == 200 else ""

    return ask


def handshake(here: Here) -> Ask:
    return lambda: Socket(here.server, here.client, "/editor", here.headers).read()


def message(here: Here) -> Ask:
    socket = Socket(here.server, here.client, "/editor", here.headers)
    socket.read()
    return lambda: socket.ask("who?")


def live(here: Here) -> Ask:
    socket = Socket(here.server, here.client, "/asok/live", here.headers)
    state = Editor()._sign_state(here.server.asok.secret_key)
    socket.send({"op": "join", "cid": "c1", "name": "Editor", "state": state})

    def ask() -> str:
        answer = socket.ask({"op": "call", "cid": "c1", "method": "look"})
        return msgspec.json.decode(answer)["state"]["shown"] if answer.startswith("{") else answer

    return ask


def admin(here: Here) -> Ask:
    def ask() -> str:
        response = here.client.get("/admin/posts/new", headers=dict(here.headers))
        return (
            here.client.get("/editor", headers=dict(here.headers)).text if response.status_code == 200 else ""
        )

    return lambda: (ask().splitlines() or [""])[0]


def job(here: Here) -> Ask:
    """A job of ``asok worker`` has only the user's id."""
    number = str(find(ADA).id)

    def work(found: list[str]) -> None:
        user = here.auth.users.by_id(number)
        if user is not None and here.auth.users.is_active(user):
            found.append(editor(user))
        close_all_db_connections()

    def ask() -> str:
        found: list[str] = []
        thread = threading.Thread(target=work, args=(found,))
        thread.start()
        thread.join()
        return "".join(found)

    return ask


DOORS = {door.__name__: door for door in (page, api, handshake, message, live, admin)}


# -- reasons to be out: each happens to a user who is in -----------------------------------------


def logged_out(here: Here) -> None:
    kept = dict(here.client.cookies)
    here.client.get("/leave")
    here.client.cookies = kept


def ended_by_another_session(here: Here) -> None:
    for email in (ADA, ROOT):
        end_sessions(here.auth, find(email))


def disabled(here: Here) -> None:
    change(ADA, is_active=False)


def deleted(here: Here) -> None:
    find(ADA).delete()


def role_lost(here: Here) -> None:
    here.plugin.grants.clear()


def factor_newly_required(here: Here) -> None:
    here.auth.settings = msgspec.structs.replace(here.auth.settings, require_2fa=True)


def idle_for_too_long(here: Here) -> None:
    here.wait(14 * DAY + HOUR)


def logged_in_for_too_long(here: Here) -> None:
    for _ in range(3):
        here.wait(9 * DAY)
        here.client.get("/")
    here.wait(4 * DAY)


REASONS = {
    reason.__name__: reason
    for reason in (
        logged_out,
        ended_by_another_session,
        disabled,
        deleted,
        role_lost,
        factor_newly_required,
        idle_for_too_long,
        logged_in_for_too_long,
    )
}


def change(email: str, **values: object) -> None:
    user = find(email)
    for name, value in values.items():
        setattr(user, name, value)
    user.save()


@pytest.mark.requirement("SECURITY-37")
@pytest.mark.requirement("SECURITY-45")
@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_user_who_is_out_is_out_at_every_door(
    here: Here, door: Callable[[Here], Ask], reason: Callable[[Here], None]
) -> None:
    here.log_in()
    ask = door(here)
    assert ask() == ADA
    reason(here)
    assert ask() != ADA
    if reason is logged_out:
        assert page(here)() == "", "and nothing brought the session back"


# -- impersonation -------------------------------------------------------------------------------


def demoted(here: Here) -> None:
    change(ROOT, is_admin=False)


def impersonator_disabled(here: Here) -> None:
    change(ROOT, is_active=False)


def after_an_hour(here: Here) -> None:
    here.wait(HOUR + MINUTE)


def stopped(here: Here) -> None:
    """With the earlier cookies, as a page that is still open in another tab."""
    kept = dict(here.client.cookies)
    form = {"csrf_token": kept["asok_csrf"]}
    assert here.client.post("/admin/stop-impersonate", data=form).status_code == 302
    here.client.cookies = kept


IMPERSONATION = {
    **{name: reason for name, reason in REASONS.items() if name != "role_lost"},
    **{
        reason.__name__: reason
        for reason in (role_lost, demoted, impersonator_disabled, after_an_hour, stopped)
    },
}


@pytest.mark.requirement("SECURITY-37")
@pytest.mark.parametrize("reason", IMPERSONATION.values(), ids=IMPERSONATION)
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_impersonation_ends_at_every_door(
    here: Here, door: Callable[[Here], Ask], reason: Callable[[Here], None]
) -> None:
    here.impersonate()
    ask = door(here)
    assert ask() == ADA
    reason(here)
    assert ask() != ADA


@pytest.mark.parametrize("reason", [disabled, deleted, role_lost])
def test_a_job_asks_for_the_account_and_its_permissions(here: Here, reason: Callable[[Here], None]) -> None:
    ask = job(here)
    assert ask() == ADA
    reason(here)
    assert ask() == ""


# -- what never opens a door ---------------------------------------------------------------------


@pytest.mark.requirement("SECURITY-43")
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_scoped_token_opens_no_more_than_its_scopes(here: Here, door: Callable[[Here], Ask]) -> None:
    here.headers = {"X-Badge": ADA}
    assert door(here)() == ADA
    here.headers = {"X-Badge": f"{ADA};posts.view"}
    assert door(here)() == ""


@pytest.mark.requirement("SECURITY-38")
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_session_of_another_app_opens_nothing(
    tmp_path: Path, plugin: Plugin, door: Callable[[Here], Ask]
) -> None:
    """Both have the same SECRET_KEY and a user with the same id."""
    with app_in(tmp_path / "one", plugin) as app, sockets(app) as server:
        populate(plugin)
        there = Here(app, server, plugin)
        there.log_in()
        assert door(there)() == ADA
        cookies = dict(there.client.cookies)
    with app_in(tmp_path / "two", plugin) as app, sockets(app) as server:
        populate(plugin)
        here = Here(app, server, plugin)
        here.client.cookies = cookies
        assert door(here)() == ""


@pytest.mark.requirement("SECURITY-38")
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_session_of_another_tenant_opens_nothing(
    tmp_path: Path, here: Here, door: Callable[[Here], Ask]
) -> None:
    """A socket's thread is in no tenant, so it finds the sessions of none."""
    try:
        register_tenant_database("other", f"sqlite://{tmp_path / 'other'}.db")
        with tenant_context("other"):
            for model in ("User", "Role"):
                MODELS_REGISTRY[model].create_table()
            create(ADA)
            here.log_in()
            assert page(here)() == ADA
        assert door(here)() == ""
    finally:
        close_all_db_connections()
        clear_tenant_databases()


NOT_APPLICABLE = {
    "a job": "has no session, token or impersonator: only the account and its permissions count",
    "a command": "is run by an operator on the machine, in whose place no user of the app acts",
}
"""Cells of the matrix that cannot exist, for the docs."""
