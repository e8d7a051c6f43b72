"""When a run will be done, as far as what was measured says.

The rate is that of the run's own shards, or, before one is done, of late shards of the same
model, in bases that are read: for small regions many more than are computed. Workers are taken to
share themselves evenly among the runs of one kind, small runs before long ones, as `app.dispatch`
has them do.
"""

from typing import Final, Literal, NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from app.config import Settings
from app.dispatch import live_workers
from app.models import ACTIVE_STATES, Computation, Shard

MEASURED = 30
"""Shards of the same model that a rate is measured over."""

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


def estimate(session: Session, computation: Computation, settings: Settings) -> Estimate:
    """The time that a computation still takes.

    Parameters
    ----------
    session : Session
        Reading is enough.
    computation : Computation
        One that has not ended.
    settings : Settings
        Which workers count as alive, and which runs as small.
    """
    workers = sum(computation.queue in each.queues for each in live_workers(session, settings))
    if not workers:
        return Estimate(0, None, None)
    basis: Basis = "this run"
    rate = _rate(session, "encode", computation, own=True)
    if rate is None:
        basis = "other runs"
        rate = _rate(session, "encode", computation, own=False)
    if rate is None:
        return Estimate(workers, None, None)
    left = _left(session, computation.queue)
    own, _ = left.pop(computation.id, (0, 0))
    small = computation.read_bases <= settings.urgent_bases
    before = 0
    for bases, whole in left.values():
        if (whole <= settings.urgent_bases) == small:
            before += min(bases, own)
        elif not small:
            before += bases
    # the last shards cannot be spread over more workers than there are shards
    hands = min(workers, max(1, _unfinished(session, computation.id)))
    seconds = own / (rate * hands) + before / (rate * workers)
    merging = _rate(session, "merge", computation, own=False)
    if merging is not None:
        seconds += computation.bases / merging
    return Estimate(workers, round(seconds, 1), basis)


LEFT_TO_READ: Final = Shard.read_bases - Shard.bases_done * Shard.read_bases // Shard.bases
"""Bases of an encode shard that are still to be read."""

# made once: whoever waits for a run asks every second, and to put a statement together takes as
# long as the database does for it
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


def _rate(session: Session, kind: str, computation: Computation, *, own: bool) -> float | None:
    """Bases read a second by one worker, over the last shards that were done."""
    query, whose = (_DONE_OF_RUN, computation.id) if own else (_DONE_OF_QUEUE, computation.queue)
    rows = session.execute(query, {"kind": kind, "whose": whose}).all()
    seconds = sum(end - start for _, start, end in rows if start is not None and end is not None)
    return sum(int(bases) for bases, _, _ in rows) / seconds if seconds > 0 else None


def _left(session: Session, queue: str) -> dict[str, tuple[int, int]]:
    """Bases not read yet and bases to read in all, of each computation of a queue that has not
    ended."""
    rows = session.execute(_LEFT, {"queue": queue}).all()
    return {str(name): (int(left or 0), int(bases)) for name, left, bases in rows}


def _unfinished(session: Session, computation_id: str) -> int:
    """Encode shards that are not complete."""
    return int(
        session.scalar(
            select(func.count())
            .select_from(Shard)
            .where(
                Shard.computation_id == computation_id,
                Shard.kind == "encode",
                Shard.state != "COMPLETE",
            )
        )
        or 0
    )
