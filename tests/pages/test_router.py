"""Which route answers a path, and which routes cannot stand side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from asok_auth_core.auth import Auth
from asok_auth_core.contracts import LoginMethod
from asok_auth_core.pages.router import Router
from asok_auth_core.plugin import hookimpl
from asok_auth_core.testing import Browser, raises_code
from asok_auth_core.testing.parts import build_auth
from asok_auth_core.web import Route, WebRequest, WebResponse

MakeAuth = Callable[..., Auth]


def answer(request: WebRequest) -> WebResponse:
    return WebResponse.json(dict(request.params))


class Pages:
    """A plugin that returns ``given`` as its routes."""

    def __init__(self, given: object, name: str = "pages") -> None:
        self.given = given
        self.__name__ = name

    @hookimpl
    def asok_auth_routes(self, auth: Auth) -> object:
        if isinstance(self.given, BaseException):
            raise self.given
        return self.given


def pages(*paths: str, name: str = "pages") -> Pages:
    return Pages([Route(path, get=answer) for path in paths], name)


def test_an_exact_path_comes_before_one_with_parameters(make_auth: MakeAuth) -> None:
    browser = Browser(make_auth(plugins=(pages("/a/{id}", "/a/new", "/{a}/{b}/{c}", "/"),)))
    assert browser.get("/a/new").text == "{}"
    assert browser.get("/a/7").text == '{"id": "7"}'
    assert browser.get("/a/7/").text == '{"id": "7"}'
    assert browser.get("/1/2/3").text == '{"a": "1", "b": "2", "c": "3"}'
    assert browser.get("/").status == 200
    assert {"/a/{id}", "/a/new", "/auth/login"} <= set(browser.paths)
    for path in ("//", "/a", "/a/", "/a//", "/1/2/3/4", "/1//3", "/a/..", "/a/.", "/a/\ud800", "/a/\ufffd"):
        assert browser.get(path).status == 404


def test_parameters_are_those_of_this_request(make_auth: MakeAuth) -> None:
    browser = Browser(make_auth(plugins=(pages("/a/{id}", "/a/{id}/edit", "/b"),)))
    assert browser.get("/a/1").text == '{"id": "1"}'
    assert browser.get("/a/2/edit").text == '{"id": "2"}'
    assert browser.get("/a/2/show").status == 404
    assert browser.get("/b").text == "{}"


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("/a", "/a"),
        ("/a/{id}", "/a/{name}"),
        ("/a/{id}", "/{x}/b"),
        ("/a/{id}/edit", "/a/new/{step}"),
        ("/{a}", "/{b}"),
    ],
)
def test_two_routes_for_one_path_stop_the_start(make_auth: MakeAuth, one: str, two: str) -> None:
    auth = make_auth(plugins=(pages(one, name="first"), pages(two, name="second")))
    with raises_code("plugin", match="is used twice") as caught:
        Router(auth)
    assert f"{one} of plugin 'first', and {two} of plugin 'second'" in caught.value.message


@pytest.mark.parametrize(
    ("one", "two"), [("/a/{id}", "/a/new"), ("/a/{id}", "/b/{id}"), ("/a/{id}", "/a/{id}/b"), ("/a", "/{x}")]
)
def test_routes_that_can_be_told_apart_stand_side_by_side(make_auth: MakeAuth, one: str, two: str) -> None:
    Router(make_auth(plugins=(pages(two, name="first"), pages(one, name="second"))))


def test_a_path_of_the_core_is_taken(make_auth: MakeAuth) -> None:
    with raises_code("plugin", match="/auth/login of the core, and /auth/login of plugin 'pages'"):
        Router(make_auth(plugins=(pages("/auth/login"),)))


class Door(LoginMethod):
    name = "door"

    def routes(self) -> Iterable[Route]:
        return [Route("/auth/door", get=answer)]


SOURCE = """
from asok_auth_core.plugin import Route, hookimpl

@hookimpl
def asok_auth_routes(auth):
    return [Route("/auth/door", get=print)]
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EntryPoint:
    """The entry point of a plugin that is installed as a distribution."""
    folder = tmp_path / "site-packages"
    info = folder / "asok_doorman-1.2.dist-info"
    info.mkdir(parents=True)
    (folder / "asok_doorman.py").write_text(SOURCE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: asok-doorman\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[asok_auth]\ndoorman = asok_doorman\n")
    monkeypatch.syspath_prepend(folder)
    [found] = [one for one in entry_points(group="asok_auth") if one.name == "doorman"]
    return found


def test_a_clash_names_plugin_and_distribution_of_both(tmp_path: Path, installed: EntryPoint) -> None:
    class Plugin:
        __name__ = "house"

        @hookimpl
        def asok_auth_login_methods(self, auth: Auth) -> list[LoginMethod]:
            return [Door()]

    auth = build_auth(tmp_path, plugins=(Plugin(),), entry_points=[installed])
    with raises_code("plugin") as caught:
        Router(auth)
    assert (
        "/auth/door of login method 'door' of plugin 'house', and /auth/door of plugin 'doorman' "
        "(distribution asok-doorman 1.2, entry point 'doorman = asok_doorman')" in caught.value.message
    )


def test_a_part_that_no_plugin_returned_belongs_to_the_app(make_auth: MakeAuth) -> None:
    auth = make_auth(plugins=(pages("/auth/door"),))
    auth.login_methods["door"] = Door()
    with raises_code("plugin", match="login method 'door' of the app"):
        Router(auth)


@pytest.mark.parametrize(
    "path",
    [
        *("", "a", "a/b", "/a/", "//a", "/a//b", "/a/../b", "/./a"),
        *(
            "/a/{}",
            "/a/{1}",
            "/a/{id",
            "/a/id}",
            "/a/x{id}",
            "/a/{id}.json",
            "/{id}/{id}",
            "/{a-b}",
            "/{{id}}",
        ),
    ],
)
def test_a_path_that_nothing_could_match_stops_the_start(make_auth: MakeAuth, path: str) -> None:
    with raises_code("plugin", match="of plugin 'pages' is not valid"):
        Router(make_auth(plugins=(pages(path),)))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (RuntimeError("no table"), "RuntimeError: no table"),
        (SystemExit(3), "SystemExit: 3"),
        (7, "TypeError: 'int' object is not iterable"),
        (["/a"], "TypeError: it returned str, not Route"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("settings", [{"STRICT": False}, {"OPTIONAL_PLUGINS": ["pages"]}])
def test_routes_that_fail_stop_the_start(
    make_auth: MakeAuth, given: object, reason: str, settings: dict[str, object]
) -> None:
    with raises_code("plugin") as caught:
        make_auth(plugins=(Pages(given),), settings=settings)
    assert f"asok_auth_routes of plugin 'pages' raised {reason}." in caught.value.message


def test_interrupting_the_start_is_no_fault_of_a_plugin(make_auth: MakeAuth) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_auth(plugins=(Pages(KeyboardInterrupt()),))


def test_no_routes_are_no_fault(make_auth: MakeAuth) -> None:
    assert make_auth(plugins=(Pages(None),)).routes == ()


def test_the_hook_is_called_once(make_auth: MakeAuth) -> None:
    calls = []

    class Counting:
        @hookimpl
        def asok_auth_routes(self, auth: Auth) -> list[Route]:
            calls.append("core" in {info.name for info in auth.plugins.infos})
            assert "token" in auth.login_methods
            return [Route("/a", get=answer)]

    auth = make_auth(plugins=(Counting(),))
    Router(auth)
    Router(auth)
    assert len(calls) == 1


def test_a_route_knows_its_methods() -> None:
    route = Route("/a", get=answer, delete=answer)
    assert route.methods == ("GET", "HEAD", "DELETE")
    assert route.handler("DELETE") is answer
    assert [route.handler(name) for name in ("POST", "get", "OPTIONS", "path")] == [None] * 4


def test_an_answer_is_text_or_bytes() -> None:
    assert WebResponse("é").text == WebResponse("é".encode()).text == "é"
    assert "secret" not in repr(WebResponse(b"secret"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        WebResponse.json(float("nan"))
