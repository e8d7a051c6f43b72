"""One shard: what is found, where, and that no cutting changes it."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from annotations.activations import merge_stretches
from annotations.active_bases import Activations, sort
from annotations.cards import find_cards
from annotations.errors import CoordinateError
from annotations.sequences import Record, encode_bases, write_fasta
from annotations.shard_bases import SHARD_FILE
from annotations.stretches import from_stretches
from annotations.types import Span
from annotations.windows import plan_shards
from tests.annotations.shard_cases import read_activations, read_peaks
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from workers.pipeline import Canceled, run_shard, widened, windows_of
from workers.registry import SparseWindows, open_dictionary


class Planted:
    """An encoder whose features are single letters: feature 0 fires on A, 1 on C, ... .

    The value of a base is 1, and 2 more if it ends the word ACGT as it is read.
    """

    def __init__(self, card):
        self.dictionary = card
        self.shapes = []

    def activations_of(self, codes, wanted=None):
        self.shapes.append(codes.shape)
        window, position = np.nonzero(codes < 4)
        value = np.ones(len(window), dtype=np.float32)
        for i, (row, at) in enumerate(zip(window, position, strict=True)):
            if codes[row, max(0, at - 3) : at + 1].tolist() == [0, 1, 2, 3]:
                value[i] = 3
        return SparseWindows(window, position, codes[window, position].astype(np.uint32), value)


class Forgetful(Planted):
    """Runs out of memory on more than two windows."""

    def activations_of(self, codes, wanted=None):
        if len(codes) > 2:
            raise MemoryError
        return super().activations_of(codes, wanted)


@pytest.fixture(scope="session")
def roots(tmp_path_factory):
    return [make_tiny_models(tmp_path_factory.mktemp("models"))]


@pytest.fixture(scope="session")
def card(roots):
    return find_cards(roots).dictionary(DICTIONARY_ID)


@pytest.fixture(scope="session")
def encoder(card, roots):
    return open_dictionary(card, roots)


def random_sequence(length, seed=0):
    draw = np.random.default_rng(seed)
    return np.frombuffer(b"ACGT", dtype=np.uint8)[draw.integers(0, 4, length)].tobytes()


def fasta_of(tmp_path, *sequences):
    path = tmp_path / "sequences.fa"
    records = [Record(str(i), "", sequence) for i, sequence in enumerate(sequences)]
    write_fasta(records, path)
    return path


def activations(folder):
    return read_activations(folder / SHARD_FILE)


def run(tmp_path, name, fasta, spans, encoder, **options):
    out = tmp_path / name
    out.mkdir()
    run_shard(fasta, spans, encoder, out, **options)
    return out


def test_a_planted_word_is_the_peak_of_its_last_base(tmp_path, card):
    fasta = fasta_of(tmp_path, b"T" * 40 + b"ACGT" + b"T" * 60)
    out = run(tmp_path, "out", fasta, [Span(0, 0, 104)], Planted(card))
    peaks = read_peaks(out / SHARD_FILE).to_pylist()
    # T is feature 3: the word ends at base 43; the first T of the left flank is the leftmost of
    # equals, but no peak: nothing was read before it
    forward = [(p["position"], p["value"]) for p in peaks if p["feature"] == 3 and p["strand"] == 1]
    assert forward == [(43, 3.0)]
    # read backwards ACGT is ACGT again and ends at base 40, which is an A: there read as T
    reverse = [
        (p["position"], p["value"]) for p in peaks if p["feature"] == 3 and p["strand"] == -1
    ]
    assert reverse == [(40, 3.0)]


def test_a_base_of_n_is_never_active_and_not_counted(tmp_path, card, encoder):
    sequence = random_sequence(200) + b"N" * 100 + random_sequence(150, 1) + b"RYSW" * 5
    fasta = fasta_of(tmp_path, sequence)
    out = run(tmp_path, "out", fasta, [Span(0, 0, len(sequence))], encoder)
    found = activations(out)
    assert len(found.value) > 100
    assert (encode_bases(sequence)[found.position] < 4).all()
    metadata = pq.read_table(out / "statistics.parquet").schema.metadata
    assert (metadata[b"scanned_plus"], metadata[b"scanned_minus"]) == (b"350", b"350")


@pytest.mark.parametrize("target", [128, 300, 700])
def test_the_result_does_not_depend_on_how_shards_are_cut(tmp_path, card, encoder, target):
    sequences = [random_sequence(n, n) for n in (1000, 90, 130, 20)]
    fasta = fasta_of(tmp_path, *sequences)
    lengths = [len(s) for s in sequences]
    whole = run(tmp_path, "whole", fasta, [Span(i, 0, n) for i, n in enumerate(lengths)], encoder)
    plan = plan_shards(lengths, stride=card.stride, target=target)
    assert len(plan) > 1
    parts = [run(tmp_path, f"part{i}", fasta, spans, encoder) for i, spans in enumerate(plan)]
    merge_stretches([p / SHARD_FILE for p in parts], tmp_path / "merged.parquet")
    expected = activations(whole)
    found = from_stretches(pq.read_table(tmp_path / "merged.parquet"))
    assert len(expected.value) > 5000
    for a, b in zip(found[:4], expected[:4], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(found.value, expected.value, rtol=2e-3)

    def peaks(folders):
        return sorted(
            (p["feature"], p["strand"], p["contig"], p["position"])
            for folder in folders
            for p in read_peaks(folder / SHARD_FILE).to_pylist()
        )

    assert peaks(parts) == peaks([whole])


def test_the_result_does_not_depend_on_the_batch(tmp_path, encoder):
    fasta = fasta_of(tmp_path, random_sequence(700, 5))
    results = [
        activations(run(tmp_path, f"b{n}", fasta, [Span(0, 0, 700)], encoder, batch=n))
        for n in (1, 3, 16)
    ]
    for found in results[1:]:
        for a, b in zip(found[:4], results[0][:4], strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(found.value, results[0].value, rtol=2e-3)


def test_reverse_is_forward_of_the_reverse_complement_mirrored(tmp_path, card, encoder):
    # a whole number of cells, so that the mirrored grid is the same grid
    sequence = random_sequence(card.stride * 4, 9)
    mirrored = sequence[::-1].translate(bytes.maketrans(b"ACGT", b"TGCA"))
    span = [Span(0, 0, len(sequence))]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = activations(run(tmp_path, "1", fasta_of(tmp_path / "a", sequence), span, encoder))
    other = activations(run(tmp_path, "2", fasta_of(tmp_path / "b", mirrored), span, encoder))
    turned = sort(
        Activations(
            other.feature,
            (-other.strand).astype(np.int8),
            other.contig,
            len(sequence) - 1 - other.position,
            other.value,
        )
    )
    for a, b in zip(one[:4], turned[:4], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(one.value, turned.value, rtol=2e-3)
    assert {1, -1} == set(one.strand.tolist())


def test_forward_alone_is_the_forward_half(tmp_path, encoder):
    fasta = fasta_of(tmp_path, random_sequence(300, 2))
    both = activations(run(tmp_path, "both", fasta, [Span(0, 0, 300)], encoder))
    forward = activations(
        run(tmp_path, "forward", fasta, [Span(0, 0, 300)], encoder, strands="forward")
    )
    assert set(forward.strand.tolist()) == {1}
    np.testing.assert_array_equal(forward.position, both.position[both.strand == 1])


def test_every_batch_has_one_shape_and_memory_shortage_halves_it(tmp_path, card):
    fasta = fasta_of(tmp_path, random_sequence(card.stride * 5, 3))
    span = [Span(0, 0, card.stride * 5)]
    roomy, tight = Planted(card), Forgetful(card)
    expected = activations(run(tmp_path, "roomy", fasta, span, roomy, batch=8))
    found = activations(run(tmp_path, "tight", fasta, span, tight, batch=8))
    assert set(roomy.shapes) == {(8, card.stride + card.context)}
    assert set(tight.shapes) == {(2, card.stride + card.context)}
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_error_is_not_taken_for_a_lack_of_memory(tmp_path, card):
    class Broken(Planted):
        def activations_of(self, codes, wanted=None):
            raise RuntimeError("weights are broken")

    fasta = fasta_of(tmp_path, b"ACGT" * 10)
    with pytest.raises(RuntimeError, match="weights are broken"):
        run(tmp_path, "out", fasta, [Span(0, 0, 40)], Broken(card))


def test_progress_rises_to_all_bases_and_can_cancel(tmp_path, card):
    fasta = fasta_of(tmp_path, random_sequence(1000))
    seen = []
    run(tmp_path, "a", fasta, [Span(0, 0, 1000)], Planted(card), batch=2, on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1000

    def stop(done):
        raise Canceled

    with pytest.raises(Canceled):
        run(tmp_path, "b", fasta, [Span(0, 0, 1000)], Planted(card), on_progress=stop)
    assert list((tmp_path / "b").iterdir()) == []


@pytest.mark.parametrize("span", [Span(0, 0, 101), Span(0, 50, 50), Span(0, -1, 20)])
def test_a_span_outside_its_contig_is_refused(tmp_path, card, span):
    with pytest.raises(CoordinateError, match="inside its contig of 100 bases"):
        run(tmp_path, "out", fasta_of(tmp_path, b"A" * 100), [span], Planted(card))


def test_near_spans_share_their_cell_and_their_halo():
    spans = [Span(0, 100, 110), Span(0, 120, 130), Span(1, 0, 10)]
    assert [tuple(s) for s in widened(spans, 10)] == [(0, 90, 140), (1, 0, 20)]
    windows = windows_of(spans, {0: 500, 1: 10}, stride=128, context=16, strands="forward")
    assert [(w.contig, w.cell) for w in windows] == [
        (0, (0, 128)),
        (0, (128, 256)),
        (1, (0, 10)),
    ]


def test_short_records_share_batches_and_are_found_as_if_alone(tmp_path, card, encoder):
    lengths = [40, 150, 7, 90, 40, 300, 18, 144]
    records = [random_sequence(length, seed) for seed, length in enumerate(lengths)]
    together = fasta_of(tmp_path, *records)
    spans = [Span(index, 0, length) for index, length in enumerate(lengths)]
    counting = Planted(card)
    run(tmp_path, "counted", together, spans, counting, batch=8)
    width = card.stride + card.context
    assert {wide % (width // 8) for _, wide in counting.shapes} == {0}
    # 18 reads of 4 to 144 bases fill few batches of at most 8 whole windows each
    assert max(rows * wide for rows, wide in counting.shapes) <= 8 * width
    assert len(counting.shapes) <= 8
    found = activations(run(tmp_path, "together", together, spans, encoder))
    for index, span in enumerate(spans):
        alone = activations(run(tmp_path, f"alone{index}", together, [span], encoder))
        here = found.contig == index
        for a, b in zip(alone, found, strict=True):
            np.testing.assert_array_equal(a, b[here])
