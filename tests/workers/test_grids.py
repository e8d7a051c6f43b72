"""Agreement of two window grids: exact with enough context, less without."""

import numpy as np
import pytest

from annotations.cards import find_cards
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from workers.registry import open_dictionary
from workers.training.grids import grid_agreement

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
