"""Two kinds of charts, drawn with `app.drawing`: lines, and dots with their intervals."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from app.drawing import Drawing, Line, Rect, Shape, Text, svg, text_width

INK: Final = "#1f2328"
FAINT: Final = "#d0d7de"
PAPER: Final = "#ffffff"
COLOURS: Final = ("#0b5cad", "#d1242f", "#7a7f87", "#b8860b", "#1a7f37", "#8250df", "#c45ab3")
"""Told apart by people who see red and green alike, with the marks of `_mark` besides."""
SIZE: Final = 12.0
_MARGIN: Final = 12.0
_WIDER: Final = 1.16
"""DejaVu Sans, which stands in for Helvetica where that is missing, is about so much wider."""


class Series(NamedTuple):
    """Points of one line; where `y` is None the line is broken."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]


class Dot(NamedTuple):
    """A value and the interval it is uncertain by; None where it was not measured."""

    value: float | None
    low: float | None = None
    high: float | None = None


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values that cover a range.

    Examples
    --------
    >>> ticks(0, 1), ticks(1.82, 1.99)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [1.8, 1.85, 1.9, 1.95, 2.0])
    """
    span = max(high - low, 1e-9)
    step = 10 ** math.floor(math.log10(span / most))
    step = next(step * by for by in (1, 2, 5, 10) if span / (step * by) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def line_chart(
    title: str,
    description: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    levels: Mapping[str, float] | None = None,
    steps: bool = False,
) -> str:
    """Lines over a common axis, with level lines across; SVG.

    Parameters
    ----------
    title, description : str
        The second is for people who cannot see it.
    series : sequence of Series
    x_label, y_label : str
    levels : mapping of str to float, optional
        Values that hold for all of x, by name.
    steps : bool
        Whether a value holds from its x to the next one, as in a histogram.
    """
    levels = levels or {}
    known = [y for one in series for y in one.y if y is not None] + list(levels.values())
    wide = [x for one in series for x in one.x]
    if not known or not wide:
        return _nothing(title, description)
    y_ticks, x_ticks = ticks(min(known), max(known)), ticks(min(wide), max(wide), 8)
    levelled = {name: f"{name} {level:.3f}" for name, level in levels.items()}
    legend = max(map(_room, [*(one.name for one in series), *levelled.values()]))
    left, right, top, bottom = 62.0, max(214.0, legend + 34), 40.0, 46.0
    width, height = 506.0 + right, 340.0

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / max(x_ticks[-1] - x_ticks[0], 1e-12)
        up = (y - y_ticks[0]) / max(y_ticks[-1] - y_ticks[0], 1e-12)
        return left + across * (width - left - right), height - bottom - up * (
            height - top - bottom
        )

    shapes: list[Shape] = [Text(left, 22, title, 14, INK, bold=True)]
    for y in y_ticks:
        _, level = at(x_ticks[0], y)
        shapes.append(Line(left, level, width - right, level, FAINT))
        shapes.append(Text(left - 6, level + 4, f"{y:g}", SIZE, INK, "end"))
    for x in x_ticks:
        across, _ = at(x, y_ticks[0])
        shapes.append(Line(across, height - bottom, across, height - bottom + 4, INK))
        shapes.append(Text(across, height - bottom + 18, f"{x:g}", SIZE, INK, "middle"))
    shapes.append(Text((left + width - right) / 2, height - 8, x_label, SIZE, INK, "middle"))
    shapes.append(Text(8, 28, y_label, 11, INK))
    names = []
    for number, (name, level) in enumerate(levels.items()):
        colour = COLOURS[(len(series) + number) % len(COLOURS)]
        _, y = at(x_ticks[0], level)
        for dash in range(int((width - left - right) // 10)):
            shapes.append(Line(left + 10 * dash, y, left + 10 * dash + 6, y, colour, 1.5))
        names.append((levelled[name], colour, len(series) + number))
    for number, one in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        points = [None if y is None else at(x, y) for x, y in zip(one.x, one.y, strict=True)]
        for here, following in pairwise(points):
            if here is None or following is None:
                continue
            if steps:
                shapes.append(Line(*here, following[0], here[1], colour, 1.5))
                shapes.append(Line(following[0], here[1], *following, colour, 1.5))
            else:
                shapes.append(Line(*here, *following, colour, 1.5))
        if not steps:
            shapes += [mark for point in points if point for mark in _mark(*point, number)]
        names.append((one.name, colour, number))
    for row, (name, colour, number) in enumerate(names):
        y = top + 10 + 18 * row
        shapes += _mark(width - right + 16, y - 4, number, colour)
        shapes.append(Text(width - right + 26, y, name, SIZE, INK))
    return svg(Drawing(width, height, PAPER, tuple(shapes), title, description))


def dot_chart(
    title: str,
    description: str,
    rows: Mapping[str, Mapping[str, Dot]],
    *,
    x_label: str,
    zero: float | None = None,
) -> str:
    """One line for each thing, a dot with its interval for each series; SVG.

    Parameters
    ----------
    title, description : str
    rows : mapping of str to mapping of str to Dot
        Things, in order, and of each the series; the first thing names all series.
    x_label : str
    zero : float, optional
        Where an upright line is drawn.
    """
    series = list(dict.fromkeys(name for dots in rows.values() for name in dots))
    known = [x for dots in rows.values() for dot in dots.values() for x in dot if x is not None]
    if not known:
        return _nothing(title, description)
    if zero is not None:
        known.append(zero)
    x_ticks = ticks(min(known), max(known), 8)
    label = max(map(_room, rows))
    left, right, top = _MARGIN + label + 10, _MARGIN, 62.0
    step = 7.0 * max(2, len(series)) + 8
    width, bottom = 720.0, 42.0
    height = top + step * len(rows) + bottom
    # names of the series stand above, in as many rows as they need
    names: list[Shape] = []
    across, line = left, 40.0
    for number, name in enumerate(series):
        room = _room(name) + 28
        if across + room > width - right:
            across, line = left, line + 18
        names += _mark(across + 5, line - 4, number)
        names.append(Text(across + 14, line, name, SIZE, INK))
        across += room
    shift = line - 40.0
    height, top = height + shift, top + shift

    def at(x: float) -> float:
        share = (x - x_ticks[0]) / max(x_ticks[-1] - x_ticks[0], 1e-12)
        return left + share * (width - left - right)

    shapes: list[Shape] = [Text(_MARGIN, 22, title, 14, INK, bold=True), *names]
    for x in x_ticks:
        shapes.append(Line(at(x), top - 6, at(x), height - bottom, FAINT))
        shapes.append(Text(at(x), height - bottom + 16, f"{x:g}", SIZE, INK, "middle"))
    if zero is not None:
        shapes.append(Line(at(zero), top - 6, at(zero), height - bottom, INK, 1))
    shapes.append(Text((left + width - right) / 2, height - 8, x_label, SIZE, INK, "middle"))
    for row, (name, dots) in enumerate(rows.items()):
        y = top + step * row
        if row:
            shapes.append(Line(_MARGIN, y - 3, width - right, y - 3, FAINT, 0.5))
        shapes.append(Text(left - 10, y + step / 2, name, SIZE, INK, "end"))
        for number, one in enumerate(series):
            dot = dots.get(one, Dot(None))
            if dot.value is None:
                continue
            level = y + 5 + 7.0 * number
            colour = COLOURS[number % len(COLOURS)]
            if dot.low is not None and dot.high is not None:
                shapes.append(Line(at(dot.low), level, at(dot.high), level, colour, 1.5))
            shapes += _mark(at(dot.value), level, number)
    return svg(Drawing(width, height, PAPER, tuple(shapes), title, description))


def _room(text: str) -> float:
    """Width of a text in px in any font that is likely."""
    return _WIDER * text_width(text, SIZE)


def _mark(x: float, y: float, number: int, colour: str | None = None) -> list[Shape]:
    """The mark of a series: full or open squares, large or small, so that colour is not all."""
    colour = colour or COLOURS[number % len(COLOURS)]
    half = (3.0, 3.0, 2.2)[number % 3]
    shapes: list[Shape] = [Rect(x - half, y - half, 2 * half, 2 * half, colour)]
    if number % 2:
        shapes.append(Rect(x - half + 1.2, y - half + 1.2, 2 * half - 2.4, 2 * half - 2.4, PAPER))
    return shapes


def _nothing(title: str, description: str) -> str:
    shapes = (
        Text(_MARGIN, 22, title, 14, INK, bold=True),
        Text(_MARGIN, 46, "not measured", SIZE, INK),
    )
    return svg(Drawing(720, 60, PAPER, shapes, title, description))
