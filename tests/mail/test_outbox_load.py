"""Many mails and threads, a failing server: each mail is sent once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import pytest

from asok_auth_core.contracts import MailTransport
from asok_auth_core.errors import MailTemporary
from asok_auth_core.events import Events
from asok_auth_core.mail.outbox import Outbox
from asok_auth_core.testing.waiting import PATIENCE
from asok_auth_core.types import Event, OutgoingMail

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
            self.sent[mail.to] += 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_every_mail_is_sent_once_and_reported_once(seed: int) -> None:
    transport = Shaky(seed)
    finals: Counter[tuple[str, str]] = Counter()
    lock = threading.Lock()

    class Finals:
        def event(self, event: Event) -> None:
            if event.name != "mail.retrying":
                with lock:
                    finals[event.name, str(event.detail["domain"])] += 1

    events = Events(Finals(), time.time)
    outbox = Outbox(transport, events, first_retry=0.001, longest_retry=0.01, capacity=THREADS * EACH)
    start = threading.Barrier(THREADS)

    def post(number: int) -> None:
        start.wait()
        for index in range(EACH):
            outbox.post(OutgoingMail(f"ann@{number}.{index}.example", "Your link", "text"))

    threads = [threading.Thread(target=post, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while outbox.flush(PATIENCE):
        continue
    outbox.close()
    domains = [f"{number}.{index}.example" for number in range(THREADS) for index in range(EACH)]
    assert transport.sent == Counter(f"ann@{domain}" for domain in domains)
    assert finals == Counter(("mail.sent", domain) for domain in domains)
