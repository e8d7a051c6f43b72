"""Convolutions against their definition, written out as sums in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workers.language_models.stripedhyena2.convolution import (
    fir,
    long_convolution,
    long_spectrum,
    medium_convolution,
    modal_filter,
    spectrum_size,
)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_convolution(u: Tensor, taps: Tensor) -> Tensor:
    """y[b, c, t] = sum_k taps[c, k] u[b, c, t - k], one base at a time."""
    out = torch.zeros(u.shape, dtype=torch.float64)
    for t in range(u.shape[-1]):
        for k in range(min(taps.shape[1], t + 1)):
            out[..., t] += taps[:, k].double() * u[..., t - k].double()
    return out.float()


def test_fir_by_hand():
    x = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]])
    taps = torch.tensor([[0.0, 1.0, 100.0], [1.0, 0.0, 0.0]])
    # Channel 0: 100 times the base itself and once the base before; channel 1: two bases before.
    assert fir(x, taps).tolist() == [[[100.0, 0.0], [201.0, 0.0], [302.0, 10.0]]]


def test_fir_of_bfloat16_is_computed_in_float32():
    x, taps = draw(0, 2, 20, 3).bfloat16(), draw(1, 3, 7).bfloat16()
    found = fir(x, taps)
    assert found.dtype == torch.float32
    assert torch.equal(found, fir(x.float(), taps.float()))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), length=st.integers(1, 30), count=st.integers(1, 9))
def test_fir_equals_its_definition(seed, length, count):
    x, taps = draw(seed, 2, length, 3), draw(seed + 1, 3, count)
    expected = slow_convolution(x.transpose(1, 2), taps.flip(1)).transpose(1, 2)
    assert torch.allclose(fir(x, taps), expected, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 99),
    length=st.integers(1, 60),
    count=st.integers(1, 12),
    block=st.integers(12, 40),
)
def test_medium_convolution_equals_its_definition_whatever_the_block(seed, length, count, block):
    u, taps = draw(seed, 2, 3, length), draw(seed + 1, 3, count)
    found = medium_convolution(u, taps, block=block)
    assert found.shape == u.shape
    assert torch.allclose(found, slow_convolution(u, taps), atol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 127, 897, 898, 2500])
def test_medium_convolution_of_128_taps_at_the_edges_of_its_blocks(length):
    u, taps = draw(0, 1, 2, length), draw(1, 2, 128)
    expected = torch.nn.functional.conv1d(
        torch.nn.functional.pad(u, (127, 0)), taps.flip(1)[:, None], groups=2
    )
    assert torch.allclose(medium_convolution(u, taps), expected, atol=1e-4)


def test_medium_convolution_does_not_see_beyond_its_block():
    u, taps = draw(0, 1, 2, 3000), draw(1, 2, 128)
    changed = u.clone()
    changed[..., 2000:] = 1e6
    # The third block of 897 bases begins at 1,794: what is before it is not touched.
    found, expected = medium_convolution(changed, taps), medium_convolution(u, taps)
    assert torch.equal(found[..., :1794], expected[..., :1794])


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), length=st.integers(1, 60))
def test_long_convolution_equals_its_definition(seed, length):
    u, taps = draw(seed, 2, 3, length), draw(seed + 1, 3, length)
    spectrum = long_spectrum(taps)
    assert spectrum.shape == (3, spectrum_size(length))
    assert torch.allclose(long_convolution(u, spectrum), slow_convolution(u, taps), atol=1e-4)


def test_modal_filter_by_hand():
    log_poles = torch.tensor([[0.0, float(torch.log(torch.tensor(0.5)))]])
    found = modal_filter(log_poles, torch.tensor([[1.0, 4.0]]), 4)
    assert torch.allclose(found, torch.tensor([[5.0, 3.0, 2.0, 1.5]]))


def test_modal_filter_of_a_long_window_equals_float64():
    log_poles = -torch.logspace(-4, 0, 16)[None]
    residues = draw(0, 1, 16)
    time = torch.arange(50_000, dtype=torch.float64)
    expected = (residues.double()[..., None] * (log_poles.double()[..., None] * time).exp()).sum(1)
    assert torch.allclose(modal_filter(log_poles, residues, 50_000).double(), expected, atol=1e-5)
