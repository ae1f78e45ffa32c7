"""Permissions in the Admin, and apps without the extension in its process."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from asok import Asok
from asok.admin import rbac as asok_rbac
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.flows.sessions import end_sessions
from asok_auth_core.testing.apps import asok_app

from ..apps import ROLE_MODEL, USER_MODEL, Plugin, first_line, logged_in, make_user
from .admin import add_admin


class TestWithTheAdmin:
    def give(self, email: str, role: str) -> None:
        user = MODELS_REGISTRY["User"].find(email=email)
        number = MODELS_REGISTRY["Role"].find(name=role).id
        user.get_engine().execute("INSERT INTO role_user (user_id, role_id) VALUES (?, ?)", (user.id, number))

    def test_the_documented_snippet_with_the_admins_roles(self, admin_app: Asok) -> None:
        make_user("ada@example.org")
        client = logged_in(admin_app, "ada@example.org")
        assert first_line(client, "/documented") == "no"
        self.give("ada@example.org", "editor")
        assert first_line(client, "/documented") == "yes"
        assert MODELS_REGISTRY["User"].can is not asok_rbac._user_can
        assert "of role editor (plugin roles)" in client.get("/explained?what=posts.edit").text

    def test_roles_are_read_from_a_class_loaded_after_the_admin_too(self, admin_app: Asok) -> None:
        """A policy such as REQUIRE_2FA is decided before the request has a user."""
        make_user("ada@example.org")
        self.give("ada@example.org", "editor")
        first = MODELS_REGISTRY["User"]
        assert first_line(TestClient(admin_app), "/others") == "[True]"
        assert MODELS_REGISTRY["User"] is not first
        assert [role.name for role in MODELS_REGISTRY["User"].find(id=1).roles] == ["editor"]

    @pytest.mark.requirement("SECURITY-23")
    def test_taking_a_role_away_counts_on_the_next_request(self, admin_app: Asok) -> None:
        user = make_user("ada@example.org")
        self.give("ada@example.org", "editor")
        client = logged_in(admin_app, "ada@example.org")
        assert first_line(client, "/documented") == "yes"
        user.get_engine().execute("DELETE FROM role_user", ())
        assert first_line(client, "/documented") == "no"

    def test_its_screens_honor_what_plugins_grant(self, admin_app: Asok, plugin: Plugin) -> None:
        make_user("ada@example.org")
        client = logged_in(admin_app, "ada@example.org")
        assert client.get("/admin/posts").status_code == 302, "not let in at all"
        plugin.grants["ada@example.org"] = ["posts.view"]
        assert client.get("/admin/posts").status_code == 200
        assert client.get("/admin/posts/new").status_code == 403
        assert client.get("/admin/roles").status_code == 403
        plugin.grants["ada@example.org"] = ["posts.*"]
        assert client.get("/admin/posts/new").status_code == 200

    def test_its_screens_honor_denials_for_superusers_too(self, admin_app: Asok, plugin: Plugin) -> None:
        make_user("root@example.org", is_admin=True)
        client = logged_in(admin_app, "root@example.org")
        assert client.get("/admin/posts/new").status_code == 200
        plugin.denied.add("posts.add")
        assert client.get("/admin/posts/new").status_code == 403
        assert client.get("/admin/posts").status_code == 200

    def test_a_limited_token_does_not_open_it(self, admin_app: Asok) -> None:
        make_user("root@example.org", is_admin=True)
        client = TestClient(admin_app)
        limited = client.get("/admin/posts", headers={"X-Badge": "root@example.org;posts.view"})
        assert limited.status_code == 302
        assert client.get("/admin/posts", headers={"X-Badge": "root@example.org"}).status_code == 200

    def impersonating(self, admin_app: Asok) -> TestClient:
        """A browser in which the superuser impersonates Bob, who has posts.view."""
        client = logged_in(admin_app, "root@example.org")
        bob = MODELS_REGISTRY["User"].find(email="bob@example.org")
        form = {"csrf_token": client.cookies["asok_csrf"]}
        assert client.post(f"/admin/impersonate/{bob.id}", data=form).headers["Location"] == "/admin"
        return client

    @pytest.fixture
    def people(self, admin_app: Asok, plugin: Plugin) -> None:
        make_user("root@example.org", is_admin=True)
        make_user("bob@example.org")
        plugin.grants["bob@example.org"] = ["posts.view"]

    def test_impersonation(self, admin_app: Asok, people: None) -> None:
        client = self.impersonating(admin_app)
        assert first_line(client, "/") == "bob@example.org"
        assert client.get("/admin/posts").status_code == 200
        assert client.get("/admin/posts/new").status_code == 403, "with Bob's permissions"
        form = {"csrf_token": client.cookies["asok_csrf"]}
        assert client.post("/admin/stop-impersonate", data=form).status_code == 302
        assert first_line(client, "/") == "root@example.org"
        assert client.get("/admin/posts/new").status_code == 200

    @pytest.mark.requirement("SECURITY-23")
    def test_impersonation_ends_with_the_session(self, admin_app: Asok, people: None) -> None:
        """Logging out other sessions ends a stolen one within the Admin too."""
        client = self.impersonating(admin_app)
        auth = admin_app.extensions["AuthExtension"].auth
        end_sessions(auth, MODELS_REGISTRY["User"].find(email="root@example.org"))
        assert first_line(client, "/") == "nobody"
        assert client.get("/admin/posts").headers["Location"] == "/admin/login"
        with_token = {"X-Badge": "bob@example.org;files.view"}
        assert client.get("/admin/posts", headers=with_token).headers["Location"] == "/admin/login"

    def test_a_new_login_in_the_same_browser_ends_impersonation(self, admin_app: Asok, people: None) -> None:
        make_user("ada@example.org")
        client = self.impersonating(admin_app)
        assert client.get("/enter?as=ada@example.org").status_code == 302
        assert first_line(client, "/") == "ada@example.org"
        assert client.get("/admin").status_code == 302, "Ada holds nothing there"

    def test_an_app_without_our_extension_is_as_before(self, tmp_path: Path, admin_app: Asok) -> None:
        """In another app of the same process, the patched class decides as Asok does."""
        make_user("ada@example.org")
        self.give("ada@example.org", "editor")
        with asok_app(
            tmp_path / "other", extension=False, models={"user.py": USER_MODEL, "role.py": ROLE_MODEL}
        ) as other:
            admin = add_admin(other)
            assert MODELS_REGISTRY["User"].can is asok_rbac._user_can
            root = make_user("root@example.org", is_admin=True)
            nobody = make_user("nobody@example.org")
            assert root.can("anything at all")
            assert not hasattr(root, "explain")
            assert admin._is_admin_or_has_roles(root)
            assert not admin._is_admin_or_has_roles(nobody)
            for user in (root, nobody, None):
                assert bool(admin._has_admin_access(user)) is (user is root)
            for user in (root, nobody):
                request = SimpleNamespace(user=user)
                assert admin._can(request, "posts", "edit") is (user is root)

    def test_a_class_of_ours_in_a_request_of_an_app_without_the_extension(
        self, tmp_path: Path, app: Asok
    ) -> None:
        root, ada = make_user("root@example.org", is_admin=True), make_user("ada@example.org", role="editor")
        assert ada.can("posts.edit"), "as our app says"
        asked = "[[user.can(what) for what in ('posts.edit', 'posts.delete')] for user in request.app.asked]"
        page = f"""
def get(request):
    try:
        request.app.asked[0].explain("posts.edit")
    except AttributeError as error:
        return str({asked}) + str(error)
"""
        with asok_app(tmp_path / "other", extension=False, pages={"ask.py": page}) as other:
            other.asked = [root, ada]
            text = TestClient(other).get("/ask").text
            assert text.startswith("[[True, True], [False, False]]"), text
            assert "explain() needs app.register_extension(AuthExtension())" in text
