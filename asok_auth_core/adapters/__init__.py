"""Adapters to web frameworks."""
