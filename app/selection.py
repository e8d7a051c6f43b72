"""Rows of a result table, chosen: filtered, sorted, one for each group, a page at a time.

    table --choose(Choice)--> Page        the same for REST and for the command line

Every list that this project answers with goes through here, so that a filter means the same
everywhere. Unknown values are null: they pass no filter and come last in every order.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.errors import CoordinateError, OptionError
from annotations.evidence import EVIDENCE, SEPARATOR
from annotations.types import STRAND_SIGNS, Strand, strand_symbol

GroupBy = Literal["cluster", "group"]
"""`cluster`: motifs that look alike; `group`: features that fire together."""

Keys = Sequence[tuple[str, str]]
"""Columns to sort by, each with its direction, as `pyarrow.Table.sort_by` takes them."""

GroupOf = Callable[[NDArray[np.int64]], pa.Array]
"""The group of each feature row, null for none."""

MATCH_SORTS: Final[Mapping[str, Keys]] = {
    "q": (),
    "effect": (("log2_enrichment", "descending"),),
    "auroc": (("auroc", "descending"),),
    "auprc": (("auprc", "descending"),),
    "held_out": (("held_out_q", "ascending"), ("held_out_log2_enrichment", "descending")),
    "causal": (("causal_p", "ascending"), ("causal_effect", "descending")),
    "evidence": (("evidence_kinds", "descending"),),
    "feature": (("feature", "ascending"), ("strand", "descending")),
}
"""Orders of motif matches by name; those that compare equal go by q, p and feature."""

CONCEPT_SORTS: Final[Mapping[str, Keys]] = {
    "f1": (("f1", "descending"),),
    "auroc": (("auroc", "descending"),),
    "auprc": (("auprc", "descending"),),
    "held_out": (("held_out_f1", "descending"),),
    "effect": (("log2_enrichment", "descending"),),
    "q": (("q", "ascending"),),
    "feature": (("feature", "ascending"), ("strand", "descending")),
}
"""Orders of rows of concepts by name; those that compare equal go by AUROC and feature."""

RANKING_SORTS: Final[Mapping[str, Keys]] = {
    "auroc": (("auroc", "descending"),),
    "auprc": (("auprc", "descending"),),
    "q": (("q", "ascending"),),
    "feature": (("feature", "ascending"), ("strand", "descending")),
}
"""Orders of feature rows that mark a user's intervals; equal ones go by AUROC and feature."""

_MATCH_TIES: Final[Keys] = (
    ("q", "ascending"),
    ("p", "ascending"),
    ("feature", "ascending"),
    ("strand", "descending"),
    ("matrix_id", "ascending"),
)
_CONCEPT_TIES: Final[Keys] = (
    ("auroc", "descending"),
    ("q", "ascending"),
    ("feature", "ascending"),
    ("strand", "descending"),
    ("concept", "ascending"),
    ("orientation", "ascending"),
)

_RANKING_TIES: Final[Keys] = (
    ("auroc", "descending"),
    ("feature", "ascending"),
    ("strand", "descending"),
)
_RANKING_KEYS: Final = ("feature", "strand", "auroc", "auprc", "q")
_MATCH_KEYS: Final = (
    "feature",
    "strand",
    "matrix_id",
    "motif_name",
    "log2_enrichment",
    "p",
    "q",
    "auroc",
    "auprc",
    "held_out_log2_enrichment",
    "held_out_q",
    "causal_effect",
    "causal_p",
    "cluster",
    "evidence",
)
_CONCEPT_KEYS: Final = (
    "feature",
    "strand",
    "concept",
    "orientation",
    "auroc",
    "auprc",
    "f1",
    "held_out_f1",
    "log2_enrichment",
    "q",
)

_NAMED_MEMBERS = 20
"""Members of a group that a row names; the count is of all of them."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which rows, in which order; the defaults keep all."""

    max_q: float | None = None
    """Only rows with q at most this."""
    min_log2_enrichment: float | None = None
    """Only rows with at least this effect."""
    evidence: tuple[str, ...] = ()
    """Only rows that hold all of these kinds (`annotations.evidence.EVIDENCE`)."""
    strand: Strand | None = None
    """Only rows of this strand."""
    sort: str = "q"
    """A name of the table's orders."""
    group_by: GroupBy | None = None
    """One row for each cluster or group, the first of them in the order."""
    limit: int | None = None
    """Most rows; None for all."""
    page_token: str | None = None
    """Where to begin, as the page before said."""

    def __post_init__(self) -> None:
        """Refuse kinds of evidence that do not exist.

        Raises
        ------
        OptionError
            If a kind is unknown or `limit` is not positive.
        """
        for kind in self.evidence:
            if kind not in EVIDENCE:
                raise OptionError(
                    f"evidence must be of {', '.join(EVIDENCE)} (several separated by commas), "
                    f"got {kind[:40]!r}"
                )
        if self.limit is not None and self.limit < 1:
            raise OptionError(f"limit must be at least 1, got {self.limit}")

    @property
    def start(self) -> int:
        """Place of the page's first row among the chosen ones.

        Raises
        ------
        OptionError
            If the page token is none of ours.
        """
        token = self.page_token
        if token is None:
            return 0
        if not (token.isascii() and token.isdigit() and len(token) < 16):
            raise OptionError(
                "page_token must be the next_page_token of the page before; leave it out for the "
                "first"
            )
        return int(token)


class Page(NamedTuple):
    """Some of the rows that were chosen."""

    table: pa.Table
    total: int
    """Rows that were chosen, on all pages."""
    next_page_token: str | None
    """None after the last page."""


def evidence_kinds(text: str | None) -> tuple[str, ...]:
    """Kinds of evidence that a user wrote, separated by commas; none for None."""
    if text is None:
        return ()
    return tuple(kind.strip() for kind in text.split(","))


def choose_matches(
    table: pa.Table,
    choice: Choice,
    *,
    among: NDArray[np.int64] | None = None,
    group_of: GroupOf | None = None,
) -> Page:
    """Motif matches, chosen.

    Parameters
    ----------
    table : Table
        Columns of `annotations.enrichment.MATCHES_SCHEMA`.
    choice : Choice
        Sorted by a name of `MATCH_SORTS`.
    among : ndarray of int64, optional
        Rows of the table to choose from; all by default.
    group_of : callable, optional
        Group of each of some feature rows, null for none; needed to group by it.

    Returns
    -------
    page : Page
        The columns of `table`; where the choice groups, also `members` (motifs of the cluster, or
        feature rows of the group, among the chosen rows) and `member_names`.

    Raises
    ------
    OptionError
        If the order or the page token is unknown, or there are no groups to group by.
    """
    keys = _keys(table, _MATCH_KEYS, among)
    kinds = pc.add(pc.count_substring(keys["evidence"], SEPARATOR), 1)
    kinds = pc.if_else(pc.equal(keys["evidence"], ""), 0, kinds)
    keys = keys.append_column("evidence_kinds", kinds)
    return _choose(table, keys, choice, _order(MATCH_SORTS, choice, _MATCH_TIES), among, group_of)


def choose_concepts(
    table: pa.Table,
    choice: Choice,
    *,
    among: NDArray[np.int64] | None = None,
    group_of: GroupOf | None = None,
) -> Page:
    """Rows of concepts, chosen; parameters as of `choose_matches`.

    Raises
    ------
    OptionError
        If the order or the page token is unknown, or the choice is one for motifs.
    """
    if choice.evidence or choice.group_by == "cluster":
        raise OptionError("evidence and group_by=cluster are of motif matches, not of concepts")
    keys = _keys(table, _CONCEPT_KEYS, among)
    order = _order(CONCEPT_SORTS, choice, _CONCEPT_TIES)
    return _choose(table, keys, choice, order, among, group_of)


def choose_ranking(table: pa.Table, choice: Choice, *, group_of: GroupOf | None = None) -> Page:
    """Feature rows that mark a user's intervals, chosen; parameters as of `choose_matches`.

    Raises
    ------
    OptionError
        If the order or the page token is unknown, or the choice is one for motifs or concepts.
    """
    if choice.evidence or choice.group_by == "cluster" or choice.min_log2_enrichment is not None:
        raise OptionError(
            "evidence, group_by=cluster and min_log2_enrichment do not go with intervals"
        )
    keys = _keys(table, _RANKING_KEYS, None)
    order = _order(RANKING_SORTS, choice, _RANKING_TIES)
    return _choose(table, keys, choice, order, None, group_of)


def page_of(table: pa.Table, choice: Choice) -> Page:
    """A page of a table that is in its order already; only the choice's strand is heeded."""
    kept = table if choice.strand is None else table.filter(_on_strand(table, choice.strand))
    part, more = _part(kept.num_rows, choice)
    return Page(kept.slice(part.start, max(0, part.stop - part.start)), kept.num_rows, more)


def _order(sorts: Mapping[str, Keys], choice: Choice, ties: Keys) -> Keys:
    if choice.sort not in sorts:
        raise OptionError(f"sort must be one of {', '.join(sorts)}, got {choice.sort[:40]!r}")
    first = sorts[choice.sort]
    named = {name for name, _ in first}
    return (*first, *(key for key in ties if key[0] not in named))


def _keys(table: pa.Table, columns: Sequence[str], among: NDArray[np.int64] | None) -> pa.Table:
    """The columns that a choice looks at: a tenth of the table, of the rows to choose from."""
    keys = table.select(list(columns))
    return keys if among is None else keys.take(pa.array(among))


def _choose(
    table: pa.Table,
    keys: pa.Table,
    choice: Choice,
    order: Keys,
    among: NDArray[np.int64] | None,
    group_of: GroupOf | None,
) -> Page:
    kept = np.flatnonzero(_wanted(keys, choice).to_numpy(zero_copy_only=False))
    keys = keys.take(pa.array(kept))
    sorted_by = pc.sort_indices(keys, sort_keys=list(order)).to_numpy().astype(np.int64)
    keys, kept = keys.take(pa.array(sorted_by)), kept[sorted_by]
    rows = kept if among is None else among[kept]
    if choice.group_by is None:
        part, more = _part(len(rows), choice)
        return Page(table.take(pa.array(rows[part])), len(rows), more)
    code = _cluster_keys(keys) if choice.group_by == "cluster" else _group_keys(keys, group_of)
    _, first, code = np.unique(code, return_index=True, return_inverse=True)
    leaders = np.sort(first)  # groups in the order of their first rows
    part, more = _part(len(leaders), choice)
    chosen = table.take(pa.array(rows[leaders[part]]))
    members = _with_members(chosen, keys, code, code[leaders[part]], choice.group_by)
    return Page(members, len(leaders), more)


def _wanted(table: pa.Table, choice: Choice) -> pa.Array:
    """Which rows the filters keep; a null keeps none."""
    mask = pa.chunked_array([pa.array(np.ones(table.num_rows, dtype=bool))])
    if choice.strand is not None:
        mask = pc.and_(mask, _on_strand(table, choice.strand))
    if choice.max_q is not None:
        mask = pc.and_(mask, pc.less_equal(table["q"], choice.max_q))
    if choice.min_log2_enrichment is not None:
        enough = pc.greater_equal(table["log2_enrichment"], choice.min_log2_enrichment)
        mask = pc.and_(mask, enough)
    for kind in choice.evidence:
        # no kind is a part of another's name
        mask = pc.and_(mask, pc.match_substring(table["evidence"], kind))
    return pc.fill_null(mask, False).combine_chunks()


def _on_strand(table: pa.Table, strand: Strand) -> pa.ChunkedArray:
    return pc.equal(table["strand"], pa.scalar(STRAND_SIGNS[strand], pa.int8()))


def _part(total: int, choice: Choice) -> tuple[slice, str | None]:
    """The rows of a page, and the token of the next. Results never change: a number will do."""
    start = choice.start
    end = total if choice.limit is None else start + choice.limit
    return slice(start, end), str(end) if end < total else None


def feature_rows(table: pa.Table) -> NDArray[np.int64]:
    """The feature row of each row of a table: ``2 * feature + (strand < 0)``."""
    feature = table["feature"].to_numpy().astype(np.int64)
    return np.asarray(2 * feature + (table["strand"].to_numpy() < 0), dtype=np.int64)


def _cluster_keys(table: pa.Table) -> NDArray[np.int64]:
    """The same number for matches of one feature row and motif cluster."""
    named = pc.coalesce(table["cluster"], table["matrix_id"]).combine_chunks()
    codes = pc.dictionary_encode(named)
    code = np.asarray(codes.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    return feature_rows(table) * max(1, len(codes.dictionary)) + code


def _group_keys(table: pa.Table, group_of: GroupOf | None) -> NDArray[np.int64]:
    """The same number for feature rows of one group; a row without a group is alone."""
    if group_of is None:
        raise OptionError("groups of features are known to an atlas only; leave out group_by=group")
    rows = feature_rows(table)
    groups = group_of(rows)
    alone = groups.is_null().to_numpy(zero_copy_only=False)
    group = groups.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return np.where(alone, -1 - rows, group)


def _with_members(
    page: pa.Table,
    kept: pa.Table,
    code: NDArray[np.int64],
    shown: NDArray[np.int64],
    group_by: GroupBy,
) -> pa.Table:
    """The page with the members that each of its rows stands for."""
    order = np.argsort(code, kind="stable")
    bounds = np.searchsorted(code[order], np.stack([shown, shown + 1]))
    columns = ["motif_name"] if group_by == "cluster" else ["feature", "strand"]
    members = kept.select(columns)
    counts, names = [], []
    for start, end in bounds.T:
        own = members.take(pa.array(order[start:end]))
        if group_by == "cluster":
            words = own["motif_name"].to_pylist()
        else:
            pairs = zip(own["feature"].to_pylist(), own["strand"].to_pylist(), strict=True)
            words = [f"{feature}{strand_symbol(sign)}" for feature, sign in pairs]
        # a motif's name may be that of several matrices, a feature row may match several motifs
        distinct = list(dict.fromkeys(words))
        counts.append(len(words) if group_by == "cluster" else len(distinct))
        names.append(";".join(distinct[:_NAMED_MEMBERS]))
    page = page.append_column("members", pa.array(counts, pa.int32()))
    return page.append_column("member_names", pa.array(names, pa.string()))


def json_rows(table: pa.Table, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Rows of a result table as JSON values.

    Parameters
    ----------
    table : Table
        A column whose name ends in `strand` holds signs, which become "+" and "-"; one named
        `contig` may hold indices into `names`.
    names : sequence of str
        Names of the contigs.

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
        if isinstance(row.get("contig"), int):
            if row["contig"] >= len(names):
                raise CoordinateError(f"contig {row['contig']} is not among the {len(names)}")
            row["contig"] = names[row["contig"]]
    return cast(list[dict[str, Any]], rows)
