"""Codes laid end to end, in memory and in a file, against the contigs they were made of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.contig_codes import ContigCodes
from annotations.errors import CoordinateError

WIDTH = 5

contig_lists = st.lists(st.lists(st.integers(0, 4), max_size=15), max_size=4)


@pytest.mark.parametrize("in_file", [False, True])
def test_contigs_come_back_as_they_were(tmp_path, in_file):
    contigs = [np.array(codes, np.uint8) for codes in ([0, 1, 2], [], [3])]
    path = tmp_path / "codes" if in_file else None
    laid = ContigCodes.filled([3, 0, 1], contigs, path)
    assert laid.joined.tolist() == [0, 1, 2, 4, 4, 3, 4]
    assert laid.offsets.tolist() == [0, 4, 5, 7]
    assert [codes.tolist() for codes in laid] == [[0, 1, 2], [], [3]]
    assert laid[-1].tolist() == [3]
    assert [codes.tolist() for codes in laid[1:]] == [[], [3]]
    assert ContigCodes.of(laid) is laid
    assert laid.places(np.array([0, 2]), np.array([1, 0])).tolist() == [1, 5]
    assert (not in_file) or (tmp_path / "codes").read_bytes() == bytes([0, 1, 2, 4, 4, 3, 4])


def test_a_contig_of_another_length_is_refused():
    with pytest.raises(CoordinateError, match="a contig of 3 bases has 2 codes"):
        ContigCodes.filled([3], [np.zeros(2, np.uint8)])


@given(contig_lists)
def test_windows_equal_a_loop_over_their_bases(contigs):
    laid = ContigCodes.of([np.array(codes, np.uint8) for codes in contigs])
    places = np.arange(-WIDTH - 1, len(laid.joined) + 2)
    text = "".join("".join(map(str, codes)) + "4" for codes in contigs)
    windows = [text[at : at + WIDTH] if at >= 0 else "" for at in places.tolist()]
    known = [len(window) == WIDTH and "4" not in window for window in windows]
    assert laid.known(places, WIDTH).tolist() == known
    inside = places[known]
    gc = [
        sum(base in "12" for base in w)
        for w, is_known in zip(windows, known, strict=True)
        if is_known
    ]
    assert laid.gc_of(inside, WIDTH).tolist() == gc
