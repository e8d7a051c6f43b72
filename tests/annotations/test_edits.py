"""Edits: by hand on GATTACA, hits as the scanner finds them, and what a control may not do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.edits import (
    Edit,
    Hit,
    MotifScorer,
    core_order,
    core_size,
    disrupt,
    inserted,
    matched_edit,
    oriented_window,
    shuffled_insert,
)
from annotations.errors import CoordinateError
from annotations.motif_catalogue import Motif
from annotations.motif_scan import scan
from annotations.sequences import encode_bases, reverse_complement

UNIFORM = np.full(4, 0.25)


def motif_of(consensus, *, matrix_id="MA0001.1", weight=100.0):
    counts = np.zeros((4, len(consensus)))
    counts[encode_bases(consensus.encode()), np.arange(len(consensus))] = weight
    return Motif(matrix_id, consensus, counts, (), (), "fungi", ())


def text(codes):
    return "".join("ACGTN"[code] for code in codes)


GATTACA = MotifScorer(motif_of("GATTACA"), UNIFORM)


def test_a_window_is_read_in_the_sense_of_the_pass():
    codes = encode_bases(b"AACCGGTTAC")
    assert text(oriented_window(codes, 4, 1, 2, 3)) == "CCGGTT"
    assert text(oriented_window(codes, 4, -1, 2, 3)) == text(
        reverse_complement(encode_bases(b"ACCGGT"))
    )
    assert text(oriented_window(codes, 0, 1, 2, 1)) == "NNAA"
    assert text(oriented_window(codes, 0, -1, 2, 1)) == "GTTN"
    with pytest.raises(CoordinateError, match="outside its contig of 10"):
        oriented_window(codes, 10, 1, 0, 0)


def test_the_core_is_the_most_informative_columns():
    # 2 bits, 0 bits, 1 bit
    counts = np.array([[8.0, 2, 4], [0, 2, 4], [0, 2, 0], [0, 2, 0]])
    motif = motif_of("AAA")._replace(counts=counts)
    assert core_order(motif).tolist() == [0, 2, 1]
    assert core_size(motif) == 1
    assert core_size(GATTACA.motif) == 4


def test_the_core_becomes_the_least_likely_bases():
    window = encode_bases(b"TTTGATTACATTT")
    edit = disrupt(window, Hit(3, 1), GATTACA, last=12)
    # of equal columns the first four; of the bases never seen there the first letter
    assert text(edit.applied(window)) == "TTTACAAACATTT"
    assert edit.position.tolist() == [3, 4, 5, 6]
    assert text(window) == "TTTGATTACATTT"


def test_a_motif_on_the_other_strand_is_taken_away_there():
    window = encode_bases(b"TTTTGTAATCTTT")
    assert GATTACA.hits(window) == [Hit(3, -1)]
    edit = disrupt(window, Hit(3, -1), GATTACA, last=12)
    assert text(edit.applied(window)) == "TTTTGTCCAATTT"


def test_no_base_is_changed_that_the_model_has_not_read():
    window = encode_bases(b"TTTGATTACATTT")
    edit = disrupt(window, Hit(3, 1), GATTACA, last=4)
    assert text(edit.applied(window)) == "TTTACTTACATTT"
    assert disrupt(window, Hit(3, 1), GATTACA, last=2) is None


def test_a_second_copy_that_stays_forbids_the_edit():
    assert disrupt(encode_bases(b"GATTACAGATTACA"), Hit(0, 1), GATTACA, last=13) is None


def test_the_core_is_widened_until_no_hit_is_left():
    # a weak motif: a change of its core alone still leaves a score above the threshold
    counts = np.full((4, 12), 20.0)
    counts[0] += 20
    weak = MotifScorer(motif_of("A" * 12)._replace(counts=counts), UNIFORM, p=1e-3)
    window = np.zeros(12, dtype=np.uint8)
    edit = disrupt(window, Hit(0, 1), weak, last=11)
    assert edit is not None
    assert not weak.has_hit(edit.applied(window))


def test_a_matched_edit_by_hand():
    window = encode_bases(b"CTTTTTTTGATTACA")
    edit = Edit(np.array([8]), encode_bases(b"A"))
    control = matched_edit(
        window, edit, Hit(8, 1), GATTACA, first=0, last=14, random=np.random.default_rng(0)
    )
    # a G became A; the only other G or C is the C, the complement, which becomes T
    assert control.position.tolist() == [0]
    assert text(control.base) == "T"


def test_without_a_like_base_there_is_no_matched_edit():
    window = encode_bases(b"TTTTTTTTGATTACA")
    edit = Edit(np.array([8]), encode_bases(b"A"))
    random = np.random.default_rng(0)
    assert matched_edit(window, edit, Hit(8, 1), GATTACA, first=0, last=14, random=random) is None


def test_a_matched_edit_that_would_break_another_hit_is_not_made():
    # the first copy holds the only like base
    window = encode_bases(b"GATTACATTTGATTACA")
    edit = Edit(np.array([10]), encode_bases(b"A"))
    random = np.random.default_rng(0)
    control = matched_edit(window, edit, Hit(10, 1), GATTACA, first=0, last=16, random=random)
    assert control is None


@given(st.integers(0, 2**32 - 1))
def test_a_matched_edit_is_like_the_edit(seed):
    random = np.random.default_rng(seed)
    window = random.integers(0, 4, 60).astype(np.uint8)
    window[40:47] = encode_bases(b"GATTACA")
    hits = GATTACA.hits(window)
    edit = disrupt(window, Hit(40, 1), GATTACA, last=50)
    if edit is None:
        return
    control = matched_edit(window, edit, Hit(40, 1), GATTACA, first=18, last=50, random=random)
    if control is None:
        return

    def strong(codes):
        return int(((codes == 1) | (codes == 2)).sum())

    changed = control.applied(window)
    assert len(control.position) == len(set(control.position.tolist())) == len(edit.position)
    assert (changed != window).sum() == len(edit.position)
    assert strong(changed) == strong(edit.applied(window))
    assert ((control.position >= 18) & (control.position <= 50)).all()
    assert not ((control.position >= 40) & (control.position < 47)).any()
    assert GATTACA.hits(changed) == hits


@settings(deadline=None)  # numba compiles at the first
@given(st.integers(0, 2**32 - 1))
def test_hits_are_those_of_the_scanner(seed):
    random = np.random.default_rng(seed)
    counts = random.integers(0, 30, (4, 8)).astype(float) + 0.5
    motif = motif_of("A" * 8)._replace(counts=counts)
    codes = random.integers(0, 5, 400).astype(np.uint8)
    background = np.array([0.3, 0.2, 0.2, 0.3])
    table = scan([codes], [motif], background=background, p=1e-3)
    wanted = {
        (row["start"], row["strand"]) for row in table.select(["start", "strand"]).to_pylist()
    }
    found = {tuple(hit) for hit in MotifScorer(motif, background, p=1e-3).hits(codes)}
    assert found == wanted


def test_a_motif_that_cannot_be_found_is_nowhere():
    scorer = MotifScorer(motif_of("AC"), UNIFORM)
    assert not scorer.can_hit
    assert not scorer.has_hit(encode_bases(b"ACACACAC"))


def test_bases_are_written_over_a_window():
    window = encode_bases(b"AAAAAA")
    assert text(inserted(window, encode_bases(b"CG"), 2)) == "AACGAA"
    with pytest.raises(CoordinateError, match="2 bases do not fit at 5 of a window of 6"):
        inserted(window, encode_bases(b"CG"), 5)


def test_a_shuffled_motif_has_its_bases_and_is_no_hit():
    window = np.full(30, 3, dtype=np.uint8)
    for orientation in (1, -1):
        for seed in range(20):
            random = np.random.default_rng(seed)
            edited = shuffled_insert(window, GATTACA, 10, orientation, random)
            assert sorted(edited[10:17]) == sorted(GATTACA.oriented(orientation))
            assert not GATTACA.has_hit(edited)


def test_a_motif_of_one_base_cannot_be_shuffled():
    scorer = MotifScorer(motif_of("AAAAAAAA"), UNIFORM)
    window = np.full(30, 1, dtype=np.uint8)
    assert shuffled_insert(window, scorer, 10, 1, np.random.default_rng(0)) is None
