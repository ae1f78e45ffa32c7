"""The app's user model as flows see it."""

from __future__ import annotations

from pathlib import Path

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY

from asok_auth_core.adapters.asok.users import AsokUsers
from asok_auth_core.contracts import UserDirectory
from asok_auth_core.errors import AccountExists, ConfigurationError, LoginRejected, StoreUnavailable
from asok_auth_core.flows.permissions import user_can
from asok_auth_core.flows.verified_emails import mark_email_verified
from asok_auth_core.testing import UserDirectoryContract
from asok_auth_core.testing.apps import asok_app


class TestContract(UserDirectoryContract):
    threads = 1

    @pytest.fixture
    def users(self, app: Asok) -> UserDirectory:
        return AsokUsers(app)


class TestChangedAddresses:
    MODEL = """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True)

    def before_save(self):
        if self.email == "fails@example.org":
            raise OSError("cannot reach the directory of fails@example.org")
        if self.email.startswith("+"):
            self.email = "other@example.org"
"""

    @pytest.mark.requirement("SECURITY-1")
    def test_the_database_decides_between_two_at_once(
        self, app: Asok, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        users = AsokUsers(app)
        ada, two = users.by_email("ada@example.org"), users.by_email("two@example.org")
        assert ada is not None
        assert two is not None
        monkeypatch.setattr(users, "_spelled_alike", lambda email: [])
        with pytest.raises(AccountExists):
            users.set_email(ada, "two@example.org")
        assert users.email_of(ada) == "ada@example.org"
        users.set_email(ada, "new@example.org")  # no transaction was left open
        assert users.by_email("new@example.org").id == ada.id  # type: ignore[union-attr]

    @pytest.mark.requirement("SECURITY-15")
    def test_another_accounts_address_in_capitals_is_taken(self, app: Asok) -> None:
        MODELS_REGISTRY["User"].create(email="Grace@Example.Org")
        users = AsokUsers(app)
        ada = users.by_email("ada@example.org")
        assert ada is not None
        with pytest.raises(AccountExists):
            users.set_email(ada, "grace@example.org")

    def test_what_the_app_changed_meanwhile_stays(self, app: Asok) -> None:
        users = AsokUsers(app)
        ada = users.by_email("ada@example.org")
        assert ada is not None
        MODELS_REGISTRY["User"].find(id=ada.id).update(name="Countess")
        users.set_email(ada, "new@example.org")
        assert users.by_id(str(ada.id)).name == "Countess"  # type: ignore[union-attr]

    def test_a_user_who_is_gone_is_an_error(self, app: Asok) -> None:
        users = AsokUsers(app)
        ada = users.by_email("ada@example.org")
        MODELS_REGISTRY["User"].find(email="ada@example.org").delete()
        assert ada is not None
        with pytest.raises(ConfigurationError, match="no User with this id"):
            users.set_email(ada, "new@example.org")

    def test_a_model_that_does_not_accept_it_is_an_error(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, models={"user.py": self.MODEL}) as app:
            users = AsokUsers(app)
            ada = users.create("ada@example.org")
            with pytest.raises(StoreUnavailable, match="OSError") as caught:
                users.set_email(ada, "fails@example.org")
            assert "fails@" not in str(caught.value)
            with pytest.raises(ConfigurationError, match="without the new email address"):
                users.set_email(ada, "+ada@example.org")

    def test_a_model_that_validates_it_says_which_field(self, tmp_path: Path) -> None:
        model = """
from asok import Field, Model

class User(Model):
    email = Field.Email(unique=True)
    phone = Field.Tel(nullable=True)
"""
        with asok_app(tmp_path, models={"user.py": model}) as app:
            users = AsokUsers(app)
            ada = users.create("ada@example.org")
            engine = MODELS_REGISTRY["User"].get_engine()
            engine.execute(f"UPDATE {MODELS_REGISTRY['User']._table} SET phone = 'x!'", ())
            with pytest.raises(ConfigurationError, match="field phone"):
                users.set_email(ada, "new@example.org")


class TestUsers:
    def test_fields_that_disable(self, app: Asok) -> None:
        users = AsokUsers(app)
        user = MODELS_REGISTRY["User"].find(email="ada@example.org")
        assert users.is_active(user)
        user.is_active = False
        assert not users.is_active(user)
        user.is_active = True
        user.is_banned = True
        assert not users.is_active(user)

    @pytest.mark.parametrize("user_id", ["", "x", "-1", "1e3", str(2**63), "1 OR 1=1", "٣"])
    def test_invalid_ids_have_no_user(self, app: Asok, user_id: str) -> None:
        assert AsokUsers(app).by_id(user_id) is None

    def test_addresses(self, app: Asok) -> None:
        users = AsokUsers(app)
        ada = users.by_email("Ada@Example.org")
        assert ada is not None
        assert users.email_of(ada) == "ada@example.org"
        created = users.create("bob@example.org", "Bob")
        assert users.by_id(str(created.id)).name == "Bob"  # type: ignore[union-attr]


class TestPasswords:
    @pytest.mark.requirement("SECURITY-35")
    def test_a_cleared_password_opens_nothing_and_the_rest_of_the_row_stays(self, tmp_path: Path) -> None:
        model = """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True)
    name = Field.String(nullable=True)
    password = Field.Password(nullable=True)
"""
        with asok_app(tmp_path, models={"user.py": model}) as app:
            users, model_class = AsokUsers(app), MODELS_REGISTRY["User"]
            user = model_class.create(email="ada@example.org", name="Ada", password="planted-in-advance")
            model_class.find(id=user.id).update(name="Grace")
            assert users.has_password(user)
            assert users.clear_password(user)
            kept = model_class.find(id=user.id)
            assert not kept.check_password("password", "planted-in-advance")
            assert not users.has_password(user)
            assert not users.has_password(kept)
            assert kept.name == "Grace"
            assert not users.has_password(model_class.create(email="bob@example.org"))

    @pytest.mark.requirement("SECURITY-32")
    def test_a_database_that_fails_clears_nothing_and_names_no_address(
        self, app: Asok, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        users = AsokUsers(app)

        def fail(*arguments: object) -> None:
            raise OSError("cannot read the row of ada@example.org")

        monkeypatch.setattr(type(users.model.get_engine()), "execute", fail)
        for call in (lambda: users.by_email("ada@example.org"), users.highest_id):
            with pytest.raises(StoreUnavailable, match="OSError") as caught:
                call()
            assert "ada@example.org" not in str(caught.value)

    def test_an_account_gets_a_password_only_if_the_model_demands_one(self, tmp_path: Path) -> None:
        model = """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True)
    password = Field.Password(nullable=%s)
"""
        for nullable in (True, False):
            root = tmp_path / str(nullable)
            with asok_app(root, models={"user.py": model % nullable}) as app:
                created = AsokUsers(app).create("ada@example.org")
                assert (created.password is None) is nullable  # type: ignore[attr-defined]
                assert not AsokUsers(app).has_password(created)

    def test_a_model_without_passwords_has_none(self, app: Asok) -> None:
        assert not AsokUsers(app).has_password(MODELS_REGISTRY["User"].find(email="ada@example.org"))


@pytest.mark.requirement("SECURITY-15")
class TestAddressesInAnyCase:
    """Emails an app stored with capitals are found, and no user is picked by chance."""

    def test_capitals_in_the_database(self, app: Asok) -> None:
        User = MODELS_REGISTRY["User"]
        grace = User.create(email="Grace@Example.Org")
        users = AsokUsers(app)
        for spelling in ("grace@example.org", "Grace@example.org", "GRACE@EXAMPLE.ORG", "Grace@Example.Org"):
            assert users.by_email(spelling).id == grace.id  # type: ignore[union-attr]
        assert users.by_email("grace@example.com") is None

    def test_two_that_differ_in_case_only(self, app: Asok) -> None:
        User = MODELS_REGISTRY["User"]
        one, other = User.create(email="Grace@example.org"), User.create(email="GRACE@example.org")
        users = AsokUsers(app)
        assert users.by_email("Grace@example.org").id == one.id  # type: ignore[union-attr]
        assert users.by_email("GRACE@example.org").id == other.id  # type: ignore[union-attr]
        assert users.by_email("grace@example.org") is None
        with pytest.raises(LoginRejected, match="Several accounts"):
            users.create("grace@example.org")

    def test_letters_that_only_look_equal_are_not(self, app: Asok) -> None:
        """``K`` in lower case is ``k``, and databases know more such pairs."""
        MODELS_REGISTRY["User"].create(email="\N{KELVIN SIGN}ate@example.org")
        users = AsokUsers(app)
        assert users.by_email("kate@example.org") is None
        assert users.by_email("\N{KELVIN SIGN}ate@example.org") is not None


class TestRoles:
    ROLE = """
from asok import Field, Model

class Role(Model):
    name = Field.String(unique=True)
    permissions = Field.JSON(nullable=True)
"""
    HEAD = """
from asok import Field, Model, Relation

class User(Model):
    email = Field.String(unique=True)
    name = Field.String(nullable=True)
"""

    @pytest.mark.parametrize(
        "field",
        [
            'roles = Relation.BelongsToMany("Role")',
            "role_id = Field.Integer(nullable=True)",
            "role = Field.String(nullable=True)",
            "roles = Field.String(nullable=True)",
            "roles = Field.JSON(nullable=True)",
        ],
    )
    def test_they_are_found_where_permissions_are_read(self, tmp_path: Path, field: str) -> None:
        models = {"user.py": f"{self.HEAD}    {field}\n", "role.py": self.ROLE}
        with asok_app(tmp_path, models=models) as app:
            role = MODELS_REGISTRY["Role"]
            role.create(name="editor", permissions=["posts.edit"])
            users = AsokUsers(app)
            ada = users.create("ada@example.org")
            assert users.known_roles() == ["editor"]
            for _ in range(2):
                users.set_up(ada, name="Ada", roles=["editor"])
            kept = users.by_id(str(ada.id))
            assert kept is not None
            assert user_can(app.extensions["AuthExtension"].auth, kept, "posts.edit")
            assert kept.name == "Ada"  # type: ignore[attr-defined]
            with pytest.raises(ConfigurationError, match="no role 'x'"):
                users.set_up(ada, roles=["x"])

    @pytest.mark.parametrize("field", ["role", "roles"])
    def test_a_role_without_a_model_of_its_own_is_a_name(self, tmp_path: Path, field: str) -> None:
        models = {"user.py": f"{self.HEAD}    {field} = Field.String(nullable=True)\n"}
        with asok_app(tmp_path, models=models) as app:
            users = AsokUsers(app)
            ada = users.create("ada@example.org")
            assert users.known_roles() is None
            users.set_up(ada, roles=["editor"])
            users.set_up(ada, roles=["admin", "editor"])
            kept = users.by_id(str(ada.id))
            assert getattr(kept, field) == "editor,admin"
            assert user_can(app.extensions["AuthExtension"].auth, kept, "posts.edit")

    def test_a_model_without_roles_says_what_it_needs(self, app: Asok) -> None:
        users = AsokUsers(app)
        ada = users.by_email("ada@example.org")
        assert ada is not None
        with pytest.raises(ConfigurationError, match="has no field for these roles"):
            users.set_up(ada, roles=["editor"])
        users.set_up(ada)


class TestRemoval:
    def test_a_soft_delete_is_none(self, tmp_path: Path) -> None:
        model = """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True)
    gone = Field.SoftDelete()
"""
        with asok_app(tmp_path, models={"user.py": model}) as app:
            auth, users = app.extensions["AuthExtension"].auth, AsokUsers(app)
            for softly in (False, True):
                user = users.create("ada@example.org")
                mark_email_verified(auth, user, "ada@example.org")
                if softly:
                    user.delete()  # type: ignore[attr-defined]
                users.remove(user)
                assert not users.is_stored(user)
                assert [row.kind for row in auth.credentials.list(str(user.id))] == ["epoch"]

    def test_one_that_the_database_rejects_says_why(self, app: Asok, monkeypatch: pytest.MonkeyPatch) -> None:
        users = AsokUsers(app)
        ada = users.by_email("ada@example.org")
        assert ada is not None

        def fail(self: object) -> None:
            raise OSError("a row of ada@example.org refers to it")

        monkeypatch.setattr(users.model, "force_delete", fail)
        with pytest.raises(StoreUnavailable, match=r"OSError.*asok_auth_remove_user") as caught:
            users.remove(ada)
        assert "ada@" not in str(caught.value)
