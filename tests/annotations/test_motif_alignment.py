"""A matrix laid over another: by hand, and found again wherever it was put, in either sense."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.errors import FormatError
from annotations.motif_alignment import MIN_OVERLAP, align, turned


def counts(word: str, times: int = 100) -> np.ndarray:
    """A matrix of one word; a dot is a column that says nothing."""
    matrix = np.full((4, len(word)), times / 4)
    for column, letter in enumerate(word):
        if letter != ".":
            matrix[:, column] = 0
            matrix["ACGT".index(letter), column] = times
    return matrix


def test_by_hand() -> None:
    assert align(counts("..ACGGT."), counts("ACGGT"))[:2] == (2, False)
    # the reverse complement of ACGGT is ACCGT
    assert align(counts("..ACGGT."), counts("ACCGT"))[:2] == (2, True)
    assert align(counts("..ACGGT."), counts("ACGGT")).correlation == pytest.approx(1)
    # wider than the other one: it begins before it
    assert align(counts("ACGGT"), counts("..ACGGT."))[:2] == (-2, False)
    assert align(counts("AAAAAA"), counts("CCCCCC")).correlation < 0


@given(
    st.text("ACGT", min_size=6, max_size=10), st.integers(0, 5), st.integers(0, 5), st.booleans()
)
def test_a_matrix_is_found_where_it_was_put(
    word: str, before: int, after: int, reverse: bool
) -> None:
    own = counts("." * before + word + "." * after)
    matrix = counts(word)
    found = align(own, turned(matrix) if reverse else matrix)
    assert found.correlation == pytest.approx(1)
    # a word that is its own reverse complement lies there in either sense
    laid = turned(turned(matrix) if reverse else matrix) if found.reverse else (
        turned(matrix) if reverse else matrix
    )  # fmt: skip
    assert found.first == before
    assert np.array_equal(laid, matrix)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_enough_columns_overlap(wide: int, wider: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    own, matrix = rng.integers(0, 50, (4, wide)), rng.integers(0, 50, (4, wider))
    found = align(own, matrix)
    overlap = min(wide, found.first + wider) - max(0, found.first)
    assert overlap >= min(MIN_OVERLAP, wide, wider)
    assert -1.000001 <= found.correlation <= 1.000001
    # turned over, the same place is found in the other sense
    back = align(own, turned(matrix))
    assert back.correlation == pytest.approx(found.correlation, abs=1e-6) or (
        back.first != found.first
    )


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(FormatError, match="four rows"):
        align(np.ones((3, 5)), np.ones((4, 5)))
    with pytest.raises(FormatError, match="four rows"):
        align(np.ones((4, 5)), np.ones((4, 0)))
