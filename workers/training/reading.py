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
        Bases of left context, and of right context where the tap has any, instead of the card's.

    Returns
    -------
    activations : Activations
        Contig 0; every window that the part and its halo for peaks touch.
    """
    card = encoder.dictionary
    context = card.context if context is None else context
    ahead = context if card.ahead else 0
    span = Span(0, start, len(bases) if end is None else end)
    windows = windows_of(
        [span], {0: len(bases)}, stride=card.stride, context=context, ahead=ahead, strands="both"
    )

    def codes_of(window: Window) -> NDArray[np.uint8]:
        return bases[window.read[0] : window.read[1]]

    width = card.stride + context + ahead
    batches = encode_windows(windows, codes_of, encoder, width=width, batch=8)
    return concatenate([place(group, rows) for group, rows in batches])


def log_reading(path: Path, card: DictionaryCard, contigs: str, *, purpose: str = "") -> None:
    """Note when test contigs were read and by which weights; a second reading stays visible.

    Parameters
    ----------
    path : Path
        Tab-separated: time, id and sha256 of the dictionary, contigs, and the purpose if given.
    card : DictionaryCard
    contigs : str
        Their names, comma-separated.
    purpose : str
        What they were read for, where one such reading is to be the only one (`was_read`).
    """
    fields = [f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", card.id, card.sha256, contigs]
    with path.open("a", encoding="utf-8") as log:
        log.write("\t".join([*fields, purpose] if purpose else fields) + "\n")


def was_read(path: Path, card: DictionaryCard, purpose: str) -> bool:
    """Whether a log has a reading for a purpose with the weights of a card."""
    if not path.is_file():
        return False
    lines = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return any(len(line) == 5 and (line[2], line[4]) == (card.sha256, purpose) for line in lines)
