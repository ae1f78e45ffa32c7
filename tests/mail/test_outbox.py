"""The outbox: what the caller learns, retries, and shutdown."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from asok_auth_core.contracts import MailTransport
from asok_auth_core.errors import EmailInvalid, MailPermanent, MailTemporary
from asok_auth_core.events import Events, Observers
from asok_auth_core.mail.outbox import Delivery, Outbox
from asok_auth_core.mail.smtp import SmtpTransport
from asok_auth_core.plugin import hookimpl
from asok_auth_core.plugins import Plugins
from asok_auth_core.registry import PluginRegistry
from asok_auth_core.testing.waiting import PATIENCE, Stopwatch, wait_until
from asok_auth_core.types import Event, OutgoingMail

MAIL = OutgoingMail("ann@app.example", "Your link", "CANARY-LINK")
BUSY = MailTemporary("The mail server is busy.")
NO_SUCH_USER = MailPermanent("The mail server rejected the recipient (550).")


class Scripted(MailTransport):
    """Raises the given errors one after the other, then takes everything."""

    def __init__(self, *errors: Exception, gate: threading.Event | None = None) -> None:
        self.errors = list(errors)
        self.sent: list[OutgoingMail] = []
        self.attempts = 0
        self.at_once = 0
        self.most_at_once = 0
        self.closed = False
        self.entered = threading.Event()
        self._gate = gate
        self._lock = threading.Lock()

    def send(self, mail: OutgoingMail) -> None:
        with self._lock:
            self.attempts += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.entered.set()
        try:
            if self._gate is not None:
                self._gate.wait(PATIENCE)
            with self._lock:
                if self.errors:
                    raise self.errors.pop(0)
                self.sent.append(mail)
        finally:
            with self._lock:
                self.at_once -= 1

    def close(self) -> None:
        self.closed = True


class Seen:
    """Keeps what happened to the mails, as ``(event, error code)``."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def event(self, event: Event) -> None:
        error = event.detail["error"]
        assert event.detail == {"domain": "app.example", "error": error}
        self.results.append((event.name, error))


Result = tuple[str, object]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def results(seen: Seen) -> list[Result]:
    return seen.results


@pytest.fixture
def make_outbox(seen: Seen) -> Iterator[Callable[..., Outbox]]:
    made: list[Outbox] = []

    def make(transport: MailTransport, observers: Observers = seen, **options: object) -> Outbox:
        given = {"retry_for": 600.0, "first_retry": 0.02, **options}
        made.append(Outbox(transport, Events(observers, time.time), **given))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for outbox in made:
        outbox.close(1)


def _settled(delivery: Delivery) -> str:
    """The last state of a delivery, waited for."""
    wait_until(lambda: delivery.state not in ("pending", "retrying"), "a delivery that ends")
    return delivery.state


def test_a_successful_mail_is_sent_and_reported_once(
    make_outbox: Callable[..., Outbox], results: list[Result]
) -> None:
    transport = Scripted()
    delivery = make_outbox(transport).post(MAIL)
    assert delivery.wait(PATIENCE) == "sent"
    assert delivery.error is None
    assert transport.sent == [MAIL]
    assert results == [("mail.sent", None)]


def test_a_temporary_failure_is_reported_at_once_and_retried(
    make_outbox: Callable[..., Outbox], results: list[Result]
) -> None:
    transport = Scripted(BUSY, BUSY)
    outbox = make_outbox(transport, first_retry=60)
    delivery = outbox.post(MAIL)
    assert delivery.wait(PATIENCE) == "retrying"
    assert delivery.error is BUSY
    assert outbox.flush(PATIENCE) == 1
    assert outbox.flush(PATIENCE) == 0
    assert delivery.state == "sent"
    assert delivery.error is None
    assert results == [("mail.retrying", BUSY.code), ("mail.retrying", BUSY.code), ("mail.sent", None)]


def test_a_permanent_failure_is_not_retried(
    make_outbox: Callable[..., Outbox], results: list[Result]
) -> None:
    transport = Scripted(NO_SUCH_USER)
    delivery = make_outbox(transport).post(MAIL)
    assert delivery.wait(PATIENCE) == "failed"
    assert delivery.error is NO_SUCH_USER
    time.sleep(0.1)
    assert transport.attempts == 1
    assert results == [("mail.failed", NO_SUCH_USER.code)]


def test_it_gives_up_after_the_retry_period(
    make_outbox: Callable[..., Outbox], results: list[Result]
) -> None:
    transport = Scripted(*[BUSY] * 1000)
    delivery = make_outbox(transport, retry_for=0.2).post(MAIL)
    assert _settled(delivery) == "failed"
    assert transport.attempts <= 10
    assert [name for name, _ in results] == ["mail.retrying"] * (len(results) - 1) + ["mail.failed"]


class Timed(Scripted):
    """Notes when each attempt began."""

    def __init__(self, failures: int) -> None:
        super().__init__(*[BUSY] * failures)
        self.started: list[float] = []

    def send(self, mail: OutgoingMail) -> None:
        self.started.append(time.monotonic())
        super().send(mail)

    @property
    def pauses(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self.started)]


def test_retry_delays_double(make_outbox: Callable[..., Outbox]) -> None:
    transport = Timed(4)
    assert _settled(make_outbox(transport, first_retry=0.04, jitter=lambda: 1.0).post(MAIL)) == "sent"
    for pause, at_least in zip(transport.pauses, [0.04, 0.08, 0.16, 0.32], strict=True):
        assert pause >= at_least


def test_retry_delays_are_capped(make_outbox: Callable[..., Outbox]) -> None:
    transport = Timed(9)
    outbox = make_outbox(transport, first_retry=0.03, longest_retry=0.03, retry_for=60, jitter=lambda: 1.0)
    with Stopwatch() as watch:
        assert _settled(outbox.post(MAIL)) == "sent"
    assert watch.seconds < 0.03 * 2**8


def test_retry_delays_have_jitter(make_outbox: Callable[..., Outbox]) -> None:
    transport = Timed(1)
    with Stopwatch() as watch:
        assert _settled(make_outbox(transport, first_retry=1, jitter=lambda: 0.0).post(MAIL)) == "sent"
    assert transport.pauses[0] >= 0.5
    assert watch.seconds < 1


def test_a_caller_waits_no_longer_than_its_timeout(make_outbox: Callable[..., Outbox]) -> None:
    gate = threading.Event()
    delivery = make_outbox(Scripted(gate=gate)).post(MAIL)
    with Stopwatch() as watch:
        assert delivery.wait(0.1) == "pending"
    assert watch.seconds < 1
    gate.set()
    assert delivery.wait(PATIENCE) == "sent"


def test_posting_does_not_wait_for_the_server(make_outbox: Callable[..., Outbox]) -> None:
    gate = threading.Event()
    transport = Scripted(gate=gate)
    outbox = make_outbox(transport)
    deliveries = [outbox.post(MAIL) for _ in range(50)]
    assert transport.sent == []
    gate.set()
    assert [delivery.wait(PATIENCE) for delivery in deliveries] == ["sent"] * 50


def test_one_slow_mail_does_not_delay_the_others_and_threads_are_bounded(
    make_outbox: Callable[..., Outbox],
) -> None:
    gate = threading.Event()
    transport = Scripted(gate=gate)
    outbox = make_outbox(transport, workers=3)
    deliveries = [outbox.post(MAIL) for _ in range(10)]
    wait_until(lambda: transport.at_once == 3, "three threads")
    gate.set()
    assert {delivery.wait(PATIENCE) for delivery in deliveries} == {"sent"}
    assert transport.most_at_once == 3


def test_a_full_outbox_is_an_error_and_loses_nothing(make_outbox: Callable[..., Outbox]) -> None:
    gate = threading.Event()
    transport = Scripted(gate=gate)
    outbox = make_outbox(transport, capacity=5)
    deliveries = [outbox.post(MAIL) for _ in range(5)]
    with pytest.raises(MailTemporary, match="Too many"):
        outbox.post(MAIL)
    gate.set()
    assert [delivery.wait(PATIENCE) for delivery in deliveries] == ["sent"] * 5
    assert outbox.flush(PATIENCE) == 0
    assert outbox.post(MAIL).wait(PATIENCE) == "sent"


def test_mails_awaiting_a_retry_count_as_waiting(make_outbox: Callable[..., Outbox]) -> None:
    outbox = make_outbox(Scripted(BUSY, BUSY), capacity=2, first_retry=60, retry_for=600)
    assert {outbox.post(MAIL).wait(PATIENCE), outbox.post(MAIL).wait(PATIENCE)} == {"retrying"}
    assert len(outbox) == 2
    with pytest.raises(MailTemporary):
        outbox.post(MAIL)


@pytest.mark.requirement("SECURITY-30", "SECURITY-32")
@pytest.mark.parametrize(
    "error", [RuntimeError("CANARY-LINK"), KeyError("CANARY-LINK"), TypeError(), SystemExit("CANARY-LINK")]
)
def test_a_broken_transport_fails_the_mail_not_the_outbox(
    make_outbox: Callable[..., Outbox], caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    outbox = make_outbox(Scripted(error))
    delivery = outbox.post(MAIL)
    assert delivery.wait(PATIENCE) == "failed"
    assert isinstance(delivery.error, MailPermanent)
    assert type(error).__name__ in delivery.error.message
    assert outbox.post(MAIL).wait(PATIENCE) == "sent"
    assert "CANARY" not in caplog.text + delivery.error.message


def test_a_rejected_email_is_a_permanent_failure(make_outbox: Callable[..., Outbox]) -> None:
    delivery = make_outbox(Scripted(EmailInvalid("Please enter one mail address."))).post(MAIL)
    assert delivery.wait(PATIENCE) == "failed"
    assert isinstance(delivery.error, MailPermanent)


def test_an_observer_that_raises_changes_nothing(make_outbox: Callable[..., Outbox]) -> None:
    class Raises:
        @hookimpl
        def asok_auth_event(self, event: Event) -> None:
            raise RuntimeError(event.name)

    registry = PluginRegistry()
    registry.register(Raises())
    outbox = make_outbox(Scripted(BUSY), observers=Plugins(registry))
    delivery = outbox.post(MAIL)
    assert _settled(delivery) == "sent"
    assert outbox.post(MAIL).wait(PATIENCE) == "sent"


def test_the_observer_is_called_before_the_caller_gets_the_result(make_outbox: Callable[..., Outbox]) -> None:
    """The event exists before the caller learns the outcome."""
    told: list[bool] = []

    class Slow:
        def event(self, event: Event) -> None:
            time.sleep(0.1)
            told.append(True)

    assert make_outbox(Scripted(), observers=Slow()).post(MAIL).wait(PATIENCE) == "sent"
    assert told == [True]


@pytest.mark.requirement("SECURITY-30")
def test_the_log_holds_no_email_subject_or_link(
    make_outbox: Callable[..., Outbox], caplog: pytest.LogCaptureFixture
) -> None:
    mail = OutgoingMail("canary@app.example", "CANARY", "CANARY", "CANARY")
    with caplog.at_level(logging.DEBUG):
        outbox = make_outbox(Scripted(BUSY, NO_SUCH_USER, RuntimeError("CANARY")))
        for _ in range(3):
            _settled(outbox.post(mail))
    assert "app.example" in caplog.text
    assert "canary" not in caplog.text.lower()
    assert "canary" not in repr(outbox).lower()


def test_flush_waits_for_mails_being_sent(make_outbox: Callable[..., Outbox]) -> None:
    gate = threading.Event()
    outbox = make_outbox(Scripted(gate=gate))
    for _ in range(10):
        outbox.post(MAIL)
    assert outbox.flush(0.1) == 10
    threading.Timer(0.1, gate.set).start()
    assert outbox.flush(PATIENCE) == 0


def test_flush_retries_waiting_mails_at_once(make_outbox: Callable[..., Outbox]) -> None:
    transport = Scripted(BUSY)
    outbox = make_outbox(transport, first_retry=60, retry_for=600)
    delivery = outbox.post(MAIL)
    assert delivery.wait(PATIENCE) == "retrying"
    assert outbox.flush(PATIENCE) == 0
    assert delivery.state == "sent"


def test_close_makes_one_last_attempt_and_reports_the_rest(
    make_outbox: Callable[..., Outbox], results: list[Result]
) -> None:
    transport = Scripted(BUSY, BUSY, BUSY)
    outbox = make_outbox(transport, first_retry=60, retry_for=600)
    first, second = outbox.post(MAIL), outbox.post(MAIL)
    assert {first.wait(PATIENCE), second.wait(PATIENCE)} == {"retrying"}
    outbox.close(PATIENCE)
    assert sorted([first.state, second.state]) == ["failed", "sent"]
    names = [name for name, _ in results]
    assert (names[:2], sorted(names[2:])) == (["mail.retrying"] * 2, ["mail.failed", "mail.sent"])
    assert transport.closed
    with pytest.raises(MailTemporary, match="shutting down"):
        outbox.post(MAIL)
    outbox.close(PATIENCE)


def test_a_mail_whose_attempt_fails_during_the_flush_is_retried(
    make_outbox: Callable[..., Outbox],
) -> None:
    gate = threading.Event()
    transport = Scripted(BUSY, gate=gate)
    outbox = make_outbox(transport, first_retry=60, retry_for=600)
    delivery = outbox.post(MAIL)
    assert transport.entered.wait(PATIENCE)
    threading.Timer(0.1, gate.set).start()
    assert outbox.flush(PATIENCE) == 0
    assert delivery.state == "sent"
    assert transport.attempts == 2


def test_close_does_not_exceed_its_timeout(make_outbox: Callable[..., Outbox], results: list[Result]) -> None:
    gate = threading.Event()
    transport = Scripted(gate=gate)
    outbox = make_outbox(transport, workers=1)
    deliveries = [outbox.post(MAIL) for _ in range(3)]
    assert transport.entered.wait(PATIENCE)
    with Stopwatch() as watch:
        outbox.close(0.2)
    assert watch.seconds < 1
    assert [delivery.state for delivery in deliveries] == ["pending", "failed", "failed"]
    assert len(results) == 2
    gate.set()
    assert deliveries[0].wait(PATIENCE) == "sent"


def test_no_thread_runs_before_the_first_mail_or_after_closing(
    make_outbox: Callable[..., Outbox],
) -> None:
    def mail_threads() -> int:
        return sum(thread.name == "asok-auth-mail" for thread in threading.enumerate())

    before = mail_threads()
    outbox = make_outbox(Scripted())
    assert mail_threads() == before
    outbox.post(MAIL).wait(PATIENCE)
    assert mail_threads() == before + 1
    outbox.close(PATIENCE)
    wait_until(lambda: mail_threads() == before, "the threads to end")


def test_mails_posted_by_many_threads_are_each_sent_once(
    make_outbox: Callable[..., Outbox], results: list[Result]
) -> None:
    transport = Scripted(*[BUSY] * 20)
    outbox = make_outbox(transport)
    start = threading.Barrier(8)

    def post(number: int) -> None:
        start.wait()
        for index in range(25):
            outbox.post(OutgoingMail("ann@app.example", f"{number}/{index}", "text"))

    threads = [threading.Thread(target=post, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while outbox.flush(PATIENCE):
        continue
    assert sorted(mail.subject for mail in transport.sent) == sorted(
        f"{n}/{i}" for n in range(8) for i in range(25)
    )
    assert sum(error is None for _, error in results) == 200


def test_a_4xx_then_ok_through_real_smtp(make_outbox: Callable[..., Outbox], server: SimpleNamespace) -> None:
    server.inbox.data_replies.append("451 4.3.0 try later")
    outbox = make_outbox(SmtpTransport(server.settings()), first_retry=60)
    delivery = outbox.post(MAIL)
    assert delivery.wait(PATIENCE) == "retrying"
    assert outbox.flush(PATIENCE) == 0
    assert delivery.state == "sent"
    assert len(server.inbox.envelopes) == 1


def test_a_slow_server_does_not_block_the_caller(
    make_outbox: Callable[..., Outbox], server: SimpleNamespace
) -> None:
    server.inbox.gate.clear()
    outbox = make_outbox(SmtpTransport(server.settings()))
    assert outbox.post(MAIL).wait(0.1) == "pending"
    server.inbox.gate.set()
    assert outbox.flush(PATIENCE) == 0
    assert len(server.inbox.envelopes) == 1


def test_a_server_that_comes_back_gets_the_mail(
    make_outbox: Callable[..., Outbox], start_server: Callable[..., SimpleNamespace]
) -> None:
    server = start_server()
    server.stop()
    outbox = make_outbox(SmtpTransport(server.settings()), first_retry=60)
    delivery = outbox.post(MAIL)
    assert delivery.wait(PATIENCE) == "retrying"
    assert "refused the connection" in str(delivery.error)
    again = start_server(server.inbox, at_port=server.port)
    assert outbox.flush(PATIENCE) == 0
    assert delivery.state == "sent"
    assert len(again.inbox.envelopes) == 1


def _run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    preamble = """
    import os, sys, threading, time
    from asok_auth_core.events import Events
    from asok_auth_core.mail.file import FileTransport
    from asok_auth_core.mail.outbox import Outbox
    from asok_auth_core.plugins import Plugins
    from asok_auth_core.registry import PluginRegistry
    from asok_auth_core.settings import MailSettings
    from asok_auth_core.types import OutgoingMail

    class Slow(FileTransport):
        def send(self, mail):
            time.sleep(0.01)
            super().send(mail)

    mail = OutgoingMail("ann@app.example", "Your link", "text")
    outbox = Outbox(Slow(MailSettings(directory=sys.argv[1])), Events(Plugins(PluginRegistry()), time.time))
    """
    return _python(textwrap.dedent(preamble) + textwrap.dedent(code), folder)


def _python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = textwrap.dedent(code)
    arguments = [sys.executable, "-W", "error", "-c", script, str(folder)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "raise RuntimeError"])
def test_mails_being_sent_are_finished_before_the_process_ends(tmp_path: Path, ending: str) -> None:
    shown = _run(f"for _ in range(12): outbox.post(mail)\n{ending}", tmp_path)
    assert shown.returncode == {"": 0, "sys.exit(3)": 3}.get(ending, 1), shown.stderr
    assert len(list(tmp_path.glob("*.eml"))) == 12


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_does_not_resend_the_parents_mails(tmp_path: Path) -> None:
    code = """
    for _ in range(12): outbox.post(mail)
    child = os.fork()
    if child == 0:
        assert len(outbox) == 0
        for _ in range(3): outbox.post(mail)
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
    """
    shown = _run(
        "import warnings\nwarnings.simplefilter('ignore', DeprecationWarning)\n" + textwrap.dedent(code),
        tmp_path,
    )
    assert shown.returncode == 0, shown.stderr
    assert len(list(tmp_path.glob("*.eml"))) == 15


@pytest.mark.parametrize(
    ("module", "transport"),
    [
        ("file", "FileTransport(settings)"),
        ("smtp", "SmtpTransport(settings)"),
        ("console", "ConsoleTransport(settings, debug=True)"),
    ],
)
def test_sending_imports_nothing(
    module: str, transport: str, tmp_path: Path, start_server: Callable[..., SimpleNamespace]
) -> None:
    """A child forked during an import would wait forever in its own import."""
    code = f"""
    import sys
    from asok_auth_core.mail.{module} import *
    from asok_auth_core.settings import MailSettings
    from asok_auth_core.types import OutgoingMail

    settings = MailSettings(
        directory=sys.argv[1],
        host="localhost",
        port={start_server().port},
        security="none",
        sender="auth@app.example",
    )
    transport = {transport}
    before = set(sys.modules)
    transport.send(OutgoingMail("ann@app.example", "Lïnk", "tëxt", "<p>tëxt"))
    sys.exit(", ".join(sorted(set(sys.modules) - before)) or None)
    """
    shown = _python(code, tmp_path)
    assert shown.returncode == 0, shown.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_the_outbox_is_locked_does_not_hang_the_child(tmp_path: Path) -> None:
    code = """
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    outbox._wakeup.acquire()
    child = os.fork()
    if child == 0:
        sys.exit(0 if outbox.post(mail).wait(60) == "sent" else 1)
    outbox._wakeup.release()
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
    """
    shown = _run(code, tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert len(list(tmp_path.glob("*.eml"))) == 1


def test_a_process_that_cannot_start_threads_rejects_mails(
    make_outbox: Callable[..., Outbox], results: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    transport = Scripted(gate=gate)
    outbox = make_outbox(transport)

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limit:
        limit.setattr(threading.Thread, "start", start)
        with pytest.raises(MailTemporary, match="No thread could be started"):
            outbox.post(MAIL)
    assert len(outbox) == 0
    first = outbox.post(MAIL)
    assert transport.entered.wait(PATIENCE)
    with monkeypatch.context() as limit:
        limit.setattr(threading.Thread, "start", start)
        second = outbox.post(MAIL)  # waits for the thread that there is
    gate.set()
    assert [first.wait(PATIENCE), second.wait(PATIENCE)] == ["sent", "sent"]
    assert transport.most_at_once == 1
