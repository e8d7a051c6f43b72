"""Figures of a region for papers: signals of feature rows over genes, motifs and bases.

    Region data --draw_region--> Drawing --figure_svg, figure_png--> file

Everything that is drawn is in the arguments: no database, no files, no clock. `app.figure_data`
collects it from a result. Texts are of 7 and 6 points, as journals ask, whatever the width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.logos import COLOURS as BASE_COLOURS
from annotations.peak_track import COLOR_WORDS, COLORS
from annotations.types import Span, counted
from annotations.unread import bases_read, unread_bins
from app.drawing import (
    Drawing,
    Line,
    Polygon,
    Shape,
    Text,
    fitted,
    svg,
    text_width,
    wrapped,
)
from app.figure_frame import PALETTES, Frame, Theme
from app.figure_genes import Gene, draw_genes
from app.figure_letters import letter_stacks, letter_values
from app.figure_runs import Runs, binned, peak_value
from app.figure_unread import WORDS, draw_key, draw_unread
from app.raster import png

SIZE: Final = 28 / 3
"""7 points in px."""
SMALL: Final = 8.0
"""6 points in px."""
MARGIN: Final = 8.0
GAP: Final = 7.0
"""Between two panels."""
MAX_LETTERS: Final = 150
"""Bases up to which a signal is drawn as letters."""
LEAST_STEP: Final = 1.0
"""Px of the narrowest signal: a narrower one is not seen in print."""
STEPS_PER_PX: Final = 2
"""Steps of a signal in a px: more than that are not seen, and their largest is drawn."""

MIN_WIDTH: Final = 200.0
MAX_WIDTH: Final = 2000.0
"""Widest figure in px: half a metre."""


SIGNAL_COLOURS: Final[Mapping[Theme, tuple[str, ...]]] = {
    "light": ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07d00", "#3a8fbf"),
    "dark": ("#56b4e9", "#f08a4b", "#33c79b", "#dd9bc0", "#e6b422", "#8ecdf0"),
}
"""Of signals in turn, after Okabe and Ito (2008): told apart with any kind of colour vision."""


class Peak(NamedTuple):
    """A peak of a feature row."""

    position: int
    """0-based."""
    evidence: str
    """A name of `annotations.peak_track.COLORS`."""


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A panel: a feature row over the region."""

    name: str
    """Such as ``374-``."""
    label: str
    """What the row is known for; may be empty."""
    runs: Runs
    peaks: Sequence[Peak] = ()
    note: str = ""
    """Stands in place of a signal that there is none of: why."""
    stacks: NDArray[np.float64] | None = None
    """Bits of A, C, G and T at each base of the region, shape (bases, 4), NaN where nothing is
    said: the panel is what a language model expects, and no feature."""

    @property
    def is_feature(self) -> bool:
        """Whether the panel is a feature row."""
        return self.stacks is None


class Site(NamedTuple):
    """A place where a motif stands."""

    start: int
    end: int
    strand: int


class Motif(NamedTuple):
    """A line of places of one motif."""

    name: str
    sites: Sequence[Site]


@dataclass(frozen=True, kw_only=True)
class Region:
    """What a figure shows."""

    contig: str
    start: int
    """0-based."""
    end: int
    signals: Sequence[Signal]
    genes: Sequence[Gene] | None = None
    """None where no genes are known."""
    motifs: Sequence[Motif] = ()
    bases: str | None = None
    """Of the region in the sense of the contig; None where they are not known or too many."""
    metadata: str = ""
    """Who made the data from what, for programs."""
    unread: Sequence[Span] = ()
    """Parts that were not read, as from `annotations.unread.unread`: unknown, not silent."""

    @property
    def span(self) -> Span:
        """Its place."""
        return Span(self.unread[0].contig if self.unread else 0, self.start, self.end)

    @property
    def silent(self) -> str:
        """What stands in place of a signal that is nowhere above 0."""
        read = bases_read(self.span, self.unread)
        if not read:
            return WORDS
        return "silent here" if read == self.end - self.start else "silent where it was read"

    @property
    def locus(self) -> str:
        """For people: 1-based, with commas."""
        return f"{self.contig}:{self.start + 1:,}-{self.end:,}"


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a figure looks."""

    width: float = 680.0
    """Px of 1/96 inch; 680 is 180 mm, the width of a page."""
    row_height: float = 44.0
    """Px of a signal."""
    theme: Theme = "light"
    scale: Literal["own", "shared"] = "own"
    """Whether each signal reaches to its own largest value in the region, or all to the largest."""


def figure_svg(region: Region, style: Style | None = None) -> str:
    """A figure as SVG text; see `draw_region`."""
    return svg(draw_region(region, style))


def figure_png(region: Region, style: Style | None = None, *, dpi: int = 300) -> bytes:
    """A figure as PNG; see `draw_region`.

    Raises
    ------
    LimitError
        If it would have more than `app.raster.MAX_PIXELS` dots.
    """
    return png(draw_region(region, style), dpi)


def draw_region(region: Region, style: Style | None = None) -> Drawing:
    """Signals over a region, with its ruler above and its motifs, genes and bases below.

    Parameters
    ----------
    region : Region
        What is shown.
    style : Style, optional
        How.

    Returns
    -------
    drawing : Drawing
        As high as it needs to be.
    """
    style = style or Style()
    palette = PALETTES[style.theme]
    gutter = min(max(0.23 * style.width, 74.0), 180.0)
    frame = Frame(region.start, region.end, MARGIN + gutter, style.width - MARGIN - 2.0, palette)
    shapes, y = _ruler(region, frame, style)
    largest = [peak_value(signal.runs, region.start, region.end) for signal in region.signals]
    features = [own for signal, own in zip(region.signals, largest, strict=True)
                if signal.is_feature]  # fmt: skip
    shared = max(features, default=0.0)
    colours = cycle(SIGNAL_COLOURS[style.theme])
    for signal, own in zip(region.signals, largest, strict=True):
        colour = next(colours) if signal.is_feature else palette.ink
        # bits are not on the scale of activations
        top = own if style.scale == "own" or not signal.is_feature else shared
        shapes += _signal(signal, region, frame, y, style, colour, top)
        y += style.row_height + GAP
    for motif in region.motifs:
        shapes += _motif(motif, frame, y)
        y += SIZE + 5
    if region.motifs:
        y += GAP - 5
    if region.genes is not None:
        drawn, height = draw_genes(region.genes, frame, y, gutter)
        shapes += drawn
        y += height + GAP
    if _letters(region):
        shapes += _bases(region, frame, y)
        y += SIZE + GAP
    keys, height = _evidence_key(region, frame, y, style.width)
    shapes += keys
    y += height
    if region.unread:
        shapes += draw_key(frame, MARGIN, y, SMALL)
        y += SMALL + GAP
    return Drawing(
        style.width,
        y + MARGIN - GAP,
        palette.ground,
        tuple(shapes),
        f"{', '.join(signal.name for signal in region.signals) or 'Genes'} at {region.locus}",
        describe(region, largest),
        region.metadata,
    )


def describe(region: Region, largest: Sequence[float]) -> str:
    """What a figure shows, for those who do not see it."""
    bases = counted(region.end - region.start, "base")
    said = [f"{region.locus}, {bases}, positions from 1."]
    if region.unread:
        missing = sum(gap.length for gap in region.unread)
        said.append(f"{counted(missing, 'base')} {WORDS}, hatched.")
    for signal, top in zip(region.signals, largest, strict=True):
        known = f", {signal.label}" if signal.label else ""
        what = signal.note or (f"at most {_value(top)}" if top > 0 else region.silent)
        peaks = f", {counted(len(signal.peaks), 'peak')}" if signal.peaks else ""
        kind = "Feature " if signal.is_feature else ""
        said.append(f"{kind}{signal.name}{known}: {what}{peaks}.")
    if region.genes:
        names = list(dict.fromkeys(gene.name for gene in region.genes if gene.name))
        said.append(f"Genes: {', '.join(names[:40])}{' and more' if len(names) > 40 else ''}.")
    return " ".join(said)


def ticks(start: int, end: int, most: int) -> list[int]:
    """Round positions in a region, 1-based: multiples of 1, 2 or 5 times a power of ten.

    Examples
    --------
    >>> ticks(200_000, 203_000, 6), ticks(0, 12, 4)
    ([200500, 201000, 201500, 202000, 202500, 203000], [5, 10])
    """
    wanted = (end - start) / max(1, most)
    power = 10 ** max(0, int(np.floor(np.log10(max(wanted, 1)))))
    step = next(int(times * power) for times in (1, 2, 5, 10) if times * power >= wanted)
    return list(range(-(-(start + 1) // step) * step, end + 1, step))


def _ruler(region: Region, frame: Frame, style: Style) -> tuple[list[Shape], float]:
    ink, soft = frame.palette.ink, frame.palette.soft
    y = MARGIN + SIZE
    size = counted(region.end - region.start, "base")
    room = style.width - 2 * MARGIN - text_width(size, SMALL) - 8
    shapes: list[Shape] = [
        Text(MARGIN, y - 2, fitted(region.locus, SIZE, room, bold=True), SIZE, ink, bold=True),
        Text(frame.right, y - 2, size, SMALL, soft, "end"),
    ]
    y += SMALL + 5
    widest = text_width(f"{region.end:,}", SMALL) + 16
    base_width = (frame.right - frame.left) / (region.end - region.start)
    for tick in ticks(region.start, region.end, int((frame.right - frame.left) / widest)):
        x = frame.x(tick - 1) + base_width / 2
        half = text_width(f"{tick:,}", SMALL) / 2
        shapes.append(Line(x, y + 3, x, y + 7, soft))
        if x - half >= frame.left - 12 and x + half <= style.width - 1:
            shapes.append(Text(x, y, f"{tick:,}", SMALL, soft, "middle"))
    shapes.append(Line(frame.left, y + 7, frame.right, y + 7, soft))
    return shapes, y + 7 + GAP


def _signal(
    signal: Signal,
    region: Region,
    frame: Frame,
    y: float,
    style: Style,
    colour: str,
    top: float,
) -> list[Shape]:
    palette, height = frame.palette, style.row_height
    ground = y + height - 6  # below it the marks of peaks
    room = frame.left - MARGIN - 8 - text_width(_value(top), SMALL)
    shapes: list[Shape] = [
        Text(MARGIN, y + SIZE - 1, fitted(signal.name, SIZE, room, bold=True), SIZE, colour,
             bold=True),
    ]  # fmt: skip
    lines = max(0, int((height - SIZE - 3) / (SMALL + 2)))
    for at, line in enumerate(wrapped(signal.label, SMALL, frame.left - MARGIN - 14, lines)):
        base = y + SIZE - 1 + (at + 1) * (SMALL + 2)
        shapes.append(Text(MARGIN, base, line, SMALL, palette.soft))
    shapes.append(Line(frame.left, ground, frame.right, ground, palette.rule))
    if region.unread:
        bins = min(int(frame.right - frame.left), region.end - region.start)
        missing = unread_bins(region.span, region.unread, bins)
        shapes += draw_unread(missing, frame, y + 2, ground)
    if top > 0:
        shapes += [
            Line(frame.left - 1, y + 2, frame.left - 1, ground, palette.soft),
            Line(frame.left - 4, y + 2, frame.left - 1, y + 2, palette.soft),
            Text(frame.left - 6, y + 2 + SMALL * 0.36, _value(top), SMALL, palette.soft, "end"),
            Text(frame.left - 6, ground + SMALL * 0.36, "0", SMALL, palette.soft, "end"),
            *_values(signal, region, frame, (ground, ground - y - 2), colour, top),
        ]
    own = peak_value(signal.runs, region.start, region.end)
    if signal.note or own == 0:
        middle = (frame.left + frame.right) / 2
        said = signal.note or region.silent
        shapes.append(Text(middle, ground - 6, said, SMALL, palette.soft, "middle"))
    for peak in signal.peaks:
        if region.start <= peak.position < region.end:
            x = frame.x(peak.position + 0.5)
            mark = ((x, ground + 1), (x + 2.6, ground + 5.5), (x - 2.6, ground + 5.5))
            shapes.append(Polygon(mark, evidence_colour(peak.evidence)))
    return shapes


def _values(
    signal: Signal,
    region: Region,
    frame: Frame,
    place: tuple[float, float],
    colour: str,
    top: float,
) -> list[Shape]:
    """The values of a signal as steps, or as letters where there is room for them."""
    ground, height = place
    bins = int((frame.right - frame.left) * STEPS_PER_PX)
    runs = binned(signal.runs, region.start, region.end, max(1, bins))
    if _letters(region) and signal.stacks is not None:
        return letter_stacks(signal.stacks, frame, place, top)
    if _letters(region):
        return letter_values(runs, region.bases or "", frame, place, top)
    points: list[tuple[float, float]] = []
    shapes: list[Shape] = []
    for start, end, value in zip(*runs, strict=True):
        left, right = frame.x(int(start)), frame.x(int(end))
        level = ground - float(value) / top * height
        if points and left > points[-1][0] + 1e-9:
            shapes.append(_steps(points, ground, colour))
            points = []
        points += [(left, level), (right, level)]
    if points:
        shapes.append(_steps(points, ground, colour))
    return shapes


def _steps(points: list[tuple[float, float]], ground: float, colour: str) -> Polygon:
    """An outline over touching steps, at least as wide as is seen."""
    left, (right, level) = points[0][0], points[-1]
    inner = [*points[:-1], (max(right, left + LEAST_STEP), level)]
    return Polygon(((left, ground), *inner, (inner[-1][0], ground)), colour)


def _letters(region: Region) -> bool:
    return region.bases is not None and region.end - region.start <= MAX_LETTERS


def _bases(region: Region, frame: Frame, y: float) -> list[Shape]:
    """The bases themselves, in the sense of the contig."""
    palette = frame.palette
    size = min(SMALL, 1.25 * (frame.right - frame.left) / (region.end - region.start))
    shapes: list[Shape] = [Text(MARGIN, y + SIZE - 2, "bases (+ strand)", SMALL, palette.soft)]
    for at, letter in enumerate((region.bases or "").upper()):
        x = frame.x(region.start + at + 0.5)
        colour = BASE_COLOURS.get(letter, palette.soft)
        shapes.append(Text(x, y + SIZE - 2, letter, size, colour, "middle"))
    return shapes


def _motif(motif: Motif, frame: Frame, y: float) -> list[Shape]:
    """A line of places of a motif, pointed in the sense in which it stands."""
    palette = frame.palette
    room = frame.left - 2 * MARGIN
    shapes: list[Shape] = [
        Text(MARGIN, y + SIZE - 2, fitted(motif.name, SMALL, room), SMALL, palette.soft),
        Line(frame.left, y + SIZE / 2, frame.right, y + SIZE / 2, palette.rule),
    ]
    for site in motif.sites:
        left, right = frame.x(site.start), frame.x(site.end)
        right = max(right, left + 1.5)
        tip = min(3.0, (right - left) / 2)
        top, middle, bottom = y + 1, y + SIZE / 2, y + SIZE - 1
        ahead = ((left, top), (right - tip, top), (right, middle), (right - tip, bottom),
                 (left, bottom))  # fmt: skip
        back = tuple((left + right - x, at) for x, at in ahead)
        sense = "+" if site.strand > 0 else "-"
        title = f"{motif.name} {site.start + 1:,}-{site.end:,} ({sense})"
        shapes.append(Polygon(ahead if site.strand > 0 else back, palette.gene, title))
    return shapes


def _evidence_key(
    region: Region, frame: Frame, y: float, width: float
) -> tuple[list[Shape], float]:
    """What the colours of the peaks mean; only those that are drawn."""
    seen = {
        peak.evidence
        for signal in region.signals
        for peak in signal.peaks
        if region.start <= peak.position < region.end
    }
    kinds = [kind for kind in COLORS if kind in seen]
    if not kinds:
        return [], 0.0
    words = {"unknown": "no label", "labelled": "no motif"}
    shapes: list[Shape] = [Text(MARGIN, y + SIZE - 2, "peaks", SMALL, frame.palette.soft)]
    x, base = frame.left, y + SIZE - 2
    for kind in kinds:
        said = words.get(kind, kind)
        wide = 10 + text_width(said, SMALL) + 10
        if x + wide > width - MARGIN and x > frame.left:
            x, base = frame.left, base + SMALL + 4
        mark = ((x + 3, base - 5.5), (x + 5.6, base - 1), (x + 0.4, base - 1))
        shapes.append(Polygon(mark, evidence_colour(kind), COLOR_WORDS[kind]))
        shapes.append(Text(x + 9, base, said, SMALL, frame.palette.soft))
        x += wide
    return shapes, base - y + 2 + GAP


def evidence_colour(kind: str) -> str:
    """The colour of a kind of evidence, as in bigBed files."""
    return "#{:02x}{:02x}{:02x}".format(*COLORS[kind])


def _value(value: float) -> str:
    """A value with three digits.

    Examples
    --------
    >>> _value(8), _value(0.01234), _value(1234.5)
    ('8', '0.0123', '1,234')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
