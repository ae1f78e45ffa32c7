"""Users that a login method returns may be of classes that take no attributes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from asok import Asok
from asok.testing import TestClient

from asok_auth_core.plugin import Authentication, LoginMethod, WebRequest, hookimpl
from asok_auth_core.testing.apps import asgi_call, asok_app

EMAIL = "robot@app.example"


class Slots:
    __slots__ = ("email", "id")

    def __init__(self) -> None:
        self.id, self.email = 7, EMAIL


@dataclass(frozen=True, slots=True)
class Frozen:
    id: int = 7
    email: str = EMAIL


class Struct(msgspec.Struct, frozen=True):
    id: int = 7
    email: str = EMAIL


class Row(NamedTuple):
    id: int = 7
    email: str = EMAIL


class _Closing(type):
    def __setattr__(cls, name: str, value: object) -> None:
        raise TypeError(f"cannot set {name!r} of a closed class")


class Closed(metaclass=_Closing):
    """Takes no attributes, not even on the class, as one that is written in C."""

    __slots__ = ()
    id = 7
    email = EMAIL


class ClosedWithCan(Closed):
    __slots__ = ()

    def can(self, permission: str) -> bool:
        return permission == "reports.view"


OPEN = {"slots": Slots, "dataclass": Frozen, "struct": Struct, "tuple": Row, "own can": ClosedWithCan}
KINDS = {**OPEN, "closed": Closed}


class Robot(LoginMethod):
    name = "robot"

    def authenticate(self, request: WebRequest) -> Authentication | None:
        kind = request.headers.get("X-Robot")
        return Authentication(KINDS[kind](), ambient=False) if kind else None


class Robots:
    @hookimpl
    def asok_auth_login_methods(self) -> list[LoginMethod]:
        return [Robot()]

    @hookimpl
    def asok_auth_permissions(self, user: Any) -> list[str]:
        return ["reports.view"]


PAGES = {
    "email.py": "def get(request):\n    return request.user.email\n",
    "can.py": "def get(request):\n    return str(request.user.can('reports.view'))\n",
    "guarded.py": """\
from asok_auth_core import requires

@requires("reports.view")
def get(request):
    return "got in"
""",
    "role.py": "def get(request):\n    return str(request.has_role('clerk'))\n",
    "menu/page.html": "{% if can('reports.view') %}{{ request.user.email }}{% endif %}",
    "post.py": "def post(request):\n    return request.user.email\n",
}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Asok]:
    with asok_app(tmp_path, pages=PAGES, plugins=[Robots()]) as made:
        yield made


def answers(app: Asok, path: str, kind: str, method: str = "GET") -> set[str]:
    """What WSGI and ASGI answer."""
    client = TestClient(app)
    found = (client.post if method == "POST" else client.get)(path, headers={"X-Robot": kind})
    status, _, text = asgi_call(app, method, path, [("x-robot", kind)])
    assert (found.status_code, status) == (200, 200), text
    return {found.text.split("\n")[0].split("<")[0], text.split("\n")[0].split("<")[0]}


@pytest.mark.parametrize("kind", KINDS)
def test_pages_serve_each(app: Asok, kind: str) -> None:
    assert answers(app, "/email", kind) == {EMAIL}
    assert answers(app, "/guarded", kind) == {"got in"}
    assert answers(app, "/role", kind) == {"False"}
    assert answers(app, "/menu", kind) == {EMAIL}
    assert answers(app, "/post", kind, "POST") == {EMAIL}


@pytest.mark.parametrize("kind", OPEN)
def test_and_ask_it_what_it_can_do(app: Asok, kind: str) -> None:
    assert answers(app, "/can", kind) == {"True"}


def test_a_class_that_takes_no_methods_is_reported_once(
    app: Asok, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Another(Closed):
        __slots__ = ()

    monkeypatch.setitem(KINDS, "another", Another)
    for _ in range(2):
        answers(app, "/email", "another")
    [warning] = [record.getMessage() for record in caplog.records if record.name == "asok_auth"]
    assert warning.startswith("Another takes no methods, so its users have no can(). Use @requires")
