"""Sparse coders against sae-lens and the Evo 2 notebook (tests/data/oracles), and their gate.

The oracle's folders of standard, gated and jumprelu were cut to 32 of 384
latents: latents of these do not depend on each other. x has 300 rows; the
expected activations are sparse, of the first 40 rows (all 300 for batch-top-k,
whose rule is of the whole batch).
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from annotations.errors import WeightsError
from workers.sae import CHUNK_ROWS, SparseCoder, fold_whitening
from workers.sae_lens import load_sae_lens, read_safetensors, save_sae_lens

ORACLES = Path(__file__).parent.parent / "data" / "oracles"
ROWS = 40
ARCHITECTURES = ["standard", "topk", "jumprelu", "gated"]


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    return load_file(ORACLES / "sae_expected.safetensors")


def dense(expected, name: str, rows: int, features: int) -> torch.Tensor:
    out = torch.zeros(rows * features)
    out[expected[f"{name}.index"].long()] = expected[f"{name}.value"]
    return out.view(rows, features)


def scatter(rows, shape) -> torch.Tensor:
    out = torch.zeros(shape)
    out[rows.row, rows.feature] = rows.value
    return out


def random_coder(seed: int = 0, *, d_in: int = 12, d_sae: int = 40, **changes) -> SparseCoder:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw)

    values = {
        "W_enc": normal(d_in, d_sae),
        "b_enc": normal(d_sae),
        "threshold": normal(d_sae).abs(),
        "W_dec": normal(d_sae, d_in),
        "b_dec": normal(d_in),
    }
    return SparseCoder(**(values | changes))


def random_rows(n: int, d_in: int = 12, seed: int = 9) -> torch.Tensor:
    return 2 * torch.randn(n, d_in, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_encoding_equals_sae_lens(expected, name):
    coder = load_sae_lens(ORACLES / f"saelens_{name}")
    reference = dense(expected, f"saelens_{name}", ROWS, coder.n_features)
    found = coder.encode(expected["x"])[:ROWS]
    assert torch.equal(found > 0, reference > 0)
    assert (found - reference).abs().max() < 5e-6
    assert 0.005 < (reference > 0).float().mean() < 0.6


def test_decoding_equals_sae_lens(expected):
    coder = load_sae_lens(ORACLES / "saelens_topk")
    found = coder.decode(coder.encode(expected["x"][:ROWS]))
    assert torch.allclose(found, expected["saelens_topk.decoded"], atol=1e-5)


def test_batch_topk_equals_the_rule_of_the_notebook(expected):
    weights = {name: expected[f"goodfire.{name}"] for name in ("W", "b_enc", "b_dec")}
    coder = SparseCoder(
        W_enc=weights["W"],
        b_enc=weights["b_enc"],
        threshold=torch.zeros_like(weights["b_enc"]),
        W_dec=weights["W"].T.contiguous(),
        b_dec=weights["b_dec"],
    )
    reference = dense(expected, "goodfire.batch_topk", 300, 384)
    found = coder.batch_topk(expected["x"], 8)
    assert torch.equal(found > 0, reference > 0)
    assert (found - reference).abs().max() < 5e-6
    assert torch.allclose(coder.decode(found)[:ROWS], expected["goodfire.decoded"], atol=1e-5)


def test_batch_topk_depends_on_the_batch_and_the_gate_does_not(expected):
    coder = load_sae_lens(ORACLES / "saelens_jumprelu")
    x = expected["x"]
    crowd = torch.cat([x[:10], 10 * x[10:]])
    assert not torch.equal(coder.batch_topk(x, 4)[:10] > 0, coder.batch_topk(crowd, 4)[:10] > 0)
    assert torch.equal(coder.encode(x)[:10], coder.encode(crowd)[:10])


def test_the_gate_by_hand():
    coder = SparseCoder(
        W_enc=torch.eye(3),
        b_enc=torch.tensor([0.0, 0.5, 0.0]),
        threshold=torch.tensor([1.0, 1.0, -1.0]),
        W_dec=2 * torch.eye(3),
        b_dec=torch.tensor([1.0, 0.0, 0.0]),
    )
    x = torch.tensor([[1.0, 0.5, -0.5], [1.5, 0.75, 0.25]])
    # Strict: what equals its threshold is not active, and nothing negative ever is.
    f = coder.encode(x)
    assert f.tolist() == [[0.0, 0.0, 0.0], [1.5, 1.25, 0.25]]
    assert torch.equal(scatter(coder.encode_sparse(x), f.shape), f)
    assert coder.encode_sparse(x).row.tolist() == [1, 1, 1]
    assert coder.decode(f).tolist() == [[1.0, 0.0, 0.0], [4.0, 2.5, 0.5]]
    shifted = replace(coder, apply_b_dec_to_input=True)
    assert shifted.encode(x).tolist() == [[0.0, 0.0, 0.0], [0.0, 1.25, 0.25]]


def test_gated_weights_equal_their_two_paths(tmp_path):
    """Equations 6 to 8 of arXiv:2404.16014, written out; the oracle's biases are small."""
    draw = torch.Generator().manual_seed(5)
    shapes = {"W_enc": (6, 9), "W_dec": (9, 6), "b_dec": (6,)}
    shapes |= dict.fromkeys(("b_gate", "b_mag", "r_mag"), (9,))
    w = {name: torch.randn(*shape, generator=draw) for name, shape in shapes.items()}
    save_file(w, tmp_path / "sae_weights.safetensors")
    config = {"architecture": "gated", "d_in": 6, "d_sae": 9, "apply_b_dec_to_input": True}
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    x = random_rows(200, 6)
    centred = x - w["b_dec"]
    gate = centred @ w["W_enc"] + w["b_gate"] > 0
    expected = gate * torch.relu(centred @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"])
    found = load_sae_lens(tmp_path).encode(x)
    assert torch.equal(found > 0, expected > 0)
    assert torch.allclose(found, expected, atol=1e-4)
    assert 0.1 < (found > 0).float().mean() < 0.9


def test_topk_by_hand():
    coder = SparseCoder(
        W_enc=torch.eye(3),
        b_enc=torch.zeros(3),
        threshold=torch.zeros(3),
        W_dec=torch.eye(3),
        b_dec=torch.zeros(3),
        gate="topk",
        k=2,
    )
    x = torch.tensor([[3.0, 1.0, 2.0], [-1.0, 0.5, -2.0]])
    assert coder.encode(x).tolist() == [[3.0, 0.0, 2.0], [0.0, 0.5, 0.0]]
    rows = coder.encode_sparse(x)
    assert rows.row.tolist() == [0, 0, 1]
    assert rows.feature.tolist() == [0, 2, 1]
    assert rows.value.tolist() == [3.0, 2.0, 0.5]


@pytest.mark.parametrize("gate", ["jumprelu", "topk"])
def test_sparse_rows_are_the_dense_ones_in_order(gate):
    coder = random_coder(gate=gate, k=5)
    x = random_rows(300)
    rows = coder.encode_sparse(x)
    f = coder.encode(x)
    assert torch.equal(scatter(rows, f.shape), f)
    assert len(rows.value) == int((f > 0).sum()) > 300
    place = (rows.row * coder.n_features + rows.feature).numpy()
    assert (np.diff(place) > 0).all()
    assert (rows.row.dtype, rows.feature.dtype) == (torch.int64, torch.int64)
    assert rows.value.dtype == torch.float32


@settings(max_examples=15, deadline=None)
@given(st.data(), st.booleans())
def test_a_row_is_bitwise_the_same_in_any_partition_and_order(data, subtract):
    coder = random_coder(d_in=16, d_sae=256, apply_b_dec_to_input=subtract)
    n = data.draw(st.integers(1, 2 * CHUNK_ROWS["cpu"] + 10))
    x = random_rows(n, 16, seed=data.draw(st.integers(0, 5)))
    whole = scatter(coder.encode_sparse(x), (n, 256))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
    parts = [x[a:b] for a, b in zip([0, *cuts], [*cuts, n], strict=True)]
    pieces = [scatter(coder.encode_sparse(part), (len(part), 256)) for part in parts]
    assert torch.equal(torch.cat(pieces), whole)
    order = torch.from_numpy(np.random.default_rng(n).permutation(n))
    assert torch.equal(scatter(coder.encode_sparse(x[order]), (n, 256)), whole[order])


def test_the_whole_size_of_a_served_dictionary_is_bitwise_stable():
    # 128 channels and 4,096 features: the shape in which a matrix product is blocked.
    coder = random_coder(d_in=128, d_sae=4096, threshold=torch.full((4096,), 55.0))
    x = random_rows(1500, 128)
    whole = coder.encode_sparse(x)
    assert 1 < len(whole.row) / len(x) < 100
    for row in (0, 1, 511, 1023, 1024, 1499):
        alone = coder.encode_sparse(x[row : row + 1])
        mine = whole.row == row
        assert torch.equal(alone.feature, whole.feature[mine])
        assert torch.equal(alone.value, whole.value[mine])


def test_no_rows_and_no_active_feature_give_nothing():
    coder = random_coder(threshold=torch.full((40,), 1e9))
    for x in (random_rows(0), random_rows(7)):
        rows = coder.encode_sparse(x)
        assert [len(column) for column in rows] == [0, 0, 0]
        assert coder.encode(x).shape == (len(x), 40)
        assert not coder.encode(x).any()


def test_result_does_not_share_memory_with_the_next_call():
    coder = random_coder()
    first = coder.encode_sparse(random_rows(50, seed=1))
    kept = first.value.clone()
    coder.encode_sparse(random_rows(50, seed=2))
    assert torch.equal(first.value, kept)


def test_another_number_of_channels_is_refused():
    with pytest.raises(WeightsError, match=r"\[n, 12\], got \[3, 11\]"):
        random_coder().encode_sparse(torch.zeros(3, 11))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_folded_whitening_encodes_and_decodes_as_the_two_steps_do(seed, subtract):
    coder = random_coder(seed, apply_b_dec_to_input=subtract)
    draw = torch.Generator().manual_seed(seed)
    mean = torch.randn(12, generator=draw)
    turn = torch.linalg.qr(torch.randn(12, 12, generator=draw, dtype=torch.float64)).Q
    # Eigenvalues over three orders of magnitude, as measured of a residual stream.
    whiten = ((turn * torch.logspace(-1, 2, 12, dtype=torch.float64)) @ turn.T).float()
    folded = fold_whitening(mean, whiten, coder)
    assert not folded.apply_b_dec_to_input
    x = mean + random_rows(60, seed=seed) @ torch.linalg.inv(whiten)
    white = (x - mean) @ whiten
    f, expected = folded.encode(x), coder.encode(white)
    near = ((white - subtract * coder.b_dec) @ coder.W_enc + coder.b_enc - coder.threshold).abs()
    settled = near > 1e-2
    assert settled.float().mean() > 0.9
    assert torch.equal((f > 0)[settled], (expected > 0)[settled])
    assert (f - expected)[settled].abs().max() < 5e-3
    back = (folded.decode(expected) - mean) @ whiten
    assert (back - coder.decode(expected)).abs().max() < 1e-2


@pytest.mark.parametrize("gate", ["jumprelu", "topk"])
def test_a_folder_survives_a_round_trip(tmp_path, gate):
    coder = random_coder(gate=gate, k=3 if gate == "topk" else None)
    save_sae_lens(coder, tmp_path, metadata={"model_name": "tiny"})
    back = load_sae_lens(tmp_path)
    assert (back.gate, back.k, back.apply_b_dec_to_input) == (gate, coder.k, False)
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        assert torch.equal(getattr(back, name), getattr(coder, name))
    assert torch.equal(back.encode(random_rows(20)), coder.encode(random_rows(20)))
    config = json.loads((tmp_path / "cfg.json").read_text())
    assert config["metadata"] == {"model_name": "tiny", "sae_lens_version": "6.54.12"}


def test_half_precision_halves_the_matrices_alone(tmp_path):
    coder = random_coder()
    save_sae_lens(coder, tmp_path, half=True)
    stored = load_file(tmp_path / "sae_weights.safetensors")
    assert stored["W_enc"].dtype == stored["W_dec"].dtype == torch.float16
    assert torch.equal(stored["threshold"], coder.threshold)
    back = load_sae_lens(tmp_path)
    assert back.W_enc.dtype == torch.float32
    assert torch.equal(back.W_enc, coder.W_enc.half().float())


def test_the_bundled_size_fits_in_its_share(tmp_path):
    save_sae_lens(random_coder(d_in=128, d_sae=4096), tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4.5e6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "temporal"}, "supported are standard, gated, topk, jumprelu"),
        ({"architecture": None}, "supported are"),
        ({"architecture": "standard"}, "must hold W_dec, W_enc, b_dec, b_enc for"),
        ({"architecture": "gated"}, "b_gate"),
        ({"normalize_activations": "layer_norm"}, "only 'none' is supported"),
        ({"reshape_activations": "hook_z"}, "only 'none' is supported"),
        ({"d_sae": 41}, "says d_in 12 and d_sae 41"),
        ({"rescale_acts_by_decoder_norm": True}, "fold it into the weights"),
    ],
)
def test_a_folder_that_is_not_understood_is_refused(tmp_path, changes, message):
    save_sae_lens(random_coder(), tmp_path)
    path = tmp_path / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(WeightsError, match=message):
        load_sae_lens(tmp_path)


def test_damaged_or_missing_files_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"cfg\.json is missing"):
        load_sae_lens(tmp_path)
    save_sae_lens(random_coder(), tmp_path)
    weights = tmp_path / "sae_weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_sae_lens(tmp_path)
    weights.unlink()
    with pytest.raises(WeightsError, match="are missing"):
        load_sae_lens(tmp_path)
    (tmp_path / "cfg.json").write_text("[]")
    with pytest.raises(WeightsError, match="JSON object, got list"):
        load_sae_lens(tmp_path)


def test_integers_are_not_made_floats(tmp_path):
    save_file({"n": torch.arange(3), "x": torch.ones(2).half()}, tmp_path / "f.safetensors")
    found = read_safetensors(tmp_path / "f.safetensors")
    assert (found["n"].dtype, found["x"].dtype) == (torch.int64, torch.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"W_enc": torch.zeros(3)}, r"W_enc must have shape \[d_in, d_sae\]"),
        ({"b_enc": torch.zeros(41)}, r"b_enc must have shape \[40\]"),
        ({"W_dec": torch.zeros(12, 40)}, r"W_dec must have shape \[40, 12\]"),
        ({"gate": "topk"}, "1 to 40 latents"),
        ({"gate": "topk", "k": 41}, "1 to 40 latents"),
    ],
)
def test_weights_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(WeightsError, match=message):
        random_coder(**changes)
