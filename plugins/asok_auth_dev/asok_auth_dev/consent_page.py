"""The pages of the local provider, with their style, as it is another server."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from .accounts import Account

STYLE = """
:root { color-scheme: light dark; --page: #f4f5f8; --card: #fff; --text: #10182b;
  --muted: #4d576a; --line: #7b8496; }
@media (prefers-color-scheme: dark) {
  :root { --page: #0b101b; --card: #141b29; --text: #eef1f6; --muted: #b3bccb; --line: #7d889c; }
}
* { box-sizing: border-box; }
body { margin: 0; padding: clamp(1.5rem, 9vh, 6rem) 1rem 2rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
main { max-width: 26rem; margin: 0 auto; padding: clamp(1.25rem, 6vw, 2.25rem);
  background: var(--card); border-radius: 1rem; }
h1 { margin: 0 0 1rem; font-size: 1.5rem; line-height: 1.25; }
button { width: 100%; min-height: 2.75rem; padding: 0.5rem 1rem; font: inherit;
  font-weight: 600; color: inherit; background: none; border: 1px solid var(--line);
  border-radius: 0.5rem; cursor: pointer; }
button:focus-visible { outline: 3px solid var(--line); outline-offset: 2px; }
p { margin: 0 0 1rem; }
small { display: block; margin: 0.25rem 0 1rem; font-size: 0.875rem; color: var(--muted); }
"""


def consent_page(label: str, accounts: Iterable[Account], redirect_uri: str) -> str:
    """Where a user chooses one of ``accounts``, or cancels."""
    choices = "".join(
        f'<button name="account" value="{one.number}" aria-describedby="about-{one.number}">'
        f"{escape(one.name)}</button>"
        f'<small id="about-{one.number}">{escape(", ".join(filter(None, (one.email, one.note))))}</small>'
        for one in accounts
    )
    return _page(
        f"Local {label}",
        f"<p>This page replaces {escape(label)} during development. Choose an account:</p>"
        f'<form method="post">{choices}<button name="account" value="">Cancel</button>'
        f"<small>You will return to {escape(redirect_uri)}</small></form>",
    )


def rejected_page(reason: str) -> str:
    """What a request of an app that is wrong gets."""
    return _page("Rejected", f"<p>{escape(reason)}</p>")


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
