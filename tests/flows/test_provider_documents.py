"""A provider's keys: rotation followed, fetches bounded, outages survived."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from asok_auth_core.engine.message import Call, Reply
from asok_auth_core.errors import OAuthError
from asok_auth_core.flows.provider_documents import FRESH, KEPT, WAITING, Document, ProviderDocuments
from asok_auth_core.http_client import DEADLINE
from asok_auth_core.testing.fake_provider import rsa_key
from asok_auth_core.testing.fakes import FrozenClock
from asok_auth_core.testing.raises import raises_code
from asok_auth_core.testing.waiting import PATIENCE, wait_until

JWKS = "https://login.example/keys"


class Keys:
    """Publishes keys, and counts who asks."""

    def __init__(self) -> None:
        self.published = ["first"]
        self.fetches = 0
        self.down = False

    def __call__(self, call: Call) -> Reply:
        self.fetches += 1
        if self.down:
            raise OAuthError("down", code="oauth_unavailable")
        keys = [rsa_key(kid).as_dict(private=False) for kid in self.published]
        return Reply(200, json.dumps({"keys": keys}).encode())


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def owner() -> Keys:
    return Keys()


@pytest.fixture
def documents(owner: Keys, clock: FrozenClock) -> ProviderDocuments:
    return ProviderDocuments(owner, clock, debug=False)


def kids(documents: ProviderDocuments, kid: str) -> list[str | None]:
    return [key.kid for key in documents.keys(JWKS, kid)]


@pytest.mark.requirement("SECURITY-13")
def test_ten_thousand_random_key_ids_cause_two_fetches_a_minute(
    documents: ProviderDocuments, owner: Keys, clock: FrozenClock
) -> None:
    """PyJWT CVE-2026-48524."""
    for number in range(10_000):
        documents.keys(JWKS, f"random-{number}")
        clock.advance(0.003)  # 30 seconds in all
    assert owner.fetches == 2
    for number in range(10_000):
        documents.keys(JWKS, f"more-{number}")
        clock.advance(0.06)  # ten minutes
    assert owner.fetches <= 2 + 2 * 10


@pytest.mark.requirement("SECURITY-13")
def test_a_new_key_is_found_at_once(documents: ProviderDocuments, owner: Keys) -> None:
    assert kids(documents, "first") == ["first"]
    owner.published = ["second", "first"]
    assert kids(documents, "second") == ["second", "first"]
    assert owner.fetches == 2


@pytest.mark.requirement("SECURITY-13")
def test_known_keys_need_no_fetch(documents: ProviderDocuments, owner: Keys, clock: FrozenClock) -> None:
    for _ in range(100):
        kids(documents, "first")
        clock.advance(30)
    assert owner.fetches == 1


@pytest.mark.requirement("SECURITY-13")
def test_a_withdrawn_key_is_forgotten_after_an_hour(
    documents: ProviderDocuments, owner: Keys, clock: FrozenClock
) -> None:
    kids(documents, "first")
    owner.published = ["second"]
    clock.advance(FRESH + 1)
    assert kids(documents, "second") == ["second"]


@pytest.mark.requirement("SECURITY-13")
def test_an_outage_keeps_known_keys(documents: ProviderDocuments, owner: Keys, clock: FrozenClock) -> None:
    kids(documents, "first")
    owner.down = True
    for _ in range(20):
        clock.advance(FRESH)
        assert kids(documents, "first") == ["first"]
    clock.advance(KEPT)
    with raises_code("oauth_unavailable"):
        kids(documents, "first")
    owner.down = False
    clock.advance(60)
    assert kids(documents, "first") == ["first"]


@pytest.mark.requirement("SECURITY-13")
def test_fetches_are_limited_in_an_outage_from_the_start(
    documents: ProviderDocuments, owner: Keys, clock: FrozenClock
) -> None:
    owner.down = True
    for _ in range(1000):
        with raises_code("oauth_unavailable"):
            kids(documents, "first")
        clock.advance(0.01)
    assert owner.fetches == 2


@pytest.mark.requirement("SECURITY-13")
def test_many_threads_cause_one_fetch(documents: ProviderDocuments, owner: Keys) -> None:
    together = 1 + WAITING
    barrier = threading.Barrier(together)

    def ask() -> None:
        barrier.wait()
        kids(documents, "first")

    threads = [threading.Thread(target=ask) for _ in range(together)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert owner.fetches == 1


class Noticed:
    """A document's lock that reports when a thread waits for it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.wanted = threading.Semaphore(0)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if blocking:
            self.wanted.release()
        return self.lock.acquire(blocking, PATIENCE if blocking else -1)

    def release(self) -> None:
        self.lock.release()


@pytest.mark.requirement("SECURITY-13")
def test_a_thread_that_waits_for_a_fetch_makes_none(clock: FrozenClock) -> None:
    fetched: list[str] = []
    lock = Noticed()

    def fetch() -> str:
        fetched.append("call")
        lock.wanted.acquire(timeout=PATIENCE)  # until the other thread waits
        return f"document {len(fetched)}"

    document = Document(fetch, clock)
    document._lock = lock  # type: ignore[assignment]
    with ThreadPoolExecutor(2) as pool:
        answers = [asked.result(PATIENCE) for asked in [pool.submit(document.get) for _ in range(2)]]
    assert answers == ["document 1", "document 1"]
    assert fetched == ["call"]


@pytest.mark.requirement("SECURITY-13")
def test_other_threads_go_on_while_one_refreshes(clock: FrozenClock) -> None:
    started, done = threading.Event(), threading.Event()
    answers = iter(["old", "new"])

    def fetch() -> str:
        answer = next(answers)
        if answer == "new":
            started.set()
            done.wait(PATIENCE)
        return answer

    document = Document(fetch, clock)
    assert document.get() == "old"
    clock.advance(FRESH + 1)
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(document.get)
        assert started.wait(PATIENCE)
        assert document.get() == "old", "without waiting for a provider that may be slow"
        done.set()
        assert fetching.result(PATIENCE) == "new"
    assert document.get() == "new"


@pytest.mark.requirement("SECURITY-13")
def test_a_thread_that_missed_a_key_uses_another_threads_fetch(clock: FrozenClock) -> None:
    answers = iter([["first"], ["second"], ["never asked for"]])
    document = Document(lambda: next(answers), clock)
    old = document.get()
    assert document.newer(old) == ["second"]
    assert document.newer(old) == ["second"]


@pytest.mark.requirement("SECURITY-13")
@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [' + b"{}," * 200 + b"{}]}",
        b"\xff",
        b'{"keys": 1}',
    ],
)
def test_anything_but_a_key_set_is_rejected(clock: FrozenClock, body: bytes) -> None:
    documents = ProviderDocuments(lambda call: Reply(200, body), clock, debug=False)
    with pytest.raises(OAuthError):
        documents.keys(JWKS, None)


@pytest.mark.requirement("SECURITY-4")
def test_only_public_signature_keys_are_used(clock: FrozenClock) -> None:
    """Symmetric, encryption, malformed and private keys are skipped."""
    good = rsa_key("good")
    entries = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
        {**good.as_dict(private=False), "use": "enc", "kid": "enc"},
        {**good.as_dict(private=False), "key_ops": ["sign"], "kid": "ops"},
        {"kty": "RSA", "n": 5, "e": "AQAB", "kid": "odd"},
        {"kty": "RSA", "n": "@@", "e": "AQAB", "kid": "not base64"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "not on the curve"},
        {**good.as_dict(private=True), "kid": "good"},
        "text",
    ]
    body = json.dumps({"keys": entries}).encode()
    documents = ProviderDocuments(lambda call: Reply(200, body), clock, debug=False)
    (key,) = documents.keys(JWKS, "good")
    assert key.kid == "good"
    assert key.key is not None
    assert not key.key.is_private


@pytest.mark.requirement("SECURITY-42")
def test_threads_that_find_no_document_during_a_fetch_are_told_to_try_again(clock: FrozenClock) -> None:
    """However many ask: most of an app's threads stay free while a provider hangs."""
    answered = threading.Event()

    def fetch() -> str:
        answered.wait(PATIENCE)
        return "document"

    document = Document(fetch, clock)
    codes: list[str] = []

    def ask() -> None:
        try:
            codes.append(document.get())
        except OAuthError as error:
            codes.append(error.code)

    with ThreadPoolExecutor(40) as pool:
        for _ in range(40):
            pool.submit(ask)
        try:
            wait_until(lambda: len(codes) == 39, "all but the thread that fetches")
            assert set(codes) == {"oauth_busy"}
        finally:
            answered.set()
    assert document.get() == "document"


@pytest.mark.requirement("SECURITY-42")
def test_a_thread_that_wants_newer_keys_does_not_wait_for_long(clock: FrozenClock) -> None:
    asked, answered = threading.Event(), threading.Event()
    documents = iter(["old", "new"])

    def fetch() -> str:
        found = next(documents)
        if found == "new":
            asked.set()
            answered.wait(PATIENCE)
        return found

    document = Document(fetch, clock)
    assert document.get() == "old"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(document.newer, "old")
        assert asked.wait(PATIENCE)
        try:
            assert document.newer("old") == "old"
        finally:
            answered.set()
        assert first.result(PATIENCE) == "new"


@pytest.mark.requirement("SECURITY-42")
def test_a_fetch_anyone_can_cause_has_a_short_time_limit(clock: FrozenClock) -> None:
    calls: list[Call] = []

    def send(call: Call) -> Reply:
        calls.append(call)
        raise OAuthError("down", code="oauth_unavailable")

    documents = ProviderDocuments(send, clock, debug=False)
    for ask in (lambda: documents.metadata("https://login.example"), lambda: documents.keys(JWKS, None)):
        with raises_code("oauth_unavailable"):
            ask()
    assert [call.seconds is not None and call.seconds < DEADLINE for call in calls] == [True, True]
