"""Authentication flows without framework or HTML, on engine, hooks and stores."""
