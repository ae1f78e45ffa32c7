"""Who is calling, as far as it can be known: the client's address through trusted proxies."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection


def client_ip(remote: str, forwarded: str | None, trusted: Collection[str] | None) -> str:
    """The address of the client, or ``remote`` if the proxy that sent it is not trusted.

    ``forwarded`` is X-Forwarded-For. Only what trusted proxies appended counts, so it is read from
    the right, and the first address that is not a trusted proxy is the client: whatever a client
    writes there itself stands further left and gains nothing. ``trusted`` holds addresses or
    networks; ``{"*"}`` trusts exactly one proxy, whatever its address.
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


def client_network(address: str) -> str:
    """What attempts are counted under: an IPv4 address, the /64 of an IPv6 address, else the text."""
    parsed = _parse(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed, 64), strict=False))
    return address[:64] if parsed is None else str(parsed)


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip().strip("[]"))
    except ValueError:
        return None


def _is_trusted(address: str, trusted: Collection[str]) -> bool:
    parsed = _parse(address)
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
