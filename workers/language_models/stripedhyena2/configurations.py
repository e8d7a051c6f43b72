"""Sizes of a StripedHyena 2, by their official names, and those of every Evo 2.

The sizes are those of the configuration files of the evo2 package, version
0.6.0; nothing else of a checkpoint says them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from annotations.errors import WeightsError

BlockKind = Literal["hcs", "hcm", "hcl", "attn"]
"""Convolution of few taps, of about a hundred, as long as the window; attention."""


@dataclass(frozen=True, kw_only=True)
class StripedHyena2Config:
    """Sizes of a StripedHyena 2 with gated convolutions and tied or untied unembedding."""

    hidden_size: int
    """Channels of the residual stream."""
    num_layers: int
    """Blocks."""
    num_attention_heads: int
    """Heads of an attention block; they share the channels equally."""
    hcs_layer_idxs: tuple[int, ...]
    """Blocks with a short convolution."""
    hcm_layer_idxs: tuple[int, ...]
    """Blocks with a medium convolution."""
    hcl_layer_idxs: tuple[int, ...]
    """Blocks with a convolution as long as the window."""
    attn_layer_idxs: tuple[int, ...]
    """Blocks with attention."""
    hcs_filter_groups: int
    """Filters of a short convolution; consecutive channels share one."""
    hcm_filter_groups: int
    """Filters of a medium convolution; consecutive channels share one."""
    inner_mlp_size: int
    """Channels inside a block's MLP."""
    rotary_emb_base: float
    """Base of the rotary frequencies; those of the checkpoint are used, and must agree."""
    rotary_emb_scaling_factor: float
    """What positions are divided by before they are rotated; 1 where not interpolated."""
    max_seqlen: int
    """Most bases in a window."""
    fp8_required: bool
    """Whether the model is wrong unless its input projections are computed in FP8."""
    vocab_size: int = 512
    """Tokens, which are bytes."""
    hcs_filter_length: int = 7
    """Taps of a short convolution."""
    hcm_filter_length: int = 128
    """Taps of a medium convolution."""
    short_filter_length: int = 3
    """Taps of the filter that follows every projection."""
    state_size: int = 16
    """Real exponentials that make up a long filter."""
    eps: float = 1e-6
    """Added to the root mean square in every norm."""
    tie_embeddings: bool = True
    """Whether the unembedding is the embedding."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot make a model."""
        sizes = (self.hidden_size, self.num_layers, self.num_attention_heads, self.inner_mlp_size)
        taps = (self.hcs_filter_length, self.hcm_filter_length, self.short_filter_length)
        if min(*sizes, *taps, self.max_seqlen, self.vocab_size, self.state_size) < 1:
            raise ValueError(f"every size of a StripedHyena 2 must be at least 1, got {self}")
        for name, parts in (
            ("hcs_filter_groups", self.hcs_filter_groups),
            ("hcm_filter_groups", self.hcm_filter_groups),
            ("twice num_attention_heads", 2 * self.num_attention_heads),
        ):
            if parts < 1 or self.hidden_size % parts:
                raise ValueError(f"{name} must divide hidden_size {self.hidden_size}, got {parts}")
        if min(self.rotary_emb_base, self.rotary_emb_scaling_factor) < 1:
            raise ValueError(
                "rotary_emb_base and rotary_emb_scaling_factor must be at least 1, got "
                f"{self.rotary_emb_base} and {self.rotary_emb_scaling_factor}"
            )
        convolutions = (*self.hcs_layer_idxs, *self.hcm_layer_idxs, *self.hcl_layer_idxs)
        named = sorted((*convolutions, *self.attn_layer_idxs))
        if named != list(range(self.num_layers)):
            raise ValueError(
                f"hcs, hcm, hcl and attn_layer_idxs must name each of the {self.num_layers} "
                f"blocks once, got {named}"
            )

    @property
    def head_size(self) -> int:
        """Channels of an attention head."""
        return self.hidden_size // self.num_attention_heads

    def kind(self, block: int) -> BlockKind:
        """What kind of block `block` is."""
        if block in self.hcs_layer_idxs:
            return "hcs"
        if block in self.hcm_layer_idxs:
            return "hcm"
        return "hcl" if block in self.hcl_layer_idxs else "attn"


def check_computable(config: StripedHyena2Config) -> None:
    """Refuse a model that nothing here computes rightly.

    Raises
    ------
    WeightsError
        If the model needs FP8 projections.
    """
    if config.fp8_required:
        raise WeightsError(
            f"this StripedHyena 2 of {config.num_layers} blocks and {config.hidden_size} channels "
            "was trained with FP8 input projections and is wrong in any other format (Evo 2 1B: "
            "loss 1.25 instead of 0.50), and saetrack computes in bfloat16 and float32; use a 7B "
            "Evo 2 (evo2_7b_262k, evo2_7b, evo2_7b_base), which does not need FP8"
        )


def _evo2(
    *,
    width: int,
    blocks: int,
    attention: tuple[int, ...],
    groups: int,
    mlp: int,
    window: int,
    interpolation: float = 1,
    rotary_base: float = 1e4,
    fp8: bool = False,
) -> StripedHyena2Config:
    """An Evo 2: between attention blocks, short, medium and long convolutions take turns."""
    convolutions = [i for i in range(blocks) if i not in attention]
    return StripedHyena2Config(
        hidden_size=width,
        num_layers=blocks,
        num_attention_heads=width // 128,
        hcs_layer_idxs=tuple(convolutions[0::3]),
        hcm_layer_idxs=tuple(convolutions[1::3]),
        hcl_layer_idxs=tuple(convolutions[2::3]),
        attn_layer_idxs=attention,
        hcs_filter_groups=groups,
        hcm_filter_groups=groups,
        inner_mlp_size=mlp,
        rotary_emb_base=rotary_base,
        rotary_emb_scaling_factor=interpolation,
        max_seqlen=window,
        fp8_required=fp8,
    )


_7B_ATTENTION = (3, 10, 17, 24, 31)
_40B_ATTENTION = (3, 10, 17, 24, 31, 35, 42, 49)

# The official file says 32,768 for the window of this one; it was trained on 8,192.
_7B_BASE = _evo2(width=4096, blocks=32, attention=_7B_ATTENTION, groups=256, mlp=11008, window=8192)

EVO2: Mapping[str, StripedHyena2Config] = MappingProxyType(
    {
        "evo2_1b_base": _evo2(
            width=1920,
            blocks=25,
            attention=(3, 10, 17, 24),
            groups=128,
            mlp=5120,
            window=8192,
            fp8=True,
        ),
        "evo2_7b_base": _7B_BASE,
        "evo2_7b_microviridae": _7B_BASE,
        "evo2_7b_262k": _evo2(
            width=4096,
            blocks=32,
            attention=_7B_ATTENTION,
            groups=256,
            mlp=11008,
            window=262_144,
            interpolation=32,
        ),
        "evo2_7b": _evo2(
            width=4096,
            blocks=32,
            attention=_7B_ATTENTION,
            groups=256,
            mlp=11264,
            window=1_048_576,
            interpolation=128,
        ),
        "evo2_20b": _evo2(
            width=8192,
            blocks=24,
            attention=(3, 10, 17),
            groups=512,
            mlp=22528,
            window=1_048_576,
            interpolation=128,
            rotary_base=1e6,
            fp8=True,
        ),
        "evo2_40b_base": _evo2(
            width=8192,
            blocks=50,
            attention=_40B_ATTENTION,
            groups=512,
            mlp=21888,
            window=8192,
            rotary_base=1e6,
            fp8=True,
        ),
        "evo2_40b": _evo2(
            width=8192,
            blocks=50,
            attention=_40B_ATTENTION,
            groups=512,
            mlp=22528,
            window=1_048_576,
            interpolation=128,
            rotary_base=1e6,
            fp8=True,
        ),
    }
)
"""Every Evo 2, by the name of its release."""
