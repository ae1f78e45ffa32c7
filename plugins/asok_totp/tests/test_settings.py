"""``AUTH["TOTP"]``: typed, and refused by name."""

from __future__ import annotations

import pytest
from asok_totp import asok_auth_plugin
from asok_totp.settings import TotpSettings, read
from asok_totp.totp import Parameters

from asok_auth_core.errors import SettingError
from asok_auth_core.settings import read as read_settings


def configured(own: dict[str, object], **environ: str) -> TotpSettings:
    return read(read_settings({"AUTH": {"TOTP": own}}, environ, [asok_auth_plugin]))


def test_the_defaults_suit_every_authenticator_app() -> None:
    own = configured({})
    assert own.parameters == Parameters("SHA1", 6)
    assert own.drift == 1


def test_the_environment_wins() -> None:
    own = configured({"DIGITS": 6}, ASOK_AUTH_TOTP__DIGITS="8", ASOK_AUTH_TOTP__ALGORITHM="SHA512")
    assert own.parameters == Parameters("SHA512", 8)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"ALGORITHM": "MD5"}, r'AUTH\["TOTP"\]\["ALGORITHM"\] must be SHA1 or SHA256 or SHA512'),
        ({"DIGITS": 7}, r'\["DIGITS"\] must be 6 or 8, got 7'),
        ({"DIGITS": "six"}, "DIGITS"),
        ({"DRIFT": -1}, "DRIFT"),
        ({"DRIFT": 1000}, "0 to 10"),
        ({"ENROLMENT_LIFETIME": 1}, "60 to 86400"),
        ({"DIGIT": 6}, "Did you mean DIGITS"),
        ({"PERIOD": 60}, "PERIOD"),
    ],
)
def test_an_invalid_value_is_named(own: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        configured(own)
