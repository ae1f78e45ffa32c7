"""The contract suite of a :class:`~asok_auth_core.contracts.SecondFactor`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest
from markupsafe import Markup

from ..auth import Auth
from ..contracts import SecondFactor
from ..errors import CredentialRejected, SecondFactorRequired
from ..flows.login import complete_login
from ..methods.recovery import RecoveryFactor
from ..paths import SECOND_FACTOR_PATH
from ..types import Proof, User
from .fakes import FakeRequest, MemoryUsers
from .parts import Browser, TestParts
from .races import in_threads
from .rotation import rotated_config

HOSTILE = '"><script>alert(1)</script>'
GARBAGE = ("", " ", "0", "000000", "\x00", "\uff11" * 6, "😀" * 50, "' OR 1=1 --", HOSTILE, "9" * 10_000)


@dataclass(frozen=True)
class Challenged:
    """A browser that was shown the challenge ``shown``."""

    request: FakeRequest
    shown: str

    def send(self, form: Mapping[str, str], path: str = SECOND_FACTOR_PATH) -> FakeRequest:
        """The browser's next request, with ``form``."""
        return self.request.follow(path, method="POST", form=dict(form))


class SecondFactorContract:
    """Inherit, name it ``Test…``, write ``plugin``, ``enrol`` and ``proof``."""

    settings: ClassVar[Mapping[str, object]] = {}
    """``AUTH``, if the factor needs settings."""
    name: ClassVar[str] = ""
    """The name of the factor to test, if the plugin registers several."""
    threads: ClassVar[int] = 8
    """How many requests use one proof at the same time."""

    def plugin(self) -> object:
        """The plugin: a module or object with ``asok_auth_second_factors``."""
        raise NotImplementedError("Write plugin(): return your plugin.")

    def enrol(self, auth: Auth, parts: TestParts, user: User) -> None:
        """Set the factor up for ``user``, as if it had been done some time ago."""
        raise NotImplementedError("Write enrol(): after it, is_enrolled(user) is True.")

    def proof(self, auth: Auth, parts: TestParts, user: User, shown: str) -> Mapping[str, str]:
        """Return the form fields that prove the factor now.

        ``shown`` is the HTML of the challenge, for a factor that signs what it finds there.
        ``parts.mail.sent`` holds mails that were sent. May advance ``parts.clock``.
        """
        raise NotImplementedError("Write proof(): the form a user with the factor would send.")

    # -- fixtures ----------------------------------------------------------------------------------

    @pytest.fixture
    def auth(self, make_auth: Callable[..., Auth]) -> Auth:
        """An app with the plugin."""
        return make_auth(plugins=(self.plugin(),), settings=dict(self.settings))

    @pytest.fixture
    def factor(self, auth: Auth) -> SecondFactor:
        """The factor under test."""
        if self.name:
            return auth.second_factors[self.name]
        factors = auth.second_factors.values()
        return next(one for one in factors if not isinstance(one, RecoveryFactor))

    @pytest.fixture
    def ada(self, auth: Auth, auth_parts: TestParts, fake_users: MemoryUsers) -> User:
        """A user who has the factor."""
        user = fake_users.by_id("1")
        assert user is not None
        self.enrol(auth, auth_parts, user)
        return user

    @pytest.fixture
    def challenged(self, factor: SecondFactor, ada: User) -> Challenged:
        """A browser in which Ada has passed the first factor and must give the second."""
        return _challenged(factor, ada)

    # -- shape -------------------------------------------------------------------------------------

    def test_its_name_fits_into_paths_and_it_has_a_label(self, factor: SecondFactor) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9_]{1,30}", factor.name), factor.name
        assert factor.label.strip(), "users choose between factors by the label"

    def test_its_pages_are_below_its_own_path(self, factor: SecondFactor) -> None:
        paths = [route.path for route in factor.routes()]
        assert all(f"{path}/".startswith(f"/auth/{factor.name}/") for path in paths), paths
        if factor.enrol_path is not None:
            pages = [route.path for route in factor.routes() if route.get is not None]
            assert factor.enrol_path in pages, "users who must enroll are sent to enrol_path with GET"

    def test_the_challenge_has_fields_but_no_form_or_button(
        self, factor: SecondFactor, ada: User, challenged: Challenged
    ) -> None:
        request = challenged.send({"code": HOSTILE})
        for problem in (None, HOSTILE):
            shown = factor.challenge(request, ada, problem)
            assert isinstance(shown, Markup), "challenge() must return markupsafe.Markup"
            assert "<form" not in shown
            assert "<button" not in shown
            assert HOSTILE not in shown, "input is repeated unescaped"

    @pytest.mark.requirement("SECURITY-42")
    def test_showing_the_challenge_again_sends_nothing(
        self, factor: SecondFactor, ada: User, challenged: Challenged, auth: Auth, auth_parts: TestParts
    ) -> None:
        """Pages are reloaded and shown again; what was sent stays valid."""
        form = self.proof(auth, auth_parts, ada, challenged.shown)
        sent = len(auth_parts.mail.sent)
        for problem in (None, "The code is incorrect.", None):
            factor.challenge(challenged.request.follow(SECOND_FACTOR_PATH), ada, problem)
        auth.outbox.flush(5)
        assert len(auth_parts.mail.sent) == sent, "send it in begin(), not in challenge()"
        assert _proves(factor, challenged.send(form), ada)

    # -- enrollment ----------------------------------------------------------------------------------

    def test_only_enrolled_users_have_it(
        self, factor: SecondFactor, ada: User, fake_users: MemoryUsers
    ) -> None:
        assert factor.is_enrolled(ada), "enrol() did not enroll Ada"
        assert not factor.is_enrolled(fake_users.create("bob@example.com")), "every user is enrolled"

    def test_a_reset_factor_is_gone(self, factor: SecondFactor, ada: User) -> None:
        for _ in range(2):
            factor.reset(ada)
            assert factor.is_enrolled(ada) is False, "reset() left the user enrolled"

    @pytest.mark.requirement("SECURITY-34")
    def test_is_enrolled_and_verify_answer_true_or_false(
        self, factor: SecondFactor, ada: User, challenged: Challenged, auth: Auth, auth_parts: TestParts
    ) -> None:
        """Anything else is taken for the answer that grants nothing."""
        assert factor.is_enrolled(ada) is True
        form = self.proof(auth, auth_parts, ada, challenged.shown)
        assert factor.verify(challenged.send(form), ada) is True

    @pytest.mark.requirement("SECURITY-19")
    def test_users_without_it_cannot_prove_it(
        self, factor: SecondFactor, ada: User, fake_users: MemoryUsers, auth: Auth, auth_parts: TestParts
    ) -> None:
        bob = fake_users.create("bob@example.com")
        form = self.proof(auth, auth_parts, ada, _challenged(factor, ada).shown)
        assert not _proves(factor, FakeRequest(SECOND_FACTOR_PATH, form=form), bob), (
            "Ada's proof passed for Bob"
        )

    @pytest.mark.requirement("SECURITY-19")
    def test_another_users_proof_is_rejected(
        self, factor: SecondFactor, ada: User, fake_users: MemoryUsers, auth: Auth, auth_parts: TestParts
    ) -> None:
        bob = fake_users.create("bob@example.com")
        self.enrol(auth, auth_parts, bob)
        _challenged(factor, bob)
        browser = _challenged(factor, ada)
        form = self.proof(auth, auth_parts, ada, browser.shown)
        assert not _proves(factor, browser.send(form), bob), "Ada's proof passed for Bob"

    # -- proofs --------------------------------------------------------------------------------------

    def test_a_valid_proof_is_accepted(
        self, factor: SecondFactor, ada: User, challenged: Challenged, auth: Auth, auth_parts: TestParts
    ) -> None:
        form = self.proof(auth, auth_parts, ada, challenged.shown)
        assert _proves(factor, challenged.send(form), ada)

    @pytest.mark.requirement("SECURITY-1")
    def test_a_proof_is_accepted_once(
        self, factor: SecondFactor, ada: User, challenged: Challenged, auth: Auth, auth_parts: TestParts
    ) -> None:
        form = self.proof(auth, auth_parts, ada, challenged.shown)
        assert _proves(factor, challenged.send(form), ada)
        for _ in range(3):
            again = _challenged(factor, ada)
            assert not _proves(factor, again.send(form), ada), "replay: a proof passed twice"

    @pytest.mark.requirement("SECURITY-1")
    def test_one_of_many_simultaneous_uses_of_a_proof_passes(
        self, factor: SecondFactor, ada: User, challenged: Challenged, auth: Auth, auth_parts: TestParts
    ) -> None:
        form = self.proof(auth, auth_parts, ada, challenged.shown)

        def attempt() -> list[bool]:
            return [_proves(factor, challenged.send(form), ada)]

        passed = [outcome for part in in_threads(attempt, self.threads) for outcome in part]
        assert passed.count(True) == 1, f"{passed.count(True)} of {self.threads} passed with one proof"

    @pytest.mark.requirement("SECURITY-1")
    def test_a_used_proof_stays_used_and_a_new_one_passes(
        self, factor: SecondFactor, ada: User, auth: Auth, auth_parts: TestParts
    ) -> None:
        used = []
        for _ in range(3):
            browser = _challenged(factor, ada)
            form = self.proof(auth, auth_parts, ada, browser.shown)
            assert form not in used, "proof() returned the same proof twice"
            assert _proves(factor, browser.send(form), ada)
            used.append(form)
            for old in used:
                again = _challenged(factor, ada)
                assert not _proves(factor, again.send(old), ada), "an old proof passed again"

    @pytest.mark.requirement("SECURITY-29")
    def test_a_proof_from_before_a_key_rotation_is_accepted(
        self,
        factor: SecondFactor,
        ada: User,
        challenged: Challenged,
        auth: Auth,
        auth_parts: TestParts,
        make_auth: Callable[..., Auth],
    ) -> None:
        """Check a code against all digests: older keys stay in the key ring."""
        form = self.proof(auth, auth_parts, ada, challenged.shown)
        rotated = make_auth(
            plugins=(self.plugin(),),
            settings=dict(self.settings),
            config=rotated_config(),
            credentials=auth.credentials,
        )
        assert _proves(rotated.second_factors[factor.name], challenged.send(form), ada), (
            "the factor knows only the newest key: see keys.digests"
        )

    def test_garbage_is_rejected_and_breaks_nothing(
        self, factor: SecondFactor, ada: User, challenged: Challenged, auth: Auth, auth_parts: TestParts
    ) -> None:
        fields = list(self.proof(auth, auth_parts, ada, challenged.shown))
        assert not _proves(factor, challenged.send({}), ada), "an empty form passed"
        for value in GARBAGE:
            request = challenged.send(dict.fromkeys(fields, value))
            assert not _proves(factor, request, ada), f"{value[:20]!r} passed"

    def test_a_proof_in_the_url_does_not_count(
        self, factor: SecondFactor, ada: User, challenged: Challenged, auth: Auth, auth_parts: TestParts
    ) -> None:
        """URLs end up in logs and browser histories."""
        form = self.proof(auth, auth_parts, ada, challenged.shown)
        query = "&".join(f"{name}={value}" for name, value in form.items())
        request = challenged.send({}, f"{SECOND_FACTOR_PATH}?{query}")
        assert not _proves(factor, request, ada)

    # -- in the pipeline -----------------------------------------------------------------------------

    @pytest.mark.requirement("SECURITY-19")
    def test_only_a_valid_proof_completes_a_login(
        self, factor: SecondFactor, ada: User, auth: Auth, auth_parts: TestParts
    ) -> None:
        browser = Browser(auth)
        with pytest.raises(SecondFactorRequired):
            complete_login(auth, browser.request, ada, Proof("app"), next_url="/start")
        assert _who(browser) is None
        shown = browser.get(f"{SECOND_FACTOR_PATH}?factor={factor.name}")
        assert shown.status == 200
        shown = browser.post(SECOND_FACTOR_PATH, {"factor": factor.name})
        assert shown.status == CredentialRejected.status
        assert _who(browser) is None
        form = self.proof(auth, auth_parts, ada, str(shown.body))
        done = browser.post(SECOND_FACTOR_PATH, {**form, "factor": factor.name})
        assert done.status == 303, done.body
        assert _who(browser) is ada
        names = [event.name for event in auth_parts.events]
        assert names.count("second_factor.succeeded") == 1
        assert names.count("second_factor.failed") == 1

    @pytest.mark.requirement("SECURITY-30")
    def test_stored_credentials_hold_no_plaintext_proof(
        self, factor: SecondFactor, ada: User, challenged: Challenged, auth: Auth, auth_parts: TestParts
    ) -> None:
        form = self.proof(auth, auth_parts, ada, challenged.shown)
        assert _proves(factor, challenged.send(form), ada)
        rows = auth.credentials.list(str(ada.id))
        for value in form.values():
            held = [row.kind for row in rows if len(value) >= 4 and value in (row.data + row.identifier)]
            assert held == [], f"the proof itself is stored in a credential of kind {held}"


def _challenged(factor: SecondFactor, user: User) -> Challenged:
    request = FakeRequest(SECOND_FACTOR_PATH)
    factor.begin(request, user)
    return Challenged(request, str(factor.challenge(request, user)))


def _who(browser: Browser) -> User | None:
    return browser.request.user


def _proves(factor: SecondFactor, request: FakeRequest, user: User) -> bool:
    try:
        return factor.verify(request, user) is True
    except CredentialRejected:
        return False
