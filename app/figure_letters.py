"""Values of a figure as letters: bases as high as what is there, or stacks of what is expected."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from annotations.logos import COLOURS
from app.drawing import Letter, Rect, Shape
from app.figure_frame import Frame
from app.figure_runs import Runs

GAP: Final = 0.25
"""Px on each side of a letter."""
LEAST_WIDTH: Final = 0.5
LEAST_HEIGHT: Final = 0.2
"""Px of the lowest letter of a stack that is drawn: a lower one is not seen."""


def letter_values(
    runs: Runs, bases: str, frame: Frame, place: tuple[float, float], top: float
) -> list[Shape]:
    """Bases as high as the activation at them, as browsers draw dynseq tracks.

    Parameters
    ----------
    runs : Runs
        The activation.
    bases : str
        Those of the frame.
    frame : Frame
    place : tuple
        Where 0 lies, and how high `top` is, in px.
    top : float
        Above 0.
    """
    ground, height = place
    shapes: list[Shape] = []
    for start, end, value in zip(*runs, strict=True):
        tall = float(value) / top * height
        for base in range(int(start), int(end)):
            letter = bases[base - frame.start].upper()
            if letter in COLOURS:
                shapes.append(_letter(letter, base, frame, ground - tall, tall))
            else:
                left, wide = _box(base, frame)
                shapes.append(Rect(left, ground - tall, wide, tall, frame.palette.soft))
    return shapes


def letter_stacks(
    stacks: NDArray[np.float64], frame: Frame, place: tuple[float, float], top: float
) -> list[Shape]:
    """The four letters at each base, the highest on top, as in a sequence logo.

    Parameters
    ----------
    stacks : ndarray of float64, shape (bases, 4)
        Heights of A, C, G and T at each base of the frame; NaN where nothing is said.
    frame, place, top
        As in `letter_values`; a whole stack is at most `top`.
    """
    ground, height = place
    shapes: list[Shape] = []
    for at, stack in enumerate(np.nan_to_num(stacks) / top * height):
        y = ground
        for letter in np.argsort(stack, kind="stable").tolist():
            tall = float(stack[letter])
            y -= tall
            if tall >= LEAST_HEIGHT:
                shapes.append(_letter("ACGT"[letter], frame.start + at, frame, y, tall))
    return shapes


def _letter(letter: str, base: int, frame: Frame, y: float, tall: float) -> Letter:
    left, wide = _box(base, frame)
    return Letter(left, y, wide, tall, letter, COLOURS[letter])


def _box(base: int, frame: Frame) -> tuple[float, float]:
    """Left edge and width of a letter."""
    left = frame.x(base)
    return left + GAP, max(frame.x(base + 1) - left - 2 * GAP, LEAST_WIDTH)
