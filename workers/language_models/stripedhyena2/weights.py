"""State dicts of StripedHyena 2: the official keys, loading, and random weights.

Official checkpoints hold tensors that say nothing of the model: the state of
Transformer Engine's FP8 (`_extra_state`), positions of the long filters and a
second copy of a tied embedding. They are passed over; any other key is refused.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from annotations.errors import WeightsError
from workers.language_models.stripedhyena2.blocks import MemoryLimits
from workers.language_models.stripedhyena2.configurations import (
    StripedHyena2Config,
    check_computable,
)
from workers.language_models.stripedhyena2.model import StripedHyena2

DTYPES = (torch.float32, torch.bfloat16)
"""Number formats a model may be computed in."""

MEMORY_LIMITS = {
    "cpu": MemoryLimits(workspace=2**28, spectra=2**30),
    "cuda": MemoryLimits(workspace=2**32, spectra=12 * 2**30),
}
"""Limits by type of device, unless told."""

_PASSED_OVER = re.compile(
    r"(.+\._extra_state|blocks\.\d+\.(mixer\.mixer\.)?filter\.t|unembed\.weight)"
)
_BLOCK = re.compile(r"blocks\.(\d+)\.")
# Long filters and rotations are computed from these in float32 whatever the format is.
_ALWAYS_FLOAT32 = (".log_poles", ".residues", ".inv_freq")
_INTERLEAVED = (".projections.weight", ".short_filter_weight")
_NAMED_KEYS = 8
_ROTARY_TOLERANCE = 0.01


def state_shapes(config: StripedHyena2Config) -> dict[str, tuple[int, ...]]:
    """Official key and shape of every tensor a model is made of."""
    return {name: tuple(tensor.shape) for name, tensor in _skeleton(config).state_dict().items()}


def is_passed_over(key: str, config: StripedHyena2Config) -> bool:
    """Whether an official checkpoint may hold this key although the model does not need it."""
    if key == "unembed.weight" and not config.tie_embeddings:
        return False
    return _PASSED_OVER.fullmatch(key) is not None


def load_stripedhyena2(
    state: Mapping[str, Tensor],
    config: StripedHyena2Config,
    *,
    dtype: torch.dtype = torch.float32,
    limits: MemoryLimits | None = None,
    blocks: int | None = None,
) -> StripedHyena2:
    """Make a model from an official state dict.

    Tensors are asked of `state` one at a time and used as they are where they have
    the format and order wanted, so that a lazy mapping such as
    `tensor_file.TensorFile` is never held twice.

    Parameters
    ----------
    state : mapping of str to tensor
        Under the official key names, in any float type, all on one device.
    config : StripedHyena2Config
        Sizes, which the tensors must have.
    dtype : torch.dtype
        Number format of the computation, one of `DTYPES`.
    limits : MemoryLimits, optional
        Those of `MEMORY_LIMITS` for the device of the weights unless told.
    blocks : int, optional
        Blocks to load, where later ones are never run; all of them unless told.

    Returns
    -------
    model : StripedHyena2
        In evaluation mode, on the device of the weights.

    Raises
    ------
    WeightsError
        If the model needs FP8, the number format is not known, or a tensor is
        missing, unknown, of another shape, or of another rotary base.
    """
    check_computable(config)
    if dtype not in DTYPES:
        raise WeightsError(
            "a StripedHyena 2 is computed in "
            f"{' or '.join(str(kind).removeprefix('torch.') for kind in DTYPES)}, got {dtype}"
        )
    shapes = state_shapes(config)
    _check_keys(state, shapes, config)
    tensors = {}
    kept = config.num_layers if blocks is None else blocks
    for name, shape in shapes.items():
        if (of_block := _BLOCK.match(name)) and int(of_block[1]) >= kept:
            continue
        tensor = state[name]
        if tuple(tensor.shape) != shape:
            raise WeightsError(
                f"{name} has the shape {list(tensor.shape)}, but a StripedHyena 2 of these sizes "
                f"has {list(shape)} there; use the sizes of the checkpoint: {config}"
            )
        if name.endswith(".inv_freq"):
            _check_rotary(name, tensor, config)
        tensors[name] = _prepare(name, tensor, dtype)
    device = tensors["embedding_layer.weight"].device.type
    model = _skeleton(config, limits or MEMORY_LIMITS.get(device, MEMORY_LIMITS["cpu"]))
    del model.blocks[kept:]
    model.load_state_dict(tensors, assign=True)
    return model.requires_grad_(False).eval()


def random_weights(
    config: StripedHyena2Config,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> dict[str, Tensor]:
    """Weights that were never trained, for tests, benchmarks and controls.

    Parameters
    ----------
    config : StripedHyena2Config
        Sizes.
    seed : int
        The weights depend on this and the type of device alone.
    dtype : torch.dtype
        Of every tensor but those that are float32 in all checkpoints.
    device : torch.device, optional
        The CPU unless told.

    Returns
    -------
    state : dict of str to tensor
        Under the official keys and in the official layout; the residual stream
        begins at a size of 1 and grows slowly from block to block.
    """
    device = device or torch.device("cpu")
    draw = torch.Generator(device).manual_seed(seed)
    return {
        name: _draw(name, shape, config, draw).to(
            torch.float32 if name.endswith(_ALWAYS_FLOAT32) else dtype
        )
        for name, shape in state_shapes(config).items()
    }


def _draw(
    name: str, shape: tuple[int, ...], config: StripedHyena2Config, draw: torch.Generator
) -> Tensor:
    if name.endswith(".inv_freq"):
        return _rotary_frequencies(config).to(draw.device)
    if name.endswith(".log_poles"):
        # Time constants of 2 to about 1,000 bases.
        uniform = torch.rand(shape, generator=draw, device=draw.device)
        return -0.5 * torch.exp(-6.0 * uniform)
    noise = torch.randn(shape, generator=draw, device=draw.device)
    if name.endswith(".residues"):
        # The long filter of 16 such exponentials then keeps the size of noise.
        return 0.03 * noise
    if name.endswith("scale"):
        return 1 + 0.1 * noise
    if name.endswith((".bias", ".D")):
        return 0.1 * noise
    if name.startswith("embedding_layer.weight"):
        return noise
    # Each output is a sum over the last axis: inputs or taps.
    return torch.mul(noise, shape[-1] ** -0.5)


def _skeleton(config: StripedHyena2Config, limits: MemoryLimits | None = None) -> StripedHyena2:
    """A model whose tensors take no memory."""
    with torch.device("meta"):
        return StripedHyena2(config, limits or MEMORY_LIMITS["cpu"])


def _check_keys(
    state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], config: StripedHyena2Config
) -> None:
    missing = sorted(shapes.keys() - state.keys())
    unknown = sorted(key for key in state.keys() - shapes.keys() if not is_passed_over(key, config))
    if missing or unknown:
        raise WeightsError(
            f"the weights are not those of a StripedHyena 2 of these sizes; missing: "
            f"{_listed(missing)}; unknown: {_listed(unknown)}; use an official Evo 2 checkpoint, "
            "converted, with its own sizes"
        )


def _listed(keys: list[str]) -> str:
    if not keys:
        return "none"
    more = f" and {len(keys) - _NAMED_KEYS} more" if len(keys) > _NAMED_KEYS else ""
    return ", ".join(keys[:_NAMED_KEYS]) + more


def _rotary_frequencies(config: StripedHyena2Config) -> Tensor:
    exponent = torch.arange(0, config.head_size, 2, dtype=torch.float32) / config.head_size
    return torch.pow(torch.tensor(config.rotary_emb_base), -exponent)


def _check_rotary(name: str, found: Tensor, config: StripedHyena2Config) -> None:
    # The stored frequencies are the ones to compute with, and may be rounded to bfloat16.
    expected = _rotary_frequencies(config).to(found.device)
    if not torch.allclose(found.float(), expected, rtol=_ROTARY_TOLERANCE, atol=0):
        raise WeightsError(
            f"{name} does not hold the frequencies of rotary_emb_base {config.rotary_emb_base:g}; "
            "use the sizes of the checkpoint"
        )


def _prepare(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = tensor.to(torch.float32 if name.endswith(_ALWAYS_FLOAT32) else dtype)
    if not name.endswith(_INTERLEAVED):
        return tensor
    # Official rows take turns (x2, x1, v, x2, ...); blocks want all of x2, of x1, of v.
    return tensor.view(-1, 3, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape)
