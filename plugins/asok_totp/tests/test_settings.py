"""``AUTH["TOTP"]``: typed; invalid values are rejected by name."""

from __future__ import annotations

import pytest
from asok_totp.settings import TotpSettings
from asok_totp.totp import Parameters

from asok_auth_core.plugin import SettingError
from asok_auth_core.settings import read


def configured(own: dict[str, object], **environ: str) -> TotpSettings:
    sections = {"TOTP": TotpSettings}
    return read({"AUTH": {"TOTP": own}}, environ, sections=sections).section(TotpSettings)


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
        (
            {"ALGORITHM": "MD5"},
            r'AUTH\["TOTP"\]\["ALGORITHM"\] must be "SHA1", "SHA256" or "SHA512", got \'MD5\'',
        ),
        ({"DIGITS": 7}, r'\["DIGITS"\] must be 6 or 8, got 7'),
        ({"DIGITS": "six"}, "6 or 8, got 'six'"),
        ({"DRIFT": -1}, "DRIFT"),
        ({"DRIFT": 1000}, "from 0 to 10, got 1000"),
        ({"ENROLMENT_LIFETIME": 1}, "from 60 to 86400, got 1"),
        ({"DIGIT": 6}, "Did you mean 'DIGITS'"),
        ({"PERIOD": 60}, "PERIOD"),
    ],
)
def test_an_invalid_value_is_named(own: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        configured(own)
