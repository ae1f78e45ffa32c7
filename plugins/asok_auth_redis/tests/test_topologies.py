"""TLS, a Unix socket, Sentinel and a cluster, each with real servers."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pytest
from asok_auth_redis import RedisStateStore
from asok_auth_tests.outages import store_failure, wait_until_writable
from asok_auth_tests.valkey_server import free_port
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from asok_auth_core.plugin import StoreUnavailable
from asok_auth_core.testing import wait_until


class Server(Protocol):
    """What conftest.py's servers can do."""

    port: int
    folder: Path

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def ask(self, *command: str) -> bytes: ...


MakeServer = Callable[..., Server]


def works(store: RedisStateStore) -> None:
    for number in range(20):
        key = f"{{tag}}:{number}"
        assert store.add(key, b"\0v", 60) is True
        assert store.add(key, b"w", 60) is False
        assert store.get(key) == b"\0v"
        assert store.take(key) == b"\0v"
        assert store.take(key) is None
        assert [store.incr(f"c{number}", 60), store.incr(f"c{number}", 60)] == [1, 2]
        store.put(key, b"x", 60)
        store.delete(key)
        assert store.get(key) is None


@pytest.mark.usefixtures("patient")
def test_works_over_a_unix_socket(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server("--unixsocket", str(tmp_path / "s"))
    server.start()
    store = RedisStateStore(f"unix://{tmp_path}/s?db=1")
    try:
        works(store)
    finally:
        store.close()


# -- TLS ------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([loopback]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def tls_port(make_server: MakeServer, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A TLS port in front of a server whose build has no TLS, and its certificate."""
    server = make_server()
    server.start()
    pem = certificate(tmp_path, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def serve(raw: socket.socket) -> None:
        with (
            raw,
            suppress(OSError),
            context.wrap_socket(raw, server_side=True) as client,
            socket.create_connection(("127.0.0.1", server.port)) as upstream,
        ):
            back = threading.Thread(target=pump, args=(upstream, client))
            back.start()
            pump(client, upstream)
            back.join()

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    yield listener.getsockname()[1], pem
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    acceptor.join()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("patient")
def test_works_over_tls(tls_port: tuple[int, Path]) -> None:
    port, pem = tls_port
    store = RedisStateStore(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={pem}")
    try:
        works(store)
    finally:
        store.close()


@pytest.mark.usefixtures("patient")
def test_an_untrusted_certificate_is_rejected(tls_port: tuple[int, Path], tmp_path: Path) -> None:
    port, _ = tls_port
    other = certificate(tmp_path, "other")
    for options in ("", f"?ssl_ca_certs={other}"):
        store = RedisStateStore(f"rediss://127.0.0.1:{port}/0{options}")
        with pytest.raises(StoreUnavailable, match="certificate"):
            store.get("k")
        store.close()


@pytest.mark.usefixtures("patient")
def test_a_certificate_for_another_name_is_rejected(tls_port: tuple[int, Path]) -> None:
    port, pem = tls_port
    store = RedisStateStore(f"rediss://localhost:{port}/0?ssl_ca_certs={pem}")
    with pytest.raises(StoreUnavailable, match="certificate"):
        store.get("k")
    store.close()


@contextmanager
def opened_patiently(url: str) -> Iterator[RedisStateStore]:
    """As the fixture ``patient``, for one store of a test with real time limits."""
    with pytest.MonkeyPatch.context() as limits:
        limits.setattr("asok_auth_redis.connect.STEP", 30.0)
        limits.setattr("asok_auth_redis.connect.SENTINELS", 30.0)
        store = RedisStateStore(url)
        store.get("k")
    try:
        yield store
    finally:
        store.close()


# -- Sentinel -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sentinel_follows_a_failover(make_server: MakeServer, make_sentinel: MakeServer) -> None:
    primary, replica = make_server(), make_server()
    primary.start()
    replica.start()
    replica.ask("REPLICAOF", "127.0.0.1", str(primary.port))
    wait_until(
        lambda: b"master_link_status:up" in replica.ask("INFO", "replication"), "a replica that follows"
    )
    sentinel = make_sentinel(primary.port)
    sentinel.start()
    wait_until(lambda: b"slaves=1" in sentinel.ask("INFO", "sentinel"), "a Sentinel that knows the replica")
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/primary/0"
    with opened_patiently(url) as store:
        works(store)
    store = RedisStateStore(url)
    try:
        store.get("k")
        primary.stop()
        assert store_failure(lambda: store.add("k", b"v", 60)) is not None
        wait_until_writable(store)
        assert store.incr("after failover", 60) == 1
    finally:
        store.close()


# -- cluster --------------------------------------------------------------------------------------


def knows(node: Server, fact: bytes) -> None:
    wait_until(lambda: fact in node.ask("CLUSTER", "INFO"), f"a node that says {fact.decode()}")


@pytest.mark.slow
def test_a_cluster_works_and_survives_losing_a_node(make_server: MakeServer) -> None:
    # The port of the bus would be 10,000 higher by default, whether it is free or not.
    buses = [str(free_port()) for _ in range(3)]
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "5000", "--cluster-port")
    nodes = [make_server(*options, bus) for bus in buses]
    bounds = [(0, 5460), (5461, 10922), (10923, 16383)]
    for node, (low, high) in zip(nodes, bounds, strict=True):
        node.start()
        assert node.ask("CLUSTER", "ADDSLOTSRANGE", str(low), str(high)).startswith(b"+OK")
    for node in nodes[1:]:
        assert node.ask("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port), buses[0]).startswith(b"+OK")
    for node in nodes:
        knows(node, b"cluster_state:ok")
        knows(node, b"cluster_known_nodes:3")
    url = f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[1].port}"
    with opened_patiently(url) as patient:
        works(patient)
        for number in range(50):
            patient.put(f"spread{number}", b"v", 60)
        sizes = [int(node.ask("DBSIZE").strip().lstrip(b":")) for node in nodes]
        assert min(sizes) > 0, "all three nodes hold keys"
        assert len(patient.info()) == 3
        store = RedisStateStore(url)
        try:
            store.get("k")
            nodes[2].stop()
            failures = (store_failure(lambda key=f"spread{number}": store.get(key)) for number in range(50))
            assert next(filter(None, failures))
            nodes[2].start()
            knows(nodes[0], b"cluster_state:ok")
            knows(nodes[2], b"cluster_state:ok")
            wait_until_writable(store)
        finally:
            store.close()
        for number in range(50):
            assert patient.add(f"after{number}", b"v", 60)
