"""What feature rows do in a region of a run: ranked, compared with each other, base by base.

    "chrIX:1,001-2,000" --app.figure_data.parse_region--> Span
    Result, Span --region_features--> Listing: what is active there, ranked
    Result, rows, Span --comparison--> Listing: named rows, their peaks, how they go together
                       --activations--> values at every base

REST and the pages ask here. Places are 1-based and inclusive in text such as ``chrI:1-10``, and
0-based and half-open everywhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.active_bases import Activations, SortedActivations, row_index
from annotations.errors import LimitError, OptionError
from annotations.peaks import RADIUS, local_maxima
from annotations.region_activity import (
    check_held,
    correlations,
    in_region,
    of_rows,
    summarize,
    values_by_base,
    within,
)
from annotations.types import Span
from annotations.unread import bases_read, unread
from app import catalog
from app.answers import Listing
from app.catalog import Result
from app.feature_rows import parse_rows
from app.selection import Choice, Page, page_of

MAX_COMPARED: Final = 20
"""Most feature rows that are compared."""

MAX_VALUES: Final = 200_000
"""Most values, feature rows times bases, that are told base by base."""

TOP_PEAKS: Final = 3
"""Peaks of each row in a comparison."""

COORDINATES: Final = "0-based, half-open"

SORTS: Final = ("max", "sum", "active_bases", "share", "density", "feature", "label")
"""Orders of what is active in a region: `feature` and `label` go up, the others down."""

KNOWN_COLUMNS: Final = ("match_motif_name", "match_q", "label_motif_name", "label_motif_q", "label")


@dataclass(frozen=True, kw_only=True)
class RegionFilters:
    """Which of the feature rows that are active in a region; the defaults keep all."""

    min_max: float = 0.0
    """Only rows whose largest activation in the region is at least this."""
    min_share: float = 0.0
    """Only rows active at this share of the region's bases that were read, or more."""
    max_density: float = 1.0
    """Only rows active at this share of the whole run's bases, or less."""


class Comparison(NamedTuple):
    """Some feature rows over a region."""

    region: Span
    rows: list[int]
    """Feature rows, ``2 * feature + (strand < 0)``."""
    active: Activations
    """Their active bases in the region, sorted."""
    table: pa.Table
    """As `region_features` lists them, silent ones too."""
    peaks: list[list[tuple[int, float]]]
    """Top peaks of each row in the region: position, 0-based, and value."""
    correlation: NDArray[np.float64]
    """Shape (rows, rows); NaN for a row that is the same everywhere."""
    over: str
    """What was correlated: "region" or "run"."""
    unread: list[Span]
    """Parts of the region that the run did not read."""

    def to_listing(self, names: Sequence[str]) -> Listing:
        """As the interface answers it."""
        head = {
            **region_json(self.region, names, self.unread),
            "names": [row_name(row) for row in self.rows],
            "correlation_over": self.over,
            "correlation": [
                [None if np.isnan(r) else round(float(r), 6) for r in line]
                for line in self.correlation
            ],
            "peaks": [
                [{"position": position, "value": value} for position, value in own]
                for own in self.peaks
            ],
        }
        return Listing("features", Page(self.table, self.table.num_rows, None), head)


def locus_text(region: Span, names: Sequence[str]) -> str:
    """A region as `app.figure_data.parse_region` reads it."""
    return f"{names[region.contig]}:{region.start + 1}-{region.end}"


def region_json(region: Span, names: Sequence[str], gaps: Sequence[Span] = ()) -> dict[str, Any]:
    """A region as JSON values, with the parts of it that were not read."""
    return {
        "region": locus_text(region, names),
        "contig": names[region.contig],
        "start": region.start,
        "end": region.end,
        "coordinate_system": COORDINATES,
        "bases_read": bases_read(region, gaps),
    }


def compared_rows(text: str, result: Result) -> list[int]:
    """Feature rows of a comparison.

    Parameters
    ----------
    text : str
        Such as ``374-,153+``; a feature without a sign stands for each strand that was read.
    result : Result
        Of the run.

    Returns
    -------
    rows : list of int
        ``2 * feature + (strand < 0)``, each once, in their order.

    Raises
    ------
    OptionError
        If there are none, more than `MAX_COMPARED`, or one is of a strand that was not read.
    UnknownNameError
        If there is no such feature.
    """
    rows: list[int] = []
    forward = result.options.strands == "forward"
    for row in parse_rows(text, result.n_features):
        if row.strand == "-" and forward:
            raise OptionError(
                f"this run read the forward strand only; ask for {row.feature}+ in place of "
                f"{row.text}"
            )
        signs = ("+",) if forward else ("+", "-")
        rows += [
            2 * row.feature + (sign == "-") for sign in signs if row.strand in (sign, "either")
        ]
    rows = list(dict.fromkeys(rows))
    if len(rows) > MAX_COMPARED:
        raise OptionError(
            f"at most {MAX_COMPARED} feature rows are compared at once, got {len(rows)}; a feature "
            "without a sign counts for both strands"
        )
    return rows


def row_name(row: int) -> str:
    """A feature row for people.

    Examples
    --------
    >>> row_name(749)
    '374-'
    """
    return f"{row // 2}{'-' if row % 2 else '+'}"


def region_features(
    result: Result, region: Span, choice: Choice, filters: RegionFilters = RegionFilters()
) -> Listing:
    """The feature rows that are active in a region, ranked.

    Parameters
    ----------
    result : Result
        Of the run.
    region : Span
        Where.
    choice : Choice
        Strand, order (one of `SORTS`) and page.
    filters : RegionFilters
        Which rows.

    Returns
    -------
    listing : Listing
        Rows of `annotations.region_activity.REGION_SCHEMA`, with `density` and `run_max` of the
        whole run, `label`, and the best motif: `motif_name`, `motif_q` and `motif_source` ("run"
        where it was tested on these sequences, else "atlas").

    Raises
    ------
    OptionError
        If the order is not known.
    LimitError
        If the run is too large to be gone through.
    """
    if choice.sort not in SORTS:
        raise OptionError(f"sort must be one of {', '.join(SORTS)}, got {choice.sort[:40]!r}")
    active = in_region(result.activations, region)
    gaps = unread(region, result.spans)
    table = _with_known(result, summarize(active, region, bases=bases_read(region, gaps)))
    kept = pc.and_(
        pc.greater_equal(table["max"], pa.scalar(filters.min_max, pa.float32())),
        pc.and_(
            pc.greater_equal(table["share"], filters.min_share),
            pc.fill_null(pc.less_equal(table["density"], filters.max_density), False),
        ),
    )
    up = choice.sort in {"feature", "label"}
    keys = [(choice.sort, "ascending" if up else "descending")]
    if choice.sort not in {"max", "feature"}:
        keys.append(("max", "descending"))
    keys += [("feature", "ascending")] if choice.sort != "feature" else []
    keys.append(("strand", "descending"))
    page = page_of(table.filter(kept).sort_by(keys), choice)
    return Listing("features", page, region_json(region, result.names, gaps))


def comparison(
    result: Result, rows: Sequence[int], region: Span, *, over: str = "region"
) -> Comparison:
    """Some feature rows over a region.

    Parameters
    ----------
    result : Result
        Of the run.
    rows : sequence of int
        As from `compared_rows`.
    region : Span
        Where.
    over : {"region", "run"}
        The bases that are correlated. Bases that were not read count for none: those outside the
        regions of the run, and over the run also N.

    Returns
    -------
    comparison : Comparison

    Raises
    ------
    LimitError
        If the rows have more active bases there than are looked at together.
    """
    if over == "run":
        check_held(_active_in_run(result, rows))
    path = result.activations
    # a peak at the region's edge must not be one that a larger base beyond it hides
    wide = None if over == "run" else _wider(region, result.lengths[region.contig])
    read = of_rows(path, rows, wide)
    active = within(read, region)
    gaps = unread(region, result.spans)
    known = bases_read(region, gaps)
    bases = max(known, 1)
    if over == "run":
        bases = max(_scanned_bases(result), 1)
    return Comparison(
        region=region,
        rows=list(rows),
        active=active,
        table=_with_known(result, summarize(active, region, rows, bases=known)),
        peaks=_top_peaks(result, read, region, rows),
        correlation=correlations(read if over == "run" else active, rows, bases),
        over=over,
        unread=gaps,
    )


def activations(result: Result, rows: Sequence[int], region: Span) -> NDArray[np.float32]:
    """Values of feature rows at every base of a region.

    Parameters
    ----------
    result, rows, region
        As in `comparison`.

    Returns
    -------
    values : ndarray of float32, shape (len(rows), region.length)
        0 where silent, NaN at bases that the run did not read.

    Raises
    ------
    LimitError
        If these are more than `MAX_VALUES` values.
    """
    if len(rows) * region.length > MAX_VALUES:
        raise LimitError(
            f"at most {MAX_VALUES:,} values, feature rows times bases, are told at once, got "
            f"{len(rows)} x {region.length:,}; ask for a shorter region, or for the signal as "
            "bigWig: /v1/runs/.../features/.../signal.bw"
        )
    active = of_rows(result.activations, rows, region)
    values = values_by_base(active, region, rows)
    for _, start, end in unread(region, result.spans):
        values[:, start - region.start : end - region.start] = np.nan
    return values


def _wider(region: Span, length: int) -> Span:
    return Span(region.contig, max(0, region.start - RADIUS), min(length, region.end + RADIUS))


def _top_peaks(
    result: Result, active: SortedActivations, region: Span, rows: Sequence[int]
) -> list[list[tuple[int, float]]]:
    """The highest local maxima of each row in a region.

    Near a base that was not read, which may hide a larger value, only the run's own peaks count:
    the run looked beyond its regions for them.
    """
    own = row_index(active.feature, active.strand)
    inside = (active.contig == region.contig) & (active.position >= region.start)
    is_peak = local_maxima(active) & inside & (active.position < region.end)
    gaps = unread(_wider(region, result.lengths[region.contig]), result.spans)
    if gaps:
        starts, ends = np.array([(gap.start, gap.end) for gap in gaps], dtype=np.int64).T
        last = np.searchsorted(starts, active.position + RADIUS, side="right") - 1
        unsure = (last >= 0) & (ends[last] > active.position - RADIUS)
        is_peak &= ~unsure | _is_known_peak(result, active, region, rows)
    found = []
    for row in rows:
        mine = np.flatnonzero(is_peak & (own == row))
        mine = mine[np.argsort(-active.value[mine], kind="stable")][:TOP_PEAKS]
        found.append([(int(active.position[at]), float(active.value[at])) for at in mine])
    return found


def _is_known_peak(
    result: Result, active: SortedActivations, region: Span, rows: Sequence[int]
) -> NDArray[np.bool_]:
    """Which active bases are peaks of the run in a region."""
    own = pc.field("feature").isin(sorted({row // 2 for row in rows}))
    here = (
        (pc.field("contig") == region.contig)
        & (pc.field("position") >= region.start)
        & (pc.field("position") < region.end)
    )
    columns = ["feature", "strand", "position"]
    table = result.table("peaks", filters=own & here, columns=columns)
    row, position = row_index(active.feature, active.strand), active.position
    peaks = row_index(table["feature"].to_numpy(), table["strand"].to_numpy())
    length = result.lengths[region.contig]
    keys = peaks * length + table["position"].to_numpy()
    known = np.isin(row * length + position, keys)
    return np.asarray(known & (active.contig == region.contig), dtype=bool)


def _active_in_run(result: Result, rows: Sequence[int]) -> int:
    """Active bases of feature rows in the whole run."""
    own = pc.field("feature").isin(sorted({row // 2 for row in rows}))
    table = result.table("features", filters=own, columns=["feature", "strand", "active_bases"])
    row = row_index(table["feature"].to_numpy(), table["strand"].to_numpy())
    counts = table["active_bases"].to_numpy()[np.isin(row, np.array(list(rows), np.int64))]
    return int(counts.sum())


def _with_known(result: Result, table: pa.Table) -> pa.Table:
    """What the run and the atlas know of feature rows, beside what they do in a region."""
    rows = row_index(table["feature"].to_numpy(), table["strand"].to_numpy())
    columns = ("density", "max", *KNOWN_COLUMNS)
    density, largest, match, match_q, motif, motif_q, label = catalog.features_beside(
        result, rows, columns
    )
    tested = pc.is_valid(match)
    source = pc.if_else(tested, "run", pc.if_else(pc.is_valid(motif), "atlas", None))
    known = {
        "density": density.cast(pa.float64()),
        "run_max": largest.cast(pa.float32()),
        "label": label,
        "motif_name": pc.coalesce(match, motif),
        "motif_q": pc.if_else(tested, match_q, motif_q).cast(pa.float64()),
        "motif_source": source.cast(pa.string()),
    }
    for name, values in known.items():
        table = table.append_column(name, values)
    return table


def _scanned_bases(result: Result) -> int:
    """Bases that each pass read."""
    column = result.table("features", columns=["scanned_bases"])["scanned_bases"]
    return int(pc.max(column).as_py() or 0)
