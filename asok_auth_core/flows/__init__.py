"""Logging in, step by step: engine, hooks and stores put together. No framework, no HTML."""
