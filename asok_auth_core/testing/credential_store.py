"""The contract of a credential store, as tests to inherit.

::

    class TestMyStore(CredentialStoreContract):
        @pytest.fixture
        def open_store(self, tmp_path):
            return functools.partial(MyCredentialStore, tmp_path / "credentials")
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import pytest

from ..contracts import CredentialStore
from ..errors import CredentialExists, StoreError
from ..types import JSON, Credential
from .processes import Workers
from .races import add_credentials, exactly_once, in_threads, installation_of, remove_each, replace_each

OpenCredentialStore = Callable[[], CredentialStore]
"""Opens a credential store."""

LOOK_ALIKES = ("a", "A", "a ", " a", "á", "a\u0301", "\uff41", "ß", "ss", "%", "_", "'; --", "\U0001f511")
"""Strings that a database may treat as equal, which would merge two users' accounts."""


class CredentialStoreContract:
    """Inherit, name the class ``Test…`` and define the fixture :meth:`open_store`."""

    shared: ClassVar[bool] = True
    """Stores opened by other processes see the same credentials. False only for a fake in memory."""
    processes: ClassVar[int] = 4
    """How many processes compete."""
    secrets: ClassVar[int] = 40
    """How many credentials all processes compete for, in each operation."""

    @pytest.fixture
    def open_store(self) -> OpenCredentialStore:
        """What opens your store: without arguments, the same one in every process.

        It is pickled for them: a class, a function of a module, or a ``functools.partial`` of one, but no
        lambda and no function inside another.
        """
        raise NotImplementedError("define a fixture open_store that returns a function opening your store")

    def close(self, store: CredentialStore) -> None:
        """Close what the calling thread has opened.

        Override this if your store needs it.
        """

    @pytest.fixture
    def store(self, open_store: OpenCredentialStore) -> Iterator[CredentialStore]:
        """The store that most tests use."""
        store = open_store()
        yield store
        self.close(store)

    @pytest.fixture
    def user(self) -> str:
        """A user id, also used as an identifier prefix, that no other test has used."""
        return secrets.token_hex(8)

    # -- one caller ------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "data", [None, True, 0, -1.5, "", "é\0\U0001f511'\"\\", [], {"a": [{"b": None}]}, "x" * 20_000]
    )
    def test_data_is_any_json(self, store: CredentialStore, user: str, data: JSON) -> None:
        made = store.add(user, "kind", user, data)
        assert json.loads(made.data) == data
        assert store.find("kind", user) == made
        replaced = store.replace(made, [data])
        assert replaced is not None
        assert json.loads(replaced.data) == [data]
        assert store.find("kind", user) == replaced

    @pytest.mark.requirement("SECURITY-14")
    def test_identifiers_are_compared_exactly(self, store: CredentialStore, user: str) -> None:
        """(issuer, subject) is case-sensitive (OpenID Connect Core 1.0, section 2)."""
        identifiers = [f"{user}:{text}" for text in LOOK_ALIKES] + [user + "x" * 1000]
        made = [store.add(user, "identity", identifier, None) for identifier in identifiers]
        assert [store.find("identity", identifier) for identifier in identifiers] == made
        assert store.find("Identity", identifiers[0]) is None

    def test_the_same_identifier_may_have_another_kind(self, store: CredentialStore, user: str) -> None:
        first, second = store.add(user, "a", user, 1), store.add(user, "b", user, 2)
        assert first.id != second.id
        assert (store.find("a", user), store.find("b", user)) == (first, second)

    def test_a_clash_keeps_the_first(self, store: CredentialStore, user: str) -> None:
        made = store.add(user, "kind", user, 1)
        for other in (user, "other" + user):
            with pytest.raises(CredentialExists) as caught:
                store.add(other, "kind", user, 2)
            assert user not in str(caught.value)
        assert store.find("kind", user) == made
        assert list(store.list("other" + user)) == []

    def test_a_missing_credential_is_none(self, store: CredentialStore, user: str) -> None:
        assert store.find("kind", user) is None
        assert list(store.list(user)) == []

    def test_list_returns_one_users_credentials_of_one_kind_or_all(
        self, store: CredentialStore, user: str
    ) -> None:
        made = [store.add(user, kind, f"{user}{n}", n) for n, kind in enumerate("abaab")]
        store.add(user + "x", "a", user + "x", None)
        by_id = {credential.id: credential for credential in made}
        assert {c.id: c for c in store.list(user)} == by_id
        assert {c.id for c in store.list(user, "b")} == {made[1].id, made[4].id}
        assert list(store.list(user, "c")) == []
        times = [credential.created_at for credential in store.list(user)]
        assert times == sorted(times)

    def test_all_credentials_of_one_kind_are_listed_in_pages(self, store: CredentialStore, user: str) -> None:
        """Each exactly once, whatever an identifier looks like."""
        kind = f"kind-{user}"
        identifiers = [*LOOK_ALIKES, *(str(number) for number in range(25))]
        made = [store.add(f"{user}{n % 3}", kind, one, n) for n, one in enumerate(identifiers)]
        store.add(user, "other", user, None)
        found: list[Credential] = []
        while page := store.of_kind(kind, found[-1].identifier if found else "", 7):
            assert len(page) <= 7
            found += page
        assert len(found) == len(made)
        assert {row.identifier: row for row in found} == {row.identifier: row for row in made}
        assert list(store.of_kind(f"{kind}x")) == []

    @pytest.mark.requirement("SECURITY-1", "SECURITY-20")
    def test_replace_is_compare_and_swap(self, store: CredentialStore, user: str) -> None:
        """Of two callers that read the same version, one succeeds."""
        made = store.add(user, "kind", user, 1)
        replaced = store.replace(made, 2)
        assert replaced is not None
        assert (replaced.id, replaced.version, replaced.created_at) == (
            made.id,
            made.version + 1,
            made.created_at,
        )
        assert store.replace(made, 3) is None
        assert store.find("kind", user) == replaced
        assert store.replace(replaced, 2) is not None, "the same data again is a replacement too"

    def test_remove_succeeds_once(self, store: CredentialStore, user: str) -> None:
        made = store.add(user, "kind", user, 1)
        replaced = store.replace(made, 2)
        assert replaced is not None
        assert [store.remove(made), store.remove(replaced), store.remove(made)] == [True, False, False]
        assert store.find("kind", user) is None
        assert store.replace(replaced, 3) is None

    def test_a_recreated_credential_is_another_one(self, store: CredentialStore, user: str) -> None:
        """A caller with the old one can neither replace nor remove the new one."""
        old = store.add(user, "kind", user, 1)
        assert store.remove(old)
        new = store.add(user, "kind", user, 2)
        assert store.replace(old, 3) is None
        assert store.remove(old) is False
        store.touch(old, 5.0)
        assert store.find("kind", user) == new

    def test_touch_keeps_the_version(self, store: CredentialStore, user: str) -> None:
        made = store.add(user, "kind", user, 1)
        store.touch(made, 1_700_000_000.25)
        found = store.find("kind", user)
        assert found is not None
        assert found == replace(made, last_used_at=1_700_000_000.25)
        assert store.replace(made, 2) is not None

    @pytest.mark.parametrize("identifier", ["", "a\0b", "\ud800", "x" * 1025])
    def test_values_outside_their_limits_are_rejected_and_not_found(
        self, store: CredentialStore, user: str, identifier: str
    ) -> None:
        with pytest.raises(StoreError):
            store.add(user, "kind", identifier, 1)
        assert store.find("kind", identifier) is None
        assert list(store.list(user)) == []

    # -- many callers ----------------------------------------------------------------------------

    @pytest.mark.requirement("SECURITY-1")
    def test_exactly_one_of_many_threads_wins(self, store: CredentialStore, user: str) -> None:

        def closing(work: Callable[[], Sequence[str]]) -> Callable[[], Sequence[str]]:
            def run() -> Sequence[str]:
                try:
                    return work()
                finally:
                    self.close(store)

            return run

        names = [f"{user}{n}" for n in range(self.secrets)]
        added = in_threads(closing(lambda: add_credentials(store, user, names)), 4)
        made = store.list(user)
        replaced = in_threads(closing(lambda: replace_each(store, made, 1)), 4)
        removed = in_threads(closing(lambda: remove_each(store, made)), 4)
        exactly_once(added, names)
        exactly_once(replaced, [credential.id for credential in made])
        exactly_once(removed, [credential.id for credential in made])

    @pytest.mark.requirement("SECURITY-1")
    def test_exactly_one_of_many_processes_wins(
        self, open_store: OpenCredentialStore, store: CredentialStore, user: str
    ) -> None:
        names = [f"{user}{n}" for n in range(self.secrets)]
        with Workers(open_store, self.processes if self.shared else 1) as workers:
            added = workers.run(add_credentials, user, names)
            exactly_once(added, names)
            if self.shared:
                made = store.list(user)
                ids = [credential.id for credential in made]
                exactly_once(workers.run(replace_each, made, 1), ids)
                exactly_once(workers.run(remove_each, made), ids)
        assert list(store.list(user)) == []

    # -- the database itself ---------------------------------------------------------------------

    @pytest.mark.requirement("SECURITY-38")
    def test_all_processes_get_the_same_installation(
        self, open_store: OpenCredentialStore, store: CredentialStore
    ) -> None:
        """The id is made once, whoever comes first; it is random and lasts."""
        with Workers(open_store, self.processes if self.shared else 1) as workers:
            found = workers.run(installation_of)
        mine = installation_of(store)
        assert len(mine.id) == 22
        assert mine == installation_of(store)
        assert all((one == mine) is self.shared for one in found)
        assert len({one.id for one in found}) == 1
