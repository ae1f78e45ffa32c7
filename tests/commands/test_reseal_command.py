"""``asok-auth keys reseal`` and ``retire``: no user is locked out by a rotation."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyotp
import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY, close_all_db_connections
from asok.orm.engines import get_engine
from asok.testing import TestClient
from asok_totp.authenticator import AuthenticatorRow, Authenticators, SealedApps
from asok_totp.settings import TotpSettings
from asok_totp.totp import Parameters, code_at

from asok_auth_core.auth import Auth
from asok_auth_core.engine.keys import KeyRing, key_id
from asok_auth_core.engine.sealing import Sealer
from asok_auth_core.flows.api_tokens import ApiTokens
from asok_auth_core.flows.factor_policy import change_factor_names
from asok_auth_core.flows.recovery_codes import RecoveryCodes, RecoveryRow, recovery_codes
from asok_auth_core.plugin import JSON, Credential, SealedRows, SealError, hookimpl
from asok_auth_core.stores.credentials import SqlCredentialStore
from asok_auth_core.stores.memory import MemoryStateStore
from asok_auth_core.testing import asok_app
from asok_auth_core.testing.commands import run_command
from asok_auth_core.testing.fakes import FrozenClock, MemoryCredentialStore
from asok_auth_core.testing.waiting import wait_until

OLD, NEW = "0d" * 32, "e4" * 32
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
SHA1 = Parameters("SHA1", 6)
AT = 1_790_000_010
MANY = 1_500
"""So many that a process can be killed, or meet another one, in the middle."""

WSGI = """
from asok import Asok
from asok_auth_core import AuthExtension

app = Asok()
app.config.update({"APP_URL": "https://app.example", "AUTH": {"MAIL_TRANSPORT": "file", "PLUGINS": ["totp"]}})
app.register_extension(AuthExtension())
"""
ENTER = """\
from models.user import User


def get(request):
    request.login(User.find(id=1))
    return request.redirect("/")
"""


def write_env(folder: Path, *keys: str) -> None:
    lines = [f"DATABASE_URL=sqlite://{folder / 'db.sqlite3'}", f"SECRET_KEY={keys[0]}"]
    (folder / ".env").write_text("\n".join([*lines, f"SECRET_KEY_FALLBACKS={','.join(keys[1:])}", ""]))


def environment(folder: Path) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in (folder / ".env").read_text().splitlines())
    return {"SECRET_KEY_FALLBACKS": "", "DEBUG": "", **dict(pairs)}


@contextmanager
def running(folder: Path, *plugins: object) -> Iterator[Asok]:
    """The app, with the keys of its ``.env``."""
    with asok_app(
        folder,
        pages={"enter.py": ENTER},
        environ=environment(folder),
        config={"APP_URL": "https://app.example"},
        auth={"PLUGINS": ["totp"], "APP_NAME": "Shop"},
        plugins=plugins,
    ) as app:
        yield app


def auth_of(app: Asok) -> Auth:
    auth: Auth = app.extensions["AuthExtension"].auth
    return auth


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("ASOK", "MAIL", "SECRET", "APP_", "DATA"))
    }
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", "from asok_auth_core.cli import main; main()", *arguments],
        cwd=folder,
        env={**kept, "COLUMNS": "200", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def keys(folder: Path, *arguments: str) -> tuple[int | None, str, str]:
    """Run ``asok-auth keys …``; return its exit status and what it printed."""
    return ended(start(folder, "keys", *arguments))


def ended(process: subprocess.Popen[str]) -> tuple[int | None, str, str]:
    output, errors = process.communicate(timeout=300)
    # Neither a key nor a secret is shown.
    for secret in (OLD, NEW, SECRET):
        assert secret not in output + errors
    assert "Traceback" not in errors, errors
    return process.returncode, output, errors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "wsgi.py").write_text(WSGI)
    write_env(tmp_path, OLD)
    return tmp_path


def enroll_ada(app: Asok) -> tuple[str, ...]:
    """Ada, user 1, has an authenticator app; her recovery codes."""
    auth = auth_of(app)
    ada = MODELS_REGISTRY["User"].create(email="ada@app.example")
    factor: Any = auth.second_factors["totp"]
    factor.authenticators.store("1", SECRET, SHA1)
    change_factor_names(auth, ada, lambda kept: kept | {"totp"})
    return recovery_codes(auth).issue("1")


def challenge(app: Asok, code: str, factor: str = "totp") -> tuple[TestClient, Any]:
    client = TestClient(app)
    client.get("/enter")
    page = client.get("/auth/second-factor")
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert token, page.text
    data = {"csrf_token": token[1], "factor": factor, "code": code}
    return client, client.post("/auth/second-factor", data=data)


def logs_in(app: Asok, code: str, factor: str = "totp") -> bool:
    client, _ = challenge(app, code, factor)
    text: str = client.get("/").text
    return text == "ada@app.example"


# -- a rotation from the first step to the last -----------------------------------------------------------


@pytest.mark.requirement("SECURITY-29")
def test_a_user_who_did_not_log_in_since_the_rotation_still_can(folder: Path) -> None:
    with running(folder) as app:
        codes = enroll_ada(app)
    assert keys(folder, "generate")[0] == 0
    new = environment(folder)["SECRET_KEY_FALLBACKS"]
    code, output, _ = keys(folder, "rotate", key_id(new))
    assert code == 0
    assert output.index("asok-auth keys reseal") < output.index(f"asok-auth keys retire {key_id(OLD)}")

    before = (folder / ".env").read_text()
    code, output, errors = keys(folder, "retire", key_id(OLD))
    assert (code, output) == (1, "")
    assert f"Key {key_id(OLD)} is still needed by 1 authenticator apps, 1 sets of recovery codes" in errors
    assert "asok-auth keys reseal" in errors
    assert "--force" in errors
    assert (folder / ".env").read_text() == before

    code, output, errors = keys(folder, "reseal")
    assert (code, output) == (0, f"Sealed again with key {key_id(new)}: 2\n"), errors
    assert keys(folder, "reseal")[1].endswith(": 0\n")
    code, _, errors = keys(folder, "retire", key_id(OLD))
    assert code == 0, errors
    assert OLD not in (folder / ".env").read_text()
    with running(folder) as app:
        assert logs_in(app, codes[0], "recovery")
        assert not logs_in(app, codes[0], "recovery")
        assert logs_in(app, pyotp.TOTP(SECRET).now())


@pytest.mark.requirement("SECURITY-29", "SECURITY-32")
def test_a_user_whose_key_is_gone_is_told_what_to_do(folder: Path) -> None:
    with running(folder) as app:
        enroll_ada(app)
    write_env(folder, NEW, OLD)
    code, _, errors = keys(folder, "retire", key_id(OLD), "--force")
    assert code == 0
    assert "1 authenticator apps" in errors, "what is lost is said with --force too"
    with running(folder) as app:
        recovery_codes(auth_of(app)).issue("1")
        client, answer = challenge(app, pyotp.TOTP(SECRET).now())
        assert answer.status_code == 503
        assert "no longer decrypt" in answer.text
        assert "contact the administrators of Shop" in answer.text
        assert "factor=recovery" in answer.text
        assert "minute" not in answer.text
        assert client.get("/").text == "nobody"


def test_a_user_without_another_method_is_told_too(folder: Path) -> None:
    with running(folder) as app:
        enroll_ada(app)
        recovery_codes(auth_of(app)).void("1")
    write_env(folder, NEW)
    with running(folder) as app:
        _, answer = challenge(app, pyotp.TOTP(SECRET).now())
        assert answer.status_code == 503
        assert "Your code cannot be checked" in answer.text
        assert "no longer decrypt" in answer.text
        assert "minute" not in answer.text


def test_reseal_reports_what_no_key_opens(folder: Path) -> None:
    with running(folder) as app:
        enroll_ada(app)
    write_env(folder, NEW, "c3" * 32)
    code, output, errors = keys(folder, "reseal")
    assert code == 1
    assert output.endswith(": 0\n")
    assert "authenticator apps of users 1" in errors
    assert "sets of recovery codes of users 1" in errors
    assert "SECRET_KEY_FALLBACKS" in errors
    # It does not need the other key, so that can be retired.
    assert keys(folder, "retire", key_id("c3" * 32))[0] == 0


def test_api_tokens_that_a_key_signed_are_counted(folder: Path) -> None:
    with running(folder) as app:
        enroll_ada(app)
        ApiTokens(auth_of(app)).create(1)
        ApiTokens(auth_of(app)).create(1, expires_in=3600)
    write_env(folder, NEW, OLD)
    with running(folder) as app:
        ApiTokens(auth_of(app)).create(1)
    assert keys(folder, "reseal")[0] == 0
    code, _, errors = keys(folder, "retire", key_id(OLD))
    assert code == 1
    assert "that have not expired: 2." in errors
    assert "authenticator apps" not in errors
    assert keys(folder, "retire", key_id(OLD), "--force")[0] == 0


# -- killed, twice at once, beside workers ----------------------------------------------------------------


def store_of(folder: Path) -> SqlCredentialStore:
    return SqlCredentialStore(get_engine(f"sqlite://{folder / 'db.sqlite3'}"), lambda: float(AT), os.urandom)


def ring(*secrets: str) -> KeyRing:
    return KeyRing([secret.encode() for secret in secrets])


@pytest.fixture
def many(folder: Path) -> Iterator[Path]:
    """An app with ``MANY`` authenticator apps, sealed with OLD; NEW signs."""
    with running(folder):
        pass  # makes the tables
    sealer = Sealer(ring(OLD), "totp")
    with sqlite3.connect(folder / "db.sqlite3") as database:
        for number in range(MANY):
            user = f"{number:05}"
            sealed = sealer.seal(SECRET.encode(), os.urandom(12), user, "totp")
            data = msgspec.json.encode(AuthenticatorRow(sealed, "SHA1", 6, step=number)).decode()
            database.execute(
                "INSERT INTO auth_credentials (id, user_id, kind, identifier, data, version, created_at) "
                "VALUES (?, ?, 'totp', ?, ?, 1, 0)",
                (f"row{user}", user, user, data),
            )
    database.close()
    write_env(folder, NEW, OLD)
    yield folder
    close_all_db_connections()


def rows(folder: Path) -> dict[str, tuple[AuthenticatorRow, int]]:
    """Each user's row, and its version."""
    with sqlite3.connect(folder / "db.sqlite3", timeout=60) as database:
        found = database.execute(
            "SELECT identifier, data, version FROM auth_credentials WHERE kind = 'totp'"
        ).fetchall()
    database.close()
    decode = msgspec.json.Decoder(AuthenticatorRow).decode
    return {user: (decode(data), version) for user, data, version in found}


def changed(folder: Path) -> int:
    return sum(version > 1 for _, version in rows(folder).values())


def assert_all_open(folder: Path, *secrets: str) -> None:
    sealer = Sealer(ring(*secrets), "totp")
    for user, (row, _) in rows(folder).items():
        assert sealer.open(row.secret, user, "totp") == SECRET.encode()


def test_reseal_is_killed_and_goes_on(many: Path) -> None:
    process = start(many, "keys", "reseal")
    try:
        wait_until(lambda: changed(many) >= 20, "some rows to be sealed again")
    finally:
        process.kill()
        process.communicate()
    done = changed(many)
    assert 20 <= done < MANY, "it was killed in the middle"
    assert_all_open(many, NEW, OLD)
    code, output, errors = keys(many, "reseal")
    assert (code, output) == (0, f"Sealed again with key {key_id(NEW)}: {MANY - done}\n"), errors
    assert_all_open(many, NEW)
    assert {user: row.step for user, (row, _) in rows(many).items()} == {f"{n:05}": n for n in range(MANY)}
    assert {version for _, version in rows(many).values()} == {2}, "each was sealed again once"


def test_two_reseals_at_once_share_the_work(many: Path) -> None:
    processes = [start(many, "keys", "reseal") for _ in range(2)]
    numbers = []
    for process in processes:
        code, output, errors = ended(process)
        assert code == 0, errors
        numbers.append(int(output.rpartition(" ")[2]))
    assert sum(numbers) == MANY
    assert_all_open(many, NEW)
    assert {version for _, version in rows(many).values()} == {2}


def test_what_workers_change_during_reseal_stays(many: Path) -> None:
    """Codes that are used, apps that are replaced and apps that are removed."""
    store = store_of(many)
    worker = Authenticators(
        TotpSettings(),
        credentials=store,
        state=MemoryStateStore(),
        keys=ring(NEW, OLD),
        clock=lambda: float(AT),
        random=os.urandom,
    )
    process = start(many, "keys", "reseal")
    wait_until(lambda: changed(many) >= 20, "some rows to be sealed again")
    code = code_at(SECRET, SHA1, AT // 30)
    used, removed, replaced = [], [], []
    # From the other end, until reseal has come here.
    for number in reversed(range(MANY)):
        user = f"{number:05}"
        if process.poll() is not None:
            break
        if number % 3 == 0:
            assert worker.verify(user, code)
            used.append(user)
        elif number % 3 == 1:
            assert worker.remove(user)
            removed.append(user)
        else:
            worker.store(user, SECRET, SHA1, step=7)
            replaced.append(user)
    assert ended(process)[0] == 0
    assert len(used) > 5, "they ran at the same time"
    found = rows(many)
    assert {found[user][0].step for user in used} == {AT // 30}
    assert {found[user][0].step for user in replaced} == {7}
    assert not found.keys() & set(removed)
    assert not any(worker.verify(user, code) for user in used), "a used code stays used"
    assert_all_open(many, NEW)


class Meddling(SealedApps):
    """Lets a worker change the row between reading and writing it, once."""

    meddle: Callable[[], object] | None = None

    def resealed(self, row: Credential) -> JSON:
        data = super().resealed(row)
        if self.meddle is not None:
            meddle, self.meddle = self.meddle, None
            meddle()
        return data


@pytest.mark.parametrize("change", ["used", "removed", "replaced"])
@pytest.mark.requirement("SECURITY-20")
def test_a_change_between_reading_and_writing_is_not_undone(change: str) -> None:
    clock = FrozenClock(AT)
    store = MemoryCredentialStore(clock)

    def worker(*secrets: str) -> Authenticators:
        return Authenticators(
            TotpSettings(),
            credentials=store,
            state=MemoryStateStore(),
            keys=ring(*secrets),
            clock=clock,
            random=os.urandom,
        )

    worker(OLD).store("1", SECRET, SHA1)
    old = worker(OLD, NEW)  # not restarted yet: it seals with the old key
    code = code_at(SECRET, SHA1, AT // 30)
    changes: Mapping[str, Callable[[], object]] = {
        "used": lambda: old.verify("1", code),
        "removed": lambda: old.remove("1"),
        "replaced": lambda: old.store("1", "A" * 32, SHA1, step=3),
    }
    apps = Meddling(store, ring(NEW, OLD), os.urandom)
    [row] = apps.all()
    apps.meddle = changes[change]
    assert apps.reseal(row) is (change != "removed")
    found = [msgspec.json.decode(one.data, type=AuthenticatorRow) for one in apps.all()]
    assert [one.step for one in found] == {"used": [AT // 30], "removed": [], "replaced": [3]}[change]
    assert all(Sealer(ring(NEW), "totp").has_key(one.secret) for one in found)
    assert apps.reseal(row) is False


# -- recovery codes -------------------------------------------------------------------------------------


def test_recovery_codes_outlive_several_rotations() -> None:
    store = MemoryCredentialStore(FrozenClock())
    third = "77" * 32
    issued = RecoveryCodes(store, ring(OLD), os.urandom).issue("1")
    for secrets in ((NEW, OLD), (third, NEW)):
        sealed = _sealed_codes(store, *secrets)
        [row] = sealed.all()
        assert not sealed.is_readable(row, ring(secrets[0]))
        assert sealed.reseal(row) is True
        [row] = sealed.all()
        assert sealed.is_readable(row, ring(secrets[0]))
        assert sealed.reseal(row) is False
    codes = RecoveryCodes(store, ring(third), os.urandom)
    assert codes.claim("1", issued[0]) is True
    assert codes.claim("1", issued[0]) is False
    assert codes.claim("1", "0000-0000-0000-0000") is False
    assert codes.remaining("1") == 9
    with pytest.raises(SealError):
        RecoveryCodes(store, ring(OLD), os.urandom).claim("1", issued[1])


def test_codes_of_earlier_versions_do_not_name_their_key() -> None:
    """Any key of the ring may have made them, so they need all of them."""
    store = MemoryCredentialStore(FrozenClock())
    issued = RecoveryCodes(store, ring(OLD), os.urandom).issue("1")
    [row] = _sealed_codes(store, OLD).all()
    stored = msgspec.json.decode(row.data, type=RecoveryRow)
    store.replace(row, msgspec.to_builtins(msgspec.structs.replace(stored, key=None)))
    sealed = _sealed_codes(store, NEW, OLD)
    [row] = sealed.all()
    assert "key" not in row.data
    assert sealed.is_readable(row, ring(NEW, OLD))
    assert not sealed.is_readable(row, ring(NEW))
    assert RecoveryCodes(store, ring(NEW, OLD), os.urandom).claim("1", issued[0])
    [row] = sealed.all()
    assert sealed.reseal(row)
    assert RecoveryCodes(store, ring(NEW), os.urandom).claim("1", issued[1])


def test_codes_imported_from_asok_are_sealed_again() -> None:
    from asok.admin.utils import _hash_backup_code

    store = MemoryCredentialStore(FrozenClock())
    RecoveryCodes(store, ring(OLD), os.urandom).adopt("1", [_hash_backup_code("ABCD-EFGH")])
    sealed = _sealed_codes(store, NEW, OLD)
    [row] = sealed.all()
    assert sealed.reseal(row)
    assert RecoveryCodes(store, ring(NEW), os.urandom).claim("1", "ABCD-EFGH")


def test_a_key_that_was_sealed_for_one_user_serves_no_other() -> None:
    store = MemoryCredentialStore(FrozenClock())
    issued = RecoveryCodes(store, ring(OLD), os.urandom).issue("1")
    sealed = _sealed_codes(store, NEW, OLD)
    [row] = sealed.all()
    sealed.reseal(row)
    [row] = sealed.all()
    store.add("2", row.kind, "2", msgspec.json.decode(row.data))
    with pytest.raises(SealError):
        RecoveryCodes(store, ring(NEW), os.urandom).claim("2", issued[0])


def _sealed_codes(store: MemoryCredentialStore, *secrets: str) -> SealedRows:
    from types import SimpleNamespace

    from asok_auth_core.flows.recovery_codes import SealedCodes

    parts: Any = SimpleNamespace(credentials=store, keys=ring(*secrets), random=os.urandom)
    return SealedCodes(parts)


# -- plugins ----------------------------------------------------------------------------------------------


class Notes(SealedRows):
    kind = "note"
    label = "notes"

    def is_readable(self, value: Credential, keys: KeyRing) -> bool:
        return Sealer(keys, "note").has_key(msgspec.json.decode(value.data, type=str))

    def resealed(self, row: Credential) -> JSON:
        sealer = Sealer(self.keys, "note")
        secret = sealer.open(msgspec.json.decode(row.data, type=str), row.user_id)
        return sealer.seal(secret, os.urandom(12), row.user_id)


class NotesPlugin:
    @hookimpl
    def asok_auth_sealed_values(self, auth: Auth) -> list[SealedRows]:
        return [Notes(auth.credentials, auth.keys)]


class BrokenPlugin:
    @hookimpl
    def asok_auth_sealed_values(self, auth: Auth) -> list[SealedRows]:
        raise RuntimeError("not today")


def test_a_plugins_own_values_are_counted_and_sealed_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    write_env(folder, NEW, OLD)
    with running(folder, NotesPlugin()) as app:
        monkeypatch.setenv("ASOK_ENV_OVERRIDE", "1")  # .env is in force for the command
        auth = auth_of(app)
        for user in ("1", "2"):
            auth.credentials.add(
                user, "note", user, Sealer(ring(OLD), "note").seal(b"x", os.urandom(12), user)
            )
        auth.credentials.add("3", "note", "3", {"damaged": True})
        refused = run_command(app, "keys", "retire", key_id(OLD))
        assert refused.code == 1
        assert "still needed by 3 notes" in refused.errors, "a damaged value may need any key"
        result = run_command(app, "keys", "reseal")
        assert result.output == f"Sealed again with key {key_id(NEW)}: 2\n"
        assert "notes of users 3\n" in result.errors
        assert result.code == 1
        for user in ("1", "2"):
            row = auth.credentials.find("note", user)
            assert row is not None
            assert Sealer(ring(NEW), "note").open(msgspec.json.decode(row.data), user) == b"x"


def test_a_plugin_that_cannot_say_stops_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    write_env(folder, NEW, OLD)
    with running(folder, BrokenPlugin()) as app:
        monkeypatch.setenv("ASOK_ENV_OVERRIDE", "1")
        for command in (["reseal"], ["retire", key_id(OLD)]):
            result = run_command(app, "keys", *command)
            assert result.code == 1
            assert "BrokenPlugin" in result.errors
            assert "RuntimeError" in result.errors
        assert OLD in (folder / ".env").read_text()


def test_reseal_and_workers_in_threads(many: Path) -> None:
    """Logins with a key that reseal has just replaced succeed all the time."""
    worker = Authenticators(
        TotpSettings(),
        credentials=store_of(many),
        state=MemoryStateStore(),
        keys=ring(NEW, OLD),
        clock=lambda: float(AT),
        random=os.urandom,
    )
    failed: list[str] = []

    def read(numbers: range) -> None:
        for number in numbers:
            try:
                worker.verify(f"{number:05}", "000000")
            except SealError:
                failed.append(str(number))
        close_all_db_connections()

    process = start(many, "keys", "reseal")
    threads = [threading.Thread(target=read, args=(range(first, MANY, 2),)) for first in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended(process)[0] == 0
    assert failed == []
