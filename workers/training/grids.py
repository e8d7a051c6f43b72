"""How much features move when the window grid moves.

A language model's activations depend on what it has seen to the left, so a
base near the start of its window may show other features than the same base
in the middle of a window. The measure: encode one sequence on two grids half
a stride apart and compare which features are active at which bases.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotations.activations import Activations
from annotations.cards import DictionaryCard
from annotations.errors import OptionError
from annotations.sequences import encode_bases, read_sequences
from workers.pipeline import WindowEncoder
from workers.training.reading import encode_span


@dataclass(frozen=True)
class GridAgreement:
    """Agreement of two grids half a stride apart at one left context."""

    context: int
    """Bases of left context each window reads besides those it owns."""
    jaccard: float | None
    """Active (base, strand, feature) triples of both grids over those of either; None if none."""
    pearson: float | None
    """Correlation of the activations over the triples of either grid, 0 where silent."""


def grid_agreement(
    encoder: WindowEncoder, bases: NDArray[np.uint8], *, contexts: list[int]
) -> list[GridAgreement]:
    """Agreement as a function of left context.

    Parameters
    ----------
    encoder : WindowEncoder
        The opened dictionary; its card's stride is used, its context is not.
    bases : uint8 array, shape (length,)
        Base codes, three strides or more.
    contexts : list of int
        Left contexts to try, in bases.

    Returns
    -------
    curve : list of GridAgreement
        One for each context.

    Raises
    ------
    OptionError
        If the sequence is shorter than three strides.
    """
    stride = encoder.dictionary.stride
    if len(bases) < 3 * stride:
        raise OptionError(
            f"two grids need {3 * stride} bases to be compared on, got {len(bases)}; "
            "give a longer sequence"
        )
    shift = stride // 2
    # The first and last stride are left out: there a grid ends with the sequence, not with a cell.
    first, last = stride, len(bases) - stride
    curve = []
    for context in contexts:
        one = _by_triple(encode_span(encoder, bases, context=context), first, last, 0)
        two = _by_triple(encode_span(encoder, bases[shift:], context=context), first, last, shift)
        curve.append(_compare(context, one, two))
    return curve


def contexts_to_try(card: DictionaryCard, max_length: int | None) -> list[int]:
    """Left contexts around a card's own that its model can read beside a stride.

    Parameters
    ----------
    card : DictionaryCard
        Says stride, context and bases of a token.
    max_length : int or None
        Most bases in a window of the model.

    Returns
    -------
    contexts : list of int
        Sorted; whole tokens where those are k-mers.
    """
    step = int(card.nt_per_token) if card.tokenization == "kmer" else 1
    own = card.context
    wanted = (0, own // 8, own // 4, own // 2, own, 2 * own)
    room = None if max_length is None else max_length - card.stride
    return sorted({context // step * step for context in wanted if room is None or context <= room})


def choose_context(curve: Sequence[GridAgreement], least: float) -> int | None:
    """The smallest context from which on the grids agree at least so well (Jaccard); None if none.

    Parameters
    ----------
    curve : sequence of GridAgreement
        In the order of their contexts.
    least : float
        Jaccard index wanted, 0 to 1.

    Returns
    -------
    context : int or None
        Every larger context of the curve agrees as well.
    """
    chosen = None
    for point in reversed(curve):
        if point.jaccard is None or point.jaccard < least:
            break
        chosen = point.context
    return chosen


def read_piece(path: Path, card: DictionaryCard, *, strides: int) -> NDArray[np.uint8]:
    """The middle of the longest record, whole strides where there are as many.

    Parameters
    ----------
    path : Path
        FASTA or GenBank.
    card : DictionaryCard
        Says the stride.
    strides : int
        Strides at most.

    Returns
    -------
    bases : uint8 array
        Base codes.

    Raises
    ------
    FormatError
        If the file is not sequence.
    """
    record = max(read_sequences(path).records, key=lambda record: len(record.sequence))
    codes = encode_bases(record.sequence)
    length = min(len(codes), strides * card.stride)
    first = (len(codes) - length) // 2
    return codes[first : first + length]


def with_agreement(
    card: DictionaryCard, curve: Sequence[GridAgreement], *, least: float, sequence: str
) -> DictionaryCard:
    """The card with the curve among its figures and the context it says.

    Parameters
    ----------
    card : DictionaryCard
    curve : sequence of GridAgreement
        As measured.
    least : float
        As for `choose_context`; the context stays where none is good enough.
    sequence : str
        Name of what was read.

    Returns
    -------
    card : DictionaryCard
    """
    chosen = choose_context(curve, least)
    measured = {
        "grid_agreement": [asdict(point) for point in curve],
        "grid_agreement_sequence": sequence,
        "grid_agreement_least": least,
        "context_chosen": chosen,
    }
    figures = (card.figures or {}) | measured
    return replace(card, figures=figures, context=card.context if chosen is None else chosen)


def _by_triple(
    found: Activations, first: int, last: int, shift: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    position = found.position + shift
    keep = (position >= first) & (position < last)
    row = found.feature[keep].astype(np.int64) * 2 + (found.strand[keep] < 0)
    key = row * np.int64(last) + position[keep]
    order = np.argsort(key)
    return key[order], found.value[keep][order]


def _compare(
    context: int,
    one: tuple[NDArray[np.int64], NDArray[np.float32]],
    two: tuple[NDArray[np.int64], NDArray[np.float32]],
) -> GridAgreement:
    either = np.union1d(one[0], two[0])
    if not len(either):
        return GridAgreement(context, None, None)
    both = np.intersect1d(one[0], two[0], assume_unique=True)
    values = np.zeros((2, len(either)))
    for row, (key, value) in enumerate((one, two)):
        values[row, np.searchsorted(either, key)] = value
    spread = values.std(axis=1)
    pearson = float(np.atleast_2d(np.corrcoef(values))[0, 1]) if spread.min() > 0 else None
    return GridAgreement(context, len(both) / len(either), pearson)
