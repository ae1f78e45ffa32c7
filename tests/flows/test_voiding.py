"""The first verification of an email address voids the account's setup."""

from __future__ import annotations

from pathlib import Path

import pytest
from asok_auth_tests.pipeline import Browser, Word, World, target
from msgspec.structs import replace

from asok_auth_core.contracts import SecondFactor, UserDirectory
from asok_auth_core.errors import MailTemporary, StoreUnavailable, TokenError
from asok_auth_core.flows.accounts import void_account
from asok_auth_core.flows.api_tokens import ApiTokens
from asok_auth_core.flows.factor_policy import change_factor_names, enrolled_factors
from asok_auth_core.flows.linking import linked
from asok_auth_core.flows.second_factor import complete_enrolment
from asok_auth_core.flows.trusted_devices import trust_device, trusted_devices
from asok_auth_core.flows.verified_emails import is_email_verified, mark_email_verified
from asok_auth_core.settings import Settings
from asok_auth_core.testing.fakes import FakeRequest, FakeUser, MemoryUsers
from asok_auth_core.testing.oauth_app import error_code
from asok_auth_core.types import Identity, OutgoingMail, User

MALLORY, VICTIM = "mallory@example.com", "ada@example.com"


class Planted:
    """Mallory's account, to which the app then gives Ada's email address."""

    def __init__(self, root: Path, *, password: str | None = None, factors: list[SecondFactor] | None = None):
        self.world = World(root, settings={"TRUSTED_DEVICE": 3600}, factors=factors)
        self.world.auth.installation()
        self.mallory = Browser(self.world)
        self.mallory.log_in_at_provider(sub="mallory", email=MALLORY)
        self.world.app.fake.claims.clear()
        user = self.world.users.by_email(MALLORY)
        assert isinstance(user, FakeUser)
        self.user = user
        user.password = password
        self.token, _ = ApiTokens(self.world.auth).create(user.id)
        self.trusted = FakeRequest()
        trust_device(self.world.auth, self.trusted, user)
        user.email = VICTIM


@pytest.mark.requirement("SECURITY-35")
def test_the_owner_of_the_email_gets_the_account_alone(tmp_path: Path) -> None:
    planted = Planted(tmp_path, password="planted")
    world, user = planted.world, planted.user
    verifier = ApiTokens(world.auth)  # another worker, which has seen the token
    verifier.verify(planted.token)
    assert planted.mallory.user_id == "1"

    ada = Browser(world)
    assert target(ada.log_in_by_mail(VICTIM)) == "/"

    assert ada.user_id == "1"
    assert planted.mallory.user_id is None
    with pytest.raises(TokenError):
        verifier.verify(planted.token)
    assert linked(world.auth, user) == []
    assert trusted_devices(world.auth, user) == []
    assert user.password is None
    assert world.kinds("1") == ["email", "session"]
    again = Browser(world)
    again.log_in_at_provider(sub="mallory", email=MALLORY)
    assert again.user_id != "1", "the identity is a newcomer's again"
    [event] = world.events("account.voided")
    assert event.user_id == "1"
    assert event.detail == {
        "sessions": 1,
        "tokens": 1,
        "identities": 1,
        "browsers": 1,
        "factors": 0,
        "password": "cleared",
    }


@pytest.mark.requirement("SECURITY-35")
def test_a_second_factor_that_is_not_the_owners_keeps_everyone_out(tmp_path: Path) -> None:
    """The login cannot complete, so nothing changes; an operator can reset it."""
    planted = Planted(tmp_path)
    planted.world.word.users.add("1")
    ada = Browser(planted.world)
    assert target(ada.log_in_by_mail(VICTIM)) == "/auth/second-factor"
    assert ada.user_id is None
    assert not planted.world.events("account.voided")


class Other(Word):
    """A second kind of factor, and one that is imported."""

    name = "other"
    label = "Other word"
    enrol_path = None
    imported = False

    def is_imported(self, user: User) -> bool:
        return self.imported

    def routes(self) -> list[object]:  # type: ignore[override]
        return []


@pytest.mark.parametrize("imported", [False, True])
@pytest.mark.requirement("SECURITY-35")
def test_only_the_factors_that_the_owner_gave_or_an_operator_imported_stay(
    tmp_path: Path, imported: bool
) -> None:
    word, other = Word(), Other()
    other.imported = imported
    planted = Planted(tmp_path, factors=[word, other])
    word.users.add("1")
    other.users.add("1")
    ada = Browser(planted.world)
    ada.log_in_by_mail(VICTIM)
    assert target(ada.give_word()) == "/"
    expected = {"word", "other"} if imported else {"word"}
    assert set(enrolled_factors(planted.world.auth, planted.user)) == expected
    assert ("1" in other.users) is imported
    [event] = planted.world.events("account.voided")
    assert event.detail["factors"] == (0 if imported else 1)


@pytest.mark.parametrize("answer", [None, "no", 0])
def test_a_factor_that_does_not_say_whether_it_was_imported_stays(tmp_path: Path, answer: object) -> None:
    word, other = Word(), Other()
    other.imported = answer  # type: ignore[assignment]
    planted = Planted(tmp_path, factors=[word, other])
    word.users.add("1")
    other.users.add("1")
    ada = Browser(planted.world)
    ada.log_in_by_mail(VICTIM)
    ada.give_word()
    assert other.users == {"1"}


class Backup(Word):
    """Recovery codes, say."""

    name = "backup"
    label = "Backup"
    enrol_path = None
    backup = True

    def routes(self) -> list[object]:  # type: ignore[override]
        return []


@pytest.mark.parametrize("enrols", [False, True])
@pytest.mark.requirement("SECURITY-35")
def test_backups_stay_only_if_they_were_made_in_this_login(tmp_path: Path, enrols: bool) -> None:
    word, backup = Word(), Backup()
    planted = Planted(tmp_path, factors=[word, backup])
    world = planted.world
    if not enrols:
        word.users.add("1")
        backup.users.add("1")
    world.auth.settings = replace_required(world)
    ada = Browser(world)
    ada.log_in_by_mail(VICTIM)
    if enrols:
        word.users.add("1")
        backup.users.add("1")
        request = ada.at.follow("/auth/word/enrol", form={})
        complete_enrolment(world.auth, request, planted.user, "word")
    else:
        ada.give_word()
    assert backup.users == ({"1"} if enrols else set())
    assert word.users == {"1"}


def replace_required(world: World) -> Settings:
    return replace(world.auth.settings, require_2fa=True)


@pytest.mark.requirement("SECURITY-35")
def test_a_factor_whose_plugin_is_not_loaded_is_still_required(tmp_path: Path) -> None:
    planted = Planted(tmp_path)
    change_factor_names(planted.world.auth, planted.user, lambda kept: kept | {"lost"})
    planted.world.word.users.add("1")
    ada = Browser(planted.world)
    ada.log_in_by_mail(VICTIM)
    ada.give_word()
    [row] = planted.world.credentials.list("1", "second_factors")
    assert "lost" in row.data


class TestWhen:
    """Only the first verification, and only one that this login made."""

    @pytest.mark.requirement("SECURITY-35")
    def test_a_trusted_provider_joins_and_voids(self, tmp_path: Path) -> None:
        planted = Planted(tmp_path)
        ada = Browser(planted.world)
        assert target(ada.log_in_at_provider()) == "/"
        assert ada.user_id == "1"
        assert planted.mallory.user_id is None
        assert planted.world.kinds("1") == ["email", "identity", "session"]

    @pytest.mark.requirement("SECURITY-15", "SECURITY-35")
    def test_an_untrusted_provider_neither_joins_nor_voids(self, tmp_path: Path) -> None:
        world = World(tmp_path, MemoryUsers(FakeUser("1", "ada@untrusted.example")))
        mark_email_verified(world.auth, FakeUser("1"), "ada@untrusted.example")
        response = Browser(world).log_in_at_provider(email="ada@untrusted.example")
        assert error_code(response) == "oauth_link_required"
        assert world.kinds("1") == ["email"]

    @pytest.mark.requirement("SECURITY-15", "SECURITY-35")
    def test_an_untrusted_newcomers_email_is_not_verified_and_its_owner_voids(self, tmp_path: Path) -> None:
        world = World(tmp_path)
        mallory = Browser(world)
        assert target(mallory.log_in_at_provider(email="ada@untrusted.example")) == "/"
        assert mallory.user_id == "1"
        assert world.kinds("1") == ["identity", "session"]
        ada = Browser(world)
        ada.log_in_by_mail("ada@untrusted.example")
        assert (ada.user_id, mallory.user_id) == ("1", None)
        assert world.kinds("1") == ["email", "session"]

    @pytest.mark.parametrize("answer", [None, 1, "yes", ValueError("no domain")])
    @pytest.mark.requirement("SECURITY-15", "SECURITY-32")
    def test_a_provider_that_does_not_say_true_is_not_trusted(
        self, tmp_path: Path, answer: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = World(tmp_path, MemoryUsers(FakeUser("1", VICTIM)))

        def trusted_for_email(identity: Identity) -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(world.app.provider, "trusted_for_email", trusted_for_email)
        assert error_code(Browser(world).log_in_at_provider()) == "oauth_link_required"

    def test_a_known_identity_logs_in_whatever_its_email(self, tmp_path: Path) -> None:
        world = World(tmp_path)
        Browser(world).log_in_at_provider(email="ada@untrusted.example")
        again = Browser(world)
        assert target(again.log_in_at_provider(email="other@untrusted.example")) == "/"
        assert again.user_id == "1"

    def test_a_second_login_voids_nothing(self, tmp_path: Path) -> None:
        world = World(tmp_path)
        first, second = Browser(world), Browser(world)
        first.log_in_by_mail(VICTIM)
        second.log_in_by_mail(VICTIM)
        assert (first.user_id, second.user_id) == ("1", "1")
        assert not world.events("account.voided")

    def test_an_email_that_our_own_flow_verified_voids_nothing(self, tmp_path: Path) -> None:
        """Changing it there needed a recent login, and the user opened a mail."""
        world = World(tmp_path)
        first, second = Browser(world), Browser(world)
        first.log_in_by_mail("old@example.com")
        user = world.users.by_id("1")
        assert isinstance(user, FakeUser)
        user.email = "new@example.com"
        mark_email_verified(world.auth, user, "new@example.com")
        second.log_in_by_mail("new@example.com")
        assert (first.user_id, second.user_id) == ("1", "1")

    @pytest.mark.requirement("SECURITY-35")
    def test_an_email_given_back_and_taken_again_is_new_again(self, tmp_path: Path) -> None:
        planted = Planted(tmp_path)
        mark_email_verified(planted.world.auth, planted.user, "third@example.com")
        Browser(planted.world).log_in_by_mail(VICTIM)
        assert not is_email_verified(planted.world.auth, planted.user, "third@example.com")
        assert not is_email_verified(planted.world.auth, planted.user, MALLORY)


class TestThePassword:
    @pytest.mark.parametrize(("id_", "outcome"), [("1", "kept"), ("8", "cleared"), ("a7", "kept")])
    @pytest.mark.requirement("SECURITY-35")
    def test_only_an_account_newer_than_the_installation_loses_it(
        self, tmp_path: Path, id_: str, outcome: str
    ) -> None:
        users = MemoryUsers(FakeUser("7", "seven@example.com"))
        world = World(tmp_path, users)
        world.auth.installation()
        user = FakeUser(id_, VICTIM, password="secret")
        users._users[id_] = user
        assert void_account(world.auth, FakeRequest(), user).outcome == outcome
        assert (user.password is None) is (outcome == "cleared")

    @pytest.mark.requirement("SECURITY-35")
    @pytest.mark.parametrize(
        ("left_out", "outcome"),
        [("has_password", "none"), ("clear_password", "kept"), ("highest_id", "kept")],
    )
    def test_a_directory_that_cannot_tell_keeps_it(self, tmp_path: Path, left_out: str, outcome: str) -> None:
        """The defaults claim nothing: no password was cleared, none is lost."""
        bare = type("Bare", (MemoryUsers,), {left_out: getattr(UserDirectory, left_out)})
        users = bare(FakeUser("7", "seven@example.com"))
        world = World(tmp_path, users)
        world.auth.installation()
        user = FakeUser("8", VICTIM, password="secret")
        users._users["8"] = user
        assert void_account(world.auth, FakeRequest(), user).outcome == outcome
        assert user.password == "secret"


class TestTheMail:
    def sent(self, planted: Planted) -> list[tuple[str, str, str]]:
        planted.world.auth.outbox.flush(60)
        return [(mail.to, mail.subject, mail.text) for mail in planted.world.app._parts.mail.sent]

    @pytest.mark.requirement("SECURITY-35")
    def test_the_owner_is_told_what_was_removed(self, tmp_path: Path) -> None:
        planted = Planted(tmp_path, password="planted")
        ada = Browser(planted.world)
        token = planted.world.token(VICTIM)
        ada.open(token)
        ada.press(token)
        [(to, _, text)] = self.sent(planted)
        assert to == VICTIM
        assert "API tokens" in text
        assert "password was removed" in text
        assert token not in text
        assert planted.token not in text

    def test_nobody_is_told_if_there_was_nothing(self, tmp_path: Path) -> None:
        world = World(tmp_path, MemoryUsers(FakeUser("1", VICTIM)))
        Browser(world).log_in_by_mail(VICTIM)
        world.auth.outbox.flush(60)
        assert world.app._parts.mail.sent == []
        assert len(world.events("account.voided")) == 1


class TestFailures:
    @pytest.mark.requirement("SECURITY-32", "SECURITY-35")
    def test_a_failure_in_the_middle_is_repeated_by_the_next_login(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        planted = Planted(tmp_path)
        world = planted.world
        remove = world.credentials.remove

        def failing(row):  # type: ignore[no-untyped-def]
            if row.kind == "identity":
                raise StoreUnavailable("The database does not answer.")
            return remove(row)

        monkeypatch.setattr(world.credentials, "remove", failing)
        ada = Browser(world)
        assert ada.log_in_by_mail(VICTIM).status == 503
        assert ada.user_id is None
        assert not is_email_verified(world.auth, planted.user, VICTIM)
        monkeypatch.undo()
        assert target(ada.log_in_by_mail(VICTIM)) == "/"
        assert world.kinds("1") == ["email", "session"]

    @pytest.mark.requirement("SECURITY-32", "SECURITY-35")
    def test_a_mail_that_cannot_be_sent_stops_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        planted = Planted(tmp_path, password="planted")

        def full(mail: OutgoingMail) -> None:
            raise MailTemporary("The outbox is full.")

        monkeypatch.setattr(planted.world.auth.outbox, "post", full)
        ada = Browser(planted.world)
        assert target(ada.log_in_by_mail(VICTIM)) == "/"
        assert (ada.user_id, planted.mallory.user_id) == ("1", None)
        assert planted.user.password is None
        assert "mail about a voided account could not be sent" in caplog.text

    def test_stateless_tokens_cannot_be_revoked_and_stop_nothing(self, tmp_path: Path) -> None:
        world = World(tmp_path, settings={"TOKEN_REVOCATION": "stateless"})
        Browser(world).log_in_by_mail(VICTIM)
        assert void_account(world.auth, FakeRequest(), FakeUser("1", VICTIM)).tokens == 0


def test_voiding_can_keep_the_identity_of_the_login(tmp_path: Path) -> None:
    world = World(tmp_path)
    Browser(world).log_in_at_provider()
    user = world.users.by_id("1")
    assert user is not None
    [row] = world.credentials.list("1", "identity")
    kept = Identity("https://login.example", "248289761001")
    assert void_account(world.auth, FakeRequest(), user, keep_identity=kept).identities == 0
    assert world.credentials.list("1", "identity") == [row]
    assert void_account(world.auth, FakeRequest(), user).identities == 1
