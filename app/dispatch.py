"""Dispatch: which shards get a message now, and which workers are alive to take them.

A shard is sent when it is free and can start, and again when no worker has acted on its
message; `app.shards` says what becomes of it then.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Float,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.analysis_leases import release_analyses
from app.broker import queue_name
from app.config import Settings
from app.database import Reader, database_time, is_over, is_recent, now
from app.models import ACTIVE_STATES, Computation, Shard, SoleJob, Worker
from app.shards import (
    can_start,
    changed,
    fail_computation,
    is_free,
    lock_computation_of,
    returned,
)

MESSAGES_PER_WORKER = 2
"""Messages kept in flight for each live worker: one at work, one waiting."""


LONGEST_JOB: Final = 60.0
"""Seconds for which a job may be kept without asking again."""

MEASURED: Final = 5
"""Shards of long runs whose time says how often one is to start."""


class Due(NamedTuple):
    """A shard to send a message for."""

    shard_id: int
    queue: str
    """Of the broker."""


class WorkerStatus(NamedTuple):
    """What a worker says of itself, since it started."""

    shards: int = 0
    """Shards it completed."""
    failures: int = 0
    """Attempts that failed."""
    bases: int = 0
    """Bases of the encode shards it completed."""
    gpu_bytes: int | None = None
    """GPU memory it holds; None on a CPU."""
    gpu_total_bytes: int | None = None


def release(session: Session, owner: str, *, stopped: bool = False) -> int:
    """End the leases of a worker that is known to be dead, so that its work goes on at once.

    Parameters
    ----------
    session : Session
        A writing transaction.
    owner : str
        Id of the worker.
    stopped : bool
        Whether it was told to stop: then the attempts do not count. One that died by
        itself may have died of its shard.

    Returns
    -------
    shards : int
        How many shards it held.
    """
    values = returned() if stopped else {"lease_until": 0.0, "published_at": None, "bases_done": 0}
    result = session.execute(
        update(Shard).where(Shard.state == "RUNNING", Shard.lease_owner == owner).values(values),
        execution_options={"synchronize_session": False},
    )
    release_analyses(session, owner, stopped=stopped)
    session.execute(delete(Worker).where(Worker.id == owner))
    return cast("CursorResult[Any]", result).rowcount


def due(session: Session, settings: Settings, *, limit: int | None = None) -> list[Due]:
    """Shards to send a message for now; they count as sent when this is committed.

    Free shards of all computations take turns, and a merge comes as soon as it can run. Small
    computations have a queue of their own, which workers read first. A message that no worker
    acted on is sent again, but only while a worker is alive, so that a long wait for one does
    not pile up messages; one shard of a long computation is sent with those of small ones then,
    where long ones get less than `Settings.long_share` of the workers' time.

    Parameters
    ----------
    session : Session
        A writing transaction. Commit before sending.
    settings : Settings
        How long to wait before a message is sent again, and what is small.
    limit : int, optional
        Most shards of each queue; by default what keeps `MESSAGES_PER_WORKER` in flight.

    Returns
    -------
    due : list of Due
        In the order to send.
    """
    recent = is_recent(Shard.published_at, settings.republish_seconds)
    small = Computation.read_bases <= settings.urgent_bases
    active = Computation.state.in_(ACTIVE_STATES)
    alive = live_queues(session, settings)
    in_flight: Counter[tuple[str, bool]] = Counter()
    for queue, bases, count in session.execute(
        select(Computation.queue, Computation.read_bases, func.count())
        .select_from(Shard)
        .join(Computation)
        .where(Shard.state == "QUEUED", recent)
        .group_by(Computation.queue, Computation.read_bases)
    ):
        in_flight[queue, bases <= settings.urgent_bases] += count
    found: list[Due] = []
    for queue in session.scalars(select(Computation.queue).where(active).distinct()).all():
        unsent: ColumnElement[bool] = Shard.published_at.is_(None)
        if alive[queue]:
            unsent = or_(unsent, ~recent)
        starved = is_starved(session, settings, queue, workers=alive[queue])
        for urgent in (True, False):
            most = MESSAGES_PER_WORKER * max(1, alive[queue]) - in_flight[queue, urgent]
            rows = session.execute(
                select(Shard.id, Shard.published_at)
                .join(Computation)
                .where(
                    Computation.queue == queue,
                    small if urgent else ~small,
                    is_free(settings),
                    unsent,
                    Shard.attempts < settings.max_attempts,
                    active,
                    can_start(),
                )
                .order_by(Shard.kind.desc(), Shard.position, Computation.created_at)
                .limit(max(0, most if limit is None else limit))
                # rows that another process is changing are not waited for: no deadlock
                .with_for_update(of=Shard, skip_locked=True)
            ).all()
            for shard_id, published_at in rows:
                # a message that was sent and not acted on, though there are workers
                goes_first = starved and not urgent and published_at is not None
                starved = starved and not goes_first
                found.append(Due(shard_id, queue_name(queue, urgent=urgent or goes_first)))
    session.execute(
        update(Shard)
        .where(Shard.id.in_([row.shard_id for row in found]))
        .values(published_at=now())
    )
    return found


def is_starved(session: Session, settings: Settings, queue: str, *, workers: int) -> bool:
    """Whether long runs of a model get less of its workers' time than they are to have.

    They get their share if one of their shards starts each time that the workers, all together,
    have worked for as long as the share asks: ``seconds of a shard / (share * workers)``.

    Parameters
    ----------
    session : Session
        Reading is enough.
    settings : Settings
        What is long, and `long_share`.
    queue : str
        Of the model.
    workers : int
        That read it; without one nothing is starved of them.
    """
    hands = settings.long_share * workers
    if not hands:
        return False
    long_ones = (
        select(Shard.started_at, Shard.finished_at, Shard.state, Shard.kind)
        .join(Computation)
        .where(
            Computation.queue == queue,
            Computation.read_bases > settings.urgent_bases,
            Shard.started_at.is_not(None),
        )
    )
    at_work = long_ones.where(Shard.state == "RUNNING", ~is_free(settings)).subquery()
    if (session.scalar(select(func.count()).select_from(at_work)) or 0) >= hands:
        return False
    last = session.scalar(select(func.max(long_ones.subquery().c.started_at)))
    if last is None:
        return True
    done = session.execute(
        long_ones.where(Shard.kind == "encode", Shard.state == "COMPLETE")
        .order_by(Shard.finished_at.desc())
        .limit(MEASURED)
    ).all()
    took = [row.finished_at - row.started_at for row in done if row.finished_at is not None]
    if not took:
        return True
    waited = database_time(session) - float(last)
    # a start that lies ahead was noted before the clock was set back
    return not 0 <= waited < sum(took) / len(took) / hands


def fail_exhausted(session: Session, settings: Settings) -> list[int]:
    """Fail the computations of shards whose last attempt ended without a word.

    Parameters
    ----------
    session : Session
        A writing transaction.
    settings : Settings
        Number of attempts.

    Returns
    -------
    shards : list of int
        Ids of the shards that have failed by this.
    """
    spent = session.scalars(
        select(Shard.id)
        .join(Computation)
        .where(
            is_free(settings),
            Shard.attempts >= settings.max_attempts,
            Computation.state.in_(ACTIVE_STATES),
        )
        .order_by(Shard.computation_id, Shard.position)
    ).all()
    return [shard_id for shard_id in spent if _give_up(session, shard_id, settings)]


def _give_up(session: Session, shard_id: int, settings: Settings) -> bool:
    """Fail the computation of a shard; False if the shard is no longer spent."""
    lock_computation_of(session, shard_id)
    shard = session.get(Shard, shard_id, populate_existing=True)
    if shard is None:
        return False
    said = f"; the last word was: {shard.error}" if shard.error else ""
    message = (
        f"{describe_shard(shard)} was given up after {shard.attempts} attempts: each time its "
        f"worker died or stopped answering{said}"
    )
    failed = changed(
        session,
        update(Shard)
        .where(Shard.id == shard_id, is_free(settings), Shard.attempts >= settings.max_attempts)
        .values(
            state="FAILED", error=message, lease_owner=None, lease_token=None, lease_until=None
        ),
    )
    if failed:
        fail_computation(session, shard.computation_id, "EXECUTOR_ERROR", "worker-lost", message)
    return failed


def describe_shard(shard: Shard) -> str:
    """A shard in words for its user: its number, and where its bases lie."""
    if shard.kind == "merge":
        return "the merge"
    contig, start, end = shard.spans[0]
    more = f" and {len(shard.spans) - 1} more" if len(shard.spans) > 1 else ""
    return f"shard {shard.position} (contig {contig + 1}, bases {start + 1}-{end}{more})"


def heartbeat(
    session: Session,
    worker_id: str,
    *,
    queues: Sequence[str],
    models: Sequence[str],
    status: WorkerStatus | None = None,
) -> None:
    """Record that a worker is alive.

    Parameters
    ----------
    session : Session
        A writing transaction.
    worker_id : str
        Unique name, the `owner` of its claims.
    queues : sequence of str
        The model queues it reads.
    models : sequence of str
        Ids of the dictionaries it can run.
    status : WorkerStatus, optional
        What a monitor is told of it.
    """
    said = None if status is None else status._asdict()
    values = {"queues": list(queues), "seen_at": now(), "models": list(models), "status": said}
    if not changed(session, update(Worker).where(Worker.id == worker_id).values(values)):
        seen_at = session.scalar(select(now()))
        session.add(
            Worker(
                id=worker_id,
                queues=list(queues),
                seen_at=float(seen_at or 0),
                models=list(models),
                status=said,
            )
        )
        session.flush()


def retire(session: Session, worker_id: str) -> None:
    """Record that a worker has ended in good order."""
    session.execute(delete(Worker).where(Worker.id == worker_id))


def live_workers(session: Session, settings: Settings) -> list[Worker]:
    """The workers that have reported lately, by name."""
    lately = is_recent(Worker.seen_at, settings.worker_seconds)
    return list(session.scalars(select(Worker).where(lately).order_by(Worker.id)))


_QUEUES: Final = select(Worker.queues).where(
    is_recent(Worker.seen_at, bindparam("seconds", type_=Float(53)))
)


def count_workers(reader: Reader, settings: Settings, queue: str) -> int:
    """How many workers that have reported lately read a model's queue."""
    rows = reader.execute(_QUEUES, {"seconds": settings.worker_seconds})
    return sum(queue in queues for (queues,) in rows)


def live_queues(session: Session, settings: Settings) -> Counter[str]:
    """How many live workers read each model queue."""
    return Counter(queue for worker in live_workers(session, settings) for queue in worker.queues)


def take_job(session: Session, name: str, owner: str, seconds: float) -> bool:
    """Take a job that one process does for all, or keep it.

    A row with a time serves SQLite and PostgreSQL alike, also through a pool of connections,
    which an advisory lock does not survive. Two owners at once would do no harm.

    Parameters
    ----------
    session : Session
        A writing transaction.
    name : str
        Name of the job.
    owner : str
        Who asks.
    seconds : float
        How long it may be kept without asking again; at most `LONGEST_JOB`.

    Returns
    -------
    taken : bool
        False if another owner has it.
    """
    values = {"owner": owner, "until": now() + seconds}
    free = or_(SoleJob.owner == owner, is_over(SoleJob.until, LONGEST_JOB))
    if changed(session, update(SoleJob).where(SoleJob.name == name, free).values(values)):
        return True
    if session.get(SoleJob, name) is not None:
        return False
    try:
        with session.begin_nested():
            session.add(SoleJob(name=name, owner=owner, until=database_time(session) + seconds))
    except IntegrityError:
        # another process was quicker
        return False
    return True


def leave_job(session: Session, name: str, owner: str) -> None:
    """Give up a job, so that another process may take it at once."""
    session.execute(delete(SoleJob).where(SoleJob.name == name, SoleJob.owner == owner))
