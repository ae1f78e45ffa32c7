"""The second factor contract: a sound factor passes it, and each seeded fault turns it red."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

MUTANTS = Path(__file__).with_name("second_factor_mutants.py")


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """``(class, test)`` of everything that went red in one run over all mutants."""
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(MUTANTS), "-q", "--tb=no", "-rf", "-p", "no:cacheprovider"),
            *("--import-mode=importlib", "--rootdir", str(MUTANTS.parent), "-c", "/dev/null"),
        ],
        cwd=tmp_path_factory.mktemp("mutants"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"\d+ failed, \d+ passed", run.stdout), run.stdout + run.stderr
    assert " error" not in run.stdout, run.stdout
    return set(re.findall(r"^FAILED \S+::(\w+)::(\w+)", run.stdout, re.MULTILINE))


def test_a_sound_factor_is_green(failed: set[tuple[str, str]]) -> None:
    assert [test for mutant, test in failed if mutant == "TestSound"] == []


@pytest.mark.parametrize(
    ("mutant", "test"),
    [
        ("TestReplay", "test_a_proof_is_accepted_once"),
        ("TestReplay", "test_of_many_who_send_one_proof_at_once_one_passes"),
        ("TestCheckThenDelete", "test_of_many_who_send_one_proof_at_once_one_passes"),
        ("TestRemembersTheLastOnly", "test_a_used_proof_stays_used_and_a_new_one_passes"),
        ("TestAnybodysCode", "test_who_has_none_proves_nothing"),
        ("TestAnybodysCode", "test_anothers_proof_is_refused"),
        ("TestEverybodyEnrolled", "test_only_who_enrolled_has_it"),
        ("TestNothingIsRight", "test_garbage_is_refused_and_breaks_nothing"),
        ("TestNothingIsRight", "test_it_completes_a_login_and_nothing_less_does"),
        ("TestBreaksOnLetters", "test_garbage_is_refused_and_breaks_nothing"),
        ("TestReadsTheAddress", "test_a_proof_in_the_address_does_not_count"),
        ("TestStoresTheCode", "test_lasting_credentials_hold_no_proof_in_clear"),
        ("TestRepeatsInput", "test_the_challenge_is_fields_without_form_or_button"),
        ("TestWholeForm", "test_the_challenge_is_fields_without_form_or_button"),
        ("TestPathsOfOthers", "test_its_pages_are_its_own"),
    ],
)
def test_a_fault_turns_it_red(failed: set[tuple[str, str]], mutant: str, test: str) -> None:
    assert (mutant, test) in failed
