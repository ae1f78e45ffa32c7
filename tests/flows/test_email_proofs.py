"""Links and codes: each grant is used once, by one caller."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asok_auth_core.contracts import StateStore
from asok_auth_core.engine.keys import KeyRing
from asok_auth_core.engine.tokens import TokenCodec
from asok_auth_core.errors import CredentialRejected, StoreUnavailable
from asok_auth_core.flows.email_proofs import (
    ALPHABET,
    CODE_LENGTH,
    EmailProofs,
    LinkClaims,
    normalize_code,
)
from asok_auth_core.stores.memory import MemoryStateStore
from asok_auth_core.stores.sqlite import SQLiteStateStore
from asok_auth_core.testing.fakes import FrozenClock
from asok_auth_core.testing.parts import build_auth
from asok_auth_core.testing.processes import Workers
from asok_auth_core.testing.waiting import wait_until
from asok_auth_core.types import StateOperation, StateResult

ADA = "ada@example.org"
SECRET = b"k" * 32


def make_grants(
    clock: FrozenClock,
    store: StateStore | None = None,
    secrets_: tuple[bytes, ...] = (SECRET,),
    purpose: str = "magic",
) -> EmailProofs:
    state = store or MemoryStateStore(clock=clock)
    auth = build_auth(Path(), clock=clock)
    return EmailProofs(replace(auth, keys=KeyRing(secrets_), state=state), purpose)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.mark.requirement("SECURITY-1")
def test_a_link_works_once(clock: FrozenClock) -> None:
    grants = make_grants(clock)
    issued = grants.issue(ADA, 600, "/inbox")
    for _ in range(3):
        assert grants.look(issued.token).email == ADA
    grant = grants.take_link(issued.token)
    assert (grant.email, grant.next_url) == (ADA, "/inbox")
    for use in (grants.take_link, grants.look):
        with pytest.raises(CredentialRejected):
            use(issued.token)


@pytest.mark.requirement("SECURITY-1")
def test_using_the_link_voids_the_code_and_vice_versa(clock: FrozenClock) -> None:
    grants = make_grants(clock)
    first = grants.issue(ADA, 600)
    grants.take_link(first.token)
    with pytest.raises(CredentialRejected):
        grants.take_code(ADA, first.code)
    second = grants.issue(ADA, 600)
    assert grants.take_code(ADA, second.code).email == ADA
    with pytest.raises(CredentialRejected):
        grants.take_link(second.token)
    with pytest.raises(CredentialRejected):
        grants.take_code(ADA, second.code)


def test_a_code_is_accepted_in_any_common_spelling(clock: FrozenClock) -> None:
    grants = make_grants(clock)
    for spelling in (str.lower, lambda c: f" {c[:4]} - {c[4:]} ", lambda c: f"{c[:4]}\u2013{c[4:]}"):
        issued = grants.issue(ADA, 600)
        assert grants.take_code("ada@EXAMPLE.org", spelling(issued.code)).email == ADA


def test_a_code_works_for_its_email_only(clock: FrozenClock) -> None:
    grants = make_grants(clock)
    issued = grants.issue(ADA, 600)
    with pytest.raises(CredentialRejected):
        grants.take_code("eve@example.org", issued.code)
    assert grants.take_code(ADA, issued.code).email == ADA


@pytest.mark.requirement("SECURITY-25")
@pytest.mark.parametrize("lifetime", [60, 600, 3600])
def test_links_and_codes_expire_as_configured(clock: FrozenClock, lifetime: int) -> None:
    grants = make_grants(clock)
    one, two = grants.issue(ADA, lifetime), grants.issue(ADA, lifetime)
    clock.advance(lifetime - 1)
    assert grants.take_link(one.token).email == ADA
    clock.advance(1)
    with pytest.raises(CredentialRejected):
        grants.take_link(two.token)
    with pytest.raises(CredentialRejected):
        grants.take_code(ADA, two.code)


@pytest.mark.requirement("SECURITY-29")
def test_a_rotated_key_keeps_links_valid_until_it_is_retired(clock: FrozenClock) -> None:
    """What was mailed under the old key is good until the key is retired."""
    store = MemoryStateStore(clock=clock)
    new = b"n" * 32
    old_grants = make_grants(clock, store)
    one, two, three = (old_grants.issue(ADA, 600) for _ in range(3))
    rotated = make_grants(clock, store, (new, SECRET))
    assert rotated.take_link(one.token).email == ADA
    assert rotated.take_code(ADA, two.code).email == ADA
    retired = make_grants(clock, store, (new,))
    with pytest.raises(CredentialRejected):
        retired.take_link(three.token)
    with pytest.raises(CredentialRejected):
        retired.take_code(ADA, three.code)


BAD_TOKENS = {
    "empty": lambda token: "",
    "truncated": lambda token: token[:-1],
    "half": lambda token: token[: len(token) // 2],
    "doubled": lambda token: token + token,
    "padded": lambda token: token + "=",
    "upper": lambda token: token.upper(),
    "one dot": lambda token: ".",
    "dots": lambda token: "..",
    "no signature": lambda token: token.rpartition(".")[0] + ".",
    "1 MB": lambda token: token * (1_000_000 // len(token)),
    "not ASCII": lambda token: token[:-1] + "ä",
    "NUL": lambda token: token + "\0",
}


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_a_damaged_token_is_rejected_and_consumes_nothing(clock: FrozenClock, case: str) -> None:
    grants = make_grants(clock)
    issued = grants.issue(ADA, 600)
    with pytest.raises(CredentialRejected):
        grants.take_link(BAD_TOKENS[case](issued.token))
    assert grants.take_link(issued.token).email == ADA


@pytest.mark.parametrize(
    "followed", ["{}>", "{}.", " {}", "{}\n", "{}).", '{}"', "{},", "<wrapped>"], ids=range(8)
)
def test_what_mail_programs_add_to_a_link_is_trimmed(clock: FrozenClock, followed: str) -> None:
    grants = make_grants(clock)
    token = grants.issue(ADA, 600).token
    shown = f"{token[:40]}\r\n{token[40:]}" if followed == "<wrapped>" else followed.format(token)
    assert grants.look(shown).email == ADA
    assert grants.take_link(shown).email == ADA
    with pytest.raises(CredentialRejected):
        grants.take_link(token)


@pytest.mark.requirement("SECURITY-6")
def test_a_token_of_another_purpose_or_key_is_rejected(clock: FrozenClock) -> None:
    """Asok 0.8 took a bearer token for a magic link."""
    store = MemoryStateStore(clock=clock)
    grants = make_grants(clock, store)
    issued = grants.issue(ADA, 600)
    mine = TokenCodec(purpose="magic-link", claims=LinkClaims, keys=KeyRing([SECRET]), clock=clock)
    claims = mine.verify(issued.token)
    for purpose, key in (("api-token", SECRET), ("magic-link", b"f" * 32)):
        other = TokenCodec(purpose=purpose, claims=LinkClaims, keys=KeyRing([key]), clock=clock)
        with pytest.raises(CredentialRejected):
            grants.take_link(other.sign(claims))
    assert grants.take_link(mine.sign(claims)).email == ADA


@pytest.mark.requirement("SECURITY-6")
@pytest.mark.parametrize(("made_for", "used_for"), [("magic", "verify"), ("verify", "magic"), ("a", "ab")])
def test_a_link_and_a_code_of_another_purpose_are_rejected(
    clock: FrozenClock, made_for: str, used_for: str
) -> None:
    """Same store, keys and email address: purposes must not mix."""
    store = MemoryStateStore(clock=clock)
    made, used = (make_grants(clock, store, purpose=purpose) for purpose in (made_for, used_for))
    issued, other = made.issue(ADA, 600), made.issue(ADA, 600)
    for use in (used.look, used.take_link, lambda token: used.take_code(ADA, issued.code)):
        with pytest.raises(CredentialRejected):
            use(issued.token)
    resigned = TokenCodec(purpose=f"{used_for}-link", claims=LinkClaims, keys=KeyRing([SECRET]), clock=clock)
    claims = TokenCodec(purpose=f"{made_for}-link", claims=LinkClaims, keys=KeyRing([SECRET]), clock=clock)
    with pytest.raises(CredentialRejected):
        used.take_link(resigned.sign(claims.verify(issued.token)))
    assert made.take_link(issued.token).email == made.take_code(ADA, other.code).email == ADA


def test_a_handle_of_one_email_does_not_work_for_another(clock: FrozenClock) -> None:
    grants = make_grants(clock)
    issued = grants.issue(ADA, 600)
    codec = TokenCodec(purpose="magic-link", claims=LinkClaims, keys=KeyRing([SECRET]), clock=clock)
    claims = codec.verify(issued.token)
    forged = LinkClaims(iat=claims.iat, exp=claims.exp, sub="eve@example.org", jti=claims.jti)
    with pytest.raises(CredentialRejected):
        grants.take_link(codec.sign(forged))


def test_codes_are_well_formed_and_uniformly_distributed(clock: FrozenClock) -> None:
    grants = make_grants(clock)
    codes = [grants.issue(f"{n}@example.org", 60).code for n in range(2000)]
    assert len(set(codes)) == len(codes)
    assert all(len(code) == CODE_LENGTH and set(code) <= set(ALPHABET) for code in codes)
    counts = Counter("".join(codes))
    expected = 2000 * CODE_LENGTH / len(ALPHABET)
    # Chi-squared with 30 degrees of freedom stays below 73 but once in 20,000 runs.
    assert sum((counts[sign] - expected) ** 2 / expected for sign in ALPHABET) < 73


@given(st.text(max_size=200))
def test_any_text_as_a_code_is_rejected_without_an_error(text: str) -> None:
    grants = make_grants(FrozenClock())
    assert len(normalize_code(text)) <= 3 * 64
    with pytest.raises(CredentialRejected):
        grants.take_code(ADA, text)


@pytest.mark.requirement("SECURITY-22", "SECURITY-30")
def test_the_store_holds_nothing_that_logs_in(tmp_path: Path) -> None:
    """Neither handle, token nor code lies in the store."""
    store = SQLiteStateStore(tmp_path / "state.sqlite3")
    grants = make_grants(FrozenClock(4e9), store)
    issued = grants.issue(ADA, 600)
    codec = TokenCodec(
        purpose="magic-link", claims=LinkClaims, keys=KeyRing([SECRET]), clock=FrozenClock(4e9)
    )
    handle = codec.verify(issued.token).jti
    store.close()
    dump = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"ada@example.org" in dump, "the grant is there"
    for secret in (issued.code, issued.token, issued.token.split(".")[2], handle):
        assert secret.encode() not in dump


def open_grants(path: Path) -> EmailProofs:
    return make_grants(FrozenClock(), SQLiteStateStore(path))


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[EmailProofs]:
    """On the file that the processes of a test share."""
    with contextlib.closing(SQLiteStateStore(tmp_path / "state.sqlite3")) as store:
        yield make_grants(FrozenClock(), store)


def is_taken(take: Callable[[], object]) -> bool:
    """True if ``take`` consumed its secret, False if another process did.

    A process that the machine kept off its cores holds the file longer than the store waits; then nothing
    was consumed.
    """
    while True:
        try:
            take()
        except CredentialRejected:
            return False
        except StoreUnavailable as error:
            if "is locked" not in str(error):
                raise
        else:
            return True


def take_links(grants: EmailProofs, tokens: list[str]) -> list[str]:
    """The tokens this process was the one to consume."""
    return [token for token in tokens if is_taken(functools.partial(grants.take_link, token))]


def take_codes(grants: EmailProofs, codes: list[str]) -> list[str]:
    """The codes this process was the one to consume."""
    return [code for code in codes if is_taken(functools.partial(grants.take_code, ADA, code))]


def take_and_record(grants: EmailProofs, tokens: list[str], record: str) -> None:
    """Consume everything in a random order; write down each success at once."""
    order = list(tokens)
    secrets.SystemRandom().shuffle(order)
    with open(record, "ab", buffering=0) as written:
        for token in order:
            for won in take_links(grants, [token]):
                written.write(won.encode() + b"\n")


@pytest.mark.requirement("SECURITY-1")
@pytest.mark.slow
def test_killing_a_process_leaves_no_link_usable_twice(issuer: EmailProofs, tmp_path: Path) -> None:
    """32 processes killed while they consume: no link works twice."""
    path = tmp_path / "state.sqlite3"
    tokens = [issuer.issue(ADA, 3600).token for _ in range(3000)]
    record = tmp_path / "won"
    killed = 0
    for number in range(8):
        with Workers(functools.partial(open_grants, path), 4) as workers:
            workers.start(take_and_record, tokens, str(record))
            if number == 0:
                wait_until(lambda: record.exists() and record.stat().st_size > 0, "a process to use a link")
            time.sleep(secrets.randbelow(150) / 1000)
            for pid in workers.pids:
                os.kill(pid, signal.SIGKILL)
                killed += 1
    written = record.read_bytes().split(b"\n")[:-1]
    assert killed == 32
    assert len(written) > 0, "some process got that far"
    assert len(set(written)) == len(written), "a link was consumed twice"
    again = take_links(issuer, tokens)
    assert not {token.encode() for token in again} & set(written)
    assert issuer.take_link(issuer.issue(ADA, 60).token).email == ADA


@pytest.mark.requirement("SECURITY-1")
def test_four_processes_use_each_of_300_links_once(issuer: EmailProofs, tmp_path: Path) -> None:
    """Asok 0.8 accepted 298 of 300 more than once."""
    path = tmp_path / "state.sqlite3"
    tokens = [issuer.issue(ADA, 3600).token for _ in range(300)]
    with Workers(functools.partial(open_grants, path), 4) as workers:
        won = [token for tokens_won in workers.run(take_links, tokens) for token in tokens_won]
    assert Counter(won) == Counter(tokens), "each link once"


@pytest.mark.requirement("SECURITY-1")
def test_four_processes_use_each_of_100_codes_once(issuer: EmailProofs, tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    codes = [issuer.issue(ADA, 3600).code for _ in range(100)]
    with Workers(functools.partial(open_grants, path), 4) as workers:
        won = [code for codes_won in workers.run(take_codes, codes) for code in codes_won]
    assert Counter(won) == Counter(codes), "each code once"


class Down(MemoryStateStore):
    """A store that fails while ``is_down``."""

    is_down = False

    def batch(self, operations: Sequence[StateOperation]) -> Sequence[StateResult]:
        if self.is_down:
            raise StoreUnavailable("The store is down.")
        return super().batch(operations)


@pytest.mark.requirement("SECURITY-18")
class TestGivingBack:
    def test_link_and_code_work_again_for_the_rest_of_their_lifetime(self) -> None:
        clock = FrozenClock()
        grants = make_grants(clock)
        for lifetime_left in (3000, 1):
            issued = grants.issue(ADA, 3600)
            verified = grants.take_link(issued.token)
            clock.advance(3600 - lifetime_left)
            grants.give_back(verified)
            assert grants.take_code(ADA, issued.code).email == ADA
            with pytest.raises(CredentialRejected):
                grants.take_link(issued.token)
            grants.give_back(verified)
            clock.advance(lifetime_left)
            with pytest.raises(CredentialRejected):
                grants.take_code(ADA, issued.code)

    def test_an_expired_one_stays_used(self) -> None:
        clock = FrozenClock()
        grants = make_grants(clock)
        issued = grants.issue(ADA, 60)
        verified = grants.take_code(ADA, issued.code)
        clock.advance(60)
        grants.give_back(verified)
        with pytest.raises(CredentialRejected):
            grants.take_link(issued.token)

    def test_without_a_store_it_stays_used(self, caplog: pytest.LogCaptureFixture) -> None:
        clock = FrozenClock()
        store = Down(clock)
        grants = make_grants(clock, store)
        issued = grants.issue(ADA, 60)
        verified = grants.take_link(issued.token)
        store.is_down = True
        grants.give_back(verified)
        store.is_down = False
        assert "stays used" in caplog.text
        assert issued.token not in caplog.text
        with pytest.raises(CredentialRejected):
            grants.take_code(ADA, issued.code)
