"""The state store: each operation is one atomic command or script on one key."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import redis
from redis.sentinel import MasterNotFoundError

from asok_auth_core.plugin import (
    Finding,
    StateOperation,
    StateResult,
    StateStore,
    StoreUnavailable,
    checked_ttl,
    checked_value,
    encoded_key,
)

from .connect import Client, connect
from .durability import CHECK, findings
from .url import parse

COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return count
"""
"""Atomic, so that no counter lacks an expiry: a crash could separate INCR and PEXPIRE."""


class RedisStateStore(StateStore):
    """A store for the URLs in the README. It uses the server's clock.

    Raises ConfigurationError for an invalid URL. Connects with the first call.
    """

    def __init__(self, url: str) -> None:
        self._url = parse(url)
        self._prefix = self._url.prefix.encode()
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._pid = 0

    def put(self, key: str, value: bytes, ttl: int) -> None:
        self.command(*self._command(StateOperation("put", key, value, ttl)))

    def get(self, key: str) -> bytes | None:
        return cast("bytes | None", self.command("GET", self._key(key)))

    def take(self, key: str) -> bytes | None:
        return cast("bytes | None", self.command("GETDEL", self._key(key)))

    def add(self, key: str, value: bytes, ttl: int) -> bool:
        return bool(self.command(*self._command(StateOperation("add", key, value, ttl))))

    def incr(self, key: str, ttl: int) -> int:
        return cast("int", self.command(*self._command(StateOperation("incr", key, ttl=ttl))))

    def delete(self, key: str) -> None:
        self.command("DEL", self._key(key))

    def batch(self, operations: Sequence[StateOperation]) -> Sequence[StateResult]:
        commands = [self._command(operation) for operation in operations]
        try:
            client = self._connected()
            if isinstance(client, redis.RedisCluster):
                return super().batch(operations)  # the keys lie on several servers
            with client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
                replies = pipeline.execute()
        except _FAILURES as error:
            raise StoreUnavailable(self._explain(error)) from error
        return [_result(operation.name, reply) for operation, reply in zip(operations, replies, strict=True)]

    def check(self) -> Iterable[Finding]:
        try:
            return findings(self.info())
        except StoreUnavailable:
            unchecked = "This user may not run INFO, so the server's settings were not checked."
            return [Finding(CHECK, "info", unchecked)]

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()

    def command(self, *command: str | bytes | int) -> object:
        """Send one command. Raises StoreUnavailable within two seconds."""
        try:
            return self._connected().execute_command(*command)  # type: ignore[no-untyped-call]
        except _FAILURES as error:
            raise StoreUnavailable(self._explain(error)) from error

    def info(self) -> Sequence[Mapping[str, object]]:
        """INFO of the server, or of each primary of a cluster. Raises StoreUnavailable."""
        try:
            client = self._connected()
            if isinstance(client, redis.RedisCluster):
                return list(client.info(target_nodes=redis.RedisCluster.PRIMARIES).values())
            return [client.info()]
        except _FAILURES as error:
            raise StoreUnavailable(self._explain(error)) from error

    def _connected(self) -> Client:
        if self._client is None or self._pid != os.getpid():
            with self._lock:
                if self._client is None or self._pid != os.getpid():
                    self._client, self._pid = connect(self._url), os.getpid()
        return self._client

    def _command(self, operation: StateOperation) -> tuple[str | bytes | int, ...]:
        key = self._key(operation.key)
        if operation.name in ("get", "take", "delete"):
            return {"get": "GET", "take": "GETDEL", "delete": "DEL"}[operation.name], key
        life = checked_ttl(operation.ttl) * 1000
        if operation.name == "incr":
            return "EVAL", COUNT, 1, key, life
        set_value = ("SET", key, checked_value(operation.value), "PX", life)
        return (*set_value, "NX") if operation.name == "add" else set_value

    def _key(self, key: str) -> bytes:
        return self._prefix + encoded_key(key)

    def _explain(self, error: Exception) -> str:
        """The error message for the operator, without passwords and values."""
        text = str(error)
        for kind, sign, meaning in _MEANINGS:
            if isinstance(error, kind) and sign in text:
                return f"The Redis server {self._url.shown} {meaning}"
        return f"The Redis server {self._url.shown} rejected the command ({type(error).__name__})."


def _result(name: str, reply: object) -> StateResult:
    """What the method ``name`` returns for ``reply``."""
    if name in ("put", "delete"):
        return None
    return bool(reply) if name == "add" else cast("bytes | int | None", reply)


# RedisClusterException is not a RedisError.
_FAILURES = (redis.RedisError, redis.exceptions.RedisClusterException, OSError)

_MEANINGS: tuple[tuple[type[Exception], str, str], ...] = (
    (redis.AuthenticationError, "Authentication required", "requires a username or password."),
    (redis.AuthenticationError, "", "rejected the username or password."),
    (
        redis.exceptions.NoPermissionError,
        "",
        "does not allow this user to run GET, SET, GETDEL, DEL and EVAL.",
    ),
    (redis.exceptions.OutOfMemoryError, "", "is out of memory. Raise its maxmemory."),
    (redis.ResponseError, "OOM", "is out of memory. Raise its maxmemory."),
    (redis.ResponseError, "MISCONF", "cannot write to its disk (is it full?)."),
    (redis.ReadOnlyError, "", "is a read-only replica."),
    (redis.BusyLoadingError, "", "is still loading its data."),
    (redis.ResponseError, "unknown command", "is too old; version 6.2 or newer is required."),
    (redis.TimeoutError, "", "did not answer in time."),
    (redis.exceptions.MaxConnectionsError, "", "has no free connection (max_connections in the URL)."),
    (MasterNotFoundError, "", "(Sentinel) knows no reachable primary."),
    (redis.exceptions.ClusterDownError, "", "reports that the cluster is down."),
    (redis.exceptions.RedisClusterException, "", "is not a reachable cluster."),
    (redis.ConnectionError, "CERTIFICATE_VERIFY_FAILED", "has an untrusted certificate."),
    (redis.ConnectionError, "", "cannot be reached."),
    (OSError, "", "cannot be reached."),
)
