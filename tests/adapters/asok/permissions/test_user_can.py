"""``user.can``, ``explain`` and ``can`` in templates, without the Admin."""

from __future__ import annotations

from pathlib import Path

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient

from asok_auth_core.adapters.asok import roles
from asok_auth_core.adapters.asok.permissions import user_can

from ..apps import USER_MODEL, Plugin, first_line, logged_in, make_user, started


class TestWithoutTheAdmin:
    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({}, "no"),
            ({"role": "editor"}, "yes"),
            ({"role": "reader"}, "no"),
            ({"role": "nonesuch"}, "no"),
            ({"role": "reader,editor"}, "yes"),
            ({"role": "1"}, "yes"),
            ({"permissions": "posts.*"}, "yes"),
            ({"permissions": "users.*, posts.edit"}, "yes"),
            ({"permissions": "posts.edi"}, "no"),
            ({"permissions": "posts.*.*"}, "no"),
            ({"is_admin": True}, "yes"),
            ({"role": "admin"}, "yes"),
        ],
        ids=str,
    )
    def test_the_documented_snippet(self, app: Asok, fields: dict[str, object], expected: str) -> None:
        make_user("ada@example.org", **fields)
        assert first_line(logged_in(app, "ada@example.org"), "/documented") == expected

    @pytest.mark.requirement("SECURITY-28")
    def test_a_stored_role_named_admin_grants_only_its_permissions(self, app: Asok) -> None:
        MODELS_REGISTRY["Role"].create(name="admin", permissions="posts.view")
        make_user("ada@example.org", role="admin")
        assert first_line(logged_in(app, "ada@example.org"), "/documented") == "no"

    @pytest.mark.requirement("SECURITY-23")
    def test_a_changed_role_counts_on_the_next_request(self, app: Asok) -> None:
        make_user("ada@example.org", role="editor")
        client = logged_in(app, "ada@example.org")
        editor = MODELS_REGISTRY["Role"].find(name="editor")
        for permissions, expected in (("posts.view", "no"), ("posts.*", "yes"), ("", "no"), ("*", "yes")):
            editor.update(permissions=permissions)
            assert first_line(client, "/documented") == expected
        MODELS_REGISTRY["User"].find(email="ada@example.org").update(role="reader")
        assert first_line(client, "/documented") == "no"

    def test_the_methods_are_on_every_class_of_the_model(self, app: Asok) -> None:
        """Asok loads a model file twice; the second class lacks our methods."""
        make_user("ada@example.org", role="editor")
        first = MODELS_REGISTRY["User"]
        client = TestClient(app)
        assert first_line(client, "/others") == "[True]", "not even this request's user was read"
        assert MODELS_REGISTRY["User"] is not first
        assert first_line(logged_in(app, "ada@example.org"), "/documented") == "yes"
        assert first.can is MODELS_REGISTRY["User"].can

    def test_grants_of_plugins_and_denials_with_a_resource(self, app: Asok, plugin: Plugin) -> None:
        make_user("ada@example.org")
        client = logged_in(app, "ada@example.org")
        assert first_line(client, "/resource?post=mine") == "False"
        plugin.grants["ada@example.org"] = ["posts.edit"]
        assert first_line(client, "/resource?post=mine") == "True"
        assert first_line(client, "/resource?post=locked") == "False"

    def test_explain_names_grant_role_and_plugin(self, app: Asok, plugin: Plugin) -> None:
        make_user("ada@example.org", role="editor", permissions="posts. edit")
        client = logged_in(app, "ada@example.org")
        text = client.get("/explained?what=posts.edit").text
        assert "Granted by 'posts.edit' of role editor (plugin roles)." in text
        text = client.get("/explained?what=posts.delete").text
        assert "One of these would: 'posts.delete', 'posts.*', '*'" in text
        assert "'posts. edit' of the user's own permissions is not well formed" in text
        plugin.grants["ada@example.org"] = ["posts.*"]
        assert "'posts.*' of team (plugin Plugin)" in client.get("/explained?what=posts.delete").text

    @pytest.mark.requirement("SECURITY-28")
    def test_malformed_permissions_are_denied_to_superusers_too(self, app: Asok) -> None:
        make_user("root@example.org", is_admin=True)
        assert first_line(logged_in(app, "root@example.org"), "/bad") == str([False] * 11)

    def test_templates(self, app: Asok) -> None:
        make_user("ada@example.org", role="editor")
        assert "look" in TestClient(app).get("/menu").text
        assert "edit" in logged_in(app, "ada@example.org").get("/menu").text

    def test_plugins_are_asked_once_a_request_and_not_kept_longer(self, app: Asok, plugin: Plugin) -> None:
        make_user("root@example.org", is_admin=True)
        client = logged_in(app, "root@example.org")
        for _ in range(2):
            plugin.asked = 0
            first_line(client, "/bad")
            assert plugin.asked == 1

    @pytest.mark.requirement("SECURITY-32")
    def test_a_resolver_that_raises_grants_nothing(self, app: Asok, plugin: Plugin) -> None:
        make_user("ada@example.org", role="editor")
        plugin.error = RuntimeError("gone")
        client = logged_in(app, "ada@example.org")
        assert first_line(client, "/documented") == "yes", "the roles are another resolver"
        MODELS_REGISTRY["Role"].get_engine().execute("DROP TABLE roles", ())
        assert first_line(client, "/documented") == "no", "now both raise"
        assert "raised an error and granted nothing" in client.get("/explained?what=posts.edit").text

    def test_scopes_of_an_api_token_limit_its_owner(self, app: Asok) -> None:
        make_user("root@example.org", is_admin=True)
        client = TestClient(app)
        for scopes, expected in ((";posts.view", "no"), (";posts.*", "yes"), ("", "yes")):
            headers = {"X-Badge": f"root@example.org{scopes}"}
            assert first_line(client, "/documented", headers=headers) == expected
        limited = {"X-Badge": "root@example.org;posts.view"}
        assert client.get("/api/guarded", headers=limited).status_code == 403
        assert first_line(client, "/others", headers=limited) == "[False]", "its owner loaded once more"
        assert "scopes do not include" in client.get("/explained?what=posts.edit", headers=limited).text

    def test_outside_of_a_request(self, app: Asok) -> None:
        assert make_user("ada@example.org", role="editor").can("posts.edit")
        assert not make_user("bob@example.org").can("posts.edit")
        assert "posts.edit" in str(make_user("eve@example.org").explain("posts.edit"))

    def test_a_can_written_by_the_app_is_kept_and_reported(
        self, tmp_path: Path, plugin: Plugin, caplog: pytest.LogCaptureFixture
    ) -> None:
        own = USER_MODEL + "\n    def can(self, permission):\n        return permission == 'own'\n"
        with started(tmp_path, plugin, models={"user.py": own}) as app:
            user = make_user("ada@example.org", is_admin=True)
            assert user.can("own")
            assert not user.can("posts.edit")
            findings = list(roles.asok_auth_checks(app.extensions["AuthExtension"].auth))
            assert [finding.check for finding in findings] == ["roles"]
            assert "has its own can()" in findings[0].message
            TestClient(app).get("/", headers={"X-Badge": "ada@example.org"})
        said = [record for record in caplog.records if "has its own can()" in record.getMessage()]
        assert len(said) == len({record.getMessage() for record in said}) == 1, "once, not with each request"

    def test_doctor_lists_malformed_grants(self, app: Asok) -> None:
        MODELS_REGISTRY["Role"].create(name="odd", permissions="posts.edit, posts.**, .x, ok.*")
        make_user("ada@example.org", name="Ada", permissions="fine, not fine")
        auth = app.extensions["AuthExtension"].auth
        found = [finding.message for finding in auth.plugins.checks(auth) if finding.check == "grants"]
        assert found == [
            "'posts.**' of role odd is malformed and grants nothing.",
            "'.x' of role odd is malformed and grants nothing.",
            "'not fine' of user Ada is malformed and grants nothing.",
        ]


def test_without_a_user_every_permission_is_denied(app: Asok) -> None:
    assert user_can(app.extensions["AuthExtension"].app_auth, None, None, "posts.edit") is False
