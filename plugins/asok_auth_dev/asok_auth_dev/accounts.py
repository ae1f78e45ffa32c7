"""The accounts at the local provider, with the quirks of real ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Account:
    """An account at the local provider."""

    number: int
    login: str
    name: str
    email: str | None
    verified: bool = True
    domain: str | None = None
    """Google's ``hd``: the Workspace domain."""
    note: str = ""

    def claims(self) -> dict[str, object]:
        """The claims of Google's ID token."""
        claims: dict[str, object] = {"sub": str(self.number), "name": self.name}
        if self.email is not None:
            claims |= {"email": self.email, "email_verified": self.verified}
        if self.domain is not None:
            claims["hd"] = self.domain
        return claims

    def profile(self) -> dict[str, object]:
        """The reply of GitHub's ``/user``, where the public email address is null."""
        return {"id": self.number, "login": self.login, "name": self.name, "email": None, "avatar_url": None}

    def emails(self) -> list[dict[str, object]]:
        """The reply of GitHub's ``/user/emails``; a noreply email address comes first."""
        hidden = f"{self.number}+{self.login}@users.noreply.example"
        found: list[dict[str, object]] = [{"email": hidden, "primary": False, "verified": True}]
        if self.email is not None:
            found.append({"email": self.email, "primary": True, "verified": self.verified})
        return found


ACCOUNTS = (
    Account(1001, "ada", "Ada Example", "ada@example.com", domain="example.com", note="verified email"),
    Account(1002, "bob", "Bob Example", "bob@example.com", verified=False, note="email not verified"),
    Account(1003, "cleo", "Cleo Example", None, note="no email"),
)
