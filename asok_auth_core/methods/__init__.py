"""The core's login methods and its second factor, recovery codes."""
