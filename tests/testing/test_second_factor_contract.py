"""The second factor contract: a sound one passes, each seeded fault fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from asok_auth_tests.mutants import failed_tests

MUTANTS = Path(__file__).with_name("second_factor_mutants.py")


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    return failed_tests(MUTANTS, tmp_path_factory.mktemp("mutants"))


def test_a_sound_factor_passes(failed: set[tuple[str, str]]) -> None:
    assert [test for mutant, test in failed if mutant == "TestSound"] == []


@pytest.mark.parametrize(
    ("mutant", "test"),
    [
        ("TestReplay", "test_a_proof_is_accepted_once"),
        ("TestReplay", "test_one_of_many_simultaneous_uses_of_a_proof_passes"),
        ("TestCheckThenDelete", "test_one_of_many_simultaneous_uses_of_a_proof_passes"),
        ("TestRemembersTheLastOnly", "test_a_used_proof_stays_used_and_a_new_one_passes"),
        ("TestNewestKeyOnly", "test_a_proof_from_before_a_key_rotation_is_accepted"),
        ("TestAnybodysCode", "test_users_without_it_cannot_prove_it"),
        ("TestAnybodysCode", "test_another_users_proof_is_rejected"),
        ("TestEveryUserEnrolled", "test_only_enrolled_users_have_it"),
        ("TestStaysEnrolled", "test_a_reset_factor_is_gone"),
        ("TestTruthy", "test_is_enrolled_and_verify_answer_true_or_false"),
        ("TestNothingIsRight", "test_garbage_is_rejected_and_breaks_nothing"),
        ("TestNothingIsRight", "test_only_a_valid_proof_completes_a_login"),
        ("TestBreaksOnLetters", "test_garbage_is_rejected_and_breaks_nothing"),
        ("TestReadsTheAddress", "test_a_proof_in_the_url_does_not_count"),
        ("TestStoresTheCode", "test_stored_credentials_hold_no_plaintext_proof"),
        ("TestRepeatsInput", "test_the_challenge_has_fields_but_no_form_or_button"),
        ("TestSendsWhenShown", "test_showing_the_challenge_again_sends_nothing"),
        ("TestRepeatsTheProblem", "test_the_challenge_has_fields_but_no_form_or_button"),
        ("TestWholeForm", "test_the_challenge_has_fields_but_no_form_or_button"),
        ("TestPathsOfOthers", "test_its_pages_are_below_its_own_path"),
    ],
)
def test_each_fault_fails_the_suite(failed: set[tuple[str, str]], mutant: str, test: str) -> None:
    assert (mutant, test) in failed
