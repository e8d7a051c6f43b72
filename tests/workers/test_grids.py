"""Agreement of two window grids: exact with enough context, less without."""

from dataclasses import replace

import numpy as np
import pytest

from annotations.cards import find_cards
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from workers.registry import open_dictionary
from workers.training.grids import (
    GridAgreement,
    choose_context,
    contexts_to_try,
    grid_agreement,
    with_agreement,
)

BASES = np.random.default_rng(0).integers(0, 4, 128 * 6).astype(np.uint8)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    root = make_tiny_models(tmp_path_factory.mktemp("models"))
    return open_dictionary(find_cards([root]).dictionary(DICTIONARY_ID), [root])


def test_grids_agree_once_the_context_covers_what_the_model_sees(encoder):
    none, enough = grid_agreement(encoder, BASES, contexts=[0, 16])
    assert enough.jaccard == pytest.approx(1.0, abs=1e-3)
    assert enough.pearson == pytest.approx(1.0, abs=1e-5)
    assert none.jaccard < 0.999


def test_a_short_sequence_is_refused(encoder):
    with pytest.raises(ValueError, match="two grids need 384 bases"):
        grid_agreement(encoder, BASES[:300], contexts=[16])


def curve_of(*jaccards):
    return [GridAgreement(8 * i, jaccard, None) for i, jaccard in enumerate(jaccards)]


def test_the_smallest_context_is_chosen_from_which_on_grids_agree():
    assert choose_context(curve_of(0.5, 0.96, 0.99), 0.95) == 8
    assert choose_context(curve_of(0.96, 0.5, 0.99), 0.95) == 16
    assert choose_context(curve_of(0.96, 0.99, 0.5), 0.95) is None
    assert choose_context(curve_of(None, 1.0), 0.95) == 8


def test_contexts_to_try_fit_the_model_and_are_whole_kmers(encoder):
    card = replace(encoder.dictionary, stride=4096, context=4096)
    assert contexts_to_try(card, None) == [0, 512, 1024, 2048, 4096, 8192]
    assert contexts_to_try(card, 8192) == [0, 512, 1024, 2048, 4096]
    kmer = replace(card, stride=6, context=30, tokenization="kmer", nt_per_token=6)
    assert contexts_to_try(kmer, None) == [0, 6, 12, 30, 60]


def test_a_card_keeps_its_context_where_none_is_good_enough(encoder):
    card = encoder.dictionary
    bad = with_agreement(card, curve_of(0.1, 0.2), least=0.9, sequence="x.fa")
    assert (bad.context, bad.figures["context_chosen"]) == (card.context, None)
    good = with_agreement(card, curve_of(0.1, 0.95), least=0.9, sequence="x.fa")
    assert (good.context, good.figures["context_chosen"]) == (8, 8)
    assert good.figures["grid_agreement"][1] == {"context": 8, "jaccard": 0.95, "pearson": None}
