"""The login method contract: a sound one passes, each seeded fault fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from asok_auth_tests.mutants import failed_tests

MUTANTS = Path(__file__).with_name("login_mutants.py")


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    return failed_tests(MUTANTS, tmp_path_factory.mktemp("mutants"))


@pytest.mark.parametrize("sound", ["TestSound", "TestLink", "TestLasting"])
def test_a_sound_method_passes(failed: set[tuple[str, str]], sound: str) -> None:
    assert [test for mutant, test in failed if mutant == sound] == []


@pytest.mark.parametrize(
    ("mutant", "test"),
    [
        ("TestReplay", "test_a_proof_works_once"),
        ("TestReplayOfJson", "test_a_proof_works_once"),
        ("TestNewestKeyOnly", "test_a_login_survives_a_rotation_of_the_apps_key"),
        # A session without a record of the core's logs no user in.
        ("TestOwnPipeline", "test_a_valid_login_renews_the_session_and_emits_an_event"),
        ("TestOwnPipeline", "test_a_policy_can_reject_the_login"),
        ("TestFixation", "test_a_valid_login_renews_the_session_and_emits_an_event"),
        ("TestBackDoor", "test_opening_a_page_logs_no_one_in"),
        ("TestOpenRedirect", "test_opening_a_page_logs_no_one_in"),
        ("TestUnescaped", "test_its_block_is_safe_on_the_login_page"),
        ("TestUnescapedButtons", "test_its_block_is_safe_on_the_login_page"),
        ("TestRedirectsAnywhere", "test_it_opens_no_way_to_any_site"),
        ("TestRedirectsByPrefix", "test_it_opens_no_way_to_any_site"),
        ("TestEveryOrigin", "test_it_opens_no_way_to_any_site"),
        ("TestWithoutCsrf", "test_every_form_has_the_csrf_field"),
        ("TestWithoutField", "test_every_form_has_the_csrf_field"),
        ("TestBreaks", "test_garbage_logs_no_one_in_and_breaks_nothing"),
        ("TestTalkative", "test_no_proof_is_in_events_or_logs"),
    ],
)
def test_each_fault_fails_the_suite(failed: set[tuple[str, str]], mutant: str, test: str) -> None:
    assert (mutant, test) in failed
