"""A hundred installed plugins: startup time, and no cost per request."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from asok_auth_core.auth import Auth
from asok_auth_core.flows.login import complete_login
from asok_auth_core.flows.permissions import user_can
from asok_auth_core.registry import PluginRegistry
from asok_auth_core.testing import FakeRequest, FakeUser, MemoryUsers
from asok_auth_core.testing.parts import build_auth
from asok_auth_core.types import Proof

COUNT = 100
START_UP = 3.0
"""Seconds of one core that start-up with a hundred plugins may take; usual is 0.2."""

PLUGIN = """
from asok_auth_core.plugin import OpenIDProvider, hookimpl

class Provider(OpenIDProvider):
    name = "many{number}"
    label = "Many {number}"
    issuer = "https://many{number}.example"

@hookimpl
def asok_auth_providers():
    return [Provider()]
"""


@pytest.fixture(scope="module")
def entry_points(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[metadata.EntryPoint]]:
    """The entry points of a hundred distributions, found as installed ones are."""
    folder = tmp_path_factory.mktemp("site-packages")
    for number in range(COUNT):
        (folder / f"asok_many_{number}.py").write_text(PLUGIN.format(number=number))
        info = folder / f"asok_many_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: asok-many-{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[asok_auth]\nmany{number} = asok_many_{number}\n")
    sys.path.insert(0, str(folder))
    try:
        found = [entry for entry in metadata.entry_points(group="asok_auth") if entry.name.startswith("many")]
        assert len(found) == COUNT
        yield found
    finally:
        sys.path.remove(str(folder))
        for number in range(COUNT):
            sys.modules.pop(f"asok_many_{number}", None)


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[[list[metadata.EntryPoint]], Auth]]:
    made: list[Auth] = []

    def build(entry_points: list[metadata.EntryPoint]) -> Auth:
        users = MemoryUsers(FakeUser("1", "ada@example.com"))
        auth = build_auth(tmp_path, users=users, clock=time.time, entry_points=entry_points)
        made.append(auth)
        return auth

    yield build
    for auth in made:
        auth.outbox.close()
        auth.state.close()


def one_request(auth: Auth) -> None:
    ada = auth.users.by_id("1")
    assert ada is not None
    complete_login(auth, FakeRequest("/"), ada, Proof("app"))
    user_can(auth, ada, "posts.edit")


def test_a_hundred_plugins_start_quickly(
    entry_points: list[metadata.EntryPoint],
    build: Callable[[list[metadata.EntryPoint]], Auth],
) -> None:
    began = time.process_time()
    auth = build(entry_points)
    took = time.process_time() - began
    print(f"{COUNT} plugins start in {took:.3f} s")
    assert {f"many{number}" for number in range(COUNT)} <= set(auth.providers)
    assert took < START_UP, f"{took:.2f} s"


def test_a_request_calls_no_registration_hook(
    entry_points: list[metadata.EntryPoint], build: Callable[[list[metadata.EntryPoint]], Auth]
) -> None:
    def called(auth: Auth) -> list[tuple[str, int]]:
        calls: list[tuple[str, int]] = []
        stop = auth.plugins.registry.manager.add_hookcall_monitoring(
            lambda hook, implementations, arguments: calls.append((hook, len(implementations))),
            lambda outcome, hook, implementations, arguments: None,
        )
        one_request(auth)
        stop()
        return calls

    assert called(build(entry_points)) == called(build([])) != []


@pytest.mark.slow
def test_a_request_costs_no_more_with_a_hundred_plugins(
    entry_points: list[metadata.EntryPoint],
    build: Callable[[list[metadata.EntryPoint]], Auth],
) -> None:
    few, many = build([]), build(entry_points)

    def cost(auth: Auth) -> float:
        began = time.process_time()
        for _ in range(50):
            one_request(auth)
        return time.process_time() - began

    ratios = []
    for _ in range(5):
        # The least of many rounds is what the code costs; the rest is the machine's other work.
        pairs = [(cost(few), cost(many)) for _ in range(30)]
        ratios.append(min(m for _, m in pairs) / min(f for f, _ in pairs))
        if ratios[-1] <= 1.05:
            break
    print(f"a request costs {min(ratios):.3f} times as much")
    assert min(ratios) <= 1.05, ratios


def test_listing_a_hundred_plugins_needs_no_app(entry_points: list[metadata.EntryPoint]) -> None:
    found = PluginRegistry(inventory=True)
    found.discover(entry_points)
    assert len(found.infos) == COUNT
    assert {info.state for info in found.infos} == {"loaded"}
    assert {info.version for info in found.infos} == {"1.0"}
