"""Activations of a sequence in memory, read as a shard reads it, and the log of such readings."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotations.activations import Activations, concatenate
from annotations.cards import DictionaryCard
from annotations.types import Span
from workers.pipeline import Window, WindowEncoder, encode_windows, place, windows_of


def encode_span(
    encoder: WindowEncoder,
    bases: NDArray[np.uint8],
    *,
    start: int = 0,
    end: int | None = None,
    context: int | None = None,
) -> Activations:
    """Activations of both strands in a part of one sequence and a little around it.

    Parameters
    ----------
    encoder : WindowEncoder
        The opened dictionary.
    bases : uint8 array, shape (length,)
        Base codes; the window grid is anchored at the first.
    start, end : int
        The part wanted, on the grid; all of the sequence unless told.
    context : int, optional
        Bases of left context, instead of the card's.

    Returns
    -------
    activations : Activations
        Contig 0; every window that the part and its halo for peaks touch.
    """
    card = encoder.dictionary
    context = card.context if context is None else context
    span = Span(0, start, len(bases) if end is None else end)
    windows = windows_of(
        [span], {0: len(bases)}, stride=card.stride, context=context, strands="both"
    )

    def codes_of(window: Window) -> NDArray[np.uint8]:
        return bases[window.read[0] : window.read[1]]

    batches = encode_windows(windows, codes_of, encoder, width=card.stride + context, batch=8)
    return concatenate([place(group, rows) for group, rows in batches])


def log_reading(path: Path, card: DictionaryCard, contigs: str) -> None:
    """Note when test contigs were read and by which weights; a second reading stays visible."""
    with path.open("a", encoding="utf-8") as log:
        log.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\t{card.id}\t{card.sha256}\t{contigs}\n")
