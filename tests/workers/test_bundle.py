"""Model folders as training writes them: the card says what the weights need."""

from dataclasses import replace

import torch

from annotations.cards import find_cards
from tests.workers.factories import TINY
from workers.install import blocks_of
from workers.language_models.paired_tree import PairedTree
from workers.training.bundle import read_model, write_model

HYBRID = replace(TINY, attention_blocks=2, attention_heads=2, attention_span=5)


def test_the_card_of_a_hybrid_counts_its_attention(tmp_path):
    torch.manual_seed(0)
    model = PairedTree(HYBRID)
    write_model(
        tmp_path,
        model,
        model_id="hybrid",
        title="A hybrid",
        source="a test",
        random_weights=True,
        training=None,
    )
    cards = find_cards([tmp_path])
    card = cards.model("hybrid")
    assert card.context == HYBRID.reach(4) == TINY.reach(2) + 8
    assert blocks_of(card) == 4
    back = read_model(card, cards.folder(card))
    assert back.config == HYBRID
    for name, weight in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], weight.half().float())
