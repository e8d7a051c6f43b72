"""The dispatcher: every second, messages for the work that is due; now and then, old runs leave.

Every `saetrack serve` has one; a row in the database says whose turn it is. When that one dies,
another takes over within `LEASE_SECONDS`.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from celery import Celery
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from annotations.errors import StorageError
from app.analysis_leases import due_analyses, fail_exhausted_analyses
from app.broker import publish, publish_analysis
from app.config import Settings
from app.database import transaction
from app.dispatch import due, fail_exhausted, leave_job, live_queues, take_job
from app.retention import delete_expired
from app.storage import open_storage

DISPATCH = "dispatch"
"""Name of the job in the database."""

DISPATCH_SECONDS = 1.0
"""How often shards that are due get a message."""

EXPIRY_SECONDS = 60.0
"""How often it is looked for runs whose time is over."""

EXPIRY_RUNS = 5
"""Runs deleted at once: a server that is told to stop must not wait long for that."""

LEASE_SECONDS = 5.0
"""How long a dispatcher that has died keeps others from its job."""


@dataclass
class Dispatcher:
    """Sends messages for work that is due, fails what was tried too often, deletes what is old."""

    settings: Settings
    engine: Engine
    producer: Celery
    say: Callable[[str], None]
    owner: str
    """A name that no other process has: only one dispatches at a time."""
    next_at: float = 0.0
    expiry_at: float = 0.0
    """When to look for runs whose time is over (monotonic)."""
    expiry: threading.Thread | None = None
    """Deletes such runs."""
    broken: bool = field(default=False)
    """Whether the last round failed; said once, not every second."""

    def tick(self) -> None:
        """One round, if a second has passed since the last."""
        now = time.monotonic()
        if now < self.next_at:
            return
        self.next_at = now + DISPATCH_SECONDS
        try:
            self.dispatch()
        except (SQLAlchemyError, BrokerError, OSError) as error:
            if not self.broken:
                self.say(f"cannot send work to the workers, trying again: {type(error).__name__}")
            self.broken = True
        else:
            self.broken = False

    def dispatch(self) -> int:
        """Send the messages that are due now, if no other process does; returns how many."""
        with transaction(self.engine) as session:
            if not take_job(session, DISPATCH, self.owner, LEASE_SECONDS):
                return 0
            fail_exhausted(session, self.settings)
            fail_exhausted_analyses(session, self.settings)
            ready = due(session, self.settings)
            alive = live_queues(session, self.settings)
            asked = due_analyses(session, self.settings, alive=alive)
        for item in ready:
            publish(self.producer, item.shard_id, queue=item.queue)
        for question in asked:
            publish_analysis(self.producer, question.analysis_id, queue=question.queue)
        self.expire()
        return len(ready) + len(asked)

    def expire(self) -> None:
        """Begin to delete some of the runs whose time is over, if it is time to look for them.

        That is done beside: an object store may take its time, and the supervisor has children
        to look after.
        """
        if not self.settings.keep_days or time.monotonic() < self.expiry_at:
            return
        if self.expiry is not None and self.expiry.is_alive():
            return
        self.expiry_at = time.monotonic() + EXPIRY_SECONDS
        self.expiry = threading.Thread(target=self._delete_expired, name="expiry", daemon=True)
        self.expiry.start()

    def _delete_expired(self) -> None:
        try:
            storage = open_storage(self.settings, patience=LEASE_SECONDS)
            delete_expired(self.engine, storage, self.settings, limit=EXPIRY_RUNS)
        except (StorageError, OSError, SQLAlchemyError) as error:
            self.say(f"cannot delete files of a run whose time is over: {type(error).__name__}")

    def leave(self) -> None:
        """Let another process dispatch at once."""
        if self.expiry is not None:
            self.expiry.join(LEASE_SECONDS)
        try:
            with transaction(self.engine) as session:
                leave_job(session, DISPATCH, self.owner)
        except SQLAlchemyError as error:
            self.say(f"the dispatcher could not sign off: {type(error).__name__}")
