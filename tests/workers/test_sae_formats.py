"""Dictionaries of other libraries: against their own equations, written out here.

The Goodfire layout, sae-lens's folders and their expected activations are in
tests/data/oracles; tests/workers/test_sae.py compares the folders, value by value.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from annotations.errors import WeightsError
from tests.workers.test_sae import ARCHITECTURES, ORACLES, dense, random_rows
from workers.sae_formats import read_coder, reads_residual
from workers.sae_lens import load_sae_lens, save_sae_lens

D_IN, D_SAE, K = 12, 40, 5


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def topk(f: torch.Tensor) -> torch.Tensor:
    kept = f.topk(K, dim=1)
    return torch.zeros_like(f).scatter(1, kept.indices, kept.values)


def linear_state() -> dict[str, torch.Tensor]:
    return {
        "encoder.weight": draw(D_SAE, D_IN),
        "encoder.bias": draw(D_SAE),
        "decoder.weight": draw(D_IN, D_SAE, seed=1),
    }


def plain_state() -> dict[str, torch.Tensor]:
    return {
        "W_enc": draw(D_IN, D_SAE),
        "b_enc": draw(D_SAE),
        "W_dec": draw(D_SAE, D_IN, seed=1),
        "b_dec": draw(D_IN),
    }


def encode_linear(state, x, bias):
    return torch.relu((x - bias) @ state["encoder.weight"].T + state["encoder.bias"])


def auto_encoder(x):
    s = linear_state() | {"bias": draw(D_IN)}
    f = encode_linear(s, x, s["bias"])
    return s, f, f @ s["decoder.weight"].T + s["bias"]


def auto_encoder_new(x):
    s = linear_state() | {"decoder.bias": draw(D_IN)}
    f = encode_linear(s, x, 0)
    return s, f, f @ s["decoder.weight"].T + s["decoder.bias"]


def auto_encoder_top_k(x):
    s = linear_state() | {"b_dec": draw(D_IN), "k": torch.tensor(K), "threshold": torch.tensor(0.7)}
    f = topk(encode_linear(s, x, s["b_dec"]))
    return s, f, f @ s["decoder.weight"].T + s["b_dec"]


def batch_top_k(x):
    s = linear_state() | {"b_dec": draw(D_IN), "k": torch.tensor(K), "threshold": torch.tensor(3.0)}
    f = encode_linear(s, x, s["b_dec"])
    f = f * (f > 3)
    return s, f, f @ s["decoder.weight"].T + s["b_dec"]


def matryoshka(x):
    s = plain_state() | {"k": torch.tensor(K), "threshold": torch.tensor(3.0)}
    s["group_sizes"] = torch.tensor([10, 30])
    f = torch.relu((x - s["b_dec"]) @ s["W_enc"] + s["b_enc"])
    f = f * (f > 3)
    return s, f, f @ s["W_dec"] + s["b_dec"]


def jump_relu(x):
    s = plain_state() | {"threshold": draw(D_SAE, seed=2).abs()}
    pre = x @ s["W_enc"] + s["b_enc"]
    f = torch.relu(pre * (pre > s["threshold"]))
    norm = s["W_dec"].norm(dim=1)
    return s, f * norm, f @ s["W_dec"] + s["b_dec"]


def gated(x):
    s = {
        "encoder.weight": draw(D_SAE, D_IN),
        "decoder.weight": draw(D_IN, D_SAE, seed=1),
        "decoder_bias": draw(D_IN),
        "r_mag": 0.3 * draw(D_SAE, seed=3),
        "gate_bias": draw(D_SAE, seed=4),
        "mag_bias": draw(D_SAE, seed=5),
    }
    shared = (x - s["decoder_bias"]) @ s["encoder.weight"].T
    f = (shared + s["gate_bias"] > 0) * torch.relu(s["r_mag"].exp() * shared + s["mag_bias"])
    return s, f * s["decoder.weight"].norm(dim=0), f @ s["decoder.weight"].T + s["decoder_bias"]


CLASSES = {
    "AutoEncoder": auto_encoder,
    "AutoEncoderNew": auto_encoder_new,
    "AutoEncoderTopK": auto_encoder_top_k,
    "BatchTopKSAE": batch_top_k,
    "MatryoshkaBatchTopKSAE": matryoshka,
    "JumpReluAutoEncoder": jump_relu,
    "GatedAutoEncoder": gated,
}


def write_dictionary_learning(folder: Path, state, kind: str, **trainer) -> Path:
    torch.save(state, folder / "ae.pt")
    config = {"dict_class": kind, "activation_dim": D_IN, "dict_size": D_SAE, "layer": 3}
    config |= {"lm_name": "lab/dna", "submodule_name": "resid_post_layer_3", "k": K} | trainer
    (folder / "config.json").write_text(json.dumps({"trainer": config, "buffer": {}}))
    return folder


@pytest.mark.parametrize("kind", CLASSES)
def test_dictionary_learning_encodes_and_decodes_as_its_own_equations(tmp_path, kind):
    x = random_rows(300, D_IN)
    state, expected, decoded = CLASSES[kind](x)
    found = read_coder(write_dictionary_learning(tmp_path, state, kind))
    f = found.coder.encode(x)
    assert torch.allclose(f, expected, atol=1e-4)
    assert 0.01 < (expected > 0).float().mean() < 0.9
    assert torch.allclose(found.coder.decode(f), decoded, atol=1e-3)
    assert (found.format, found.architecture) == ("dictionary-learning", kind)
    assert (found.k, found.model_name, found.block) == (K, "lab/dna", 3)
    assert reads_residual(found.site)


def test_sparsify_encodes_as_its_own_equations(tmp_path):
    folder = tmp_path / "layers.7"
    folder.mkdir()
    s = {"encoder.weight": draw(D_SAE, D_IN), "encoder.bias": draw(D_SAE)}
    s |= {"W_dec": draw(D_SAE, D_IN, seed=1), "b_dec": draw(D_IN)}
    save_file(s, folder / "sae.safetensors")
    config = {"d_in": D_IN, "k": K, "activation": "topk", "transcode": False, "num_latents": 0}
    (folder / "cfg.json").write_text(json.dumps(config))
    (tmp_path / "config.json").write_text(json.dumps({"model": "lab/dna"}))
    x = random_rows(300, D_IN)
    expected = topk(encode_linear(s, x, s["b_dec"]))
    found = read_coder(folder)
    f = found.coder.encode(x)
    assert torch.allclose(f, expected, atol=1e-4)
    assert torch.allclose(found.coder.decode(f), expected @ s["W_dec"] + s["b_dec"], atol=1e-3)
    assert (found.k, found.model_name, found.block) == (K, "lab/dna", 7)
    for key, value in (("transcode", True), ("activation", "groupmax"), ("signed", True)):
        (folder / "cfg.json").write_text(json.dumps(config | {key: value}))
        with pytest.raises(WeightsError, match=f"has {key}"):
            read_coder(folder)


def goodfire_file(tmp_path, prefix: str = "_orig_mod.") -> tuple[Path, dict[str, torch.Tensor]]:
    expected = load_file(ORACLES / "sae_expected.safetensors")
    path = tmp_path / "sae-layer26-mixed-expansion_8-k_64.pt"
    names = ("W", "b_enc", "b_dec")
    torch.save({prefix + name: expected[f"goodfire.{name}"] for name in names}, path)
    return path, expected


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_goodfire_in_parity_mode_equals_the_notebook(tmp_path, prefix):
    path, expected = goodfire_file(tmp_path, prefix)
    found = read_coder(path, k=8)
    assert (found.format, found.block, found.k, found.coder.gate) == ("Goodfire", 26, 8, "topk")
    parity = found.coder.batch_topk(expected["x"], 8)
    reference = dense(expected, "goodfire.batch_topk", 300, 384)
    assert torch.equal(parity > 0, reference > 0)
    assert (parity - reference).abs().max() < 5e-6
    decoded = found.coder.decode(parity)[:40]
    assert torch.allclose(decoded, expected["goodfire.decoded"], atol=1e-5)


def test_goodfire_keeps_64_of_each_base_unless_told(tmp_path):
    found = read_coder(goodfire_file(tmp_path)[0])
    f = found.coder.encode(load_file(ORACLES / "sae_expected.safetensors")["x"])
    assert int((f > 0).sum(1).max()) <= found.coder.k == 64


def test_goodfire_survives_as_a_sae_lens_folder(tmp_path):
    """Tied weights: W_dec is W turned, and nothing is taken from the input."""
    path, expected = goodfire_file(tmp_path)
    coder = read_coder(path, k=8).coder
    save_sae_lens(coder, tmp_path)
    back = load_sae_lens(tmp_path)
    assert json.loads((tmp_path / "cfg.json").read_text())["apply_b_dec_to_input"] is False
    assert torch.equal(back.W_dec, back.W_enc.T)
    assert torch.equal(back.encode(expected["x"]), coder.encode(expected["x"]))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_sae_lens_folder_says_what_it_was_trained_on(name):
    found = read_coder(ORACLES / f"saelens_{name}")
    assert (found.format, found.architecture) == ("sae-lens", name)
    assert (found.model_name, found.block, found.site) == ("tiny", 1, "blocks.1")


def test_a_matryoshka_saved_as_jumprelu_equals_sae_lens():
    folder = ORACLES / "saelens_matryoshka"
    found, expected = read_coder(folder), load_file(folder / "expected.safetensors")
    f = found.coder.encode(expected["x"])
    assert torch.equal(f > 0, expected["encoded"] > 0)
    assert (f - expected["encoded"]).abs().max() < 1e-5
    assert torch.allclose(found.coder.decode(f), expected["decoded"], atol=1e-4)
    assert (found.architecture, found.k, found.block) == ("matryoshka_batchtopk", 4, 2)


def test_other_sites_than_the_residual_stream_are_known_by_name():
    for name in ("blocks.28.mlp.l3", "blocks.3.attn.hook_z", "blocks.3.hook_resid_pre"):
        assert not reads_residual(name)
    for name in ("blocks.26", "layers.3", "blocks.3.hook_resid_post", None):
        assert reads_residual(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dict_class": "CrossCoder"}, "names the class 'CrossCoder'"),
        ({"dict_size": 41}, "says 12 channels and 41 latents"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(tmp_path, change, message):
    state = auto_encoder(random_rows(1))[0]
    write_dictionary_learning(tmp_path, state, "AutoEncoder", **change)
    with pytest.raises(WeightsError, match=message):
        read_coder(tmp_path)


def test_other_tensors_than_those_of_the_class_are_refused(tmp_path):
    state = auto_encoder(random_rows(1))[0]
    for wrong in (state | {"extra": torch.ones(1)}, {"bias": state["bias"]}):
        write_dictionary_learning(tmp_path, wrong, "AutoEncoder")
        with pytest.raises(WeightsError, match=r"must hold the tensors of its class"):
            read_coder(tmp_path)
    write_dictionary_learning(tmp_path, state | {"note": "text"}, "AutoEncoder")
    with pytest.raises(WeightsError, match=r"more than tensors \(note\)"):
        read_coder(tmp_path)


def test_a_threshold_that_was_never_measured_is_refused(tmp_path):
    state = batch_top_k(random_rows(1))[0] | {"threshold": torch.tensor(-1.0)}
    with pytest.raises(WeightsError, match="training stopped before one was measured"):
        read_coder(write_dictionary_learning(tmp_path, state, "BatchTopKSAE"))


def test_a_decoder_row_of_zeros_has_no_norm_to_fold(tmp_path):
    state = jump_relu(random_rows(1))[0]
    state["W_dec"][3] = 0
    with pytest.raises(WeightsError, match="row of zeros"):
        read_coder(write_dictionary_learning(tmp_path, state, "JumpReluAutoEncoder"))


def test_a_goodfire_file_of_other_tensors_is_refused(tmp_path):
    torch.save({"W": torch.ones(2, 3), "b_enc": torch.ones(3)}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="of a Goodfire dictionary"):
        read_coder(tmp_path / "x.pt")


def test_what_is_no_dictionary_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="is no dictionary this program reads"):
        read_coder(tmp_path)
