"""For development only: a local OpenID/OAuth provider and a mailbox page."""
