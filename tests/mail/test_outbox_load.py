"""Many mails, many threads, a server that often fails: every mail goes out exactly once."""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest

from asok_auth_core.contracts import MailTransport
from asok_auth_core.errors import MailError, MailTemporary
from asok_auth_core.mail.outbox import Outbox
from asok_auth_core.types import OutgoingMail

THREADS, EACH = 16, 500


class Shaky(MailTransport):
    """Fails for now in four of ten attempts."""

    def __init__(self, seed: int) -> None:
        self.sent: Counter[str] = Counter()
        self._dice = random.Random(seed)
        self._lock = threading.Lock()

    def send(self, mail: OutgoingMail) -> None:
        with self._lock:
            if self._dice.random() < 0.4:
                raise MailTemporary("The mail server is busy.")
            self.sent[mail.subject] += 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_every_mail_is_sent_once_and_reported_once(seed: int) -> None:
    transport = Shaky(seed)
    finals: Counter[str] = Counter()
    lock = threading.Lock()

    def on_result(mail: OutgoingMail, error: MailError | None, final: bool) -> None:
        if final:
            assert error is None
            with lock:
                finals[mail.subject] += 1

    outbox = Outbox(
        transport, on_result=on_result, first_retry=0.001, longest_retry=0.01, capacity=THREADS * EACH
    )
    start = threading.Barrier(THREADS)

    def post(number: int) -> None:
        start.wait()
        for index in range(EACH):
            outbox.post(OutgoingMail("ann@app.example", f"{number}/{index}", "text"))

    threads = [threading.Thread(target=post, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while outbox.flush(5):
        continue
    outbox.close()
    expected = Counter({f"{number}/{index}": 1 for number in range(THREADS) for index in range(EACH)})
    assert transport.sent == expected
    assert finals == expected
