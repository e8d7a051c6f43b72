"""Which base of an alternative allele is which base of the reference.

    two alleles --map_of_alleles--> AlleleMap --to_reference--> reference coordinates

An inserted base has no base of the reference. What is shown at reference coordinates counts it to
the aligned base on its left (the first base of the reference where it has none), which then shows
the largest of its own value and those of the bases inserted behind it. A deleted base has no base
of the alternative: there the alternative is silent, 0.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.errors import FormatError, LimitError

Ints = NDArray[np.int64]

MAX_ALIGNED: Final = 10_000
"""Bases of the longest stretch that is aligned: time and memory grow with its square, to 2 s and
0.2 GB here (measured; 20,000 bases would take 7 s and 0.8 GB of the web process)."""

SCORES: Final = {"match": 2.0, "mismatch": -3.0, "open_gap": -5.0, "extend_gap": -0.5}
"""Scores of the alignment of two records of unequal length: a gap is opened rarely and is cheap
to extend, since an insertion or deletion is one event however long it is."""


class AlleleMap(NamedTuple):
    """Blocks of bases that correspond, in order; what lies between them does not."""

    blocks: tuple[tuple[int, int, int], ...]
    """First base in the reference, first base in the alternative, bases; at least one block."""
    reference_length: int
    alternative_length: int

    def to_reference(self, positions: Ints) -> Ints:
        """Places of alternative bases in the reference, by the rule of the module.

        Parameters
        ----------
        positions : ndarray of int64, shape (n,)
            0-based bases of the alternative, in any order.

        Returns
        -------
        places : ndarray of int64, shape (n,)
            0-based bases of the reference.
        """
        starts, of, size = self._block_of(positions)
        within = np.minimum(positions - starts[1][of], size[of] - 1)
        return np.asarray(starts[0][of] + np.maximum(within, 0), dtype=np.int64)

    def is_inserted(self, positions: Ints) -> NDArray[np.bool_]:
        """Whether alternative bases have no base of the reference; shape (n,)."""
        starts, of, size = self._block_of(positions)
        within = positions - starts[1][of]
        return np.asarray((within < 0) | (within >= size[of]))

    def _block_of(self, positions: Ints) -> tuple[Ints, Ints, Ints]:
        """Starts of the blocks, the block at or left of each base, and the sizes of the blocks."""
        blocks = np.array(self.blocks, dtype=np.int64).T
        of = np.maximum(np.searchsorted(blocks[1], positions, side="right") - 1, 0)
        return blocks[:2], np.asarray(of, dtype=np.int64), blocks[2]


class Change(NamedTuple):
    """The bases in which two alleles differ, 0-based and half-open; either may be empty."""

    start: int
    end: int
    alternative_start: int
    alternative_end: int


def changed_bases(reference: bytes, alternative: bytes) -> Change:
    """The stretch that is left when equal ends are taken off, the right end first.

    Taking the right end first puts an insertion or deletion in a repeat at the repeat's left, as
    VCF does.

    Examples
    --------
    >>> changed_bases(b"CAAT", b"CAT")
    Change(start=1, end=2, alternative_start=1, alternative_end=1)
    """
    shorter = min(len(reference), len(alternative))
    right = _equal_letters(reference[::-1], alternative[::-1], shorter)
    left = _equal_letters(reference, alternative, shorter - right)
    return Change(left, len(reference) - right, left, len(alternative) - right)


def map_of_variant(change: Change, reference_length: int, alternative_length: int) -> AlleleMap:
    """The map of a variant: equal ends, and changed bases one by one from the left.

    Where the alleles of the variant have unequal lengths, the bases of the longer one that
    remain are inserted or deleted at its right end.
    """
    paired = min(change.end - change.start, change.alternative_end - change.alternative_start)
    blocks = [
        (0, 0, change.start + paired),
        (change.end, change.alternative_end, reference_length - change.end),
    ]
    return _joined(blocks, reference_length, alternative_length)


def map_of_alleles(reference: bytes, alternative: bytes) -> AlleleMap:
    """The map of two whole sequences.

    Sequences of equal length are taken base by base. Others are aligned globally with `SCORES`
    between their equal ends; where one of the two has nothing between them, there is nothing
    to align.

    Parameters
    ----------
    reference, alternative : bytes
        Upper-case letters; not empty.

    Raises
    ------
    LimitError
        If more than `MAX_ALIGNED` bases would have to be aligned.
    FormatError
        If the sequences have no base in common.
    """
    lengths = len(reference), len(alternative)
    if lengths[0] == lengths[1]:
        return AlleleMap(((0, 0, lengths[0]),), *lengths)
    change = changed_bases(reference, alternative)
    middle = (
        reference[change.start : change.end],
        alternative[change.alternative_start : change.alternative_end],
    )
    if max(map(len, middle)) > MAX_ALIGNED and min(map(len, middle)) > 0:
        raise LimitError(
            "two alleles of unequal length differ over "
            f"{max(map(len, middle)):,} bases, and at most {MAX_ALIGNED:,} are aligned; send "
            "records that differ less, cut them around the difference, or give the variants as VCF"
        )
    blocks = [(0, 0, change.start)]
    if all(middle):
        blocks += [
            (change.start + start, change.alternative_start + other, size)
            for start, other, size in _aligned(*middle)
        ]
    blocks.append((change.end, change.alternative_end, lengths[0] - change.end))
    return _joined(blocks, *lengths)


def _equal_letters(first: bytes, second: bytes, most: int) -> int:
    """Letters that two sequences have in common from their starts, at most so many."""
    a = np.frombuffer(first, dtype=np.uint8, count=most)
    b = np.frombuffer(second, dtype=np.uint8, count=most)
    differ = np.flatnonzero(a != b)
    return int(differ[0]) if len(differ) else most


def _aligned(reference: bytes, alternative: bytes) -> list[tuple[int, int, int]]:
    """Blocks of the best global alignment."""
    from Bio.Align import PairwiseAligner

    aligner = PairwiseAligner(  # type: ignore[no-untyped-call]
        mode="global",
        match_score=SCORES["match"],
        mismatch_score=SCORES["mismatch"],
        open_gap_score=SCORES["open_gap"],
        extend_gap_score=SCORES["extend_gap"],
    )
    texts = reference.decode("ascii"), alternative.decode("ascii")
    best = aligner.align(*texts)[0]  # type: ignore[no-untyped-call]
    pairs = zip(*(part.tolist() for part in best.aligned), strict=True)
    return [(start, other, end - start) for (start, end), (other, _) in pairs]


def _joined(
    blocks: list[tuple[int, int, int]], reference_length: int, alternative_length: int
) -> AlleleMap:
    """Blocks without empty ones, those that touch in both sequences made one."""
    joined: list[tuple[int, int, int]] = []
    for start, other, size in blocks:
        if not size:
            continue
        if joined:
            before = joined[-1]
            if before[0] + before[2] == start and before[1] + before[2] == other:
                joined[-1] = (before[0], before[1], before[2] + size)
                continue
        joined.append((start, other, size))
    if not joined:
        raise FormatError("the two alleles have no base in common, so that nothing is compared")
    return AlleleMap(tuple(joined), reference_length, alternative_length)
