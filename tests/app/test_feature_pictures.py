"""Pictures of a feature: a motif over a matrix, and where a motif stands, by hand."""

import numpy as np
import pytest

from annotations.jaspar import load_motifs
from app.feature_pictures import gc_background, lay_over, motif_positions, overlay_svg
from app.feature_views import OwnMotif
from app.figure_data import motif_sites

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


@pytest.fixture(scope="module")
def reb1():
    return next(m for m in load_motifs("fungi", "JASPAR2026").motifs if m.name == "REB1")


def consensus(motif) -> str:
    return "".join("ACGT"[base] for base in motif.counts.argmax(axis=0))


def test_a_matrix_lies_over_its_own_motif(reb1) -> None:
    own = OwnMotif((reb1.counts * 10).astype(np.int32), -9)
    found = lay_over(own, reb1, 5)
    assert (found.first, found.reverse, found.alike) == (-9, False, True)
    assert found.correlation == pytest.approx(1, abs=1e-3)
    turned = OwnMotif(own.counts[::-1, ::-1], -9)
    assert lay_over(turned, reb1, 5)[:2] == (-9, True)
    text = overlay_svg(turned, reb1, lay_over(turned, reb1, 5), name="374-")
    assert f"{reb1.name} {reb1.matrix_id}, reverse complement" in text
    assert "peaks of 374-" in text


def test_what_is_not_alike_lies_where_it_stands_at_most_peaks(reb1) -> None:
    word = np.zeros((4, 8), np.int32)
    word[0] = 100  # only A
    own = OwnMotif(word, 3)
    found = lay_over(own, reb1, -2)
    assert not found.alike
    assert found.first == -2 - (reb1.width - 1) // 2
    assert found.correlation < 0.75


def test_positions_are_of_the_middle_in_the_sense_of_the_window(reb1) -> None:
    word, width = consensus(reb1), reb1.width
    flank = 20

    def window(start: int, text: str) -> str:
        """A window of N with a word that begins `start` bases from the peak."""
        place = flank + start
        return "N" * place + text + "N" * (2 * flank + 1 - place - len(text))

    back = word[::-1].translate(COMPLEMENT)
    windows = [window(-4, word), window(-4, word), window(7, back), "N" * (2 * flank + 1)]
    found = motif_positions(windows, reb1, np.full(4, 0.25))
    middle = (width - 1) // 2
    assert (found.loci, found.with_motif) == (4, 3)
    counted = dict(zip(found.offsets.tolist(), found.counts.tolist(), strict=True))
    assert counted[middle - 4] == 2
    assert counted[middle + 7] == 1
    assert sum(counted.values()) == 3
    # every place at which the word fits, and no other
    assert found.offsets[0] == middle - flank
    assert found.offsets[-1] - found.offsets[0] == 2 * flank + 1 - width


def test_no_motif_stands_across_two_windows(reb1) -> None:
    word = consensus(reb1)
    half = len(word) // 2
    left = "N" * (21 - half) + word[:half]
    right = word[half:] + "N" * (21 - len(word) + half)
    assert motif_sites_of(left + right, reb1) == 1
    assert motif_positions([left, right], reb1, np.full(4, 0.25)).with_motif == 0


def motif_sites_of(text: str, motif) -> int:
    from annotations.sequences import encode_bases

    sites = motif_sites(encode_bases(text.encode()), motif, np.full(4, 0.25))
    return len({site.start for site in sites})


def test_no_windows_have_no_positions(reb1) -> None:
    found = motif_positions([], reb1, gc_background(0.4))
    assert (found.loci, found.with_motif, found.counts.sum()) == (0, 0, 0)


def test_a_background_of_a_gc_content() -> None:
    assert gc_background(0.4) == pytest.approx([0.3, 0.2, 0.2, 0.3])
