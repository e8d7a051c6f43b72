"""Interpolated Markov model of DNA, the baseline a language model has to beat.

    p_j(b | c) = (n_j(c b) + s p_{j-1}(b | c')) / (n_j(c) + s),  j = 0 .. k

where n_j(c b) counts the (j + 1)-mers of the training sequence, c is the j
bases before b, c' is c without its first base, and p_{-1} = 1/4. This is
additive smoothing towards the next shorter context (the hierarchical Dirichlet
model of MacKay and Bauman Peto 1995); with ``s`` the number of different bases
seen after c it is Witten-Bell smoothing (Witten and Bell 1991, method C). On DNA
Witten-Bell trusts long contexts far too early: trained on all of S. cerevisiae
but chrVIII, IX, XIV and M, order 12 needs 2.38 bits per coding base of chrVIII
with it and 1.91 with s = 64, which is therefore the default.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.errors import OptionError

_N = 4
_CHUNK = 1 << 21
MAX_ORDER = 12
"""Longest context; its counts take 4 * 4**13 = 268 MB, all shorter ones a third of that."""

DEFAULT_STRENGTH = 64.0
"""Of 4, 16, 64 and 256 the best non-coding figure of order 12 on yeast chrVIII."""


class MarkovBits(NamedTuple):
    """Mean cross-entropy in bits per base, coding and non-coding apart."""

    coding: float
    noncoding: float
    coding_bases: int
    noncoding_bases: int


@dataclass(frozen=True)
class MarkovModel:
    """Counts of all k-mers up to one length, and how they are blended."""

    counts: tuple[NDArray[np.uint32], ...]
    """Counts of order 0 .. k; uint32, shape (4**j, 4): contexts by next base."""
    strength: float | None
    """Weight of the shorter context in bases; Witten-Bell smoothing where None."""

    @property
    def order(self) -> int:
        """Bases of the longest context."""
        return len(self.counts) - 1

    def probability(
        self, context: NDArray[np.int64], base: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Probability of bases after contexts.

        Parameters
        ----------
        context : int64 array, shape (n,)
            The `order` bases before each base as a base-4 number, the last counting least.
        base : int64 array, shape (n,)
            0 to 3.

        Returns
        -------
        p : float64 array, shape (n,)
        """
        p = np.full(len(base), 0.25)
        for j, table in enumerate(self.counts):
            row = table[context % 4**j]
            seen = row.sum(1, dtype=np.float64)
            if self.strength is None:
                weight = (row > 0).sum(1).astype(np.float64)
                # A context never seen says nothing: the shorter one stands alone.
                weight[seen == 0] = 1.0
            else:
                weight = np.full(len(base), self.strength)
            p = (row[np.arange(len(base)), base] + weight * p) / (seen + weight)
        return p


def train_markov(
    bases: NDArray[np.uint8],
    counted: NDArray[np.bool_],
    *,
    order: int,
    strength: float | None = DEFAULT_STRENGTH,
) -> MarkovModel:
    """Count the k-mers of a sequence and of its reverse complement.

    Parameters
    ----------
    bases : uint8 array, shape (length,)
        Base codes; no k-mer spans an N.
    counted : bool array, shape (length,)
        Bases to be predicted; the bases of their contexts need not be counted.
    order : int
        Bases of the longest context, 0 to `MAX_ORDER`.
    strength : float or None
        Weight of the shorter context in bases; Witten-Bell smoothing where None.

    Returns
    -------
    MarkovModel
        Shorter contexts are sums of the longest one's counts.

    Raises
    ------
    OptionError
        If the order or the strength is out of range.
    """
    if not 0 <= order <= MAX_ORDER:
        raise OptionError(f"order must be 0 to {MAX_ORDER}, got {order}")
    if strength is not None and not strength > 0:
        raise OptionError(f"strength must be above 0, got {strength}")
    longest = np.zeros(4 ** (order + 1), np.uint32)
    for strand, wanted in ((bases, counted), (_reverse_complement(bases), counted[::-1])):
        for start in range(0, len(strand), _CHUNK):
            context, base, at = _kmers(strand, order, start, start + _CHUNK)
            keep = wanted[at]
            np.add.at(longest, context[keep] * 4 + base[keep], np.uint32(1))
    counts = [longest.reshape(-1, 4)]
    for _ in range(order):
        counts.append(counts[-1].reshape(4, -1, 4).sum(0, dtype=np.uint32))
    return MarkovModel(tuple(reversed(counts)), strength)


def markov_bits(
    model: MarkovModel, bases: NDArray[np.uint8], coding: NDArray[np.bool_]
) -> MarkovBits:
    """Cross-entropy of a Markov model on a sequence, the mean of both reading directions.

    Parameters
    ----------
    model : MarkovModel
    bases : uint8 array, shape (length,)
        Base codes; a base is scored where it and the `order` bases before it are known.
    coding : bool array, shape (length,)
        Where a base counts as coding.

    Returns
    -------
    MarkovBits
        The counts of bases are those of both directions over two, rounded down; NaN for a kind
        of which the sequence has no base.
    """
    bits = markov_base_bits(model, bases)
    scored = ~np.isnan(bits)
    masks = [scored & coding, scored & ~coding]
    mean = [float(bits[mask].mean()) if mask.any() else float("nan") for mask in masks]
    return MarkovBits(mean[0], mean[1], int(masks[0].sum()) // 2, int(masks[1].sum()) // 2)


def markov_base_bits(model: MarkovModel, bases: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Bits a Markov model needs for each base, in either reading direction.

    Parameters
    ----------
    model : MarkovModel
    bases : uint8 array, shape (length,)
        Base codes.

    Returns
    -------
    bits : float64 array, shape (2, length)
        Read forward and on the reverse strand, both in forward coordinates; NaN where the base or
        one of the `order` bases before it is not known.
    """
    out = np.full((2, len(bases)), np.nan)
    for row, strand in ((out[0], bases), (out[1, ::-1], _reverse_complement(bases))):
        for start in range(0, len(strand), _CHUNK):
            context, base, at = _kmers(strand, model.order, start, start + _CHUNK)
            row[at] = -np.log2(model.probability(context, base))
    return out


def _reverse_complement(bases: NDArray[np.uint8]) -> NDArray[np.uint8]:
    turned = bases[::-1]
    return np.where(turned < _N, 3 - turned, turned).astype(np.uint8)


def _kmers(
    bases: NDArray[np.uint8], order: int, start: int, end: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Context number, base and index of the bases in [start, end) with a whole, known context."""
    at = np.arange(max(start, order), min(end, len(bases)), dtype=np.int64)
    context = np.zeros(len(at), np.int64)
    known = np.ones(len(at), bool)
    for back in range(order, -1, -1):
        code = bases[at - back]
        known &= code < _N
        if back:
            context = context * 4 + code
    at, context = at[known], context[known]
    return context, bases[at].astype(np.int64), at
