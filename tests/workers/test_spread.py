"""Work spread over threads: the same results, in order, each computed by one thread."""

import threading

import numpy as np
import pytest
import torch

from benchmarks.reference_hyenadna import random_state
from tests.workers.test_sae import random_coder, random_rows
from workers.language_models import hyenadna
from workers.language_models.hyenadna import HyenaDnaConfig, load_hyenadna
from workers.spread import spread

CPU = torch.device("cpu")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_are_in_the_order_of_the_pieces(count):
    torch.set_num_threads(count)
    assert list(spread(lambda piece: piece**2, range(50), CPU)) == [i**2 for i in range(50)]
    assert list(spread(lambda piece: piece, [], CPU)) == []


def test_a_piece_is_computed_by_one_thread_beside_others():
    torch.set_num_threads(2)
    together = threading.Barrier(2, timeout=20)

    def work(piece):
        together.wait()
        return torch.get_num_threads(), threading.get_ident(), torch.is_inference_mode_enabled()

    with torch.inference_mode():
        found = list(spread(work, range(4), CPU))
    assert [(alone, inference) for alone, _, inference in found] == [(1, True)] * 4
    assert len({thread for _, thread, _ in found}) == 2
    assert torch.get_num_threads() == 2


def test_what_a_piece_raises_is_raised():
    torch.set_num_threads(2)

    def work(piece):
        if piece == 3:
            raise MemoryError("piece 3")
        return piece

    with pytest.raises(MemoryError, match="piece 3"):
        list(spread(work, range(5), CPU))


def test_any_number_of_threads_gives_bitwise_the_same(hyenadna_state):
    state, config = hyenadna_state
    codes = torch.randint(0, 5, (2, 1500), generator=torch.Generator().manual_seed(0)).byte()
    coder, x = random_coder(), random_rows(3000)
    model = load_hyenadna(state, config)
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append((model.activations(codes, 2), *coder.encode_sparse(x)))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
    assert len(found[0][1]) > 1000


@pytest.mark.parametrize("shape", [(1, 2000), (5, 300), (40, 20), (3, 1)])
def test_tiles_change_nothing(hyenadna_state, monkeypatch, shape):
    """Windows longer and shorter than a tile, whole batches of them, and one of a single base."""
    state, config = hyenadna_state
    model = load_hyenadna(state, config)
    codes = torch.randint(0, 5, shape, generator=torch.Generator().manual_seed(0)).byte()
    found = model.activations(codes, 2)
    for rows in (7, 10**6):
        monkeypatch.setitem(hyenadna._ROWS, "cpu", rows)
        again = model.activations(codes, 2)
        assert (again - found).norm() / found.norm() < 1e-5


def test_the_residual_stream_given_is_left_alone(hyenadna_state):
    state, config = hyenadna_state
    model = load_hyenadna(state, config)
    h = model.activations(torch.zeros(1, 30, dtype=torch.uint8), 1)
    before = h.clone()
    assert not np.array_equal(model.advance(h, 1, 2), before)
    assert torch.equal(h, before)


@pytest.fixture(scope="module")
def hyenadna_state():
    config = HyenaDnaConfig(d_model=16, n_layer=2, d_inner=32, max_seq_len=2000)
    return random_state(config), config
