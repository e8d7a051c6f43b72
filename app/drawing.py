"""Drawings of a few kinds of shapes, written as SVG; `app.raster` writes the same as PNG.

One list of shapes makes both files, so that a figure cannot differ between them. Lengths are in
px of 1/96 inch, x to the right and y downwards. The same drawing gives the same bytes.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from html import escape
from typing import Final, Literal, NamedTuple

from annotations.logos import OUTLINES

PX_PER_MM: Final = 96 / 25.4
"""Pixels of CSS in a millimetre."""

FONT: Final = "Helvetica, Arial, 'Liberation Sans', sans-serif"
"""Fonts of one set of widths, so that a figure looks the same in each of them."""

Anchor = Literal["start", "middle", "end"]

_WIDTHS: Final[Mapping[str, int]] = {
    letter: width
    for width, letters in (
        (222, "ijl"),
        (191, "'"),
        (260, "|"),
        (278, " !,./:;I[\\]ft"),
        (333, "()-`r"),
        (334, "{}"),
        (355, '"'),
        (389, "*"),
        (469, "^"),
        (500, "Jckszvxy"),
        (556, "#$0123456789?L_abdeghnopqu"),
        (584, "+<=>~"),
        (611, "FTZ"),
        (667, "&ABEKPSVXY"),
        (722, "CDHNRUw"),
        (778, "GOQ"),
        (833, "Mm"),
        (889, "%"),
        (944, "W"),
        (1015, "@"),
    )
    for letter in letters
}
"""Widths of Helvetica in thousandths of its size (Adobe Font Metrics)."""

_WIDEST_KNOWN: Final = 600
_WIDE: Final = 1000


class Rect(NamedTuple):
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    title: str = ""
    """What a pointer that rests on it is told."""


class Polygon(NamedTuple):
    """A filled outline."""

    points: tuple[tuple[float, float], ...]
    fill: str
    title: str = ""


class Line(NamedTuple):
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float
    stroke: str
    width: float = 0.75


class Text(NamedTuple):
    """A line of text; `y` is its base line."""

    x: float
    y: float
    text: str
    size: float
    fill: str
    anchor: Anchor = "start"
    bold: bool = False


class Letter(NamedTuple):
    """A base that fills a box; one of A, C, G, T."""

    x: float
    y: float
    width: float
    height: float
    letter: str
    fill: str


Shape = Rect | Polygon | Line | Text | Letter


class Drawing(NamedTuple):
    """Shapes, the first at the bottom, and what they show."""

    width: float
    height: float
    ground: str
    """Colour of the paper."""
    shapes: tuple[Shape, ...]
    title: str
    description: str
    metadata: str = ""
    """Who made it from what, for programs."""


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Width of a text in px, about.

    Parameters
    ----------
    text : str
        One line.
    size : float
        Size of the font in px.
    bold : bool
        A bold text is a fourteenth wider.
    """
    total = sum(_WIDTHS.get(letter, _unknown_width(letter)) for letter in text)
    return total * size / 1000 * (15 / 14 if bold else 1)


def fitted(text: str, size: float, room: float, *, bold: bool = False) -> str:
    """A text, cut with three dots where it is wider than its room.

    Examples
    --------
    >>> fitted("REB1", 10, 100), fitted("a very long label", 10, 40)
    ('REB1', 'a ver...')
    """
    if text_width(text, size, bold=bold) <= room:
        return text
    kept = text
    while kept and text_width(f"{kept}...", size, bold=bold) > room:
        kept = kept[:-1]
    return f"{kept.rstrip()}..." if kept else ""


def wrapped(text: str, size: float, room: float, lines: int) -> list[str]:
    """A text in at most some lines, cut with three dots where it does not end in the last.

    Examples
    --------
    >>> wrapped("REB1-like motif; exon", 10, 60, 2)
    ['REB1-like', 'motif; exon']
    """
    made: list[str] = []
    words = text.split()
    while words and len(made) < lines:
        line = words.pop(0)
        while words and text_width(f"{line} {words[0]}", size) <= room:
            line = f"{line} {words.pop(0)}"
        if words and len(made) == lines - 1:
            line = " ".join([line, *words])
        made.append(fitted(line, size, room))
    return made


def svg(drawing: Drawing) -> str:
    """A drawing as one SVG element, legible to people who cannot see it by its title and desc.

    Parameters
    ----------
    drawing : Drawing
        Texts in it may be anybody's: they are escaped.

    Returns
    -------
    text : str
        Its size is in px, so that 96 of them are an inch.
    """
    width, height = number(drawing.width), number(drawing.height)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="{escape(FONT)}">'
    )
    about = (
        f'<title id="title">{clean(drawing.title)}</title>'
        f'<desc id="desc">{clean(drawing.description)}</desc>'
    )
    if drawing.metadata:
        about += f"<metadata>{clean(drawing.metadata)}</metadata>"
    ground = f'<rect width="{width}" height="{height}" fill="{drawing.ground}"/>'
    return "\n".join([head, about, ground, *map(_svg, drawing.shapes), "</svg>", ""])


def number(value: float) -> str:
    """A length with at most two decimals.

    Examples
    --------
    >>> number(3), number(1 / 3), number(-0.001)
    ('3', '0.33', '0')
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def clean(text: str) -> str:
    """A text for XML: escaped, without the characters that XML does not allow."""
    return escape("".join(c if c.isprintable() or c in "\n\t" else " " for c in text))


def _svg(shape: Shape) -> str:
    if isinstance(shape, Rect):
        place = " ".join(
            f'{name}="{number(value)}"'
            for name, value in zip(("x", "y", "width", "height"), shape[:4], strict=True)
        )
        return _closed(f'<rect {place} fill="{shape.fill}"', "rect", shape.title)
    if isinstance(shape, Polygon):
        return _closed(f'<path d="{_path(shape)}" fill="{shape.fill}"', "path", shape.title)
    if isinstance(shape, Line):
        return (
            f'<path d="M{number(shape.x1)} {number(shape.y1)}L{number(shape.x2)} '
            f'{number(shape.y2)}" stroke="{shape.stroke}" stroke-width="{number(shape.width)}"/>'
        )
    if isinstance(shape, Letter):
        across, down = (f"{side / 100:.5f}".rstrip("0").rstrip(".") for side in shape[2:4])
        return (
            f'<path d="{OUTLINES[shape.letter]}" fill="{shape.fill}" transform="translate('
            f'{number(shape.x)} {number(shape.y)})scale({across} {down})"/>'
        )
    anchor = "" if shape.anchor == "start" else f' text-anchor="{shape.anchor}"'
    weight = ' font-weight="bold"' if shape.bold else ""
    return (
        f'<text x="{number(shape.x)}" y="{number(shape.y)}" font-size="{number(shape.size)}" '
        f'fill="{shape.fill}"{anchor}{weight}>{clean(shape.text)}</text>'
    )


def _closed(start: str, name: str, title: str) -> str:
    return f"{start}><title>{clean(title)}</title></{name}>" if title else f"{start}/>"


def _path(shape: Polygon) -> str:
    """An outline, with H and V where a side is level or upright: signals are steps."""
    return "".join(_moves(shape.points)) + "Z"


def _moves(points: tuple[tuple[float, float], ...]) -> Iterator[str]:
    last: tuple[str, str] | None = None
    for x, y in points:
        here = number(x), number(y)
        if last is None:
            yield f"M{here[0]} {here[1]}"
        elif here == last:
            continue
        elif here[1] == last[1]:
            yield f"H{here[0]}"
        elif here[0] == last[0]:
            yield f"V{here[1]}"
        else:
            yield f"L{here[0]} {here[1]}"
        last = here


def _unknown_width(letter: str) -> int:
    return _WIDE if unicodedata.east_asian_width(letter) in "WF" else _WIDEST_KNOWN
