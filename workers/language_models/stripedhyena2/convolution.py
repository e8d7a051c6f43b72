"""Causal convolutions of StripedHyena 2, on plain tensors, computed in float32.

    fir                few taps, as shifted sums; tap K - 1 is the base itself
    medium_convolution some hundred taps, by FFTs of a fixed size; tap 0 is the base itself
    long_convolution   as many taps as bases, by one FFT; tap 0 is the base itself

FFTs leak: a base's result depends on what follows it by a relative 1e-7 or so.
"""

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

BLOCK = 1024
"""Size of the FFTs of a medium convolution, unless the window is shorter."""


def fir(x: Tensor, taps: Tensor) -> Tensor:
    """Cross-correlate each channel with its own few taps.

    Shifted sums, not F.conv1d: that is limited to 2^31 values and may use TF32.

    Parameters
    ----------
    x : float tensor, shape [batch, length, channels]
    taps : float tensor, shape [channels, K]
        ``y[t] = sum_k taps[k] x[t - (K - 1) + k]``: the last tap is the base itself.

    Returns
    -------
    y : float32 tensor, shape [batch, length, channels]
    """
    length, count = x.shape[1], taps.shape[1]
    x, taps = x.float(), taps.float()
    out = x * taps[:, -1]
    for back in range(1, min(count, length)):
        out[:, back:].addcmul_(x[:, : length - back], taps[:, count - 1 - back])
    return out


def medium_convolution(u: Tensor, taps: Tensor, *, block: int = BLOCK) -> Tensor:
    """Convolve each channel with its own taps, by FFTs of a fixed size (overlap-save).

    Memory and time are proportional to the length of the window, and a base's
    result depends on the bases of its own block and the taps before it alone.

    Parameters
    ----------
    u : float32 tensor, shape [batch, channels, length]
    taps : float32 tensor, shape [channels, K]
        ``y[t] = sum_k taps[k] u[t - k]``.
    block : int
        Size of an FFT, at least K.

    Returns
    -------
    y : float32 tensor, shape [batch, channels, length]
    """
    length, overlap = u.shape[-1], taps.shape[1] - 1
    size = min(block, _fast_length(length + overlap))
    step = size - overlap
    blocks = -(-length // step)
    padded = F.pad(u, (overlap, blocks * step - length))
    spectrum = torch.fft.rfft(padded.unfold(-1, size, step))
    spectrum *= torch.fft.rfft(taps, n=size)[:, None]
    result: Tensor = torch.fft.irfft(spectrum, n=size)
    return result[..., overlap:].flatten(-2)[..., :length]


def modal_filter(log_poles: Tensor, residues: Tensor, length: int) -> Tensor:
    """Taps of a long filter that is a sum of real exponentials.

    Parameters
    ----------
    log_poles, residues : float32 tensor, shape [channels, states]
        ``h[t] = sum_s residues[s] exp(log_poles[s] t)``.
    length : int
        Taps wanted.

    Returns
    -------
    taps : float32 tensor, shape [channels, length]
    """
    time = torch.arange(length, dtype=torch.float32, device=log_poles.device)
    taps = torch.zeros(len(log_poles), length, dtype=torch.float32, device=log_poles.device)
    # One exponential at a time: all at once would take `states` times the memory.
    for log_pole, residue in zip(log_poles.unbind(1), residues.unbind(1), strict=True):
        taps += torch.exp(log_pole[:, None] * time).mul_(residue[:, None])
    return taps


def long_spectrum(taps: Tensor) -> Tensor:
    """Spectrum of a filter as long as the window, for `long_convolution`.

    Parameters
    ----------
    taps : float32 tensor, shape [channels, length]

    Returns
    -------
    spectrum : complex64 tensor, shape [channels, `spectrum_size` of the length]
    """
    spectrum: Tensor = torch.fft.rfft(taps, n=_fast_length(2 * taps.shape[-1] - 1))
    return spectrum


def spectrum_size(length: int) -> int:
    """Complex numbers a channel in the spectrum of a filter of `length` taps."""
    return _fast_length(2 * length - 1) // 2 + 1


def long_convolution(u: Tensor, spectrum: Tensor) -> Tensor:
    """Convolve each channel with a filter as long as the window.

    Parameters
    ----------
    u : float32 tensor, shape [batch, channels, length]
    spectrum : complex64 tensor, shape [channels, `spectrum_size` of the length]
        As `long_spectrum` made it of as many taps.

    Returns
    -------
    y : float32 tensor, shape [batch, channels, length]
    """
    length = u.shape[-1]
    size = _fast_length(2 * length - 1)
    product = torch.fft.rfft(u, n=size)
    product *= spectrum
    result: Tensor = torch.fft.irfft(product, n=size)
    return result[..., :length]


def _fast_length(least: int) -> int:
    """Smallest even size from `least` on whose prime factors are all small."""
    return 2 * int(next_fast_len((least + 1) // 2, real=True))
