"""What is shown of a run: few short columns, asked for by one statement.

Names, lengths and digests of 100,000 contigs are megabytes, and whoever waits for a run asks every
second how far it is.
"""

from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, func, select

from annotations.errors import UnknownNameError
from app.database import Reader
from app.models import Computation, Run


class ComputationFacts(NamedTuple):
    """What is shown of a computation: a row of short columns."""

    id: str
    state: str
    dictionary_id: str
    queue: str
    digest: str
    bases: int
    read_bases: int
    started_at: float | None
    finished_at: float | None
    error_code: str | None
    error_message: str | None


class RunFacts(NamedTuple):
    """What is shown of a run."""

    id: str
    owner: str
    title: str | None
    filename: str | None
    created_at: float
    canceled_at: float | None
    options: dict[str, Any]
    annotation_skipped: dict[str, Any] | None
    contigs: int
    """How many there are."""
    compares: bool
    """Whether alleles are compared."""
    computation: ComputationFacts


def no_run(run_id: str) -> UnknownNameError:
    """The error of an id that names none of the runs that one may see."""
    return UnknownNameError(
        f"there is no run {run_id[:40]!r}; GET /v1/runs lists yours. It may have been deleted"
    )


_FACTS: Final = (
    select(
        Run.id,
        Run.owner,
        Run.title,
        Run.filename,
        Run.created_at,
        Run.canceled_at,
        Run.options,
        Run.annotation_skipped,
        func.json_array_length(Computation.lengths),
        Computation.parameters["alleles"].as_string(),
        *(getattr(Computation, name) for name in ComputationFacts._fields),
    )
    .join(Computation)
    .where(Run.id == bindparam("run_id"))
)


def run_facts(reader: Reader, run_id: str, owner: str | None) -> RunFacts:
    """What is shown of the run that `get_run` finds.

    Raises
    ------
    UnknownNameError
        As `get_run`.
    """
    row = reader.execute(_FACTS, {"run_id": run_id}).one_or_none()
    if row is None or owner not in {None, row[1]}:
        raise no_run(run_id)
    *own, alleles = row[: len(RunFacts._fields) - 1]
    return RunFacts._make([*own, alleles is not None, ComputationFacts._make(row[len(own) + 1 :])])


def facts_of(run: Run) -> RunFacts:
    """What is shown of a run that is loaded."""
    whole = run.computation
    own = [getattr(run, name) for name in RunFacts._fields[:8]]
    facts = ComputationFacts._make(getattr(whole, name) for name in ComputationFacts._fields)
    return RunFacts._make([*own, len(whole.lengths), "alleles" in whole.parameters, facts])


def contig_names(reader: Reader, run_id: str) -> list[str]:
    """Names of the contigs of a run, in order; UnknownNameError if there is none."""
    names = reader.execute(select(Run.contig_names).where(Run.id == run_id)).scalar_one_or_none()
    if names is None:  # deleted since it was looked for
        raise no_run(run_id)
    return list(names)
