"""Sites: which peaks hold a motif where, which windows are silent, what is read of each."""

import numpy as np
import pytest

from annotations.activations import Activations, to_stretches, write_stretches
from annotations.causal_sites import (
    GC_STEPS,
    HALF,
    MEASURED,
    CausalOptions,
    Genome,
    Row,
    disruptions,
    insertions,
    silent_windows,
    site_hits,
)
from annotations.edits import Hit, MotifScorer
from annotations.motif_windows import WIDTH
from annotations.peaks import RADIUS
from annotations.sequences import encode_bases, reverse_complement
from tests.annotations.test_edits import UNIFORM, motif_of

GATTACA = MotifScorer(motif_of("GATTACA"), UNIFORM)
CONTEXT = 32
LENGTH = 20_000


def random_codes(seed=0):
    return np.random.default_rng(seed).integers(0, 4, LENGTH).astype(np.uint8)


def row_of(tmp_path, codes, peaks, strand=1, options=None):
    """A row of feature 3 that is active at single bases; values fall from base to base."""
    path = tmp_path / "activations.parquet"
    n = len(peaks)
    write_stretches(
        to_stretches(
            Activations(
                feature=np.full(n, 3, np.uint32),
                strand=np.full(n, strand, np.int8),
                contig=np.zeros(n, np.uint32),
                position=np.array(peaks, np.int64),
                value=np.linspace(9, 1, n).astype(np.float32),
            )
        ),
        path,
    )
    genome = Genome.of([codes], options or CausalOptions())
    return Row.read(path, 3, strand, genome), genome


def put(codes, word, at):
    codes[at : at + len(word)] = encode_bases(word)


def test_peaks_at_the_ends_beside_n_overlapping_ones_and_copies_are_left_out(tmp_path):
    codes = random_codes()
    codes[5000] = 4
    codes[9000 - 20 : 9000 + 21] = codes[8000 - 20 : 8000 + 21]
    overlapping = 7000 + 2 * HALF
    peaks = [7000, 8000, overlapping, 9000, 5000 + HALF, 4999 - HALF, HALF - 1, LENGTH - HALF]
    row, _ = row_of(tmp_path, codes, peaks)
    assert row.position.tolist() == [7000, 8000, 4999 - HALF]
    assert (np.diff(row.value) < 0).all()
    assert np.array_equal(row.windows[0], codes[7000 - HALF : 7000 + HALF + 1])
    assert len(row.active_position) == len(peaks)
    others = [5001 + HALF, HALF, LENGTH - HALF - 1]
    assert row_of(tmp_path, codes, others)[0].position.tolist() == others


def test_the_offset_is_the_commonest_and_hits_near_it_count(tmp_path):
    codes = random_codes()
    peaks = [1000 * k for k in range(1, 9)]
    for peak in peaks[:4]:
        put(codes, b"GATTACA", peak - 6)  # middle at -3
    put(codes, b"GATTACA", peaks[4] - 9)  # middle at -6: near enough
    put(codes, b"GATTACA", peaks[5] - 10)  # at -7: not
    put(codes, b"TGTAATC", peaks[6] - 6)  # at -3, the other way round
    row, _ = row_of(tmp_path, codes, peaks)
    found = site_hits(row, GATTACA)
    assert found.offset == -3
    assert row.position[found.peak].tolist() == [*peaks[:5], peaks[6]]
    assert found.hit == [Hit(44, 1)] * 4 + [Hit(41, 1), Hit(44, -1)]


def test_offsets_are_in_the_sense_of_the_pass(tmp_path):
    codes = random_codes()
    peaks = [1000 * k for k in range(1, 9)]
    for peak in peaks:
        put(codes, b"TGTAATC", peak)  # read on -, GATTACA ends at the peak
    row, _ = row_of(tmp_path, codes, peaks, strand=-1)
    found = site_hits(row, GATTACA)
    assert (found.offset, set(found.hit)) == (-3, {Hit(44, 1)})


def test_no_hit_has_no_offset(tmp_path):
    row, _ = row_of(tmp_path, np.zeros(LENGTH, np.uint8), [1000, 2000])
    assert site_hits(row, GATTACA).offset is None


@pytest.mark.parametrize("strand", [1, -1])
def test_reads_differ_in_the_edited_bases_alone(tmp_path, strand):
    codes = random_codes()
    peaks = [1000 * k for k in range(1, 19)]
    for peak in peaks:
        put(codes, b"GATTACA" if strand > 0 else b"TGTAATC", peak - 6 if strand > 0 else peak)
    options = CausalOptions(sites=10)
    row, genome = row_of(tmp_path, codes, peaks, strand, options)
    found = site_hits(row, GATTACA)
    sites = disruptions(row, found, GATTACA, genome, options, context=CONTEXT)
    assert len(sites) == 10
    assert [site.position for site in sites] == sorted(site.position for site in sites)
    for site in sites:
        original = site.original
        # every measured base has the whole context before it, whatever the grid was
        assert (original.first, original.last) == (CONTEXT, CONTEXT + 2 * MEASURED + 1)
        assert len(original.codes) == original.last
        forward = codes[site.position - 37 : site.position + 38]
        seen = forward if strand > 0 else reverse_complement(forward)
        assert np.array_equal(original.codes, seen[: len(original.codes)])
        for read in (site.disrupted, site.control):
            assert (read.codes != original.codes).sum() == site.changes
            assert read.first == original.first
        assert not GATTACA.has_hit(site.disrupted.codes)
        assert GATTACA.has_hit(site.control.codes)


def test_a_motif_that_the_model_has_not_read_is_no_site(tmp_path):
    codes = random_codes()
    peaks = [1000 * k for k in range(1, 19)]
    for peak in peaks:
        put(codes, b"GATTACA", peak + 2)
    row, genome = row_of(tmp_path, codes, peaks)
    found = site_hits(row, GATTACA)
    assert found.offset == 5
    assert disruptions(row, found, GATTACA, genome, CausalOptions(), context=CONTEXT) == []


def test_a_motif_that_is_read_ahead_is_a_site(tmp_path):
    codes = random_codes()
    peaks = [1000 * k for k in range(1, 19)]
    for peak in peaks:
        put(codes, b"GATTACA", peak + 2)
    row, genome = row_of(tmp_path, codes, peaks)
    found = site_hits(row, GATTACA)
    options = CausalOptions(sites=10)
    sites = disruptions(row, found, GATTACA, genome, options, context=CONTEXT, ahead=20)
    assert len(sites) == 10
    for site in sites:
        original = site.original
        assert (original.first, original.last) == (CONTEXT, CONTEXT + 2 * MEASURED + 1)
        assert len(original.codes) == original.last + 20
        begin = site.position - CONTEXT - MEASURED
        assert np.array_equal(original.codes, codes[begin : begin + len(original.codes)])
        assert not GATTACA.has_hit(site.disrupted.codes)


def test_at_the_start_of_a_contig_the_read_is_shorter(tmp_path):
    codes = random_codes()
    put(codes, b"GATTACA", 60 - 6)
    row, genome = row_of(tmp_path, codes, [60])
    found = site_hits(row, GATTACA)
    (site,) = disruptions(row, found, GATTACA, genome, CausalOptions(), context=100)
    assert np.array_equal(site.original.codes, codes[: 60 + MEASURED + 1])
    assert (site.original.first, site.original.last) == (60 - MEASURED, 60 + MEASURED + 1)


def test_silent_windows_have_the_gc_of_the_peaks_and_no_motif(tmp_path):
    codes = random_codes()
    peaks = list(range(200, LENGTH // 2, 60))
    row, genome = row_of(tmp_path, codes, peaks)
    options = CausalOptions(sites=20)
    windows = silent_windows(row, GATTACA, genome, options)
    assert len(windows) == len(set(windows)) >= 15
    wanted = ((row.windows == 1) | (row.windows == 2)).sum(axis=1)[:20]
    for _, middle in windows:
        window = codes[middle - HALF : middle + HALF + 1]
        assert len(window) == WIDTH
        assert not any(middle - HALF <= peak <= middle + HALF for peak in peaks)
        assert not GATTACA.has_hit(window)
        gc = int(((window == 1) | (window == 2)).sum())
        assert np.abs(wanted - gc).min() <= max(GC_STEPS)


@pytest.mark.parametrize("strand", [1, -1])
def test_what_is_put_in_is_read_with_its_context(tmp_path, strand):
    codes = random_codes()
    row, genome = row_of(tmp_path, codes, [15_000], strand)
    (pair,) = insertions(row, [(0, 5000)], -1, GATTACA, genome, CausalOptions(), context=CONTEXT)
    reads = (pair.original, pair.inserted, pair.control)
    assert {(read.first, read.last) for read in reads} == {(CONTEXT, CONTEXT + 7 + RADIUS)}
    assert {len(read.codes) for read in reads} == {CONTEXT + 7 + RADIUS}
    middle = slice(CONTEXT, CONTEXT + 7)
    assert np.array_equal(pair.inserted.codes[middle], encode_bases(b"TGTAATC"))
    assert sorted(pair.control.codes[middle]) == sorted(encode_bases(b"TGTAATC"))
    forward = codes[5000 - 80 : 5000 + 81]
    seen = forward if strand > 0 else reverse_complement(forward)
    first = 80 - 3 - CONTEXT
    assert np.array_equal(pair.original.codes, seen[first : first + len(pair.original.codes)])
    for read in reads[1:]:
        differs = np.flatnonzero(read.codes != pair.original.codes)
        assert ((differs >= middle.start) & (differs < middle.stop)).all()


def test_a_motif_too_wide_for_a_window_is_not_put_in(tmp_path):
    wide = MotifScorer(motif_of("GATTACAC" * 7), UNIFORM)
    row, genome = row_of(tmp_path, random_codes(), [15_000])
    assert insertions(row, [(0, 5000)], 1, wide, genome, CausalOptions(), context=CONTEXT) == []
