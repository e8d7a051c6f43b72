"""How often one may ask, and how much may wait: what keeps one user from taking the server.

Rates are counted by the library `limits`: in memory, or in Redis where that is the broker, so
that several web processes count together. While Redis is away each process counts for itself:
Redis may go at any time, and takes no answer with it. What waits is counted in the database.
"""

import logging
import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.errors import StorageError as CounterAway
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotations.errors import QuotaError
from app.config import Settings
from app.models import ACTIVE_STATES, Computation, Run
from app.retention import stored_bytes

T = TypeVar("T")

log = logging.getLogger(__name__)

WRONG_TOKENS_PER_MINUTE: Final = 30
"""Unknown tokens from one address, after which it has to wait."""

REDIS_SECONDS: Final = 0.5
"""How long a request waits for Redis to count it."""

AWAY_SECONDS: Final = 10.0
"""After which Redis is asked again, where it did not answer."""

VERDICT_SECONDS: Final = 1.0
"""For how long an address that may ask is not looked up in Redis again, unless it sends an unknown
token to this process."""

VERDICTS: Final = 10_000
"""Addresses remembered so."""

RETRY_SECONDS: Final = 60
"""After which it may be worth while to submit again."""


class Refused(NamedTuple):
    """Too much was asked."""

    said: str
    seconds: int
    """After which to ask again."""


class RateLimits:
    """Counts requests; a limit of 0 is none.

    Parameters
    ----------
    settings : Settings
        `requests_per_minute` and `submissions_per_hour`.
    """

    def __init__(self, settings: Settings) -> None:
        """Count in Redis if that is the broker, else in this process."""
        is_redis = settings.broker_url.startswith(("redis://", "rediss://"))
        self._own = MovingWindowRateLimiter(storage_from_string("memory://"))
        self._shared = None
        if is_redis:
            # without these a request would wait minutes for a machine that is gone
            waits = {"socket_connect_timeout": REDIS_SECONDS, "socket_timeout": REDIS_SECONDS}
            counter = storage_from_string(settings.broker_url, wrap_exceptions=True, **waits)
            self._shared = MovingWindowRateLimiter(counter)
        self._away_until = 0.0
        self._innocent: dict[str, float] = {}
        """Until when an address counts as one that may ask (monotonic)."""
        self._requests = _limit(RateLimitItemPerMinute, settings.requests_per_minute)
        self._submissions = _limit(RateLimitItemPerHour, settings.submissions_per_hour)
        self._wrong = RateLimitItemPerMinute(WRONG_TOKENS_PER_MINUTE)

    def request(self, key: str) -> Refused | None:
        """Count a request of a token or an address."""
        return self._count(self._requests, "requests", key)

    def submission(self, key: str) -> Refused | None:
        """Count a submission of an owner."""
        return self._count(self._submissions, "submissions", key)

    def count_wrong_token(self, address: str) -> None:
        """Count an unknown token."""
        self._innocent.pop(address, None)
        self._ask(lambda limiter: limiter.hit(self._wrong, "wrong", address))

    def wrong_token(self, address: str) -> Refused | None:
        """Whether an address sent too many unknown tokens."""
        at = time.monotonic()
        if self._innocent.get(address, 0.0) > at:
            return None
        if self._ask(lambda limiter: limiter.test(self._wrong, "wrong", address)):
            if len(self._innocent) >= VERDICTS:
                self._innocent.clear()
            self._innocent[address] = at + VERDICT_SECONDS
            return None
        return self._refused(self._wrong, "unknown tokens", "wrong", address)

    def _count(self, item: RateLimitItem | None, what: str, key: str) -> Refused | None:
        if item is None or self._ask(lambda limiter: limiter.hit(item, what, key)):
            return None
        return self._refused(item, what, what, key)

    def _refused(self, item: RateLimitItem, said: str, *identifiers: str) -> Refused:
        stats = self._ask(lambda limiter: limiter.get_window_stats(item, *identifiers))
        seconds = max(1, math.ceil(stats.reset_time - time.time()))
        return Refused(f"at most {item.amount} {said} per {item.GRANULARITY.name}", seconds)

    def _ask(self, work: Callable[[MovingWindowRateLimiter], T]) -> T:
        """Ask Redis, or this process's own counts where there is none or it is away."""
        if self._shared is not None and time.monotonic() >= self._away_until:
            try:
                return work(self._shared)
            except CounterAway:
                log.warning("Redis does not answer; this process counts requests for itself")
                self._away_until = time.monotonic() + AWAY_SECONDS
        return work(self._own)


def _limit(kind: type[RateLimitItem], amount: int) -> RateLimitItem | None:
    return kind(amount) if amount else None


def check_quota(
    session: Session, settings: Settings, owner: str, bases: int, new_bytes: int
) -> None:
    """Refuse a submission of an owner for whom too much waits or is stored already.

    Parameters
    ----------
    session : Session
        Reading is enough.
    settings : Settings
        `max_queued_runs`, `max_queued_bases` and `max_stored_bytes`; 0 is no limit.
    owner : str
        Who submits.
    bases : int
        That are read for the submission.
    new_bytes : int
        Of the files of the submission; those of its results are not known yet.

    Raises
    ------
    QuotaError
        If the owner's runs that are not at their end, with this one, are too many or too long,
        or the stored files of all of them are too large.
    """
    if settings.max_stored_bytes:
        stored = stored_bytes(session, owner)
        if stored + new_bytes > settings.max_stored_bytes:
            raise QuotaError(
                f"your runs have {stored:,} bytes of stored files; with the {new_bytes:,} of this "
                f"submission they would be more than the {settings.max_stored_bytes:,} that may "
                "be; delete runs that you no longer need (DELETE /v1/runs/{id})",
                seconds=RETRY_SECONDS,
            )
    if not (settings.max_queued_runs or settings.max_queued_bases):
        return
    active = session.scalars(
        select(Computation.read_bases)
        .select_from(Run)
        .join(Computation)
        .where(
            Run.owner == owner,
            Run.canceled_at.is_(None),
            Computation.state.in_(sorted(ACTIVE_STATES)),
        )
    ).all()
    runs = len(active)
    waiting = sum(int(bases) for bases in active)
    if settings.max_queued_runs and runs + 1 > settings.max_queued_runs:
        raise QuotaError(
            f"{runs} of your runs are not at their end, and at most {settings.max_queued_runs} may "
            "be; wait for some, or cancel them",
            seconds=RETRY_SECONDS,
        )
    if settings.max_queued_bases and waiting + bases > settings.max_queued_bases:
        raise QuotaError(
            f"{waiting:,} bases of your runs are not at their end; with the {bases:,} of this "
            f"one they would be more than the {settings.max_queued_bases:,} that may be; wait for "
            "some, or cancel them",
            seconds=RETRY_SECONDS,
        )
