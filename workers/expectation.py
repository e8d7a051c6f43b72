"""What a language model expects of every base of a shard: a pass of the whole model.

    spans --expectation_windows--> windows, read further on both sides where both count
        --log_probabilities_of--> (bases, 4) --> annotations.expectation_file

The windows are cells of the grid of `workers.pipeline`. A window is never padded: a model that
reads both strands sees what lies to the right of a base, and N there is not the end of a contig.
So each base has the value that the model gives it in its whole contig, as far as the model looks;
the reverse strand of a contig is expected to be the complement, and is not read again.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from annotations.cards import ModelCard
from annotations.errors import CoordinateError
from annotations.expectation import (
    as_stored,
    margins_of,
    sides_of,
)
from annotations.expectation_file import (
    EXPECTATION_FILE,
    Expected,
    write_expected,
)
from annotations.sequences import encode_bases, open_fasta
from annotations.types import Span
from workers.device import is_out_of_memory
from workers.language_models.paired_tree import N_CODE
from workers.pipeline import Window, WindowEncoder


class ExpectingEncoder(WindowEncoder, Protocol):
    """What is needed of `workers.registry.Encoder`, opened with its whole model."""

    @property
    def model(self) -> ModelCard:
        """Card of the model."""

    def log_probabilities_of(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Natural logarithms of what is expected, shape (batch, length, 4)."""


def write_expectation(
    fasta: Path,
    spans: Sequence[Span],
    encoder: ExpectingEncoder,
    out: Path,
    *,
    batch: int = 8,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Path:
    """Write what is expected of each known base of some spans.

    Parameters
    ----------
    fasta : Path
        Normalised sequences, or pieces that hold all that is read.
    spans : sequence of Span
        Bases the shard owns, sorted.
    encoder : ExpectingEncoder
        With a model that says what it expects.
    out : Path
        Existing folder for `annotations.expectation_file.EXPECTATION_FILE`.
    batch : int
        Windows read at once; halved when memory runs out.
    on_progress : callable
        Told the bases done so far, after each batch; may raise `workers.pipeline.Canceled`.

    Returns
    -------
    path : Path

    Raises
    ------
    OptionError
        If the model has no probabilities of bases.
    CoordinateError
        If a span is empty or outside its contig, or `batch` is below 1.
    """
    if batch < 1:
        raise CoordinateError(f"a batch must hold at least 1 window, got {batch}")
    margins = margins_of(encoder.model, encoder.dictionary)
    path = out / EXPECTATION_FILE
    with open_fasta(fasta) as source:

        def codes_of(window: Window) -> NDArray[np.uint8]:
            return encode_bases(source.fetch(str(window.contig), *window.read))

        windows = [
            window
            for span in spans
            for window in expectation_windows(
                span,
                source.length(str(span.contig)),
                stride=encoder.dictionary.stride,
                margins=margins,
            )
        ]

        def parts() -> Iterator[Expected]:
            done = 0
            for part in _expected(windows, codes_of, encoder, batch):
                yield known_only(part)
                done += len(part.position)
                on_progress(done)

        write_expected(parts(), path, sides=sides_of(encoder.model))
    return path


def expectation_windows(
    span: Span, length: int, *, stride: int, margins: tuple[int, int]
) -> list[Window]:
    """The reads of a span, forward.

    Parameters
    ----------
    span : Span
    length : int
        Bases of its contig.
    stride : int
        Bases of a cell of the grid, which begins at base 0 of the contig.
    margins : tuple of int
        Bases read before and behind a cell, fewer at the ends of the contig.

    Returns
    -------
    windows : list of Window
        In order; their cells tile the span.

    Raises
    ------
    CoordinateError
        If the span is empty or outside its contig.

    Examples
    --------
    >>> for window in expectation_windows(Span(0, 3, 9), 20, stride=8, margins=(2, 1)):
    ...     print(window.read, window.cell)
    (0, 9) (3, 8)
    (6, 17) (8, 9)
    """
    contig, first, past = span
    if not 0 <= first < past <= length:
        raise CoordinateError(
            f"a span must lie inside its contig of {length} bases and not be empty, got "
            f"{first}-{past} of contig {contig}"
        )
    windows = []
    for start in range(first // stride * stride, past, stride):
        # all of the cell is read, also for a few bases of it: windows then have few shapes
        read = max(0, start - margins[0]), min(start + stride + margins[1], length)
        windows.append(Window(contig, read, (max(start, first), min(start + stride, past)), "+"))
    return windows


def _expected(
    windows: Sequence[Window],
    codes_of: Callable[[Window], NDArray[np.uint8]],
    encoder: ExpectingEncoder,
    batch: int,
) -> Iterator[Expected]:
    """What is expected in the cells of windows, in order; neighbours of one length go together."""
    at = 0
    while at < len(windows):
        length = _length(windows[at])
        near = windows[at : at + batch]
        group = list(takewhile(lambda window: _length(window) == length, near))  # noqa: B023 - at once
        codes = np.stack([codes_of(window) for window in group])
        try:
            log_p = encoder.log_probabilities_of(codes)
        except (RuntimeError, MemoryError) as error:
            if batch == 1 or not is_out_of_memory(error):
                raise
            batch = max(1, batch // 2)
            continue
        for window, own, logs in zip(group, codes, log_p, strict=True):
            inside = slice(window.cell[0] - window.read[0], window.cell[1] - window.read[0])
            # what is said of an unknown base is not kept; NaN marks it
            logs[own == N_CODE] = np.nan
            position = np.arange(*window.cell, dtype=np.int64)
            contig = np.full(len(position), window.contig, dtype=np.uint32)
            yield Expected(contig, position, as_stored(logs[inside]))
        at += len(group)


def known_only(expected: Expected) -> Expected:
    """The bases of which something is said."""
    kept = np.isfinite(expected.log2_p).all(axis=1)
    contig, position, log2_p = expected
    return Expected(contig[kept], position[kept], log2_p[kept])


def _length(window: Window) -> int:
    return window.read[1] - window.read[0]
