"""The folder a dictionary is kept in: that of sae-lens, read and written.

    cfg.json, sae_weights.safetensors

Every form sae-lens writes is brought to "jumprelu" or "topk" when it is loaded:
"standard" is jumprelu with threshold 0, "gated" is jumprelu with another
threshold (Rajamanoharan et al. 2024, arXiv:2404.16014, section 3.2), and a
top-k that ranks latents by what they decode to has its decoder's norms folded
into the encoder.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from annotations.cards import SAE_WEIGHTS
from annotations.errors import WeightsError
from workers.checkpoints import write_safetensors
from workers.sae import TENSORS, SparseCoder

CONFIG_FILE = "cfg.json"
ARCHITECTURES = ("standard", "gated", "topk", "jumprelu")
"""Architectures of sae-lens folders that are understood."""

_SAE_LENS_VERSION = "6.54.12"


def load_sae_lens(folder: Path) -> SparseCoder:
    """Load a sae-lens folder.

    Parameters
    ----------
    folder : Path
        Holds `cfg.json` and `sae_weights.safetensors`; weights of any float type.

    Returns
    -------
    coder : SparseCoder
        In float32 on the CPU.

    Raises
    ------
    WeightsError
        If a file is missing or damaged, the architecture or an option is not
        supported, or the tensors do not fit the configuration.
    """
    config = read_config(folder / CONFIG_FILE)
    tensors = read_safetensors(folder / SAE_WEIGHTS)
    architecture = config.get("architecture")
    if architecture not in ARCHITECTURES:
        raise WeightsError(
            f"{folder} holds a sparse autoencoder of the architecture {architecture!r}; supported "
            f"are {', '.join(ARCHITECTURES)} (BatchTopK is saved as jumprelu by sae-lens)"
        )
    for name in ("normalize_activations", "reshape_activations"):
        if config.get(name, "none") != "none":
            raise WeightsError(
                f"{folder} has {name} {config[name]!r}; only 'none' is supported: fold it into the "
                "weights before saving"
            )
    if architecture == "gated":
        tensors = _gated_as_jumprelu(tensors, folder)
    wanted = {*TENSORS, *(["threshold"] if architecture in ("jumprelu", "gated") else [])}
    if set(tensors) != wanted:
        raise WeightsError(
            f"{folder / SAE_WEIGHTS} must hold {', '.join(sorted(wanted))} for the architecture "
            f"{architecture!r}, got {', '.join(sorted(tensors))}"
        )
    tensors.setdefault("threshold", torch.zeros_like(tensors["b_enc"]))
    coder = SparseCoder(
        **tensors,
        apply_b_dec_to_input=bool(config.get("apply_b_dec_to_input", True)),
        gate="topk" if architecture == "topk" else "jumprelu",
        k=config.get("k") if architecture == "topk" else None,
    )
    if (config.get("d_in"), config.get("d_sae")) != (coder.d_in, coder.n_features):
        raise WeightsError(
            f"{folder / CONFIG_FILE} says d_in {config.get('d_in')} and d_sae "
            f"{config.get('d_sae')}, but the weights have {coder.d_in} and {coder.n_features}"
        )
    return _fold_decoder_norm(coder) if config.get("rescale_acts_by_decoder_norm") else coder


def save_sae_lens(
    coder: SparseCoder,
    folder: Path,
    *,
    half: bool = False,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Write a coder as a sae-lens folder, which must exist.

    Parameters
    ----------
    coder : SparseCoder
        Its gate must be "jumprelu" or "topk"; sae-lens has no folder of "batch_topk".
    folder : Path
        Gets `cfg.json` and `sae_weights.safetensors`.
    half : bool
        Store the two matrices in float16. sae-lens and `load_sae_lens` read them
        back as float32; biases and thresholds are float32 either way.
    metadata : dict, optional
        Added to the metadata, such as ``model_name`` and ``hook_name``.

    Raises
    ------
    WeightsError
        If the gate is "batch_topk".
    """
    if coder.gate == "batch_topk":
        raise WeightsError(
            "a batch_topk gate has no sae-lens folder: calibrate a threshold (jumprelu), or "
            "save it as topk and name batch_topk in the dictionary's card"
        )
    small = torch.float16 if half else torch.float32
    tensors = {
        name: tensor.to(small if name.startswith("W_") else torch.float32)
        for name in TENSORS
        for tensor in [getattr(coder, name)]
    }
    if coder.gate == "jumprelu":
        tensors["threshold"] = coder.threshold.clamp(min=0)
    config: dict[str, Any] = {
        "architecture": coder.gate,
        "d_in": coder.d_in,
        "d_sae": coder.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": coder.apply_b_dec_to_input,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "rescale_acts_by_decoder_norm": False,
        # sae-lens drops all metadata of a folder that does not state its version.
        "metadata": {**(metadata or {}), "sae_lens_version": _SAE_LENS_VERSION},
    }
    if coder.gate == "topk":
        config["k"] = coder.k
    write_safetensors(tensors, folder / SAE_WEIGHTS)
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def read_safetensors(path: Path, device: torch.device | None = None) -> dict[str, Tensor]:
    """All tensors of a safetensors file, floats as float32.

    Raises
    ------
    WeightsError
        If the file is missing or not safetensors.
    """
    if not path.is_file():
        raise WeightsError(f"the weights {path} are missing; put them there or correct the card")
    try:
        tensors = load_file(path, device=str(device or "cpu"))
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not a whole safetensors file ({error}); fetch it again or convert it"
        ) from error
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in a configuration file.

    Raises
    ------
    WeightsError
        If the file is missing or holds anything else.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is missing or not JSON ({error}); give the whole folder"
        ) from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} must hold a JSON object, got {type(config).__name__}")
    return config


def _gated_as_jumprelu(tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Both paths share x W_enc, so the gate's condition is a threshold on the magnitude."""
    wanted = {"W_enc", "b_gate", "b_mag", "r_mag", "W_dec", "b_dec"}
    if set(tensors) != wanted:
        raise WeightsError(
            f"{folder / SAE_WEIGHTS} must hold {', '.join(sorted(wanted))} for the architecture "
            f"'gated', got {', '.join(sorted(tensors))}"
        )
    scale = tensors["r_mag"].exp()
    return {
        "W_enc": tensors["W_enc"] * scale,
        "b_enc": tensors["b_mag"],
        "threshold": tensors["b_mag"] - scale * tensors["b_gate"],
        "W_dec": tensors["W_dec"],
        "b_dec": tensors["b_dec"],
    }


def _fold_decoder_norm(coder: SparseCoder) -> SparseCoder:
    """Unit decoder rows, with their norms in the encoder; activations are in those units."""
    norm = coder.W_dec.norm(dim=1)
    if coder.gate != "topk" or not bool((norm > 0).all()):
        raise WeightsError(
            "rescale_acts_by_decoder_norm is supported for topk with no zero row in W_dec alone; "
            "fold it into the weights before saving (sae-lens: fold_W_dec_norm)"
        )
    return replace(
        coder, W_enc=coder.W_enc * norm, b_enc=coder.b_enc * norm, W_dec=coder.W_dec / norm[:, None]
    )
