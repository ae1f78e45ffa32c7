"""The core's own login methods, API tokens and OAuth providers, and second factor, recovery codes."""
