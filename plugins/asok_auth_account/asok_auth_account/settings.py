"""``AUTH["ACCOUNT"]``."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

Notice = Literal[
    "login", "second_factor", "recovery_codes", "login_method", "api_token", "trusted_browser", "account"
]
"""What a user can be told of by mail:

- ``login``: a login with a browser that the user has not logged in with before;
- ``second_factor``: a second factor was added or removed;
- ``recovery_codes``: new recovery codes were made, or one was used;
- ``login_method``: a provider was linked or unlinked;
- ``api_token``: an API token was created;
- ``trusted_browser``: a browser no longer asks for the second factor;
- ``account``: the account was disabled or enabled by an operator.
"""


Domain = Annotated[
    str,
    Meta(
        pattern=r"\A[a-z0-9-]+(\.[a-z0-9-]+)+\Z",
        description='a domain in lower case and ASCII, such as "acme.example"',
    ),
]


TermsURL = Annotated[
    str,
    # Browsers read "//host" and "/\\host" as another host, and drop control characters first.
    Meta(
        pattern=r"\A(/(?![/\\])|https?://[^/\s])[^\x00-\x20\x7f\\]*\Z",
        max_length=2000,
        description='a URL such as "https://acme.example/terms", or a path of this app such as "/terms"',
    ),
]


class AccountSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str.upper
):
    """Settings of accounts; times are seconds."""

    sign_up: Literal["open", "invite", "closed"] = "open"
    """Who may open an account: everybody, only people with an invitation, or nobody."""
    domains: tuple[Domain, ...] = ()
    """Domains of the email addresses with which accounts can be opened; an invitation opens one with any.
    Empty: all domains."""
    terms: TermsURL | None = None
    """Where the app's terms stand. Users agree to them before their account exists; None: no terms."""
    terms_version: Annotated[str, Meta(max_length=100)] = ""
    """The version of the terms, such as a date; it is shown, and kept with each agreement."""
    invitation_lifetime: Annotated[int, Meta(ge=60, le=365 * 86_400)] = 7 * 86_400
    email_change: bool = True
    """Whether users can change their email address on a page of ours."""
    email_lifetime: Annotated[int, Meta(ge=60, le=86_400)] = 3600
    """Lifetime of the link and code that are mailed to a new address."""
    email_undo: Annotated[int, Meta(ge=0, le=365 * 86_400)] = 7 * 86_400
    """How long the former address can undo a change; 0: not at all."""
    deletion: bool = True
    """Whether users can delete their account on a page of ours."""
    deletion_grace: Annotated[int, Meta(ge=3600, le=365 * 86_400)] = 14 * 86_400
    """How long a user who asked for the deletion can come back."""
    recovery_delay: Annotated[int, Meta(ge=3600, le=365 * 86_400)] = 3 * 86_400
    """How long the addresses of an account can stop its recovery before that can be completed."""
    recovery_lifetime: Annotated[int, Meta(ge=3600, le=365 * 86_400)] = 7 * 86_400
    """How long the link that completes a recovery works after that."""
    notices: tuple[Notice, ...] = get_args(Notice)
    """What users are told of by mail."""
    notices_per_hour: Annotated[int, Meta(ge=1, le=100)] = 3
    """Mails of one kind to one user in an hour; the last of them says that it is the last."""
    notices_per_day: Annotated[int, Meta(ge=1, le=1000)] = 10

    @property
    def needs_mail(self) -> bool:
        """True if users cannot do without a mail what these settings allow them.

        Notices are no reason.
        """
        return self.email_change or self.deletion or self.sign_up == "invite"

    def admits(self, email: str) -> bool:
        """True if ``DOMAINS`` has the domain of ``email``, exactly: no subdomains."""
        return not self.domains or email.rpartition("@")[2].lower() in self.domains
