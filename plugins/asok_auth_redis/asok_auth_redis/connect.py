"""From an address to a client of redis-py whose calls end in time."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry
from redis.sentinel import Sentinel

from .address import Address

STEP = 0.45
"""Seconds for each of: a free connection, connecting, logging in, an answer. Together below two."""

SENTINELS = 0.4
"""Seconds for asking all Sentinels where the primary is."""

Client = redis.Redis | redis.RedisCluster


def connect(address: Address) -> Client:
    """A client. Only that of a cluster connects at once. Raises ``redis.RedisError``."""
    # What comes out of redis-py's constructors is untyped, so what goes in is a plain mapping.
    options: dict[str, Any] = _limits(STEP) | {
        "username": address.username,
        "password": address.password,
        "max_connections": address.max_connections,
    }
    if address.kind == "cluster":
        return _cluster(address, options)
    options["db"] = address.db
    if address.kind == "sentinel":
        return _primary(address, options)
    return _single(address, options)


def _single(address: Address, options: dict[str, Any]) -> redis.Redis:
    if address.kind == "unix":
        options |= {"connection_class": redis.UnixDomainSocketConnection, "path": address.path}
    else:
        ((host, port),) = address.hosts
        options |= {"host": host, "port": port}
        if address.tls:
            options |= {"connection_class": redis.SSLConnection, **_tls(address)}
    pool = redis.BlockingConnectionPool(timeout=STEP, **options)  # type: ignore[no-untyped-call]
    return redis.Redis(connection_pool=pool)


def _primary(address: Address, options: dict[str, Any]) -> redis.Redis:
    tls = {"ssl": True, **_tls(address)} if address.tls else {}
    asking = _limits(SENTINELS / len(address.hosts)) | {
        "username": address.sentinel_username,
        "password": address.sentinel_password,
    }
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        address.hosts, sentinel_kwargs=asking | tls, **options, **tls
    )
    client: redis.Redis = sentinel.master_for(address.service)  # type: ignore[no-untyped-call]
    return client


def _cluster(address: Address, options: dict[str, Any]) -> redis.RedisCluster:
    options |= _limits(STEP / 2)  # one node that is down costs a second look at where the slots are
    if address.tls:
        options |= {"ssl": True, **_tls(address)}
    nodes = [ClusterNode(host, port) for host, port in address.hosts]  # type: ignore[no-untyped-call]
    return redis.RedisCluster(startup_nodes=nodes, **options)


def _limits(seconds: float) -> dict[str, Any]:
    # No retry: a command that got no answer may have been carried out. No RESP3: its hand-shake
    # costs a round trip, and with push messages redis-py does not look whether an idle connection
    # has been closed.
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }


def _tls(address: Address) -> dict[str, Any]:
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **address.files}
