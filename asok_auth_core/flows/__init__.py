"""Authentication flows, without framework or HTML: they combine engine, hooks and stores."""
