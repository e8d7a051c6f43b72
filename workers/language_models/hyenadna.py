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

All but the long convolution is computed for some bases at a time, which on a CPU
stay in its cache. The long convolution goes through the FFT, which leaks numerically: activations
of the same bases in windows of different length or right context agree to a
relative 1e-6, not bitwise.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor, nn

from annotations.errors import WeightsError
from workers.language_models.protocol import Splice, check_window

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


def _spans(h: Tensor) -> Iterator[slice]:
    """Bases to compute at once in all windows of a batch."""
    step = max(16, _ROWS[h.device.type] // len(h))
    return (slice(first, first + step) for first in range(0, h.shape[1], step))


class _Mixer(nn.Module):
    """Gated long convolution; the filter is a buffer."""

    kernel: Tensor
    bias: Tensor

    def __init__(self, config: HyenaDnaConfig) -> None:
        super().__init__()
        width, self.taps = config.d_model, config.short_filter_order
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        self.short_filter = nn.Conv1d(3 * width, 3 * width, self.taps, groups=3 * width)
        self.register_buffer("kernel", torch.empty(config.max_seq_len, width))
        self.register_buffer("bias", torch.empty(width))
        self._spectrum: tuple[int, Tensor] | None = None

    def forward(self, h: Tensor, norm: nn.Module) -> Tensor:
        """The residual stream and what is added to it, [batch, length, width]."""
        gate, out = torch.empty_like(h), torch.empty_like(h)
        u = h.new_empty(len(h), h.shape[2], h.shape[1])
        for span in _spans(h):
            x0, x1, v = self._project(h, norm, span).chunk(3, -1)
            gate[:, span] = x0
            u[..., span] = (v * x1).transpose(1, 2)
        self._convolve(u)
        for span in _spans(h):
            gated = u[..., span].transpose(1, 2) * gate[:, span]
            torch.add(h[:, span], self.out_proj(gated), out=out[:, span])
        return out

    def _project(self, h: Tensor, norm: nn.Module, span: slice) -> Tensor:
        """x0, x1 and v of some bases; the short filter reads a few bases before them."""
        # Shifted sums, not F.conv1d: no 2^31 limit on its size, and never TF32.
        weight, bias = self.short_filter.weight[:, 0], self.short_filter.bias
        if bias is None:
            raise WeightsError("the short filter of a HyenaDNA has a bias, these weights have none")
        first = max(0, span.start - self.taps + 1)
        x = self.in_proj(norm(h[:, first : span.stop]))
        x = F.pad(x, (0, 0, self.taps - 1 - (span.start - first), 0))
        count = x.shape[1] - self.taps + 1
        out = torch.addcmul(bias, x[:, :count], weight[:, 0])
        for tap in range(1, self.taps):
            out.addcmul_(x[:, tap : tap + count], weight[:, tap])
        return out

    def _convolve(self, u: Tensor) -> None:
        """Convolve [batch, width, length] with the long filter, in place, some channels at once."""
        length = u.shape[-1]
        # At least twice the length: a circular convolution that does not wrap round.
        size = 2 * int(next_fast_len(length, real=True))
        spectra = self._kernel_spectrum(length, size)
        step = max(1, _CONVOLVED[u.device.type] // (len(u) * size))
        for first in range(0, u.shape[1], step):
            channels = slice(first, first + step)
            part = u[:, channels]
            product = torch.fft.rfft(part, n=size)
            product *= spectra[channels]
            y = torch.fft.irfft(product, n=size)[..., :length]
            torch.addcmul(y, part, self.bias[channels, None], out=part)

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
        return torch.as_tensor(self.fc2(F.gelu(self.fc1(x), approximate="tanh")))


class _Block(nn.Module):
    def __init__(self, config: HyenaDnaConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.mixer = _Mixer(config)
        self.norm2 = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.mlp = _Mlp(config)

    def forward(self, h: Tensor) -> Tensor:
        h = torch.as_tensor(self.mixer(h, self.norm1))
        for span in _spans(h):
            h[:, span] += self.mlp(self.norm2(h[:, span]))
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
        ours[f"{mixer}kernel"] = kernel
        ours[f"{mixer}bias"] = _take(ours, f"{mixer}filter_fn.bias")
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
