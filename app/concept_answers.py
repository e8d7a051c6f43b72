"""Which features predict a gene concept or a user's intervals, from an atlas or a run's result."""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.errors import StateError, UnknownNameError
from annotations.interval_ranking import too_few
from app.answers import NEAREST, Listing, Source, baselines_of, beside, ranked
from app.selection import Choice, choose_concepts, choose_ranking, json_rows


def concepts(source: Source, *, max_q: float) -> dict[str, Any]:
    """The concepts of a source: how many feature rows prefer each, and the best of them.

    Returns
    -------
    view : dict
        `dictionary`, `source`, `note`, and `concepts`: concept, orientation, positives,
        prevalence, features (rows with q at most `max_q`), best feature, strand and F1.
    """
    origin, table, note = _concept_table(source)
    rows = []
    for (name, orientation), own in _by_concept(table):
        best = choose_concepts(table, Choice(sort="f1", limit=1), among=own)
        kept = choose_concepts(table, Choice(sort="f1", max_q=max_q, limit=1), among=own)
        (first,) = json_rows(best.table)
        rows.append(
            {
                "concept": name,
                "orientation": orientation,
                "positives": first["positives"],
                "prevalence": first["prevalence"],
                "features": kept.total,
                "best_feature": first["feature"],
                "best_strand": first["strand"],
                "best_f1": first["f1"],
                "best_auroc": first["auroc"],
            }
        )
    return {
        "dictionary": source.dictionary,
        "source": origin,
        "note": note,
        "max_q": max_q,
        "concepts": rows,
    }


def concept_features(
    source: Source, name: str, choice: Choice, *, orientation: str | None
) -> Listing:
    """Feature rows by how well they predict a concept, such as ``exon``.

    Parameters
    ----------
    source : Source
        What is asked.
    name : str
        A concept of the source; case does not matter.
    choice : Choice
        Which rows, as `app.selection.choose_concepts` takes it.
    orientation : {"same", "opposite", "either"}, optional
        Sense of the intervals against the pass; all by default.

    Raises
    ------
    UnknownNameError
        If the source has no such concept; near names are told.
    OptionError
        As `choose_concepts`.
    StateError
        If neither the run nor an atlas knows concepts.
    """
    origin, table, note = _concept_table(source)
    if not table.num_rows:
        raise StateError(note)
    if choice.max_q is not None and choice.max_q >= 1:
        choice = replace(choice, max_q=None)  # no limit: unknown values, too
    known = {text.casefold(): text for text in pc.unique(table["concept"]).to_pylist()}
    concept = known.get(name.casefold())
    if concept is None:
        raise UnknownNameError(_no_concept(name, sorted(known.values())))
    if origin == "atlas" and source.atlas is not None:
        among = source.atlas.concept_rows(concept)
    else:
        among = np.flatnonzero(pc.equal(table["concept"], concept).to_numpy())
    if orientation is not None:
        own = table["orientation"].take(pa.array(among))
        among = among[pc.equal(own, orientation).to_numpy()]
    group_of = None if source.atlas is None else source.atlas.group_of
    page = choose_concepts(table, choice, among=among, group_of=group_of)
    nearest = pa.table({})
    if not page.total:
        loose = Choice(sort=choice.sort, strand=choice.strand, limit=NEAREST)
        nearest = beside(choose_concepts(table, loose, among=among), source, origin).table
    if choice.max_q is None:
        note += "; rows are shown whatever their q: those without a low one are no answer"
    return Listing(
        "features",
        ranked(beside(page, source, origin), choice),
        {
            "concept": concept,
            "orientation": orientation,
            "dictionary": source.dictionary,
            "source": origin,
            "note": note,
            "atlas": None if source.atlas is None else source.atlas.brief(),
            "max_q": choice.max_q,
            "baselines": [] if source.atlas is None else baselines_of(source.atlas, [concept]),
            "nearest": json_rows(nearest),
        },
    )


def interval_features(source: Source, ranking: pa.Table, choice: Choice) -> Listing:
    """Feature rows by how well they mark a user's intervals.

    Parameters
    ----------
    source : Source
        A run.
    ranking : Table of `annotations.interval_ranking.RANKING_SCHEMA`
        Of that run.
    choice : Choice
        Which rows, as `app.selection.choose_ranking` takes it.
    """
    group_of = None if source.atlas is None else source.atlas.group_of
    page = choose_ranking(ranking, choice, group_of=group_of)
    return Listing(
        "features",
        ranked(beside(page, source, "run"), choice),
        {
            "dictionary": source.dictionary,
            "source": "run",
            "tested": ranking.num_rows,
            "note": ranking_note(ranking),
            "max_q": choice.max_q,
        },
    )


def ranking_note(ranking: pa.Table) -> str:
    """What a reader of a ranking must know of its size; empty where it is large enough.

    Parameters
    ----------
    ranking : Table of `annotations.interval_ranking.RANKING_SCHEMA`
    """
    if not ranking.num_rows:
        return ""
    n, m = (ranking[name][0].as_py() for name in ("intervals", "background_intervals"))
    return too_few(n, m)


def _concept_table(source: Source) -> tuple[str, pa.Table, str]:
    """Where concepts are known from, their rows, and that in words."""
    if source.result is not None and "concepts.parquet" in source.result.files:
        own = source.result.table("concepts")
        if own.num_rows:
            return "run", own, "measured on the sequences and annotation of this run"
    if source.atlas is None:
        raise StateError(
            "this run has no gene annotation and its dictionary has no atlas; submit the sequences "
            "again with genes"
        )
    genome = source.atlas.atlas.about.genome
    if not source.atlas.concepts.table.num_rows:
        lacking = (
            f"the atlas has no concepts: {genome} was read without a gene annotation"
            if source.result is None
            else "this run has no gene annotation, and the atlas no concepts; submit the "
            "sequences again with genes"
        )
        return "atlas", source.atlas.concepts.table, lacking
    return (
        "atlas",
        source.atlas.concepts.table,
        f"known from the atlas of the dictionary ({genome})",
    )


def _by_concept(table: pa.Table) -> list[tuple[tuple[str, str], NDArray[np.int64]]]:
    """Rows of each concept and orientation, in the order in which they come first."""
    keys = pc.binary_join_element_wise(table["concept"], table["orientation"], "\t")
    codes = keys.combine_chunks().dictionary_encode()
    code = codes.indices.to_numpy(zero_copy_only=False)
    return [
        (tuple(name.split("\t")), np.flatnonzero(code == at))
        for at, name in enumerate(codes.dictionary.to_pylist())
    ]


def _no_concept(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name[:60].casefold(), known, n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"there is no concept {name[:60]!r}; {hint}known are: {', '.join(known) or 'none'}"
