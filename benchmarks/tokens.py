"""Measure signing and verifying tokens, and compare with other libraries.

Every round measures each library briefly, in CPU time. The table shows the median over the rounds
and the median of the ratios within a round, so that other load on the machine affects all equally.

    python benchmarks/tokens.py [--rounds N] [--revoked N]
"""

from __future__ import annotations

import argparse
import base64
import gc
import hmac
import io
import json
import logging
import statistics
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import jwt
import pyseto
from asok import Asok
from asok.auth import BearerToken
from asok.orm import MODELS_REGISTRY
from asok.request import Request
from django.conf import settings as django_settings
from django.core import signing as django_signing
from itsdangerous import URLSafeTimedSerializer
from jose import jwt as jose_jwt
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import OctKey

from asok_auth_core.auth import Auth
from asok_auth_core.engine.keys import KeyRing
from asok_auth_core.engine.tokens import TokenCodec
from asok_auth_core.flows.api_tokens import PURPOSE, ApiClaims, ApiTokens
from asok_auth_core.startup import start
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.fakes import FakeUser, MemoryCredentialStore, MemoryUsers

SECRET = "a secret for benchmarks, with 32 bytes or more"
KEY = SECRET.encode()
NOW = int(time.time())
CLAIMS = {"iat": NOW, "exp": NOW + 86400, "sub": "42", "jti": "AbCdEfGhIjKlMnOpQrSt"}
OURS = ApiClaims(iat=NOW, exp=NOW + 86400, sub="42", jti="AbCdEfGhIjKlMnOpQrSt")

Calls = dict[str, Callable[[], object]]


def measure(calls: Calls, rounds: int, moment: float = 0.02) -> dict[str, list[float]]:
    """Seconds per call, for each library and round."""
    counts = {}
    for name, call in calls.items():
        started, count = time.process_time(), 0
        while time.process_time() - started < moment:
            call()
            count += 1
        counts[name] = max(3, count)
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            repeat = range(counts[name])
            gc.collect(0)
            started = time.process_time()
            for _ in repeat:
                call()
            found[name].append((time.process_time() - started) / len(repeat))
    return found


def table(title: str, found: dict[str, list[float]], base: str) -> dict[str, float]:
    """Print the table; return the ratio of each library to ``base``."""
    print(f"\n{title}")
    print(f"  {'':34}{'median us':>10}{'min us':>10}{f'x {base}':>16}")
    ratios = {}
    for name, times in found.items():
        ratios[name] = statistics.median(a / b for a, b in zip(times, found[base], strict=True))
        print(
            f"  {name:34}{statistics.median(times) * 1e6:10.3f}{min(times) * 1e6:10.3f}{ratios[name]:16.2f}"
        )
    return ratios


def verdict(text: str, holds: bool) -> None:
    """Print whether a target is met."""
    print(f"  {'holds ' if holds else 'MISSED'}  {text}")


def codec(*secrets: bytes) -> TokenCodec[ApiClaims]:
    return TokenCodec(purpose=PURPOSE, claims=ApiClaims, keys=KeyRing(secrets or (KEY,)), clock=time.time)


def iso(seconds: int | str) -> str:
    return datetime.fromtimestamp(int(seconds), timezone.utc).isoformat()


def floor_of(token: str) -> Callable[[], bool]:
    """HMAC, base64 and a comparison: the minimum work of any verification."""
    key = KeyRing((KEY,)).key(f"token/{PURPOSE}/HS256")

    def floor() -> bool:
        message, _, signature = token.rpartition(".")
        expected = base64.urlsafe_b64encode(hmac.digest(key, message.encode(), "sha256")).rstrip(b"=")
        return hmac.compare_digest(expected, signature.encode())

    assert floor()
    return floor


def asok_request(app: Asok) -> Request:
    return Request({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "asok.app": app, "wsgi.input": io.BytesIO()})


def flow(root: Path, **options: object) -> ApiTokens:
    """API tokens as in an app, with the built-in state store."""
    auth: Auth = start(
        {
            "SECRET_KEY": SECRET,
            "MAIL_FROM": "a@app.example",
            "AUTH": {"MAIL_TRANSPORT": "file", "STATE_STORE": "sqlite:///state.sqlite3", **options},
        },
        {},
        root=root,
        users=MemoryUsers(FakeUser("42", "ada@app.example")),
        credentials=lambda clock, random: MemoryCredentialStore(clock),
        entry_points=(),
    )
    return ApiTokens(auth)


def sign_and_verify(app: Asok, tokens: ApiTokens, rounds: int) -> None:
    ours = codec()
    token = ours.sign(OURS)
    jwt_token = jwt.encode(CLAIMS, KEY, algorithm="HS256")
    oct_key = OctKey.import_key(KEY)
    joserfc_token = joserfc_jwt.encode({"alg": "HS256"}, CLAIMS, oct_key)
    registry = joserfc_jwt.JWTClaimsRegistry()
    dangerous = URLSafeTimedSerializer(SECRET, salt="api")
    dangerous_token = dangerous.dumps(CLAIMS)
    django_token = django_signing.dumps(CLAIMS, salt="api")
    jose_token = jose_jwt.encode(CLAIMS, SECRET, algorithm="HS256")
    paseto_key = pyseto.Key.new(version=4, purpose="local", key=KEY)
    # PASETO writes times as ISO 8601 text.
    paseto_claims = {**CLAIMS, "iat": iso(CLAIMS["iat"]), "exp": iso(CLAIMS["exp"])}
    paseto_token = pyseto.encode(paseto_key, paseto_claims)
    request = asok_request(app)
    asok_token = BearerToken.create(request, 42, expires_in=86400)
    api_token, _ = tokens.create("42", expires_in=86400)

    def joserfc_verify() -> object:
        read = joserfc_jwt.decode(joserfc_token, oct_key, algorithms=["HS256"])
        registry.validate(read.claims)
        return read

    found = measure(
        {
            "floor": floor_of(token),
            "asok-auth-core": lambda: ours.verify(token),
            "Asok BearerToken": lambda: BearerToken.verify(request, asok_token),
            "PyJWT": lambda: jwt.decode(jwt_token, KEY, algorithms=["HS256"]),
            "joserfc": joserfc_verify,
            "itsdangerous": lambda: dangerous.loads(dangerous_token, max_age=86400),
            "django.core.signing": lambda: django_signing.loads(django_token, salt="api", max_age=86400),
            "python-jose": lambda: jose_jwt.decode(jose_token, SECRET, algorithms=["HS256"]),
            "pyseto v4.local": lambda: pyseto.decode(paseto_key, paseto_token, deserializer=json),
        },
        rounds,
    )
    first = table("Verify, the first time (HMAC-SHA256)", found, "floor")
    ours_first = table("The same, relative to asok-auth-core", found, "asok-auth-core")
    verdict(f"<= 1.6 x the floor: {first['asok-auth-core']:.2f}", first["asok-auth-core"] <= 1.6)
    verdict(f">= 6 x faster than PyJWT: {ours_first['PyJWT']:.1f}", ours_first["PyJWT"] >= 6)
    verdict(
        f">= 4 x faster than itsdangerous: {ours_first['itsdangerous']:.1f}", ours_first["itsdangerous"] >= 4
    )

    tokens.verify(api_token)
    found = measure(
        {
            "floor": floor_of(token),
            "asok-auth-core, checked": lambda: tokens.verify(api_token),
            "Asok BearerToken": lambda: BearerToken.verify(request, asok_token),
        },
        rounds,
    )
    again = table(
        "Verify again (expiry, revocation and key checked each time)", found, "asok-auth-core, checked"
    )
    verdict(f"<= a quarter of the floor: 1/{again['floor']:.1f}", again["floor"] >= 4)
    verdict(f">= 4 x faster than Asok's: {again['Asok BearerToken']:.1f}", again["Asok BearerToken"] >= 4)

    found = measure(
        {
            "asok-auth-core": lambda: ours.sign(OURS),
            "Asok BearerToken": lambda: BearerToken.create(request, 42, expires_in=86400),
            "PyJWT": lambda: jwt.encode(CLAIMS, KEY, algorithm="HS256"),
            "joserfc": lambda: joserfc_jwt.encode({"alg": "HS256"}, CLAIMS, oct_key),
            "itsdangerous": lambda: dangerous.dumps(CLAIMS),
            "django.core.signing": lambda: django_signing.dumps(CLAIMS, salt="api"),
            "python-jose": lambda: jose_jwt.encode(CLAIMS, SECRET, algorithm="HS256"),
            "pyseto v4.local": lambda: pyseto.encode(paseto_key, paseto_claims),
        },
        rounds,
    )
    signed = table("Sign", found, "asok-auth-core")
    verdict(f">= 4 x faster than PyJWT: {signed['PyJWT']:.1f}", signed["PyJWT"] >= 4)
    verdict(f">= 4 x faster than itsdangerous: {signed['itsdangerous']:.1f}", signed["itsdangerous"] >= 4)


def keys(rounds: int) -> None:
    calls: Calls = {}
    for count in (1, 10, 100, 1000):
        secrets = [b"%032d" % number for number in range(count)]
        reader, token = codec(*secrets), codec(secrets[-1]).sign(OURS)
        calls[f"{count} keys, signed with the oldest"] = lambda r=reader, t=token: r.verify(t)
    ratios = table("Verify, by number of keys", measure(calls, rounds), next(iter(calls)))
    verdict(f"flat: {max(ratios.values()):.2f} x at the most", max(ratios.values()) < 1.25)


def revoked(root: Path, rounds: int, count: int) -> None:
    tokens = flow(root)
    token, _ = tokens.create("42")
    tokens.verify(token)

    def first_time() -> None:
        tokens._cache.clear()
        tokens.verify(token)

    before = measure({"again": lambda: tokens.verify(token), "first": first_time}, rounds)
    tracemalloc.start()
    start_bytes = tracemalloc.get_traced_memory()[0]
    started = time.perf_counter()
    for _ in range(count):
        tokens.revoke(tokens.create("42")[0])
    seconds = time.perf_counter() - started
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - start_bytes
    tracemalloc.stop()
    tokens.verify(token)
    after = measure({"again": lambda: tokens.verify(token), "first": first_time}, rounds)
    print(f"\nVerify, by number of revoked tokens ({count:,} made and revoked in {seconds:.0f} s)")
    for name in before:
        low, high = (statistics.median(found[name]) * 1e6 for found in (before, after))
        verdict(f"{name}: {low:.3f} us with none revoked, {high:.3f} us with {count:,}", high < low * 1.25)
    verdict(f"memory kept for them: {grown / 1024:.0f} KiB", grown < 1024 * 1024)
    tokens._auth.outbox.close()
    tokens._auth.state.close()


PAGE = """
def get(request):
    if not request.user:
        return request.api_error("Unauthorized", status=401)
    return request.api({"email": request.user.email})
"""


def bearer_request(app: Asok, token: str) -> Callable[[], bytes]:
    def call() -> bytes:
        answered: list[str] = []
        body = app(
            {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": "/api/me",
                "QUERY_STRING": "",
                "SERVER_NAME": "localhost",
                "SERVER_PORT": "80",
                "HTTP_HOST": "localhost",
                "HTTP_AUTHORIZATION": f"Bearer {token}",
                "REMOTE_ADDR": "127.0.0.1",
                "wsgi.input": io.BytesIO(),
                "wsgi.errors": io.BytesIO(),
                "wsgi.url_scheme": "http",
            },
            lambda status, headers: answered.append(status),
        )
        content = b"".join(body)
        assert answered == ["200 OK"]
        return content

    assert b"ada@app.example" in call()
    return call


def whole_request(root: Path, rounds: int) -> None:
    options = {
        "pages": {"api/me.py": PAGE},
        "environ": {"DEBUG": ""},
        "config": {"APP_URL": "https://app.example"},
    }
    # Both apps run at the same time and share the second one's user model, and so its database.
    with (
        asok_app(root / "asok", extension=False, **options) as plain,
        asok_app(root / "ours", **options) as extended,
    ):
        user = MODELS_REGISTRY["User"].create(email="ada@app.example")
        method = extended.extensions["AuthExtension"].auth.login_methods["token"]
        own = BearerToken.create(asok_request(plain), user.id, expires_in=86400)
        token, _ = method.tokens.create(user.id, expires_in=86400)
        calls: Calls = {
            "Asok's own": bearer_request(plain, own),
            "with asok-auth-core": bearer_request(extended, token),
        }
        ratios = table(
            "A whole request with a Bearer token through an Asok app",
            measure(calls, rounds, 0.1),
            "Asok's own",
        )
    verdict(
        f"not slower than Asok's own: {ratios['with asok-auth-core']:.2f} x",
        ratios["with asok-auth-core"] <= 1.0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--revoked", type=int, default=20_000, help="1000000 for the full measurement")
    parser.add_argument("--only", choices=["verify", "keys", "revoked", "request"])
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    django_settings.configure(SECRET_KEY=SECRET)
    print(f"Python {sys.version.split()[0]}, {given.rounds} rounds, CPU time")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if given.only in (None, "verify"):
            with asok_app(root / "app", extension=False) as app:
                tokens = flow(root)
                sign_and_verify(app, tokens, given.rounds)
                tokens._auth.outbox.close()
                tokens._auth.state.close()
        if given.only in (None, "keys"):
            keys(given.rounds)
        if given.only in (None, "revoked"):
            revoked(root / "revoked", given.rounds, given.revoked)
        if given.only in (None, "request"):
            whole_request(root, given.rounds)


if __name__ == "__main__":
    main()
