"""The blocks of a StripedHyena 2, with the names and shapes of the official checkpoints.

    x += dense(x2 * conv(x1 * v)),  (x2, x1, v) = fir(projections norm(x))    convolution
    x += out_proj attention(rotary(Wqkv norm(x)))                             attention
    x += l3(act(l1 y) * l2 y),  y = norm(x)                                   every block

act is gelu in block 0 and nothing in all others. Two layouts differ from the
checkpoints': rows of `projections` and `short_filter_weight` are all of x2, then
all of x1, then all of v (there they take turns); `weights.py` sorts them once.

Under bfloat16 the roundings are those of the reference (Vortex): convolutions are
computed in float32 from rounded inputs and weights, and their result is rounded;
the dense map after a convolution is rounded before its bias is added, that after
attention is not.

Channels of a convolution do not mix, so a block takes as many at once as its
working memory allows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.language_models.stripedhyena2.configurations import StripedHyena2Config
from workers.language_models.stripedhyena2.convolution import (
    fir,
    long_convolution,
    long_spectrum,
    medium_convolution,
    modal_filter,
    spectrum_size,
)

_CONVOLUTION_BYTES = 48
"""Working memory of a convolution for a channel of a base, at most."""


@dataclass(frozen=True)
class MemoryLimits:
    """Memory that a model may use beside its weights and the residual stream, in bytes."""

    workspace: int
    """For what a block computes at once; a block takes more passes where it is small."""
    spectra: int
    """For spectra of long filters, kept from one window to the next of the same length."""


class Linear(nn.Module):
    """A linear map without a drawn start: its weights are always loaded."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = _frozen(outputs, inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map the last axis; float [..., inputs] to [..., outputs]."""
        return F.linear(x, self.weight)


class Affine(Linear):
    """A linear map and a bias, rounded once."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.bias = _frozen(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """See `Linear.forward`."""
        return F.linear(x, self.weight, self.bias)


class TwiceRoundedAffine(Affine):
    """A linear map, rounded, and then a bias."""

    def forward(self, x: Tensor) -> Tensor:
        """See `Linear.forward`."""
        return torch.as_tensor(F.linear(x, self.weight) + self.bias)


class RmsNorm(nn.Module):
    """Division by the root mean square, and a scale for each channel."""

    def __init__(self, config: StripedHyena2Config) -> None:
        super().__init__()
        self.eps = config.eps
        self.scale = _frozen(config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Norm over the last axis; eps is added to the root, not under it."""
        root = x.norm(2, dim=-1, keepdim=True) * x.shape[-1] ** -0.5
        return torch.as_tensor(self.scale * (x / (root + self.eps)))


class Mlp(nn.Module):
    """The gated MLP of a block; computed for some rows at a time."""

    def __init__(self, config: StripedHyena2Config, index: int, limits: MemoryLimits) -> None:
        super().__init__()
        self.gelu = index == 0
        self.workspace = limits.workspace
        self.l1 = Linear(config.hidden_size, config.inner_mlp_size)
        self.l2 = Linear(config.hidden_size, config.inner_mlp_size)
        self.l3 = Linear(config.inner_mlp_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map each base on its own; float [batch, length, channels] in and out."""
        row_bytes = 3 * self.l1.weight.shape[0] * x.element_size()
        step = max(1, self.workspace // row_bytes)
        rows = x.flatten(0, 1)
        out = torch.empty_like(rows)
        for first in range(0, len(rows), step):
            out[first : first + step] = self._map(rows[first : first + step])
        return out.view_as(x)

    def _map(self, x: Tensor) -> Tensor:
        gate = self.l1(x)
        if self.gelu:
            gate = F.gelu(gate)
        return torch.as_tensor(self.l3(gate * self.l2(x)))


class HyenaFilter(nn.Module):
    """The filters of a convolution block; `convolve` is the kind of block."""

    def __init__(self, config: StripedHyena2Config) -> None:
        super().__init__()
        self.short_filter_weight = _frozen(3 * config.hidden_size, 1, config.short_filter_length)

    def convolve(self, u: Tensor, channels: slice) -> Tensor:
        """Convolve some channels of the block; float [batch, length, channels] in and out."""
        raise NotImplementedError


class ShortFilter(HyenaFilter):
    """hcs: few taps, correlated, and no direct path."""

    def __init__(self, config: StripedHyena2Config) -> None:
        super().__init__(config)
        self.sharing = config.hidden_size // config.hcs_filter_groups
        self.h = _frozen(config.hcs_filter_groups, 1, config.hcs_filter_length)

    def convolve(self, u: Tensor, channels: slice) -> Tensor:
        """See `HyenaFilter.convolve`."""
        taps = self.h[:, 0].repeat_interleave(self.sharing, 0)[channels]
        return fir(u, taps).to(u.dtype)


class MediumFilter(HyenaFilter):
    """hcm: stored taps; the direct path is added before rounding."""

    def __init__(self, config: StripedHyena2Config) -> None:
        super().__init__(config)
        self.sharing = config.hidden_size // config.hcm_filter_groups
        self.h = _frozen(config.hcm_filter_groups, 1, config.hcm_filter_length)
        self.D = _frozen(config.hidden_size)

    def convolve(self, u: Tensor, channels: slice) -> Tensor:
        """See `HyenaFilter.convolve`."""
        taps = self.h[:, 0].float().repeat_interleave(self.sharing, 0)[channels]
        y = medium_convolution(u.transpose(1, 2).float(), taps).transpose(1, 2)
        return (y + u * self.D[channels].float()).to(u.dtype)


class LongFilter(HyenaFilter):
    """hcl: taps that are a sum of exponentials; the direct path is added after rounding."""

    def __init__(self, config: StripedHyena2Config, limits: MemoryLimits) -> None:
        super().__init__(config)
        self.log_poles = _frozen(config.hidden_size, config.state_size, 1)
        self.residues = _frozen(config.hidden_size, config.state_size)
        self.D = _frozen(config.hidden_size)
        self.spectra_bytes = limits.spectra // len(config.hcl_layer_idxs)
        self._held: dict[tuple[int, int, int], Tensor] = {}

    def convolve(self, u: Tensor, channels: slice) -> Tensor:
        """See `HyenaFilter.convolve`."""
        spectrum = self._spectrum(channels, u.shape[1])
        y = long_convolution(u.transpose(1, 2).float(), spectrum).transpose(1, 2)
        return y.to(u.dtype) + u * self.D[channels]

    def _spectrum(self, channels: slice, length: int) -> Tensor:
        """Spectrum of some filters, kept where those of all filters fit in memory."""
        key = (length, channels.start, channels.stop)
        if key in self._held:
            return self._held[key]
        spectrum = long_spectrum(
            modal_filter(self.log_poles[channels, :, 0], self.residues[channels], length)
        )
        if not all(_disjoint(key, other) for other in self._held):
            # Windows of another length, or cut otherwise: what is held serves no more.
            self._held.clear()
        if 8 * len(self.D) * spectrum_size(length) <= self.spectra_bytes:
            self._held[key] = spectrum
        return spectrum


class ConvolutionBlock(nn.Module):
    """A block with a gated convolution; `filter` says of which kind."""

    def __init__(self, config: StripedHyena2Config, index: int, limits: MemoryLimits) -> None:
        super().__init__()
        self.workspace = limits.workspace
        self.pre_norm = RmsNorm(config)
        self.post_norm = RmsNorm(config)
        self.projections = Linear(config.hidden_size, 3 * config.hidden_size)
        self.filter = _make_filter(config, index, limits)
        self.out_filter_dense = TwiceRoundedAffine(config.hidden_size, config.hidden_size)
        self.mlp = Mlp(config, index, limits)

    def forward(self, x: Tensor) -> Tensor:
        """Residual stream after this block; float [batch, length, channels] in and out."""
        x = x + self.out_filter_dense(self._mix(self.pre_norm(x)))
        return torch.as_tensor(x + self.mlp(self.post_norm(x)))

    def _mix(self, x: Tensor) -> Tensor:
        # Rows of each of the three projections, and the taps that follow them.
        weights = self.projections.weight.chunk(3)
        taps = self.filter.short_filter_weight[:, 0].chunk(3)
        mixed = torch.empty_like(x)
        for channels in self._parts(x):
            x2, x1, v = (
                fir(F.linear(x, weight[channels]), tap[channels]).to(x.dtype)
                for weight, tap in zip(weights, taps, strict=True)
            )
            mixed[..., channels] = x2 * self.filter.convolve(x1 * v, channels)
        return mixed

    def _parts(self, x: Tensor) -> Iterator[slice]:
        """Channels to convolve at once: equal parts, in multiples of 16 where there is room."""
        batch, length, width = x.shape
        room = max(1, self.workspace // (_CONVOLUTION_BYTES * batch * length))
        unit = 16 if room >= 16 else 1
        parts = -(-width // (room // unit * unit))
        step = -(-width // (parts * unit)) * unit
        return (slice(first, min(first + step, width)) for first in range(0, width, step))


class Rotary(nn.Module):
    """The frequencies by which queries and keys are rotated."""

    def __init__(self, config: StripedHyena2Config) -> None:
        super().__init__()
        self.scaling = config.rotary_emb_scaling_factor
        self.inv_freq = _frozen(config.head_size // 2)

    def forward(self, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines, float32 [length, 1, half a head], rounded to `dtype`."""
        position = torch.arange(length, dtype=torch.float32, device=self.inv_freq.device)
        angle = torch.outer(position / self.scaling, self.inv_freq)[:, None]
        return angle.cos().to(dtype).float(), angle.sin().to(dtype).float()


class Attention(nn.Module):
    """Causal attention; rows of `Wqkv` are head by head its query, key and value."""

    def __init__(self, config: StripedHyena2Config) -> None:
        super().__init__()
        self.shape = (config.num_attention_heads, 3, config.head_size)
        self.Wqkv = Linear(config.hidden_size, 3 * config.hidden_size)
        self.out_proj = Affine(config.hidden_size, config.hidden_size)
        self.rotary_emb = Rotary(config)

    def forward(self, x: Tensor) -> Tensor:
        """Mix each base with those before it; float [batch, length, channels] in and out."""
        query, key, value = self.Wqkv(x).unflatten(-1, self.shape).unbind(3)
        cos, sin = self.rotary_emb(x.shape[1], x.dtype)
        query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), is_causal=True
        )
        return torch.as_tensor(self.out_proj(mixed.transpose(1, 2).flatten(2)))


class AttentionBlock(nn.Module):
    """A block with attention."""

    def __init__(self, config: StripedHyena2Config, index: int, limits: MemoryLimits) -> None:
        super().__init__()
        self.pre_norm = RmsNorm(config)
        self.post_norm = RmsNorm(config)
        self.inner_mha_cls = Attention(config)
        self.mlp = Mlp(config, index, limits)

    def forward(self, x: Tensor) -> Tensor:
        """Residual stream after this block; float [batch, length, channels] in and out."""
        x = x + self.inner_mha_cls(self.pre_norm(x))
        return torch.as_tensor(x + self.mlp(self.post_norm(x)))


def make_block(config: StripedHyena2Config, index: int, limits: MemoryLimits) -> nn.Module:
    """Block `index` of a model, on the meta device where that is torch's default."""
    kind = AttentionBlock if config.kind(index) == "attn" else ConvolutionBlock
    return kind(config, index, limits)


def _make_filter(config: StripedHyena2Config, index: int, limits: MemoryLimits) -> HyenaFilter:
    kind = config.kind(index)
    if kind == "hcl":
        return LongFilter(config, limits)
    return ShortFilter(config) if kind == "hcs" else MediumFilter(config)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the halves of each head into each other, in float32."""
    first, second = x.float().chunk(2, -1)
    turned = torch.cat([first * cos - second * sin, first * sin + second * cos], -1)
    return turned.to(x.dtype)


def _disjoint(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    """Whether two parts are of windows of one length and share no channel."""
    return one[0] == other[0] and (one[2] <= other[1] or other[2] <= one[1])


def _frozen(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(*shape), requires_grad=False)
