"""Files and their rows: what is stored for a row that may not be made, and what a row has lost.

Files are stored before the row that names them. Where the row is refused they are deleted; but a
COMMIT may be done and its answer lost, and then a row names them.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Engine, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from annotations.errors import SaetrackError
from app.database import reading, take_turns, transaction
from app.models import TERMINAL_STATES, Analysis, Computation, Run, Shard
from app.storage import Manifest, Storage, manifest_from_json, manifest_to_json

log = logging.getLogger(__name__)


ROWS_AT_ONCE: Final = 1_000
"""Rows named in one statement: a database takes so many parameters only."""


class Losses(NamedTuple):
    """What is no longer stored of a computation that an equal submission has found."""

    prefix: str
    """Folder of the computation."""
    inputs: bool
    """Whether an input file is gone."""
    results: bool
    """Whether it is complete and a file of its results is gone: then it is computed again."""
    shards: tuple[int, ...]
    """Ids of the complete shards that have lost a result file, where it is computed again."""
    finished_at: float | None
    """When the computation ended: another end means that it was made whole meanwhile."""


@contextmanager
def files_of_row(
    engine: Engine,
    storage: Storage,
    prefix: str,
    *,
    kind: type[Run] | type[Analysis],
    row_id: str,
    owner: str,
) -> Iterator[None]:
    """Delete what was stored for a row that is not made, and nothing else.

    Parameters
    ----------
    engine : Engine
        Of the database.
    storage : Storage
        Where the files are.
    prefix : str
        Folder of the files.
    kind : type
        Table of the row that is made in the block, in a transaction that begins with
        `app.database.take_turns` of the owner.
    row_id, owner : str
        Of the row.

    Raises
    ------
    BaseException
        What the block raised; but not a database error where the row is there, since then the
        work is done. Where the database does not say, the files are left to `saetrack gc`.
    """
    try:
        yield
    except (SaetrackError, IntegrityError):
        # said before anything was committed
        storage.delete_prefix(prefix)
        raise
    except BaseException as error:
        made = _is_made(engine, kind, row_id, owner)
        if made and isinstance(error, DBAPIError):
            log.warning("the answer to the commit of %s was lost; it is there", row_id)
            return
        if made is False:
            storage.delete_prefix(prefix)
        raise


def _is_made(
    engine: Engine, kind: type[Run] | type[Analysis], row_id: str, owner: str
) -> bool | None:
    """Whether there is a row; None if the database does not say."""
    try:
        with transaction(engine) as session:
            # a commit that the server is still at is waited for
            take_turns(session, owner)
            return session.get(kind, row_id) is not None
    except SQLAlchemyError:
        log.exception("whether %s was made is not known; its files are left", row_id)
        return None


def find_losses(engine: Engine, storage: Storage, digest: str, scope: str) -> Losses | None:
    """What is no longer stored of a computation that is at its end, by one listing of its folder.

    Files are lost when others than us delete them: an operator, a rule of the object store, or a
    backup that was taken later than that of the database.

    Parameters
    ----------
    engine : Engine
        Of the database.
    storage : Storage
        Where the files are.
    digest, scope : str
        Of the computation.

    Returns
    -------
    losses : Losses or None
        None if there is no such computation, it is not at its end, or it is complete and whole.
    """
    with reading(engine) as session:
        equal = session.scalar(
            select(Computation).where(Computation.digest == digest, Computation.scope == scope)
        )
        if equal is None or equal.state not in TERMINAL_STATES:
            return None
        shards = session.execute(
            select(Shard.id, Shard.results).where(
                Shard.computation_id == equal.id, Shard.state == "COMPLETE"
            )
        ).all()
    stored = set(storage.list(equal.prefix))

    def is_whole(files: dict[str, Any] | None) -> bool:
        return stored.issuperset(file.key for file in manifest_from_json(files or {}).values())

    inputs, results = not is_whole(equal.inputs), not is_whole(equal.results)
    if not (has_failed(equal) or inputs or results):
        return None
    lost: tuple[int, ...] = ()
    if has_failed(equal) or results:
        lost = tuple(int(shard_id) for shard_id, files in shards if not is_whole(files))
    return Losses(equal.prefix, inputs, results, lost, equal.finished_at)


def has_failed(computation: Computation) -> bool:
    """Whether a computation is at its end without results."""
    return computation.state in TERMINAL_STATES and computation.state != "COMPLETE"


def is_redone(computation: Computation, losses: Losses | None) -> bool:
    """Whether a computation that was complete has to be computed again.

    Parameters
    ----------
    computation : Computation
        Held by the transaction.
    losses : Losses or None
        What was found before; it counts as long as the computation has not ended anew.
    """
    return (
        computation.state == "COMPLETE"
        and losses is not None
        and losses.results
        and losses.finished_at == computation.finished_at
    )


def restart(
    session: Session,
    computation: Computation,
    losses: Losses | None = None,
    inputs: Manifest | None = None,
) -> bool:
    """Start a computation again that failed, was canceled or lost results; whole shards stay.

    Parameters
    ----------
    session : Session
        A writing transaction that holds the computation.
    computation : Computation
        Of an equal submission.
    losses : Losses, optional
        Its complete shards that have lost files are done again.
    inputs : Manifest, optional
        Its inputs, stored anew; a computation that is complete and whole but for its inputs gets
        them and stays complete.

    Returns
    -------
    restarted : bool
        False if it is not at its end, or complete and not to be computed again.
    """
    if computation.state not in TERMINAL_STATES:
        return False
    if inputs is not None:
        computation.inputs = manifest_to_json(inputs)
    if not (has_failed(computation) or is_redone(computation, losses)):
        return False
    computation.state = "QUEUED"
    computation.started_at = computation.finished_at = computation.results = None
    computation.error_code = computation.error_message = None
    lost = losses.shards if losses is not None else ()
    again: list[ColumnElement[bool]] = [Shard.state != "COMPLETE"]
    again += [
        Shard.id.in_(lost[low : low + ROWS_AT_ONCE]) for low in range(0, len(lost), ROWS_AT_ONCE)
    ]
    for which in again:
        session.execute(
            update(Shard)
            .where(Shard.computation_id == computation.id, which)
            .values(
                state="QUEUED",
                attempts=0,
                bases_done=0,
                lease_owner=None,
                lease_token=None,
                lease_until=None,
                published_at=None,
                finished_at=None,
                results=None,
                error=None,
            )
        )
    session.flush()
    return True
