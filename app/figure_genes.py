"""The genes of a figure: packed into lanes, names beneath, exons with the sense of the gene."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from app.drawing import Line, Polygon, Rect, Shape, Text, fitted, text_width
from app.figure_frame import Frame

NAME: Final = 8.0
"""Size of names in px."""
BLOCK: Final = 7.0
"""Height of a coding exon in px; of another, half of it."""
LANE: Final = BLOCK + NAME + 6
MAX_LANES: Final = 8
MAX_GENES: Final = 400
"""Genes beyond which none are drawn: they could not be told apart."""
BETWEEN: Final = 6.0
"""Px between two items of a lane."""
CHEVRON_STEP: Final = 14.0
MAX_CHEVRONS: Final = 8
"""Angles along an intron, or an exon whose end is not seen."""


class Gene(NamedTuple):
    """A transcript, or a gene of which no more is known."""

    name: str
    strand: int
    """+1, -1 or 0."""
    blocks: tuple[tuple[int, int], ...]
    """Exons, ascending, 0-based and half-open."""
    thick: tuple[int, int] | None = None
    """Coding part; None where nothing is coding."""

    @property
    def start(self) -> int:
        """First base."""
        return self.blocks[0][0]

    @property
    def end(self) -> int:
        """One past the last base."""
        return self.blocks[-1][1]


def draw_genes(
    genes: Sequence[Gene], frame: Frame, y: float, gutter: float
) -> tuple[list[Shape], float]:
    """Genes in as many lanes as they need.

    Parameters
    ----------
    genes : sequence of Gene
        That touch the region, in any order.
    frame : Frame
        Where bases are drawn.
    y : float
        Top of the first lane.
    gutter : float
        Px for the words at the left.

    Returns
    -------
    shapes : list of Shape
    height : float
        Px that they take.
    """
    soft = frame.palette.soft
    words = Text(frame.left - gutter, y + BLOCK, "genes", NAME, soft)
    inside = [gene for gene in genes if gene.end > frame.start and gene.start < frame.end]
    if not inside:
        return [words, _said("none here", frame, y)], LANE - 6
    if len(inside) > MAX_GENES:
        said = f"{len(inside):,} transcripts; a smaller region shows them"
        return [words, _said(said, frame, y)], LANE - 6
    lanes, left_out = pack(inside, frame)
    shapes: list[Shape] = [words]
    for at, lane in enumerate(lanes):
        for gene in lane:
            shapes += _gene(gene, frame, y + at * LANE)
    if left_out:
        more = fitted(f"and {left_out:,} more", NAME, gutter - 8)
        shapes.append(Text(frame.left - gutter, y + BLOCK + NAME + 2, more, NAME, soft))
    return shapes, len(lanes) * LANE - 6


def pack(genes: Sequence[Gene], frame: Frame) -> tuple[list[list[Gene]], int]:
    """Genes in lanes in which neither they nor their names overlap.

    Parameters
    ----------
    genes : sequence of Gene
        That touch the region.
    frame : Frame
        Where bases are drawn.

    Returns
    -------
    lanes : list of list of Gene
        At most `MAX_LANES`.
    left_out : int
        Genes that fit into none.
    """
    lanes: list[list[Gene]] = []
    ends: list[float] = []
    left_out = 0
    for gene in sorted(genes, key=lambda each: (each.start, -each.end, each.name)):
        left, right = _extent(gene, frame)
        free = next((at for at, end in enumerate(ends) if end + BETWEEN <= left), len(ends))
        if free == MAX_LANES:
            left_out += 1
            continue
        if free == len(ends):
            ends.append(right)
            lanes.append([])
        ends[free] = right
        lanes[free].append(gene)
    return lanes, left_out


def _extent(gene: Gene, frame: Frame) -> tuple[float, float]:
    """From where to where a gene and its name are drawn."""
    left, right = frame.x(gene.start), frame.x(gene.end)
    name = text_width(_name(gene, frame), NAME)
    at = _name_middle(gene, frame)
    return min(left, at - name / 2), max(right, at + name / 2)


def _name(gene: Gene, frame: Frame) -> str:
    return fitted(gene.name, NAME, (frame.right - frame.left) / 2)


def _name_middle(gene: Gene, frame: Frame) -> float:
    """Middle of the name: that of what is seen of the gene, but inside the frame."""
    half = text_width(_name(gene, frame), NAME) / 2
    middle = (frame.x(gene.start) + frame.x(gene.end)) / 2
    return min(max(middle, frame.left + half), frame.right - half)


def _gene(gene: Gene, frame: Frame, y: float) -> list[Shape]:
    palette = frame.palette
    middle = y + BLOCK / 2
    left, right = frame.x(gene.start), frame.x(gene.end)
    shapes: list[Shape] = [Line(left, middle, right, middle, palette.gene)]
    for (_, before), (after, _) in zip(gene.blocks, gene.blocks[1:], strict=False):
        shapes += _chevrons(frame.x(before), frame.x(after), middle, gene.strand, palette.gene)
    title = f"{gene.name} {gene.start + 1:,}-{gene.end:,}"
    for start, end in gene.blocks:
        shapes += _block(gene, start, end, frame, y, title)
    shapes.append(
        Text(_name_middle(gene, frame), y + BLOCK + NAME + 1, _name(gene, frame), NAME,
             palette.ink, "middle")
    )  # fmt: skip
    return shapes


def _block(gene: Gene, start: int, end: int, frame: Frame, y: float, title: str) -> list[Shape]:
    """An exon: its coding part high, the rest low; the last one of the gene is pointed."""
    if end <= frame.start or start >= frame.end:
        return []
    palette = frame.palette
    low, high = gene.thick or (start, start)
    pieces = [(start, min(end, low), False), (max(start, low), min(end, high), True)]
    pieces.append((max(start, high), end, False))
    if gene.thick is None:
        pieces = [(start, end, False)]
    shapes: list[Shape] = []
    for first, last, coding in pieces:
        if last <= first:
            continue
        left, right = frame.x(first), frame.x(last)
        width = max(right - left, 0.6)
        height = BLOCK if coding else BLOCK / 2 + 1
        top = y + (BLOCK - height) / 2
        fill = palette.gene if coding else palette.noncoding
        points_on = _is_tip(gene, first, last) and first >= frame.start and last <= frame.end
        if points_on and width >= 4:
            shapes.append(_pointed(left, right, top, height, gene.strand, fill, title))
        else:
            shapes.append(Rect(left, top, width, height, fill, title))
            if coding and width >= 2 * CHEVRON_STEP:
                shapes += _chevrons(left, right, y + BLOCK / 2, gene.strand, palette.ground)
    return shapes


def _is_tip(gene: Gene, first: int, last: int) -> bool:
    """Whether a piece is the end at which a gene stops."""
    return (gene.strand > 0 and last == gene.end) or (gene.strand < 0 and first == gene.start)


def _pointed(
    left: float, right: float, top: float, height: float, strand: int, fill: str, title: str
) -> Polygon:
    tip = min(height / 2 + 0.5, right - left)
    ahead = (
        (left, top),
        (right - tip, top),
        (right, top + height / 2),
        (right - tip, top + height),
        (left, top + height),
    )
    back = tuple((left + right - x, y) for x, y in ahead)
    return Polygon(ahead if strand > 0 else back, fill, title)


def _chevrons(left: float, right: float, middle: float, strand: int, colour: str) -> list[Shape]:
    """Small angles that show the sense of a gene."""
    number = min(int((right - left) // CHEVRON_STEP), MAX_CHEVRONS)
    if not strand or not number:
        return []
    shapes: list[Shape] = []
    for at in range(number):
        x = left + (at + 0.5) * (right - left) / number
        tail = x - 1.5 * strand
        tip = x + 1.0 * strand
        shapes.append(Line(tail, middle - 2, tip, middle, colour, 0.6))
        shapes.append(Line(tail, middle + 2, tip, middle, colour, 0.6))
    return shapes


def _said(text: str, frame: Frame, y: float) -> Text:
    middle = (frame.left + frame.right) / 2
    return Text(middle, y + BLOCK, text, NAME, frame.palette.soft, "middle")
