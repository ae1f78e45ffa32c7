"""The core's own login methods: API tokens, and OAuth and OpenID providers."""
