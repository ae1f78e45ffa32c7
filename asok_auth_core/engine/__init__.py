"""Pure and sans-I/O: no pluggy, no requests, no framework; clock and randomness are passed in."""
