"""Activations and genes of a region as figures inside a page: strips that fit any width.

Places are percentages of the width and colours are classes of the style sheet, so that a figure
follows the window and the colour scheme. Figures for papers are `app.figures`.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final, Literal, NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.gene_track import gene_models
from annotations.region_activity import largest_in_bins
from annotations.types import Span
from annotations.unread import unread_bins
from app.catalog import Result
from app.region_answers import Comparison, row_name
from app.web.in_run import level

BINS: Final = 300
"""Parts of a strip; a region of no more bases shows every base."""

TICKS: Final = 5
"""Numbers under a figure."""

MAX_LANES: Final = 8
"""Lines of genes; what finds no place is counted."""

MIN_NAMED: Final = 6.0
"""Least width in per cent of a gene whose name stands in the figure."""

Scale = Literal["own", "same"]
"""Whether each strip goes up to its own largest value, or all to the largest of all."""


class Cell(NamedTuple):
    """A piece of a heat strip."""

    left: float
    """Per cent of the width."""
    width: float
    level: int
    """Step of the colours, 1 to 9."""
    said: str


class Gap(NamedTuple):
    """A piece of a strip that was not read; in per cent of the width."""

    left: float
    width: float


class Strip(NamedTuple):
    """A feature row over a region."""

    name: str
    cells: list[Cell]
    outline: str
    """Path of an SVG of `bins` by 100."""
    bins: int
    top: float
    """Value at the upper edge."""
    said: str
    gaps: list[Gap]
    """What was not read; the same in all strips of a region."""
    nothing: str
    """What stands in place of the scale where there are no cells."""


class Tick(NamedTuple):
    """A number under a figure."""

    left: float
    text: str


class Block(NamedTuple):
    """A part of a gene."""

    left: float
    width: float
    coding: bool


class Gene(NamedTuple):
    """A gene, or as much of it as lies in a region."""

    name: str
    strand: str
    place: str
    left: float
    width: float
    named: bool
    blocks: list[Block]


class Genes(NamedTuple):
    """Genes of a region."""

    lanes: list[list[Gene]]
    left_out: int


def strips(found: Comparison, scale: Scale) -> list[Strip]:
    """A strip for each row of a comparison."""
    bins = min(BINS, found.region.length)
    values = [largest_in_bins(found.active, found.region, row, bins) for row in found.rows]
    highest = max((float(own.max()) for own in values), default=0.0)
    unread = unread_bins(found.region, found.unread, bins)
    return [
        _strip(row_name(row), own, unread, found.region, highest if scale == "same" else None)
        for row, own in zip(found.rows, values, strict=True)
    ]


def ticks(region: Span) -> list[Tick]:
    """Places under a figure, 1-based.

    Examples
    --------
    >>> [tick.text for tick in ticks(Span(0, 0, 1000))]
    ['1', '251', '501', '750', '1,000']
    """
    steps = np.linspace(0, region.length - 1, min(TICKS, region.length)).round().astype(int)
    return [
        Tick(round(100 * (step + 0.5) / region.length, 2), f"{region.start + step + 1:,}")
        for step in steps.tolist()
    ]


def genes_of(result: Result, region: Span) -> Genes:
    """The genes of a run in a region, none of them over another."""
    if result.genes is None:
        return Genes([], 0)
    table = pq.read_table(
        result.genes,
        filters=(pc.field("contig") == region.contig)
        & (pc.field("start") < region.end)
        & (pc.field("end") > region.start),
    )
    items = gene_models(table).sort_by([("start", "ascending"), ("end", "descending")])
    lanes: list[list[Gene]] = []
    left_out = 0
    for item in items.to_pylist():
        gene = _gene(item, region)
        # a name needs room to the right of a gene that is too short for it
        lane = next((own for own in lanes if own[-1].left + own[-1].width + 1 < gene.left), None)
        if lane is not None:
            lane.append(gene)
        elif len(lanes) < MAX_LANES:
            lanes.append([gene])
        else:
            left_out += 1
    return Genes(lanes, left_out)


def _strip(
    name: str,
    values: NDArray[np.float32],
    unread: NDArray[np.bool_],
    region: Span,
    highest: float | None,
) -> Strip:
    bins = len(values)
    top = float(values.max()) if highest is None else highest
    edges = np.arange(bins + 1) * region.length // bins + region.start
    steps = [level(value, top) for value in values.tolist()]
    cells = []
    for step, group in groupby(range(bins), key=lambda at: steps[at]):
        first, *_, last = [*group] * 2
        if step:
            low, high = int(edges[first]) + 1, int(edges[last + 1])
            largest = float(values[first : last + 1].max())
            place = f"{low:,}" if low == high else f"{low:,} to {high:,}"
            left, right = 100 * first / bins, 100 * (last + 1) / bins
            cells.append(
                Cell(round(left, 3), round(right - left, 3), step, f"{place}: {largest:.3g}")
            )
    peak = int(values.argmax())
    read = bins - int(unread.sum())
    nothing = "silent here" if read == bins else "silent where it was read"
    nothing = nothing if read else "not read by this run"
    said = f"feature {name} is {nothing}"
    if values[peak] > 0:
        share = np.count_nonzero(values) / max(read, 1)
        where = f"strongest {values[peak]:.3g} near {int(edges[peak]) + 1:,}"
        said = f"feature {name}: {where}, active in {100 * share:.2g}% of "
        said += "the strip" if read == bins else f"the {100 * read / bins:.2g}% that was read"
    return Strip(name, cells, _outline(values, top), bins, top, said, _gaps(unread), nothing)


def _gaps(unread: NDArray[np.bool_]) -> list[Gap]:
    """Neighbours that were not read, made one."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], unread, [False]]).astype(np.int8)))
    scale = 100 / len(unread)
    return [
        Gap(round(first * scale, 3), round((past - first) * scale, 3))
        for first, past in edges.reshape(-1, 2).tolist()
    ]


def _outline(values: NDArray[np.float32], top: float) -> str:
    """The path of a curve with a step at each bin, closed along the ground."""
    heights = 100 - 100 * values / top if top > 0 else np.full(len(values), 100.0)
    words = ["M0 100"]
    for height, group in groupby(enumerate(heights.round(1).tolist()), key=lambda pair: pair[1]):
        end = [at for at, _ in group][-1] + 1
        words.append(f"V{height:g}H{end}")
    return "".join([*words, "V100Z"])


def _gene(item: dict[str, object], region: Span) -> Gene:
    """An item of `annotations.gene_track.gene_models`, cut to a region."""
    start, end = int(str(item["start"])), int(str(item["end"]))
    left, width = _part(start, end, region)
    sizes, starts = (_numbers(str(item[name])) for name in ("blockSizes", "chromStarts"))
    thick = int(str(item["thickStart"])), int(str(item["thickEnd"]))
    blocks: list[Block] = []
    for size, offset in zip(sizes, starts, strict=True):
        low, high = start + offset, start + offset + size
        blocks += _blocks(low, high, thick, region)
    strand = str(item["strand"])
    return Gene(
        str(item["name"]),
        strand if strand != "." else "",
        f"{start + 1:,} to {end:,}",
        left,
        width,
        width >= MIN_NAMED,
        blocks,
    )


def _blocks(low: int, high: int, thick: tuple[int, int], region: Span) -> Iterable[Block]:
    """An exon, its coding part thick."""
    inner = max(low, thick[0]), min(high, thick[1])
    pieces = [(low, high, False)]
    if inner[0] < inner[1]:
        pieces = [(low, inner[0], False), (*inner, True), (inner[1], high, False)]
    for start, end, coding in pieces:
        if start < end and start < region.end and end > region.start:
            yield Block(*_part(start, end, region), coding)


def _part(start: int, end: int, region: Span) -> tuple[float, float]:
    """Left edge and width of an interval in per cent of a region."""
    low, high = max(start, region.start), min(end, region.end)
    left = 100 * (low - region.start) / region.length
    return round(left, 3), round(100 * (high - low) / region.length, 3)


def _numbers(text: str) -> Sequence[int]:
    return [int(part) for part in text.split(",") if part]
