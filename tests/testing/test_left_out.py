"""Authors who leave a part of a contract out are told what to write."""

from __future__ import annotations

import pytest

import asok_auth_core.testing
from asok_auth_core.testing import (
    CredentialStoreContract,
    EventObserverContract,
    LoginMethodContract,
    PolicyContract,
    RoutesContract,
    SecondFactorContract,
    SignerContract,
    SignUpStepContract,
    StateStoreContract,
)


@pytest.mark.parametrize(
    ("contract", "method", "arguments"),
    [
        (LoginMethodContract, "plugin", 0),
        (LoginMethodContract, "log_in", 3),
        (SecondFactorContract, "plugin", 0),
        (SecondFactorContract, "enrol", 3),
        (SecondFactorContract, "proof", 4),
        (EventObserverContract, "observer", 0),
        (EventObserverContract, "written", 0),
        (PolicyContract, "policy", 0),
        (SignUpStepContract, "plugin", 0),
        (SignUpStepContract, "form", 1),
        (RoutesContract, "plugin", 0),
        (SignerContract, "signer", 1),
    ],
)
def test_a_missing_method_is_named(contract: type, method: str, arguments: int) -> None:
    with pytest.raises(NotImplementedError, match=rf"Write {method}\(\)"):
        getattr(contract(), method)(*[None] * arguments)


class TestStateStore:
    open_store = StateStoreContract.open_store

    def test_a_missing_fixture_is_named(self, request: pytest.FixtureRequest) -> None:
        with pytest.raises(NotImplementedError, match="define a fixture open_store"):
            request.getfixturevalue("open_store")


class TestCredentialStore:
    open_store = CredentialStoreContract.open_store

    def test_a_missing_fixture_is_named(self, request: pytest.FixtureRequest) -> None:
        with pytest.raises(NotImplementedError, match="define a fixture open_store"):
            request.getfixturevalue("open_store")


def test_a_misspelled_contract_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'LoginContract'"):
        _ = asok_auth_core.testing.LoginContract
