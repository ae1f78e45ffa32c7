"""Documented providers pass the suite; bad ones fail it."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

from asok_auth_core.plugin import Claims, Fetch, Identity, OAuth2Provider, OpenIDProvider, ProviderAnswer
from asok_auth_core.testing.providers import OAuth2ProviderContract, OpenIDProviderContract

ROOT = Path(__file__).parents[2]
LIMITS = {"asok_oauth_google": 12, "asok_oauth_github": 30}
FORBIDDEN = ("state", "pkce", "verifier", "cookie", "route", "http.", "requests", "redirect", "nonce")


class GitLab(OpenIDProvider):
    name = "gitlab"
    label = "GitLab"
    issuer = "https://gitlab.com"


class Forge(OAuth2Provider):
    name = "forge"
    label = "Forge"
    issuer = "https://forge.example"
    authorization_endpoint = "https://forge.example/oauth/authorize"
    token_endpoint = "https://forge.example/oauth/token"
    userinfo_endpoint = "https://forge.example/api/me"

    def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
        return Identity(
            issuer=self.issuer,
            subject=claims.subject("id"),
            email=claims.text("email"),
            email_verified=claims.is_true("confirmed"),
        )


class Careless(Forge):
    """Believes everything it is sent."""

    def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
        return Identity(self.issuer, str(claims["login"]), email=str(claims["email"]), email_verified=True)


class TestGitLab(OpenIDProviderContract):
    provider = GitLab()


class Tenants(GitLab):
    name = "tenants"
    issuer = "https://login.example/{tenant}"

    def accepts_issuer(self, issuer: str, claims: Claims) -> bool:
        return claims.text("tenant") == "acme" and issuer == "https://login.example/acme"


class TestTenants(OpenIDProviderContract):
    provider = Tenants()
    issuer = "https://login.example/acme"
    profile = {**OpenIDProviderContract.profile, "tenant": "acme"}


class TestForge(OAuth2ProviderContract):
    provider = Forge()
    profile = {"id": 7, "login": "ada", "email": "ada@example.com", "confirmed": True}
    subject = "7"
    email = "ada@example.com"


class TestUnverified(TestForge):
    """The provider sends an address, and never says that it verified it."""

    profile = {"id": 7, "login": "ada", "email": "ada@example.com"}
    verifies_email = False


class TestWithoutEmail(TestForge):
    profile = {"id": 7, "login": "ada"}
    email = None
    verifies_email = False


def test_a_provider_that_believes_unverified_addresses_fails_the_suite(tmp_path: Path) -> None:
    suite = TestUnverified()
    suite.provider = Careless()  # type: ignore[misc]
    with pytest.raises(AssertionError):
        suite.test_the_identity_is_right()
    with pytest.raises(AssertionError):
        suite.test_a_user_logs_in(tmp_path)


def test_a_careless_provider_fails_the_suite() -> None:
    suite = TestForge()
    suite.provider = Careless()  # type: ignore[misc]
    with pytest.raises(AssertionError):
        suite.test_the_identity_is_right()
    with pytest.raises(AssertionError):
        suite.test_a_user_who_changes_name_and_email_stays_the_same()
    with pytest.raises(AssertionError):
        suite.test_only_the_boolean_true_verifies_an_email(False)
    with pytest.raises(pytest.fail.Exception):
        suite.test_a_reply_without_a_subject_is_rejected(None)
    with pytest.raises(KeyError):
        suite.test_a_malformed_reply_is_read_or_rejected()


def code_lines(path: Path) -> int:
    """Lines with code on them: not blank, not comments, not docstrings."""
    text = path.read_text("utf-8")
    skip = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skip:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


@pytest.mark.parametrize("package", LIMITS)
def test_a_provider_is_as_short_as_promised(package: str) -> None:
    path = ROOT / "plugins" / package / package / "__init__.py"
    assert code_lines(path) <= LIMITS[package]
    names = path.read_text("utf-8").lower()
    assert not [word for word in FORBIDDEN if word in names]


def test_a_providers_package_is_as_short_as_promised() -> None:
    """Module, pyproject.toml and test of the OpenID provider: 80 lines at most."""
    folder = ROOT / "plugins" / "asok_oauth_google"
    toml = [line for line in (folder / "pyproject.toml").read_text("utf-8").splitlines() if line.strip()]
    modules = [*folder.glob("asok_oauth_google/*.py"), *folder.glob("tests/*.py")]
    assert len(toml) + sum(code_lines(path) for path in modules) <= 80
