"""HyenaDNA as it was published, and a dictionary whose features are all kept: what to beat.

A straightforward port of the equations of the published forward (Nguyen et al. 2023,
arXiv:2306.15794), in its order and its layout: every call computes each block's implicit
filter over the whole window, transforms it, and convolves all channels at once.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from workers.language_models.hyenadna import HyenaDnaConfig
from workers.sae import SparseCoder

PREFIX = "hyena.backbone."


def random_state(config: HyenaDnaConfig, seed: int = 0) -> dict[str, Tensor]:
    """Weights that were never trained, in the layout of the `-hf` checkpoints."""
    draw = torch.Generator().manual_seed(seed)
    width, inner, order = config.d_model, config.d_inner, config.filter_order
    rows = -(-config.vocab_size // config.pad_vocab_size_multiple) * config.pad_vocab_size_multiple

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw) * shape[-1] ** -0.5

    state = {f"{PREFIX}embeddings.word_embeddings.weight": torch.randn(rows, width, generator=draw)}
    t = torch.linspace(0, 1, config.max_seq_len)[None, :, None]
    bands = (config.emb_dim - 1) // 2
    angle = 2 * math.pi * t[0] * config.max_seq_len * torch.linspace(1e-4, bands - 1, bands)
    angle = angle / config.max_seq_len
    z = torch.cat([t[0], angle.cos(), -angle.sin()], -1)[None]
    for i in range(config.n_layer):
        block = f"{PREFIX}layers.{i}."
        for norm in ("norm1", "norm2"):
            state[f"{block}{norm}.weight"] = torch.ones(width)
            state[f"{block}{norm}.bias"] = torch.zeros(width)
        for name, out, into in (
            ("mixer.in_proj", 3 * width, width),
            ("mixer.out_proj", width, width),
            ("mlp.fc1", inner, width),
            ("mlp.fc2", width, inner),
        ):
            state[f"{block}{name}.weight"] = noise(out, into)
            state[f"{block}{name}.bias"] = torch.zeros(out)
        state[f"{block}mixer.short_filter.weight"] = noise(3 * width, 1, config.short_filter_order)
        state[f"{block}mixer.short_filter.bias"] = torch.zeros(3 * width)
        own = f"{block}mixer.filter_fn."
        state[f"{own}bias"] = torch.randn(width, generator=draw)
        state[f"{own}pos_emb.z"], state[f"{own}pos_emb.t"] = z, t
        deltas = torch.linspace(math.log(1e-2) / 1.5, math.log(1e-2) / 0.3, width)
        state[f"{own}modulation.deltas"] = deltas[None, None]
        sizes = [config.emb_dim, *[order] * (config.num_inner_mlps + 1)]
        for layer in range(config.num_inner_mlps + 1):
            state[f"{own}implicit_filter.{2 * layer}.weight"] = noise(order, sizes[layer])
            state[f"{own}implicit_filter.{2 * layer}.bias"] = torch.zeros(order)
        state[f"{own}implicit_filter.1.freq"] = torch.full((1, order), 10.0)
        last = 2 * config.num_inner_mlps + 2
        state[f"{own}implicit_filter.{last}.weight"] = noise(width, order) / 10
    state[f"{PREFIX}ln_f.weight"], state[f"{PREFIX}ln_f.bias"] = (
        torch.ones(width),
        torch.zeros(width),
    )
    return state


@torch.inference_mode()
def residual(
    state: Mapping[str, Tensor], config: HyenaDnaConfig, codes: Tensor, layers: int
) -> Tensor:
    """Residual stream after `layers` blocks, float32 [batch, length, width]."""
    x = F.embedding(codes.long() + 7, state[f"{PREFIX}embeddings.word_embeddings.weight"])
    for i in range(layers):
        block = f"{PREFIX}layers.{i}."
        weights = {k.removeprefix(block): v for k, v in state.items() if k.startswith(block)}
        x = x + _mixer(weights, config, _norm(weights, config, "norm1", x))
        y = _map(weights, "mlp.fc1", _norm(weights, config, "norm2", x))
        x = x + _map(weights, "mlp.fc2", F.gelu(y, approximate="tanh"))
    return x


@torch.inference_mode()
def dense_features(coder: SparseCoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """Places and values of active features, by way of all features of all bases."""
    pre = x.flatten(0, 1).float() @ coder.W_enc + coder.b_enc
    f = torch.where(pre > coder.threshold, pre, torch.zeros_like(pre))
    place = f.nonzero()
    return place.cpu(), f[place[:, 0], place[:, 1]].cpu()


def _mixer(weights: Mapping[str, Tensor], config: HyenaDnaConfig, u: Tensor) -> Tensor:
    length, width = u.shape[1], config.d_model
    u = _map(weights, "mixer.in_proj", u).transpose(1, 2)
    short, bias = weights["mixer.short_filter.weight"], weights["mixer.short_filter.bias"]
    taps = config.short_filter_order
    u = F.conv1d(u, short, bias, padding=taps - 1, groups=3 * width)[..., :length]
    x0, x1, v = u.split(width, dim=1)
    v = v * x1
    k = _filter(weights, config, length)
    spectrum = torch.fft.rfft(k, n=2 * length) / (2 * length)
    y = torch.fft.irfft(torch.fft.rfft(v, n=2 * length) * spectrum, n=2 * length, norm="forward")[
        ..., :length
    ]
    y = (y + v * weights["mixer.filter_fn.bias"][:, None]) * x0
    return _map(weights, "mixer.out_proj", y.transpose(1, 2))


def _filter(weights: Mapping[str, Tensor], config: HyenaDnaConfig, length: int) -> Tensor:
    """The implicit filter, [width, length]."""
    own = "mixer.filter_fn."
    h = weights[f"{own}pos_emb.z"][:, :length]
    for layer in range(config.num_inner_mlps + 1):
        h = _map(weights, f"{own}implicit_filter.{2 * layer}", h)
        h = torch.sin(weights[f"{own}implicit_filter.1.freq"] * h)
    h = h @ weights[f"{own}implicit_filter.{2 * config.num_inner_mlps + 2}.weight"].T
    decay = torch.exp(
        -weights[f"{own}pos_emb.t"][:, :length] * weights[f"{own}modulation.deltas"].abs()
    )
    return (h * (decay + 0.05))[0].T


def _map(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _norm(weights: Mapping[str, Tensor], config: HyenaDnaConfig, name: str, x: Tensor) -> Tensor:
    scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return F.layer_norm(x, (config.d_model,), scale, shift, config.layer_norm_epsilon)
