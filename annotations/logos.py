"""Sequence logos as SVG, drawn by hand: no plotting library, a fraction of a millisecond each.

The height of a letter is its frequency times the information of its column (Schneider and Stephens
1990): 2 + sum(f * log2(f)) bits, from 0 where all bases are equal to 2 where there is only one.
"""

from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.errors import FormatError

MAX_COLUMNS: Final = 200

_COLUMN: Final = 20.0
"""Width of a column in pixels."""
_BIT: Final = 40.0
"""Height of one bit in pixels."""
_LEFT, _TOP, _BOTTOM = 34.0, 8.0, 20.0
_NAME: Final = 18.0
"""Room for the name of a logo among others."""
_SHORTEST: Final = 0.005
"""Bits below which a letter would not be seen."""

# The customary hues, in tones that stand out on white and on black.
COLOURS: Final = {"A": "#009e73", "C": "#3a8fd0", "G": "#d98e00", "T": "#d23b50"}

# Outlines in a box of 100 by 100, y downwards, so that no font is needed and a letter fills its
# box.
OUTLINES: Final = {
    "A": "M0 100 38 0H62L100 100H79L71 76H29L21 100ZM35 58H65L50 15Z",
    "C": "M100 34H79C76 22 65 15 53 15C33 15 21 30 21 50S33 85 53 85C65 85 76 78 79 66H100"
    "C96 87 77 100 52 100C20 100 0 79 0 50S20 0 52 0C77 0 96 13 100 34Z",
    "G": "M100 33H79C76 22 65 15 53 15C33 15 21 30 21 50S33 85 54 85C67 85 76 79 79 69V62H52V46H100"
    "V100H84L82 88C75 96 64 100 51 100C20 100 0 79 0 50S21 0 53 0C78 0 96 12 100 33Z",
    "T": "M0 0H100V17H61V100H39V17H0Z",
}


def letter_heights(
    counts: NDArray[np.float64] | NDArray[np.int32], pseudocount: float = 0.0
) -> NDArray[np.float64]:
    """Heights in bits of the four letters of each column of a logo.

    Parameters
    ----------
    counts : ndarray, shape (4, width)
        Rows A, C, G, T; counts or probabilities.
    pseudocount : float
        Added to each column, spread evenly over the four bases.

    Returns
    -------
    heights : ndarray of float64, shape (4, width)
        Frequency times information of the column; a column without counts has none.

    Raises
    ------
    FormatError
        If there are not 4 rows, no column or more than `MAX_COLUMNS`, or a count is negative or
        not finite.
    """
    given = np.asarray(counts, dtype=np.float64)
    if given.ndim != 2 or given.shape[0] != 4 or not 1 <= given.shape[1] <= MAX_COLUMNS:
        raise FormatError(
            f"a logo needs counts of shape (4, 1 to {MAX_COLUMNS}), got {given.shape}"
        )
    if not (np.isfinite(given).all() and (given >= 0).all()):
        raise FormatError("the counts of a logo must be finite and not negative")
    total = given.sum(axis=0) + pseudocount
    share = np.divide(
        given + pseudocount / 4, total, out=np.full_like(given, 0.25), where=total > 0
    )
    logarithm = np.log2(share, out=np.zeros_like(share), where=share > 0)
    information = np.maximum(2 + (share * logarithm).sum(axis=0), 0)
    heights: NDArray[np.float64] = share * information
    return heights


def logo_svg(
    counts: NDArray[np.float64] | NDArray[np.int32],
    *,
    title: str,
    first: int = 1,
    pseudocount: float = 0.0,
    axis: bool = True,
) -> str:
    """A sequence logo.

    Parameters
    ----------
    counts : ndarray, shape (4, width)
        Rows A, C, G, T; counts or probabilities.
    title : str
        What it is of; read out by screen readers and shown as a tooltip.
    first : int
        Number under the first column: 1, or the offset from a peak.
    pseudocount : float
        As in `letter_heights`.
    axis : bool
        Whether bits and numbers are written beside it: not where it is drawn small.

    Returns
    -------
    svg : str
        One `svg` element with its own size, legible on light and dark ground. The tallest letter
        of a column is on top.

    Raises
    ------
    FormatError
        As in `letter_heights`.
    """
    heights = letter_heights(counts, pseudocount)
    columns = heights.shape[1]
    if not axis:
        return _bare(heights, title)
    width, height = _LEFT + _COLUMN * columns + 4, _TOP + 2 * _BIT + _BOTTOM
    ground = _TOP + 2 * _BIT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}"><title>{escape(_visible(title))}</title>',
        # A grey that is legible on both grounds.
        '<g fill="#808080" font-family="sans-serif" font-size="10" text-anchor="end">',
        *(
            f'<text x="{_LEFT - 8:g}" y="{ground - bits * _BIT + 3:g}">{bits}</text>'
            for bits in range(3)
        ),
        f'<text transform="translate(10 {_TOP + _BIT:g})rotate(-90)" text-anchor="middle">bits'
        "</text></g>",
        f'<path d="M{_LEFT - 3:g} {_TOP:g}V{ground:g}H{width - 4:g}'
        f"M{_LEFT - 6:g} {_TOP:g}h3m-3 {_BIT:g}h3m-3 {_BIT:g}h3"
        '" fill="none" stroke="#808080"/>',
        '<g fill="#808080" font-family="sans-serif" font-size="9" text-anchor="middle">',
    ]
    step = 1 if columns <= 30 else 5
    parts += [
        f'<text x="{_LEFT + _COLUMN * (column + 0.5):g}" y="{ground + 13:g}">{first + column}'
        "</text>"
        for column in range(columns)
        if (first + column) % step == 0
    ]
    parts.append("</g>")
    for column in range(columns):
        parts += _column(heights[:, column], _LEFT + _COLUMN * column, ground)
    return "".join([*parts, "</svg>"])


class Placed(NamedTuple):
    """A logo among others, each column over the same base."""

    counts: NDArray[np.float64] | NDArray[np.int32]
    """Shape (4, width): counts or probabilities of A, C, G, T."""
    first: int
    """Number of its first column."""
    name: str
    """Stands beside it."""


def aligned_logos_svg(logos: Sequence[Placed], *, title: str, pseudocount: float = 0.0) -> str:
    """Sequence logos one below the other, over one axis.

    Parameters
    ----------
    logos : sequence of Placed
        One or more; their columns span at most `MAX_COLUMNS`.
    title : str
        What they are of; read out by screen readers and shown as a tooltip.
    pseudocount : float
        As in `letter_heights`.

    Returns
    -------
    svg : str
        As `logo_svg` makes it; column 0 has a line through all of them.

    Raises
    ------
    FormatError
        As in `letter_heights`, or if there is no logo.
    """
    if not logos:
        raise FormatError("a picture of logos needs one or more")
    low = min(logo.first for logo in logos)
    high = max(logo.first + np.shape(logo.counts)[-1] for logo in logos)
    if high - low > MAX_COLUMNS:
        raise FormatError(f"logos span at most {MAX_COLUMNS} columns, got {high - low}")
    each = 2 * _BIT + _NAME + 6
    width, height = _LEFT + _COLUMN * (high - low) + 4, _TOP + each * len(logos) + _BOTTOM - 6
    # names are wider than a logo of few columns
    width = max(width, _LEFT + 6 * max(len(logo.name) for logo in logos))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}"><title>{escape(_visible(title))}</title>'
    ]
    middle = _LEFT + _COLUMN * (0.5 - low)
    ground = _TOP + each * len(logos) - 6
    if low <= 0 < high:
        parts.append(
            f'<path d="M{middle:g} {_TOP:g}V{ground:g}" stroke="#808080" stroke-dasharray="2 3"/>'
        )
    for at, logo in enumerate(logos):
        base = _TOP + each * (at + 1) - 6
        left = _LEFT + _COLUMN * (logo.first - low)
        heights = letter_heights(logo.counts, pseudocount)
        columns = heights.shape[1]
        parts.append(
            f'<text x="{_LEFT:g}" y="{base - 2 * _BIT - 4:g}" fill="#808080" '
            f'font-family="sans-serif" font-size="11">{escape(_visible(logo.name))}</text>'
            f'<path d="M{left:g} {base:g}h{_COLUMN * columns:g}M{_LEFT - 3:g} {base - 2 * _BIT:g}'
            f'v{2 * _BIT:g}" fill="none" stroke="#808080"/>'
            '<g fill="#808080" font-family="sans-serif" font-size="10" text-anchor="end">'
            f'<text x="{_LEFT - 8:g}" y="{base + 3:g}">0</text>'
            f'<text x="{_LEFT - 8:g}" y="{base - 2 * _BIT + 6:g}">2</text>'
            f'<text transform="translate({_LEFT - 12:g} {base - _BIT:g})rotate(-90)" '
            'text-anchor="middle">bits</text></g>'
        )
        for column in range(columns):
            parts += _column(heights[:, column], left + _COLUMN * column, base)
    step = 1 if high - low <= 30 else 5
    parts.append('<g fill="#808080" font-family="sans-serif" font-size="9" text-anchor="middle">')
    parts += [
        f'<text x="{_LEFT + _COLUMN * (number - low + 0.5):g}" y="{ground + 13:g}">{number}</text>'
        for number in range(low, high)
        if number % step == 0
    ]
    return "".join([*parts, "</g></svg>"])


def _bare(heights: NDArray[np.float64], title: str) -> str:
    """The letters of a logo alone, over a line."""
    width, height = _COLUMN * heights.shape[1], 2 * _BIT + 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}"><title>{escape(_visible(title))}</title>',
        f'<path d="M0 {2 * _BIT + 1:g}H{width:g}" stroke="#808080"/>',
    ]
    for column in range(heights.shape[1]):
        parts += _column(heights[:, column], _COLUMN * column, 2 * _BIT)
    return "".join([*parts, "</svg>"])


def _column(heights: NDArray[np.float64], left: float, ground: float) -> list[str]:
    drawn, top = [], ground
    for base in np.argsort(heights, kind="stable").tolist():
        if heights[base] < _SHORTEST:
            continue
        tall = float(heights[base]) * _BIT
        top -= tall
        letter = "ACGT"[base]
        drawn.append(
            f'<path fill="{COLOURS[letter]}" d="{OUTLINES[letter]}" transform="translate('
            f'{left + 0.5:g} {top:.2f})scale({(_COLUMN - 1) / 100:g} {tall / 100:.4f})"/>'
        )
    return drawn


def _visible(text: str) -> str:
    """Without the control characters that XML does not allow."""
    return "".join(character if character.isprintable() else " " for character in text)
