"""Streaming through a dictionary: the same as all at once, for any gate, size and format."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.cards import find_cards
from tests.workers.factories import DICTIONARY_ID, FEATURES, TINY, make_tiny_models
from tests.workers.test_sae import random_coder, random_rows
from workers import sae
from workers.device import HostCopies, upload
from workers.registry import Encoder, open_dictionary
from workers.sae import SparseCoder, SparseRows, chunk_rows

CPU = torch.device("cpu")


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 8 rows for the 40 latents of `random_coder`."""
    monkeypatch.setitem(sae.CHUNK_BYTES, "cpu", 4 * 40 * 8)


def joined(parts) -> SparseRows:
    return SparseRows(*(torch.cat(column) for column in zip(*parts, strict=True)))


def notebook(coder: SparseCoder, x: torch.Tensor, k: int) -> torch.Tensor:
    """BatchTopK with everything held: the slow twin."""
    pre = (
        (x - coder.b_dec if coder.apply_b_dec_to_input else x) @ coder.W_enc + coder.b_enc
    ).relu()
    top = pre.flatten().topk(k * len(x))
    return torch.zeros_like(pre).flatten().scatter(0, top.indices, top.values).view_as(pre)


@pytest.mark.parametrize("gate", ["jumprelu", "topk", "batch_topk"])
def test_pieces_are_those_of_the_rows_picked(small_chunks, gate):
    coder, x = random_coder(gate=gate, k=5), random_rows(100)
    picked = torch.arange(0, 100, 3)
    found = joined(coder.stream(x, rows=picked))
    expected = coder.encode_sparse(x[picked])
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert len(found.value) > 30


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 45), st.booleans())
def test_batch_topk_keeps_what_the_notebook_keeps(seed, n, k, subtract):
    coder = random_coder(seed, apply_b_dec_to_input=subtract)
    x = random_rows(n, seed=seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sae.CHUNK_BYTES, "cpu", 4 * 40 * 8)
        found = coder.batch_topk(x, min(k, 40))
    expected = notebook(coder, x, min(k, 40))
    assert torch.equal(found > 0, expected > 0)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_windows_compete_for_themselves_under_batch_topk(small_chunks):
    coder, x = random_coder(gate="batch_topk", k=4), random_rows(60)
    window = np.repeat([0, 1, 5], [10, 30, 20])
    found = coder.encode_windows(x, window)
    parts = [coder.batch_topk(x[a:b], 4) for a, b in ((0, 10), (10, 40), (40, 60))]
    dense = torch.zeros(60, 40)
    dense[found.row, found.feature] = found.value
    assert torch.equal(dense, torch.cat(parts))
    assert not torch.equal(dense, coder.batch_topk(x, 4))


@pytest.mark.parametrize("gate", ["jumprelu", "topk", "batch_topk"])
def test_bfloat16_rows_are_cast_as_if_all_at_once(small_chunks, gate):
    coder, x = random_coder(gate=gate, k=5), random_rows(50).bfloat16()
    for one, other in zip(coder.encode_sparse(x), coder.encode_sparse(x.float()), strict=True):
        assert torch.equal(one, other)


def test_chunks_stay_within_their_bytes():
    for device in ("cpu", "cuda"):
        for features in (1, 4096, 32_768, 65_536, 131_072):
            rows = chunk_rows(device, features)
            assert rows * features * 4 <= sae.CHUNK_BYTES[device]
            assert rows * features < 2**31
            assert 1 <= rows <= sae.CHUNK_ROWS[device]
    assert chunk_rows("cpu", 2**30) == 1


def test_a_chunk_is_the_most_that_is_ever_dense(small_chunks, monkeypatch):
    sizes = []
    for name in ("empty", "zeros"):
        make = getattr(torch, name)

        def counted(*shape, make=make, **options):
            out = make(*shape, **options)
            sizes.append(out.numel())
            return out

        monkeypatch.setattr(torch, name, counted)
    for gate in ("jumprelu", "topk", "batch_topk"):
        joined(random_coder(gate=gate, k=5).stream(random_rows(1000)))
    assert max(sizes) == 8 * 40


def test_decoding_what_is_active_is_decoding_all():
    coder = random_coder(threshold=torch.full((40,), 4.0))
    x = random_rows(200)
    x[50:60] = 0
    found = coder.encode_sparse(x)
    silent = set(range(200)) - set(found.row.tolist())
    assert {50, 59} <= silent
    expected = coder.decode(coder.encode(x))
    assert torch.allclose(coder.decode_sparse(found, 200), expected, atol=1e-4)
    none = coder.encode_sparse(x[50:60])
    assert torch.equal(coder.decode_sparse(none, 10), coder.b_dec.expand(10, -1))


@pytest.mark.parametrize("gate", ["jumprelu", "topk", "batch_topk"])
def test_features_above_65535_keep_their_numbers(gate):
    latents = 131_072
    wanted = torch.tensor([0, 1, 65_535, 65_536, 98_765, 131_071])
    encode = torch.zeros(4, latents)
    encode[:, wanted] = torch.eye(4)[:, [0, 1, 2, 3, 0, 1]]
    coder = SparseCoder(
        W_enc=encode,
        b_enc=torch.zeros(latents),
        threshold=torch.full((latents,), 0.5),
        W_dec=torch.zeros(latents, 4),
        b_dec=torch.zeros(4),
        gate=gate,
        k=2,
    )

    class Given:
        width, n_blocks, max_length = 4, 1, None

        def activations(self, codes, layer):
            return torch.eye(5, 4)[codes.long()] * 3

    encoder = Encoder(SimpleNamespace(layer=0), None, Given(), coder, CPU)
    found = encoder.activations_of(np.array([[0, 1, 4, 2, 3]], np.uint8))
    assert found.feature.dtype == np.uint32
    places = list(zip(found.position.tolist(), found.feature.tolist(), strict=True))
    assert places == [(0, 0), (0, 98_765), (1, 1), (1, 131_071), (3, 65_535), (4, 65_536)]
    assert found.value.tolist() == [3.0] * 6


def test_an_encoder_with_gaps_reads_as_one_without(tmp_path):
    """Rows picked on the way to the dictionary are those of the bases known."""
    root = make_tiny_models(tmp_path)
    encoder = open_dictionary(find_cards([root]).dictionary(DICTIONARY_ID), [root])
    codes = np.random.default_rng(0).integers(0, 5, (3, 300), dtype=np.uint8)
    found = encoder.activations_of(codes)
    h = encoder.language_model.activations(torch.from_numpy(codes), 2)
    dense = encoder.coder.encode(h.flatten(0, 1)) * torch.from_numpy(codes.ravel() < 4)[:, None]
    again = np.zeros((900, FEATURES), np.float32)
    again[found.window * 300 + found.position, found.feature] = found.value
    assert np.array_equal(again, dense.numpy())
    assert h.shape[-1] == TINY.width


def test_copies_come_back_in_the_order_begun():
    copies = HostCopies(CPU)
    for i in range(3):
        copies.start(torch.full((2,), i), torch.full((1,), 10.0 * i))
    assert [(int(a[0]), float(b[0])) for a, b in copies.finish()] == [(0, 0), (1, 10), (2, 20)]
    assert HostCopies(CPU).finish() == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("gate", ["jumprelu", "topk", "batch_topk"])
def test_a_gpu_gives_what_the_cpu_gives(gate):
    device = torch.device("cuda")
    coder, x = random_coder(gate=gate, k=5), random_rows(5000)
    copies = HostCopies(device)
    moved = upload(x.numpy(), device)
    for piece in coder.to(device).stream(moved):
        copies.start(piece.row, piece.feature, piece.value)
    row, feature, value = (np.concatenate(part) for part in zip(*copies.finish(), strict=True))
    expected = coder.encode_sparse(x)
    same = (row == expected.row.numpy()).mean() if len(row) == len(expected.row) else 0
    assert same > 0.99
    assert np.allclose(np.sort(value), expected.value.sort().values.numpy(), rtol=1e-4, atol=1e-4)
    assert set(feature.tolist()) <= set(range(40))
