"""HyenaDNA (Nguyen et al. 2023, arXiv:2306.15794), for inference, from the official weights.

    h = embed(codes)
    h += mixer(LN1 h);  h += fc2 gelu(fc1 LN2 h)                           for each block
    mixer(x) = out_proj(y * x0),  y = conv(u, k) + bias * u,  u = v * x1
               (x0, x1, v) = short_filter(in_proj x)
    k = MLP(z) * (exp(-t |deltas|) + 0.05)

The positions z and t of the filter's MLP are normalised by the model's own
longest window and stored with the weights: they are loaded, never recomputed.
Weights are frozen, so the filter k is computed once, when a model is loaded.
Parameter names are those of the `-hf` checkpoints without ``hyena.backbone.``.

All but the long convolution is computed for some bases at a time, which on a CPU stay
in its cache, by one of its threads (`workers.spread`). The long convolution goes through
the FFT, which leaks numerically: activations of the same bases in windows of different
length or right context agree to a relative 1e-6, not bitwise.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor, nn

from annotations.errors import WeightsError
from workers.language_models.protocol import Splice, check_window
from workers.spread import spread

BASE_TOKENS = slice(7, 11)
"""Rows of the vocabulary that are A, C, G, T; N is 11, so a base code c is token c + 7."""

_PREFIX = "hyena.backbone."
_MODULATION_SHIFT = 0.05
_ROWS = {"cpu": 512, "cuda": 2**18}
"""Bases computed at once, by type of device."""
_CONVOLVED = {"cpu": 2**19, "cuda": 2**27}
"""Numbers in the FFTs computed at once."""


@dataclass(frozen=True)
class HyenaDnaConfig:
    """Sizes of a HyenaDNA, by the names of the official configuration."""

    d_model: int
    """Channels of the residual stream."""
    n_layer: int
    """Blocks."""
    d_inner: int
    """Channels inside a block's MLP."""
    max_seq_len: int
    """Most tokens in a window."""
    vocab_size: int = 12
    """Tokens."""
    pad_vocab_size_multiple: int = 8
    """The embedding's rows are padded to a multiple of this."""
    filter_order: int = 64
    """Channels inside the filter's MLP."""
    emb_dim: int = 5
    """Features of a position that the filter's MLP reads."""
    num_inner_mlps: int = 2
    """Hidden layers of the filter's MLP after its first."""
    short_filter_order: int = 3
    """Taps of the short filter."""
    layer_norm_epsilon: float = 1e-5
    """Added to the variance in every LayerNorm."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot make a model."""
        sizes = (self.d_model, self.n_layer, self.d_inner, self.max_seq_len, self.filter_order)
        if min(*sizes, self.emb_dim, self.short_filter_order, self.vocab_size) < 1:
            raise ValueError(f"every size of a HyenaDNA must be at least 1, got {self}")


class _Tile(NamedTuple):
    """Bases computed at once."""

    windows: slice
    bases: slice


def _tiles(h: Tensor) -> list[_Tile]:
    """Tiles of a residual stream [batch, length, width]: few bases of one window, or windows."""
    batch, length = h.shape[:2]
    bases = min(length, _ROWS[h.device.type])
    windows = max(1, _ROWS[h.device.type] // length)
    return [
        _Tile(slice(first, first + windows), slice(start, min(length, start + bases)))
        for first in range(0, batch, windows)
        for start in range(0, length, bases)
    ]


class _Mixer(nn.Module):
    """Gated long convolution; the filter is a buffer, what it adds of the base itself included."""

    kernel: Tensor

    def __init__(self, config: HyenaDnaConfig) -> None:
        super().__init__()
        width, self.taps = config.d_model, config.short_filter_order
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        self.short_filter = nn.Conv1d(3 * width, 3 * width, self.taps, groups=3 * width)
        self.register_buffer("kernel", torch.empty(config.max_seq_len, width))
        self._spectrum: tuple[int, Tensor] | None = None

    def forward(self, h: Tensor, norm: nn.Module) -> Tensor:
        """What `out_proj` reads, y * x0, as [batch, width, length]."""
        gate = h.new_empty(len(h), h.shape[2], h.shape[1])
        u = torch.empty_like(gate)

        def project(tile: _Tile) -> None:
            place = (tile.windows, slice(None), tile.bases)
            self._project(h, norm, tile, u[place], gate[place])

        deque(spread(project, _tiles(h), h.device), 0)
        self._convolve(u, gate)
        return u

    def _project(self, h: Tensor, norm: nn.Module, tile: _Tile, u: Tensor, gate: Tensor) -> None:
        """Write v * x1 and x0 of some bases; the short filter reads a few bases before them."""
        short, bias, shift = (
            self.short_filter.weight[:, 0],
            self.in_proj.bias,
            self.short_filter.bias,
        )
        if shift is None:
            raise WeightsError("the short filter of a HyenaDNA has a bias, these weights have none")
        first = max(0, tile.bases.start - self.taps + 1)
        missing = self.taps - 1 - (tile.bases.start - first)
        read = norm(h[tile.windows, first : tile.bases.stop]).transpose(1, 2)
        # Channels before bases, so that nothing is transposed: the products read either way.
        x = torch.bmm(self.in_proj.weight.expand(len(read), -1, -1), read)
        # Before the first base the filter reads 0, the bias included that is added below.
        if missing:
            x = torch.cat([-bias[:, None].expand(len(x), -1, missing), x], -1)
        constant = torch.addcmul(shift, bias, short.sum(1))
        parts = [
            self._filter(*part)
            for part in zip(
                x.chunk(3, 1), short.chunk(3), constant.chunk(3), (gate, None, None), strict=True
            )
        ]
        torch.mul(parts[1], parts[2], out=u)

    def _filter(self, x: Tensor, short: Tensor, constant: Tensor, out: Tensor | None) -> Tensor:
        """The short filter of some channels, [batch, channels, length]."""
        # Shifted sums, not F.conv1d: no 2^31 limit on its size, and never TF32.
        count = x.shape[-1] - self.taps + 1
        y = torch.mul(x[..., :count], short[:, :1], out=out)
        for tap in range(1, self.taps):
            y.addcmul_(x[..., tap : tap + count], short[:, tap, None])
        return y.add_(constant[:, None])

    def _convolve(self, u: Tensor, gate: Tensor) -> None:
        """Convolve [batch, width, length] with the long filter and gate it, in place."""
        length = u.shape[-1]
        # At least twice the length: a circular convolution that does not wrap round.
        size = 2 * int(next_fast_len(length, real=True))
        spectra = self._kernel_spectrum(length, size)
        step = max(1, _CONVOLVED[u.device.type] // (len(u) * size))

        def convolve(first: int) -> None:
            channels = slice(first, first + step)
            product = torch.fft.rfft(u[:, channels], n=size)
            product *= spectra[channels]
            y = torch.fft.irfft(product, n=size)[..., :length]
            torch.mul(y, gate[:, channels], out=u[:, channels])

        deque(spread(convolve, range(0, u.shape[1], step), u.device), 0)

    def _kernel_spectrum(self, length: int, size: int) -> Tensor:
        """Spectrum of the first `length` taps; windows have few lengths, so the last is kept."""
        held = self._spectrum
        if held is None or held[0] != length or held[1].device != self.kernel.device:
            held = (length, torch.fft.rfft(self.kernel[:length].T.contiguous(), n=size))
            self._spectrum = held
        return held[1]


class _Mlp(nn.Module):
    def __init__(self, config: HyenaDnaConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.d_model, config.d_inner)
        self.fc2 = nn.Linear(config.d_inner, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.fc2(_gelu(self.fc1(x))))


def _gelu(x: Tensor) -> Tensor:
    """GELU by its tanh form, which is a sigmoid: on a CPU a third of the time of `F.gelu`.

    0.5 x (1 + tanh u) = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    """
    if x.device.type != "cpu":
        return F.gelu(x, approximate="tanh")
    scale = math.sqrt(8 / math.pi)
    return (x * x).mul_(0.044715 * scale).add_(scale).mul_(x).sigmoid_().mul_(x)


class _Block(nn.Module):
    def __init__(self, config: HyenaDnaConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.mixer = _Mixer(config)
        self.norm2 = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.mlp = _Mlp(config)

    def forward(self, h: Tensor) -> Tensor:
        """The residual stream after this block, in the place of that before it."""
        mixed = self.mixer(h, self.norm1)
        out = self.mixer.out_proj

        def finish(tile: _Tile) -> None:
            part = h[tile.windows, tile.bases]
            read = mixed[tile.windows, :, tile.bases].transpose(1, 2)
            part.baddbmm_(read, out.weight.T.expand(len(read), -1, -1)).add_(out.bias)
            part += self.mlp(self.norm2(part))

        deque(spread(finish, _tiles(h), h.device), 0)
        return h


class HyenaDna(nn.Module):
    """A frozen HyenaDNA; make one with `load_hyenadna`."""

    def __init__(self, config: HyenaDnaConfig) -> None:
        super().__init__()
        multiple = config.pad_vocab_size_multiple
        rows = -(-config.vocab_size // multiple) * multiple
        self.config = config
        self.embeddings = nn.ModuleDict({"word_embeddings": nn.Embedding(rows, config.d_model)})
        self.layers = nn.ModuleList(_Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.lm_head = nn.Linear(config.d_model, rows, bias=False)

    @property
    def width(self) -> int:
        """Channels of the residual stream."""
        return self.config.d_model

    @property
    def n_blocks(self) -> int:
        """Blocks of the model."""
        return self.config.n_layer

    @property
    def max_length(self) -> int:
        """Most bases in a window."""
        return self.config.max_seq_len

    @torch.inference_mode()
    def activations(self, codes: Tensor, layer: int) -> Tensor:
        """Residual stream after `layer` blocks; see `protocol.LanguageModel.activations`."""
        check_window(codes, layer=layer, n_blocks=self.n_blocks, max_length=self.max_length)
        h = self.embeddings["word_embeddings"](codes.long() + BASE_TOKENS.start)
        return self.advance(h, 0, layer)

    def advance(self, h: Tensor, start: int, stop: int) -> Tensor:
        """Run blocks ``start .. stop - 1`` on a residual stream [batch, length, width]."""
        h = h.clone() if start < stop else h
        for block in self.layers[start:stop]:
            h = block(h)
        return h

    def logits(self, h: Tensor) -> Tensor:
        """Logits of the next token from the residual stream after the last block.

        Parameters
        ----------
        h : float32 tensor, shape [batch, length, width]

        Returns
        -------
        logits : float32 tensor, shape [batch, length, rows of the vocabulary]
            Row i is of base i + 1.
        """
        return torch.as_tensor(self.lm_head(self.ln_f(h)))

    @torch.inference_mode()
    def log_probabilities(self, codes: Tensor) -> Tensor:
        """Log probabilities of A, C, G, T given the bases before; [batch, length, 4].

        Conditional on the token being one of the four. Row 0 is NaN: with nothing
        before it the model says nothing of it.
        """
        return self.spliced_log_probabilities(codes, self.n_blocks, lambda h: h)

    @property
    def two_sided(self) -> bool:
        """A base is expected from those before it alone."""
        return False

    @torch.inference_mode()
    def spliced_log_probabilities(self, codes: Tensor, layer: int, splice: Splice) -> Tensor:
        """See `protocol.SplicedLanguageModel`; row 0 is NaN."""
        h = splice(self.activations(codes, layer))
        bases = self.logits(self.advance(h, layer, self.n_blocks))[..., BASE_TOKENS]
        known = F.log_softmax(bases, -1)[:, :-1]
        return F.pad(known, (0, 0, 1, 0), value=float("nan"))


def load_hyenadna(state: Mapping[str, Tensor], config: HyenaDnaConfig) -> HyenaDna:
    """Make a model from an official `-hf` state dict.

    Parameters
    ----------
    state : mapping of str to tensor
        Under the official key names. Files made by transformers hold one copy of
        the frequencies that a filter's sines share, and no `lm_head.weight` where
        that is tied to the embedding; both are understood.
    config : HyenaDnaConfig
        Sizes, which the tensors must have.

    Returns
    -------
    model : HyenaDna
        In float32 and evaluation mode, on the device of the weights.

    Raises
    ------
    WeightsError
        If a tensor is missing, unknown or of another shape.
    """
    given = {key: value.float() for key, value in state.items()}
    ours = {key.removeprefix(_PREFIX): value for key, value in given.items()}
    ours.setdefault("lm_head.weight", _take(ours, "embeddings.word_embeddings.weight", keep=True))
    for i in range(config.n_layer):
        mixer = f"layers.{i}.mixer."
        kernel = long_filter(ours, f"{mixer}filter_fn.", config)
        # bias * u is one more tap on the base itself
        kernel[0] += _take(ours, f"{mixer}filter_fn.bias")
        ours[f"{mixer}kernel"] = kernel
    with torch.device("meta"):
        model = HyenaDna(config)
    try:
        model.load_state_dict(ours, assign=True)
    except RuntimeError as error:
        raise WeightsError(
            f"the weights are not those of a HyenaDNA of {config}; use the safetensors file of a "
            f"-hf repository with its own sizes. torch says: {error}"
        ) from error
    return model.requires_grad_(False).eval()


def long_filter(state: dict[str, Tensor], prefix: str, config: HyenaDnaConfig) -> Tensor:
    """The long convolution's filter, computed from its implicit form.

    Parameters
    ----------
    state : dict of str to tensor
        Tensors of the filter under `prefix`; what is used is taken out.
    prefix : str
        Ends in ``filter_fn.``.
    config : HyenaDnaConfig
        Sizes.

    Returns
    -------
    kernel : float32 tensor, shape [max_seq_len, d_model]
        Tap 0 is the base itself.

    Raises
    ------
    WeightsError
        If a tensor is missing or the stored positions are not `max_seq_len` many.
    """
    z = _take(state, f"{prefix}pos_emb.z")[0]
    t = _take(state, f"{prefix}pos_emb.t")[0]
    deltas = _take(state, f"{prefix}modulation.deltas")[0]
    if len(z) != config.max_seq_len or len(t) != config.max_seq_len:
        raise WeightsError(
            f"the weights hold {len(z)} filter positions, but max_seq_len is {config.max_seq_len}; "
            "both must be those of one model"
        )
    mlp = f"{prefix}implicit_filter."
    shared = _take(state, f"{mlp}1.freq")
    hidden = z
    for layer in range(config.num_inner_mlps + 1):
        weight, bias = (_take(state, f"{mlp}{2 * layer}.{part}") for part in ("weight", "bias"))
        frequency = state.pop(f"{mlp}{2 * layer + 1}.freq", shared)
        hidden = torch.sin(frequency * F.linear(hidden, weight, bias))
    last = _take(state, f"{mlp}{2 * config.num_inner_mlps + 2}.weight")
    return F.linear(hidden, last) * (torch.exp(-t * deltas.abs()) + _MODULATION_SHIFT)


def _take(state: dict[str, Tensor], key: str, *, keep: bool = False) -> Tensor:
    if key not in state:
        raise WeightsError(
            f"the weights lack {key!r}; use the safetensors file of a -hf repository of HyenaDNA"
        )
    return state[key] if keep else state.pop(key)
