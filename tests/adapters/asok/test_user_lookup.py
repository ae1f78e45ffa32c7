"""Accounts are found by email address through an index, on every database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY

from asok_auth_core.adapters.asok import email_index
from asok_auth_core.adapters.asok.users import AsokUsers
from asok_auth_core.errors import AccountExists, ConfigurationError, LoginRejected
from asok_auth_core.testing.apps import asok_app

ADMIN_MODEL = """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True, nullable=False)
    password = Field.Password()
    name = Field.String()
    is_admin = Field.Boolean(default=False, protected=True)
"""
SOFT_MODEL = """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True, nullable=False)
    deleted_at = Field.SoftDelete()
"""
DEMANDING_MODEL = """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True, nullable=False)
    badge = Field.String(nullable=False)
"""
ADDRESSES = ("ada@example.org", "nobody@example.org", "ADA@example.org", "grace@example.org")


@pytest.fixture(params=["sqlite", "postgres", pytest.param("mysql", marks=pytest.mark.slow)])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Asok]:
    """An app of Asok with an Admin, in an empty database of each kind."""
    url = None if request.param == "sqlite" else request.getfixturevalue(request.param)
    with asok_app(tmp_path, models={"user.py": ADMIN_MODEL}, database=url) as made:
        yield made
        engine = MODELS_REGISTRY["User"].get_engine()
        for table in (MODELS_REGISTRY["User"]._table, "auth_credentials"):
            engine.execute(f"DROP TABLE IF EXISTS {table}")


@pytest.fixture
def users(app: Asok) -> AsokUsers:
    """With a lower-case account, and one whose email address has capitals."""
    made = AsokUsers(app)
    made.create("ada@example.org")
    MODELS_REGISTRY["User"].create(email="Grace@Example.Org", password="secret")
    made.by_email("warm up")
    return made


def statements(users: AsokUsers, work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SQL that ``work`` sends."""
    engine = users.model.get_engine()
    sent: list[str] = []
    execute = engine.execute

    def recorded(sql: str, args: Any = None) -> object:
        sent.append(sql)
        return execute(sql, args)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "execute", recorded)
        work()
    return sent


class TestByEmail:
    def test_any_spelling_finds_the_account(self, users: AsokUsers) -> None:
        for spelling in ("grace@example.org", "GRACE@EXAMPLE.ORG", "Grace@Example.Org", "gRace@example.org"):
            found = users.by_email(spelling)
            assert found is not None, spelling
            assert users.email_of(found) == "Grace@Example.Org"
        assert users.by_email("grace@example.com") is None
        assert users.by_email("gr%ce@example.org") is None

    @pytest.mark.requirement("SECURITY-27")
    def test_known_and_unknown_addresses_cost_the_same_statement(
        self, users: AsokUsers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent = [statements(users, partial(users.by_email, email), monkeypatch) for email in ADDRESSES]
        assert [len(one) for one in sent] == [1] * len(ADDRESSES)
        assert len({one[0] for one in sent}) == 1

    def test_an_account_found_is_a_whole_user(self, users: AsokUsers) -> None:
        found = users.by_email("ADA@example.org")
        assert found is not None
        direct = users.by_id(str(found.id))
        assert (type(found), cast("Any", found).__dict__) == (
            type(direct),
            {**direct.__dict__, **cast("Any", found).__dict__},
        )
        cast("Any", found).update(name="Ada")
        assert users.by_id(str(found.id)).name == "Ada"  # type: ignore[union-attr]

    def test_doctor_has_nothing_to_say(self, users: AsokUsers) -> None:
        assert list(users.check()) == []


class TestCreate:
    def test_the_model_of_a_new_app_with_an_admin(self, users: AsokUsers) -> None:
        """``asok create NAME --admin`` writes one with a password that must not be empty."""
        made = cast("Any", users.create("new@example.org", "New"))
        assert (made.email, made.name) == ("new@example.org", "New")
        stored = cast("Any", users.by_email("new@example.org"))
        for guess in ("", "!", stored.password, stored.password.split("$")[1], "None", "password"):
            assert not stored.check_password("password", guess)
        assert stored.password != cast("Any", users.create("other@example.org")).password
        stored.update(name="Still usable")
        assert not users.by_id(str(stored.id)).check_password("password", "!")  # type: ignore[union-attr]

    @pytest.mark.parametrize("email", ["ada@example.org", "ADA@example.org", "grace@example.org"])
    def test_an_account_that_is_there_already(self, users: AsokUsers, email: str) -> None:
        with pytest.raises(AccountExists):
            users.create(email)

    def test_an_account_that_another_process_created_meanwhile(
        self, users: AsokUsers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The database reports the clash; the account can be found, nothing is locked."""
        spelled = users._spelled
        late = iter([lambda *arguments: []])

        def racing(*arguments: str) -> object:
            return next(late, spelled)(*arguments)

        monkeypatch.setattr(users, "_spelled", racing)
        with pytest.raises(AccountExists):
            users.create("ada@example.org")
        assert users.by_email("ada@example.org") is not None
        connection = users.model.get_engine().get_connection()
        assert not getattr(connection, "in_transaction", False), "the write lock is still held"

    def test_a_clash_keeps_the_apps_transaction(
        self, users: AsokUsers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spelled = users._spelled
        late = iter([lambda *arguments: []])
        monkeypatch.setattr(users, "_spelled", lambda *arguments: next(late, spelled)(*arguments))
        with users.model.get_engine().transaction():
            MODELS_REGISTRY["User"].create(email="first@example.org", password="x")
            with pytest.raises(AccountExists):
                users.create("ada@example.org")
            MODELS_REGISTRY["User"].create(email="second@example.org", password="x")
        assert users.by_email("first@example.org") is not None
        assert users.by_email("second@example.org") is not None


# -- on SQLite -----------------------------------------------------------------------------------------


def plan(users: AsokUsers, email: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """SQLite's plan for the statements of one lookup."""
    engine = users.model.get_engine()
    steps = [
        step["detail"]
        for sql in statements(users, lambda: users.by_email(email), monkeypatch)
        for step in engine.execute(f"EXPLAIN QUERY PLAN {sql}", (email,) * sql.count("?"))
    ]
    assert steps
    return "; ".join(steps)


def many(count: int = 20_000) -> None:
    engine = MODELS_REGISTRY["User"].get_engine()
    with engine.transaction():
        for number in range(count):
            engine.execute("INSERT INTO users (email) VALUES (?)", (f"User{number}@Example.org",))


@pytest.mark.parametrize(
    "email", ["user19999@example.org", "nobody@example.org", "User7@Example.org", "a@\xe9.fr"]
)
def test_no_lookup_reads_the_whole_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, email: str) -> None:
    with asok_app(tmp_path) as app:
        users = AsokUsers(app)
        users.by_email("warm up")
        many()
        assert "SCAN" not in plan(users, email, monkeypatch)


def test_without_the_index_only_exact_and_lower_case_are_found_and_doctor_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(email_index, "_is_on_lower_email", lambda definition: False)
    with asok_app(tmp_path) as app:
        users = AsokUsers(app)
        many(2000)
        MODELS_REGISTRY["User"].create(email="low@example.org")
        assert users.by_email("user7@example.org") is None
        assert users.by_email("User7@Example.org") is not None
        assert users.by_email("LOW@example.org") is not None
        for email in ("user7@example.org", "User7@Example.org", "nobody@example.org"):
            assert "SCAN" not in plan(users, email, monkeypatch)
        [finding] = users.check()
        assert "users has no index on LOWER(email)" in finding.message
        assert "CREATE INDEX users_email_lower ON users (LOWER(email))" in finding.remedy
        with pytest.raises(LoginRejected, match="different spellings"):
            users.create("user7@example.org")


def test_doctor_reports_an_email_field_that_is_not_unique(tmp_path: Path) -> None:
    model = ADMIN_MODEL.replace("unique=True, ", "")
    with asok_app(tmp_path, models={"user.py": model}) as app:
        [finding] = AsokUsers(app).check()
        assert finding.severity == "error"
        assert "not unique" in finding.message


def test_the_index_is_created_at_start_up(tmp_path: Path) -> None:
    with asok_app(tmp_path):
        engine = MODELS_REGISTRY["User"].get_engine()
        assert email_index.indexed_condition(engine, "users") == email_index.IN_LOWER_CASE


def test_a_transaction_of_the_app_creates_no_index(tmp_path: Path) -> None:
    """It would lock the table until the end; the next lookup outside creates it."""
    with asok_app(tmp_path, extension=False) as app:
        users, model = AsokUsers(app), MODELS_REGISTRY["User"]
        engine = model.get_engine()
        model.create(email="ada@example.org")
        with model.transaction():
            found = users.by_email("ada@example.org")
            assert found is not None
            assert users.email_of(found) == "ada@example.org"
            assert email_index.indexed_condition(engine, "users") is None
        users.by_email("ada@example.org")
        assert email_index.indexed_condition(engine, "users") == email_index.IN_LOWER_CASE


def test_a_large_table_of_postgresql_is_left_to_its_operator(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Creating the index would stop all writes for long."""
    monkeypatch.setattr(email_index, "SMALL", -2)  # a table that was never analyzed has -1
    with asok_app(tmp_path, database=postgres) as app:
        engine = MODELS_REGISTRY["User"].get_engine()
        try:
            users = AsokUsers(app)
            users.create_index()
            assert email_index.indexed_condition(engine, "users") is None
            [finding] = users.check()
            assert "CREATE INDEX CONCURRENTLY" in finding.remedy
        finally:
            engine.execute("DROP TABLE IF EXISTS users")
            engine.execute("DROP TABLE IF EXISTS auth_credentials")


def test_an_index_of_the_operator_is_used(tmp_path: Path) -> None:
    with asok_app(tmp_path, extension=False):
        engine = MODELS_REGISTRY["User"].get_engine()
        for definition in ('LOWER("email")', "lower( email )", "LOWER(`email`)"):
            engine.execute(f"CREATE UNIQUE INDEX mine ON users ({definition})")
            assert email_index.indexed_condition(engine, "users") == email_index.IN_LOWER_CASE, definition
            engine.execute("DROP INDEX mine")


@pytest.mark.parametrize(
    "definition",
    [
        "CREATE INDEX i ON users (email)",
        "CREATE INDEX i ON users (LOWER(name))",
        "CREATE INDEX i ON users (LOWER(email)) WHERE is_active",
        "CREATE INDEX i ON users (LOWER(email), name)",
        "CREATE INDEX i ON users (name, LOWER(email))",
        "CREATE INDEX i ON users USING btree (lower(old_email))",
        "(None)",
    ],
)
def test_other_indexes_are_not_taken_for_it(definition: str) -> None:
    assert not email_index._is_on_lower_email(definition)


@pytest.mark.parametrize(
    "definition",
    [
        "CREATE INDEX i ON public.users USING btree (lower((email)::text))",
        "CREATE INDEX i ON users USING btree (lower((email)::character varying))",
        "CREATE INDEX i ON public.users USING btree (lower(email))",
        "(lower(`email`))",
    ],
)
def test_its_spellings_are_known(definition: str) -> None:
    assert email_index._is_on_lower_email(definition)


def test_the_email_address_of_a_deleted_account(tmp_path: Path) -> None:
    with asok_app(tmp_path, models={"user.py": SOFT_MODEL}) as app:
        users = AsokUsers(app)
        cast("Any", users.create("gone@example.org")).delete()
        assert users.by_email("gone@example.org") is None
        with pytest.raises(LoginRejected, match="contact the administrators") as caught:
            users.create("gone@example.org")
        assert not isinstance(caught.value, AccountExists)


def test_a_model_that_needs_more_than_an_email_address(tmp_path: Path) -> None:
    with asok_app(tmp_path, models={"user.py": DEMANDING_MODEL}, extension=False) as app:
        with pytest.raises(ConfigurationError, match="badge") as caught:
            AsokUsers(app).create("new@example.org")
        assert "new@example.org" not in str(caught.value)
        assert not MODELS_REGISTRY["User"].get_engine().get_connection().in_transaction
