"""Create a redis-py client with short timeouts from a URL."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry
from redis.sentinel import Sentinel

from .url import StoreURL

STEP = 0.45
"""Seconds for each step: a free connection, connecting, logging in, a reply. In total below two."""

SENTINELS = 0.4
"""Seconds to ask all Sentinels for the primary."""

Client = redis.Redis | redis.RedisCluster


def connect(url: StoreURL) -> Client:
    """Create a client; only a cluster's connects at once.

    Raises ``redis.RedisError``.
    """
    # redis-py's constructors are untyped, hence the plain mapping.
    options: dict[str, Any] = _limits(STEP) | {
        "username": url.username,
        "password": url.password,
        "max_connections": url.max_connections,
    }
    if url.kind == "cluster":
        return _cluster(url, options)
    options["db"] = url.db
    if url.kind == "sentinel":
        return _primary(url, options)
    return _single(url, options)


def _single(url: StoreURL, options: dict[str, Any]) -> redis.Redis:
    if url.kind == "unix":
        options |= {"connection_class": redis.UnixDomainSocketConnection, "path": url.path}
    else:
        ((host, port),) = url.hosts
        options |= {"host": host, "port": port}
        if url.tls:
            options |= {"connection_class": redis.SSLConnection, **_tls(url)}
    pool = redis.BlockingConnectionPool(timeout=STEP, **options)  # type: ignore[no-untyped-call]
    return redis.Redis(connection_pool=pool)


def _primary(url: StoreURL, options: dict[str, Any]) -> redis.Redis:
    tls = {"ssl": True, **_tls(url)} if url.tls else {}
    asking = _limits(SENTINELS / len(url.hosts)) | {
        "username": url.sentinel_username,
        "password": url.sentinel_password,
    }
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        url.hosts, sentinel_kwargs=asking | tls, **options, **tls
    )
    client: redis.Redis = sentinel.master_for(url.service)  # type: ignore[no-untyped-call]
    return client


def _cluster(url: StoreURL, options: dict[str, Any]) -> redis.RedisCluster:
    options |= _limits(STEP / 2)  # if a node is down, the client asks for the slots a second time
    if url.tls:
        options |= {"ssl": True, **_tls(url)}
    nodes = [ClusterNode(host, port) for host, port in url.hosts]  # type: ignore[no-untyped-call]
    return redis.RedisCluster(startup_nodes=nodes, **options)


def _limits(seconds: float) -> dict[str, Any]:
    # No retries, because a command without a reply may have been executed. No RESP3, because its
    # handshake costs a round trip, and redis-py then does not detect idle connections that were closed.
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }


def _tls(url: StoreURL) -> dict[str, Any]:
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **url.files}
