"""Which base of an alternative is which of the reference: toys by hand, then properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.allele_maps import (
    MAX_ALIGNED,
    AlleleMap,
    Change,
    changed_bases,
    map_of_alleles,
    map_of_variant,
)
from annotations.errors import FormatError, LimitError

dna = st.text("ACGT", min_size=1, max_size=40).map(str.encode)


def variant_map(reference, alternative):
    return map_of_variant(changed_bases(reference, alternative), len(reference), len(alternative))


def places(found, n):
    return found.to_reference(np.arange(n)).tolist()


def test_a_substitution_maps_each_base_to_itself():
    found = variant_map(b"ACGTA", b"ACTTA")
    assert found.blocks == ((0, 0, 5),)
    assert places(found, 5) == [0, 1, 2, 3, 4]


def test_inserted_bases_count_to_the_base_on_their_left():
    found = variant_map(b"ACGTA", b"ACTTGTA")  # CTT for C
    assert found.blocks == ((0, 0, 2), (2, 4, 3))
    assert places(found, 7) == [0, 1, 1, 1, 2, 3, 4]
    assert found.is_inserted(np.arange(7)).tolist() == [0, 0, 1, 1, 0, 0, 0]


def test_deleted_bases_have_no_alternative():
    found = variant_map(b"ACGGTA", b"ACTA")
    assert found.blocks == ((0, 0, 2), (4, 2, 2))
    assert places(found, 4) == [0, 1, 4, 5]
    assert not found.is_inserted(np.arange(4)).any()


def test_the_longer_allele_is_paired_from_the_left():
    longer = variant_map(b"AACAA", b"AAGTTAA")  # C for GTT
    assert places(longer, 7) == [0, 1, 2, 2, 2, 3, 4]
    shorter = variant_map(b"AAGTTAA", b"AACAA")
    assert places(shorter, 5) == [0, 1, 2, 5, 6]


def test_an_insertion_before_the_first_base_counts_to_it():
    found = map_of_alleles(b"CCA", b"GTCCA")
    assert places(found, 5) == [0, 0, 0, 1, 2]
    assert found.is_inserted(np.arange(5)).tolist() == [1, 1, 0, 0, 0]


def test_a_change_in_a_repeat_is_put_to_its_left():
    assert changed_bases(b"CAAAT", b"CAAT") == Change(1, 2, 1, 1)
    assert changed_bases(b"CAAT", b"CAAAT") == Change(1, 1, 1, 2)


def test_records_of_equal_length_go_base_by_base():
    # though an alignment with gaps would match more letters
    assert map_of_alleles(b"ACGTACGT", b"TACGTACG").blocks == ((0, 0, 8),)


def test_records_of_unequal_length_are_aligned():
    left, right = b"ACGTTGCATGCATTAG", b"GGATCCATTGACCATG"
    # a deletion of TT, then a substitution, then an insertion of AAA
    found = map_of_alleles(left + b"TT" + right + b"C" + left, left + right + b"AAAC" + left)
    n = len(left)
    assert found.blocks[0] == (0, 0, n) or found.blocks[0][2] >= n - 1
    covered = sum(size for _, _, size in found.blocks)
    assert covered == 2 * n + len(right) + 1
    assert places(found, 2 * n + len(right) + 4)[-1] == 2 * n + len(right) + 2


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(LimitError, match="at most"):
        map_of_alleles(b"A" + b"CG" * MAX_ALIGNED + b"A", b"A" + b"TTA" * MAX_ALIGNED + b"A")
    # a long insertion needs no alignment
    assert map_of_alleles(b"AC", b"A" + b"T" * 3 * MAX_ALIGNED + b"C").blocks[-1][2] == 1
    with pytest.raises(FormatError, match="no base in common"):
        map_of_variant(Change(0, 2, 0, 0), 2, 0)


@settings(deadline=None)
@given(dna, dna)
def test_equal_ends_are_equal_and_the_middle_is_not(reference, alternative):
    change = changed_bases(reference, alternative)
    assert reference[: change.start] == alternative[: change.alternative_start]
    assert reference[change.end :] == alternative[change.alternative_end :]
    middle = reference[change.start : change.end]
    other = alternative[change.alternative_start : change.alternative_end]
    assert not (middle and other and (middle[0] == other[0] or middle[-1] == other[-1]))


@settings(deadline=None)
@given(dna, dna, dna, dna)
def test_a_map_is_monotonic_and_one_to_one_on_its_blocks(left, reference, alternative, right):
    first, second = left + reference + right, left + alternative + right
    for found in (variant_map(first, second), map_of_alleles(first, second)):
        check_map(found, first, second)


def check_map(found: AlleleMap, first: bytes, second: bytes) -> None:
    positions = np.arange(len(second))
    places, inserted = found.to_reference(positions), found.is_inserted(positions)
    assert ((places >= 0) & (places < len(first))).all()
    assert (np.diff(places) >= 0).all()
    aligned = places[~inserted]
    assert (np.diff(aligned) > 0).all()
    assert len(aligned) == sum(size for _, _, size in found.blocks)
    # slow twin: walk along both sequences
    walked = {}
    for start, other, size in found.blocks:
        walked.update({other + i: start + i for i in range(size)})
    last = found.blocks[0][0]
    for position in positions.tolist():
        last = walked.get(position, last)
        assert places[position] == last
        assert inserted[position] == (position not in walked)
