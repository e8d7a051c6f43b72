"""What is read of a dictionary and its model, against reading whole sequences."""

import numpy as np
import pytest
import torch

from annotations.cards import find_cards
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from workers.evidence.reading import (
    BIN,
    FewFeatures,
    Shelf,
    expected,
    pool,
    pooled_bases,
    runs_of,
    within,
)
from workers.registry import open_dictionary
from workers.training.reading import encode_span

LENGTH = 640


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    root = make_tiny_models(tmp_path_factory.mktemp("models"))
    return open_dictionary(find_cards([root]).dictionary(DICTIONARY_ID), [root], whole=True)


@pytest.fixture(scope="module")
def bases():
    return np.random.default_rng(0).integers(0, 4, LENGTH).astype(np.uint8)


@pytest.fixture(scope="module")
def bins():
    wanted = np.zeros(LENGTH // BIN, bool)
    # not at the ends, where other windows see nothing and these see N
    wanted[[5, 6, 20, 21, 22, 40, 57, 58]] = True
    return wanted


@pytest.fixture(scope="module")
def whole(encoder, bases):
    """Activations of the whole sequence, as the server reads it: dense (feature, strand, base)."""
    found = encode_span(encoder, bases)
    dense = np.zeros((encoder.coder.n_features, 2, LENGTH), np.float32)
    dense[found.feature, (found.strand < 0).astype(int), found.position] = found.value
    return dense


def test_pooled_values_are_the_largest_of_both_strands(encoder, bases, bins, whole):
    pooled = pool(encoder, bases, bins, Shelf(None))
    largest = whole.max(1).reshape(len(whole), -1, BIN).max(2)
    for feature in range(len(whole)):
        assert pooled.of(feature, len(bins))[bins] == pytest.approx(
            largest[feature][bins], rel=1e-4
        )
        assert (pooled.of(feature, len(bins))[~bins] == 0).all()
    active = (whole > 0).reshape(len(whole), 2, -1, BIN)[:, :, bins].sum((1, 2, 3))
    assert pooled.active.tolist() == active.tolist()
    assert pooled.read == 2 * BIN * bins.sum()


def test_pooled_bases_are_every_activation_there(encoder, bases, bins, whole):
    feature, reverse, position, value = pooled_bases(encoder, bases, bins, Shelf(None))
    dense = np.zeros_like(whole)
    dense[feature, reverse.astype(int), position] = value
    inside = np.repeat(bins, BIN)
    assert dense[:, :, inside] == pytest.approx(whole[:, :, inside], rel=1e-4)
    assert not dense[:, :, ~inside].any()


def test_few_features_are_read_alike(encoder, bases, bins):
    few = FewFeatures(encoder, [40, 3])
    assert few.features.tolist() == [3, 40]
    every = pooled_bases(encoder, bases, bins, Shelf(None))
    some = pooled_bases(few, bases, bins, Shelf(None))
    wanted = np.isin(every[0], [3, 40])
    assert wanted.any()
    for one, other in zip(every, some, strict=True):
        assert other == pytest.approx(one[wanted], rel=1e-4)


def test_expected_is_that_of_the_whole_sequence(encoder, bases, bins):
    with torch.inference_mode():
        logs = encoder.log_probabilities_of(bases[None])[0] / np.log(2)
    found = expected(encoder, bases, bins, Shelf(None))
    inside = np.repeat(bins, BIN)
    assert found[inside] == pytest.approx(logs[inside], abs=5e-3)  # kept in half precision
    assert np.isnan(found[~inside]).all()


def test_a_shelf_reads_once_and_knows_another_sequence(encoder, bases, bins, tmp_path):
    first = pool(encoder, bases, bins, Shelf(tmp_path))
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_mtime_ns
    again = pool(encoder, bases, bins, Shelf(tmp_path))
    assert [kept.stat().st_mtime_ns, *tmp_path.iterdir()] == [written, kept]
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one, other)
    pool(encoder, 3 - bases, bins, Shelf(tmp_path))
    assert len([*tmp_path.iterdir()]) == 2


def test_runs_are_cut_and_ranges_padded():
    bins = np.zeros(250, bool)
    bins[:220] = True
    assert runs_of(bins).tolist() == [[0, 1000], [1000, 2000], [2000, 2200]]
    assert within(np.array([0, 1, 2], np.uint8), -2, 4).tolist() == [4, 4, 0, 1, 2, 4]
