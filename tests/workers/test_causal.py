"""Causal tests of features that are known to see a motif, and of one that sees GC alone."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from annotations.activations import merge_stretches
from annotations.cards import DictionaryCard, find_cards
from annotations.causal_sites import CausalOptions, Genome, Read
from annotations.errors import OptionError, UnknownNameError
from annotations.sequences import encode_bases, reverse_complement
from annotations.shard_bases import SHARD_FILE
from annotations.types import Span
from tests.annotations.test_edits import motif_of
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from workers.causal import Effect, causal_table, causal_test, measure
from workers.pipeline import run_shard
from workers.registry import SparseWindows, open_dictionary

MOTIF = motif_of("GATTACA")
WORD = encode_bases(b"GATTACA")
SEES_MOTIF, SEES_GC, SILENT = 0, 1, 2
HEIGHT = 2.0
GC_BASES = 20

CARD = DictionaryCard(
    id="toy-sae",
    title="Three features",
    model_id="toy",
    model_sha256="1" * 64,
    layer=1,
    d_in=2,
    d_sae=3,
    k=1,
    sha256="2" * 64,
    stride=256,
    context=32,
    licence="CC0-1.0",
    source="made by hand",
    random_weights=True,
)


class ToyEncoder:
    """Fires `HEIGHT` at the last base of GATTACA, and with the G and C of the last 20 bases."""

    def __init__(self, stride=256, most=10**9):
        self.dictionary = replace(CARD, stride=stride)
        self.most = most
        self.batches = []

    def activations_of(self, codes, wanted=None):
        if len(codes) > self.most:
            raise MemoryError
        self.batches.append(codes.shape)
        batch, length = codes.shape
        value = np.zeros((batch, length, 3), dtype=np.float32)
        for end in range(len(WORD), length + 1):
            here = (codes[:, end - len(WORD) : end] == WORD).all(axis=1)
            value[here, end - 1, SEES_MOTIF] = HEIGHT
        strong = np.cumsum((codes == 1) | (codes == 2), axis=1)
        before = np.pad(strong, ((0, 0), (GC_BASES, 0)))[:, :length]
        value[:, :, SEES_GC] = np.maximum(0, strong - before - 12)
        value[codes > 3] = 0
        if wanted is not None:
            value[~wanted] = 0
        window, position, feature = np.nonzero(value)
        return SparseWindows(
            window, position, feature.astype(np.uint32), value[window, position, feature]
        )


def planted(seed=0, length=60_000, sites=60):
    """Random bases with GATTACA every 1,000 bases, on + and 500 bases further on -, each followed
    in the sense of its strand by 14 bases rich in GC."""
    random = np.random.default_rng(seed)
    codes = random.choice(4, length, p=[0.3, 0.2, 0.2, 0.3]).astype(np.uint8)
    for site in range(sites):
        for at, reverse in ((1000 * site + 300, False), (1000 * site + 800, True)):
            rich = random.choice(4, 14, p=[0.05, 0.45, 0.45, 0.05]).astype(np.uint8)
            put = np.concatenate([WORD, rich])
            codes[at : at + len(put)] = reverse_complement(put) if reverse else put
    return codes


@pytest.fixture(scope="module")
def codes():
    return planted()


def activations_of(encoder, codes, folder):
    """Run the encoder over one contig, as an annotation would."""
    fasta = folder / "sequences.fa"
    letters = np.frombuffer(b"ACGTN", dtype=np.uint8)[codes].tobytes()
    lines = [letters[i : i + 80] for i in range(0, len(letters), 80)]
    fasta.write_bytes(b">0\n" + b"\n".join(lines) + b"\n")
    run_shard(fasta, [Span(0, 0, len(codes))], encoder, folder)
    merge_stretches([folder / SHARD_FILE], folder / "all.parquet")
    return folder / "all.parquet"


@pytest.fixture(scope="module")
def activations(codes, tmp_path_factory):
    return activations_of(ToyEncoder(), codes, tmp_path_factory.mktemp("run"))


def outcome(codes, activations, feature, *, strand=1, motif=MOTIF, encoder=None, **options):
    chosen = CausalOptions(**options)
    return causal_test(
        encoder or ToyEncoder(),
        Genome.of([codes], chosen),
        activations,
        feature=feature,
        strand=strand,
        motif=motif,
        options=chosen,
    )


@pytest.mark.parametrize("strand", [1, -1])
def test_taking_away_what_a_feature_sees_silences_it(codes, activations, strand):
    result = outcome(codes, activations, SEES_MOTIF, strand=strand)
    assert result.offset == -3
    assert result.typical == HEIGHT
    assert result.disrupt == Effect(50, -1.0, 0.0, 1.0, None, 2.0**-50, 2.0**-49, "")
    assert result.control_distance > result.distance
    assert {site["disrupted"] for site in result.sites} == {0.0}
    assert {site["control"] for site in result.sites} == {HEIGHT}


@pytest.mark.parametrize("strand", [1, -1])
def test_putting_in_what_a_feature_sees_wakes_it_in_one_sense_alone(codes, activations, strand):
    result = outcome(codes, activations, SEES_MOTIF, strand=strand)
    n = result.insert.n
    assert n >= 40
    assert result.insert == Effect(n, 1.0, 0.0, 1.0, None, 2.0**-n, 2.0 ** (1 - n), "")
    assert result.insert_opposite == Effect(n, 0.0, 0.0, 0.0, None, 1.0, 1.0, "")


class AheadEncoder(ToyEncoder):
    """Fires at the first base of GATTACA: it sees what follows a base as well."""

    def __init__(self):
        super().__init__()
        self.dictionary = replace(CARD, tap="pair")

    def activations_of(self, codes, wanted=None):
        value = np.zeros(codes.shape, dtype=np.float32)
        for start in range(codes.shape[1] - len(WORD) + 1):
            here = (codes[:, start : start + len(WORD)] == WORD).all(axis=1)
            value[here, start] = HEIGHT
        if wanted is not None:
            value[~wanted] = 0
        window, position = np.nonzero(value)
        feature = np.full(len(window), SEES_MOTIF, np.uint32)
        return SparseWindows(window, position, feature, value[window, position])


@pytest.mark.parametrize("strand", [1, -1])
def test_a_motif_behind_the_base_counts_where_the_tap_sees_both_sides(codes, tmp_path, strand):
    encoder = AheadEncoder()
    found = activations_of(encoder, codes, tmp_path)
    result = outcome(codes, found, SEES_MOTIF, strand=strand, encoder=encoder)
    assert result.offset == 3
    assert result.disrupt == Effect(50, -1.0, 0.0, 1.0, None, 2.0**-50, 2.0**-49, "")
    n = result.insert.n
    assert n >= 40
    assert result.insert == Effect(n, 1.0, 0.0, 1.0, None, 2.0**-n, 2.0 ** (1 - n), "")


@pytest.mark.parametrize("strand", [1, -1])
def test_a_feature_that_sees_gc_alone_is_not_moved_by_a_motif_beside_it(codes, activations, strand):
    result = outcome(codes, activations, SEES_GC, strand=strand)
    assert result.disrupt.n >= 40
    assert abs(result.disrupt.effect) < 0.1
    assert result.disrupt.p_two_sided > 0.05
    assert result.insert.p > 0.05
    assert result.insert_opposite.p > 0.05


def test_a_silent_feature_has_no_measurement(codes, activations):
    result = outcome(codes, activations, SILENT)
    assert result.disrupt == Effect.refused(
        "the feature has no peak on this strand of the sequences"
    )
    assert (result.disrupt.effect, result.insert.effect, result.typical) == (None, None, None)


def test_too_few_sites_are_refused_with_their_number(codes, activations):
    result = outcome(codes, activations, SEES_MOTIF, motif=motif_of("CCCCCCGG"))
    assert (result.disrupt.p, result.disrupt.effect) == (None, None)
    assert "peaks looked at hold the motif" in result.disrupt.reason
    assert "a test needs 6" in result.disrupt.reason
    # the motif can still be put in, and does nothing
    assert result.insert.n >= 40
    assert result.insert.effect == 0.0


def test_a_motif_no_sequence_reaches_is_refused(codes, activations):
    result = outcome(codes, activations, SEES_MOTIF, motif=motif_of("AC"))
    assert "too short or too vague" in result.disrupt.reason
    assert result.insert.p is None


def test_the_result_does_not_depend_on_the_grid_nor_on_memory(codes, activations, tmp_path):
    other = ToyEncoder(stride=100, most=8)
    again = activations_of(ToyEncoder(stride=100), codes, tmp_path)
    assert outcome(codes, again, SEES_GC, encoder=other) == outcome(codes, activations, SEES_GC)
    assert {batch for batch, _ in other.batches} == {8}


def test_equal_seeds_give_equal_results_and_others_other_edits(codes, activations):
    first = outcome(codes, activations, SEES_GC)
    assert outcome(codes, activations, SEES_GC) == first
    other = outcome(codes, activations, SEES_GC, seed=1)
    assert other.control_distance != first.control_distance
    assert other.distance == first.distance


def test_held_out_contigs_are_not_looked_at(codes, activations):
    result = outcome(codes, activations, SEES_MOTIF, held_out=(0,))
    assert "no peak" in result.disrupt.reason


def test_a_result_is_json(codes, activations):
    view = outcome(codes, activations, SEES_MOTIF, strand=-1, sites=10).to_json(["chrT"])
    assert json.loads(json.dumps(view, allow_nan=False)) == view
    assert (view["strand"], view["sites"][0]["contig"], len(view["sites"])) == ("-", "chrT", 10)
    assert view["disrupt"]["p"] == 2.0**-10


def test_numbers_out_of_range_and_unknown_features_are_refused(codes, activations):
    with pytest.raises(OptionError, match=r"sites must be in \[6, 500\], got 5"):
        CausalOptions(sites=5)
    with pytest.raises(OptionError, match="seed must be"):
        CausalOptions(seed=-1)
    with pytest.raises(UnknownNameError, match="has features 0 to 2, got 3"):
        outcome(codes, activations, 3)


def test_a_table_of_many_pairs(codes, activations):
    other = motif_of("CCCCCCGG", matrix_id="MA0002.1")
    pairs = pa.table(
        {
            "feature": pa.array([0, 0, 1], pa.uint32()),
            "strand": pa.array([1, 1, -1], pa.int8()),
            "matrix_id": ["MA0001.1", "MA0002.1", "MA0001.1"],
        }
    )
    genome = Genome.of([codes], CausalOptions())
    told = []
    table = causal_table(
        ToyEncoder(), genome, activations, pairs, [MOTIF, other], on_progress=told.append
    )
    assert told == [1, 2, 3]
    first, refused, last = table.to_pylist()
    alone = outcome(codes, activations, SEES_MOTIF).disrupt
    assert (first["causal_effect"], first["causal_p"], first["n"]) == (1.0, alone.p, 50)
    assert first["causal_q"] == 2 * alone.p
    assert first["causal_reason"] is None
    assert (first["insert_effect"], first["insert_p"]) == (None, None)
    assert (refused["causal_effect"], refused["causal_p"], refused["causal_q"]) == (None,) * 3
    assert "a test needs 6" in refused["causal_reason"]
    assert last["causal_p"] == outcome(codes, activations, SEES_GC, strand=-1).disrupt.p
    both = causal_table(
        ToyEncoder(), genome, activations, pairs.slice(0, 1), [MOTIF], insert=True
    ).to_pylist()[0]
    same = outcome(codes, activations, SEES_MOTIF).insert
    assert (both["insert_effect"], both["insert_p"]) == (same.effect, 2 * same.p)
    assert both["causal_p"] == first["causal_p"]
    with pytest.raises(UnknownNameError, match=r"no motif given has the matrix id 'MA0002\.1'"):
        causal_table(ToyEncoder(), genome, activations, pairs, [MOTIF])


def test_a_read_is_measured_in_its_columns_alone():
    read = np.concatenate([np.zeros(5, np.uint8), WORD])
    values = measure(
        ToyEncoder(), [Read(read, 11, 12), Read(read, 0, 11), Read(read[1:], 10, 11)], SEES_MOTIF
    )
    assert values.tolist() == [HEIGHT, 0.0, HEIGHT]


def test_a_real_encoder_gives_the_wanted_bases_alone(tmp_path):
    root = make_tiny_models(tmp_path)
    encoder = open_dictionary(find_cards([root]).dictionary(DICTIONARY_ID), [root])
    codes = np.random.default_rng(0).integers(0, 5, (3, 80)).astype(np.uint8)
    wanted = np.zeros(codes.shape, dtype=bool)
    wanted[0, 10:20] = wanted[2, 70:] = True
    whole, part = encoder.activations_of(codes), encoder.activations_of(codes, wanted)
    kept = wanted[whole.window, whole.position]
    assert kept.any()
    for every, some in zip(whole, part, strict=True):
        assert np.array_equal(every[kept], some)
