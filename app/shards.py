"""Shards: who may work on what, until when, and what becomes of it.

    QUEUED --claim--> RUNNING --finish--> COMPLETE
       ^                 |-----fail-----> QUEUED again, or FAILED after the last attempt
       '--lease ended----'

A claim is one UPDATE that checks and takes, so of two workers one loses. Every later
call names the claim's token and does nothing if the shard has passed to another.
Times are compared by the database's clock.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, CursorResult, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.broker import queue_name
from app.claims import ClaimedShard, describe_claim
from app.config import Settings
from app.database import now
from app.models import (
    ACTIVE_STATES,
    TERMINAL_STATES,
    Computation,
    Shard,
    State,
    Worker,
)
from app.storage import StoredFile, manifest_to_json

MESSAGES_PER_WORKER = 2
"""Messages kept in flight for each live worker: one at work, one waiting."""


class Due(NamedTuple):
    """A shard to send a message for."""

    shard_id: int
    queue: str


def claim(session: Session, shard_id: int, owner: str, settings: Settings) -> ClaimedShard | None:
    """Take a shard, if it is free.

    Parameters
    ----------
    session : Session
        A writing transaction of its own; commit before starting the work.
    shard_id : int
        Id from the message.
    owner : str
        Id of the worker.
    settings : Settings
        Length of the lease and number of attempts.

    Returns
    -------
    claimed : ClaimedShard or None
        None if the shard is gone, done, canceled, held by another, out of attempts, or
        a merge whose other shards are not all complete.
    """
    token = secrets.token_hex(8)
    other = aliased(Shard)
    unmerged = (
        select(other.id)
        .where(
            other.computation_id == Shard.computation_id,
            other.kind == "encode",
            other.state != "COMPLETE",
        )
        .exists()
    )
    active = (
        select(Computation.id)
        .where(Computation.id == Shard.computation_id, Computation.state.in_(ACTIVE_STATES))
        .exists()
    )
    taken = _changed(
        session,
        update(Shard)
        .where(
            Shard.id == shard_id,
            Shard.attempts < settings.max_attempts,
            _is_free(),
            active,
            or_(Shard.kind == "encode", ~unmerged),
        )
        .values(
            state="RUNNING",
            attempts=Shard.attempts + 1,
            lease_owner=owner,
            lease_token=token,
            lease_until=now() + settings.lease_seconds,
            bases_done=0,
        ),
    )
    if not taken:
        return None
    shard = session.get_one(Shard, shard_id, populate_existing=True)
    computation = shard.computation
    session.execute(
        update(Computation)
        .where(Computation.id == computation.id, Computation.state == "QUEUED")
        .values(state="INITIALIZING", started_at=func.coalesce(Computation.started_at, now()))
    )
    return describe_claim(session, shard, computation)


def renew(
    session: Session, claimed: ClaimedShard, settings: Settings, *, bases_done: int = 0
) -> bool:
    """Keep a shard for another lease and store how far the work is.

    Parameters
    ----------
    session : Session
        A writing transaction.
    claimed : ClaimedShard
        As from `claim`.
    settings : Settings
        Length of the lease.
    bases_done : int
        Bases done so far; 0 while the model is being loaded.

    Returns
    -------
    held : bool
        False if the shard has passed to another worker, or its run was canceled or
        deleted: stop the work.
    """
    held = _changed(
        session,
        update(Shard)
        .where(_is_held(claimed))
        .values(
            lease_until=now() + settings.lease_seconds,
            bases_done=min(max(bases_done, 0), claimed.bases),
        ),
    )
    if held and bases_done > 0:
        _mark_running(session, claimed)
    return held


def finish(session: Session, claimed: ClaimedShard, manifest: Mapping[str, StoredFile]) -> bool:
    """Record that a shard is complete; with the merge, the computation is.

    Parameters
    ----------
    session : Session
        A writing transaction.
    claimed : ClaimedShard
        As from `claim`.
    manifest : mapping of str to StoredFile
        Result files by name, already stored under ``claimed.prefix``.

    Returns
    -------
    held : bool
        False if the shard is no longer the worker's; then nothing is recorded and the
        worker deletes what it stored under ``claimed.prefix``.
    """
    results = manifest_to_json(manifest)
    held = _changed(
        session,
        update(Shard)
        .where(_is_held(claimed))
        .values(
            state="COMPLETE",
            bases_done=claimed.bases,
            lease_owner=None,
            lease_token=None,
            lease_until=None,
            results=results,
            error=None,
        ),
    )
    if not held:
        return False
    _mark_running(session, claimed)
    if claimed.kind == "merge":
        session.execute(
            update(Computation)
            .where(Computation.id == claimed.computation_id)
            .values(state="COMPLETE", finished_at=now(), results=results)
        )
    return True


def fail(
    session: Session,
    claimed: ClaimedShard,
    *,
    code: str,
    message: str,
    retryable: bool,
    settings: Settings,
    state: State = "EXECUTOR_ERROR",
) -> bool:
    """Record that an attempt failed: the shard is tried again, or its computation fails.

    Parameters
    ----------
    session : Session
        A writing transaction.
    claimed : ClaimedShard
        As from `claim`.
    code : str
        Kind of the error, as in `annotations.errors`.
    message : str
        For the user as it stands; never holds sequence.
    retryable : bool
        Whether another attempt may succeed.
    settings : Settings
        Number of attempts.
    state : {"EXECUTOR_ERROR", "SYSTEM_ERROR"}
        What the computation becomes: the user's data or model, or our machine.

    Returns
    -------
    held : bool
        False if the shard was no longer the worker's; then nothing is recorded.
    """
    again = retryable and claimed.attempt < settings.max_attempts
    held = _changed(
        session,
        update(Shard)
        .where(_is_held(claimed))
        .values(
            state="QUEUED" if again else "FAILED",
            lease_owner=None,
            lease_token=None,
            lease_until=None,
            published_at=None,
            bases_done=0,
            error=message,
        ),
    )
    if held and not again:
        _fail_computation(session, claimed.computation_id, state, code, message)
    return held


def release(session: Session, owner: str) -> int:
    """End the leases of a worker that is known to be dead, so that its shards go on at once.

    Parameters
    ----------
    session : Session
        A writing transaction.
    owner : str
        Id of the worker.

    Returns
    -------
    shards : int
        How many shards it held.
    """
    result = session.execute(
        update(Shard)
        .where(Shard.state == "RUNNING", Shard.lease_owner == owner)
        .values(lease_until=0.0, published_at=None)
    )
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
    alive = live_workers(session, settings)
    recent = Shard.published_at > now() - settings.republish_seconds
    if limit is None:
        waiting = session.scalar(
            select(func.count()).select_from(Shard).where(Shard.state == "QUEUED", recent)
        )
        limit = max(0, MESSAGES_PER_WORKER * max(1, alive) - int(waiting or 0))
    other = aliased(Shard)
    unmerged = (
        select(other.id)
        .where(
            other.computation_id == Shard.computation_id,
            other.kind == "encode",
            other.state != "COMPLETE",
        )
        .exists()
    )
    unsent: ColumnElement[bool] = Shard.published_at.is_(None)
    if alive:
        unsent = or_(unsent, ~recent)
    found = session.execute(
        select(Shard.id, Computation.dictionary_id)
        .join(Computation)
        .where(
            _is_free(),
            unsent,
            Shard.attempts < settings.max_attempts,
            Computation.state.in_(ACTIVE_STATES),
            or_(Shard.kind == "encode", ~unmerged),
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
            _is_free(),
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
        _fail_computation(session, shard.computation_id, "EXECUTOR_ERROR", "worker-lost", message)
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
    if not _changed(session, update(Worker).where(Worker.id == worker_id).values(values)):
        seen_at = session.scalar(select(now()))
        session.add(
            Worker(id=worker_id, queue=queue, seen_at=float(seen_at or 0), models=list(models))
        )
        session.flush()


def retire(session: Session, worker_id: str) -> None:
    """Record that a worker has ended in good order."""
    session.execute(delete(Worker).where(Worker.id == worker_id))


def live_workers(session: Session, settings: Settings) -> int:
    """Workers that have reported lately."""
    count = session.scalar(
        select(func.count())
        .select_from(Worker)
        .where(Worker.seen_at > now() - settings.worker_seconds)
    )
    return int(count or 0)


def stop_work(session: Session, computation_id: str, shard_state: str) -> None:
    """Give every shard of a computation that is not complete or failed another state."""
    session.execute(
        update(Shard)
        .where(Shard.computation_id == computation_id, Shard.state.in_(("QUEUED", "RUNNING")))
        .values(state=shard_state, lease_owner=None, lease_token=None, lease_until=None)
    )


def _fail_computation(
    session: Session, computation_id: str, state: State, code: str, message: str
) -> None:
    """End a computation with an error, and the work on its other shards."""
    session.execute(
        update(Computation)
        .where(Computation.id == computation_id, Computation.state.not_in(TERMINAL_STATES))
        .values(state=state, finished_at=now(), error_code=code, error_message=message)
    )
    stop_work(session, computation_id, "CANCELED")


def _mark_running(session: Session, claimed: ClaimedShard) -> None:
    """The computation runs from its first base on."""
    session.execute(
        update(Computation)
        .where(
            Computation.id == claimed.computation_id,
            Computation.state.in_(("QUEUED", "INITIALIZING")),
        )
        .values(state="RUNNING")
    )


def _is_free() -> ColumnElement[bool]:
    """No worker holds the shard: it waits, or the lease on it has ended."""
    return or_(Shard.state == "QUEUED", and_(Shard.state == "RUNNING", Shard.lease_until < now()))


def _is_held(claimed: ClaimedShard) -> ColumnElement[bool]:
    """The shard is still this claim's. A lease that ended unnoticed by others still counts."""
    return and_(
        Shard.id == claimed.id,
        Shard.state == "RUNNING",
        Shard.lease_token == claimed.token,
    )


def _changed(session: Session, statement: Any) -> bool:
    """Whether an UPDATE found its row."""
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return cast("CursorResult[Any]", result).rowcount > 0


__all__ = [
    "MESSAGES_PER_WORKER",
    "ClaimedShard",
    "Due",
    "claim",
    "due",
    "fail",
    "fail_exhausted",
    "finish",
    "heartbeat",
    "live_workers",
    "release",
    "renew",
    "retire",
    "stop_work",
]
