"""The app's user model as flows see it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

from asok import Asok, Field
from asok.orm import MODELS_REGISTRY, Model
from asok.orm.engines.base import BaseEngine
from asok.orm.exceptions import ModelError

from ...contracts import UserDirectory
from ...engine.email_address import same_account
from ...engine.storable import is_storable, storable
from ...errors import AccountExists, ConfigurationError, LoginRejected, StoreUnavailable
from ...types import Finding, Grant, User
from .admin_totp import COLUMNS, AdminTotp
from .app_checks import app_findings
from .connections import drop_lost, in_transaction, run
from .email_index import IN_LOWER_CASE, create_index, indexed_condition, statement
from .roles import add_roles, kept_grants, role_names

logger = logging.getLogger("asok_auth")

T = TypeVar("T")

UNUSABLE = "$!"
"""The end of a stored password that no input matches."""
_CANNOT_CREATE = "An account with this email address cannot be created. Please contact the administrators."
_SAVING = ("__init__", "before_create", "before_save", "save")
"""Methods of a model that may give a required field its value."""
_DISABLED = ("is_banned", "is_disabled", "disabled", "banned")
_ENABLED = ("is_active", "active", "enabled", "is_enabled")


class AsokUsers(UserDirectory):
    """Users of the model named by ``app.config["AUTH_MODEL"]``.

    The model class is looked up each time: Asok loads a model file more than once, and registers a new class
    each time.
    """

    def __init__(self, app: Asok) -> None:
        self._app = app
        self._conditions: WeakKeyDictionary[BaseEngine, str | None] = WeakKeyDictionary()

    @property
    def model(self) -> type[Model]:
        """The user model. Raises ConfigurationError if there is none."""
        name = str(self._app.config.get("AUTH_MODEL") or "User")
        model = MODELS_REGISTRY.get(name)
        if model is None:
            raise ConfigurationError(
                f"There is no user model {name!r}. Create src/models/{name.lower()}.py with "
                f'"class {name}(Model): email = Field.String(unique=True)", or name your model in '
                'app.config["AUTH_MODEL"].'
            )
        return model

    def by_id(self, user_id: str) -> User | None:
        try:
            number = int(user_id)
        except ValueError:
            return None
        if not 0 <= number < 2**63:
            return None
        return self._read(lambda: cast("User | None", self.model.find(id=number)))

    def is_read_by_id_only(self) -> bool:
        """True if the model finds users by their row alone, as :meth:`from_row` does."""
        return getattr(self.model.find, "__func__", None) is Model.find.__func__

    def from_row(self, row: Mapping[str, object]) -> User:
        """The user in a row of the table, as ``Model.find`` makes it."""
        return self.model(_trust=True, **row)

    def by_email(self, email: str) -> User | None:
        """The account with this email address, or the only one in another case.

        None if several accounts differ only in case and none matches exactly: the choice would be random.
        One statement, whether the address is known or not. Without an index on ``LOWER(email)``, which
        ``asok-auth doctor`` reports, only the exact and the lower-case spelling are found.
        """
        condition = self._condition() if email.isascii() else None
        if condition is None:
            return self._choose(self._spelled("email IN (?, ?)", email, email.lower()), email)
        return self._choose(self._spelled(condition, email.lower()), email)

    def ids_alike(self, email: str) -> Sequence[str]:
        return [str(row["id"]) for row in self._spelled_alike(email)]

    def create(self, email: str, name: str | None = None) -> User:
        """See UserDirectory. Raises LoginRejected if this email address cannot be used."""
        if not is_storable(email):
            raise LoginRejected(_CANNOT_CREATE)
        if self._spelled_alike(email):
            self._reject_taken(email)
            raise LoginRejected("Several accounts have this email address in different spellings.")
        try:
            return self._insert(email, name)
        except ModelError as error:
            if str(error).endswith("already exists"):
                self._reject_taken(email)
                # A deleted account, say, which no lookup finds.
                raise LoginRejected(_CANNOT_CREATE) from error
            raise ConfigurationError(
                f"{self.model.__name__} does not accept an account with only an email address (field "
                f"{error.field or 'unknown'}). Give its other fields a default or nullable=True, or create "
                "accounts on a page of your own."
            ) from error
        except Exception as error:
            raise StoreUnavailable(
                f"{self.model.__name__} could not be created ({type(error).__name__}): the app's database or "
                "a hook of the model failed."
            ) from error

    def _insert(self, email: str, name: str | None) -> User:
        """A new account. A name that the database cannot store is left out."""
        if name and "name" in self.model._fields:
            try:
                return self._write(lambda: self.model.create(email=email, name=storable(name)))
            except ModelError:
                raise
            except Exception:
                logger.warning("An account could not be created with its name.", exc_info=True)
        return self._write(lambda: self.model.create(email=email))

    def set_email(self, user: User, email: str) -> None:
        taken = "Another account has this email address."
        if any(str(row["id"]) != str(user.id) for row in self._spelled_alike(email)):
            raise AccountExists(taken)
        stored = self._stored(user)
        stored.email = email
        try:
            self._save(stored)
        except ConfigurationError as error:
            if str(error.__cause__).endswith("already exists"):
                raise AccountExists(taken) from error
            raise
        kept = self.by_id(str(user.id))
        if kept is None or self.email_of(kept) != email:
            raise ConfigurationError(
                f"{self.model.__name__} was saved without the new email address. Change it in the app."
            )
        setattr(user, "email", email)  # noqa: B010 - a User has no email for mypy

    def set_up(self, user: User, *, name: str | None = None, roles: Sequence[str] = ()) -> None:
        stored = self._stored(user)
        names = name and "name" in self.model._fields and not getattr(stored, "name", None)
        if names:
            stored.name = storable(cast("str", name))
        if (roles and add_roles(stored, roles)) or names:
            self._save(stored)

    def remove(self, user: User) -> None:
        stored = self.model.query(with_trashed=True).where("id", user.id).first()
        if stored is None:
            return
        try:
            self._write(stored.force_delete)
        except Exception as error:
            raise StoreUnavailable(
                f"{self.model.__name__} could not be deleted ({type(error).__name__}): a row may refer to "
                "it. Delete such rows in asok_auth_remove_user."
            ) from error

    def model_name(self) -> str:
        return str(self.model.__name__)

    def known_roles(self) -> Sequence[str] | None:
        return role_names(self.model)

    def _stored(self, user: User) -> Model:
        """The account as it is stored now: save() writes the whole row.

        Raises ConfigurationError.
        """
        stored = self.by_id(str(user.id))
        if stored is None:
            raise ConfigurationError(f"There is no {self.model.__name__} with this id any more.")
        return cast("Model", stored)

    def _save(self, stored: Model) -> None:
        """Save an account.

        Raises ConfigurationError if its model rejects it, StoreUnavailable.
        """
        try:
            self._write(stored.save)
        except ModelError as error:
            raise ConfigurationError(
                f"{self.model.__name__} does not save this account (field {error.field or 'unknown'}). "
                "Change it in the app."
            ) from error
        except Exception as error:
            raise StoreUnavailable(
                f"{self.model.__name__} could not be saved ({type(error).__name__}): the app's database or a "
                "hook of the model failed."
            ) from error

    def _spelled_alike(self, email: str) -> Sequence[Mapping[str, object]]:
        """The rows with this email address in any case."""
        # Without an index this reads the whole table, or one user could get a second account.
        rows = self._spelled(self._condition() or IN_LOWER_CASE, email.lower())
        return [row for row in rows if same_account(str(row["email"]), email)]

    def _reject_taken(self, email: str) -> None:
        """Raise AccountExists if a lookup finds the account."""
        if self.by_email(email) is not None:
            raise AccountExists("There is an account with this email address. Please log in again.")

    def create_index(self) -> None:
        """Create the index on ``LOWER(email)`` at start-up, if the table exists."""
        engine = self._engine()
        if engine.table_exists(self.model._table):
            self._conditions.pop(engine, None)
            self._condition()

    def check_required_fields(self) -> None:
        """Raise ConfigurationError if no account can be created from an email address."""
        problem = self._required_fields_problem()
        if problem is not None:
            raise ConfigurationError(" ".join(problem))

    def _required_fields_problem(self) -> tuple[str, str] | None:
        """What is wrong with the model's required fields, and the remedy; or None.

        A model with methods of its own for saving may fill them in there.
        """
        model = self.model
        names = [name for name, field in model._fields.items() if _has_no_value(model, name, field)]
        if not names or _saves_itself(model):
            return None
        return (
            f"{model.__name__} has required fields without a default ({', '.join(names)}), so no login can "
            "create an account, which it does from an email address alone.",
            "Give each of them a default or nullable=True and migrate, or set them in "
            f"{model.__name__}.before_create().",
        )

    def check(self) -> Iterator[Finding]:
        yield from app_findings(self._app, self.model, self._engine())
        table, field = self.model._table, self.model._fields["email"]
        problem = self._required_fields_problem()
        if problem is not None:
            yield Finding("users", "error", *problem)
        if not (field.unique or getattr(field, "index", False)):
            yield Finding(
                "users",
                "error",
                f"The field email of {self.model.__name__} is not unique, so two accounts can have one email "
                "address, and every login reads the whole table.",
                "Declare it as Field.String(unique=True), and migrate.",
            )
        if self._condition() is None:
            yield Finding(
                "users",
                "warning",
                f"The table {table} has no index on LOWER(email), so an account whose email address is "
                "stored with capitals is found only by that spelling.",
                f"Create it and restart the app: {statement(self._engine(), table)}. MariaDB has no such "
                "indexes: use a collation that ignores case, such as utf8mb4_unicode_ci.",
            )

    def _engine(self) -> BaseEngine:
        # For writing: a replica may not know yet that an account exists.
        engine: BaseEngine = self.model.get_engine(op="write")
        return engine

    def _condition(self) -> str | None:
        """The condition that finds an address by an index; it is created if missing."""
        engine, table = self._engine(), self.model._table
        if engine not in self._conditions:
            found = self._read(lambda: indexed_condition(engine, table))
            if found is None:
                if in_transaction(engine):
                    return None  # an index would lock the table until its end
                with _database_errors(table):
                    create_index(engine, table)
                    found = indexed_condition(engine, table)
            self._conditions[engine] = found
        return self._conditions[engine]

    def _spelled(self, condition: str, *values: str) -> Sequence[Mapping[str, object]]:
        """The rows of accounts whose email address meets ``condition``."""
        if not all(map(is_storable, values)):
            return ()  # the database would refuse the question
        table, kept = self.model._table, self.model._soft_delete_where()
        sql = f"SELECT * FROM {table} WHERE {condition}" + (f" AND {kept}" if kept else "")  # noqa: S608
        return self._read(lambda: cast("Sequence[Mapping[str, object]]", self._engine().execute(sql, values)))

    def _read(self, read: Callable[[], T]) -> T:
        """What ``read`` returns; repeated once if the database's connection was lost.

        Raises StoreUnavailable for any error, without quoting it.
        """
        engine, table = self._engine(), self.model._table
        with _database_errors(table):
            return run(engine, read, is_read=True)

    def _choose(self, rows: Sequence[Mapping[str, object]], email: str) -> User | None:
        # The database may treat more than case as equal, such as accents.
        same = [row for row in rows if row["email"] == email or same_account(str(row["email"]), email)]
        for spelling in (email, email.lower()):
            for row in same:
                if row["email"] == spelling:
                    return self.model(_trust=True, **row)
        return self.model(_trust=True, **same[0]) if len(same) == 1 else None

    def _passwords(self) -> Iterator[str]:
        return (name for name, field in self.model._fields.items() if getattr(field, "is_password", False))

    def _write(self, write: Callable[[], T]) -> T:
        """Insert or update one row.

        Raises what ``write`` raises, with no transaction left open.
        """
        engine = self._engine()
        if in_transaction(engine):
            with engine.transaction():  # a savepoint: PostgreSQL would abort the app's transaction
                return write()
        try:
            return write()
        except Exception as error:
            if not drop_lost(engine, error):
                # After a statement that fails, SQLite would hold the write lock until the request's end.
                engine.get_connection().rollback()
            raise

    def is_stored(self, user: User) -> bool:
        """True if the account is in the database, deleted softly or not."""
        sql = f"SELECT id FROM {self.model._table} WHERE id = ?"  # noqa: S608
        return self._read(lambda: bool(self._engine().execute(sql, (user.id,))))

    def email_of(self, user: User) -> str | None:
        return getattr(user, "email", None) or None

    def is_active(self, user: User) -> bool:
        for name in _DISABLED:
            if getattr(user, name, False):
                return False
        # A plain loop: every authenticated request comes through here.
        for name in _ENABLED:
            value = getattr(user, name, None)
            if value is not None and not value:
                return False
        return True

    def set_active(self, user: User, active: bool) -> None:
        fields = self.model._fields
        known = [
            name
            for name in (*_ENABLED, *_DISABLED)
            if name in fields and getattr(fields[name], "is_boolean", False)
        ]
        if not known:
            raise ConfigurationError(
                f"{self.model.__name__} has no field that disables an account. Add is_active = "
                "Field.Boolean(default=True) to it, and migrate."
            )
        # One of them disables an account; all of them must agree to enable it.
        for name in known if active else known[:1]:
            setattr(user, name, active == (name in _ENABLED))
        self._save(cast("Model", user))
        stored = self.by_id(str(user.id))
        if stored is None or self.is_active(stored) is not active:
            raise ConfigurationError(
                f"{self.model.__name__} was saved, but the account is {'not' if active else 'still'} active. "
                "Change it in the app."
            )

    def highest_id(self) -> int | None:
        table, engine = self.model._table, self._engine()
        with _database_errors(table):
            if not engine.table_exists(table):
                return 0
            (row,) = engine.execute(f"SELECT MAX(id) AS highest FROM {table}", ())  # noqa: S608
        return int(row["highest"] or 0)

    def has_password(self, user: User) -> bool:
        kept = [getattr(user, name, None) for name in self._passwords()]
        return any(text and not str(text).endswith(UNUSABLE) for text in kept)

    def clear_password(self, user: User) -> bool:
        table = self.model._table
        for name in self._passwords():
            unusable = unusable_password()
            with _database_errors(table):
                # Only this column: save() would write back the rest of the row as it was read.
                self._engine().execute(f"UPDATE {table} SET {name} = ? WHERE id = ?", (unusable, user.id))  # noqa: S608
            setattr(user, name, unusable)
        return True

    def framework_factors(self) -> AdminTotp | None:
        if any(name not in self.model._fields for name in COLUMNS):
            return None
        return AdminTotp(lambda: self.model, self._app.config)

    def grants(self) -> Iterator[Grant]:
        return kept_grants(self.model)


@contextmanager
def _database_errors(table: str) -> Iterator[None]:
    """Raise StoreUnavailable for any error of the driver, without quoting it."""
    try:
        yield
    except Exception as error:
        raise StoreUnavailable(
            f"The app's database failed or did not answer ({type(error).__name__}) for {table}."
        ) from error


def required_passwords(model: type[Model]) -> Iterator[str]:
    """Password fields that may not be empty, as ``asok create --admin`` writes them."""
    for name, field in model._fields.items():
        if getattr(field, "is_password", False) and not field.nullable and field.default is None:
            yield name


def _has_no_value(model: type[Model], name: str, field: Field) -> bool:
    """True if the field is required, and neither we nor Asok give it a value."""
    if field.nullable or field.default is not None or name == "email":
        return False
    if any(getattr(field, kind, False) for kind in ("is_password", "is_uuid", "is_timestamp")):
        return False
    source = getattr(field, "populate_from", None)
    return source != "email" and getattr(model._fields.get(source), "default", None) is None


def _saves_itself(model: type[Model]) -> bool:
    """True if the model has a method of its own in which it may fill in its fields."""
    return any(getattr(model, name) is not getattr(Model, name) for name in _SAVING) or (
        getattr(model.create, "__func__", None) is not Model.create.__func__
    )


def unusable_password() -> str:
    """A stored password that no input matches, and that takes no slow hash to check."""
    return f"pbkdf2:sha256:1${secrets.token_hex(16)}{UNUSABLE}"
