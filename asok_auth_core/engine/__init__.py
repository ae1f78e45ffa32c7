"""Pure code without I/O, plugins or a framework."""
