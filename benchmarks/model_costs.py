"""What a model and its dictionary cost at least: operations and bytes for a base.

A product of matrices costs 2 operations a multiplication; a real FFT of n numbers
2.5 n log2 n. For bytes, each operation reads its inputs and writes its result once and
weights are read once a batch: what no fusing of operations can take away is less, what
a program moves is more.
"""

import math
from dataclasses import dataclass

from workers.language_models.hyenadna import HyenaDnaConfig
from workers.language_models.stripedhyena2.configurations import StripedHyena2Config


@dataclass(frozen=True)
class Costs:
    """Of one base of model input."""

    model_products: float
    """Operations in matrix products of the model, attention included."""
    model_other: float
    """Operations in convolutions, by FFTs of twice the window where they are long."""
    dictionary: float
    """Operations in the dictionary's product."""
    model_bytes: float
    """Bytes that the model reads and writes, weights included."""
    dictionary_bytes: float
    """Bytes that a dictionary reads and writes whose dense activations are kept nowhere."""


def evo2_costs(
    config: StripedHyena2Config, layers: int, d_sae: int, *, window: int, batch: int, size: int
) -> Costs:
    """Costs of a StripedHyena 2 up to a tap; `size` is the bytes of a number."""
    width, inner = config.hidden_size, config.inner_mlp_size
    products = other = elements = 0.0
    for block in range(layers):
        products += 2 * (3 * width * width + width * width + 3 * width * inner)
        # norms, MLP and two residual sums
        elements += 2 * 2 * width + 2 * (width + inner) + 3 * inner + inner + width + 6 * width
        elements += 2 * width + 4 * width  # the mixer's two products
        kind = config.kind(block)
        if kind == "attn":
            products += 2 * window * width
            elements += 8 * width
            continue
        taps = {"hcs": config.hcs_filter_length}.get(kind)
        other += 2 * 3 * width * config.short_filter_length
        other += 2 * width * taps if taps else _convolution(width, window)
        elements += 6 * width + 3 * width + 3 * width + 3 * width
        if kind != "hcs":
            elements += 8 * width  # a spectrum, written and read, in float32
    weights = layers * (4 * width * width + 3 * width * inner) * size
    return Costs(
        model_products=products,
        model_other=other,
        dictionary=2 * width * d_sae,
        model_bytes=elements * size + weights / (window * batch),
        dictionary_bytes=width * size + 4 * width * d_sae / (window * batch),
    )


def hyenadna_costs(
    config: HyenaDnaConfig, layers: int, d_sae: int, *, window: int, batch: int
) -> Costs:
    """Costs of a HyenaDNA up to a tap, in float32."""
    width, inner = config.d_model, config.d_inner
    a_block = 2 * (3 * width * width + width * width + 2 * width * inner)
    convolutions = 2 * 3 * width * config.short_filter_order + _convolution(width, window)
    # norms, two maps, short filter, two gates, convolution, MLP, two sums
    elements = 4 * width + 6 * width + 6 * width + 6 * width + 4 * width
    elements += 2 * width + 4 * inner + 6 * width
    weights = 4 * layers * (4 * width * width + 2 * width * inner)
    return Costs(
        model_products=layers * a_block,
        model_other=layers * convolutions,
        dictionary=2 * width * d_sae,
        model_bytes=4 * layers * elements + weights / (window * batch),
        dictionary_bytes=4 * width + 4 * width * d_sae / (window * batch),
    )


def _convolution(width: int, window: int) -> float:
    """Two real FFTs of twice the window and a product, for a base."""
    size = 2 * window
    return width * (2 * 2.5 * size * math.log2(size) + 6 * size / 2) / window
