"""Which features match a transcription factor; and what all answers have in common.

    Source (an atlas, a run's result, or both) --tf_features--> Listing --> JSON, TSV, Parquet

Concepts are asked in `app.concept_answers`, single features in `app.feature_views`.

A run's own test answers where its sequences had the power for one; where they had not, what the
dictionary's atlas knows answers, and the answer says which of the two it is. REST and the command
line ask the same questions here and get the same words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.cards import Cards
from annotations.errors import AmbiguousNameError, OptionError, StateError, UnknownNameError
from annotations.jaspar import MotifCatalogue, TfResolution, load_motifs, resolve_tf
from annotations.run_motifs import catalogue_of
from annotations.tables import write_tsv
from annotations.tf_history import taxa_of
from app import catalog
from app.atlases import IndexedAtlas, about, atlas_folders, open_atlas
from app.catalog import Result
from app.selection import (
    Choice,
    Page,
    choose_matches,
    feature_rows,
    json_rows,
)

NEAREST: Final = 3
"""Rows above the limit of q that stand beside an empty answer."""

RUN_COLUMNS: Final = ("active_bases", "density", "max", "peaks")
"""What a feature did in a run: columns of its `features`, named `run_...` in an answer."""

Format = Literal["json", "tsv", "parquet"]
"""What a list is written as."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a question is put to."""

    dictionary: str
    """Id of the dictionary."""
    n_features: int
    """Features of the dictionary."""
    atlas: IndexedAtlas | None
    """Of the dictionary, if it has one."""
    result: Result | None = None
    """Of a run of the dictionary."""
    cards: Cards | None = None
    """Of the installation, where an atlas alone is asked: to say which other to ask."""

    @classmethod
    def of_result(cls, result: Result) -> "Source":
        """A run's result, and the atlas of its dictionary."""
        atlas = None
        if result.atlas is not None:
            atlas = open_atlas(result.atlas, result.dictionary_sha256)
        return cls(
            dictionary=result.options.dictionary,
            n_features=result.n_features,
            atlas=atlas,
            result=result,
        )


class Listing(NamedTuple):
    """A list of rows and what stands beside it."""

    key: str
    """What the rows are called in JSON."""
    page: Page
    head: Mapping[str, Any]
    """What stands beside the rows: JSON values."""

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            **self.head,
            self.key: json_rows(self.page.table),
            "total": self.page.total,
            "next_page_token": self.page.next_page_token,
        }


def resolve(source: Source, tf: str, *, taxon: str | None, release: str | None) -> TfResolution:
    """The motifs that a name stands for, in the motifs that a source knows.

    Parameters
    ----------
    source : Source
        What will be asked.
    tf : str
        Name, alias, UniProt accession, matrix id or family.
    taxon, release : str, optional
        Must be those of the source where they are given.

    Raises
    ------
    UnknownNameError
        If no factor has this name, or several have.
    OptionError
        If the source knows the motifs of another group or release.
    StateError
        If the source knows no motifs.
    """
    if not tf.strip():
        raise OptionError(
            "name a factor: a name such as REB1, a matrix id, a UniProt accession or a family"
        )
    known = _catalogue(source)
    for name, asked, has in (
        ("taxon", taxon, known.taxon),
        ("release", release, known.release),
    ):
        if asked is not None and asked != has:
            raise OptionError(
                f"{name} {asked[:40]!r} was not looked for here: the answer knows the motifs of "
                f"{known.release} {known.taxon}; leave {name} out, or annotate sequences with "
                f"{name}={asked[:40]}"
            )
    try:
        return resolve_tf(known, tf)
    except AmbiguousNameError:
        raise
    except UnknownNameError as error:
        raise UnknownNameError(f"{error}{_where_to_ask(source, known, tf)}") from None


def _where_to_ask(source: Source, known: MotifCatalogue, tf: str) -> str:
    """How to come to an answer about a factor of other taxonomic groups; empty for none."""
    if source.cards is None:
        return ""
    covering: dict[str, str] = {}
    for found in atlas_folders(source.cards).values():
        covering.setdefault(str(about(found)["taxon"]), found.card.id)
    said = ""
    for taxon in taxa_of(tf):
        if taxon == known.taxon:
            continue
        if taxon in covering:
            said += f". Dictionary {covering[taxon]!r} has an atlas of {taxon}: name it"
        else:
            said += (
                f". No installed atlas covers {taxon}; `saetrack annotate --taxon {taxon}` makes a "
                "result that does"
            )
    return said


def _catalogue(source: Source) -> MotifCatalogue:
    """The motifs that a source knows."""
    if source.result is not None:
        own = catalogue_of(source.result.options, source.result.motifs)
        if own is not None:
            return own
    if source.atlas is not None:
        return load_motifs(source.atlas.atlas.taxon, source.atlas.atlas.release)
    raise StateError(
        "this run looked for no motifs and its dictionary has no atlas of them; submit the "
        "sequences again with a taxon, such as taxon=fungi"
    )


def tf_features(
    source: Source,
    tf: str,
    choice: Choice,
    *,
    taxon: str | None = None,
    release: str | None = None,
) -> Listing:
    """Feature rows that match a transcription factor.

    Parameters
    ----------
    source : Source
        What is asked.
    tf, taxon, release
        As `resolve` takes them.
    choice : Choice
        Which rows, as `app.selection.choose_matches` takes it.

    Returns
    -------
    listing : Listing
        Rows of `annotations.enrichment.MATCHES_SCHEMA` with rank, source ("run" or "atlas"),
        label, group, and `run_...` where there is a run. Beside them: how the name was
        understood, where the rows come from (`source`, `note`), the power of the run's test
        (`motif_test`), the card of the atlas, the `baselines` of these motifs, the `nearest`
        matches of an empty answer, and, where the rows are the run's own, what the atlas knows
        (`atlas_features`).

    Raises
    ------
    UnknownNameError, OptionError, StateError
        As `resolve` and `choose_matches`.
    """
    named = resolve(source, tf, taxon=taxon, release=release)
    wanted = [motif.matrix_id for motif in named.motifs]
    atlas = source.atlas
    if atlas is not None and (atlas.atlas.taxon, atlas.atlas.release) != (
        named.taxon,
        named.release,
    ):
        atlas = None  # it knows other motifs
    test = None if source.result is None else catalog.motif_test(source.result)
    tested = test is not None and test["tested"]
    known = None if atlas is None else Rows.of_atlas(atlas, wanted)
    if source.result is not None and (tested or known is None):
        own = source.result.table("matches", filters=pc.field("matrix_id").isin(wanted))
        rows, origin = Rows(own, None), "run"
    elif known is not None:
        rows, origin = known, "atlas"
    else:
        raise StateError("there is neither a run nor an atlas to ask")

    def chosen(rows: Rows, choice: Choice, origin: str) -> Page:
        group_of = None if source.atlas is None else source.atlas.group_of
        page = choose_matches(rows.table, choice, among=rows.among, group_of=group_of)
        return ranked(beside(page, source, origin), choice)

    page = chosen(rows, choice, origin)
    nearest: list[dict[str, Any]] = []
    if not page.total:
        loose = Choice(strand=choice.strand, limit=NEAREST)
        nearest = json_rows(chosen(rows, loose, origin).table)
    known_rows: list[dict[str, Any]] = []
    if origin == "run" and known is not None:
        known_rows = json_rows(chosen(known, replace(choice, page_token=None), "atlas").table)
    return Listing(
        "features",
        page,
        {
            **resolution_json(named, rows.clusters()),
            "dictionary": source.dictionary,
            "source": origin,
            "note": _note(origin, test, atlas),
            "motif_test": test,
            "atlas": None if atlas is None else atlas.brief(),
            "max_q": choice.max_q,
            "baselines": [] if atlas is None else baselines_of(atlas, wanted),
            "nearest": nearest,
            "atlas_features": known_rows,
        },
    )


def resolution_json(
    named: TfResolution, clusters: Mapping[str, str | None] = MappingProxyType({})
) -> dict[str, Any]:
    """How a name was understood, as JSON values.

    Parameters
    ----------
    named : TfResolution
        What the name resolved to.
    clusters : mapping
        Cluster of each matrix, where it is known.
    """
    return {
        "query": named.query,
        "match_type": named.match_type,
        "resolution_note": named.note,
        "release": named.release,
        "taxon": named.taxon,
        "motifs": [
            {
                "matrix_id": motif.matrix_id,
                "name": motif.name,
                "family": list(motif.family),
                "cluster": clusters.get(motif.matrix_id),
            }
            for motif in named.motifs
        ],
    }


def baselines_of(atlas: IndexedAtlas, names: Sequence[str]) -> list[dict[str, Any]]:
    """What controls without the dictionary reach for some matrices or concepts."""
    wanted = pc.is_in(atlas.baselines["name"], pa.array(list(names), pa.string()))
    return json_rows(atlas.baselines.filter(wanted))


def write_listing(listing: Listing, target: Any, form: Format) -> None:
    """Write the rows of a listing as a table.

    Parameters
    ----------
    listing : Listing
        Its rows; what stands beside them goes into the metadata of a Parquet file.
    target : Path or stream
        Text for "tsv", bytes for "parquet".
    form : {"tsv", "parquet"}
        The format.
    """
    table = listing.page.table
    if form == "tsv":
        write_tsv(table, target)
        return
    head = catalog.json_text(listing.head)
    pq.write_table(table.replace_schema_metadata({"saetrack": head}), target)


class Rows(NamedTuple):
    """Rows of a table to choose from."""

    table: pa.Table
    among: NDArray[np.int64] | None
    """None for all."""

    @classmethod
    def of_atlas(cls, atlas: IndexedAtlas, matrix_ids: Sequence[str]) -> "Rows":
        """The matches of some matrices."""
        return cls(atlas.matches.table, atlas.matches_of(matrix_ids))

    def clusters(self) -> dict[str, str | None]:
        """Cluster of each matrix that has a match."""
        pairs = self.table.select(["matrix_id", "cluster"])
        if self.among is not None:
            pairs = pairs.take(pa.array(self.among))
        distinct = pairs.group_by(["matrix_id", "cluster"]).aggregate([])
        ids, clusters = (distinct[name].to_pylist() for name in ("matrix_id", "cluster"))
        return dict(zip(ids, clusters, strict=True))


def beside(page: Page, source: Source, origin: str) -> Page:
    """Rows with their source, what names their features, and what these did in the run."""
    table = page.table
    rows = feature_rows(table)
    table = table.append_column("source", pa.array([origin] * len(rows), pa.string()))
    label, group = pa.nulls(len(rows), pa.string()), pa.nulls(len(rows), pa.uint32())
    if source.atlas is not None:
        label, group = source.atlas.labels.beside(rows, ["label", "group"])
    table = table.append_column("label", label).append_column("group", group)
    if source.result is not None:
        did = catalog.features_beside(source.result, rows, RUN_COLUMNS)
        for name, values in zip(RUN_COLUMNS, did, strict=True):
            table = table.append_column(f"run_{name}", values)
    return page._replace(table=table)


def ranked(page: Page, choice: Choice) -> Page:
    """A page with the rank of each row as its first column."""
    ranks = np.arange(choice.start + 1, choice.start + 1 + page.table.num_rows)
    return page._replace(table=page.table.add_column(0, "rank", pa.array(ranks, pa.int64())))


def _note(origin: str, test: Mapping[str, Any] | None, atlas: IndexedAtlas | None) -> str:
    """Where the rows come from, in words."""
    genome = "" if atlas is None else atlas.atlas.about.genome
    if test is not None and test["tested"]:
        return "tested on the sequences of this run"
    if test is not None:
        known = (
            f"the answer is what the atlas of the dictionary knows from another genome ({genome})"
            if origin == "atlas"
            else "the dictionary has no atlas of these motifs"
        )
        return f"underpowered here: {test['reason'] or 'no test was made'}; {known}"
    return f"known from the atlas of the dictionary ({genome})"
