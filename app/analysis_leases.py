"""Analyses as work: who may do one, until when, and what becomes of it.

    QUEUED --claim--> INITIALIZING --renew--> RUNNING --finish--> COMPLETE
       ^                  |-----------------fail--------------> QUEUED again, or an error
       |---lease ended----|
       '---give_back------'               the worker was told to stop: no attempt is counted

The rules are those of `app.shards`; the difference is that an analysis is one piece of work, so
that its state is its own. Which are due is said here, too.
"""

import json
import secrets
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import ColumnElement, CursorResult, and_, func, or_, select, update
from sqlalchemy.orm import Session

from annotations.errors import LimitError
from annotations.options import RunOptions
from annotations.types import Span
from app.broker import queue_name
from app.claims import spans_of
from app.config import Settings
from app.database import is_over, is_recent, now
from app.models import ACTIVE_STATES, Analysis, AnalysisKind, Computation, Run, State
from app.shards import changed
from app.storage import Manifest, manifest_from_json

MESSAGES: Final = 2
"""Messages kept in flight for each live worker of a queue: analyses take turns with the shards of
runs."""

MAX_RESULT_BYTES: Final = 4_000_000
"""Largest answer, as JSON text."""

WORKING: Final = ("INITIALIZING", "RUNNING")


class ClaimedAnalysis(NamedTuple):
    """An analysis that a worker holds, with all it needs to know to do the work."""

    id: str
    kind: AnalysisKind
    parameters: dict[str, Any]
    inputs: Manifest
    """Files of the analysis itself."""
    attempt: int
    """1 for the first."""
    token: str
    """Proof of this one claim."""
    contig_names: tuple[str, ...]
    """As the user of the run named them."""
    lengths: tuple[int, ...]
    dictionary_id: str
    dictionary: Mapping[str, Any]
    """What the run's parameters say of the dictionary."""
    options: RunOptions
    """Of the run."""
    run_inputs: Manifest
    """`sequences.fa` and, if there are genes, `genes.parquet` of the run."""
    run_results: Manifest
    """Result files of the run."""
    spans: tuple[Span, ...] | None
    """What the run reads of its contigs; None where that is all of them."""


class DueAnalysis(NamedTuple):
    """An analysis to send a message for."""

    analysis_id: str
    queue: str


def claim_analysis(
    session: Session, analysis_id: str, owner: str, settings: Settings
) -> ClaimedAnalysis | None:
    """Take an analysis, if it is free.

    Parameters
    ----------
    session : Session
        A writing transaction of its own; commit before starting the work.
    analysis_id : str
        Id from the message.
    owner : str
        Id of the worker.
    settings : Settings
        Length of the lease and number of attempts.

    Returns
    -------
    claimed : ClaimedAnalysis or None
        None if the analysis is gone, done, canceled, held by another or out of attempts.
    """
    taken = changed(
        session,
        update(Analysis)
        .where(
            Analysis.id == analysis_id,
            Analysis.attempts < settings.max_attempts,
            _is_free(settings),
        )
        .values(
            state="INITIALIZING",
            attempts=Analysis.attempts + 1,
            started_at=func.coalesce(Analysis.started_at, now()),
            lease_owner=owner,
            lease_token=secrets.token_hex(8),
            lease_until=now() + settings.lease_seconds,
        ),
    )
    if not taken:
        return None
    analysis = session.get_one(Analysis, analysis_id, populate_existing=True)
    run, computation = analysis.run, analysis.run.computation
    return ClaimedAnalysis(
        id=analysis.id,
        kind=cast(AnalysisKind, analysis.kind),
        parameters=analysis.parameters,
        inputs=manifest_from_json(analysis.inputs),
        attempt=analysis.attempts,
        token=str(analysis.lease_token),
        contig_names=tuple(map(str, run.contig_names)),
        lengths=tuple(map(int, computation.lengths)),
        dictionary_id=computation.dictionary_id,
        dictionary=computation.parameters["dictionary"],
        options=RunOptions.from_json(computation.parameters["options"]),
        run_inputs=manifest_from_json(computation.inputs),
        run_results=manifest_from_json(computation.results or {}),
        spans=spans_of(computation.parameters),
    )


def renew_analysis(
    session: Session, claimed: ClaimedAnalysis, settings: Settings, *, bases_done: int = 0
) -> bool:
    """Keep an analysis for another lease.

    Parameters
    ----------
    session : Session
        A writing transaction.
    claimed : ClaimedAnalysis
        As from `claim_analysis`.
    settings : Settings
        Length of the lease.
    bases_done : int
        Above 0 once the model is loaded; the name is that of `app.shards.renew`.

    Returns
    -------
    held : bool
        False if the analysis has passed to another worker, or was canceled or deleted.
    """
    values: dict[str, Any] = {"lease_until": now() + settings.lease_seconds}
    if bases_done > 0:
        values["state"] = "RUNNING"
    return changed(session, update(Analysis).where(_is_held(claimed)).values(values))


def finish_analysis(session: Session, claimed: ClaimedAnalysis, result: Mapping[str, Any]) -> bool:
    """Record the answer.

    Parameters
    ----------
    session : Session
        A writing transaction.
    claimed : ClaimedAnalysis
        As from `claim_analysis`.
    result : mapping
        JSON values, no more than `MAX_RESULT_BYTES` of text.

    Returns
    -------
    held : bool
        False if the analysis is no longer the worker's; then nothing is recorded.

    Raises
    ------
    LimitError
        If the answer is too large.
    """
    size = len(json.dumps(result, allow_nan=False))
    if size > MAX_RESULT_BYTES:
        raise LimitError(
            f"the answer has {size} bytes and may have {MAX_RESULT_BYTES}; ask for less"
        )
    return changed(
        session,
        update(Analysis)
        .where(_is_held(claimed))
        .values(
            state="COMPLETE",
            finished_at=now(),
            result=dict(result),
            error_code=None,
            error_message=None,
            **_no_lease(),
        ),
    )


def fail_analysis(
    session: Session,
    claimed: ClaimedAnalysis,
    *,
    code: str,
    message: str,
    retryable: bool,
    settings: Settings,
    state: State = "EXECUTOR_ERROR",
) -> bool:
    """Record that an attempt failed: it is tried again, or the analysis fails.

    Parameters
    ----------
    session, claimed, code, message, retryable, settings, state
        As in `app.shards.fail`.

    Returns
    -------
    held : bool
        False if the analysis was no longer the worker's; then nothing is recorded.
    """
    again = retryable and claimed.attempt < settings.max_attempts
    return changed(
        session,
        update(Analysis)
        .where(_is_held(claimed))
        .values(
            state="QUEUED" if again else state,
            finished_at=None if again else now(),
            published_at=None,
            error_code=code,
            error_message=message,
            **_no_lease(),
        ),
    )


def give_back_analysis(session: Session, claimed: ClaimedAnalysis) -> bool:
    """Return an analysis that is not done, because its worker was told to stop.

    Returns
    -------
    held : bool
        False if the analysis was no longer the worker's; then nothing is recorded.
    """
    return changed(session, update(Analysis).where(_is_held(claimed)).values(_returned()))


def release_analyses(session: Session, owner: str, *, stopped: bool) -> int:
    """End the leases of a worker that is known to be dead; see `app.dispatch.release`."""
    values = _returned() if stopped else {"lease_until": 0.0, "published_at": None}
    result = session.execute(
        update(Analysis)
        .where(Analysis.state.in_(WORKING), Analysis.lease_owner == owner)
        .values(values),
        execution_options={"synchronize_session": False},
    )
    return cast("CursorResult[Any]", result).rowcount


def due_analyses(
    session: Session, settings: Settings, *, alive: Mapping[str, int]
) -> list[DueAnalysis]:
    """Analyses to send a message for now; they count as sent when this is committed.

    Each model's queue has messages of its own: those of a model that no worker serves keep none
    from the others.

    Parameters
    ----------
    session : Session
        A writing transaction. Commit before sending.
    settings : Settings
        How long to wait before a message is sent again.
    alive : mapping of str to int
        Live workers by the model queue they read, 0 for others, as from
        `app.dispatch.live_queues`; a message that nobody acted on is sent again only while
        there is one.

    Returns
    -------
    due : list of DueAnalysis
        In the order to send: of each queue the oldest first, so many that `MESSAGES` for each of
        its workers are in flight.
    """
    recent = is_recent(Analysis.published_at, settings.republish_seconds)
    waiting = (
        select(Computation.queue, func.count())
        .select_from(Analysis)
        .join(Run, Run.id == Analysis.run_id)
        .join(Computation, Computation.id == Run.computation_id)
        .where(Analysis.state.in_(ACTIVE_STATES))
        .group_by(Computation.queue)
    )
    in_flight: Counter[str] = Counter()
    for queue, count in session.execute(waiting.where(Analysis.state == "QUEUED", recent)):
        in_flight[queue] = count
    found: list[DueAnalysis] = []
    for queue, _ in session.execute(waiting.order_by(Computation.queue)).all():
        workers = alive.get(queue, 0)
        unsent: ColumnElement[bool] = Analysis.published_at.is_(None)
        if workers:
            unsent = or_(unsent, ~recent)
        rows = session.scalars(
            select(Analysis.id)
            .join(Run, Run.id == Analysis.run_id)
            .join(Computation, Computation.id == Run.computation_id)
            .where(
                Computation.queue == queue,
                _is_free(settings),
                unsent,
                Analysis.attempts < settings.max_attempts,
            )
            .order_by(Analysis.created_at, Analysis.id)
            .limit(max(0, MESSAGES * max(1, workers) - in_flight[queue]))
            .with_for_update(of=Analysis, skip_locked=True)
        ).all()
        found += [DueAnalysis(row, queue_name(queue, urgent=True)) for row in rows]
    session.execute(
        update(Analysis)
        .where(Analysis.id.in_([item.analysis_id for item in found]))
        .values(published_at=now())
    )
    return found


def fail_exhausted_analyses(session: Session, settings: Settings) -> list[str]:
    """Fail the analyses whose last attempt ended without a word; returns their ids."""
    spent = session.scalars(
        select(Analysis.id).where(_is_free(settings), Analysis.attempts >= settings.max_attempts)
    ).all()
    return [analysis_id for analysis_id in spent if _give_up(session, analysis_id, settings)]


def _give_up(session: Session, analysis_id: str, settings: Settings) -> bool:
    """Fail an analysis; False if it is no longer spent, since its worker had a late word."""
    analysis = session.get(Analysis, analysis_id, populate_existing=True)
    if analysis is None:
        return False
    said = f"; the last word was: {analysis.error_message}" if analysis.error_message else ""
    return changed(
        session,
        update(Analysis)
        .where(
            Analysis.id == analysis_id,
            _is_free(settings),
            Analysis.attempts >= settings.max_attempts,
        )
        .values(
            state="EXECUTOR_ERROR",
            finished_at=now(),
            error_code="worker-lost",
            error_message=(
                f"the analysis was given up after {analysis.attempts} attempts: each time its "
                f"worker died or stopped answering{said}"
            ),
            **_no_lease(),
        ),
    )


def _is_free(settings: Settings) -> ColumnElement[bool]:
    """No worker holds the analysis: it waits, or the lease on it has ended."""
    ended = is_over(Analysis.lease_until, settings.lease_seconds)
    return or_(Analysis.state == "QUEUED", and_(Analysis.state.in_(WORKING), ended))


def _is_held(claimed: ClaimedAnalysis) -> ColumnElement[bool]:
    """The analysis is still this claim's."""
    return and_(
        Analysis.id == claimed.id,
        Analysis.state.in_(WORKING),
        Analysis.lease_token == claimed.token,
    )


def _no_lease() -> dict[str, None]:
    return {"lease_owner": None, "lease_token": None, "lease_until": None}


def _returned() -> dict[str, Any]:
    """Values of an analysis that waits as before its last claim, and is due at once."""
    return {
        "state": "QUEUED",
        "attempts": Analysis.attempts - 1,
        "published_at": None,
        **_no_lease(),
    }
