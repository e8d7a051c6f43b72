"""What a language model expects of every base, and bits made of it.

    base codes --composition--> q;  p, q --> information, observed_bits, letter_heights

For base i, p is the model's probability of A, C, G and T given other bases: all others, or those
before it alone where the model is causal (`sides_of`). q is the local composition: the share of
each letter among the known bases of the `COMPOSITION_WINDOW` bases about i, i included, fewer at
the ends of a contig, with `PSEUDOCOUNT` added to each count. `annotations.expectation_file` keeps
log2 p.
"""

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from annotations.cards import DictionaryCard, ModelCard
from annotations.errors import OptionError

Floats = NDArray[np.float64]

COMPOSITION_WINDOW: Final = 501
"""Bases, centred, whose composition a base is compared with."""

REACH: Final = COMPOSITION_WINDOW // 2
"""Bases on each side of a base that its composition depends on."""

PSEUDOCOUNT: Final = 1.0
"""Added to the count of each letter in a window."""

STEP: Final = 1 / 1024
"""log2 p is stored in multiples of this, in bits."""

LEAST_LOG2: Final = -64.0
"""Smallest log2 p that is stored."""

Sides = Literal["all", "before"]
"""Which bases count in what is expected of a base: all others, or those before it alone."""

SIDES: Final[Mapping[str, Sides]] = {
    "paired_tree": "all",
    "hyenadna": "before",
    "stripedhyena2": "before",
}
"""Architectures of `annotations.cards.ARCHITECTURES` that say what they expect."""

SAID_SIDES: Final[Mapping[Sides, str]] = {
    "all": "given all other bases",
    "before": "given the bases before it alone",
}


def sides_of(model: ModelCard) -> Sides:
    """Which bases count in what a model expects of a base.

    Raises
    ------
    OptionError
        If the model has no probabilities of bases here.
    """
    if model.architecture not in SIDES:
        raise OptionError(
            f"the model {model.id} has no expectation track: heads of {model.architecture} models "
            "are not loaded; leave the option expectation out, or take a dictionary of a model of "
            f"one of {', '.join(SIDES)}"
        )
    return SIDES[model.architecture]


def margins_of(model: ModelCard, card: DictionaryCard) -> tuple[int, int]:
    """Bases before and behind the cell of a window that are read to say what is expected in it.

    Parameters
    ----------
    model : ModelCard
        Its `context` is what a residual at the end of a tower depends on; a base that is expected
        from both sides is expected from the residuals beside it, so that one base more counts.
    card : DictionaryCard
        Its context is what a causal model, whose reach may have no end, is read with.

    Raises
    ------
    OptionError
        As `sides_of`.
    """
    if sides_of(model) == "all":
        return model.context + 1, model.context + 1
    # a causal model says nothing of the first base that it reads
    return max(1, card.context), 0


def reach_of(model: ModelCard, card: DictionaryCard) -> int:
    """Bases on each side of a cell that must be at hand: for the model and for the composition."""
    return max(REACH, *margins_of(model, card))


def composition(codes: NDArray[np.uint8], first: int, past: int) -> Floats:
    """Local composition about some bases.

    Parameters
    ----------
    codes : ndarray of uint8, shape (length,)
        Base codes A 0, C 1, G 2, T 3, anything else 4: the bases themselves and the `REACH` on
        each side of them, as far as the contig goes.
    first, past : int
        The bases wanted, as places in `codes`.

    Returns
    -------
    q : ndarray of float64, shape (past - first, 4)
        Rows sum to 1; a quarter each where no base of the window is known.
    """
    known = codes[:, None] == np.arange(4, dtype=np.uint8)
    before = np.zeros((len(codes) + 1, 4), dtype=np.int64)
    np.cumsum(known, axis=0, out=before[1:])
    place = np.arange(first, past)
    counts = (
        before[np.minimum(place + REACH + 1, len(codes))] - before[np.maximum(place - REACH, 0)]
    ) + PSEUDOCOUNT
    shares: Floats = counts / counts.sum(axis=1, keepdims=True)
    return shares


def probabilities(log2_p: NDArray[np.float32]) -> Floats:
    """Probabilities that sum to 1, of logarithms as they are stored; shape (bases, 4)."""
    p = np.exp2(log2_p.astype(np.float64))
    whole: Floats = p / p.sum(axis=1, keepdims=True)
    return whole


def information(p: Floats, q: Floats) -> Floats:
    """Bits by which what is expected differs from the composition, at least 0.

    The Kullback-Leibler divergence, sum over letters of p log2(p / q) (Kullback and Leibler 1951,
    doi:10.1214/aoms/1177729694).

    Parameters
    ----------
    p, q : ndarray of float64, shape (bases, 4)
        Rows sum to 1; `q` is above 0.

    Returns
    -------
    bits : ndarray of float64, shape (bases,)

    Examples
    --------
    >>> information(np.array([[1.0, 0, 0, 0]]), np.full((1, 4), 0.25)).tolist()
    [2.0]
    """
    terms = p * np.log2(np.where(p > 0, p, 1.0) / q)
    terms[p == 0] = 0
    # rounding may leave a sum of equal distributions a hair below 0
    bits: Floats = np.maximum(terms.sum(axis=1), 0.0)
    return bits


def observed_bits(p: Floats, q: Floats, codes: NDArray[np.uint8]) -> Floats:
    """log2 p/q of the letter that stands there: above 0 where the model expects it more.

    Parameters
    ----------
    p, q : ndarray of float64, shape (bases, 4)
    codes : ndarray of uint8, shape (bases,)
        All known.

    Returns
    -------
    bits : ndarray of float64, shape (bases,)
    """
    at = np.arange(len(codes))
    least = 2.0**LEAST_LOG2
    bits: Floats = np.log2(np.maximum(p[at, codes], least) / q[at, codes])
    return bits


def letter_heights(p: Floats, q: Floats, codes: NDArray[np.uint8]) -> Floats:
    """Height of the letter that stands there: its probability times the information of the base.

    As in a sequence logo (Schneider and Stephens 1990, doi:10.1093/nar/18.20.6097), of which this
    is the one letter of each stack that the sequence has; against the composition, not 1/4 each.

    Parameters
    ----------
    p, q : ndarray of float64, shape (bases, 4)
    codes : ndarray of uint8, shape (bases,)
        All known.

    Returns
    -------
    bits : ndarray of float64, shape (bases,)
        At least 0, at most `information`.
    """
    heights: Floats = p[np.arange(len(codes)), codes] * information(p, q)
    return heights


def as_stored(log_p: NDArray[np.float32]) -> NDArray[np.float32]:
    """Natural logarithms of probabilities in bits, as multiples of `STEP`; the same shape."""
    bits = np.maximum(log_p.astype(np.float64) / np.log(2), LEAST_LOG2)
    stored: NDArray[np.float32] = (np.rint(bits / STEP) * STEP).astype(np.float32)
    return stored
