"""StripedHyena 2 as a language model of DNA: bytes in, the residual stream out.

    x = embedding(bytes);  x = block(x) for each block;  logits = norm(x) embedding^T

Tokens are bytes: A, C, G, T and N are 65, 67, 71, 84 and 78. The model was never
shown a padding token, so a short window is padded on the right, where causality
hides it; on the left it would change everything.

Computed in the number format of the weights. Activations of the same bases in
windows of different length agree to about 1e-6 relative in float32 and 2e-3 in
bfloat16, never bitwise (see `convolution.py`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from annotations.errors import WeightsError
from workers.language_models.protocol import Splice, check_window
from workers.language_models.stripedhyena2.blocks import (
    Linear,
    MemoryLimits,
    RmsNorm,
    make_block,
)
from workers.language_models.stripedhyena2.configurations import StripedHyena2Config

BASE_TOKENS = (65, 67, 71, 84, 78)
"""Tokens of the base codes 0 to 4: the bytes of A, C, G, T and N."""


class StripedHyena2(nn.Module):
    """A frozen StripedHyena 2; make one with `weights.load_stripedhyena2`."""

    def __init__(self, config: StripedHyena2Config, limits: MemoryLimits) -> None:
        super().__init__()
        self.config = config
        self.embedding_layer = Linear(config.hidden_size, config.vocab_size)
        self.blocks = nn.ModuleList(
            make_block(config, index, limits) for index in range(config.num_layers)
        )
        self.norm = RmsNorm(config)
        if not config.tie_embeddings:
            self.unembed = Linear(config.hidden_size, config.vocab_size)

    @property
    def width(self) -> int:
        """Channels of the residual stream."""
        return self.config.hidden_size

    @property
    def n_blocks(self) -> int:
        """Blocks of the model."""
        return self.config.num_layers

    @property
    def max_length(self) -> int:
        """Most bases in a window."""
        return self.config.max_seqlen

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the computation."""
        return self.embedding_layer.weight.dtype

    @torch.inference_mode()
    def activations(self, codes: Tensor, layer: int) -> Tensor:
        """Residual stream after `layer` blocks; see `protocol.LanguageModel.activations`."""
        check_window(codes, layer=layer, n_blocks=self.n_blocks, max_length=self.max_length)
        return self.residual(self.tokens(codes), layer)

    @torch.inference_mode()
    def log_probabilities(self, codes: Tensor) -> Tensor:
        """Log probabilities of A, C, G, T given the bases before; float32 [batch, length, 4].

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
        h = self.advance(splice(self.activations(codes, layer)), layer, self.n_blocks)
        bases = self.logits(h, list(BASE_TOKENS[:4]))
        return F.pad(F.log_softmax(bases, -1)[:, :-1], (0, 0, 1, 0), value=float("nan"))

    def tokens(self, codes: Tensor) -> Tensor:
        """Tokens of base codes; int64, of the same shape."""
        return torch.tensor(BASE_TOKENS, device=codes.device)[codes.long()]

    def residual(self, tokens: Tensor, layer: int) -> Tensor:
        """Residual stream after `layer` blocks, in the model's number format.

        Parameters
        ----------
        tokens : int64 tensor, shape [batch, length]
            Any bytes, not only those of base codes.
        layer : int
            Blocks done, 0 to `n_blocks`; later blocks are not run.

        Returns
        -------
        h : tensor of `dtype`, shape [batch, length, width]
        """
        return self.advance(F.embedding(tokens, self.embedding_layer.weight), 0, layer)

    def advance(self, h: Tensor, start: int, stop: int) -> Tensor:
        """Run blocks ``start .. stop - 1`` on a residual stream [batch, length, width].

        The stream may be of any float type; it is computed with and returned in `dtype`.
        """
        if stop > len(self.blocks):
            raise WeightsError(
                f"blocks {len(self.blocks)} to {stop - 1} of this model were not loaded; open it "
                "whole"
            )
        h = h.to(self.dtype)
        for block in self.blocks[start:stop]:
            h = block(h)
        return h

    def logits(self, h: Tensor, tokens: list[int] | None = None) -> Tensor:
        """Logits of the next token from the residual stream after the last block.

        Parameters
        ----------
        h : float tensor, shape [batch, length, width]
        tokens : list of int, optional
            The tokens wanted; the whole vocabulary unless told.

        Returns
        -------
        logits : float32 tensor, shape [batch, length, tokens]
            Row i is of base i + 1.
        """
        head = self.embedding_layer if self.config.tie_embeddings else self.unembed
        weight = head.weight if tokens is None else head.weight[tokens]
        return F.linear(self.norm(h.to(self.dtype)), weight).float()
