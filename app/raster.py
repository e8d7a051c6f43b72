"""A drawing as PNG: the shapes of `app.drawing`, drawn twice as large and averaged.

Pillow draws them; the letters of texts come from the font that it carries, whatever fonts this
machine has, so that the same drawing gives the same pixels everywhere.
"""

import io
import re
import threading
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from annotations.errors import LimitError
from annotations.logos import OUTLINES
from app.drawing import Drawing, Letter, Line, Polygon, Rect, Shape, Text

MAX_PIXELS: Final = 12_000_000
"""Largest picture; four times as many are in memory while it is drawn, 3 bytes each."""

OVERSAMPLING: Final = 2
"""Pixels drawn for one that is kept, in each direction."""

CURVE_STEPS: Final = 8
"""Straight pieces of a curve of a letter."""

_ONE_AT_A_TIME: Final = threading.Lock()
"""A large picture needs 150 MB: those who ask together wait for each other."""


def png(drawing: Drawing, dpi: int) -> bytes:
    """A drawing as PNG.

    Parameters
    ----------
    drawing : Drawing
        Its title, description and metadata stand in the file as texts.
    dpi : int
        Dots per inch; 96 gives a dot for each px.

    Returns
    -------
    data : bytes
        The same for the same drawing; the file says its resolution.

    Raises
    ------
    LimitError
        If the picture would have more than `MAX_PIXELS`.
    """
    scale = dpi / 96
    width, height = (max(1, round(side * scale)) for side in (drawing.width, drawing.height))
    if width * height > MAX_PIXELS:
        raise LimitError(
            f"the picture would have {width} x {height} dots, at most {MAX_PIXELS:,} are drawn; "
            "ask for a lower dpi, a smaller width or fewer features, or for SVG"
        )
    about = PngImagePlugin.PngInfo()
    for key, text in (
        ("Title", drawing.title),
        ("Description", drawing.description),
        ("Comment", drawing.metadata),
    ):
        if text:
            about.add_itxt(key, text)
    with _ONE_AT_A_TIME:
        size = width * OVERSAMPLING, height * OVERSAMPLING
        large = Image.new("RGB", size, drawing.ground)
        brush = ImageDraw.Draw(large)
        for shape in drawing.shapes:
            _draw(brush, shape, scale * OVERSAMPLING)
        small = large.reduce(OVERSAMPLING)
    stream = io.BytesIO()
    small.save(stream, "PNG", pnginfo=about, dpi=(dpi, dpi), compress_level=6)
    return stream.getvalue()


def _draw(brush: ImageDraw.ImageDraw, shape: Shape, scale: float) -> None:
    if isinstance(shape, Rect):
        _fill_box(brush, shape.x, shape.y, shape.width, shape.height, shape.fill, scale)
    elif isinstance(shape, Polygon):
        brush.polygon([(x * scale, y * scale) for x, y in shape.points], fill=shape.fill)
    elif isinstance(shape, Line):
        place = [value * scale for value in shape[:4]]
        brush.line(place, fill=shape.stroke, width=max(1, round(shape.width * scale)))
    elif isinstance(shape, Letter):
        across, down = shape.width * scale / 100, shape.height * scale / 100
        left, top = shape.x * scale, shape.y * scale
        outline = [(left + x * across, top + y * down) for x, y in letter_outline(shape.letter)]
        brush.polygon(outline, fill=shape.fill)
    else:
        _write(brush, shape, scale)


def _fill_box(
    brush: ImageDraw.ImageDraw,
    x: float,
    y: float,
    width: float,
    height: float,
    fill: str,
    scale: float,
) -> None:
    """A rectangle to the nearest dots, at least one wide and high: none vanishes."""
    left, top = round(x * scale), round(y * scale)
    right, bottom = round((x + width) * scale), round((y + height) * scale)
    # Pillow draws both corners
    brush.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill=fill)


def _write(brush: ImageDraw.ImageDraw, shape: Text, scale: float) -> None:
    font = _font(round(shape.size * scale, 1))
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
    text, place = _in_font(shape.text), (shape.x * scale, shape.y * scale)
    brush.text(place, text, fill=shape.fill, font=font, anchor=anchor)
    if shape.bold:
        # the font has one weight: a bold letter is one that is written twice, a little aside
        aside = place[0] + shape.size * scale / 22, place[1]
        brush.text(aside, text, fill=shape.fill, font=font, anchor=anchor)


@lru_cache(maxsize=64)
def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise LimitError("this Pillow was built without FreeType, which draws texts; ask for SVG")
    return font


def _in_font(text: str) -> str:
    """A text in the letters that the font has: those of ASCII, others without their accents."""
    plain = unicodedata.normalize("NFKD", text.replace("\N{EN DASH}", "-"))
    kept = (letter for letter in plain if not unicodedata.combining(letter))
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in kept)


@lru_cache(maxsize=8)
def letter_outline(letter: str) -> tuple[tuple[float, float], ...]:
    """The outline of a base as one polygon in a box of 100 by 100.

    The hole of an A is joined to its outside by a seam of no width: polygons are filled where a
    line to the outside crosses an odd number of sides.

    Parameters
    ----------
    letter : {"A", "C", "G", "T"}
        One of `annotations.logos.OUTLINES`.
    """
    points: list[tuple[float, float]] = []
    first: tuple[float, float] | None = None
    for contour in _contours(OUTLINES[letter]):
        points += [*contour, contour[0]]
        if first is None:
            first = contour[0]
        else:
            points.append(first)
    return tuple(points)


def _contours(path: str) -> Iterator[list[tuple[float, float]]]:
    """Closed outlines of a path of M, L, H, V, C, S and Z, all of absolute places."""
    points: list[tuple[float, float]] = []
    control = [0.0, 0.0]
    for command, arguments in re.findall(r"([MLHVCSZ])([^MLHVCSZ]*)", path):
        values = [float(value) for value in arguments.split()]
        if command == "Z":
            yield points
            points = []
        elif command == "H":
            points.append((values[0], points[-1][1]))
        elif command == "V":
            points.append((points[-1][0], values[0]))
        elif command in "CS":
            x, y = points[-1]
            if command == "S":  # goes on as the curve before it ended
                values = [2 * x - control[0], 2 * y - control[1], *values]
            control = values[2:4]
            points += _curve((x, y), values)
        else:
            points += list(zip(values[::2], values[1::2], strict=True))


def _curve(start: tuple[float, float], values: list[float]) -> list[tuple[float, float]]:
    """Points on a cubic curve of Bezier, without its start."""
    x, y = (start[0], *values[::2]), (start[1], *values[1::2])
    shares = [step / CURVE_STEPS for step in range(1, CURVE_STEPS + 1)]
    return [(_cubic(x, share), _cubic(y, share)) for share in shares]


def _cubic(of: tuple[float, ...], share: float) -> float:
    rest = 1 - share
    weights = (rest**3, 3 * rest**2 * share, 3 * rest * share**2, share**3)
    return sum(weight * value for weight, value in zip(weights, of, strict=True))
