"""Dispatch: which shards get a message now, and which workers are alive to take them.

A shard is sent when it is free and can start, and again when no worker has acted on its
message; `app.shards` says what becomes of it then.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, CursorResult, delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.analysis_leases import release_analyses
from app.broker import queue_name
from app.config import Settings
from app.database import now
from app.models import ACTIVE_STATES, Computation, Shard, Worker
from app.shards import can_start, changed, fail_computation, is_free, returned

MESSAGES_PER_WORKER = 2
"""Messages kept in flight for each live worker: one at work, one waiting."""


class Due(NamedTuple):
    """A shard to send a message for."""

    shard_id: int
    queue: str


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

    Free shards of all computations take turns, and a merge comes as soon as it can run.
    A message that no worker acted on is sent again, but only while a worker is alive,
    so that a long wait for one does not pile up messages.

    Parameters
    ----------
    session : Session
        A writing transaction. Commit before sending.
    settings : Settings
        How long to wait before a message is sent again.
    limit : int, optional
        Most shards; by default what keeps `MESSAGES_PER_WORKER` in flight.

    Returns
    -------
    due : list of Due
        In the order to send.
    """
    alive = len(live_workers(session, settings))
    recent = Shard.published_at > now() - settings.republish_seconds
    if limit is None:
        waiting = session.scalar(
            select(func.count()).select_from(Shard).where(Shard.state == "QUEUED", recent)
        )
        limit = max(0, MESSAGES_PER_WORKER * max(1, alive) - int(waiting or 0))
    unsent: ColumnElement[bool] = Shard.published_at.is_(None)
    if alive:
        unsent = or_(unsent, ~recent)
    found = session.execute(
        select(Shard.id, Computation.dictionary_id)
        .join(Computation)
        .where(
            is_free(),
            unsent,
            Shard.attempts < settings.max_attempts,
            Computation.state.in_(ACTIVE_STATES),
            can_start(),
        )
        .order_by(Shard.kind.desc(), Shard.position, Computation.created_at)
        .limit(limit)
    ).all()
    session.execute(
        update(Shard).where(Shard.id.in_([row.id for row in found])).values(published_at=now())
    )
    return [Due(row.id, queue_name(row.dictionary_id)) for row in found]


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
        select(Shard)
        .join(Computation)
        .where(
            is_free(),
            Shard.attempts >= settings.max_attempts,
            Computation.state.in_(ACTIVE_STATES),
        )
    ).all()
    for shard in spent:
        what = "the merge" if shard.kind == "merge" else f"shard {shard.position}"
        said = f"; the last word was: {shard.error}" if shard.error else ""
        message = (
            f"{what} was given up after {shard.attempts} attempts: each time its worker died or "
            f"stopped answering{said}"
        )
        shard.state = "FAILED"
        shard.error = message
        shard.lease_owner = shard.lease_token = shard.lease_until = None
        session.flush()
        fail_computation(session, shard.computation_id, "EXECUTOR_ERROR", "worker-lost", message)
    return [shard.id for shard in spent]


def heartbeat(session: Session, worker_id: str, *, queue: str, models: Sequence[str]) -> None:
    """Record that a worker is alive.

    Parameters
    ----------
    session : Session
        A writing transaction.
    worker_id : str
        Unique name, the `owner` of its claims.
    queue : str
        The queue it reads.
    models : sequence of str
        Ids of the dictionaries it can run.
    """
    values = {"queue": queue, "seen_at": now(), "models": list(models)}
    if not changed(session, update(Worker).where(Worker.id == worker_id).values(values)):
        seen_at = session.scalar(select(now()))
        session.add(
            Worker(id=worker_id, queue=queue, seen_at=float(seen_at or 0), models=list(models))
        )
        session.flush()


def retire(session: Session, worker_id: str) -> None:
    """Record that a worker has ended in good order."""
    session.execute(delete(Worker).where(Worker.id == worker_id))


def live_workers(session: Session, settings: Settings) -> list[str]:
    """Names of the workers that have reported lately."""
    lately = Worker.seen_at > now() - settings.worker_seconds
    return list(session.scalars(select(Worker.id).where(lately).order_by(Worker.id)))
