"""Questions to the result of a finished computation: features, peaks, signals, matches, TFs.

A `Result` is a set of result files with the names of one run's contigs. It knows no
database and no HTTP, so that the command line asks the same questions of a folder.
Rows come out as JSON values: `strand` is "+" or "-", `contig` a name, a number that
is not known is None.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotations.activations import read_feature
from annotations.atlas import Atlas, load_atlas
from annotations.errors import CoordinateError, OptionError, StateError, UnknownNameError
from annotations.jaspar import TfResolution, load_motifs, resolve_tf
from annotations.options import RunOptions
from annotations.peaks import PEAKS_SCHEMA
from annotations.provenance import read_provenance
from annotations.ranking import telling_order
from annotations.tables import with_contig_names, write_tsv
from annotations.tracks import SignalStrand, write_bigwig, write_peaks_bed
from annotations.types import STRAND_SIGNS, Strand, strand_symbol

SORTS: dict[str, tuple[str, str]] = {
    "feature": ("feature", "ascending"),
    "density": ("density", "descending"),
    "max": ("max", "descending"),
    "peaks": ("peaks", "descending"),
    "q": ("match_q", "ascending"),
}
"""Columns that features may be sorted by, and the direction; unknown values come last."""

TELLING = "telling"
"""The order of `annotations.ranking.telling_order`."""

TF_ROWS = 500
"""Most features in the answer to a question about a transcription factor."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result files of a computation, and how one run names its contigs."""

    files: Mapping[str, Path]
    """Local result files by name."""
    names: Sequence[str]
    """Names of the contigs, in order."""
    lengths: Sequence[int]
    """Bases of the contigs, in order."""
    options: RunOptions
    """What was asked for."""
    n_features: int
    """Features of the dictionary."""
    atlas: Path | None
    """Folder of the dictionary's atlas, if it has one."""
    dictionary_sha256: str
    """Of the dictionary's weights."""

    def table(
        self, name: str, *, filters: pc.Expression | None = None, columns: list[str] | None = None
    ) -> pa.Table:
        """Rows of one of the result tables, such as ``peaks``."""
        return pq.read_table(self.files[f"{name}.parquet"], filters=filters, columns=columns)


class Page(NamedTuple):
    """Some rows of a table."""

    rows: list[dict[str, Any]]
    total: int
    """Rows of the whole table."""
    next_page_token: str | None
    """None after the last page."""


class TfAnswer(NamedTuple):
    """Features that match a transcription factor, the surest first."""

    resolution: TfResolution
    """What the query named."""
    test: dict[str, Any]
    """Whether motifs were tested at the peaks of this run, and if not, why."""
    atlas: dict[str, Any] | None
    """Where the atlas comes from; None if the dictionary has none for the taxon."""
    features: list[dict[str, Any]]
    """Rows with rank, source ("run" or "atlas"), feature, strand, matrix_id, motif_name, q,
    log2_enrichment and further evidence; then what the feature did in this run."""
    atlas_features: list[dict[str, Any]]
    """What the atlas knows besides, where `features` is this run's own test; else empty."""


def parse_feature(result: Result, text: str) -> int:
    """The feature of an address.

    Raises
    ------
    UnknownNameError
        If it is not the index of a feature of the dictionary.
    """
    if text.isascii() and text.isdigit() and int(text) < result.n_features:
        return int(text)
    raise UnknownNameError(
        f"there is no feature {text[:20]!r}: features of this run are numbered 0 to "
        f"{result.n_features - 1}"
    )


def features(
    result: Result, *, sort: str, strand: Strand | None, limit: int, page_token: str | None
) -> Page:
    """A page of the feature table.

    Parameters
    ----------
    result : Result
        The files.
    sort : str
        `TELLING` or one of `SORTS`.
    strand : {"+", "-"}, optional
        Only the rows of this strand.
    limit : int
        Most rows.
    page_token : str, optional
        As the page before gave it.

    Raises
    ------
    OptionError
        If `sort` or the page token is not known.
    """
    if sort != TELLING and sort not in SORTS:
        raise OptionError(f"sort must be one of {', '.join((TELLING, *SORTS))}, got {sort!r}")
    table = result.table("features", filters=_on_strand(strand))
    if sort == TELLING:
        ranked = table.take(pa.array(telling_order(table)))
        return _page(ranked, result, limit=limit, page_token=page_token)
    key, order = SORTS[sort]
    keys = [(key, order)]
    keys += [(name, "ascending") for name in ("feature",) if name != key]
    keys.append(("strand", "descending"))
    # nulls come last, whatever the direction
    return _page(table.sort_by(keys), result, limit=limit, page_token=page_token)


def feature(result: Result, index: int) -> dict[str, Any]:
    """All that is known of one feature: its rows on both strands, top peaks and matches.

    Parameters
    ----------
    result : Result
        The files.
    index : int
        As from `parse_feature`.

    Returns
    -------
    view : dict
        `feature`; `active`, which is False for a feature that was computed and nowhere
        above its gate; `strands`, `peaks`, `matches`.
    """
    own = pc.field("feature") == index
    strands = result.table("features", filters=own)
    peaks = result.table("peaks", filters=own).sort_by([("value", "descending")])
    matches = result.table("matches", filters=own).sort_by([("q", "ascending"), ("p", "ascending")])
    return {
        "feature": index,
        "active": any(bases > 0 for bases in strands.column("active_bases").to_pylist()),
        "strands": json_rows(strands, result.names),
        "peaks": json_rows(peaks, result.names),
        "matches": json_rows(matches, result.names),
    }


def matches(result: Result, *, max_q: float, limit: int, page_token: str | None) -> Page:
    """A page of the table of motif tests, the surest first."""
    table = result.table("matches", filters=pc.field("q") <= max_q)
    table = table.sort_by([("q", "ascending"), ("p", "ascending"), ("feature", "ascending")])
    return _page(table, result, limit=limit, page_token=page_token)


def provenance(result: Result) -> dict[str, Any]:
    """Who made the result, from what, with which parameters."""
    return read_provenance(result.files["provenance.json"])


def motif_test(result: Result) -> dict[str, Any]:
    """Whether motifs were tested at this run's peaks, and if not, why."""
    record = cast(Mapping[str, Any], provenance(result).get("motif_test") or {})
    return {
        "tested": bool(record.get("tested", False)),
        "power": str(record.get("power", "unknown")),
        "loci": record.get("loci"),
        "needed": record.get("needed"),
        "reason": str(record.get("reason", "")),
        "release": record.get("release"),
        "taxon": record.get("taxon"),
    }


def tf_features(result: Result, query: str, *, max_q: float, limit: int) -> TfAnswer:
    """Features that match a transcription factor.

    Where this run's own sequences carried a test, the answer is that test, and what the
    dictionary's atlas knows stands beside it. Where they did not, it is what the atlas
    knows, marked as such.

    Parameters
    ----------
    result : Result
        The files.
    query : str
        Name, matrix id, UniProt accession, family.
    max_q : float
        Only matches with q at most this.
    limit : int
        Most features, at most `TF_ROWS`.

    Raises
    ------
    UnknownNameError
        If no factor has this name; near names are told.
    StateError
        If the run looked for no motifs and its dictionary has no atlas.
    """
    test = motif_test(result)
    atlas = _atlas(result)
    taxon, release = result.options.taxon, result.options.release
    if taxon is None and atlas is not None:
        taxon, release = atlas.about.taxon, str(atlas.about.release)
    if taxon is None:
        raise StateError(
            "this run looked for no motifs and its dictionary has no atlas of them; submit the "
            "sequences again with a taxon, such as taxon=fungi"
        )
    resolution = resolve_tf(load_motifs(taxon, release), query)
    wanted = [motif.matrix_id for motif in resolution.motifs]
    known = atlas
    if atlas is not None and (atlas.about.taxon, atlas.about.release) != (taxon, release):
        known = None

    def ranked(table: pa.Table, source: str) -> list[dict[str, Any]]:
        return _ranked(result, table, source, max_q=max_q, limit=limit)

    from_atlas = [] if known is None else ranked(known.matches_for(wanted), "atlas")
    card = None if known is None else known.card()
    if not test["tested"]:
        return TfAnswer(resolution, test, card, from_atlas, [])
    table = result.table("matches", filters=pc.field("matrix_id").isin(wanted))
    return TfAnswer(resolution, test, card, ranked(table, "run"), from_atlas)


def _ranked(
    result: Result, table: pa.Table, source: str, *, max_q: float, limit: int
) -> list[dict[str, Any]]:
    """Matches by q, with what their features did in this run."""
    table = table.filter(pc.less_equal(table.column("q"), max_q))
    table = table.sort_by([("q", "ascending"), ("p", "ascending"), ("feature", "ascending")])
    rows = json_rows(table.slice(0, min(limit, TF_ROWS)), result.names)
    here = _rows_by_feature(result, [row["feature"] for row in rows])
    return [
        {"rank": rank, "source": source, **row, "here": here.get((row["feature"], row["strand"]))}
        for rank, row in enumerate(rows, start=1)
    ]


def _atlas(result: Result) -> Atlas | None:
    """The atlas of the result's dictionary, if it has one that knows motifs."""
    if result.atlas is None:
        return None
    atlas = load_atlas(result.atlas, result.dictionary_sha256)
    return atlas if atlas.about.taxon is not None and atlas.about.release is not None else None


def peaks_file(
    result: Result, path: Path, *, feature: int | None = None, strand: Strand | None = None
) -> None:
    """Write top peaks as BED: of one feature or all, on one strand or both.

    Parameters
    ----------
    result : Result
        The files.
    path : Path
        Made or replaced; its folder exists.
    feature : int, optional
        Only this one.
    strand : {"+", "-"}, optional
        Only this one.
    """
    chosen = _on_strand(strand)
    if feature is not None:
        own = pc.field("feature") == feature
        chosen = own if chosen is None else own & chosen
    columns = [*PEAKS_SCHEMA.names, "motif_name", "gene_name"]
    table = result.table("peaks", filters=chosen, columns=columns)
    table = table.rename_columns([*PEAKS_SCHEMA.names, "motif", "gene"])
    write_peaks_bed(table, result.names, path)


def signal_file(result: Result, path: Path, *, feature: int, strand: SignalStrand) -> None:
    """Write the signal of a feature as bigWig.

    Parameters
    ----------
    result : Result
        The files.
    path : Path
        Made or replaced; its folder exists.
    feature : int
        As from `parse_feature`; one that is nowhere active gives a signal of 0.
    strand : {"+", "-", "either"}
        "either" is the larger of the two at each base.

    Raises
    ------
    OptionError
        If the strand was not read.
    """
    if strand == "-" and result.options.strands == "forward":
        raise OptionError("this run read the forward strand only; ask for strand + or either")
    sign = None if strand == "either" else STRAND_SIGNS[strand]
    stretches = read_feature(result.files["activations.parquet"], feature, sign)
    write_bigwig(path, stretches, result.names, result.lengths, strand=strand)


def table_file(result: Result, path: Path, *, table: str) -> None:
    """Write a result table as tab-separated text, with the names of the contigs."""
    rows = result.table(table)
    if "contig" in rows.column_names:
        rows = with_contig_names(rows, result.names)
    write_tsv(rows, path)


def named_provenance(result: Result) -> dict[str, Any]:
    """The provenance, with the names of the contigs in their places."""
    record = provenance(result)
    found = record.get("contigs")
    if isinstance(found, list) and len(found) == len(result.names):
        record["contigs"] = [
            {"name": name, **contig} for name, contig in zip(result.names, found, strict=True)
        ]
    return record


def json_rows(table: pa.Table, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a result table as JSON values.

    Raises
    ------
    CoordinateError
        If a contig has no name.
    """
    rows = table.to_pylist()
    for row in rows:
        for key, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                row[key] = None
            elif key.endswith("strand") and isinstance(value, int):
                row[key] = strand_symbol(value)
        if "contig" in row:
            if row["contig"] >= len(names):
                raise CoordinateError(f"contig {row['contig']} is not among the {len(names)}")
            row["contig"] = names[row["contig"]]
    return cast(list[dict[str, Any]], rows)


def _rows_by_feature(
    result: Result, wanted: Sequence[int]
) -> dict[tuple[int, str], dict[str, Any]]:
    """What some features did in this run, by feature and strand."""
    columns = ["feature", "strand", "active_bases", "density", "max", "peaks"]
    own = pc.field("feature").isin(pa.array(sorted(set(wanted)), pa.uint32()))
    rows = json_rows(result.table("features", filters=own, columns=columns), result.names)
    return {(row.pop("feature"), row.pop("strand")): row for row in rows}


def _on_strand(strand: Strand | None) -> pc.Expression | None:
    """The rows of a strand; None for all."""
    return None if strand is None else pc.field("strand") == STRAND_SIGNS[strand]


def _page(table: pa.Table, result: Result, *, limit: int, page_token: str | None) -> Page:
    """Rows from where a page token says. Results never change, so a row number will do."""
    start = 0
    if page_token is not None:
        if not (page_token.isascii() and page_token.isdigit() and len(page_token) < 16):
            raise OptionError(
                "page_token must be the next_page_token of the page before; leave it out for the "
                "first"
            )
        start = int(page_token)
    rows = json_rows(table.slice(start, limit), result.names)
    more = start + limit < table.num_rows
    return Page(rows, table.num_rows, str(start + limit) if more else None)
