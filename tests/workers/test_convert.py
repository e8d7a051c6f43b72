"""Conversions of official layouts: whole, hashed, tried, and refused where they do not fit.

No official weights are at hand: checkpoints are synthetic, in the official layout
and with the true set of keys, at sizes that fit a test.
"""

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from annotations.cards import file_sha256, find_cards, read_model_card
from annotations.errors import OptionError, StateError, UnknownNameError, WeightsError
from tests.workers.factories import MODEL_ID, make_tiny_models
from tests.workers.test_hyenadna import ORACLE as HYENA_ORACLE
from tests.workers.test_sae import random_coder
from workers.canary import check_model_canary
from workers.convert import convert_evo2, convert_hyenadna
from workers.convert_sae import SaeRequest, calibrate_installed, convert_sae
from workers.install import UNHASHED, install_model
from workers.known_models import known_release, known_releases
from workers.language_models.hyenadna import HyenaDnaConfig
from workers.language_models.loading import load_language_model
from workers.language_models.stripedhyena2.configurations import EVO2, StripedHyena2Config
from workers.language_models.stripedhyena2.weights import random_weights, state_shapes
from workers.language_models.tensor_file import TensorFile
from workers.registry import open_dictionary
from workers.sae_lens import save_sae_lens
from workers.verification import add_card_folder, verify_dictionary, verify_model

CPU = torch.device("cpu")

NARROW_7B = replace(
    EVO2["evo2_7b_262k"],
    hidden_size=32,
    num_attention_heads=4,
    hcs_filter_groups=8,
    hcm_filter_groups=8,
    inner_mlp_size=40,
    max_seqlen=2048,
)
"""The 7B, block by block, with 32 channels instead of 4,096."""


def checkpoint(path: Path, config: StripedHyena2Config = NARROW_7B, **changes) -> Path:
    """An official-layout checkpoint: bfloat16, with the entries that are passed over."""
    state = random_weights(config, dtype=torch.bfloat16)
    extra = {
        "unembed.weight": state["embedding_layer.weight"],
        "blocks.0.projections._extra_state": io.BytesIO(b"fp8"),
        "blocks.3.mixer.dense._extra_state": io.BytesIO(b"fp8"),
        "blocks.2.mixer.mixer.filter.t": torch.zeros(1, 1, 8),
    }
    torch.save({**state, **extra, **changes}, path)
    return path


@pytest.fixture(scope="module")
def evo2(tmp_path_factory) -> Path:
    """A models folder with a narrow Evo 2 of the name evo2_7b_262k."""
    root = tmp_path_factory.mktemp("evo2")
    path = checkpoint(root / "evo2_7b_262k.pt")
    convert_evo2([path], root / "models", config=NARROW_7B)
    home = root / "models" / "evo2_7b_262k"
    rename(home, official_name="evo2_7b_262k")
    return root / "models"


def rename(home: Path, **changes) -> None:
    """Change a model's card on disk."""
    path = home / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_evo2_checkpoint_keeps_every_tensor_of_the_true_key_set(tmp_path):
    path = checkpoint(tmp_path / "evo2_7b_262k.pt")
    done = convert_evo2([path], tmp_path / "models", config=NARROW_7B, model_id="narrow")
    weights = tmp_path / "models" / "narrow" / "model.safetensors"
    found, expected = load_file(weights), torch.load(path, weights_only=False)
    shapes = state_shapes(NARROW_7B)
    assert len(shapes) == len(state_shapes(EVO2["evo2_7b_262k"])) == 344
    assert found.keys() == shapes.keys()
    for key, tensor in found.items():
        assert tensor.dtype == expected[key].dtype
        assert torch.equal(tensor, expected[key])
    assert done.card.sha256 == file_sha256(weights)
    assert "348 entries, 344 tensors" in done.notes[0]
    assert "4 passed over" in done.notes[0]
    assert done.card.canary["dtype"] == "bfloat16"
    card = find_cards([tmp_path / "models"]).model("narrow")
    assert card == done.card
    assert verify_model(card, weights.parent, CPU)[-1] == "canary met, in bfloat16"


def test_the_converted_model_is_the_one_of_the_checkpoint(evo2):
    card = read_model_card(evo2 / "evo2_7b_262k" / "model.json")
    model = load_language_model(card, TensorFile(evo2 / "evo2_7b_262k" / card.weights))
    state = random_weights(NARROW_7B, dtype=torch.bfloat16)
    whole = load_language_model(card, state)
    codes = torch.randint(0, 4, (1, 50), dtype=torch.uint8)
    assert torch.equal(model.activations(codes, 27), whole.activations(codes, 27))


def test_the_sizes_of_every_release_are_those_of_its_card():
    for release in known_releases():
        if release.name in EVO2:
            shapes = state_shapes(EVO2[release.name])
            counted = sum(
                torch.Size(shape).numel() for key, shape in shapes.items() if "inv_freq" not in key
            )
            assert counted == release.parameters
            assert EVO2[release.name].max_seqlen == release.window
            assert EVO2[release.name].fp8_required == (not release.runs)
    assert {release.name for release in known_releases()} >= set(EVO2)


def test_parts_are_joined_and_a_release_that_needs_fp8_is_not_offered(tmp_path):
    config = replace(NARROW_7B, fp8_required=True)
    whole = checkpoint(tmp_path / "evo2_40b.pt", config).read_bytes()
    parts = [tmp_path / f"evo2_40b.pt.part{i}" for i in range(2)]
    for part, content in zip(parts, (whole[:9999], whole[9999:]), strict=True):
        part.write_bytes(content)
    done = convert_evo2(parts, tmp_path / "models", config=config)
    assert done.card.canary is None
    assert any("needs FP8" in note for note in done.notes)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["evo2_40b"]
    with pytest.raises(WeightsError, match="trained with FP8 input projections"):
        verify_model(done.card, done.folder, CPU)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surplus": torch.ones(1)}, "unknown surplus"),
        ({"norm.scale": torch.ones(31)}, r"norm\.scale has the shape \[31\], expected \[32\]"),
        ({"norm.scale": "text"}, r"not a tensor: norm\.scale"),
    ],
)
def test_a_checkpoint_of_other_sizes_is_refused_and_leaves_nothing(tmp_path, changes, message):
    path = checkpoint(tmp_path / "evo2_7b_262k.pt", **changes)
    with pytest.raises(WeightsError, match=message):
        convert_evo2([path], tmp_path / "models", config=NARROW_7B)
    assert list((tmp_path / "models").iterdir()) == []


def test_an_official_name_means_official_sizes(tmp_path):
    path = checkpoint(tmp_path / "evo2_7b_262k.pt")
    with pytest.raises(WeightsError, match=r"evo2_7b_262k: .* has the shape .*, expected"):
        convert_evo2([path], tmp_path / "models")
    with pytest.raises(OptionError, match="'renamed' is no release of Evo 2; name one"):
        convert_evo2([path.rename(tmp_path / "renamed.pt")], tmp_path / "models")


def test_weights_are_never_replaced(evo2, tmp_path):
    path = checkpoint(tmp_path / "evo2_7b_262k.pt")
    with pytest.raises(StateError, match="weights are never replaced"):
        convert_evo2([path], evo2, config=NARROW_7B)


def hyena_folder(root: Path, name: str = "hyenadna-small-32k-seqlen-hf", **changes) -> Path:
    """The oracle's weights as a -hf folder, whose config.json asks for code of its own."""
    with safe_open(HYENA_ORACLE, "pt") as file:
        keys = [key for key in file.keys() if key.startswith("state_dict.")]  # noqa: SIM118
        state = {key.removeprefix("state_dict."): file.get_tensor(key) for key in keys}
        config = json.loads(file.metadata()["config"])
    folder = root / name
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    more = {"model_type": "hyenadna", "auto_map": {"AutoModel": "modeling_hyena.Hyena"}}
    (folder / "config.json").write_text(
        json.dumps({**config, **more, "bidirectional": False} | changes)
    )
    return folder


def test_a_hyenadna_folder_is_copied_as_it_is(tmp_path):
    folder = hyena_folder(tmp_path)
    done = convert_hyenadna(folder, tmp_path / "models")
    assert done.card.sha256 == file_sha256(folder / "model.safetensors")
    assert HyenaDnaConfig(**done.card.config).max_seq_len == done.card.max_length == 1026
    assert (done.card.official_name, done.card.source) == (
        "hyenadna-small-32k-seqlen-hf",
        "LongSafari/hyenadna-small-32k-seqlen-hf",
    )
    assert verify_model(done.card, done.folder, CPU)[-1] == "canary met, in float32"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": None}, "does not hold the sizes of a HyenaDNA"),
        ({"n_layer": 3}, "lack"),
        ({"max_seq_len": 2050}, "1026 filter positions"),
    ],
)
def test_a_hyenadna_of_other_sizes_is_refused(tmp_path, changes, message):
    folder = hyena_folder(tmp_path, **changes)
    with pytest.raises(WeightsError, match=message):
        convert_hyenadna(folder, tmp_path / "models")
    assert not (tmp_path / "models" / folder.name).exists()


def test_a_model_canary_notices_other_weights(tmp_path):
    done = convert_hyenadna(hyena_folder(tmp_path), tmp_path / "models")
    state = dict(load_file(done.folder / "model.safetensors"))
    key = "hyena.backbone.layers.1.mlp.fc2.bias"
    state[key] = state[key] + 0.5
    model = load_language_model(done.card, state)
    with pytest.raises(WeightsError, match="fails its canary"):
        check_model_canary(done.card, model, CPU)
    with pytest.raises(WeightsError, match="has no canary"):
        check_model_canary(replace(done.card, canary=None), model, CPU)


def test_weights_that_are_not_finite_have_no_canary(tmp_path):
    folder = hyena_folder(tmp_path)
    state = load_file(folder / "model.safetensors")
    state["hyena.backbone.layers.0.mlp.fc2.bias"][:] = float("nan")
    card = replace(
        convert_hyenadna(folder, tmp_path / "good").card, id="broken", sha256=UNHASHED, canary=None
    )
    with pytest.raises(WeightsError, match="not finite"):
        install_model(tmp_path / "models", card, state)
    assert not (tmp_path / "models" / "broken").exists()


def goodfire(path: Path, width: int = 32, features: int = 96) -> Path:
    draw = torch.Generator().manual_seed(2)
    state = {
        "W": torch.randn(width, features, generator=draw) * width**-0.5,
        "b_enc": torch.zeros(features),
        "b_dec": torch.zeros(width),
    }
    torch.save({f"_orig_mod.{name}": value for name, value in state.items()}, path)
    return path


GOODFIRE = "sae-layer26-mixed-expansion_8-k_64.pt"


def reference(root: Path) -> Path:
    text = "".join("ACGT"[i] for i in torch.randint(0, 4, (2000,)).tolist())
    (root / "genome.fa").write_text(f">chr1\n{text}\n")
    return root / "genome.fa"


def request(**changes) -> SaeRequest:
    values = {"model_id": "evo2_7b_262k", "dictionary_id": "g", "stride": 128, "context": 64}
    return SaeRequest(**(values | {"k": 6} | changes))


def test_goodfire_is_calibrated_on_reference_sequence(evo2, tmp_path):
    done = convert_sae(
        goodfire(tmp_path / GOODFIRE),
        tmp_path / "own",
        [evo2],
        request(reference=reference(tmp_path), windows=8),
    )
    card = done.card
    assert (card.gate, card.layer, card.site, card.k) == ("jumprelu", 27, "blocks.26", 6)
    assert card.calibration["mean_l0"] == pytest.approx(6, rel=1e-3)
    assert card.calibration["theta"] > 0
    assert card.calibration["reference_sha256"] == file_sha256(tmp_path / "genome.fa")
    assert card.dtype == "bfloat16"
    assert card.published_labels["19746"] == "prophage"
    assert (card.source, card.licence) == ("Goodfire/Evo-2-Layer-26-Mixed", "not verified")
    encoder = open_dictionary(card, [evo2, tmp_path / "own"])
    assert torch.equal(encoder.coder.W_dec, encoder.coder.W_enc.T)
    assert encoder.coder.apply_b_dec_to_input is False
    assert verify_dictionary(card, [evo2, tmp_path / "own"], CPU)[-1].startswith("canary met")


def test_goodfire_without_reference_keeps_the_largest_of_each_base_and_is_calibrated_later(
    evo2, tmp_path
):
    roots = [evo2, tmp_path / "own"]
    first = convert_sae(goodfire(tmp_path / GOODFIRE), roots[1], [evo2], request())
    assert (first.card.gate, first.card.calibration) == ("topk", None)
    later = calibrate_installed(
        first.card,
        roots[1],
        roots,
        dictionary_id="g-calibrated",
        reference=reference(tmp_path),
        windows=8,
    )
    assert later.card.gate == "jumprelu"
    assert later.card.sha256 != first.card.sha256
    assert later.card.calibration["mean_l0"] == pytest.approx(6, rel=1e-3)
    assert set(find_cards(roots).dictionaries) == {"g", "g-calibrated"}
    with pytest.raises(OptionError, match="has no k"):
        calibrate_installed(
            replace(first.card, k=None, gate="jumprelu"),
            roots[1],
            roots,
            dictionary_id="h",
            reference=tmp_path / "genome.fa",
        )


def test_parity_mode_is_named_on_the_card(evo2, tmp_path):
    done = convert_sae(
        goodfire(tmp_path / GOODFIRE), tmp_path / "own", [evo2], request(gate="batch_topk")
    )
    assert done.card.gate == "batch_topk"
    assert any(note.startswith("parity mode") for note in done.notes)
    encoder = open_dictionary(done.card, [evo2, tmp_path / "own"])
    assert (encoder.coder.gate, encoder.coder.k) == ("batch_topk", 6)


REFUSED = {
    "another release": (
        {"official_name": "evo2_7b"},
        {},
        "trained on evo2_7b_262k, and model 'evo2_7b_262k' is evo2_7b: it would load and be "
        "silently wrong",
    ),
    "no release": ({"official_name": None}, {}, "is no official release"),
    "another layer": ({}, {"block": 25}, "trained after block 26, but block 25 was asked for"),
    "another model": ({}, {"model_id": "evo3"}, "there is no model 'evo3'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_goodfire_is_refused_where_it_would_be_silently_wrong(evo2, tmp_path, case):
    changes, asked, message = REFUSED[case]
    path = goodfire(tmp_path / GOODFIRE)
    (tmp_path / "models" / "evo2_7b_262k").mkdir(parents=True)
    home = tmp_path / "models" / "evo2_7b_262k"
    for file in (evo2 / "evo2_7b_262k").iterdir():
        if file.is_file():
            (home / file.name).write_bytes(file.read_bytes())
    rename(home, **changes)
    with pytest.raises((WeightsError, UnknownNameError), match=message):
        convert_sae(path, tmp_path / "own", [tmp_path / "models"], request(**asked))
    assert not (tmp_path / "own").exists()


def test_goodfire_of_another_name_and_layer_is_refused(evo2, tmp_path):
    path = goodfire(tmp_path / "renamed.pt")
    with pytest.raises(OptionError, match="name it, counted from 0, with --after-block"):
        convert_sae(path, tmp_path / "own", [evo2], request())
    with pytest.raises(WeightsError, match="trained after block 26, got 20"):
        convert_sae(path, tmp_path / "own", [evo2], request(block=20))
    convert_sae(path, tmp_path / "own", [evo2], request(block=26))


def test_a_dictionary_of_another_width_is_refused(evo2, tmp_path):
    path = goodfire(tmp_path / GOODFIRE, width=16)
    with pytest.raises(WeightsError, match="reads 16 channels, but model 'evo2_7b_262k' has 32"):
        convert_sae(path, tmp_path / "own", [evo2], request())


def sae_folder(root: Path, **metadata) -> Path:
    folder = root / "sae"
    folder.mkdir()
    save_sae_lens(random_coder(d_in=16, d_sae=40), folder, metadata=metadata)
    return folder


@pytest.mark.parametrize(
    ("metadata", "asked", "message"),
    [
        (
            {"model_name": "gpt2-small"},
            {"block": 1},
            "trained on 'gpt2-small', not on model 'tiny-tree'",
        ),
        ({"hook_name": "blocks.0"}, {"block": 1}, "trained after block 0, but block 1"),
        ({"hook_name": "blocks.1.mlp.l3"}, {}, "not the residual stream after a block"),
        ({"hook_name": "blocks.7"}, {}, "has blocks 0 to 1"),
    ],
)
def test_a_dictionary_that_says_something_else_is_refused(tmp_path, metadata, asked, message):
    root = make_tiny_models(tmp_path / "models")
    values = {"model_id": MODEL_ID, "dictionary_id": "own", **asked}
    with pytest.raises(WeightsError, match=message):
        convert_sae(sae_folder(tmp_path, **metadata), root, [root], SaeRequest(**values))


def test_the_same_model_under_another_name_is_taken_when_said(tmp_path):
    root = make_tiny_models(tmp_path / "models")
    folder = sae_folder(tmp_path, model_name="lab-model", hook_name="blocks.1")
    asked = SaeRequest(model_id=MODEL_ID, dictionary_id="own", same_model=True)
    done = convert_sae(folder, root, [root], asked)
    assert (done.card.layer, done.card.gate, done.card.random_weights) == (2, "jumprelu", True)
    assert (done.folder / "cfg.json").is_file()


def test_a_folder_with_cards_is_copied_and_verified(tmp_path):
    root = make_tiny_models(tmp_path / "a")
    done = add_card_folder(root / MODEL_ID, tmp_path / "b", CPU)
    assert [installed.card.id for installed in done] == [MODEL_ID, "tiny-tree-64"]
    weights = root / MODEL_ID / "tiny-tree-64" / "sae_weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WeightsError, match="has the sha256"):
        add_card_folder(root / MODEL_ID, tmp_path / "c", CPU)
    assert not (tmp_path / "c" / MODEL_ID).exists()
    model = root / MODEL_ID / "model.safetensors"
    model.write_bytes(b"?" + model.read_bytes())
    with pytest.raises(WeightsError, match=r"model\.safetensors has the sha256"):
        add_card_folder(root / MODEL_ID, tmp_path / "d", CPU)


def test_known_weights_say_all_that_is_needed_to_fetch_them():
    for release in known_releases():
        assert release.kind in ("model", "dictionary")
        assert release.licence
        assert release.repository
        assert bool(release.run) or not release.runs
        assert release.runs or release.note
    assert known_release("evo2_7b_262k.pt").name == "evo2_7b_262k"
    assert known_release("nothing") is None
    assert set(known_release(GOODFIRE).labels) == {"15680", "28339", "1050", "25666", "19746"}


def test_installed_sizes_are_as_official(evo2):
    card = read_model_card(evo2 / "evo2_7b_262k" / "model.json")
    assert card.config == json.loads(json.dumps(asdict(NARROW_7B)))
    assert card.n_parameters == sum(
        torch.Size(s).numel() for k, s in state_shapes(NARROW_7B).items() if "inv_freq" not in k
    )
