"""The client IP of a request, read through trusted proxies."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection


def client_ip(remote: str, forwarded: str | None, trusted: Collection[str] | None) -> str:
    """The client IP, or ``remote`` if the proxy that connected is not trusted.

    ``forwarded`` is X-Forwarded-For. It is read from the right, where trusted proxies append, and
    the first IP that is not a trusted proxy is the client's: a client can only forge entries
    further left. ``trusted`` contains IPs or networks; ``{"*"}`` trusts exactly one proxy, at any IP.
    """
    if not forwarded or not trusted:
        return remote
    hops = [hop.strip() for hop in forwarded.split(",")]
    if "*" in trusted:
        return hops[-1] if _parse(hops[-1]) else remote
    client = remote
    while _is_trusted(client, trusted) and hops:
        nearest = hops.pop()
        if _parse(nearest) is None:
            break
        client = nearest
    return client


def client_network(ip: str) -> str:
    """The key for counting attempts: the IPv4 address, or the /64 of an IPv6 one."""
    parsed = _parse(ip)
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed, 64), strict=False))
    return ip[:64] if parsed is None else str(parsed)


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip().strip("[]"))
    except ValueError:
        return None


def _is_trusted(ip: str, trusted: Collection[str]) -> bool:
    parsed = _parse(ip)
    if parsed is None:
        return False
    for entry in trusted:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            continue
        if parsed in network:
            return True
    return False
