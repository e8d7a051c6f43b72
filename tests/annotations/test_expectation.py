"""Bits of what a model expects: by hand, against slow twins, and as they are stored."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import expectation_file
from annotations.allele_maps import AlleleMap, Change
from annotations.alleles import AllelePair, Alleles
from annotations.cards import DictionaryCard, ModelCard
from annotations.errors import FormatError, OptionError, StorageError
from annotations.expectation import (
    LEAST_LOG2,
    PSEUDOCOUNT,
    REACH,
    SIDES,
    STEP,
    as_stored,
    composition,
    information,
    letter_heights,
    margins_of,
    observed_bits,
    probabilities,
    reach_of,
    sides_of,
)
from annotations.expectation_file import (
    Expected,
    expected_at,
    merge_expected,
    read_expected,
    sides_in,
    substitutions,
    write_expected,
)
from annotations.sequences import encode_bases


def rows(*places, seed=0):
    """Something expected of bases (contig, position)."""
    draw = np.random.default_rng(seed).dirichlet(np.ones(4), len(places))
    contig, position = np.array(places, np.int64).reshape(-1, 2).T
    return Expected(contig.astype(np.uint32), position, as_stored(np.log(draw).astype(np.float32)))


def cards(architecture="paired_tree", context=97, own=32):
    model = ModelCard(
        id="m",
        title="",
        architecture=architecture,
        config={},
        weights="m.safetensors",
        sha256="1" * 64,
        n_parameters=1,
        context=context,
        licence="",
        source="",
    )
    card = DictionaryCard(
        id="d",
        title="",
        model_id="m",
        model_sha256="1" * 64,
        layer=1,
        d_in=2,
        d_sae=4,
        k=1,
        sha256="2" * 64,
        stride=8,
        context=own,
        licence="",
        source="",
    )
    return model, card


def test_bits_by_hand():
    p = np.array([[0.5, 0.5, 0, 0], [0.25] * 4, [0.125, 0.125, 0.25, 0.5]])
    q = np.array([[0.25] * 4, [0.25] * 4, [0.25, 0.25, 0.25, 0.25]])
    np.testing.assert_allclose(information(p, q), [1, 0, 0.25])
    codes = np.array([0, 3, 3], np.uint8)
    np.testing.assert_allclose(observed_bits(p, q, codes), [1, 0, 1])
    np.testing.assert_allclose(letter_heights(p, q, codes), [0.5, 0, 0.125])


def test_a_letter_that_cannot_be_is_far_below_and_finite():
    p, q = np.array([[1.0, 0, 0, 0]]), np.full((1, 4), 0.25)
    assert observed_bits(p, q, np.array([2], np.uint8))[0] == -62.0
    assert letter_heights(p, q, np.array([2], np.uint8))[0] == 0.0


def test_the_composition_of_a_short_sequence_is_that_of_all_of_it():
    codes = encode_bases(b"AACGN")
    expected = (np.array([2, 1, 1, 0]) + PSEUDOCOUNT) / (4 + 4 * PSEUDOCOUNT)
    np.testing.assert_allclose(composition(codes, 0, 5), np.tile(expected, (5, 1)))


def slow_composition(codes, place):
    """One base at a time, letter by letter."""
    counts = [PSEUDOCOUNT] * 4
    for at in range(max(0, place - REACH), min(len(codes), place + REACH + 1)):
        if codes[at] < 4:
            counts[codes[at]] += 1
    return np.array(counts) / sum(counts)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 900), st.integers(0, 2**16), st.floats(0, 1))
def test_composition_and_information_against_slow_twins(length, seed, unknown):
    draw = np.random.default_rng(seed)
    codes = draw.integers(0, 4, length).astype(np.uint8)
    codes[draw.random(length) < unknown] = 4
    first = int(draw.integers(0, length))
    past = min(length, first + int(draw.integers(1, 40)))
    q = composition(codes, first, past)
    wanted = np.array([slow_composition(codes, place) for place in range(first, past)])
    np.testing.assert_allclose(q, wanted)
    p = draw.dirichlet(np.full(4, 0.3), past - first)
    bits = information(p, q)
    assert (bits >= 0).all()
    slow = [
        sum(a * np.log2(a / b) for a, b in zip(x, y, strict=True))
        for x, y in zip(p, q, strict=True)
    ]
    np.testing.assert_allclose(bits, slow, atol=1e-9)
    # nothing is learnt where the composition itself is expected
    assert information(q, q).max() < 1e-9
    other = composition(np.where(codes < 4, 3 - codes, codes)[::-1], length - past, length - first)
    np.testing.assert_allclose(other[::-1, ::-1], q)


def test_a_part_of_a_contig_with_what_is_near_has_the_composition_of_the_whole():
    codes = np.random.default_rng(1).integers(0, 5, 3000).astype(np.uint8)
    part = codes[1000 - REACH : 1400 + REACH]
    whole = composition(codes, 0, 3000)
    np.testing.assert_array_equal(composition(part, REACH, REACH + 400), whole[1000:1400])


def test_probabilities_are_stored_to_a_thousandth_of_a_bit():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 5000)
    stored = as_stored(np.log(p).astype(np.float32))
    assert np.abs(stored - np.log2(p)).max() <= STEP / 2 + 1e-5
    back = probabilities(stored)
    np.testing.assert_allclose(back.sum(1), 1)
    np.testing.assert_allclose(back, p, rtol=2e-3)
    assert as_stored(np.array([-1e9], np.float32))[0] == LEAST_LOG2


def test_what_is_written_is_read_however_it_was_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(expectation_file, "ROWS", 7)
    all_rows = rows(*[(0, i) for i in range(20)], *[(2, i) for i in range(30, 41)])
    for name, cuts in (("one", [0, 31]), ("many", [0, 3, 3, 4, 20, 29, 31])):
        parts = []
        for number, (low, high) in enumerate(pairwise(cuts)):
            parts.append(tmp_path / f"{name}{number}")
            own = Expected(*(values[low:high] for values in all_rows))
            write_expected([own], parts[-1], sides="before")
        merge_expected(parts, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()
    assert sides_in(tmp_path / "one") == "before"
    back = list(read_expected(tmp_path / "one"))
    assert [len(part.position) for part in back] == [7, 7, 7, 7, 3]
    for own, values in zip(zip(*back, strict=True), all_rows, strict=True):
        np.testing.assert_array_equal(np.concatenate(own), values)
    found = expected_at(tmp_path / "one", np.array([2, 1, 0], np.uint32), np.array([40, 5, 0]))
    np.testing.assert_array_equal(found[[0, 2]], all_rows.log2_p[[30, 0]])
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize("second", [(0, 5), (0, 4), (0, 2)], ids=["twice", "in it", "before"])
def test_shards_that_overlap_are_refused(tmp_path, second):
    write_expected([rows((0, 3), (0, 5))], tmp_path / "a", sides="all")
    write_expected([rows(second)], tmp_path / "b", sides="all")
    with pytest.raises(StorageError, match="a base twice, or not in order"):
        merge_expected([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [None, b"", b"PAR1 but no table"])
def test_a_file_that_is_cut_is_told(tmp_path, content):
    path = tmp_path / "expectation.parquet"
    if content is not None:
        path.write_bytes(content)
    for read in (lambda: list(read_expected(path)), lambda: sides_in(path)):
        with pytest.raises(StorageError, match="missing, cut or altered"):
            read()


def test_a_table_of_another_kind_is_told(tmp_path):
    pq.write_table(pa.table({"contig": [1]}), tmp_path / "x")
    with pytest.raises(FormatError, match="x must have a column contig of type uint32"):
        list(read_expected(tmp_path / "x"))
    with pytest.raises(StorageError, match="does not say which bases"):
        sides_in(tmp_path / "x")


def test_a_model_of_both_sides_is_read_with_its_reach_and_a_causal_one_with_the_context():
    assert margins_of(*cards()) == (98, 98)
    assert reach_of(*cards()) == REACH
    assert reach_of(*cards(context=4000)) == 4001
    assert margins_of(*cards("hyenadna", own=4096)) == (4096, 0)
    assert margins_of(*cards("stripedhyena2", own=0)) == (1, 0)
    assert [sides_of(cards(name)[0]) for name in SIDES] == ["all", "before", "before"]


def test_a_model_without_a_head_is_refused_with_a_way_out():
    with pytest.raises(OptionError, match="m has no expectation track: heads of huggingface"):
        margins_of(*cards("huggingface"))


def pair(reference, alternative, change):
    return AllelePair("x", None, "c", 0, reference, alternative, change, AlleleMap((), 1, 1))


def test_only_one_base_for_one_other_has_a_ratio(tmp_path):
    codes = [encode_bases(text) for text in (b"ACGT", b"ATGT", b"ACCGT", b"NCGT", b"AAAT", b"ACGA")]
    pairs = (
        pair(0, 1, Change(1, 2, 1, 2)),
        pair(0, 2, Change(2, 2, 2, 3)),  # an insertion
        pair(3, 0, Change(0, 1, 0, 1)),  # N in the reference
        pair(0, 4, Change(1, 3, 1, 3)),  # two bases
        pair(0, 5, Change(3, 4, 3, 4)),  # nothing is said there
    )
    given_rows = rows((0, 0), (0, 1), (0, 2))
    write_expected([given_rows], tmp_path / "x", sides="all")
    table = substitutions(tmp_path / "x", Alleles("variants", pairs, True, 1, {}), codes)
    logs = given_rows.log2_p[1]
    assert table.to_pylist() == [
        {
            "pair": 0,
            "log2_reference": logs[1],
            "log2_alternative": logs[3],
            "log2_ratio": logs[3] - logs[1],
        }
    ]
    none = substitutions(tmp_path / "x", Alleles("variants", pairs[1:3], True, 1, {}), codes)
    assert none.num_rows == 0
