"""Test tools for plugin authors: contract suites to inherit, fakes and pytest fixtures.

::

    from asok_auth_core.testing import SignerContract

    class TestMySigner(SignerContract):
        def signer(self, material):
            return MySigner(material)

Each suite tests the security properties of an implementation, not only its interface. The fixtures
``auth``, ``make_auth``, ``auth_parts``, ``fake_users``, ``frozen_clock`` and ``web_request`` are
available in every test run with asok-auth-core installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .credential_store import CredentialStoreContract as CredentialStoreContract
    from .event_observer import EventObserverContract as EventObserverContract
    from .fakes import FakeRequest as FakeRequest
    from .fakes import FakeSession as FakeSession
    from .fakes import FakeUser as FakeUser
    from .fakes import FrozenClock as FrozenClock
    from .fakes import MemoryCredentialStore as MemoryCredentialStore
    from .fakes import MemoryUsers as MemoryUsers
    from .login_method import LoginMethodContract as LoginMethodContract
    from .mail_transport import MailTransportContract as MailTransportContract
    from .parts import Browser as Browser
    from .parts import TestParts as TestParts
    from .parts import build_auth as build_auth
    from .permission_resolver import PermissionResolverContract as PermissionResolverContract
    from .providers import OAuth2ProviderContract as OAuth2ProviderContract
    from .providers import OpenIDProviderContract as OpenIDProviderContract
    from .raises import raises_code as raises_code
    from .second_factor import SecondFactorContract as SecondFactorContract
    from .signer import SignerContract as SignerContract
    from .state_store import StateStoreContract as StateStoreContract

_HOMES = {
    "Browser": "parts",
    "EventObserverContract": "event_observer",
    "FakeRequest": "fakes",
    "FakeSession": "fakes",
    "FakeUser": "fakes",
    "FrozenClock": "fakes",
    "LoginMethodContract": "login_method",
    "MemoryCredentialStore": "fakes",
    "MemoryUsers": "fakes",
    "PermissionResolverContract": "permission_resolver",
    "SecondFactorContract": "second_factor",
    "SignerContract": "signer",
    "TestParts": "parts",
    "OAuth2ProviderContract": "providers",
    "OpenIDProviderContract": "providers",
    "MailTransportContract": "mail_transport",
    "StateStoreContract": "state_store",
    "CredentialStoreContract": "credential_store",
    "build_auth": "parts",
    "raises_code": "raises",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
