"""Send emails in background threads, retry, and report every attempt.

The request that posts an email waits briefly for the first attempt (:meth:`Delivery.wait`), so that
its page can say "we cannot send email right now" instead of claiming that one is on its way. Retries
do not hold up the request.

Emails wait in memory only, because their login links must not be stored on disk. If the process is
killed they are lost, and the user has to ask again.
"""

from __future__ import annotations

import atexit
import heapq
import logging
import math
import os
import random as ordinary_random
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ..contracts import MailTransport
from ..engine.email_address import email_domain
from ..errors import EmailInvalid, MailError, MailPermanent, MailTemporary
from ..events import Events
from ..types import Clock, OutgoingMail
from .missing import NoTransport

logger = logging.getLogger("asok_auth")

DeliveryState = Literal["pending", "sent", "retrying", "failed"]
"""The state of one mail that was handed to the outbox."""

CAPACITY = 1000
"""Emails that may wait at once; more are rejected, so that an outage does not fill the memory."""
WORKERS = 4
FIRST_RETRY = 1.0
LONGEST_RETRY = 60.0
"""Seconds between two attempts: ``FIRST_RETRY``, doubled each time up to ``LONGEST_RETRY``."""
SHUTDOWN = 5.0
"""Seconds that process exit waits for emails being sent."""


class Delivery:
    """The state of one email's delivery."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._state: DeliveryState = "pending"
        self._error: MailError | None = None

    @property
    def state(self) -> DeliveryState:
        """``pending`` before the first attempt's end; ``sent``, ``retrying``, ``failed``."""
        return self._state

    @property
    def error(self) -> MailError | None:
        """Why the latest attempt failed, or None."""
        return self._error

    def wait(self, seconds: float) -> DeliveryState:
        """Wait for the first attempt, at most ``seconds``; return the state."""
        with self._changed:
            self._changed.wait_for(lambda: self._state != "pending", seconds)
            return self._state

    def _set(self, state: DeliveryState, error: MailError | None) -> None:
        with self._changed:
            self._state, self._error = state, error
            self._changed.notify_all()


@dataclass(order=True, slots=True)
class _Job:
    due: float
    number: int
    mail: OutgoingMail = field(compare=False)
    delivery: Delivery = field(compare=False)
    give_up_at: float = field(compare=False)
    attempts: int = field(default=0, compare=False)


class Outbox:
    """The queue of outgoing emails of one app; threads start with the first.

    ``clock`` is monotonic, in seconds. A temporary failure is retried for ``retry_for`` seconds after
    posting. After a fork the child starts with an empty outbox: the parent sends what it accepted.

    Several threads call ``transport.send`` at the same time.
    """

    def __init__(
        self,
        transport: MailTransport,
        events: Events,
        *,
        clock: Clock = time.monotonic,
        retry_for: float = 600,
        first_retry: float = FIRST_RETRY,
        longest_retry: float = LONGEST_RETRY,
        capacity: int = CAPACITY,
        workers: int = WORKERS,
        jitter: Callable[[], float] = ordinary_random.random,
    ) -> None:
        self._transport = transport
        self._events = events
        self._clock = clock
        self._retry_for = retry_for
        self._first_retry = first_retry
        self._longest_retry = longest_retry
        self._capacity = capacity
        self._most_workers = workers
        self._jitter = jitter
        self._start_empty()
        _outboxes.add(self)

    def _start_empty(self) -> None:
        """Reset to an empty queue, also in a forked child."""
        self._wakeup = threading.Condition()
        self._jobs: list[_Job] = []
        self._posted = 0
        self._in_hand = 0
        self._workers = 0
        self._closed = False
        self._flushed_at = -math.inf

    def __repr__(self) -> str:
        return f"<Outbox of {type(self._transport).__name__}, {len(self)} waiting>"

    @property
    def transport(self) -> MailTransport:
        """The transport that sends the emails."""
        return self._transport

    @property
    def can_send(self) -> bool:
        """False in an app without a mail server: do not post what nothing depends on."""
        return not isinstance(self._transport, NoTransport)

    def __len__(self) -> int:
        """The number of emails that are neither sent nor given up."""
        return len(self._jobs) + self._in_hand

    def post(self, mail: OutgoingMail) -> Delivery:
        """Accept ``mail`` for delivery and return at once.

        Raises MailTemporary if too many are waiting, or after :meth:`close`.
        """
        delivery = Delivery()
        with self._wakeup:
            if self._closed:
                raise MailTemporary("The server is shutting down and no longer accepts email.")
            if len(self) >= self._capacity:
                raise MailTemporary("Too many emails are waiting to be sent. Please try again later.")
            self._ensure_worker()
            now = self._clock()
            self._posted += 1
            job = _Job(now, self._posted, mail, delivery, now + self._retry_for)
            heapq.heappush(self._jobs, job)
            self._wakeup.notify()
        return delivery

    def flush(self, timeout: float) -> int:
        """Attempt everything that waits, with retries; return how many are left.

        Returns when each is sent, given up or due for a retry, at the latest after ``timeout`` seconds.
        """
        with self._wakeup:
            now = self._flushed_at = self._clock()
            for job in self._jobs:
                job.due = min(job.due, now)
            heapq.heapify(self._jobs)
            self._wakeup.notify_all()
            self._wakeup.wait_for(lambda: not self._in_hand and not self._is_due(), timeout)
            return len(self)

    def close(self, timeout: float = SHUTDOWN) -> None:
        """Reject new emails, attempt each waiting one, report the rest as failed."""
        with self._wakeup:
            if self._closed:
                return
            self._closed = True
        self.flush(timeout)
        with self._wakeup:
            left, self._jobs = self._jobs, []
            self._wakeup.notify_all()
        for job in left:
            self._settle(
                job, MailTemporary("The server shut down before the email could be sent."), final=True
            )
        self._transport.close()
        _outboxes.discard(self)

    # -- in the worker threads -------------------------------------------------------------------

    def _ensure_worker(self) -> None:
        """Start another thread if all are busy. Called with the lock held."""
        if self._workers >= min(self._most_workers, len(self) + 1):
            return
        worker = threading.Thread(target=self._work, name="asok-auth-mail", daemon=True)
        try:
            worker.start()
        except RuntimeError:
            if not self._workers:
                raise MailTemporary("No thread could be started to send the email.") from None
        else:
            self._workers += 1

    def _work(self) -> None:
        wakeup = self._wakeup
        while (job := self._next()) is not None:
            try:
                self._attempt(job)
            finally:
                with wakeup:
                    self._in_hand -= 1
                    wakeup.notify_all()

    def _next(self) -> _Job | None:
        """Wait for an email that is due; None when this thread should end."""
        with self._wakeup:
            while not self._is_due():
                if self._closed and not self._jobs:
                    self._workers -= 1
                    return None
                self._wakeup.wait(self._jobs[0].due - self._clock() if self._jobs else None)
            self._in_hand += 1
            return heapq.heappop(self._jobs)

    def _is_due(self) -> bool:
        return bool(self._jobs) and self._jobs[0].due <= self._clock()

    def _attempt(self, job: _Job) -> None:
        job.attempts += 1
        started = self._clock()
        error = self._send(job.mail)
        pause = min(self._longest_retry, self._first_retry * 2 ** (job.attempts - 1))
        due = self._clock() + pause * (0.5 + self._jitter() / 2)
        again = isinstance(error, MailTemporary) and due <= job.give_up_at and not self._closed
        self._settle(job, error, final=not again)
        if again:
            with self._wakeup:
                # A flush during the attempt did not see this job, so it is due at once.
                job.due = self._clock() if started <= self._flushed_at else due
                heapq.heappush(self._jobs, job)

    def _send(self, mail: OutgoingMail) -> MailError | None:
        try:
            self._transport.send(mail)
        except MailError as error:
            return error
        except EmailInvalid as error:
            return MailPermanent(error.message)
        except BaseException as error:  # noqa: BLE001 - a plugin's code must not end this thread
            # Its message and traceback are not logged: a transport may have put the email there.
            name = f"{type(self._transport).__name__} raised {type(error).__name__}"
            logger.error("The mail transport is broken: %s.", name)
            return MailPermanent(f"The mail transport is broken: {name}.")
        return None

    def _settle(self, job: _Job, error: MailError | None, *, final: bool) -> None:
        """Report the outcome; emit the event first, before the page can show it."""
        domain = email_domain(job.mail.to)
        if error is None:
            logger.info("email to a user at %s sent, attempt %d", domain, job.attempts)
        else:
            outcome = "failed" if final else "will be retried"
            logger.warning(
                "email to a user at %s %s, attempt %d: %s", domain, outcome, job.attempts, error.message
            )
        name = "mail.sent" if error is None else "mail.failed" if final else "mail.retrying"
        self._events.emit(name, domain=domain, error=error.code if error else None)
        job.delivery._set("sent" if error is None else "failed" if final else "retrying", error)


_outboxes: weakref.WeakSet[Outbox] = weakref.WeakSet()


def _after_fork() -> None:
    """Reset all outboxes in a forked child, which has none of their threads."""
    for outbox in tuple(_outboxes):
        outbox._start_empty()


def _at_exit() -> None:
    for outbox in tuple(_outboxes):
        outbox.close()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
