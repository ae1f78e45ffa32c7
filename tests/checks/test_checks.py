"""Each broken set-up is found, with the remedy; a sound one gets no finding."""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from asok_auth_core import checks
from asok_auth_core.auth import Auth
from asok_auth_core.checks.plugins import plugins
from asok_auth_core.errors import StoreUnavailable
from asok_auth_core.plugin import Claims, Fetch, Identity, ProviderAnswer, hookimpl
from asok_auth_core.providers import OAuth2Provider, OpenIDProvider
from asok_auth_core.startup import start
from asok_auth_core.testing.fakes import MemoryCredentialStore, MemoryUsers
from asok_auth_core.types import Finding, Grant, PluginInfo

SOUND = {
    "SECRET_KEY": secrets.token_hex(32),
    "APP_URL": "https://app.example",
    "MAIL_FROM": "auth@app.example",
}


class SmtpServer(threading.Thread):
    """Speaks enough SMTP for a login, and records the commands."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.commands: list[str] = []

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rw", newline="\r\n") as lines:
                lines.write("220 ready\n")
                lines.flush()
                for line in lines:
                    self.commands.append(line.split()[0].upper())
                    lines.write("221 bye\n" if self.commands[-1] == "QUIT" else "250 ok\n")
                    lines.flush()
                    if self.commands[-1] == "QUIT":
                        break

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join(5)


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    server = SmtpServer()
    server.start()
    yield server
    server.close()


def build(
    tmp_path: Path,
    config: dict[str, object],
    *,
    users: MemoryUsers | None = None,
    plugins: tuple[object, ...] = (),
) -> Auth:
    return start(
        config,
        {},
        root=tmp_path,
        users=MemoryUsers() if users is None else users,
        credentials=lambda clock, random: MemoryCredentialStore(clock),
        plugins=plugins,
        entry_points=[],
    )


def examine(auth: Auth) -> list[Finding]:
    try:
        return list(auth.plugins.checks(auth))
    finally:
        auth.outbox.close()
        auth.state.close()


def only(findings: list[Finding], check: str) -> Finding:
    [finding] = [finding for finding in findings if finding.check == check]
    assert finding.remedy, "a finding says what to do"
    return finding


@pytest.fixture
def sound(smtp: SmtpServer) -> dict[str, object]:
    return {**SOUND, "MAIL_HOST": "127.0.0.1", "MAIL_PORT": smtp.port}


def test_a_sound_app_has_no_findings_and_sends_no_mail(
    tmp_path: Path, sound: dict[str, object], smtp: SmtpServer
) -> None:
    assert examine(build(tmp_path, sound)) == []
    assert smtp.commands[0] == "EHLO"
    assert not {"MAIL", "RCPT", "DATA"} & set(smtp.commands)


@pytest.mark.parametrize(
    "secret", ["change-me-change-me-change-me-change-me", "a" * 64, "correct-password-of-our-app-2024"]
)
def test_a_guessable_secret_key_is_found(tmp_path: Path, sound: dict[str, object], secret: str) -> None:
    found = only(examine(build(tmp_path, {**sound, "SECRET_KEY": secret})), "secrets")
    assert found.severity == "error"
    assert "SECRET_KEY" in found.message
    assert secret not in found.message
    assert "secrets.token_hex(32)" in found.remedy


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "not set"),
        ("http://app.example", "in plaintext"),
    ],
)
def test_an_unsafe_app_url_is_found(
    tmp_path: Path, sound: dict[str, object], url: str | None, said: str
) -> None:
    found = only(examine(build(tmp_path, {**sound, "APP_URL": url})), "transport")
    assert found.severity == "error"
    assert said in found.message
    assert "https://" in found.remedy


def test_debug_with_a_public_url_is_found(tmp_path: Path, sound: dict[str, object]) -> None:
    found = only(examine(build(tmp_path, {**sound, "DEBUG": True})), "transport")
    assert "DEBUG is on" in found.message


def test_an_in_memory_store_with_several_workers_is_found(
    tmp_path: Path, sound: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    found = only(examine(build(tmp_path, {**sound, "AUTH": {"STATE_STORE": "memory:"}})), "store")
    assert found.severity == "error"
    assert "4 workers" in found.message
    assert "asok-auth-redis" in found.remedy


def test_an_in_memory_store_is_fine_for_one_worker_in_development(
    tmp_path: Path, sound: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    config = {**sound, "APP_URL": "http://localhost:8000", "AUTH": {"STATE_STORE": "memory:"}}
    assert examine(build(tmp_path, {**config, "DEBUG": True})) == []
    found = examine(build(tmp_path, config))
    assert only(found, "store").severity == "warning"
    assert "several workers" in only(found, "store").message
    assert only(found, "transport").severity == "warning"
    assert "which only this machine can reach" in only(found, "transport").message


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]"])
def test_an_app_url_on_loopback_is_a_warning_in_production(
    tmp_path: Path, sound: dict[str, object], host: str
) -> None:
    found = only(examine(build(tmp_path, {**sound, "APP_URL": f"http://{host}:8000"})), "transport")
    assert (found.severity, "only this machine can reach" in found.message) == ("warning", True)


@pytest.mark.parametrize("taken", [None, b"something else"], ids=str)
def test_a_store_that_loses_or_changes_values_is_found(
    tmp_path: Path, sound: dict[str, object], monkeypatch: pytest.MonkeyPatch, taken: bytes | None
) -> None:
    auth = build(tmp_path, sound)
    monkeypatch.setattr(auth.state, "take", lambda key: taken)
    assert_worthless(examine(auth))


def test_a_store_that_returns_a_value_twice_is_found(
    tmp_path: Path, sound: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = build(tmp_path, sound)
    monkeypatch.setattr(auth.state, "take", auth.state.get)
    assert_worthless(examine(auth))


def assert_worthless(findings: list[Finding]) -> None:
    found = only(findings, "store")
    assert found.severity == "error"
    assert "exactly once" in found.message
    assert "Do not use this store" in found.remedy


def test_an_unavailable_store_is_found(
    tmp_path: Path, sound: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = build(tmp_path, sound)

    def put(key: str, value: bytes, ttl: int) -> None:
        raise StoreUnavailable("The disk is full.")

    monkeypatch.setattr(auth.state, "put", put)
    found = only(examine(auth), "store")
    assert found.severity == "error"
    assert "The disk is full." in found.message


def test_what_the_user_directory_reports_is_found(tmp_path: Path, sound: dict[str, object]) -> None:
    class Slow(MemoryUsers):
        def check(self) -> Iterator[Finding]:
            yield Finding("users", "warning", "There is no index.", "Create it.")

    finding = only(examine(build(tmp_path, sound, users=Slow())), "users")
    assert finding == Finding("users", "warning", "There is no index.", "Create it.")


def test_an_unreachable_mail_server_is_found(tmp_path: Path, sound: dict[str, object]) -> None:
    found = only(examine(build(tmp_path, {**sound, "MAIL_PORT": 9})), "mail")
    assert found.severity == "error"
    assert "127.0.0.1:9" in found.message
    assert "MAIL_HOST" in found.remedy


def test_mail_that_is_only_printed_or_saved_is_found(tmp_path: Path, sound: dict[str, object]) -> None:
    found = only(examine(build(tmp_path, {**sound, "AUTH": {"MAIL_TRANSPORT": "file"}})), "mail")
    assert "delivers no email" in found.message


class Somewhere(OpenIDProvider):
    name = "somewhere"
    label = "Somewhere"
    issuer = "https://127.0.0.1:9"


def provider_plugin(issuer: str) -> ModuleType:
    module = ModuleType("somewhere")
    provider = Somewhere()
    provider.issuer = issuer

    @hookimpl
    def asok_auth_providers() -> list[OpenIDProvider]:
        return [provider]

    module.asok_auth_providers = asok_auth_providers  # type: ignore[attr-defined]
    return module


def test_a_provider_without_credentials_or_unreachable_is_found(
    tmp_path: Path, sound: dict[str, object]
) -> None:
    plugin = provider_plugin("https://127.0.0.1:9")
    found = only(examine(build(tmp_path, sound, plugins=(plugin,))), "providers")
    assert found.severity == "warning"
    assert "SOMEWHERE_CLIENT_ID" in found.remedy
    given = {"PROVIDERS": {"somewhere": {"client_id": "app", "client_secret": "s3"}}}
    found = only(examine(build(tmp_path, {**sound, "AUTH": given}, plugins=(plugin,))), "providers")
    assert found.severity == "error"
    assert "https://127.0.0.1:9" in found.message
    assert "s3" not in str(found)


class Plain(OAuth2Provider):
    """Has no discovery document to ask for."""

    name = "plain"
    label = "Plain"
    issuer = "https://127.0.0.1:9"
    authorization_endpoint = f"{issuer}/authorize"
    token_endpoint = f"{issuer}/token"

    def identity(self, claims: Claims, fetch: Fetch, answer: ProviderAnswer) -> Identity:
        raise NotImplementedError


def test_an_oauth2_provider_with_credentials_is_not_called(tmp_path: Path, sound: dict[str, object]) -> None:
    plugin = ModuleType("plain")
    plugin.asok_auth_providers = hookimpl(  # type: ignore[attr-defined]
        specname="asok_auth_providers"
    )(lambda: [Plain()])
    given = {"PROVIDERS": {"plain": {"client_id": "app", "client_secret": "s3"}}}
    assert examine(build(tmp_path, {**sound, "AUTH": given}, plugins=(plugin,))) == []
    assert "PLAIN_CLIENT_ID" in only(examine(build(tmp_path, sound, plugins=(plugin,))), "providers").remedy


def test_a_quarantined_plugin_is_found(tmp_path: Path, sound: dict[str, object]) -> None:
    broken = ModuleType("broken")

    @hookimpl
    def asok_auth_providers() -> list[OpenIDProvider]:
        raise RuntimeError("out of order")

    broken.asok_auth_providers = asok_auth_providers  # type: ignore[attr-defined]
    found = only(examine(build(tmp_path, sound, plugins=(broken,))), "plugins")
    assert "out of order" in found.message
    assert "'broken'" in found.message


def test_a_plugin_that_imports_slowly_is_found(tmp_path: Path, sound: dict[str, object]) -> None:
    auth = build(tmp_path, sound)
    infos = [
        PluginInfo("slow", "asok-slow", import_seconds=1.2),
        PluginInfo("quick", "asok-quick", import_seconds=1.0),
    ]
    found = list(plugins(replace(auth, plugins=SimpleNamespace(infos=infos))))  # type: ignore[arg-type]
    assert [(one.severity, "'slow' (asok-slow) took 1.2 s" in one.message) for one in found] == [
        ("warning", True)
    ]


class UsersWithRoles(MemoryUsers):
    def grants(self) -> list[Grant]:
        return [Grant("posts.edit", "role 'editor'"), Grant("*.edit", "role 'editor'")]


def test_a_malformed_grant_is_found(tmp_path: Path, sound: dict[str, object]) -> None:
    found = only(examine(build(tmp_path, sound, users=UsersWithRoles())), "grants")
    assert "'*.edit' of role 'editor'" in found.message
    assert "posts.*" in found.remedy


class LateProvider(BaseHTTPRequestHandler):
    """A provider whose clock is ``ahead`` seconds ahead of ours."""

    def do_GET(self) -> None:
        port = self.server.server_address[1]
        issuer = f"http://127.0.0.1:{port}"
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        document = {"issuer": issuer, **{name: f"{issuer}/{name}" for name in names}}
        document["id_token_signing_alg_values_supported"] = ["RS256"]  # type: ignore[assignment]
        body = json.dumps(document).encode()
        self.send_response_only(200)
        self.send_header("Date", self.date_time_string(int(time.time()) + self.server.ahead))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        return


@pytest.mark.parametrize(("ahead", "said"), [(600, "seconds behind"), (-600, "seconds ahead of"), (0, "")])
def test_a_clock_that_differs_from_a_providers_is_found(
    tmp_path: Path, sound: dict[str, object], ahead: int, said: str
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), LateProvider) as server:
        server.ahead = ahead  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        plugin = provider_plugin(f"http://127.0.0.1:{server.server_address[1]}")
        config = {
            **sound,
            "DEBUG": True,
            "APP_URL": "http://127.0.0.1:8000",
            "AUTH": {"PROVIDERS": {"somewhere": {"client_id": "app", "client_secret": "x"}}},
        }
        found = examine(build(tmp_path, config, plugins=(plugin,)))
        server.shutdown()
        thread.join(5)
    assert [finding.check for finding in found] == (["clock"] if said else [])
    for finding in found:
        assert f"{said} Somewhere's" in finding.message
        assert "set-ntp" in finding.remedy


def test_a_clock_in_another_decade_is_found(tmp_path: Path, sound: dict[str, object]) -> None:
    auth = build(tmp_path, sound)
    auth.clock = lambda: 0.0
    assert "years behind" in only(examine(auth), "clock").message


def test_a_check_that_raises_is_a_finding(
    tmp_path: Path, sound: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(auth: Auth) -> Iterator[Finding]:
        raise RuntimeError("out of order")

    monkeypatch.setattr(checks, "CHECKS", (*checks.CHECKS, odd))
    found = only(examine(build(tmp_path, sound)), "odd")
    assert "RuntimeError: out of order" in found.message
