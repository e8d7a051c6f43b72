"""What is expected of the bases of a shard: by hand, against the model, however it is cut."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from annotations.cards import find_cards
from annotations.errors import CoordinateError, OptionError, StorageError
from annotations.expectation import SIDES, STEP
from annotations.expectation_file import merge_expected, read_expected, sides_in
from annotations.sequences import encode_bases, reverse_complement
from annotations.types import Span
from annotations.windows import plan_shards
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from tests.workers.test_pipeline import fasta_of, random_sequence
from workers.expectation import expectation_windows, write_expectation
from workers.expectation_merge import merge_expectation
from workers.language_models.hyenadna import HyenaDna
from workers.language_models.paired_tree import PairedTreeReader
from workers.language_models.stripedhyena2.model import StripedHyena2
from workers.pipeline import Canceled
from workers.registry import open_dictionary

READERS = {
    "paired_tree": PairedTreeReader,
    "hyenadna": HyenaDna,
    "stripedhyena2": StripedHyena2,
}


class Neighbours:
    """A model that expects, of each base, the letter on its left and that on its right.

    Each counts 3/8 and an eighth is left for every letter; beyond the end of what is read, and
    beside N, all letters count alike.
    """

    def __init__(self, encoder, *, stride=8):
        self.model = replace(encoder.model, context=0)
        self.dictionary = replace(encoder.dictionary, stride=stride)
        self.shapes = []

    def log_probabilities_of(self, codes):
        self.shapes.append(codes.shape)
        p = np.full((*codes.shape, 4), 0.0625)
        for at in range(codes.shape[1]):
            for near in (at - 1, at + 1):
                known = 0 <= near < codes.shape[1]
                for row, letter in enumerate(codes[:, near] if known else [4] * len(codes)):
                    p[row, at] += (
                        np.full(4, 0.109375) if letter == 4 else 0.4375 * np.eye(4)[letter]
                    )
        return np.log(p).astype(np.float32)


class Causal:
    """A causal model that says of each base how many bases it has read before it."""

    def __init__(self, encoder):
        self.model = replace(encoder.model, architecture="hyenadna")
        self.dictionary = replace(encoder.dictionary, stride=10, context=4)

    def log_probabilities_of(self, codes):
        before = np.arange(codes.shape[1], dtype=np.float32)
        found = np.repeat(-np.log(2) * before[:, None], 4, axis=1)
        found[0] = np.nan
        return np.repeat(found[None], len(codes), axis=0)


class Forgetful(Neighbours):
    """Runs out of memory on more than two windows."""

    def log_probabilities_of(self, codes):
        if len(codes) > 2:
            raise MemoryError
        return super().log_probabilities_of(codes)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    roots = [make_tiny_models(tmp_path_factory.mktemp("models"))]
    return open_dictionary(find_cards(roots).dictionary(DICTIONARY_ID), roots, whole=True)


def expected(tmp_path, fasta, spans, encoder, name="shard", **options):
    """Contigs, positions and log2 p of all rows of a shard."""
    folder = tmp_path / name
    folder.mkdir()
    path = write_expectation(fasta, spans, encoder, folder, **options)
    parts = list(read_expected(path))
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def direct(encoder, sequence):
    """What the model says of a whole sequence at once, in bits."""
    codes = torch.from_numpy(encode_bases(sequence)[None])
    return encoder.language_model.log_probabilities(codes)[0].numpy() / np.log(2)


def test_a_model_of_neighbours_by_hand(tmp_path, encoder):
    fasta = fasta_of(tmp_path, b"ACGNT" + b"A" * 20)
    contig, position, log2_p = expected(tmp_path, fasta, [Span(0, 0, 25)], Neighbours(encoder))
    assert position.tolist() == [0, 1, 2, *range(4, 25)]
    assert set(contig.tolist()) == {0}
    p = np.exp2(log2_p.astype(float))
    none, half = 0.0625 + 0.109375, 0.0625 + 0.4375
    by_hand = {
        0: [none, half + 0.109375, none, none],  # nothing on its left, C on its right
        1: [half, 0.0625, half, 0.0625],
        2: [none, half + 0.109375, none, none],  # C, N
        4: [half + 0.109375, none, none, none],  # N, A
        7: [half + 0.4375, 0.0625, 0.0625, 0.0625],  # the last of a cell
        8: [half + 0.4375, 0.0625, 0.0625, 0.0625],
    }
    for place, row in by_hand.items():
        np.testing.assert_allclose(p[position.tolist().index(place)], row, rtol=1e-3)


@pytest.mark.parametrize("length", [1, 30, 128, 129, 700])
def test_each_base_has_what_the_model_says_of_the_whole_contig(tmp_path, encoder, length):
    sequence = random_sequence(length, length)
    _, position, log2_p = expected(
        tmp_path, fasta_of(tmp_path, sequence), [Span(0, 0, length)], encoder
    )
    assert position.tolist() == list(range(length))
    assert np.abs(log2_p - direct(encoder, sequence)).max() <= 0.51 * STEP


def test_no_window_grid_changes_it(tmp_path, encoder):
    fasta = fasta_of(tmp_path, random_sequence(700))
    one = expected(tmp_path, fasta, [Span(0, 0, 700)], encoder, "one")[2]
    for stride in (50, 97, 4096):
        other = open_again(encoder, stride)
        two = expected(tmp_path, fasta, [Span(0, 0, 700)], other, f"grid{stride}")[2]
        assert np.abs(one - two).max() <= STEP


def open_again(encoder, stride):
    """The same model on another window grid."""
    made = object.__new__(type(encoder))
    made.__dict__ = {**encoder.__dict__, "dictionary": replace(encoder.dictionary, stride=stride)}
    return made


def test_the_reverse_complement_is_expected_to_be_the_complement_reversed(tmp_path, encoder):
    sequence = random_sequence(500, 3)
    other = b"ACGTN"
    mirrored = bytes(other[code] for code in reverse_complement(encode_bases(sequence)))
    fasta = fasta_of(tmp_path, sequence, mirrored)
    _, _, found = expected(tmp_path, fasta, [Span(0, 0, 500), Span(1, 0, 500)], encoder)
    assert np.abs(found[:500] - found[500:][::-1, ::-1]).max() <= STEP


def test_slow_twin_each_base_alone_with_what_the_model_sees(tmp_path, encoder):
    sequence = random_sequence(300, 9)
    _, _, found = expected(tmp_path, fasta_of(tmp_path, sequence), [Span(0, 0, 300)], encoder)
    reach = encoder.model.context + 1
    for place in range(0, 300, 7):
        first = max(0, place - reach)
        about = bytearray(sequence[first : place + reach + 1])
        # the base itself is no input of what is expected of it
        about[place - first] = ord("A") if about[place - first] != ord("A") else ord("G")
        alone = direct(encoder, bytes(about))[place - first]
        assert np.abs(found[place] - alone).max() <= 0.51 * STEP


@pytest.mark.parametrize("target", [128, 300, 1000])
def test_the_result_does_not_depend_on_how_shards_are_cut(tmp_path, encoder, target):
    sequences = [random_sequence(n, n) for n in (900, 40, 260)]
    fasta = fasta_of(tmp_path, *sequences)
    lengths = [len(sequence) for sequence in sequences]
    whole = expected(tmp_path, fasta, [Span(i, 0, n) for i, n in enumerate(lengths)], encoder)
    parts = []
    for number, spans in enumerate(plan_shards(lengths, stride=128, target=target)):
        expected(tmp_path, fasta, spans, encoder, f"part{number}")
        parts.append(tmp_path / f"part{number}" / "expectation.parquet")
    merge_expected(parts, tmp_path / "out")
    assert sides_in(tmp_path / "out") == "all"
    joined = [
        np.concatenate(values) for values in zip(*read_expected(tmp_path / "out"), strict=True)
    ]
    np.testing.assert_array_equal(joined[0], whole[0])
    np.testing.assert_array_equal(joined[1], whole[1])
    assert np.abs(joined[2] - whole[2]).max() <= STEP


def test_spans_within_a_contig_are_as_in_all_of_it(tmp_path, encoder):
    fasta = fasta_of(tmp_path, random_sequence(900))
    whole = expected(tmp_path, fasta, [Span(0, 0, 900)], encoder)[2]
    spans = [Span(0, 5, 6), Span(0, 100, 300), Span(0, 899, 900)]
    _, position, found = expected(tmp_path, fasta, spans, encoder, "spans")
    assert position.tolist() == [5, *range(100, 300), 899]
    assert np.abs(found - whole[position]).max() <= STEP


def test_a_causal_model_is_read_with_the_context_and_says_nothing_of_the_first_base(
    tmp_path, encoder
):
    fasta = fasta_of(tmp_path, b"ACGTACGTACGTACGTACGTACGTA")
    model = Causal(encoder)
    _, position, log2_p = expected(tmp_path, fasta, [Span(0, 0, 25)], model)
    assert position.tolist() == list(range(1, 25))
    assert sides_in(tmp_path / "shard" / "expectation.parquet") == "before"
    # the first cell from its own first base, the others from four bases before
    before = [*range(1, 10), *range(4, 14), *range(4, 9)]
    assert (-log2_p[:, 0]).tolist() == before


def test_a_shortage_of_memory_halves_the_batch(tmp_path, encoder):
    fasta = fasta_of(tmp_path, random_sequence(100))
    whole = expected(tmp_path, fasta, [Span(0, 0, 100)], Neighbours(encoder), "all", batch=8)
    short = Forgetful(encoder)
    found = expected(tmp_path, fasta, [Span(0, 0, 100)], short, "short", batch=8)
    assert max(rows for rows, _ in short.shapes) == 2
    for one, other in zip(whole, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_error_is_not_taken_for_a_lack_of_memory(tmp_path, encoder):
    class Broken(Neighbours):
        def log_probabilities_of(self, codes):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        expected(tmp_path, fasta_of(tmp_path, b"ACGT"), [Span(0, 0, 4)], Broken(encoder))


def test_progress_rises_to_all_bases_and_can_cancel(tmp_path, encoder):
    fasta = fasta_of(tmp_path, random_sequence(100))
    seen = []

    def stop(done):
        seen.append(done)
        if done > 50:
            raise Canceled

    with pytest.raises(Canceled):
        expected(tmp_path, fasta, [Span(0, 0, 100)], Neighbours(encoder), on_progress=stop)
    assert seen == sorted(seen)
    assert not list((tmp_path / "shard").iterdir())
    done = []
    options = {"on_progress": done.append}
    expected(tmp_path, fasta, [Span(0, 0, 100)], Neighbours(encoder), "whole", **options)
    assert done[-1] == 100


@pytest.mark.parametrize("span", [Span(0, 0, 5), Span(0, 3, 3), Span(0, -1, 2)])
def test_a_span_outside_its_contig_is_refused(span):
    with pytest.raises(CoordinateError, match="must lie inside its contig of 4 bases"):
        expectation_windows(span, 4, stride=8, margins=(1, 1))


def test_a_model_without_a_head_is_refused_before_anything_is_read(tmp_path, encoder):
    model = Neighbours(encoder)
    model.model = replace(model.model, architecture="huggingface")
    with pytest.raises(OptionError, match="has no expectation track"):
        write_expectation(tmp_path / "none.fa", [Span(0, 0, 4)], model, tmp_path)


def test_a_batch_of_nothing_is_refused(tmp_path, encoder):
    with pytest.raises(CoordinateError, match="at least 1 window, got 0"):
        write_expectation(tmp_path / "none.fa", [Span(0, 0, 4)], encoder, tmp_path, batch=0)


def test_a_shard_that_lacks_its_file_is_told(tmp_path):
    (tmp_path / "shard").mkdir()
    with pytest.raises(StorageError, match=r"expectation.parquet cannot be read"):
        merge_expectation([tmp_path / "shard"], tmp_path, None, [])


def test_what_cards_say_of_sides_is_what_the_models_do():
    assert sorted(READERS) == sorted(SIDES)
    for name, reader in READERS.items():
        two_sided = reader.two_sided.fget(None)
        assert SIDES[name] == ("all" if two_sided else "before")
