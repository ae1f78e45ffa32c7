"""When plugins start and stop, in which order, and what errors do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asok_auth_core.adapters.asok import extension
from asok_auth_core.auth import Auth
from asok_auth_core.plugin import Route, WebResponse, hookimpl
from asok_auth_core.testing import raises_code
from asok_auth_core.testing.apps import asok_app

MakeAuth = Callable[..., Auth]


class Noting:
    """Notes its calls in ``calls``, and raises what it is given."""

    def __init__(
        self,
        name: str,
        calls: list[str],
        on_start: BaseException | None = None,
        on_stop: BaseException | None = None,
    ) -> None:
        self.__name__ = self.name = name
        self.calls, self.on_start, self.on_stop = calls, on_start, on_stop

    @hookimpl
    def asok_auth_start(self, auth: Auth) -> None:
        self.calls.append(f"{self.name} starts")
        if self.on_start is not None:
            raise self.on_start

    @hookimpl
    def asok_auth_stop(self, auth: Auth) -> None:
        # Stores and mail still work.
        auth.state.put(f"stopped:{self.name}", b"1", 60)
        self.calls.append(f"{self.name} stops")
        if self.on_stop is not None:
            raise self.on_stop


def test_plugins_start_in_order_and_stop_in_reverse_once(make_auth: MakeAuth) -> None:
    calls: list[str] = []
    auth = make_auth(plugins=(Noting("one", calls), Noting("two", calls)))
    assert calls == ["one starts", "two starts"]
    auth.plugins.stop(auth)
    auth.plugins.stop(auth)
    assert calls[2:] == ["two stops", "one stops"]


@pytest.mark.parametrize("error", [RuntimeError("no disk"), SystemExit("no disk")], ids=repr)
def test_a_start_that_raises_stops_the_start_up_and_the_others(
    make_auth: MakeAuth, error: BaseException
) -> None:
    calls: list[str] = []
    plugins = (Noting("one", calls), Noting("two", calls, on_start=error), Noting("three", calls))
    with raises_code("plugin") as caught:
        make_auth(plugins=plugins, settings={"STRICT": False, "OPTIONAL_PLUGINS": ["two"]})
    kind = type(error).__name__
    assert f"asok_auth_start of plugin 'two' raised {kind}: no disk. Fix" in caught.value.message
    assert calls == ["one starts", "two starts", "three stops", "two stops", "one stops"]


@pytest.mark.parametrize("error", [RuntimeError("busy"), SystemExit(3)], ids=repr)
def test_a_stop_that_raises_is_logged_and_the_others_are_stopped(
    make_auth: MakeAuth, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    calls: list[str] = []
    auth = make_auth(plugins=(Noting("one", calls), Noting("two", calls, on_stop=error)))
    auth.plugins.stop(auth)
    assert calls[2:] == ["two stops", "one stops"]
    assert "Plugin 'two' failed to stop." in caplog.text


def test_an_app_starts_its_plugins_last_and_stops_them_first(tmp_path: Path) -> None:
    calls: list[str] = []

    class Plugin(Noting):
        @hookimpl
        def asok_auth_routes(self, auth: Auth) -> list[Route]:
            return [Route("/mine", get=lambda request: WebResponse())]

        @hookimpl
        def asok_auth_start(self, auth: Auth) -> None:
            own = [route.path for _, route in auth.routes if route.path == "/mine"]
            calls.append(f"{'token' in auth.login_methods} {own}")

    with asok_app(tmp_path, plugins=[Plugin("one", calls)]) as app:
        assert calls == ["True ['/mine']"]
        app.shutdown()
        assert calls[1:] == ["one stops"]
        app.shutdown()
    assert calls[1:] == ["one stops"]


def test_an_app_that_is_open_at_exit_stops_its_plugins(tmp_path: Path) -> None:
    calls: list[str] = []
    with asok_app(tmp_path, plugins=[Noting("one", calls)]):
        extension._at_exit()
        assert calls == ["one starts", "one stops"]
        extension._at_exit()
    assert calls == ["one starts", "one stops"]


def test_a_start_that_raises_stops_the_app(tmp_path: Path) -> None:
    calls: list[str] = []
    plugin = Noting("one", calls, on_start=RuntimeError("no disk"))
    with (
        raises_code("plugin", match="'one' raised RuntimeError"),
        asok_app(tmp_path, plugins=[plugin]),
    ):
        pass
    assert calls == ["one starts", "one stops"]


SCRIPT = """
import sys
from pathlib import Path
from asok import Asok
from asok_auth_core import AuthExtension
from asok_auth_core.plugin import hookimpl

class Plugin:
    @hookimpl
    def asok_auth_stop(self, auth):
        auth.state.put("stopped", b"1", 60)
        print("stopped", flush=True)

app = Asok(sys.argv[1])
app.config["AUTH"] = {"PLUGINS": [], "MAIL_TRANSPORT": "console"}
app.register_extension(AuthExtension(plugins=[Plugin()]))
print("ends", flush=True)
"""


def test_a_process_that_ends_stops_its_plugins(tmp_path: Path) -> None:
    """A WSGI server does not tell an app that it ends."""
    with asok_app(tmp_path, extension=False):
        pass
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env={**os.environ, "SECRET_KEY": "k" * 40, "DEBUG": "true", "ASOK_CLI": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout.split()[-2:]) == (0, ["ends", "stopped"]), ran.stdout + ran.stderr
