"""A tiny StripedHyena 2 of every kind of block, and the oracle of the reference."""

import json
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from workers.language_models.stripedhyena2.configurations import StripedHyena2Config

ORACLES = Path(__file__).parents[2] / "data" / "oracles"

TINY = StripedHyena2Config(
    hidden_size=32,
    num_layers=5,
    num_attention_heads=2,
    hcs_layer_idxs=(0, 4),
    hcm_layer_idxs=(1,),
    hcl_layer_idxs=(2,),
    attn_layer_idxs=(3,),
    hcs_filter_groups=4,
    hcm_filter_groups=8,
    inner_mlp_size=48,
    rotary_emb_base=1e4,
    rotary_emb_scaling_factor=4,
    max_seqlen=700,
    fp8_required=False,
    state_size=4,
)


def read_oracle(name: str) -> tuple[dict[str, Tensor], StripedHyena2Config]:
    """Tensors of an oracle and the sizes of its model."""
    with safe_open(ORACLES / name, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        config = json.loads(file.metadata()["config"])
    config.pop("hcl_filter_groups")
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in config.items()}
    return tensors, StripedHyena2Config(**values, fp8_required=False)


def state_of(oracle: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict in an oracle."""
    prefix = "state_dict."
    return {k.removeprefix(prefix): v for k, v in oracle.items() if k.startswith(prefix)}


def relative(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of what was expected."""
    return float((found.float() - expected.float()).norm() / expected.float().norm())
