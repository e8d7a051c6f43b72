"""Stored files that nothing points to: left by a process that was killed at the wrong moment."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.database import reading
from app.models import Analysis, Computation, Shard
from app.storage import Storage, manifest_from_json

FOLDERS = ("computations", "analyses")
"""Folders of the storage, each with one folder of files for each row of a table."""

GRACE_SECONDS = 86_400.0
"""Files younger than this are left: whoever wrote them may be about to say so."""


def find_leftovers(
    engine: Engine, storage: Storage, *, older_than: float = GRACE_SECONDS
) -> list[str]:
    """Keys of the stored files that no row of the database points to.

    Parameters
    ----------
    engine : Engine
        Of the database.
    storage : Storage
        Where the files are.
    older_than : float
        Files written less than so many seconds ago are left out. It must be longer than a
        submission, a shard or a merge takes from its first stored file to its row.

    Returns
    -------
    keys : list of str
        Sorted.
    """
    # the files first: what is stored and said after this is not in the list
    keys = [key for folder in FOLDERS for key in storage.list(folder, older_than=older_than)]
    with reading(engine) as session:
        known = known_keys(session)
    return [key for key in keys if key not in known]


def known_keys(session: Session) -> set[str]:
    """Keys of all files that rows of the database point to."""
    # a merge deletes the files of shards when it is done, but their rows stay
    of_shards = select(Shard.results).join(Computation).where(Computation.state != "COMPLETE")
    queries = (
        select(Computation.inputs),
        select(Computation.results),
        select(Analysis.inputs),
        of_shards,
    )
    return {key for query in queries for values in session.scalars(query) for key in _keys(values)}


def _keys(values: dict[str, Any] | None) -> Iterable[str]:
    return (file.key for file in manifest_from_json(values or {}).values())
