"""The Markov baseline against a slow twin that counts with dictionaries."""

from collections import Counter
from math import isnan, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import OptionError
from workers.training.markov import MarkovModel, markov_bits, train_markov

few = settings(max_examples=40, deadline=None)
dna = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda x: np.array(x, np.uint8))


def turned(bases):
    return [3 - b if b < 4 else 4 for b in reversed(bases)]


def occurrences(bases, order):
    """(context, base, index) of each base with a whole known context."""
    bases = list(bases)
    for i in range(order, len(bases)):
        kmer = tuple(bases[i - order : i + 1])
        if 4 not in kmer:
            yield kmer[:-1], kmer[-1], i


def slow_probability(counts, context, base, strength):
    if context is None:
        return 0.25
    shorter = slow_probability(counts, context[1:] if context else None, base, strength)
    length = len(context)
    row = [
        sum(n for (c, b), n in counts.items() if b == x and c[len(c) - length :] == context)
        for x in range(4)
    ]
    weight = strength if strength is not None else sum(n > 0 for n in row)
    if not sum(row) and strength is None:
        return shorter
    return (row[base] + weight * shorter) / (sum(row) + weight)


def slow_bits(bases, coding, order, counted, strength):
    counts = Counter()
    sides = [(list(bases), list(coding), list(counted))]
    sides.append((turned(bases), list(coding)[::-1], list(counted)[::-1]))
    for side, _, wanted in sides:
        counts.update((c, b) for c, b, i in occurrences(side, order) if wanted[i])
    bits = {True: [], False: []}
    for side, kind, _ in sides:
        for context, base, i in occurrences(side, order):
            bits[kind[i]].append(-log2(slow_probability(counts, context, base, strength)))
    return [sum(bits[k]) / len(bits[k]) if bits[k] else float("nan") for k in (True, False)]


@few
@given(dna, st.integers(0, 3), st.sampled_from([None, 1.0, 16.0]), st.randoms())
def test_bits_equal_a_slow_twin(bases, order, strength, random):
    coding = np.array([random.random() < 0.5 for _ in bases])
    counted = np.array([random.random() < 0.7 for _ in bases])
    model = train_markov(bases, counted, order=order, strength=strength)
    found = markov_bits(model, bases, coding)
    slow = slow_bits(bases, coding, order, counted, strength)
    assert (found.coding, found.noncoding) == pytest.approx(slow, nan_ok=True)


@few
@given(dna, st.integers(0, 3), st.sampled_from([None, 4.0]))
def test_probabilities_of_the_four_bases_add_up_to_one(bases, order, strength):
    model = train_markov(bases, np.ones(len(bases), bool), order=order, strength=strength)
    context = np.arange(4**order)
    total = sum(
        model.probability(context, np.full(len(context), base, np.int64)) for base in range(4)
    )
    assert total == pytest.approx(np.ones(4**order))


@few
@given(dna, st.integers(0, 3))
def test_both_strands_count_alike(bases, order):
    everything = np.ones(len(bases), bool)
    forward = train_markov(bases, everything, order=order)
    backward = train_markov(np.array(turned(bases), np.uint8), everything, order=order)
    for a, b in zip(forward.counts, backward.counts, strict=True):
        assert np.array_equal(a, b)


def test_by_hand():
    # AC: A and C forward; the other strand GT: G and T. One of each, strength 4:
    # (1 + 4 x 1/4) / (4 + 4) = 1/4 at order 0.
    # Order 1: A->C once, G->T once. p(C | A) = (1 + 4 x 2/8) / (1 + 4): order 0 then holds
    # only the counted k-mers' last bases, C and T: (1 + 4 x 1/4) / (2 + 4) = 1/3.
    model = train_markov(np.array([0, 1], np.uint8), np.ones(2, bool), order=1, strength=4.0)
    assert model.counts[0].tolist() == [[0, 1, 0, 1]]
    p = model.probability(np.array([0]), np.array([1]))
    assert p == pytest.approx([(1 + 4 / 3) / (1 + 4)])
    bits = markov_bits(model, np.array([0, 1], np.uint8), np.array([False, True]))
    # C after A forward (coding), T after G on the other strand, which is base 0 (not coding)
    assert bits.coding == pytest.approx(-log2(7 / 15))
    assert bits.noncoding == pytest.approx(-log2(7 / 15))


def test_a_repeat_is_learnt_and_chunks_do_not_matter(monkeypatch):
    bases = np.tile(np.array([0, 1, 1, 2, 3], np.uint8), 400)
    noncoding = np.zeros(len(bases), bool)
    bits = markov_bits(train_markov(bases, ~noncoding, order=4), bases, noncoding)
    assert bits.noncoding < 0.5
    assert isnan(bits.coding)
    assert bits.noncoding_bases == len(bases) - 4
    monkeypatch.setattr("workers.training.markov._CHUNK", 37)
    model = train_markov(bases, ~noncoding, order=4)
    assert markov_bits(model, bases, noncoding).noncoding == pytest.approx(bits.noncoding)


def test_unseen_contexts_fall_back_to_the_shorter_ones():
    model = train_markov(np.full(50, 0, np.uint8), np.ones(50, bool), order=2, strength=None)
    # CG never occurs; C and G do not either: what is left is order 0, A and T alike
    p = model.probability(np.array([1 * 4 + 2] * 2), np.array([0, 3]))
    assert p[0] == p[1] > 0.45


@pytest.mark.parametrize(
    ("options", "message"),
    [({"order": 13}, "0 to 12"), ({"order": -1}, "0 to 12"), ({"order": 1, "strength": 0.0}, "0")],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        train_markov(np.zeros(5, np.uint8), np.ones(5, bool), **options)


def test_the_order_is_that_of_the_longest_context():
    model = train_markov(np.zeros(9, np.uint8), np.ones(9, bool), order=3)
    assert model.order == 3
    assert isinstance(model, MarkovModel)
    assert [table.shape for table in model.counts] == [(1, 4), (4, 4), (16, 4), (64, 4)]
