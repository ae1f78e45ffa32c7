"""Keep the Admin closed until its second factor was given in this session.

Asok asks for it only after a password on the Admin's login page, and remembers the login that waits for
it in its own session. Here the session record says whether it was given. Where asok-totp is installed,
that imports the Admin's second factors and asks for them at every login, so nothing is asked twice.
``Admin`` is patched once per process; for an app without the extension, each patch does what Asok does.
"""

from __future__ import annotations

import hmac

from asok.admin import Admin
from asok.admin.utils import _totp_at
from asok.exceptions import RedirectException
from asok.request import Request

from ....auth import Auth
from ....contracts import SecondFactor
from ....engine.keys import digest
from ....errors import RecentLoginRequired
from ....flows.recent_login import is_older_than_factor, require_recent_login
from ....flows.second_factor import count_factor_attempt
from ....flows.sessions import add_factor
from ....types import User
from ..app_auth import AppAuth, app_auth_on
from ..asok_names import original
from ..request import Current

_ASOK_CHALLENGE = original(Admin, "_twofa_challenge")
_ASOK_DISABLE = original(Admin, "_twofa_disable")
_ASOK_ENABLE = original(Admin, "_enable_2fa_on_user")
_ASOK_LOGGED_IN = original(Admin, "_handle_login_success")
_ASOK_PASSED = original(Admin, "_handle_successful_2fa_login")
_ASOK_PENDING = original(Admin, "_get_pending_2fa_user")
_ASOK_REQUIRE = original(Admin, "_require_admin")
_ASOK_SETUP = original(Admin, "_twofa_setup")
_ASOK_STATUS = original(Admin, "_get_user_2fa")
_ASOK_VERIFY = original(Admin, "_verify_2fa_code")

FACTOR = "admin_totp"
"""The name under which a session record notes that the Admin's second factor was given."""
SUCCESSOR = "totp"
"""The second factor of asok-totp, which imports the Admin's."""
STEP = 30
STEP_LIFETIME = 180
"""Seconds; a time step is accepted for 90."""
CODE_LIFETIME = 30 * 86_400


def install_on_admin_totp() -> None:
    """Replace the Admin's steps around its second factor. Idempotent."""
    Admin._require_admin = _require
    Admin._handle_login_success = _logged_in
    Admin._get_pending_2fa_user = _pending_user
    Admin._twofa_challenge = _challenge
    Admin._verify_2fa_code = _verify
    Admin._handle_successful_2fa_login = _passed
    Admin._get_user_2fa = _status
    Admin._twofa_setup = _set_up
    Admin._enable_2fa_on_user = _enable
    Admin._twofa_disable = _disable


def _successor(auth: Auth) -> SecondFactor | None:
    return auth.second_factors.get(SUCCESSOR)


def _outstanding_user(app_auth: AppAuth, current: Current) -> User | None:
    """The session's user, if the Admin's second factor is still missing here."""
    owner = current.impersonator or current.user
    if owner is None or not getattr(owner, "totp_enabled", False):
        return None
    if current.record is not None and FACTOR in current.record.factors:
        return None
    successor = _successor(app_auth.auth)
    return None if successor is not None and successor.is_enrolled(owner) is True else owner


def _require(self: Admin, request: Request) -> None:
    _ASOK_REQUIRE(self, request)
    app_auth = app_auth_on(self.app)
    if app_auth is None:
        return
    current = app_auth.current(request)
    if _outstanding_user(app_auth, current) is not None:
        raise RedirectException(self.prefix + "/2fa")
    owner = current.impersonator or current.user
    # asok-totp, for example, may have imported the factor since, so there is none to ask for here.
    if owner is not None and is_older_than_factor(app_auth.auth, current.record, owner):
        raise RecentLoginRequired("Please log in again. This step requires a recent login.")


def _logged_in(self: Admin, request: Request, user: User) -> None:
    """After a password on the Admin's login page, which has logged the user in."""
    app_auth = app_auth_on(self.app)
    if app_auth is None:
        _ASOK_LOGGED_IN(self, request, user)
        return
    if _outstanding_user(app_auth, app_auth.current(request)) is not None:
        raise RedirectException(self.prefix + "/2fa")
    _welcome(self, request, user)


def _pending_user(self: Admin, request: Request) -> User:
    app_auth = app_auth_on(self.app)
    if app_auth is None:
        return _ASOK_PENDING(self, request)
    current = app_auth.current(request)
    user = None if current.record is None else _outstanding_user(app_auth, current)
    if user is None:
        raise RedirectException(self.prefix + ("/login" if current.record is None else ""))
    return user


def _challenge(self: Admin, request: Request) -> object:
    """Count each attempt per account; Asok's count ends with every correct password."""
    app_auth = app_auth_on(self.app)
    if app_auth is not None and request.method == "POST":
        user = _pending_user(self, request)
        count_factor_attempt(app_auth.auth, app_auth.web_request(request), user, FACTOR)
    return _ASOK_CHALLENGE(self, request)


def _verify(self: Admin, user: User, code: str) -> tuple[bool, bool]:
    """Accept each time step and each backup code once: (valid, it was a backup code)."""
    app_auth = app_auth_on(self.app)
    if app_auth is None:
        return _ASOK_VERIFY(self, user, code)
    auth = app_auth.auth
    secret, _ = _ASOK_STATUS(self, user.id)
    step = None if secret is None else _step(auth, secret, code)
    if step is not None:
        valid, backup = _claim_step(auth, user, step), False
    else:
        valid, backup = self._verify_backup_codes(user, code)
        valid = valid and _claim_code(auth, user, code)
    name = "second_factor.succeeded" if valid else "second_factor.failed"
    auth.events.emit(name, user=user, method=FACTOR)
    return valid, backup and valid


def _step(auth: Auth, secret: str, code: str) -> int | None:
    """The time step whose code this is, the newest first."""
    text = code.replace(" ", "").encode()
    now = int(auth.clock()) // STEP
    for step in (now + 1, now, now - 1):
        if hmac.compare_digest(_totp_at(secret, step * STEP).encode(), text):
            return step
    return None


def _claim_step(auth: Auth, user: User, step: int) -> bool:
    """True once per step, and not after a later one (RFC 6238, section 5.2)."""
    key, *later = (f"{FACTOR}:{user.id}:{step + more}" for more in range(3))
    return not any(map(auth.state.get, later)) and auth.state.add(key, b"1", STEP_LIFETIME)


def _claim_code(auth: Auth, user: User, code: str) -> bool:
    """True once per backup code; Asok removes it from the row without a lock."""
    written = code.strip().upper().replace("-", "")
    return auth.state.add(f"{FACTOR}:{user.id}:{digest(written)}", b"1", CODE_LIFETIME)


def _passed(self: Admin, request: Request, user: User, used_backup: bool) -> None:
    """Note in the session record that the factor was given, and keep the session."""
    app_auth = app_auth_on(self.app)
    record = None if app_auth is None else app_auth.current(request).record
    if app_auth is None or record is None:
        _ASOK_PASSED(self, request, user, used_backup)
        return
    add_factor(app_auth.auth, record, FACTOR)
    _welcome(self, request, user, twofa=True, backup_code=used_backup)


def _welcome(self: Admin, request: Request, user: User, **changes: object) -> None:
    self._login_rate_reset(request)
    self._log(request, "login", "User", entity_id=user.id, changes=changes or None)
    name = getattr(user, "name", None) or getattr(user, "email", None) or user.id
    request.flash("success", self.t(request, "Welcome back, {name}!", name=name))
    raise RedirectException(self.prefix)


def _status(self: Admin, user_id: int) -> tuple[str | None, bool]:
    """(secret, enabled) of a user; with asok-totp, its own status and no secret."""
    app_auth = app_auth_on(self.app)
    successor = None if app_auth is None else _successor(app_auth.auth)
    if app_auth is None or successor is None:
        return _ASOK_STATUS(self, user_id)
    user = app_auth.auth.users.by_id(str(user_id))
    return None, user is not None and successor.is_enrolled(user) is not False


def _set_up(self: Admin, request: Request) -> object:
    _prefer_successor(self, request)
    app_auth = app_auth_on(self.app)
    if app_auth is not None:
        require_recent_login(app_auth.auth, app_auth.web_request(request))
    return _ASOK_SETUP(self, request)


def _disable(self: Admin, request: Request) -> object:
    _prefer_successor(self, request)
    return _ASOK_DISABLE(self, request)


def _prefer_successor(self: Admin, request: Request) -> None:
    """Send the user to asok-totp's page if there is one, not to a second app."""
    app_auth = app_auth_on(self.app)
    successor = None if app_auth is None else _successor(app_auth.auth)
    if successor is not None and successor.enrol_path is not None:
        raise RedirectException(successor.enrol_path)


def _enable(self: Admin, request: Request, user: User, secret: str) -> None:
    """Count the first code as this session's second factor; reject it from then on."""
    app_auth = app_auth_on(self.app)
    record = None if app_auth is None else app_auth.current(request).record
    if app_auth is not None and record is not None:
        auth = app_auth.auth
        step = _step(auth, secret, str(request.form.get("code", "")))
        if step is not None:
            _claim_step(auth, user, step)
        add_factor(auth, record, FACTOR)
        client_ip = app_auth.web_request(request).client_ip
        auth.events.emit("second_factor.enrolled", user=user, method=FACTOR, client_ip=client_ip)
    _ASOK_ENABLE(self, request, user, secret)
