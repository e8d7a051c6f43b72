"""Opening a dictionary: what is verified, what an encoder gives, and the canary."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from annotations.cards import SAE_WEIGHTS, file_sha256, find_cards, write_card
from annotations.errors import CoordinateError, FormatError, WeightsError
from tests.workers.factories import DICTIONARY_ID, FEATURES, LAYER, MODEL_ID, make_tiny_models
from workers.language_models.paired_tree import PairedTreeReader
from workers.registry import check_canary, open_dictionary, write_canary
from workers.sae_lens import load_sae_lens

CANARY = "ACGTTGCANNACGGATTACAGATTACACCGGTATATAAAGGCGC" * 3


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def card(root):
    return find_cards([root]).dictionary(DICTIONARY_ID)


@pytest.fixture(scope="module")
def encoder(root, card):
    return open_dictionary(card, [root])


@pytest.fixture
def own(tmp_path) -> Path:
    return make_tiny_models(tmp_path / "models")


def own_card(own):
    return find_cards([own]).dictionary(DICTIONARY_ID)


def rewrite(own: Path, **changes):
    """Write the dictionary's card with other values; returns it as found."""
    write_card(replace(own_card(own), **changes), own / MODEL_ID / DICTIONARY_ID)
    return own_card(own)


def codes_of(seed: int, *shape: int, n_share: float = 0.1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    codes = draw.integers(0, 4, shape, dtype=np.uint8)
    codes[draw.random(shape) < n_share] = 4
    return codes


def slow_activations(encoder, codes) -> dict[tuple[int, int, int], float]:
    """Window by window and base by base, from the dense activations."""
    out = {}
    for window, row in enumerate(codes):
        h = encoder.language_model.activations(torch.from_numpy(row[None]), LAYER)[0]
        dense = encoder.coder.encode(h)
        for position, code in enumerate(row):
            if code < 4:
                for feature in dense[position].nonzero()[:, 0].tolist():
                    out[window, position, feature] = float(dense[position, feature])
    return out


def test_factories_make_the_model_they_promise(root):
    cards = find_cards([root])
    model, dictionary = cards.model(MODEL_ID), cards.dictionary(MODEL_ID)
    assert model.random_weights
    assert dictionary.random_weights
    assert (model.config["width"], model.config["distances"]) == (16, [2, 4])
    assert (dictionary.d_sae, dictionary.layer) == (FEATURES, LAYER)
    assert model.context == 7 + 2 + 4


def test_factories_depend_on_the_seed_alone(root, tmp_path):
    state = torch.get_rng_state()
    again = find_cards([make_tiny_models(tmp_path / "a")]).dictionary(DICTIONARY_ID)
    other = find_cards([make_tiny_models(tmp_path / "b", seed=1)]).dictionary(DICTIONARY_ID)
    assert torch.equal(torch.get_rng_state(), state)
    assert again == find_cards([root]).dictionary(DICTIONARY_ID)
    assert other.sha256 != again.sha256
    assert other.model_sha256 != again.model_sha256


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 40))
def test_activations_equal_their_slow_twin(encoder, seed, batch, length):
    codes = codes_of(seed, batch, length)
    found = encoder.activations_of(codes)
    places = list(
        zip(found.window.tolist(), found.position.tolist(), found.feature.tolist(), strict=True)
    )
    slow = slow_activations(encoder, codes)
    assert places == sorted(slow)
    assert np.allclose(found.value, [slow[place] for place in places], rtol=1e-5)


def test_about_four_features_are_active_at_a_base(encoder):
    found = encoder.activations_of(codes_of(0, 4, 500, n_share=0))
    assert 2 < len(found.value) / 2000 < 8


def test_types_are_those_of_the_tables(encoder):
    for codes in (codes_of(1, 2, 60), np.full((2, 60), 4, np.uint8)):
        found = encoder.activations_of(codes)
        assert [column.dtype for column in found] == ["int64", "int64", "uint32", "float32"]


def test_nothing_is_active_at_n(encoder):
    codes = codes_of(2, 3, 80, n_share=0.5)
    found = encoder.activations_of(codes)
    assert len(found.value)
    assert (codes[found.window, found.position] < 4).all()
    assert not len(encoder.activations_of(np.full((3, 80), 4, np.uint8)).value)
    assert not len(encoder.activations_of(np.empty((0, 80), np.uint8)).value)


def test_padding_on_the_right_changes_nothing(encoder):
    codes = codes_of(3, 1, 50, n_share=0)
    padded = np.concatenate([codes, np.full((1, 30), 4, np.uint8)], axis=1)
    found, expected = encoder.activations_of(padded), encoder.activations_of(codes)
    assert np.array_equal(found.position, expected.position)
    assert np.array_equal(found.feature, expected.feature)
    assert np.allclose(found.value, expected.value, rtol=1e-5)


@pytest.mark.parametrize("codes", [np.zeros(5, np.uint8), np.zeros((1, 5), np.int64)])
def test_codes_of_another_shape_or_type_are_refused(encoder, codes):
    with pytest.raises(CoordinateError, match="uint8 of shape"):
        encoder.activations_of(codes)


def test_weights_stored_in_float16_are_computed_with_in_float32(root, encoder):
    stored = load_file(root / MODEL_ID / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert isinstance(encoder.language_model, PairedTreeReader)
    assert {w.dtype for w in encoder.language_model.model.parameters()} == {torch.float32}


def test_altered_weights_are_refused(own):
    card = own_card(own)
    for path in (
        own / MODEL_ID / "model.safetensors",
        own / MODEL_ID / DICTIONARY_ID / SAE_WEIGHTS,
    ):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(WeightsError, match=f"{path.name} has the sha256"):
            open_dictionary(card, [own])
        path.unlink()
        with pytest.raises(WeightsError, match=f"{path.name} are missing"):
            open_dictionary(card, [own])
        path.write_bytes(whole)
    open_dictionary(card, [own])


def test_weights_that_are_no_safetensors_are_refused(own):
    path = own / MODEL_ID / DICTIONARY_ID / SAE_WEIGHTS
    path.write_bytes(b"\x80\x04K*.")
    card = rewrite(own, sha256=file_sha256(path))
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        open_dictionary(card, [own])


def test_a_dictionary_that_is_not_installed_is_refused(own, card):
    with pytest.raises(WeightsError, match="in none of the models folders"):
        open_dictionary(replace(card, id="tiny-tree-65"), [own])
    with pytest.raises(WeightsError, match="in none of the models folders"):
        open_dictionary(card, [])


def test_a_dictionary_of_other_model_weights_is_refused(own, card):
    with pytest.raises(WeightsError, match="install the two that belong together"):
        open_dictionary(replace(card, model_sha256="0" * 64), [own])
    with pytest.raises(FormatError, match="reads one set of weights"):
        rewrite(own, model_sha256="0" * 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_sae": 65}, "its card says 16 and 65"),
        ({"d_in": 17}, "its card says 17 and 64"),
        ({"layer": 3}, "16 channels and 2 blocks"),
    ],
)
def test_a_card_that_does_not_fit_its_weights_is_refused(root, card, changes, message):
    with pytest.raises(WeightsError, match=message):
        open_dictionary(replace(card, **changes), [root])


def as_top_k(own, k: int = 4) -> str:
    """Make the dictionary's folder one without a threshold; returns its new sha256."""
    folder = own / MODEL_ID / DICTIONARY_ID
    config = json.loads((folder / "cfg.json").read_text()) | {"architecture": "topk", "k": k}
    (folder / "cfg.json").write_text(json.dumps(config))
    weights = load_file(folder / SAE_WEIGHTS)
    del weights["threshold"]
    save_file(weights, folder / SAE_WEIGHTS)
    assert load_sae_lens(folder).gate == "topk"
    return file_sha256(folder / SAE_WEIGHTS)


def test_a_threshold_that_the_weights_have_not_is_not_made_up(own):
    card = rewrite(own, sha256=as_top_k(own))
    with pytest.raises(WeightsError, match="no threshold, which its card asks for: calibrate one"):
        open_dictionary(card, [own])


def test_a_top_k_dictionary_keeps_the_k_largest_of_each_base(own):
    encoder = open_dictionary(rewrite(own, sha256=as_top_k(own), gate="topk", k=3), [own])
    codes = codes_of(5, 2, 60, n_share=0)
    found = encoder.activations_of(codes)
    h = encoder.language_model.activations(torch.from_numpy(codes), LAYER).flatten(0, 1)
    pre = h @ encoder.coder.W_enc + encoder.coder.b_enc
    for row, base in enumerate(pre):
        mine = found.window * 60 + found.position == row
        expected = [f for f in sorted(base.topk(3).indices.tolist()) if base[f] > 0]
        assert found.feature[mine].tolist() == expected


GATES = {"jumprelu": {}, "topk": {"gate": "topk", "k": 4}, "batch_topk": {"gate": "batch_topk"}}


def opened_with(own, gate: str):
    changes = {"k": 4, **GATES[gate]}
    if gate != "jumprelu":
        changes["sha256"] = as_top_k(own)
    return open_dictionary(rewrite(own, **changes), [own])


class Given:
    """A model that gives rows of `h` whatever it reads."""

    width, n_blocks, max_length = 16, LAYER, None

    def __init__(self, h):
        self.h = h

    def activations(self, codes, layer):
        return self.h[: codes.numel()].view(*codes.shape, -1)


@pytest.mark.parametrize(("gate", "served"), [("jumprelu", 1), ("topk", 1), ("batch_topk", 0)])
def test_given_activations_pass_the_gate_alike_in_any_partition_or_batch_if_served(
    own, gate, served
):
    """The same rows as one window, as windows of other lengths, and beside stronger rows."""
    encoder = opened_with(own, gate)
    h = encoder.language_model.activations(torch.from_numpy(codes_of(6, 1, 120, n_share=0)), LAYER)
    # like the notebook's trap: some bases of a window are much stronger than the others
    h = h[0] * torch.linspace(0.5, 2, 120)[:, None]

    def read(rows: torch.Tensor, windows: int) -> dict[tuple[int, int], float]:
        encoder.language_model = Given(rows)
        found = encoder.activations_of(np.zeros((windows, len(rows) // windows), np.uint8))
        base = found.window * (len(rows) // windows) + found.position
        places = zip(base.tolist(), found.feature.tolist(), strict=True)
        return dict(zip(places, found.value.tolist(), strict=True))

    whole = read(h, 1)
    halves = read(h, 2)
    sixths = read(h, 6)
    crowd = read(torch.cat([h, 9 * h]), 1)
    first = {place: value for place, value in crowd.items() if place[0] < 120}
    assert len(whole) > 100
    assert (halves == whole) == (sixths == whole) == (first == whole) == bool(served)


def test_parity_mode_is_the_notebooks_rule_of_each_window(own):
    encoder = opened_with(own, "batch_topk")
    codes = codes_of(7, 3, 50)
    found = encoder.activations_of(codes)
    for window, row in enumerate(codes):
        h = encoder.language_model.activations(torch.from_numpy(row[None]), LAYER)[0][row < 4]
        f = torch.relu(h @ encoder.coder.W_enc + encoder.coder.b_enc)
        kept = f.flatten().sort(descending=True).values[4 * len(h) - 1]
        position, feature = (f >= kept).nonzero(as_tuple=True)
        mine = found.window == window
        assert found.position[mine].tolist() == np.flatnonzero(row < 4)[position].tolist()
        assert found.feature[mine].tolist() == feature.tolist()


def test_parity_mode_lets_bases_compete_that_are_not_wanted(own):
    encoder = opened_with(own, "batch_topk")
    codes = codes_of(8, 2, 40)
    wanted = np.zeros(codes.shape, bool)
    wanted[:, 10:20] = True
    all_of_them, some = encoder.activations_of(codes), encoder.activations_of(codes, wanted)
    kept = wanted[all_of_them.window, all_of_them.position]
    assert 0 < kept.sum() < len(kept)
    assert all(np.array_equal(a[kept], b) for a, b in zip(all_of_them, some, strict=True))


def test_a_canary_pins_the_largest_activations_of_both_strands(card, encoder):
    canary = write_canary(card, encoder, CANARY)
    assert json.loads(json.dumps(canary)) == canary
    values = [value for *_, value in canary["activations"]]
    assert values == sorted(values, reverse=True)
    assert {strand for _, strand, *_ in canary["activations"]} == {"+", "-"}
    # The reverse strand by hand: read the reverse complement, turn positions back.
    complement = {"A": 3, "C": 2, "G": 1, "T": 0, "N": 4}
    reverse = np.array([[complement[base] for base in reversed(CANARY)]], np.uint8)
    found = encoder.activations_of(reverse)
    places = {
        (feature, len(CANARY) - 1 - position): value
        for feature, position, value in zip(
            found.feature.tolist(), found.position.tolist(), found.value.tolist(), strict=True
        )
    }
    for feature, strand, position, value in canary["activations"]:
        if strand == "-":
            assert places[feature, position] == pytest.approx(value, rel=1e-4)


def test_a_card_with_its_canary_opens(own, encoder):
    card = rewrite(own, canary=write_canary(own_card(own), encoder, CANARY))
    opened = open_dictionary(card, [own])
    assert asdict(opened.dictionary)["canary"] == card.canary


def test_a_canary_that_is_not_met_is_refused(own, encoder):
    canary = write_canary(own_card(own), encoder, CANARY)
    feature, strand, position, value = canary["activations"][3]
    near = [*canary["activations"][:3], [feature, strand, position, 1.009 * value]]
    check_canary(encoder, canary | {"activations": near})
    for wrong in (
        [feature, strand, position, 1.02 * value],
        [feature, strand, (position + 1) % len(CANARY), value],
        [feature, {"+": "-", "-": "+"}[strand], position, value],
    ):
        card = rewrite(own, canary=canary | {"activations": [wrong]})
        with pytest.raises(WeightsError, match="fails its canary") as error:
            open_dictionary(card, [own])
        assert "ACGT" not in str(error.value)


def test_a_canary_of_another_card_or_without_activations_is_refused(card, encoder):
    with pytest.raises(WeightsError, match="of other weights"):
        write_canary(replace(card, sha256="0" * 64), encoder, CANARY)
    with pytest.raises(WeightsError, match="no feature"):
        write_canary(card, encoder, "NNNN")
