"""The people of the local provider, each with a quirk that real providers have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    """Somebody with an account at the local provider."""

    number: int
    login: str
    name: str
    email: str | None
    verified: bool = True
    domain: str | None = None
    """Google's ``hd``: the Workspace domain."""
    note: str = ""

    def claims(self) -> dict[str, object]:
        """As Google's ID token says it."""
        claims: dict[str, object] = {"sub": str(self.number), "name": self.name}
        if self.email is not None:
            claims |= {"email": self.email, "email_verified": self.verified}
        if self.domain is not None:
            claims["hd"] = self.domain
        return claims

    def profile(self) -> dict[str, object]:
        """As GitHub's ``/user`` says it: the public address is null."""
        return {"id": self.number, "login": self.login, "name": self.name, "email": None, "avatar_url": None}

    def addresses(self) -> list[dict[str, object]]:
        """As GitHub's ``/user/emails`` says it: one that receives no mail comes first."""
        hidden = f"{self.number}+{self.login}@users.noreply.example"
        found: list[dict[str, object]] = [{"email": hidden, "primary": False, "verified": True}]
        if self.email is not None:
            found.append({"email": self.email, "primary": True, "verified": self.verified})
        return found


PEOPLE = (
    Person(1001, "ada", "Ada Example", "ada@example.com", domain="example.com", note="verified address"),
    Person(1002, "bob", "Bob Example", "bob@example.com", verified=False, note="address not verified"),
    Person(1003, "cleo", "Cleo Example", None, note="no address"),
)
