"""The routes contract: sound routes pass it, and each seeded fault turns it red."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from markupsafe import Markup

from asok_auth_core.auth import Auth
from asok_auth_core.flows.sessions import find_session, session_cookie
from asok_auth_core.plugin import BodyInvalid, LoginMethod, LoginRequired, SecondFactor, hookimpl
from asok_auth_core.testing import RoutesContract
from asok_auth_core.types import User
from asok_auth_core.web import Route, WebRequest, WebResponse


class Notes:
    """Notes as JSON, a public page, and an endpoint for another service."""

    csrf = True

    @hookimpl
    def asok_auth_routes(self, auth: Auth) -> list[Route]:
        self.auth = auth
        self.notes: dict[tuple[str, str], str] = {}
        one = Route(
            "/notes/{id}", get=self.read, put=self.write, delete=self.remove, csrf=self.csrf, json=True
        )
        return [
            one,
            Route("/notes", get=self.about, post=self.search),
            Route("/notes/hook", post=self.hook, csrf=False),
        ]

    def user(self, request: WebRequest) -> User:
        if request.user is None:
            raise LoginRequired("Please log in first.")
        return request.user

    def key(self, request: WebRequest) -> tuple[str, str]:
        return str(self.user(request).id), request.params["id"]

    def read(self, request: WebRequest) -> WebResponse:
        return WebResponse.json({"text": self.notes.get(self.key(request), "")})

    def write(self, request: WebRequest) -> WebResponse:
        key, data = self.key(request), request.json
        if not isinstance(data, dict) or not isinstance(text := data.get("text"), str):
            raise BodyInvalid("Send a text.", code="body_malformed")
        self.notes[key] = text
        return WebResponse.json({})

    def remove(self, request: WebRequest) -> WebResponse:
        self.notes.pop(self.key(request), None)
        return WebResponse("", 204)

    def about(self, request: WebRequest) -> WebResponse:
        return WebResponse("Notes", 200, "text/plain", (("Cache-Control", "public, max-age=60"),))

    def search(self, request: WebRequest) -> WebResponse:
        return WebResponse(str(len(request.form.get("name", ""))))

    def hook(self, request: WebRequest) -> WebResponse:
        return WebResponse("" if request.user is None else "known")


class Suite(RoutesContract):
    without_csrf = frozenset({"/notes/hook"})
    kind: type = Notes

    def plugin(self) -> object:
        return self.kind()

    def parameters(self) -> dict[str, str]:
        return {"id": "shopping"}


class TestNotes(Suite):
    pass


class FailsOnHead(Notes):
    def about(self, request: WebRequest) -> WebResponse:
        return {"GET": super().about}[request.method](request)


class NeedsAUser(Notes):
    def key(self, request: WebRequest) -> tuple[str, str]:
        return str(request.user.id), request.params["id"]  # type: ignore[union-attr]


class ReturnsNothing(Notes):
    def search(self, request: WebRequest) -> WebResponse:
        return None  # type: ignore[return-value]


class TrustsTheShape(Notes):
    def write(self, request: WebRequest) -> WebResponse:
        self.notes[self.key(request)] = request.json["text"]  # type: ignore[index, call-overload, assignment]
        return WebResponse.json({})


class ReadsTheBodyItself(Notes):
    def search(self, request: WebRequest) -> WebResponse:
        return WebResponse(request.body.decode())


class NeedsANumber(Notes):
    def read(self, request: WebRequest) -> WebResponse:
        self.user(request)
        return WebResponse(str(len(request.params["id"]) or int(request.query.get("page", "1"))))

    def about(self, request: WebRequest) -> WebResponse:
        return WebResponse(str(int(request.query.get("page", "1"))))


class Repeats(Notes):
    def about(self, request: WebRequest) -> WebResponse:
        return WebResponse(f"<p>Results for {request.query.get('q', '')}</p>")


class ChecksNoToken(Notes):
    csrf = False


class KnowsTheCookie(Notes):
    def hook(self, request: WebRequest) -> WebResponse:
        handle = request.cookies.get(session_cookie(secure=request.secure), "")
        return WebResponse("", 204) if find_session(self.auth, handle) else WebResponse("", 401)


class LetsItBeStored(Notes):
    def read(self, request: WebRequest) -> WebResponse:
        text = self.notes.get(self.key(request), "")
        return WebResponse(text, 200, "text/plain", (("Cache-Control", "private, max-age=60"),))


class HasNoRoute(Notes):
    @hookimpl
    def asok_auth_routes(self, auth: Auth) -> list[Route]:
        return []


class Misspelled:
    @hookimpl
    def asok_auth_route(self, auth: Auth) -> list[Route]:
        return []


@pytest.mark.parametrize(
    ("mutant", "test", "reason"),
    [
        (FailsOnHead, "test_every_method_is_answered", "HEAD /notes answers 500"),
        (NeedsAUser, "test_every_method_is_answered", "GET /notes/{id} answers 500"),
        (ReturnsNothing, "test_every_method_is_answered", "POST /notes answers 500"),
        (HasNoRoute, "test_every_method_is_answered", "the plugin has no route"),
        (TrustsTheShape, "test_no_body_breaks_a_route", "PUT /notes/{id} with application/json"),
        (ReadsTheBodyItself, "test_no_body_breaks_a_route", "POST /notes with application/json"),
        (NeedsANumber, "test_no_parameter_breaks_a_route", "GET /notes?next="),
        (Repeats, "test_no_parameter_breaks_a_route", "GET /notes repeats input unescaped"),
        (ChecksNoToken, "test_another_site_can_do_nothing_as_the_user", "CSRF is off for ['/notes/{id}']"),
        (KnowsTheCookie, "test_another_site_can_do_nothing_as_the_user", "POST /notes/hook knows the user"),
        (LetsItBeStored, "test_private_answers_are_not_stored", "GET /notes/{id} has 'private, max-age=60'"),
    ],
)
def test_each_fault_fails_the_suite(tmp_path: Path, mutant: type, test: str, reason: str) -> None:
    suite = type("Mutated", (Suite,), {"kind": mutant})()
    with pytest.raises(AssertionError) as caught:
        getattr(suite, test)(tmp_path)
    assert reason in str(caught.value)


class Door(LoginMethod):
    """A login method with a page that ``answers`` makes."""

    name = "door"

    def __init__(self, answers: Callable[[WebRequest], WebResponse], csrf: bool = True) -> None:
        self.answers, self.csrf = answers, csrf

    def routes(self) -> Iterable[Route]:
        return [Route("/auth/door", get=self.answers, post=self.answers, csrf=self.csrf)]


class Lock(SecondFactor):
    """A factor with the same page as ``door``."""

    name = "lock"
    label = "Lock"

    def __init__(self, door: Door) -> None:
        self.door = door

    def routes(self) -> Iterable[Route]:
        return self.door.routes()

    def is_enrolled(self, user: User) -> bool:
        return False

    def reset(self, user: User) -> None:
        return

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        return Markup()

    def verify(self, request: WebRequest, user: User) -> bool:
        return False


class WithParts:
    """A plugin without ``asok_auth_routes``."""

    def __init__(self, *parts: LoginMethod | SecondFactor) -> None:
        self.parts = parts

    @hookimpl
    def asok_auth_login_methods(self, auth: Auth) -> list[LoginMethod]:
        return [part for part in self.parts if isinstance(part, LoginMethod)]

    @hookimpl
    def asok_auth_second_factors(self, auth: Auth) -> list[SecondFactor]:
        return [part for part in self.parts if isinstance(part, SecondFactor)]


SOUND = Door(lambda request: WebResponse("door"))
BREAKS = Door(lambda request: WebResponse(request.form["code"]))
NO_CSRF = Door(lambda request: WebResponse("door"), csrf=False)


class TestSoundDoor(RoutesContract):
    def plugin(self) -> object:
        return WithParts(SOUND)


@pytest.mark.parametrize("as_factor", [False, True])
@pytest.mark.parametrize(
    ("door", "test", "reason"),
    [
        (BREAKS, "test_every_method_is_answered", "GET /auth/door answers 500"),
        (NO_CSRF, "test_another_site_can_do_nothing_as_the_user", "CSRF is off for ['/auth/door']"),
    ],
)
def test_routes_of_login_methods_and_factors_are_tested(
    tmp_path: Path, door: Door, as_factor: bool, test: str, reason: str
) -> None:
    suite = type(
        "Mutated", (RoutesContract,), {"plugin": lambda self: WithParts(Lock(door) if as_factor else door)}
    )
    with pytest.raises(AssertionError) as caught:
        getattr(suite(), test)(tmp_path)
    assert reason in str(caught.value)


def test_a_misspelled_hook_fails_the_suite() -> None:
    suite = type("Mutated", (Suite,), {"kind": Misspelled})()
    with pytest.raises(Exception, match="asok_auth_route"):
        suite.test_it_is_a_plugin_with_a_hook_for_routes()
