"""What a figure shows of bases that were not read: hatched, with a word at its foot."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.drawing import Line, Shape, Text
from app.figure_frame import Frame

BETWEEN: Final = 5.0
"""Px between two strokes."""
STROKE: Final = 0.8
KEY: Final = 18.0
"""Px of the hatched field at the foot."""
WORDS: Final = "not read by this run"


def draw_unread(bins: NDArray[np.bool_], frame: Frame, top: float, bottom: float) -> list[Shape]:
    """Strokes over what was not read.

    Parameters
    ----------
    bins : ndarray of bool, shape (n,)
        Equal parts of the region, as from `annotations.unread.unread_bins`.
    frame : Frame
        Where bases are drawn.
    top, bottom : float
        Of the panel in px.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], bins, [False]]).astype(np.int8)))
    size = (frame.end - frame.start) / len(bins)
    shapes: list[Shape] = []
    for first, past in edges.reshape(-1, 2).tolist():
        left, right = (frame.x(frame.start + size * at) for at in (first, past))
        shapes += _strokes(left, right, top, bottom, frame.palette.rule)
    return shapes


def draw_key(frame: Frame, left: float, y: float, size: float) -> list[Shape]:
    """A hatched field and what it means.

    Parameters
    ----------
    frame : Frame
        For its colours, and where the field begins.
    left : float
        Where lines of the figure begin in px.
    y : float
        Top of the line.
    size : float
        Of the words in px.
    """
    soft = frame.palette.soft
    return [
        Text(left, y + size, "hatched", size, soft),
        *_strokes(frame.left, frame.left + KEY, y + 0.5, y + size + 0.5, frame.palette.rule),
        Text(frame.left + KEY + 4, y + size, WORDS, size, soft),
    ]


def _strokes(left: float, right: float, top: float, bottom: float, colour: str) -> list[Shape]:
    """Parallel strokes that rise to the right, cut to a field; those of neighbours meet."""
    height = bottom - top
    first = int((left - height) // BETWEEN)
    shapes: list[Shape] = []
    for number in range(first, int(right // BETWEEN) + 1):
        foot = number * BETWEEN
        low, high = max(foot, left), min(foot + height, right)
        if low < high:
            start, end = bottom - (low - foot), bottom - (high - foot)
            shapes.append(Line(low, start, high, end, colour, STROKE))
    return shapes
