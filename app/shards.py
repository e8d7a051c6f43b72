"""Shards: who may work on what, until when, and what becomes of it.

    QUEUED --claim--> RUNNING --finish--> COMPLETE
       ^                 |-----fail-----> QUEUED again, or FAILED after the last attempt
       |--lease ended----|
       '--give_back------'                the worker was told to stop: no attempt is counted

A claim is one UPDATE that checks and takes, so of two workers one loses. Every later
call names the claim's token and does nothing if the shard has passed to another.
Times are compared by the database's clock, which may step: then a shard is done twice at worst,
and the result of the first is dropped. `app.dispatch` says which shards are due.

Whoever changes rows of both locks the computation first, then its shards: in one order, so
that on PostgreSQL no two transactions wait for each other.
"""

import secrets
from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, and_, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.claims import ClaimedShard, describe_claim
from app.config import Settings
from app.database import is_over, now
from app.models import (
    ACTIVE_STATES,
    TERMINAL_STATES,
    Computation,
    Shard,
    State,
)
from app.storage import StoredFile, manifest_from_json, manifest_to_json


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
    lock_computation_of(session, shard_id)
    active = (
        select(Computation.id)
        .where(Computation.id == Shard.computation_id, Computation.state.in_(ACTIVE_STATES))
        .exists()
    )
    taken = changed(
        session,
        update(Shard)
        .where(
            Shard.id == shard_id,
            Shard.attempts < settings.max_attempts,
            is_free(settings),
            active,
            can_start(),
        )
        .values(
            state="RUNNING",
            attempts=Shard.attempts + 1,
            lease_owner=owner,
            lease_token=token,
            lease_until=now() + settings.lease_seconds,
            started_at=now(),
            # once the lease has ended, a new message is due at once
            published_at=None,
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
    if bases_done > 0:
        _mark_running(session, claimed)
    return changed(
        session,
        update(Shard)
        .where(_is_held(claimed))
        .values(
            lease_until=now() + settings.lease_seconds,
            bases_done=min(max(bases_done, 0), claimed.bases),
        ),
    )


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
    lock_computation_of(session, claimed.id)
    held = changed(
        session,
        update(Shard)
        .where(_is_held(claimed))
        .values(
            state="COMPLETE",
            bases_done=claimed.bases,
            lease_owner=None,
            lease_token=None,
            lease_until=None,
            finished_at=now(),
            results=results,
            error=None,
        ),
    )
    if not held:
        return False
    _set_running(session, claimed.computation_id)
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
    wait: bool = False,
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
    wait : bool
        Whether to try again only after `Settings.republish_seconds`.

    Returns
    -------
    held : bool
        False if the shard was no longer the worker's; then nothing is recorded.
    """
    again = retryable and claimed.attempt < settings.max_attempts
    lock_computation_of(session, claimed.id)
    held = changed(
        session,
        update(Shard)
        .where(_is_held(claimed))
        .values(
            state="QUEUED" if again else "FAILED",
            lease_owner=None,
            lease_token=None,
            lease_until=None,
            published_at=now() if wait else None,
            bases_done=0,
            error=message,
        ),
    )
    if held and not again:
        fail_computation(session, claimed.computation_id, state, code, message)
    return held


def give_back(session: Session, claimed: ClaimedShard) -> bool:
    """Return a shard that is not done, because its worker was told to stop.

    The attempt does not count: nothing went wrong with the shard.

    Parameters
    ----------
    session : Session
        A writing transaction.
    claimed : ClaimedShard
        As from `claim`.

    Returns
    -------
    held : bool
        False if the shard was no longer the worker's; then nothing is recorded.
    """
    return changed(session, update(Shard).where(_is_held(claimed)).values(returned()))


def is_handed_in(session: Session, claimed: ClaimedShard) -> bool:
    """Whether the files that this claim stored are the shard's results: then they are kept."""
    results = session.scalar(select(Shard.results).where(Shard.id == claimed.id)) or {}
    folder = f"{claimed.prefix}/"
    return any(file.key.startswith(folder) for file in manifest_from_json(results).values())


def returned() -> dict[str, Any]:
    """Values of a shard that waits as before its last claim, and is due at once."""
    return {
        "state": "QUEUED",
        "attempts": Shard.attempts - 1,
        "lease_owner": None,
        "lease_token": None,
        "lease_until": None,
        "published_at": None,
        "bases_done": 0,
    }


def stop_work(session: Session, computation_id: str, shard_state: str) -> None:
    """Give every shard of a computation that is not complete or failed another state."""
    session.execute(
        update(Shard)
        .where(Shard.computation_id == computation_id, Shard.state.in_(("QUEUED", "RUNNING")))
        .values(state=shard_state, lease_owner=None, lease_token=None, lease_until=None)
    )


def fail_computation(
    session: Session, computation_id: str, state: State, code: str, message: str
) -> None:
    """End a computation with an error, and the work on its other shards."""
    session.execute(
        update(Computation)
        .where(Computation.id == computation_id, Computation.state.not_in(TERMINAL_STATES))
        .values(state=state, finished_at=now(), error_code=code, error_message=message)
    )
    stop_work(session, computation_id, "CANCELED")


def lock_computation_of(session: Session, shard_id: int) -> None:
    """Have other transactions wait that change the computation of a shard, or its shards."""
    session.execute(
        select(Computation.id)
        .join(Shard, Shard.computation_id == Computation.id)
        .where(Shard.id == shard_id)
        .with_for_update(of=Computation)
    )


def _mark_running(session: Session, claimed: ClaimedShard) -> None:
    """The computation runs from the first base on of a shard that is still held."""
    held = select(Shard.id).where(_is_held(claimed)).exists()
    _set_running(session, claimed.computation_id, held)


def _set_running(session: Session, computation_id: str, *conditions: ColumnElement[bool]) -> None:
    session.execute(
        update(Computation)
        .where(
            Computation.id == computation_id,
            Computation.state.in_(("QUEUED", "INITIALIZING")),
            *conditions,
        )
        .values(state="RUNNING"),
        execution_options={"synchronize_session": False},
    )


def is_free(settings: Settings) -> ColumnElement[bool]:
    """No worker holds the shard: it waits, or the lease on it has ended."""
    ended = is_over(Shard.lease_until, settings.lease_seconds)
    return or_(Shard.state == "QUEUED", and_(Shard.state == "RUNNING", ended))


def can_start() -> ColumnElement[bool]:
    """Nothing has to be done first: a merge waits for every encode shard beside it."""
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
    return or_(Shard.kind == "encode", ~unmerged)


def _is_held(claimed: ClaimedShard) -> ColumnElement[bool]:
    """The shard is still this claim's. A lease that ended unnoticed by others still counts."""
    return and_(
        Shard.id == claimed.id,
        Shard.state == "RUNNING",
        Shard.lease_token == claimed.token,
    )


def changed(session: Session, statement: Any) -> bool:
    """Whether an UPDATE found its row."""
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return cast("CursorResult[Any]", result).rowcount > 0
