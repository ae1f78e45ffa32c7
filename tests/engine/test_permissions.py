"""Permission sets against Asok's own matcher, and malformed input."""

from __future__ import annotations

import enum
import string

import pytest
from asok.admin.rbac import _match_perm_pattern, _parse_permission_list
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asok_auth_core.engine.permissions import (
    MAX_LENGTH,
    MAX_VERDICTS,
    NOTHING,
    PermissionSet,
    candidates,
    compile_grants,
    compile_text,
    intersection,
    is_well_formed,
    union,
)
from asok_auth_core.types import Grant

PARTS = st.text(alphabet="ab:_-1/", min_size=1, max_size=2)
PERMISSIONS = st.lists(PARTS, min_size=1, max_size=4).map(".".join)
PATTERNS = st.one_of(st.just("*"), PERMISSIONS, PERMISSIONS.map(lambda p: f"{p}.*"))
GRANTS = st.lists(PATTERNS, max_size=8)
ANY_TEXT = st.one_of(st.text(max_size=12), st.text(alphabet="ab.*, \n", max_size=8), PATTERNS)

BAD = [
    "",
    ".",
    "..",
    "....",
    "a.",
    ".a",
    "a..b",
    "**",
    "a.**",
    "*.a",
    "a.*.b",
    "a*",
    "a.b*",
    "*a",
    " ",
    " a.b",
    "a.b ",
    "a b",
    "a.b\n",
    "a\t.b",
    "a,b",
    "a.b\x00",
    "\x7f",
    "p\u043ests.edit",  # Cyrillic o
    "posts\uff0eedit",  # full-width stop
    "posts.ed\u200bit",  # zero-width space
    "posts\u2024edit",  # one dot leader
    "po\u0455ts.edit",
    "x" * 10_240,
    "a." * 5_120 + "a",
    None,
    5,
    0.5,
    b"posts.edit",
    [],
    {},
    ["posts.edit"],
    ("posts", "edit"),
    object(),
    True,
]


def asok_allows(grants: list[str], permission: str) -> bool:
    return any(_match_perm_pattern(grant, permission) for grant in grants)


@pytest.mark.requirement("SECURITY-28")
@given(GRANTS, PATTERNS)
@example(["a.*"], "a")
@example(["a.*"], "a.b.c")
@example(["a"], "a.*")
@example(["a.*"], "a.*")
@example(["a.b.*"], "a.*")
def test_same_verdict_as_asok_on_well_formed_input(grants: list[str], permission: str) -> None:
    held = compile_grants(grants)
    assert held.allows(permission) is asok_allows(grants, permission)
    assert held.allows(permission) is asok_allows(grants, permission), "asked again"
    grant = held.grant_for(permission)
    assert (grant is not None) is asok_allows(grants, permission)
    assert grant is None or (grant.pattern in grants and _match_perm_pattern(grant.pattern, permission))


@given(PATTERNS)
def test_candidates_are_exactly_the_patterns_that_match(permission: str) -> None:
    found = candidates(permission)
    assert len(found) == len(set(found)) <= permission.count(".") + 2
    prefixes = {permission[:i] for i in range(1, len(permission) + 1)}
    possible = {p for prefix in prefixes for p in (prefix, f"{prefix}.*") if is_well_formed(p)} | {"*"}
    assert set(found) == {p for p in possible if _match_perm_pattern(p, permission)}


@pytest.mark.requirement("SECURITY-28")
@pytest.mark.parametrize("asked", BAD, ids=range(len(BAD)))
def test_malformed_permissions_are_denied_without_an_exception(asked: object) -> None:
    for held in (
        compile_grants(["*"]),
        union([compile_grants(["*"]), compile_grants(["a.*"])]),
        intersection(compile_grants(["*"]), compile_grants(["*"])),
    ):
        assert held.allows(asked) is False  # type: ignore[arg-type]
        assert held.grant_for(asked) is None  # type: ignore[arg-type]


@pytest.mark.requirement("SECURITY-28")
@pytest.mark.parametrize("pattern", BAD, ids=range(len(BAD)))
def test_malformed_grants_grant_nothing_and_are_listed(pattern: object) -> None:
    held = compile_grants([pattern, "good.one"], "role x")  # type: ignore[list-item]
    assert [grant.pattern for grant in held] == ["good.one"]
    assert [grant.source for grant in held.malformed] == ["role x"]
    assert held.allows("good.one")
    assert not held.allows("posts.edit")
    as_grant = compile_grants([Grant(pattern, "role y")])  # type: ignore[arg-type]
    assert not list(as_grant)
    assert [grant.source for grant in as_grant.malformed] == ["role y"]


@given(st.lists(ANY_TEXT, max_size=6), ANY_TEXT)
def test_any_text_is_well_formed_or_has_no_effect(grants: list[str], asked: str) -> None:
    good = [pattern for pattern in grants if is_well_formed(pattern)]
    held = compile_grants(grants)
    assert {grant.pattern for grant in held} == set(good)
    assert [grant.pattern for grant in held.malformed] == [p for p in grants if not is_well_formed(p)]
    assert held.allows(asked) is (is_well_formed(asked) and asok_allows(good, asked))


@pytest.mark.requirement("SECURITY-28")
@given(GRANTS, PATTERNS, PATTERNS)
def test_adding_a_grant_never_removes_a_permission(grants: list[str], more: str, asked: str) -> None:
    if compile_grants(grants).allows(asked):
        assert compile_grants([*grants, more]).allows(asked)
        assert union([compile_grants(grants), compile_grants([more])]).allows(asked)


@given(GRANTS, GRANTS, PATTERNS)
def test_union_and_intersection_decide_as_both_sides_would(a: list[str], b: list[str], asked: str) -> None:
    one, two = compile_grants(a, "one"), compile_grants(b, "two")
    both, either = intersection(one, two), union([one, two])
    assert either.allows(asked) is (asok_allows(a, asked) or asok_allows(b, asked))
    assert both.allows(asked) is (asok_allows(a, asked) and asok_allows(b, asked))
    for held in (both, either):
        assert (held.grant_for(asked) is not None) is held.allows(asked)
        assert compile_grants(held).allows(asked) is held.allows(asked), "its grants say the same"


@given(GRANTS, GRANTS, PATTERNS, PERMISSIONS)
def test_covers_any_finds_every_overlap(a: list[str], b: list[str], pattern: str, witness: str) -> None:
    for held in (
        compile_grants(a),
        union([compile_grants(a), compile_grants(b)]),
        intersection(compile_grants(a), compile_grants(b)),
    ):
        if held.allows(witness) and _match_perm_pattern(pattern, witness):
            assert held.covers_any(pattern)
        narrower = [grant.pattern for grant in held if _match_perm_pattern(pattern, grant.pattern)]
        assert held.covers_any(pattern) is bool(narrower or held.allows(pattern))


@pytest.mark.parametrize(
    ("grants", "pattern", "expected"),
    [
        (["admin.users"], "admin.*", True),
        (["admin.*"], "admin.*", True),
        (["*"], "admin.*", True),
        (["admin.users.*"], "admin.*", True),
        (["admin.*"], "admin.users.edit", True),
        (["admin"], "admin.*", False),
        (["administrator.x"], "admin.*", False),
        (["posts.edit"], "*", True),
        ([], "*", False),
    ],
)
def test_covers_any_by_example(grants: list[str], pattern: str, expected: bool) -> None:
    held = compile_grants(grants)
    assert held.covers_any(pattern) is expected
    assert held.covers_any(pattern) is expected  # the second time from what the first has sorted


@pytest.mark.parametrize("pattern", ["", "admin.**", "admin*", " admin.*", None])
def test_a_misspelled_policy_is_an_error(pattern: object) -> None:
    with pytest.raises(ValueError, match="not a permission pattern"):
        compile_grants(["*"]).covers_any(pattern)  # type: ignore[arg-type]


@pytest.mark.parametrize("grants", ["posts.*", b"posts.*", "*"])
def test_a_bare_string_is_rejected_as_its_characters_could_grant_everything(grants: object) -> None:
    with pytest.raises(TypeError, match="list of patterns"):
        compile_grants(grants)  # type: ignore[arg-type]


class Right(str, enum.Enum):
    EDIT = "posts.edit"
    STAR = "posts.*"


def test_members_of_a_string_enumeration_are_their_values() -> None:
    assert compile_grants([Right.STAR]).allows("posts.edit")
    held = compile_grants(["posts.edit"])
    assert held.allows(Right.EDIT)
    assert not held.allows(Right.STAR)


@given(st.lists(st.text(alphabet="ab.* \t\u00a0", max_size=5), max_size=6).map(",".join), PATTERNS)
def test_text_is_read_as_asok_reads_it(text: str, asked: str) -> None:
    parsed = [pattern for pattern in _parse_permission_list(text) if is_well_formed(pattern)]
    held = compile_text(text, "role")
    assert {grant.pattern for grant in held} == set(parsed)
    assert held.allows(asked) is asok_allows(parsed, asked)


def test_the_length_limit_is_the_same_for_grants_and_questions() -> None:
    longest = "a" * MAX_LENGTH
    held = compile_grants([longest, longest + "a", "b.c"])
    assert held.allows(longest)
    assert not compile_grants(["*"]).allows(longest + "a")
    assert [grant.pattern for grant in held.malformed] == [longest + "a"]


def test_verdicts_are_cached_within_bounds_and_never_for_malformed_permissions() -> None:
    held = compile_grants(["a.*"])
    for i in range(3 * MAX_VERDICTS):
        assert held.allows(f"a.x{i}")
        assert not held.allows(f"b.x{i}")
        assert not held.allows(f"bad {i}")
        assert len(held._verdicts) <= MAX_VERDICTS
    assert not any(" " in question for question in held._verdicts)


def test_every_visible_ascii_character_has_one_meaning() -> None:
    for character in map(chr, range(256)):
        legal = character in string.printable and character.strip() and character not in ".,"
        assert is_well_formed(character) is bool(legal), repr(character)
        assert is_well_formed(f"a{character}b") is ((bool(legal) and character != "*") or character == ".")


def test_the_most_specific_grant_and_its_first_source_are_named() -> None:
    held = compile_grants(
        [Grant("*", "root"), Grant("a.*", "role a"), Grant("a.b", "one"), Grant("a.b", "two")]
    )
    assert held.grant_for("a.b") == Grant("a.b", "one")
    assert held.grant_for("a.c") == Grant("a.*", "role a")
    assert held.grant_for("z") == Grant("*", "root")
    mixed = compile_grants(["a.b", Grant("c.d", "theirs"), Grant("bad ", "theirs")], "ours")
    assert set(mixed) == {Grant("a.b", "ours"), Grant("c.d", "theirs")}


def test_an_empty_set_allows_nothing() -> None:
    assert not NOTHING.allows("a")
    assert union([]) is NOTHING
    assert union([NOTHING, NOTHING]) is NOTHING
    assert not NOTHING.covers_any("*")


@settings(max_examples=50)
@given(st.lists(GRANTS, min_size=1, max_size=4), PATTERNS)
def test_the_order_of_grants_never_matters(several: list[list[str]], asked: str) -> None:
    sets: list[PermissionSet] = [compile_grants(grants) for grants in several]
    turned = list(reversed(sets))
    assert union(sets).allows(asked) is union(turned).allows(asked)
    flat = [pattern for grants in several for pattern in grants]
    assert compile_grants(flat).allows(asked) is compile_grants(flat[::-1]).allows(asked)


def test_a_set_cannot_be_given_new_attributes() -> None:
    held = compile_grants(["a.b"])
    with pytest.raises(AttributeError):
        held.grants = ["*"]  # type: ignore[attr-defined]
    source = ["a.b"]
    held = compile_grants(source)
    source.append("*")
    assert not held.allows("c")


def test_a_sets_repr_shows_its_size() -> None:
    assert repr(compile_grants(["posts.edit", "posts.*", "not fine"])) == "<CompiledGrants of 2 pattern(s)>"
