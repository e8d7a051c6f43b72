"""When a run will be done, as far as what was measured says.

The rate is that of the run's own shards, or, before one is done, of late shards of the same
model, in bases that are read: for small regions many more than are computed. Workers are taken to
share themselves evenly among the runs of one kind, small runs before long ones, as `app.dispatch`
has them do.
"""

import time
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Select, bindparam, func, select

from app.config import Settings
from app.database import Reader
from app.dispatch import count_workers
from app.models import ACTIVE_STATES, Computation, Shard
from app.run_facts import ComputationFacts
from app.runs import LEFT_TO_READ, Progress, computation_progress

MEASURED = 30
"""Shards of the same model that a rate is measured over."""

PACE_SECONDS: Final = 1.0
"""For how long the pace of a model is kept: it takes a look at many shards."""

Basis = Literal["this run", "other runs"]
"""What a rate was measured on."""


class Estimate(NamedTuple):
    """What is known of the time that a run still takes."""

    workers: int
    """Live workers that have its model; without one nothing moves."""
    seconds: float | None
    """Until it is complete, with these workers; None where nothing was measured yet, or nobody
    works."""
    basis: Basis | None
    """What the rate was measured on."""


class Pace(NamedTuple):
    """How fast the workers of a model are, and what they have before them."""

    encode: float | None
    """Bases of encode shards that one worker reads in a second; None where none was measured."""
    merge: float | None
    """Bases of results that one worker merges in a second."""
    left: Mapping[str, tuple[int, int]]
    """Bases not read yet and bases to read in all, of each computation that has not ended."""


class Paces:
    """The paces of the last second: those who wait for runs of one model all ask for the same."""

    def __init__(self, seconds: float = PACE_SECONDS) -> None:
        """Know none yet."""
        self._seconds = seconds
        self._known: dict[str, tuple[float, Pace]] = {}

    def of(self, reader: Reader, queue: str) -> Pace:
        """The pace of a model's queue, at most so many seconds old."""
        known = self._known.get(queue)
        if known is None or time.monotonic() - known[0] > self._seconds:
            known = self._known[queue] = (time.monotonic(), read_pace(reader, queue))
        return known[1]


def read_pace(reader: Reader, queue: str) -> Pace:
    """The pace of a model's queue now."""
    rows = reader.execute(_LEFT, {"queue": queue}).all()
    left = {str(name): (int(bases or 0), int(whole)) for name, bases, whole in rows}
    encode = _rate(reader, _DONE_OF_QUEUE, kind="encode", whose=queue)
    merge = _rate(reader, _DONE_OF_QUEUE, kind="merge", whose=queue)
    return Pace(encode, merge, left)


def estimate(
    reader: Reader,
    computation: Computation | ComputationFacts,
    settings: Settings,
    *,
    progress: Progress | None = None,
    paces: Paces | None = None,
) -> Estimate:
    """The time that a computation still takes.

    Parameters
    ----------
    reader : Session or Connection
        Reading is enough.
    computation : Computation or ComputationFacts
        One that has not ended.
    settings : Settings
        Which workers count as alive, and which runs as small.
    progress : Progress, optional
        Of the computation, where it is known already.
    paces : Paces, optional
        Where the pace of the model is looked up; by default it is measured anew.
    """
    workers = count_workers(reader, settings, computation.queue)
    if not workers:
        return Estimate(0, None, None)
    work = (progress or computation_progress(reader, computation)).encode
    pace = (paces or Paces()).of(reader, computation.queue)
    basis: Basis = "this run"
    if work.timed > MEASURED:
        rate = _rate(reader, _DONE_OF_RUN, kind="encode", whose=computation.id)
    else:
        rate = work.timed_bases / work.timed_seconds if work.timed_seconds > 0 else None
    if rate is None:
        basis = "other runs"
        rate = pace.encode
    if rate is None:
        return Estimate(workers, None, None)
    own = work.left
    small = computation.read_bases <= settings.urgent_bases
    before = 0
    for name, (bases, whole) in pace.left.items():
        if name == computation.id:
            continue
        if (whole <= settings.urgent_bases) == small:
            before += min(bases, own)
        elif not small:
            before += bases
    # the last shards cannot be spread over more workers than there are shards
    hands = min(workers, max(1, work.unfinished))
    seconds = own / (rate * hands) + before / (rate * workers)
    if pace.merge is not None:
        seconds += computation.bases / pace.merge
    return Estimate(workers, round(seconds, 1), basis)


# made once: to put a statement together takes as long as the database does for it
_DONE: Final = (
    select(Shard.read_bases, Shard.started_at, Shard.finished_at)
    .where(
        Shard.kind == bindparam("kind"),
        Shard.state == "COMPLETE",
        Shard.started_at.is_not(None),
        Shard.finished_at.is_not(None),
    )
    .order_by(Shard.finished_at.desc())
    .limit(MEASURED)
)
_DONE_OF_RUN: Final = _DONE.where(Shard.computation_id == bindparam("whose"))
_DONE_OF_QUEUE: Final = _DONE.join(Computation).where(Computation.queue == bindparam("whose"))

_LEFT: Final = (
    select(Computation.id, func.sum(LEFT_TO_READ), Computation.read_bases)
    .join(Shard, Shard.computation_id == Computation.id)
    .where(
        Computation.queue == bindparam("queue"),
        Computation.state.in_(sorted(ACTIVE_STATES)),
        Shard.kind == "encode",
    )
    .group_by(Computation.id, Computation.read_bases)
)


def _rate(reader: Reader, done: Select[Any, Any, Any], **words: str) -> float | None:
    """Bases read a second by one worker, over the last shards that were done."""
    rows = reader.execute(done, words).all()
    seconds = sum(end - start for _, start, end in rows)
    return sum(int(bases) for bases, _, _ in rows) / seconds if seconds > 0 else None
