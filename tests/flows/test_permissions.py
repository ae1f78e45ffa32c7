"""Decide and explain: grants are merged, denials win, errors deny."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest
from asok.admin.rbac import _match_perm_pattern
from hypothesis import given, settings
from hypothesis import strategies as st

from asok_auth_core.auth import Auth
from asok_auth_core.engine.keys import KeyRing
from asok_auth_core.engine.permissions import compile_grants
from asok_auth_core.errors import LoginRequired, PermissionDenied
from asok_auth_core.events import Events
from asok_auth_core.flows.permissions import (
    Explanation,
    can,
    permissions_in,
    permissions_of,
    require,
    user_can,
    user_explain,
)
from asok_auth_core.hookspecs import hookimpl
from asok_auth_core.plugins import Plugins
from asok_auth_core.registry import PluginRegistry
from asok_auth_core.settings import Settings
from asok_auth_core.testing.fakes import FakeRequest
from asok_auth_core.types import Authentication, Event, Grant, User

PATTERN = st.sampled_from(["*", "a", "b", "a.*", "a.b", "a.c", "a.b.*", "a.b.c", "b.*", "a.", "**", "", " a"])
ASKED = st.sampled_from(["*", "a", "b", "a.*", "a.b", "a.c", "a.b.*", "a.b.c", "b.x", "a.", "**", "", "a. b"])


class Member:
    id = 7


USER = Member()


class Resolver:
    def __init__(self, *grants: str | Grant, error: Exception | None = None) -> None:
        self.grants, self.error = grants, error

    @hookimpl
    def asok_auth_permissions(self, user: User) -> Iterable[str | Grant]:
        if self.error:
            raise self.error
        return self.grants


class HalfWay:
    @hookimpl
    def asok_auth_permissions(self, user: User) -> Iterable[str | Grant]:
        yield "*"
        raise RuntimeError("the table is gone")


class Denier:
    def __init__(self, answer: Callable[[str, object], str | None]) -> None:
        self.answer = answer

    @hookimpl
    def asok_auth_denies(self, user: User, permission: str, resource: object) -> str | None:
        return self.answer(permission, resource)


class Observer:
    def __init__(self) -> None:
        self.events: list[Event] = []

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        self.events.append(event)


def denying(*permissions: str) -> Denier:
    return Denier(lambda permission, resource: "not now" if permission in permissions else None)


def by_token(*scopes: str) -> FakeRequest:
    """A request of USER with an API token that has these scopes."""
    request = FakeRequest(user=USER)
    request.authentication = Authentication(USER, scopes, ambient=False)
    return request


def auth_with(*plugins: object, **named: object) -> Auth:
    registry = PluginRegistry()
    for number, plugin in enumerate(plugins):
        registry.register(plugin, f"plugin{number}")
    for name, plugin in named.items():
        registry.register(plugin, name)
    unused = cast("Any", None)
    return Auth(
        Settings(),
        plugins := Plugins(registry),
        Events(plugins, lambda: 5.0),
        KeyRing([b"k" * 32]),
        unused,
        unused,
        unused,
        unused,
        unused,
        unused,
        clock=lambda: 5.0,
    )


def replay(explanation: Explanation) -> bool:
    """The verdict that follows from what an explanation says, by Asok's own matcher."""
    grant = explanation.grant
    matches = grant is not None and _match_perm_pattern(grant.pattern, explanation.permission)
    return matches and explanation.in_scope and not explanation.rejected_by


GRANT_LISTS = st.lists(st.lists(PATTERN, max_size=3), min_size=1, max_size=3)


@pytest.mark.requirement("SECURITY-28")
@settings(deadline=None)
@given(GRANT_LISTS, st.lists(ASKED, max_size=2), st.none() | st.lists(PATTERN, max_size=2), ASKED)
def test_explain_agrees_with_can(
    grants: list[list[str]], denied: list[str], scopes: list[str] | None, asked: str
) -> None:
    auth = auth_with(*(Resolver(*patterns) for patterns in grants), denying(*denied))
    held = permissions_of(auth, USER, scopes)
    verdict = user_can(auth, USER, asked, held=held)
    reason = user_explain(auth, USER, asked, held=held)
    assert reason.allowed is verdict
    assert replay(reason) is verdict
    assert ("allowed" if verdict else "denied") in str(reason)
    if reason.grant is not None:
        assert reason.grant.pattern in grants[int(reason.plugin.removeprefix("plugin"))]
    if reason.missing:
        for pattern in reason.missing:
            wider = auth_with(*(Resolver(*patterns) for patterns in grants), Resolver(pattern))
            assert user_can(wider, USER, asked), "what is called missing would have been enough"


@pytest.mark.requirement("SECURITY-28")
@settings(deadline=None, max_examples=60)
@given(GRANT_LISTS, st.lists(ASKED, max_size=2), PATTERN, ASKED, ASKED)
def test_a_grant_never_removes_and_a_denial_never_adds_a_permission(
    grants: list[list[str]], denied: list[str], more: str, less: str, asked: str
) -> None:
    resolvers = [Resolver(*patterns) for patterns in grants]
    before = user_can(auth_with(*resolvers, denying(*denied)), USER, asked)
    assert user_can(auth_with(*resolvers, denying(*denied), Resolver(more)), USER, asked) >= before
    assert user_can(auth_with(*resolvers, denying(*denied, less)), USER, asked) <= before
    assert user_can(auth_with(*resolvers, denying(*denied), denying(less)), USER, asked) <= before
    narrowed = permissions_of(auth_with(*resolvers), USER, scopes=[more])
    assert user_can(auth_with(*resolvers), USER, asked, held=narrowed) <= user_can(
        auth_with(*resolvers), USER, asked
    )


@pytest.mark.requirement("SECURITY-28")
@settings(deadline=None, max_examples=40)
@given(GRANT_LISTS, st.lists(ASKED, max_size=2), ASKED)
def test_the_order_of_plugins_never_matters(grants: list[list[str]], denied: list[str], asked: str) -> None:
    plugins = {f"p{i}": Resolver(*patterns) for i, patterns in enumerate(grants)}
    named: dict[str, object] = {
        **plugins,
        "broken": Resolver("*", error=ValueError("x")),
        "no": denying(*denied),
    }
    reasons = {
        (reason.allowed, reason.grant, reason.plugin, reason.rejected_by, reason.missing)
        for order in itertools.islice(itertools.permutations(named), 12)
        for reason in [user_explain(auth_with(**{name: named[name] for name in order}), USER, asked)]
    }
    assert len(reasons) == 1


@pytest.mark.requirement("SECURITY-32")
@pytest.mark.parametrize(
    "broken",
    [
        Resolver("*", error=ValueError("secret-canary")),
        Resolver("*", error=LookupError()),
        HalfWay(),
    ],
)
def test_a_resolver_that_raises_grants_nothing_and_the_others_still_count(
    broken: object, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Observer()
    auth = auth_with(broken=broken, good=Resolver("posts.edit"), seen=seen)
    assert user_can(auth, USER, "posts.edit")
    assert not user_can(auth, USER, "posts.delete")
    reason = user_explain(auth, USER, "posts.delete")
    assert reason.failed == ("broken",)
    assert "Plugin broken raised an error" in str(reason)
    names = {event.name for event in seen.events}
    assert names == {"permission.resolver_failed"}
    assert seen.events[0].user_id == "7"
    assert seen.events[0].detail["plugin"] == "broken"
    assert "secret-canary" not in repr(seen.events)
    assert any(
        record.levelno == logging.ERROR and "broken" in record.getMessage() for record in caplog.records
    )


@pytest.mark.requirement("SECURITY-32")
@pytest.mark.parametrize("answer", ["posts.*", "*", b"*", 5, True, object()])
def test_an_answer_that_is_not_a_list_of_grants_grants_nothing(answer: object) -> None:
    class Wrong:
        @hookimpl
        def asok_auth_permissions(self, user: User) -> object:
            return answer

    auth = auth_with(wrong=Wrong())
    assert not user_can(auth, USER, "posts.edit")
    assert not user_can(auth, USER, "p")
    assert user_explain(auth, USER, "posts.edit").failed == ("wrong",)


@pytest.mark.requirement("SECURITY-32")
def test_a_denial_wins_and_an_exception_denies() -> None:
    def broken(permission: str, resource: object) -> str | None:
        raise ValueError("secret-canary")

    seen = Observer()
    auth = auth_with(all=Resolver("*"), hours=denying("posts.edit"), seen=seen)
    assert not user_can(auth, USER, "posts.edit")
    assert user_can(auth, USER, "posts.view")
    reason = user_explain(auth, USER, "posts.edit")
    assert (reason.allowed, reason.rejected_by, reason.denial) == (False, "hours", "not now")
    assert reason.grant == Grant("*")
    assert "Denied by plugin hours: not now" in str(reason)

    auth = auth_with(all=Resolver("*"), broken=Denier(broken), seen=seen)
    assert not user_can(auth, USER, "posts.view")
    assert user_explain(auth, USER, "posts.view").rejected_by == "broken"
    assert [event.name for event in seen.events] == ["permission.check_failed"] * 2
    assert "secret-canary" not in repr(seen.events)


def test_denies_gets_the_resource_and_is_called_only_for_granted_permissions() -> None:
    asked: list[tuple[str, object]] = []

    def foreign(permission: str, resource: object) -> str | None:
        asked.append((permission, resource))
        return "not yours" if resource == "theirs" else None

    auth = auth_with(some=Resolver("posts.*"), owner=Denier(foreign))
    assert user_can(auth, USER, "posts.edit", "mine")
    assert not user_can(auth, USER, "posts.edit", "theirs")
    assert user_explain(auth, USER, "posts.edit", "theirs").denial == "not yours"
    assert not user_can(auth, USER, "users.edit", "mine")
    assert asked == [("posts.edit", "mine"), ("posts.edit", "theirs"), ("posts.edit", "theirs")]


@pytest.mark.requirement("SECURITY-28")
def test_an_anonymous_user_has_no_permissions() -> None:
    auth = auth_with(all=Resolver("*"))
    assert not user_can(auth, None, "posts.edit")
    assert user_explain(auth, None, "posts.edit").allowed is False
    assert "No user is logged in" in str(user_explain(auth, None, "posts.edit"))
    with pytest.raises(LoginRequired):
        require(auth, FakeRequest(), "posts.edit")


@pytest.mark.requirement("SECURITY-28")
@pytest.mark.parametrize(
    "asked", ["", ".", "a.", ".a", "**", " ", "x" * 10_240, "p\u043ests.edit", None, 5, [], {}]
)
def test_malformed_permissions_are_denied_with_a_reason(asked: Any) -> None:
    seen = Observer()
    auth = auth_with(all=Resolver("*"), seen=seen)
    assert user_can(auth, USER, asked) is False
    reason = user_explain(auth, USER, asked)
    assert not reason.allowed
    assert "not a permission" in str(reason)
    assert len(str(reason)) < 300
    with pytest.raises(PermissionDenied):
        require(auth, FakeRequest(user=USER), asked)
    assert len(str(seen.events[0].detail["permission"])) < 100


@pytest.mark.requirement("SECURITY-31")
def test_require_passes_or_raises_with_an_event_and_an_explanation() -> None:
    seen = Observer()
    auth = auth_with(some=Resolver(Grant("posts.view", "role author"), "bad grant"), seen=seen)
    assert require(auth, FakeRequest(user=USER), "posts.view") is USER
    assert seen.events == []
    with pytest.raises(PermissionDenied) as raised:
        require(auth, FakeRequest(user=USER), "posts.edit")
    assert raised.value.status == 403
    assert "'posts.edit', 'posts.*', '*'" in raised.value.explanation
    assert "'bad grant' is not well formed" in raised.value.explanation
    assert "posts" not in raised.value.message, "users must not learn what exists"
    [event] = seen.events
    assert (event.name, event.user_id, event.detail["permission"]) == (
        "permission.denied",
        "7",
        "'posts.edit'",
    )


def test_scopes_limit_even_superusers() -> None:
    auth = auth_with(all=Resolver("*"))
    held = permissions_of(auth, USER, scopes=["posts.view", "files.*", "oops "])
    assert user_can(auth, USER, "posts.view", held=held)
    assert user_can(auth, USER, "files.read", held=held)
    assert not user_can(auth, USER, "posts.edit", held=held)
    assert not user_can(auth, USER, "oops", held=held)
    reason = user_explain(auth, USER, "posts.edit", held=held)
    assert not reason.in_scope
    assert "scopes do not include it" in str(reason)
    nothing = permissions_of(auth, USER, scopes=[])
    assert not user_can(auth, USER, "posts.view", held=nothing)


def test_only_a_denial_by_token_scopes_names_the_missing_scope() -> None:
    """RFC 6750, section 3.1: insufficient_scope asks for a wider token."""
    auth = auth_with(some=Resolver("posts.*"))
    for asked, scope in (("posts.edit", "posts.edit"), ("users.edit", None)):
        with pytest.raises(PermissionDenied) as raised:
            require(auth, by_token("posts.view"), asked)
        assert raised.value.scope == scope


@pytest.mark.requirement("SECURITY-43")
def test_a_check_with_the_request_knows_the_scopes_of_its_token() -> None:
    auth = auth_with(all=Resolver("*"))
    request = by_token("posts.view", "files.*")
    assert require(auth, request, "posts.view") is USER
    assert can(auth, request, "files.read")
    for asked in ("posts.edit", "users.view", "posts.*", "*"):
        assert not can(auth, request, asked)
        with pytest.raises(PermissionDenied) as raised:
            require(auth, request, asked)
        assert raised.value.scope == asked
    assert not can(auth, by_token(), "posts.view")
    assert can(auth, FakeRequest(user=USER), "users.view"), "no token, no scopes"


@pytest.mark.requirement("SECURITY-43")
def test_scopes_follow_the_user_whatever_object_a_page_loaded() -> None:
    class Loaded:
        def __init__(self, number: int | str) -> None:
            self.id = number

    auth = auth_with(all=Resolver("*"))
    request = by_token("posts.view")
    for same in (USER, Loaded(7), Loaded("7")):
        assert not permissions_in(auth, request, cast(User, same)).permissions.allows("posts.edit")
    assert permissions_in(auth, request, cast(User, Loaded(8))).permissions.allows("posts.edit")


@pytest.mark.requirement("SECURITY-43")
def test_what_was_asked_before_the_token_was_read_does_not_lift_its_scopes() -> None:
    """A login method may ask for a permission of the user it is about to return."""
    auth = auth_with(all=Resolver("*"))
    request = FakeRequest(user=USER)
    assert can(auth, request, "posts.edit")
    request.authentication = Authentication(USER, ("posts.view",), ambient=False)
    assert not can(auth, request, "posts.edit")


def test_the_plugins_are_asked_once_per_user_and_request() -> None:
    class Counting(Resolver):
        asked = 0

        @hookimpl
        def asok_auth_permissions(self, user: User) -> Iterable[str | Grant]:
            self.asked += 1
            return self.grants

    counting = Counting("posts.*")
    auth = auth_with(counting=counting)
    first, second = FakeRequest(user=USER), FakeRequest(user=USER)
    assert [can(auth, request, "posts.edit") for request in (first, first, second)] == [True] * 3
    assert counting.asked == 2


def test_a_compiled_set_is_used_unchanged() -> None:
    compiled = compile_grants([f"m{i}.view" for i in range(1000)], "role all")

    class Large:
        @hookimpl
        def asok_auth_permissions(self, user: User) -> Iterable[str | Grant]:
            return compiled

    held = permissions_of(auth_with(large=Large()), USER)
    assert held.permissions is compiled
    assert held.parts == (("large", compiled),)
    assert "of role all (plugin large)" in str(user_explain(auth_with(large=Large()), USER, "m3.view"))


def test_many_malformed_grants_are_counted_rather_than_listed() -> None:
    auth = auth_with(some=Resolver(*(f"bad {i}" for i in range(12))))
    text = str(user_explain(auth, USER, "posts.edit"))
    assert text.count("is not well formed") == 5
    assert "7 more grants are not well formed" in text
