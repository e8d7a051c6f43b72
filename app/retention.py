"""How long runs are kept, and how many bytes of an owner's are stored.

A run that has ended is deleted `Settings.keep_days` after its end, with its results if no other
run has the same. The dispatcher does so as it goes, and `saetrack gc` all at once.
"""

import logging
import shutil
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, case, select
from sqlalchemy.orm import Session

from annotations.errors import UnknownNameError
from app.config import Settings
from app.database import now, reading
from app.logs import said
from app.models import ACTIVE_STATES, TERMINAL_STATES, Analysis, Computation, Run, Shard
from app.run_facts import RunFacts
from app.runs import delete_run
from app.storage import Storage

DAY_SECONDS = 86_400.0

_AUDIT = logging.getLogger("saetrack.audit")


def expires_at(run: Run | RunFacts, settings: Settings) -> float | None:
    """When a run will be deleted, in seconds since 1970 UTC.

    Parameters
    ----------
    run : Run or RunFacts
    settings : Settings
        `keep_days`.

    Returns
    -------
    time : float or None
        None where runs are kept for ever, and while the run has not ended.
    """
    ended = run.canceled_at
    if ended is None and run.computation.state in TERMINAL_STATES:
        ended = run.computation.finished_at
    if ended is None or not settings.keep_days:
        return None
    # a run may be younger than the results it found ready
    return max(ended, run.created_at) + settings.keep_days * DAY_SECONDS


def expired_runs(
    session: Session, settings: Settings, *, limit: int | None = None
) -> list[tuple[str, str]]:
    """Id and owner of runs whose time is over, the oldest first.

    Parameters
    ----------
    session : Session
        Reading is enough.
    settings : Settings
        `keep_days`; 0 keeps all.
    limit : int, optional
        Most runs.

    Returns
    -------
    runs : list of tuple of str
        None of them has an analysis that is on its way.
    """
    if not settings.keep_days:
        return []
    ended = case(
        (Run.canceled_at.is_not(None), Run.canceled_at),
        (Computation.state.in_(sorted(TERMINAL_STATES)), Computation.finished_at),
    )
    before = now() - settings.keep_days * DAY_SECONDS
    asked = select(Analysis.run_id).where(Analysis.state.in_(sorted(ACTIVE_STATES)))
    rows = session.execute(
        select(Run.id, Run.owner)
        .join(Computation)
        .where(ended < before, Run.created_at < before, Run.id.not_in(asked))
        .order_by(Run.created_at, Run.id)
        .limit(limit)
    ).all()
    return [(str(run_id), str(owner)) for run_id, owner in rows]


def delete_expired(
    engine: Engine, storage: Storage, settings: Settings, *, limit: int | None = None
) -> list[str]:
    """Delete runs whose time is over, with what nothing else needs of their files.

    Parameters
    ----------
    engine : Engine
        Of the database.
    storage : Storage
        Where the files are.
    settings : Settings
        `keep_days`, and the folder of files made from results.
    limit : int, optional
        Most runs.

    Returns
    -------
    runs : list of str
        Their ids.

    Raises
    ------
    StorageError
        If the storage refuses; `saetrack gc` then finds what is left of the run's files.
    """
    with reading(engine) as session:
        expired = expired_runs(session, settings, limit=limit)
    deleted = []
    for run_id, owner in expired:
        try:
            delete_run(engine, storage, run_id, owner)
        except UnknownNameError:
            continue  # its owner was quicker
        shutil.rmtree(settings.runs_cache_dir / run_id, ignore_errors=True)
        said(_AUDIT, "run expired", run=run_id, owner=owner, keep_days=settings.keep_days)
        deleted.append(run_id)
    return deleted


def stored_bytes(session: Session, owner: str) -> int:
    """Bytes of the stored files of an owner's runs and analyses, each file counted once.

    Files that runs of several owners share are counted for each of them.
    """
    own = select(Run.computation_id).where(Run.owner == owner)
    # a merge deletes the files of shards when it is done, but their rows stay
    of_shards = (
        select(Shard.results)
        .join(Computation)
        .where(Computation.id.in_(own), Computation.state != "COMPLETE")
    )
    queries = (
        select(Computation.inputs).where(Computation.id.in_(own)),
        select(Computation.results).where(Computation.id.in_(own)),
        of_shards,
        select(Analysis.inputs).where(Analysis.owner == owner),
    )
    return sum(_bytes(session.scalars(query).all()) for query in queries)


def _bytes(manifests: Sequence[dict[str, Any] | None]) -> int:
    return sum(int(file["bytes"]) for files in manifests for file in (files or {}).values())
