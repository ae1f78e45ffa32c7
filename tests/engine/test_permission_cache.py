"""Compiled sets are shared, bounded, and never outlive what they were made from."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asok_auth_core.engine.permission_cache import PermissionCache
from asok_auth_core.engine.permissions import compile_grants, compile_text

PATTERN = st.sampled_from(["a.b", "a.*", "*", "b.c", "c", " d", "e\nf", "b.*", ""])


def test_equal_grants_share_a_set_and_other_grants_do_not() -> None:
    cache = PermissionCache()
    first = cache.text("a.b,c.d", "role editor")
    assert cache.text("".join(["a.b", ",c.d"]), "role editor") is first
    assert cache.text("a.b,c.e", "role editor") is not first
    assert cache.text("a.b,c.d", "role author") is not first, "an explanation names the source"
    listed = cache.patterns(["a.b", "c.d"], "role editor")
    assert cache.patterns(["a.b", "c.d"], "role editor") is listed
    assert cache.patterns(["a.b,c.d"], "role editor") is not first, "a list is not split at commas"
    assert not cache.patterns(["a.b,c.d"], "role editor").allows("a.b")


@pytest.mark.requirement("SECURITY-28")
def test_a_changed_role_is_another_set_at_once() -> None:
    cache = PermissionCache()
    assert cache.text("posts.edit", "role").allows("posts.edit")
    assert not cache.text("posts.view", "role").allows("posts.edit")
    assert cache.text("posts.edit", "role").allows("posts.edit")


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.lists(PATTERN, max_size=4)), max_size=12), PATTERN)
def test_the_cache_never_changes_a_verdict(steps: list[tuple[bool, list[str]]], asked: str) -> None:
    cache = PermissionCache(max_sets=3, max_grants=6)
    for as_text, patterns in steps:
        if as_text:
            text = ",".join(patterns)
            assert cache.text(text).allows(asked) is compile_text(text).allows(asked)
        else:
            assert cache.patterns(patterns).allows(asked) is compile_grants(patterns).allows(asked)
        assert len(cache) <= 3
        assert cache.grants <= 6


def test_the_cache_is_bounded_and_keeps_the_most_recently_used_set() -> None:
    cache = PermissionCache(max_sets=2, max_grants=100)
    kept = cache.text("a.a")
    cache.text("b.b")
    assert cache.text("a.a") is kept
    cache.text("c.c")
    assert cache.text("a.a") is kept
    assert len(cache) == 2


def test_a_set_over_the_bound_is_compiled_but_not_cached() -> None:
    cache = PermissionCache(max_sets=5, max_grants=10)
    large = cache.text(",".join(f"a.x{i}" for i in range(11)))
    assert large.allows("a.x10")
    assert len(cache) == 0
    assert cache.grants == 0
    malformed = cache.text(",".join(f"bad {i}" for i in range(11)))
    assert len(malformed.malformed) == 11
    assert len(cache) == 0


@pytest.mark.parametrize("patterns", [["a.b", 5], ["a.b", None, "c.d"], [b"*", "a.b"]])
def test_lists_with_non_strings_are_compiled_but_not_cached(patterns: list[str]) -> None:
    cache = PermissionCache()
    made = cache.patterns(patterns)
    assert made.allows("a.b")
    assert made.malformed
    assert len(cache) == 0


def test_a_bare_string_is_rejected() -> None:
    with pytest.raises(TypeError, match="list of patterns"):
        PermissionCache().patterns("posts.*")


def test_threads_share_the_cache_without_losing_count() -> None:
    cache = PermissionCache(max_sets=4, max_grants=40)
    wrong: list[str] = []

    def work(seed: int) -> None:
        for i in range(400):
            name = f"r{(i * seed) % 9}"
            if not cache.text(f"{name}.*").allows(f"{name}.x"):
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2, 5, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(cache) <= 4
    assert cache.grants == len(cache)
