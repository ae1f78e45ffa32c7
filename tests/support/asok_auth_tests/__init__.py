"""Servers, outages and clocks for the tests and benchmarks of this repository."""
