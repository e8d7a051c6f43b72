"""Runs: look up, list, cancel, delete. `app.submissions` creates them.

A run is a row of its owner's that points to a computation, which other runs of equal
content may share: it is stopped or deleted only when no run needs it.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import (
    Engine,
    Float,
    Row,
    and_,
    bindparam,
    case,
    delete,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session

from annotations.errors import OptionError, StateError
from app.analyses import analysis_prefixes
from app.database import Reader, database_time, now, transaction
from app.models import TERMINAL_STATES, Computation, Run, Shard, State
from app.run_facts import ComputationFacts, RunFacts, no_run
from app.shards import stop_work
from app.storage import Storage

MERGE_SHARE = 0.1
"""Part of the progress that the merge stands for; encoding is the rest."""


class Progress(NamedTuple):
    """How far a computation is."""

    fraction: float
    """0 to 1; 1 only when complete."""
    bases: int
    bases_done: int
    """Bases whose activations are computed."""
    shards: int
    """Shards, the merge among them."""
    shards_done: int
    encode: "EncodeWork"


class EncodeWork(NamedTuple):
    """The encode shards of a computation, for whoever estimates when they are done."""

    left: int = 0
    """Bases that are still to be read."""
    unfinished: int = 0
    """Shards that are not complete."""
    timed: int = 0
    """Complete shards of which it is known how long they took."""
    timed_bases: int = 0
    """Bases that were read for those."""
    timed_seconds: float = 0.0
    """What those took, all together."""


class RunBrief(NamedTuple):
    """What a request for a file of a run needs to know: a row of few short columns.

    Names and lengths of 100,000 contigs are megabytes, and a browser of genomes asks for many
    parts of a file.
    """

    id: str
    owner: str
    title: str | None
    filename: str | None
    complete: bool


class RunPage(NamedTuple):
    """Some runs of an owner, the newest first."""

    runs: Sequence[Run]
    next_page_token: str | None
    """None after the last."""


def get_run(session: Session, run_id: str, owner: str | None) -> Run:
    """The run of an id, if it is the owner's; None stands for any owner.

    Raises
    ------
    UnknownNameError
        If there is none; another owner's run is not told from none.
    """
    run = session.get(Run, run_id)
    if run is None or owner not in {None, run.owner}:
        raise no_run(run_id)
    return run


BRIEF: Final = select(
    Run.id, Run.owner, Run.title, Run.filename, Run.canceled_at, Computation.state
).join(Computation)
"""The columns of which `as_brief` makes a `RunBrief`."""


def as_brief(row: "Row[*tuple[Any, ...]]") -> RunBrief:
    """A row of `BRIEF`."""
    complete = row.canceled_at is None and row.state == "COMPLETE"
    return RunBrief(row.id, row.owner, row.title, row.filename, complete)


_BRIEF_OF_RUN: Final = BRIEF.where(Run.id == bindparam("run_id"))


def brief_run(reader: Reader, run_id: str, owner: str) -> RunBrief:
    """What `get_run` finds, in few columns.

    Raises
    ------
    UnknownNameError
        As `get_run`.
    """
    row = reader.execute(_BRIEF_OF_RUN, {"run_id": run_id}).one_or_none()
    if row is None or row.owner != owner:
        raise no_run(run_id)
    return as_brief(row)


def run_state(run: Run | RunFacts) -> State:
    """State of a run: canceled if its owner canceled it, else that of its computation."""
    return "CANCELED" if run.canceled_at is not None else cast(State, run.computation.state)


LEFT_TO_READ: Final = Shard.read_bases - Shard.bases_done * Shard.read_bases // Shard.bases
"""Bases of an encode shard that are still to be read."""

_IS_DONE: Final = Shard.state == "COMPLETE"
_IS_TIMED: Final = and_(_IS_DONE, Shard.started_at.is_not(None), Shard.finished_at.is_not(None))

# made once: to put a statement together takes as long as the database does for it
_PROGRESS: Final = (
    select(
        Shard.kind,
        func.count().label("shards"),
        func.sum(Shard.bases_done).label("bases_done"),
        func.sum(case((_IS_DONE, 1), else_=0)).label("done"),
        func.sum(case((Shard.kind == "encode", LEFT_TO_READ), else_=0)).label("left"),
        func.sum(case((_IS_TIMED, 1), else_=0)).label("timed"),
        func.sum(case((_IS_TIMED, Shard.read_bases), else_=0)).label("timed_bases"),
        func.sum(case((_IS_TIMED, Shard.finished_at - Shard.started_at), else_=0.0)).label(
            "timed_seconds"
        ),
    )
    .where(Shard.computation_id == bindparam("computation"))
    .group_by(Shard.kind)
)


def run_progress(reader: Reader, run: Run | RunFacts) -> Progress:
    """How far a run's computation is."""
    return computation_progress(reader, run.computation)


def computation_progress(reader: Reader, computation: Computation | ComputationFacts) -> Progress:
    """How far a computation is."""
    rows = {row.kind: row for row in reader.execute(_PROGRESS, {"computation": computation.id})}
    done = {kind: int(row.bases_done or 0) for kind, row in rows.items()}
    bases = computation.bases
    if computation.state == "COMPLETE":
        fraction = 1.0
    else:
        share = ((1 - MERGE_SHARE) * done.get("encode", 0) + MERGE_SHARE * done.get("merge", 0)) / (
            bases or 1
        )
        fraction = min(0.999, share)
    encode, work = rows.get("encode"), EncodeWork()
    if encode is not None:
        work = EncodeWork(
            left=int(encode.left),
            unfinished=int(encode.shards - encode.done),
            timed=int(encode.timed),
            timed_bases=int(encode.timed_bases),
            timed_seconds=float(encode.timed_seconds),
        )
    return Progress(
        fraction=round(fraction, 4),
        bases=bases,
        bases_done=done.get("encode", 0),
        shards=sum(int(row.shards) for row in rows.values()),
        shards_done=sum(int(row.done) for row in rows.values()),
        encode=work,
    )


def list_runs(session: Session, owner: str, *, limit: int, page_token: str | None) -> RunPage:
    """An owner's runs, the newest first.

    Parameters
    ----------
    session : Session
        Reading is enough.
    owner : str
        Whose runs.
    limit : int
        Most runs.
    page_token : str, optional
        As the page before gave it.

    Raises
    ------
    OptionError
        If the page token is not one of ours.
    """
    query = select(Run).where(Run.owner == owner)
    if page_token is not None:
        created_at, run_id = _read_token(page_token)
        query = query.where(
            tuple_(Run.created_at, Run.id) < tuple_(sql_cast(created_at, Float(53)), run_id)
        )
    runs = session.scalars(
        query.order_by(Run.created_at.desc(), Run.id.desc()).limit(limit + 1)
    ).all()
    token = _write_token(runs[limit - 1]) if len(runs) > limit else None
    return RunPage(runs[:limit], token)


def cancel_run(session: Session, run: Run) -> None:
    """Cancel a run, and the work for it unless another run waits for the same.

    Canceling a canceled run changes nothing.

    Parameters
    ----------
    session : Session
        A writing transaction.
    run : Run
        The owner's.

    Raises
    ------
    StateError
        If the run has ended by itself.
    """
    # a run that joins or is canceled meanwhile is seen, and no claim is made of it
    session.execute(
        select(Computation.id).where(Computation.id == run.computation_id).with_for_update()
    )
    session.refresh(run.computation)
    state = run_state(run)
    if state == "CANCELED":
        return
    if state in TERMINAL_STATES:
        raise StateError(
            f"the run has ended ({state}) and cannot be canceled; DELETE removes it and its results"
        )
    run.canceled_at = database_time(session)
    session.flush()
    _stop_if_unwanted(session, run.computation)


def delete_run(engine: Engine, storage: Storage, run_id: str, owner: str) -> None:
    """Delete a run and its analyses; with the last run of a computation go its shards and files.

    Parameters
    ----------
    engine : Engine
        Of the database.
    storage : Storage
        Where the files are; they are deleted after the rows, so that a row never points
        to files that are gone.
    run_id, owner : str
        Which run, and whose.

    Raises
    ------
    UnknownNameError
        If the owner has no such run.
    """
    with transaction(engine) as session:
        run = get_run(session, run_id, owner)
        unused = analysis_prefixes(session, run_id)
        computation = session.scalar(
            select(Computation).where(Computation.id == run.computation_id).with_for_update()
        )
        session.delete(run)
        session.flush()
        if computation is not None:
            others = session.scalar(
                select(func.count()).select_from(Run).where(Run.computation_id == computation.id)
            )
            if others:
                _stop_if_unwanted(session, computation)
            else:
                unused.append(computation.prefix)
                session.execute(delete(Shard).where(Shard.computation_id == computation.id))
                session.delete(computation)
    for prefix in unused:
        storage.delete_prefix(prefix)


def _stop_if_unwanted(session: Session, computation: Computation) -> None:
    """Cancel a computation that no run waits for any more."""
    waiting = session.scalar(
        select(func.count())
        .select_from(Run)
        .where(Run.computation_id == computation.id, Run.canceled_at.is_(None))
    )
    if waiting or computation.state in TERMINAL_STATES:
        return
    session.execute(
        update(Computation)
        .where(Computation.id == computation.id, Computation.state.not_in(TERMINAL_STATES))
        .values(state="CANCELED", finished_at=now())
    )
    stop_work(session, computation.id, "CANCELED")


def _write_token(run: Run) -> str:
    """Where the next page begins."""
    text = json.dumps([run.created_at, run.id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(token: str) -> tuple[float, str]:
    """The place that `_write_token` wrote."""
    try:
        padded = token + "=" * (-len(token) % 4)
        created_at, run_id = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if not (isinstance(run_id, str) and run_id.isascii() and isinstance(created_at, float)):
            raise TypeError
        return created_at, run_id
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise OptionError(
            "page_token must be the next_page_token of the page before; leave it out for the first"
        ) from None
