"""Test tools for plugin authors: contract suites, fakes and fixtures.

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
    from .apps import asgi_call as asgi_call
    from .apps import asok_app as asok_app
    from .commands import CommandResult as CommandResult
    from .commands import run_command as run_command
    from .credential_store import CredentialStoreContract as CredentialStoreContract
    from .credential_store import OpenCredentialStore as OpenCredentialStore
    from .event_observer import EventObserverContract as EventObserverContract
    from .fake_provider import FakeProvider as FakeProvider
    from .fakes import FakeRequest as FakeRequest
    from .fakes import FakeSession as FakeSession
    from .fakes import FakeUser as FakeUser
    from .fakes import FrozenClock as FrozenClock
    from .fakes import MemoryCredentialStore as MemoryCredentialStore
    from .fakes import MemoryUsers as MemoryUsers
    from .login_method import LoginMethodContract as LoginMethodContract
    from .mail_transport import MailTransportContract as MailTransportContract
    from .mail_transport import ReceivedMail as ReceivedMail
    from .mail_transport import TransportUnderTest as TransportUnderTest
    from .oauth_app import OAuthApp as OAuthApp
    from .oauth_app import error_code as error_code
    from .oauth_app import location as location
    from .parts import Browser as Browser
    from .parts import TestParts as TestParts
    from .parts import build_auth as build_auth
    from .permission_resolver import PermissionResolverContract as PermissionResolverContract
    from .policy import PolicyContract as PolicyContract
    from .processes import Workers as Workers
    from .providers import OAuth2ProviderContract as OAuth2ProviderContract
    from .providers import OpenIDProviderContract as OpenIDProviderContract
    from .races import exactly_once as exactly_once
    from .raises import raises_code as raises_code
    from .routes import RoutesContract as RoutesContract
    from .second_factor import SecondFactorContract as SecondFactorContract
    from .sign_up_step import SignUpStepContract as SignUpStepContract
    from .signer import SignerContract as SignerContract
    from .state_store import OpenStore as OpenStore
    from .state_store import StateStoreContract as StateStoreContract
    from .user_directory import UserDirectoryContract as UserDirectoryContract
    from .waiting import Stopwatch as Stopwatch
    from .waiting import wait_until as wait_until

_HOMES = {
    "Browser": "parts",
    "CommandResult": "commands",
    "CredentialStoreContract": "credential_store",
    "EventObserverContract": "event_observer",
    "FakeProvider": "fake_provider",
    "FakeRequest": "fakes",
    "FakeSession": "fakes",
    "FakeUser": "fakes",
    "FrozenClock": "fakes",
    "LoginMethodContract": "login_method",
    "MailTransportContract": "mail_transport",
    "MemoryCredentialStore": "fakes",
    "MemoryUsers": "fakes",
    "OAuth2ProviderContract": "providers",
    "OAuthApp": "oauth_app",
    "OpenCredentialStore": "credential_store",
    "OpenIDProviderContract": "providers",
    "OpenStore": "state_store",
    "PermissionResolverContract": "permission_resolver",
    "PolicyContract": "policy",
    "ReceivedMail": "mail_transport",
    "RoutesContract": "routes",
    "SecondFactorContract": "second_factor",
    "SignUpStepContract": "sign_up_step",
    "SignerContract": "signer",
    "StateStoreContract": "state_store",
    "Stopwatch": "waiting",
    "TestParts": "parts",
    "TransportUnderTest": "mail_transport",
    "UserDirectoryContract": "user_directory",
    "Workers": "processes",
    "asgi_call": "apps",
    "asok_app": "apps",
    "build_auth": "parts",
    "error_code": "oauth_app",
    "exactly_once": "races",
    "location": "oauth_app",
    "raises_code": "raises",
    "run_command": "commands",
    "wait_until": "waiting",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
