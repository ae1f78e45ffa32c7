"""Measure permission checks; compare with Asok, casbin, cedarpy and fnmatch.

    nox -s bench -- permissions            or   python benchmarks/permissions.py [--quick]

Every figure is a median of this one run. One user holds N grants in one role: six in seven are plain
permissions, one in seven is a wildcard. All are asked the same four questions; each answer is compared
with Asok's before anything is timed. A peer is left out ("-") where one check of it would take seconds.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import platform
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import partial
from types import SimpleNamespace
from typing import Any

import casbin
import cedarpy
from asok.admin.rbac import _user_can

from asok_auth_core.adapters.asok import roles
from asok_auth_core.auth import Auth
from asok_auth_core.engine.keys import KeyRing
from asok_auth_core.engine.permissions import compile_grants
from asok_auth_core.events import Events
from asok_auth_core.flows.permissions import permissions_of, user_can
from asok_auth_core.plugins import Plugins
from asok_auth_core.registry import PluginRegistry
from asok_auth_core.settings import Settings

SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
PEER_LIMIT = {"casbin": 10_000, "cedarpy": 10_000, "fnmatch": 10_000}
TARGET_SIZE = 10_000
BATCH_SECONDS = 0.02
LOOP = 1000

CASBIN_MODEL = """
[request_definition]
r = sub, obj
[policy_definition]
p = sub, obj
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && keyMatch(r.obj, p.obj)
"""


def grants_of(size: int) -> list[str]:
    return [f"area{i}.*" if i % 7 == 6 else f"model{i}.verb{i % 5}" for i in range(size)]


def questions(size: int) -> dict[str, str]:
    last = max(i for i in range(size) if i % 7 != 6)
    wild = max(i for i in range(size) if i % 7 == 6)
    return {
        "plain": f"model{last}.verb{last % 5}",
        "wildcard": f"area{wild}.part.edit",
        "denied": "nothing.like.this",
        "malformed": "area6.*.x",
    }


def median_seconds(call: Callable[[], object], rounds: int = 15) -> float:
    """The median, over rounds, of the mean time of one call in a batch."""
    started = time.perf_counter()
    call()
    once = time.perf_counter() - started
    if once > 1:
        return once
    number = max(1, int(BATCH_SECONDS / max(once, 1e-7)))
    rounds = max(3, min(rounds, int(2 / max(once * number, 1e-7))))
    found = []
    for _ in range(rounds):
        repeats = range(number)
        started = time.perf_counter()
        for _ in repeats:
            call()
        found.append((time.perf_counter() - started) / number)
    return statistics.median(found)


def side_by_side(calls: dict[str, Callable[[], object]], rounds: int = 41) -> dict[str, float]:
    """Like :func:`median_seconds`, but interleaved, so other load affects all alike."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(5):
                call()
            found[name].append((time.perf_counter() - started) / 5)
    return {name: statistics.median(times) for name, times in found.items()}


def compiled_loop(expression: str, **names: object) -> Callable[[], object]:
    """LOOP evaluations of ``expression`` without call overhead, for nanoseconds."""
    arguments = ", ".join(names)
    loop = f"        for _ in R:\n            {expression}\n"
    body = f"def run({arguments}):\n    def call():\n{loop}    return call"
    scope: dict[str, Any] = {"R": range(LOOP)}
    exec(body, scope)
    call: Callable[[], object] = scope["run"](**names)
    return call


def asok_user(grants: object) -> Any:
    role = SimpleNamespace(name="everything", permissions=grants)
    return SimpleNamespace(id=1, email="ada@example.org", is_admin=False, roles=[role])


def an_auth() -> Auth:
    registry = PluginRegistry()
    registry.register(roles, "roles")
    plugins = Plugins(registry)
    unused: Any = None
    events, keys = Events(plugins, time.time), KeyRing([b"k" * 32])
    return Auth(Settings(), plugins, events, keys, unused, unused, unused, unused, unused, unused)


def casbin_check(grants: list[str]) -> Callable[[str], bool]:
    enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=CASBIN_MODEL))
    enforcer.add_policies([["ada", pattern] for pattern in grants])
    return lambda permission: bool(enforcer.enforce("ada", permission))


def cedar_check(grants: list[str]) -> Callable[[str], bool]:
    """One policy per grant, parsed once: by action, or by ``like`` for a wildcard."""
    policies = cedarpy.PolicySet.from_str(
        "\n".join(
            f'permit(principal, action, resource) when {{ context.permission like "{pattern}" }};'
            if pattern.endswith("*")
            else f'permit(principal, action == Action::"{pattern}", resource);'
            for pattern in grants
        )
    )
    entities = cedarpy.Entities.from_json_str("[]")

    def check(permission: str) -> bool:
        request = {
            "principal": 'User::"ada"',
            "action": f'Action::"{permission}"',
            "resource": 'App::"app"',
            "context": {"permission": permission},
        }
        return bool(cedarpy.is_authorized(request, policies, entities).allowed)

    return check


def fnmatch_check(grants: list[str]) -> Callable[[str], bool]:
    return lambda permission: any(fnmatchcase(permission, pattern) for pattern in grants)


PEERS: dict[str, Callable[[list[str]], Callable[[str], bool]]] = {
    "casbin": casbin_check,
    "cedarpy": cedar_check,
    "fnmatch": fnmatch_check,
}


def shown(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, scale in (("ns", 1e9), ("us", 1e6), ("ms", 1e3)):
        if seconds * scale < 1000:
            return f"{seconds * scale:,.0f} {unit}" if unit == "ns" else f"{seconds * scale:,.1f} {unit}"
    return f"{seconds:,.2f} s"


def table(title: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    print(f"\n{title}\n")
    for number, line in enumerate(lines):
        print("  " + "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))


def agree(ours: Any, asok: Any, name: str, check: Callable[[str], bool], asked: dict[str, str]) -> None:
    """Exit if a peer's answers differ from Asok's: its times would mean nothing."""
    for kind in ("plain", "wildcard", "denied"):
        expected = _user_can(asok, asked[kind])
        if check(asked[kind]) is not expected or ours.allows(asked[kind]) is not expected:
            sys.exit(f"{name} does not agree with Asok about {asked[kind]!r}.")


def measure_checks(sizes: tuple[int, ...]) -> dict[int, dict[str, dict[str, float | None]]]:
    """Seconds per check, by size, kind of question and implementation."""
    found: dict[int, dict[str, dict[str, float | None]]] = {size: {} for size in sizes}
    sets = {size: compile_grants(grants_of(size), "role everything") for size in sizes}
    bare = {size: frozenset(grants_of(size)) for size in sizes}
    auth = an_auth()
    for kind in questions(SIZES[0]):
        loops = {}
        for size in sizes:
            permission = questions(size)[kind]
            user = asok_user(",".join(grants_of(size)))
            held = permissions_of(auth, user)
            loops[f"{size} frozenset"] = compiled_loop("p in s", p=permission, s=bare[size])
            loops[f"{size} ours"] = compiled_loop("s.allows(p)", p=permission, s=sets[size])
            loops[f"{size} user.can"] = compiled_loop(
                "c(a, u, p, held=h)", c=user_can, a=auth, u=user, p=permission, h=held
            )
        times = side_by_side(loops)
        for size in sizes:
            found[size][kind] = {
                "frozenset": times[f"{size} frozenset"] / LOOP,
                "ours": times[f"{size} ours"] / LOOP,
                "ours, never asked": never_asked(kind, size),
                "user.can": times[f"{size} user.can"] / LOOP,
            }
    for size in sizes:
        grants, asked = grants_of(size), questions(size)
        user = asok_user(",".join(grants))
        peers = {name: make(grants) for name, make in PEERS.items() if size <= PEER_LIMIT[name]}
        for name, check in peers.items():
            agree(sets[size], user, name, check, asked)
        for kind, permission in asked.items():
            found[size][kind]["Asok"] = median_seconds(partial(_user_can, user, permission))
            for name in PEERS:
                check = peers.get(name)
                found[size][kind][name] = median_seconds(partial(check, permission), 5) if check else None
    return found


def never_asked(kind: str, size: int) -> float:
    """Seconds for a permission that the set was not asked before, over 10,000."""
    plain = [f"model{i}.verb{i % 5}" for i in range(size) if i % 7 != 6]
    areas = [f"area{i}" for i in range(size) if i % 7 == 6]
    random.Random(size).shuffle(plain)
    times = []
    ours = None
    for number in range(0, 10_000, 500):
        fresh = {
            "plain": plain[number % len(plain) :][:500],
            "wildcard": [f"{areas[n % len(areas)]}.part.x{n}" for n in range(number, number + 500)],
            "denied": [f"nothing.like.x{n}" for n in range(number, number + 500)],
            "malformed": [f"nothing.*.x{n}" for n in range(number, number + 500)],
        }[kind]
        if ours is None or size <= 1_000:
            ours = compile_grants(grants_of(size))
        started = time.perf_counter()
        for permission in fresh:
            ours.allows(permission)
        times.append((time.perf_counter() - started) / len(fresh))
    return statistics.median(times)


def first_check(size: int, as_list: bool) -> tuple[float, float]:
    """(ours, Asok's): seconds for a new user's first check, with an unchanged role."""
    stored = json.dumps(grants_of(size)) if as_list else ",".join(grants_of(size)).encode()
    auth = an_auth()
    times: dict[str, list[float]] = {"ours": [], "asok": []}
    checks = {"ours": partial(user_can, auth), "asok": _user_can}
    for _ in range(60):
        for name, check in checks.items():
            user = asok_user(json.loads(stored) if isinstance(stored, str) else stored.decode())
            started = time.perf_counter()
            check(user, "nothing.here")
            times[name].append(time.perf_counter() - started)
    return statistics.median(times["ours"][1:]), statistics.median(times["asok"][1:])


def compile_times(size: int) -> tuple[float, float]:
    """(ours, frozenset): seconds to compile the grants."""
    grants = grants_of(size)
    return median_seconds(lambda: compile_grants(grants, "role")), median_seconds(lambda: frozenset(grants))


def bytes_per_grant(size: int) -> tuple[float, float]:
    """(ours, frozenset): bytes per grant, including the pattern's text."""
    text = ",".join(grants_of(size))
    sizes = []
    for build in (lambda: compile_grants(text.split(","), "role"), lambda: frozenset(text.split(","))):
        gc.collect()
        tracemalloc.start()
        kept = build()
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0] / size)
        tracemalloc.stop()
        del kept
    return sizes[0], sizes[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Up to 10,000 grants only.")
    sizes = SIZES[:4] if parser.parse_args().quick else SIZES
    logging.disable(logging.CRITICAL)
    print(f"Python {platform.python_version()}, casbin and cedarpy as installed; medians of one run.")

    checks = measure_checks(sizes)
    columns = list(checks[sizes[0]]["plain"])
    for kind in checks[sizes[0]]:
        rows = [[f"{size:,}", *(shown(checks[size][kind][column]) for column in columns)] for size in sizes]
        table(f"One check, {kind}", ["grants", *columns], rows)

    at = checks[TARGET_SIZE]
    rows = []
    for kind in ("plain", "wildcard", "denied"):
        mine, bare, asok = (at[kind][name] or 0 for name in ("ours", "frozenset", "Asok"))
        every = [checks[size][kind]["ours"] or 0 for size in sizes]
        rows += [
            [f"Asok / ours, {kind}", f"{asok / mine:,.0f} x", ">= 5,000 x", verdict(asok / mine >= 5000)],
            [f"ours / frozenset, {kind}", f"{mine / bare:.2f} x", "<= 3 x", verdict(mine / bare <= 3)],
            [
                f"slowest / fastest of {sizes[0]:,} to {sizes[-1]:,}, {kind}",
                f"{max(every) / min(every):.2f} x",
                "flat: <= 1.5 x",
                verdict(max(every) / min(every) <= 1.5),
            ],
        ]
    for as_list in (False, True):
        mine, asok = first_check(TARGET_SIZE, as_list)
        form = "a list" if as_list else "a text"
        name = f"first check of a fresh user, {form}: {shown(mine)}, Asok {shown(asok)}"
        rows.append([name, f"1/{asok / mine:.1f}", "<= 1/20", verdict(asok / mine >= 20)])
    mine, bare = compile_times(TARGET_SIZE)
    name = f"compile {shown(mine)} / frozenset {shown(bare)}"
    rows.append([name, f"{mine / bare:.1f} x", "<= 40 x", verdict(mine / bare <= 40)])
    mine, bare = bytes_per_grant(TARGET_SIZE)
    rows.append(["memory per grant, with its text", f"{mine:.0f} B", f"frozenset {bare:.0f} B", "stated"])
    table(f"Against the targets, with {TARGET_SIZE:,} grants", ["what", "measured", "target", ""], rows)


def verdict(holds: bool) -> str:
    return "holds" if holds else "MISSED"


if __name__ == "__main__":
    main()
