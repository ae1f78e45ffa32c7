"""Log in with GitLab (OpenID Connect)."""

from __future__ import annotations

from asok_auth_core.plugin import OpenIDProvider, hookimpl


class GitLab(OpenIDProvider):
    name = "gitlab"
    label = "GitLab"
    issuer = "https://gitlab.com"


@hookimpl
def asok_auth_providers() -> list[OpenIDProvider]:
    return [GitLab()]
