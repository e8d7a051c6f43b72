"""Questions to the result of a finished computation: features, peaks, signals, matches.

A `Result` is a set of result files with the names of one run's contigs. It knows no
database and no HTTP, so that the command line asks the same questions of a folder.
Which features match a factor is asked in `app.answers`, of atlases too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.activation_parts import (
    INDEX_FILE,
    ONE_FILE,
    ActivationSource,
    folder_activations,
    open_parts,
)
from annotations.activations import read_feature
from annotations.errors import OptionError, UnknownNameError
from annotations.options import RunOptions
from annotations.peaks import PEAKS_SCHEMA
from annotations.provenance import read_provenance
from annotations.ranking import telling_order
from annotations.tables import with_contig_names, write_tsv
from annotations.tracks import SignalStrand, write_bigwig, write_peaks_bed
from annotations.types import STRAND_SIGNS, Span, Strand
from app.atlases import IndexedTable
from app.selection import Choice, Page, choose_matches, json_rows, page_of
from app.storage import StoredPaths

SORTS: dict[str, tuple[str, str]] = {
    "feature": ("feature", "ascending"),
    "density": ("density", "descending"),
    "max": ("max", "descending"),
    "peaks": ("peaks", "descending"),
    "q": ("match_q", "ascending"),
    "effect": ("match_log2_enrichment", "descending"),
    "label": ("label", "ascending"),
}
"""Columns that features may be sorted by, and the direction; unknown values come last."""

TELLING = "telling"
"""The order of `annotations.ranking.telling_order`."""

NO_TEST = (
    "the motifs were not tested on this run's sequences, so that {name} is unknown: the rows are "
    "in the order of the atlas' own {name} ({column})"
)
"""What is said where an order by q cannot be one by the run's q."""

ATLAS_COLUMNS = {"q": "label_motif_q", "effect": "label_motif_log2_enrichment"}
"""What the atlas knows of a thing that a run has not tested, by the order that asks for it."""

SEARCHED = ("label", "match_motif_name", "match_cluster", "label_motif_name", "label_motif_cluster")
"""Columns of the feature table that a search looks into."""


STRAND_ENDINGS: Mapping[str, Strand] = {
    "_minus": "-",
    "_plus": "+",
    "-": "-",
    "+": "+",
    " ": "+",
}
"""How the name of a feature ends that is of one strand; a plus in a query string is a space."""


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
    motifs: Path | None = None
    """The user's own motifs, if the run looked for any."""
    sequences: Path | None = None
    """The normalised sequences, whose records are named by their index."""
    genes: Path | None = None
    """The gene parts, if the run has an annotation."""
    alleles: Path | None = None
    """Which sequences are alleles of each other, if the run compares any."""
    spans: tuple[Span, ...] | None = None
    """What was computed, where that is not all of the contigs; sorted, none touching another."""

    @property
    def activations(self) -> ActivationSource:
        """The activations, to be asked by `annotations.activations`."""
        return stored_activations(self.files)

    def table(
        self, name: str, *, filters: pc.Expression | None = None, columns: list[str] | None = None
    ) -> pa.Table:
        """Rows of one of the result tables, such as ``peaks``."""
        return pq.read_table(self.files[f"{name}.parquet"], filters=filters, columns=columns)


def stored_activations(files: Mapping[str, Path]) -> ActivationSource:
    """The activations among result files; of parts in a store, ranges of bytes are read there."""
    if INDEX_FILE not in files:
        return files[ONE_FILE]
    if not isinstance(files, StoredPaths):
        return files[INDEX_FILE]
    home = Path(INDEX_FILE).parent
    return open_parts(
        files[INDEX_FILE],
        lambda name, ranges: files.read_ranges((home / name).as_posix(), ranges),
    )


def folder_files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Files of a result folder by name, where the activations are in one file or in parts."""
    activations = folder_activations(folder).relative_to(folder).as_posix()
    return {name: folder / name for name in (activations if n == ONE_FILE else n for n in names)}


def renamed(result: Result, names: Sequence[str]) -> Result:
    """The result with other names of its contigs, in their order."""
    return replace(result, names=list(names))


def parse_feature(text: str, n_features: int) -> int:
    """The feature of an address.

    Parameters
    ----------
    text : str
        As the user wrote it.
    n_features : int
        Features of the dictionary.

    Raises
    ------
    UnknownNameError
        If it is not the index of a feature of the dictionary.
    """
    if text.isascii() and text.isdigit() and int(text) < n_features:
        return int(text)
    raise UnknownNameError(
        f"there is no feature {text[:20]!r}: features of this dictionary are numbered 0 to "
        f"{n_features - 1}"
    )


def parse_feature_row(text: str, n_features: int) -> tuple[int, Strand | None]:
    """A feature as people and addresses name it, with its strand or without.

    Parameters
    ----------
    text : str
        ``374``, ``374-``, ``374+`` (in a query string the plus arrives as a space),
        ``374_minus`` or ``374_plus``.
    n_features : int
        Features of the dictionary.

    Returns
    -------
    feature : int
    strand : {"+", "-"} or None
        None where none is named.

    Raises
    ------
    UnknownNameError
        If it is not a feature of the dictionary.

    Examples
    --------
    >>> parse_feature_row("374-", 500), parse_feature_row("374_plus", 500)
    ((374, '-'), (374, '+'))
    """
    for ending, strand in STRAND_ENDINGS.items():
        if text.endswith(ending):
            return parse_feature(text.removesuffix(ending), n_features), strand
    return parse_feature(text, n_features), None


def one_strand(named: Strand | None, asked: Strand | None) -> Strand | None:
    """The strand that a feature's name and a parameter ask for; None for both strands.

    Raises
    ------
    OptionError
        If they ask for different ones.
    """
    if named is not None and asked is not None and named != asked:
        raise OptionError(
            f"the feature is named on strand {named}, and the strand asked for is {asked}; leave "
            "one of them out"
        )
    return asked if named is None else named


def features(
    result: Result, choice: Choice, *, search: str = "", active: bool = False
) -> tuple[Page, str | None]:
    """A page of the feature table.

    Parameters
    ----------
    result : Result
        The files.
    choice : Choice
        Sorted by `TELLING` or one of `SORTS`; of the filters only the strand.
    search : str
        Only rows whose label, motif or cluster contains this, in any case, or whose feature it
        is: ``374`` or ``374-``.
    active : bool
        Only rows with an active base.

    Returns
    -------
    page : Page
        The rows.
    note : str or None
        What the reader must know of the order: where the run made no test, an order by q is one
        by the atlas' q.

    Raises
    ------
    OptionError
        If the order or the page token is not known.
    """
    sort = choice.sort
    if sort != TELLING and sort not in SORTS:
        raise OptionError(f"sort must be one of {', '.join((TELLING, *SORTS))}, got {sort[:40]!r}")
    table = result.table("features")
    if active:
        table = table.filter(pc.greater(table["active_bases"], 0))
    if search:
        table = table.filter(_found(table, search))
    if sort == TELLING:
        return page_of(table.take(pa.array(telling_order(table))), choice), None
    key, order = SORTS[sort]
    note = None
    if sort in ATLAS_COLUMNS and not motif_test(result)["tested"]:
        key = ATLAS_COLUMNS[sort]
        note = NO_TEST.format(name=sort, column=key)
    keys = [(key, order)]
    keys += [(name, "ascending") for name in ("feature",) if name != key]
    keys.append(("strand", "descending"))
    # nulls come last, whatever the direction
    return page_of(table.sort_by(keys), choice), note


def _found(table: pa.Table, search: str) -> pa.ChunkedArray:
    """The rows of the feature table that a search finds."""
    number, strand = search, None
    if search[-1:] in STRAND_SIGNS:
        number, strand = search[:-1], STRAND_SIGNS[cast(Strand, search[-1])]
    if number.isascii() and number.isdigit():
        found = pc.equal(table["feature"].cast(pa.int64()), min(int(number), 2**62))
        return found if strand is None else pc.and_(found, pc.equal(table["strand"], strand))
    found = pc.is_null(table["feature"])  # nowhere yet
    for name in SEARCHED:
        own = pc.match_substring(table[name], search, ignore_case=True)
        found = pc.or_(found, pc.fill_null(own, False))
    return found


def feature(result: Result, index: int, strand: Strand | None = None) -> dict[str, Any]:
    """All that is known of one feature: its rows on each strand, top peaks and matches.

    Parameters
    ----------
    result : Result
        The files.
    index : int
        As from `parse_feature`.
    strand : {"+", "-"}, optional
        Only this one.

    Returns
    -------
    view : dict
        `feature`; `active`, which is False for a feature that was computed and nowhere
        above its gate; `strands`, `peaks`, `matches`.
    """
    own = pc.field("feature") == index
    if strand is not None:
        own &= pc.field("strand") == STRAND_SIGNS[strand]
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


def matches(result: Result, choice: Choice) -> Page:
    """A page of the table of motif tests, the surest first; see `choose_matches`."""
    table = result.table("matches")
    if choice.group_by == "group":
        raise OptionError("a run knows no groups of features; ask the atlas, or group_by=cluster")
    return choose_matches(table, choice)


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
    stretches = read_feature(result.activations, feature, sign)
    write_bigwig(path, stretches, result.names, result.lengths, strand=strand, spans=result.spans)


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


def features_beside(
    result: Result, rows: NDArray[np.int64], columns: Sequence[str]
) -> list[pa.Array]:
    """What some feature rows did in this run; null where one has no row.

    Parameters
    ----------
    result : Result
        The files.
    rows : ndarray of int64, shape (n,)
        Feature rows, ``2 * feature + (strand < 0)``, in any order.
    columns : sequence of str
        Columns of the table of features.

    Returns
    -------
    values : list of Array, each of shape (n,)
    """
    own = pc.field("feature").isin(pa.array(np.unique(rows // 2), pa.uint32()))
    table = result.table("features", filters=own, columns=["feature", "strand", *columns])
    return IndexedTable(table).beside(rows, columns)


def json_text(values: Mapping[str, Any]) -> str:
    """JSON of what stands beside a table; unknown numbers are null."""
    return json.dumps(values, allow_nan=False, sort_keys=True)


def _on_strand(strand: Strand | None) -> pc.Expression | None:
    """The rows of a strand; None for all."""
    return None if strand is None else pc.field("strand") == STRAND_SIGNS[strand]
