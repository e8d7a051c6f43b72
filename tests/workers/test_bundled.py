"""The model that comes with saetrack: whole, small enough, and what its cards say."""

import numpy as np
import pytest

from annotations.atlas import load_atlas
from annotations.cards import find_cards
from annotations.sequences import encode_bases
from app.config import BUNDLED_MODELS
from workers.registry import CANARY_TOLERANCE, open_dictionary
from workers.training.bundle import CANARY_SEQUENCE, read_model
from workers.training.reading import encode_span

MEGABYTE = 1_000_000
MODEL, DICTIONARY = "yeast-tree", "yeast-tree-l2"


@pytest.fixture(scope="module")
def cards():
    return find_cards([BUNDLED_MODELS])


@pytest.fixture(scope="module")
def encoder(cards):
    return open_dictionary(cards.dictionary(DICTIONARY), [BUNDLED_MODELS])


def test_there_is_one_trained_model_and_one_dictionary(cards):
    assert list(cards.models) == [MODEL]
    assert list(cards.dictionaries) == [DICTIONARY]
    assert not cards.model(MODEL).random_weights
    assert not cards.dictionary(DICTIONARY).random_weights


def test_the_files_keep_to_their_sizes():
    sizes = {path: path.stat().st_size for path in BUNDLED_MODELS.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 16 * MEGABYTE
    for path, size in sizes.items():
        if path.name == "model.safetensors":
            assert size < 7 * MEGABYTE
        if path.name == "sae_weights.safetensors":
            assert size < 4.5 * MEGABYTE
    atlas = sum(size for path, size in sizes.items() if path.parent.name == "atlas")
    assert 0 < atlas < 4 * MEGABYTE


def test_it_opens_and_passes_its_canary(encoder):
    canary = encoder.dictionary.canary
    assert canary["sequence"] == CANARY_SEQUENCE
    assert canary["tolerance"] == CANARY_TOLERANCE
    assert len(canary["activations"]) == 32


def test_its_context_covers_what_the_tap_sees(cards):
    card = cards.dictionary(DICTIONARY)
    model = read_model(cards.model(MODEL), cards.folder(cards.model(MODEL)))
    assert card.context >= model.config.reach(card.layer)


def test_its_figures_are_measured_and_beside_their_controls(cards):
    model, dictionary = cards.model(MODEL).figures, cards.dictionary(DICTIONARY).figures
    assert model["bits_per_base_noncoding"] < model["bits_per_base_coding"] < 2
    assert 0.5 < dictionary["fidelity_noncoding"]["kl_recovered"] <= 1
    contexts = {row["context"]: row["jaccard"] for row in dictionary["grid_agreement"]}
    assert contexts[cards.dictionary(DICTIONARY).context] == pytest.approx(1, abs=1e-3)
    assert {row["evaluation"] for row in dictionary["tf_features"]} >= {"chrVIII"}


def test_about_k_features_are_active_at_a_base(encoder):
    rng = np.random.default_rng(0)
    bases = rng.choice(4, 20_000, p=[0.31, 0.19, 0.19, 0.31]).astype(np.uint8)
    found = encode_span(encoder, bases)
    active = len(found.position) / (2 * len(bases))
    assert 0.5 * encoder.dictionary.k < active < 2 * encoder.dictionary.k


def test_the_atlas_is_its_own_and_knows_reb1(cards):
    card = cards.dictionary(DICTIONARY)
    folder = cards.atlas(card)
    assert folder is not None
    atlas = load_atlas(folder, card.sha256)
    names = set(atlas.matches["motif_name"].to_pylist())
    assert "REB1" in names


def test_a_feature_of_reb1_fires_on_its_site(cards, encoder):
    """The best Reb1 feature of the atlas is stronger on TTACCCG than on shuffles of it."""
    card = cards.dictionary(DICTIONARY)
    atlas = load_atlas(cards.atlas(card), card.sha256)
    rows = [row for row in atlas.matches.to_pylist() if row["motif_name"] == "REB1"]
    best = min(rows, key=lambda row: (row["q"], -row["log2_enrichment"]))
    rng = np.random.default_rng(1)
    flank = encode_bases(bytes(rng.choice(list(b"ACGT"), 60).tolist()))

    def strongest(site):
        bases = np.concatenate([flank, encode_bases(site), flank])
        found = encode_span(encoder, bases)
        mine = (found.feature == best["feature"]) & (found.position >= 55)
        return float(found.value[mine & (found.position < 75)].max(initial=0))

    shuffled = [bytes(rng.permutation(list(b"TTACCCGG")).tolist()) for _ in range(20)]
    shuffled = [site for site in shuffled if b"ACCC" not in site and b"GGGT" not in site]
    assert max(strongest(b"TTACCCGG"), strongest(b"CCGGGTAA")) > np.median(
        [strongest(site) for site in shuffled]
    )
