"""``asok-auth doctor`` reports a required second factor that cannot be set up."""

from __future__ import annotations

from collections.abc import Callable

import asok_totp
import pytest

from asok_auth_core.checks.second_factor import second_factor
from asok_auth_core.plugin import Auth


@pytest.mark.parametrize("policy", [True, "admin.*"])
def test_requiring_2fa_without_a_factor_is_an_error(make_auth: Callable[..., Auth], policy: object) -> None:
    [finding] = second_factor(make_auth(settings={"REQUIRE_2FA": policy}))
    assert finding.severity == "error"
    assert "asok-totp" in finding.remedy


@pytest.mark.parametrize("policy", [False, True, "admin.*"])
def test_with_this_plugin_there_is_no_finding(make_auth: Callable[..., Auth], policy: object) -> None:
    assert list(second_factor(make_auth(plugins=(asok_totp,), settings={"REQUIRE_2FA": policy}))) == []
    assert list(second_factor(make_auth())) == []
