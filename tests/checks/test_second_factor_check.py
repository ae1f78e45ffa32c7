"""``asok-auth doctor`` names second factors whose plugin is gone."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import pytest

from asok_auth_core.checks.second_factor import second_factor
from asok_auth_core.flows.factor_index import KIND
from asok_auth_core.plugin import Auth

checked = import_module("asok_auth_core.checks.second_factor")  # the package has a function of this name


def keep(auth: Auth, user_id: str, *names: str) -> None:
    auth.credentials.add(user_id, KIND, user_id, {"names": list(names)})


def test_factors_that_no_loaded_plugin_provides(
    make_auth: Callable[..., Auth], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asok_auth_core.stores.rows.PAGE", 2)
    auth = make_auth()
    assert list(second_factor(auth)) == []
    for user_id in "12345":
        keep(auth, user_id, "totp", *(["sms"] if user_id == "3" else []))
    sms, totp = second_factor(auth)
    assert (sms.severity, totp.severity) == ("error", "error")
    assert "'sms'. Users who have it: 1;" in sms.message
    assert "'totp'. Users who have it: 5;" in totp.message
    assert "asok-auth second-factor reset" in totp.remedy


def test_it_reads_no_more_than_it_says(
    make_auth: Callable[..., Auth], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asok_auth_core.stores.rows.PAGE", 2)
    monkeypatch.setattr(checked, "READ", 4)
    auth = make_auth()
    for user_id in "12345":
        keep(auth, user_id, "totp")
    [finding] = second_factor(auth)
    assert "Users who have it: 4 or more;" in finding.message
