"""Recovery codes: strength, cost, and codes imported from Asok's Admin."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable

import pytest
from asok.admin.utils import _generate_backup_codes, _hash_backup_code
from hypothesis import given, settings
from hypothesis import strategies as st

from asok_auth_core.engine.keys import KeyRing
from asok_auth_core.errors import CredentialRejected, StoreUnavailable
from asok_auth_core.flows.recovery_codes import ALPHABET, CODE_BYTES, COUNT, KIND, RecoveryCodes, read, write
from asok_auth_core.testing.fakes import FrozenClock, MemoryCredentialStore
from asok_auth_core.testing.raises import raises_code
from asok_auth_core.types import JSON, Credential

OLD, NEW = b"o" * 32, b"n" * 32
ASOK_SECONDS = 1.1
"""CPU of one wrong code with the ten slow hashes that Asok 0.8 tries in turn."""


@pytest.fixture
def store() -> MemoryCredentialStore:
    return MemoryCredentialStore(FrozenClock())


@pytest.fixture
def codes(store) -> RecoveryCodes:
    return RecoveryCodes(store, KeyRing([NEW]), os.urandom)


def test_ten_codes_have_eighty_bits_each(codes) -> None:
    issued = codes.issue("1")
    assert len(set(issued)) == COUNT == 10
    assert CODE_BYTES * 8 >= 80
    assert all(re.fullmatch(rf"[{ALPHABET}]{{4}}(-[{ALPHABET}]{{4}}){{3}}", code) for code in issued)
    assert codes.remaining("1") == 10


@given(st.binary(min_size=CODE_BYTES, max_size=CODE_BYTES))
@settings(max_examples=100, deadline=None)
def test_formatting_loses_no_bit(raw: bytes) -> None:
    bare = write(raw).replace("-", "")
    number = 0
    for symbol in bare:
        number = number * 32 + ALPHABET.index(symbol)
    assert number.to_bytes(CODE_BYTES, "big") == raw
    assert read(write(raw)) == bare


@pytest.mark.parametrize(
    "change",
    [str.lower, lambda c: c.replace("-", ""), lambda c: f" {c}\n", lambda c: c.replace("-", " \u2013 ")],
)
def test_common_spellings_are_accepted(codes, change) -> None:
    issued = codes.issue("1")
    assert codes.claim("1", change(issued[0]))


@pytest.mark.parametrize(
    "typed", ["", "A" * 15, "A" * 17, "A" * 10_000, "🔑" * 16, "U" * 16, "0000-0000-0000-000!", "\x00" * 16]
)
def test_anything_but_a_code_is_rejected(codes, typed) -> None:
    codes.issue("1")
    assert codes.claim("1", typed) is False


@given(st.text(max_size=100))
@settings(max_examples=200, deadline=None)
def test_reading_never_raises(typed: str) -> None:
    code = read(typed)
    assert code is None or len(code) in (8, 16)


@pytest.mark.requirement("SECURITY-1")
def test_a_code_is_used_up_and_belongs_to_its_user(codes) -> None:
    mine, _ = codes.issue("1"), codes.issue("2")
    assert codes.claim("2", mine[0]) is False
    assert codes.claim("1", mine[0]) is True
    assert codes.claim("1", mine[0]) is False
    assert codes.remaining("1") == 9
    assert codes.claim("3", mine[1]) is False


def test_new_codes_void_the_old_ones(codes) -> None:
    old, new = codes.issue("1"), codes.issue("1")
    assert not any(codes.claim("1", code) for code in old)
    assert codes.claim("1", new[9])


@pytest.mark.requirement("SECURITY-22")
def test_the_store_holds_keyed_hashes_only(codes, store) -> None:
    """80 bits are under 112, so a plain hash would not do."""
    import hashlib

    issued = codes.issue("1")
    dump = store.find(KIND, "1").data
    for code in issued:
        bare = code.replace("-", "")
        assert bare not in dump
        for form in (code, bare, f"1{bare}"):
            assert hashlib.sha256(form.encode()).hexdigest() not in dump


@pytest.mark.requirement("SECURITY-29")
def test_a_rotated_key_keeps_codes_valid_until_it_is_retired(store) -> None:
    issued = RecoveryCodes(store, KeyRing([OLD]), os.urandom).issue("1")
    assert RecoveryCodes(store, KeyRing([NEW, OLD]), os.urandom).claim("1", issued[0])
    with raises_code("seal_key_retired", match="SECRET_KEY_FALLBACKS"):
        RecoveryCodes(store, KeyRing([NEW]), os.urandom).claim("1", issued[1])


def cost(codes: RecoveryCodes, user: str, times: int = 300) -> float:
    """CPU seconds of one wrong code, the best of five runs."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(times):
            assert not codes.claim(user, "0000-0000-0000-0000")
        best = min(best, (time.process_time() - start) / times)
    return best


@pytest.mark.requirement("SECURITY-22")
def test_a_wrong_code_costs_one_hash_however_many_are_left(codes) -> None:
    """At most a hundredth of Asok's, and the same with ten left as with one."""
    issued = codes.issue("ten")
    last = codes.issue("one")
    for code in last[1:]:
        assert codes.claim("one", code)
    assert issued
    with_ten, with_one = cost(codes, "ten"), cost(codes, "one")
    assert with_ten <= ASOK_SECONDS / 100
    assert with_ten <= with_one * 2 + 0.000_1


@pytest.mark.requirement("SECURITY-22")
def test_one_hash_is_computed_for_a_wrong_code(codes, store, monkeypatch) -> None:
    codes.issue("1")
    counted = []
    digests = KeyRing.digests
    monkeypatch.setattr(KeyRing, "digests", lambda self, *parts: counted.append(1) or digests(self, *parts))
    assert not codes.claim("1", "0000-0000-0000-0000")
    assert len(counted) == 1


# -- several requests at once ------------------------------------------------------------------------


class Contended(MemoryCredentialStore):
    """Call ``meanwhile`` before each of the next writes, as a faster request."""

    def __init__(self) -> None:
        super().__init__(FrozenClock())
        self.meanwhile: list[Callable[[], object]] = []

    def add(self, user_id: str, kind: str, identifier: str, data: JSON) -> Credential:
        self._interfere()
        return super().add(user_id, kind, identifier, data)

    def replace(self, credential: Credential, data: JSON) -> Credential | None:
        self._interfere()
        return super().replace(credential, data)

    def _interfere(self) -> None:
        if self.meanwhile:
            self.meanwhile.pop(0)()


@pytest.fixture
def contended() -> Contended:
    return Contended()


@pytest.mark.requirement("SECURITY-1")
def test_two_codes_claimed_at_once_both_count_and_one_code_counts_once(contended: Contended) -> None:
    codes = RecoveryCodes(contended, KeyRing([NEW]), os.urandom)
    issued = codes.issue("1")
    contended.meanwhile = [lambda: codes.claim("1", issued[1])]
    assert codes.claim("1", issued[0]) is True
    assert codes.remaining("1") == 8
    contended.meanwhile = [lambda: codes.claim("1", issued[2])]
    assert codes.claim("1", issued[2]) is False
    assert codes.remaining("1") == 7


@pytest.mark.requirement("SECURITY-1", "SECURITY-32")
def test_a_code_that_never_gets_its_turn_is_not_used(contended: Contended) -> None:
    codes = RecoveryCodes(contended, KeyRing([NEW]), os.urandom)
    issued = codes.issue("1")

    def touched() -> None:
        row = contended.find(KIND, "1")
        assert row is not None
        MemoryCredentialStore.replace(contended, row, json.loads(row.data))

    contended.meanwhile = [touched] * 20
    with pytest.raises(StoreUnavailable, match="Try again"):
        codes.claim("1", issued[0])
    assert codes.claim("1", issued[0]) is True


@pytest.mark.parametrize("before", [False, True])
def test_of_two_sets_made_at_once_the_one_that_is_shown_counts(contended: Contended, before: bool) -> None:
    codes = RecoveryCodes(contended, KeyRing([NEW]), os.urandom)
    if before:
        codes.issue("1")
    shown: list[str] = []
    contended.meanwhile = [lambda: shown.extend(codes.issue("1"))]
    with pytest.raises(CredentialRejected, match="another window"):
        codes.issue("1")
    assert codes.remaining("1") == len(shown) == COUNT
    assert codes.claim("1", shown[0])


# -- taken over from Asok's Admin --------------------------------------------------------------------


def test_backup_codes_of_asok_keep_working(codes) -> None:
    plain = _generate_backup_codes(3)
    codes.adopt("1", [_hash_backup_code(code) for code in plain])
    assert codes.remaining("1") == 3
    assert codes.claim("1", plain[2].lower())
    assert not codes.claim("1", plain[2])
    assert codes.claim("1", plain[0].replace("-", ""))
    assert codes.remaining("1") == 1
    fresh = codes.issue("1")
    assert not codes.claim("1", plain[1])
    assert codes.claim("1", fresh[0])


def test_adopted_hashes_are_sealed_and_do_not_slow_our_codes(codes, store) -> None:
    hashed = _hash_backup_code("ABCD-EFGH")
    codes.adopt("1", [hashed])
    salt, _, digest = hashed.partition("$")
    dump = json.dumps(store.find(KIND, "1").data)
    assert salt not in dump
    assert digest not in dump
    assert cost(codes, "1", 50) <= ASOK_SECONDS / 100


def test_adopted_codes_under_a_retired_key_are_an_error(store) -> None:
    RecoveryCodes(store, KeyRing([OLD]), os.urandom).adopt("1", [_hash_backup_code("ABCD-EFGH")])
    with raises_code("seal_key_retired"):
        RecoveryCodes(store, KeyRing([NEW]), os.urandom).claim("1", "ABCD-EFGH")
