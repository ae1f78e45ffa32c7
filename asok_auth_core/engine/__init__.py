"""Pure code without I/O, plugins or a framework; clock and randomness are passed in."""
