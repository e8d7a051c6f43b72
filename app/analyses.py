"""Analyses: ask, look up, list, cancel, delete. `app.analysis_leases` has them answered.

An analysis is a question to a complete run that takes a worker: whether a motif moves a feature
(`causal_test`), or which features mark a user's intervals (`bed_concept`). It belongs to its run
and goes with it.
"""

import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session, defer, load_only

from annotations.causal_sites import CausalOptions
from annotations.concept_tracks import read_intervals
from annotations.errors import LimitError, OptionError, StateError, UnknownNameError
from annotations.interval_ranking import (
    BACKGROUND_PER_INTERVAL,
    MAX_INTERVALS,
    check_background,
    check_room,
)
from annotations.motif_catalogue import Motif
from annotations.types import STRAND_SIGNS, Contig, Strand
from app.answers import Source, resolve
from app.catalog import Result
from app.config import Settings
from app.database import database_time, now, take_turns, transaction
from app.kept_files import files_of_row
from app.models import ACTIVE_STATES, TERMINAL_STATES, Analysis, AnalysisKind, Run
from app.storage import Manifest, Storage, manifest_to_json

MAX_WAITING: Final = 100
"""Analyses of an owner that may wait or be at work at once."""

MAX_BED_BYTES: Final = 50_000_000
"""Decompressed bytes of a BED file; about `MAX_INTERVALS` lines of the longest formats."""

MAX_FEATURES: Final = 1000
"""Most features in the answer about intervals."""

MAX_NAME: Final = 100
"""Most characters of a name that is given to intervals."""

NAMED: Final = 10
"""Motifs that a message names."""


class AnalysisPage(NamedTuple):
    """Some analyses of a run, the newest first."""

    analyses: Sequence[Analysis]
    next_page_token: str | None
    """None after the last."""


def causal_parameters(
    result: Result,
    *,
    feature: int,
    strand: Strand,
    tf: str | None,
    matrix_id: str | None,
    sites: int,
    seed: int,
) -> dict[str, Any]:
    """What a causal test is asked, checked.

    Parameters
    ----------
    result : Result
        Of a complete run.
    feature : int
        Of its dictionary.
    strand : {"+", "-"}
        The pass.
    tf, matrix_id : str, optional
        The factor, the matrix, or both: the factor's matrix of this id.
    sites, seed : int
        As in `annotations.causal_sites.CausalOptions`.

    Returns
    -------
    parameters : dict
        JSON values, the motif's counts among them: the answer depends on no catalogue.

    Raises
    ------
    OptionError
        If the strand was not read, a number is out of range, or it is not clear which matrix.
    UnknownNameError
        If no factor or matrix has the name.
    StateError
        If the run looked for no motifs and its dictionary has no atlas.
    """
    options = CausalOptions(sites=sites, seed=seed)
    if strand == "-" and result.options.strands == "forward":
        raise OptionError("this run read the forward strand only; ask for strand +")
    motif = choose_motif(result, feature, strand, tf=tf, matrix_id=matrix_id)
    return {
        "feature": feature,
        "strand": strand,
        "tf": tf,
        "motif": {
            "matrix_id": motif.matrix_id,
            "name": motif.name,
            "counts": motif.counts.tolist(),
        },
        "sites": options.sites,
        "seed": options.seed,
    }


def choose_motif(
    result: Result, feature: int, strand: Strand, *, tf: str | None, matrix_id: str | None
) -> Motif:
    """The one matrix that a factor's name or a matrix id stands for at a feature row.

    Of a factor's matrices the one with the lowest q at this row in the run's own test is taken.

    Parameters
    ----------
    result : Result
        Of a complete run.
    feature : int
        Of its dictionary.
    strand : {"+", "-"}
        The pass.
    tf, matrix_id : str, optional
        As in `causal_parameters`.

    Raises
    ------
    OptionError
        If neither is given, or several matrices would do and none was tested at this row.
    UnknownNameError
        If no factor or matrix has the name, or the factor's matrices are others.
    """
    if tf is None and matrix_id is None:
        raise OptionError("name the factor (tf) or its matrix (matrix_id), such as tf=REB1")
    source = Source.of_result(result)
    name = str(matrix_id) if tf is None else tf
    motifs = resolve(source, name, taxon=None, release=None).motifs
    if matrix_id is not None:
        wanted = matrix_id.casefold()
        motifs = tuple(
            motif
            for motif in motifs
            if wanted in (motif.matrix_id.casefold(), motif.matrix_id.split(".")[0].casefold())
        )
        if not motifs:
            raise UnknownNameError(f"{tf!r} has no matrix {matrix_id[:40]!r}")
    if len(motifs) == 1:
        return motifs[0]
    own = (pc.field("feature") == feature) & (pc.field("strand") == STRAND_SIGNS[strand])
    by_id = {motif.matrix_id: motif for motif in motifs}
    tested = result.table("matches", filters=own & pc.field("matrix_id").isin(list(by_id)))
    if tested.num_rows:
        best = tested.sort_by([("q", "ascending"), ("p", "ascending")])
        return by_id[best.column("matrix_id")[0].as_py()]
    named = ", ".join(f"{motif.matrix_id} {motif.name}" for motif in motifs[:NAMED])
    more = ", ..." if len(motifs) > NAMED else ""
    raise OptionError(
        f"{name!r} has {len(motifs)} matrices, none of them tested at {feature}"
        f"{strand} here; name one with matrix_id: {named}{more}"
    )


def read_bed_inputs(
    result: Result, foreground: BinaryIO, background: BinaryIO | None
) -> dict[str, pa.Table]:
    """Intervals of a user on the contigs of a run.

    Parameters
    ----------
    result : Result
        Of a complete run.
    foreground, background : binary file
        BED, plain or gzip.

    Returns
    -------
    tables : dict
        `foreground.parquet` and perhaps `background.parquet`, of
        `annotations.concept_tracks.INTERVALS_SCHEMA`.

    Raises
    ------
    FormatError, CoordinateError
        If a file is malformed, or no line of it lies on the run's contigs.
    LimitError
        If there are too many intervals.
    OptionError
        If the background is the intervals again, or none is given and there is no room for one.
    """
    contigs = [
        Contig(name, length, "") for name, length in zip(result.names, result.lengths, strict=True)
    ]
    given = {"foreground.parquet": foreground, "background.parquet": background}
    tables = {
        name: read_intervals(file, contigs, max_bytes=MAX_BED_BYTES)
        for name, file in given.items()
        if file is not None
    }
    most = MAX_INTERVALS
    if background is None:
        most //= 1 + BACKGROUND_PER_INTERVAL
    found = sum(table.num_rows for table in tables.values())
    if found > most:
        raise LimitError(f"there are {found} intervals and may be {most}; give fewer")
    if background is None:
        check_room(tables["foreground.parquet"], result.lengths)
    else:
        check_background(tables["foreground.parquet"], tables["background.parquet"])
    return tables


def concept_name(name: str | None) -> str:
    """The name of a user's intervals, `bed` if they have none.

    Raises
    ------
    OptionError
        If it is too long or not one line of text.
    """
    shown = (name or "").strip() or "bed"
    if len(shown) > MAX_NAME or not shown.isprintable():
        raise OptionError(f"name must be text on one line of at most {MAX_NAME} characters")
    return shown


def create_analysis(
    engine: Engine,
    storage: Storage,
    *,
    run_id: str,
    owner: str,
    kind: AnalysisKind,
    parameters: Mapping[str, Any],
    settings: Settings,
    tables: Mapping[str, pa.Table] | None = None,
    title: str | None = None,
) -> str:
    """Store a question, to be answered by a worker.

    Parameters
    ----------
    engine : Engine
        Of the database.
    storage : Storage
        Where the tables go.
    run_id, owner : str
        The run that is asked, and whose it is; complete.
    kind : {"causal_test", "bed_concept"}
        What is asked.
    parameters : mapping
        JSON values.
    settings : Settings
        Where files wait.
    tables : mapping of str to Table, optional
        Input files by name.
    title : str, optional
        Shown in lists.

    Returns
    -------
    id : str
        Of the analysis.

    Raises
    ------
    StateError
        If the owner has too many analyses waiting.
    UnknownNameError
        If the run was deleted meanwhile.
    """
    analysis_id = secrets.token_hex(12)
    prefix = f"analyses/{analysis_id}"
    with files_of_row(engine, storage, prefix, kind=Analysis, row_id=analysis_id, owner=owner):
        inputs = _store(storage, f"{prefix}/input", tables or {}, settings)
        with transaction(engine) as session:
            take_turns(session, owner)
            run = session.get(Run, run_id)
            if run is None or run.owner != owner:
                raise UnknownNameError(f"there is no run {run_id[:40]!r}; it has been deleted")
            waiting = session.scalar(
                select(func.count())
                .select_from(Analysis)
                .where(Analysis.owner == owner, Analysis.state.in_(ACTIVE_STATES))
            )
            if waiting is not None and waiting >= MAX_WAITING:
                raise StateError(
                    f"{waiting} analyses of yours wait already, {MAX_WAITING} may; cancel some or "
                    "wait"
                )
            session.add(
                Analysis(
                    id=analysis_id,
                    run_id=run_id,
                    owner=owner,
                    kind=kind,
                    title=title,
                    parameters=dict(parameters),
                    inputs=manifest_to_json(inputs),
                    state="QUEUED",
                    created_at=database_time(session),
                    attempts=0,
                )
            )
    return analysis_id


def get_analysis(session: Session, analysis_id: str, owner: str) -> Analysis:
    """The analysis of an id, if it is the owner's.

    Raises
    ------
    UnknownNameError
        If there is none; another owner's is not told from none.
    """
    analysis = session.get(Analysis, analysis_id)
    if analysis is None or analysis.owner != owner:
        raise UnknownNameError(
            f"there is no analysis {analysis_id[:40]!r}; GET /v1/runs/RUN/analyses lists those of "
            "a run. It may have been deleted, alone or with its run"
        )
    return analysis


def list_analyses(
    session: Session, run: Run, *, limit: int, page_token: str | None
) -> AnalysisPage:
    """The analyses of a run, the newest first, without their results.

    Parameters
    ----------
    session : Session
        Reading is enough.
    run : Run
        The owner's.
    limit : int
        Most analyses.
    page_token : str, optional
        As the page before gave it.

    Raises
    ------
    OptionError
        If the page token is not one of ours.
    """
    # a result may have megabytes, and a page hundreds of analyses
    query = (
        select(Analysis)
        .options(defer(Analysis.result, raiseload=True))
        .where(Analysis.run_id == run.id)
    )
    if page_token is not None:
        last = session.get(Analysis, page_token)
        if last is None or last.run_id != run.id:
            raise OptionError(
                "page_token must be the next_page_token of the page before, whose last analysis "
                "may have been deleted since; leave it out for the first"
            )
        query = query.where(
            (Analysis.created_at < last.created_at)
            | ((Analysis.created_at == last.created_at) & (Analysis.id < last.id))
        )
    found = session.scalars(
        query.order_by(Analysis.created_at.desc(), Analysis.id.desc()).limit(limit + 1)
    ).all()
    token = found[limit - 1].id if len(found) > limit else None
    return AnalysisPage(found[:limit], token)


def cancel_analysis(session: Session, analysis: Analysis) -> None:
    """Cancel an analysis; again is no error.

    Parameters
    ----------
    session : Session
        A writing transaction.
    analysis : Analysis
        The owner's.

    Raises
    ------
    StateError
        If it has ended by itself.
    """
    if analysis.state == "CANCELED":
        return
    if analysis.state in TERMINAL_STATES:
        raise StateError(
            f"the analysis has ended ({analysis.state}) and cannot be canceled; DELETE removes it"
        )
    session.execute(
        update(Analysis)
        .where(Analysis.id == analysis.id, Analysis.state.in_(ACTIVE_STATES))
        .values(
            state="CANCELED",
            finished_at=now(),
            lease_owner=None,
            lease_token=None,
            lease_until=None,
        )
    )


def delete_analysis(engine: Engine, storage: Storage, analysis_id: str, owner: str) -> None:
    """Delete an analysis and its files; a worker that is at it stops.

    Raises
    ------
    UnknownNameError
        If the owner has no such analysis.
    """
    with transaction(engine) as session:
        analysis = get_analysis(session, analysis_id, owner)
        prefix = analysis.prefix
        session.delete(analysis)
    storage.delete_prefix(prefix)


def analysis_prefixes(session: Session, run_id: str) -> list[str]:
    """Folders of the files of a run's analyses."""
    found = session.scalars(
        select(Analysis).options(load_only(Analysis.id)).where(Analysis.run_id == run_id)
    ).all()
    return [analysis.prefix for analysis in found]


def _store(
    storage: Storage, prefix: str, tables: Mapping[str, pa.Table], settings: Settings
) -> Manifest:
    """Store tables as Parquet."""
    manifest: Manifest = {}
    if not tables:
        return manifest
    with tempfile.TemporaryDirectory(dir=settings.upload_dir) as folder:
        for name, table in tables.items():
            path = Path(folder) / name
            pq.write_table(table, path)
            manifest[name] = storage.put_file(f"{prefix}/{name}", path)
    return manifest
