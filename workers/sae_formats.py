"""Dictionaries as others publish them, brought to a `workers.sae.SparseCoder`.

    sae-lens              cfg.json + sae_weights.safetensors        standard, topk, jumprelu, gated
                          (BatchTopK and matryoshka are saved by sae-lens as jumprelu)
    dictionary-learning   config.json + ae.pt                       by the class in the config
    sparsify              cfg.json + sae.safetensors                topk
    Goodfire              one .pt of W, b_enc, b_dec (tied)         topk until it is calibrated

Each form is read by the equations of its own library:

    dictionary-learning (saprmarks/dictionary_learning, dictionary.py and trainers/)
        AutoEncoder             relu(E (x - b) + e)
        AutoEncoderNew          relu(E x + e)
        AutoEncoderTopK         k largest of relu(E (x - b) + e) in each row
        BatchTopKSAE            relu(E (x - b) + e) above its threshold
        MatryoshkaBatchTopKSAE  the same
        JumpReluAutoEncoder     relu(E x + e) above its threshold, times the decoder row's norm
        GatedAutoEncoder        gated, times the decoder row's norm
    sparsify (EleutherAI/sparsify, sparse_coder.py)
        k largest of relu(E (x - b) + e) in each row
    Goodfire (the SAE notebook of ArcInstitute/evo2)
        relu(x W + e), the k * L largest of a window of L; nothing is taken from the input
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from annotations.cards import SAE_WEIGHTS
from annotations.errors import WeightsError
from workers.checkpoints import open_checkpoint, strip_prefixes
from workers.sae import SparseCoder
from workers.sae_lens import CONFIG_FILE, load_sae_lens, read_config, read_safetensors

GOODFIRE_K = 64
"""Latents a base has on average in Goodfire's dictionary; its file does not say (models.toml)."""

_WRAPPERS = ("_orig_mod.", "module.")
"""Prefixes of torch.compile and of data parallelism."""


class FoundCoder(NamedTuple):
    """A dictionary that was read, and what its files say of it."""

    coder: SparseCoder
    """In float32 on the CPU."""
    format: str
    """Name of the form it came in."""
    architecture: str
    """What its own library calls it."""
    k: int | None
    """Latents of a row, as trained; None where the files do not say."""
    model_name: str | None
    """The model it was trained on, as its files name it."""
    site: str | None
    """Name of the place it was trained at, as its files give it."""
    block: int | None
    """The block after which it was trained, from 0, as its files say."""
    notes: tuple[str, ...] = ()
    """What somebody who converts it should know, one sentence each."""


def read_coder(path: Path, *, k: int | None = None) -> FoundCoder:
    """Read a dictionary in any of the forms this module knows.

    Parameters
    ----------
    path : Path
        A folder, or a `.pt` file.
    k : int, optional
        Latents of a row, for a form that does not store it.

    Returns
    -------
    found : FoundCoder

    Raises
    ------
    WeightsError
        If the form is not recognised, or the files are damaged or hold what is not supported.
    """
    if path.is_file() and path.suffix in (".pt", ".pth"):
        return read_goodfire(path, k=k or GOODFIRE_K)
    if (path / "ae.pt").is_file():
        return read_dictionary_learning(path)
    if (path / "sae.safetensors").is_file():
        return read_sparsify(path)
    if (path / SAE_WEIGHTS).is_file():
        return read_sae_lens(path)
    raise WeightsError(
        f"{path} is no dictionary this program reads; give a Goodfire .pt file, or a folder of "
        f"sae-lens ({CONFIG_FILE}, {SAE_WEIGHTS}), dictionary-learning (config.json, ae.pt) or "
        "sparsify (cfg.json, sae.safetensors)"
    )


def read_sae_lens(folder: Path) -> FoundCoder:
    """Read a sae-lens folder; see `workers.sae_lens.load_sae_lens`."""
    config = read_config(folder / CONFIG_FILE)
    metadata = config.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    hook = metadata.get("hook_name") or config.get("hook_name")
    details = metadata.get("training_architecture_details")
    trained_k = details.get("k") if isinstance(details, dict) else None
    coder = load_sae_lens(folder)
    return FoundCoder(
        coder=coder,
        format="sae-lens",
        architecture=str(metadata.get("training_architecture") or config["architecture"]),
        k=coder.k or _whole(trained_k),
        model_name=_text(metadata.get("model_name") or config.get("model_name")),
        site=_text(hook),
        block=_block_of(_text(hook)),
    )


def read_goodfire(path: Path, *, k: int = GOODFIRE_K) -> FoundCoder:
    """Read a tied dictionary in the layout of `Goodfire/Evo-2-Layer-26-Mixed`.

    Parameters
    ----------
    path : Path
        A torch checkpoint with W (d_in, d_sae), b_enc and b_dec, whatever prefixes wrappers
        put before them.
    k : int
        Latents kept of each row.

    Returns
    -------
    found : FoundCoder
        Its gate is "topk": the file has no threshold. W is mapped from the file.

    Raises
    ------
    WeightsError
        If the file is no checkpoint, runs code, or holds other tensors.
    """
    state = _tensors(strip_prefixes(open_checkpoint(path), _WRAPPERS), path)
    _expect(state, ("W", "b_enc", "b_dec"), path, "of a Goodfire dictionary")
    encoder = state["W"].float()
    coder = SparseCoder(
        W_enc=encoder,
        b_enc=state["b_enc"].float(),
        W_dec=encoder.T,
        b_dec=state["b_dec"].float(),
        threshold=torch.zeros_like(state["b_enc"], dtype=torch.float32),
        gate="topk",
        k=k,
    )
    layer = re.search(r"layer-?(\d+)", path.name)
    return FoundCoder(
        coder=coder,
        format="Goodfire",
        architecture="BatchTopKTiedSAE",
        k=k,
        model_name=None,
        site=None,
        block=int(layer.group(1)) if layer else None,
        notes=(
            "the file stores no threshold: until it is calibrated on reference sequence, the "
            f"{k} largest latents of each base are kept",
        ),
    )


def read_dictionary_learning(folder: Path) -> FoundCoder:
    """Read a folder of the library dictionary-learning: `config.json` and `ae.pt`.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    found : FoundCoder

    Raises
    ------
    WeightsError
        If a file is missing or damaged, or the class of the dictionary is not supported.
    """
    trainer = read_config(folder / "config.json").get("trainer")
    if not isinstance(trainer, dict) or trainer.get("dict_class") not in _CLASSES:
        found = trainer.get("dict_class") if isinstance(trainer, dict) else None
        raise WeightsError(
            f"{folder / 'config.json'} names the class {found!r} as trainer.dict_class; "
            f"supported are {', '.join(_CLASSES)}"
        )
    kind, path = str(trainer["dict_class"]), folder / "ae.pt"
    state = _tensors(strip_prefixes(open_checkpoint(path), _WRAPPERS), path)
    coder = _CLASSES[kind](state, trainer, path)
    sizes = (trainer.get("activation_dim"), trainer.get("dict_size"))
    if sizes != (coder.d_in, coder.n_features):
        raise WeightsError(
            f"{folder / 'config.json'} says {sizes[0]} channels and {sizes[1]} latents, but "
            f"{path.name} has {coder.d_in} and {coder.n_features}"
        )
    return FoundCoder(
        coder=coder,
        format="dictionary-learning",
        architecture=kind,
        k=_whole(trainer.get("k")),
        model_name=_text(trainer.get("lm_name")),
        site=_text(trainer.get("submodule_name")),
        block=_whole(trainer.get("layer")),
    )


def read_sparsify(folder: Path) -> FoundCoder:
    """Read a folder of EleutherAI's sparsify: `cfg.json` and `sae.safetensors`.

    Parameters
    ----------
    folder : Path
        One hook point, such as ``layers.3``.

    Returns
    -------
    found : FoundCoder

    Raises
    ------
    WeightsError
        If a file is missing or damaged, or it holds no top-k autoencoder.
    """
    config = read_config(folder / "cfg.json")
    for key, allowed in (
        ("activation", (None, "topk")),
        ("transcode", (None, False)),
        ("skip_connection", (None, False)),
        ("signed", (None, False)),
    ):
        if config.get(key) not in allowed:
            raise WeightsError(
                f"{folder / 'cfg.json'} has {key} {config[key]!r}; only top-k autoencoders of one "
                "site are read, not transcoders, skip connections, signed or grouped latents"
            )
    path = folder / "sae.safetensors"
    state = read_safetensors(path)
    _expect(state, ("encoder.weight", "encoder.bias", "W_dec", "b_dec"), path, "of sparsify")
    k = _whole(config.get("k"))
    coder = SparseCoder(
        W_enc=state["encoder.weight"].T,
        b_enc=state["encoder.bias"],
        W_dec=state["W_dec"],
        b_dec=state["b_dec"],
        threshold=torch.zeros_like(state["encoder.bias"]),
        apply_b_dec_to_input=True,
        gate="topk",
        k=k,
    )
    if config.get("d_in") != coder.d_in:
        raise WeightsError(
            f"{folder / 'cfg.json'} says d_in {config.get('d_in')}, but {path.name} has "
            f"{coder.d_in} channels"
        )
    above = folder.parent / "config.json"
    run = read_config(above) if above.is_file() else {}
    return FoundCoder(
        coder=coder,
        format="sparsify",
        architecture="topk",
        k=k,
        model_name=_text(run.get("model")),
        site=folder.name,
        block=_block_of(folder.name),
    )


def _auto_encoder(state: dict[str, Tensor], trainer: Mapping[str, Any], path: Path) -> SparseCoder:
    _expect(
        state, ("encoder.weight", "encoder.bias", "decoder.weight", "bias"), path, "of its class"
    )
    return _linear(state, b_dec=state["bias"], centred=True)


def _auto_encoder_new(
    state: dict[str, Tensor], trainer: Mapping[str, Any], path: Path
) -> SparseCoder:
    names = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
    _expect(state, names, path, "of its class")
    return _linear(state, b_dec=state["decoder.bias"], centred=False)


def _top_k(state: dict[str, Tensor], trainer: Mapping[str, Any], path: Path) -> SparseCoder:
    names = ("encoder.weight", "encoder.bias", "decoder.weight", "b_dec", "k")
    _expect(state, names, path, "of its class", also=("threshold",))
    coder = _linear(state, b_dec=state["b_dec"], centred=True)
    return replace(coder, gate="topk", k=int(state["k"]))


def _batch_top_k(state: dict[str, Tensor], trainer: Mapping[str, Any], path: Path) -> SparseCoder:
    names = ("encoder.weight", "encoder.bias", "decoder.weight", "b_dec", "k", "threshold")
    _expect(state, names, path, "of its class")
    return _above(_linear(state, b_dec=state["b_dec"], centred=True), state, path)


def _matryoshka(state: dict[str, Tensor], trainer: Mapping[str, Any], path: Path) -> SparseCoder:
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "k", "threshold")
    _expect(state, names, path, "of its class", also=("group_sizes",))
    return _above(_plain(state, centred=True), state, path)


def _jump_relu(state: dict[str, Tensor], trainer: Mapping[str, Any], path: Path) -> SparseCoder:
    _expect(state, ("W_enc", "b_enc", "W_dec", "b_dec", "threshold"), path, "of its class")
    coder = replace(_plain(state, centred=False), threshold=state["threshold"].float())
    return _times_decoder_norm(coder, path)


def _gated(state: dict[str, Tensor], trainer: Mapping[str, Any], path: Path) -> SparseCoder:
    """Both paths share E (x - b), so the gate's condition is a threshold on the magnitude."""
    names = ("encoder.weight", "decoder.weight", "decoder_bias", "r_mag", "gate_bias", "mag_bias")
    _expect(state, names, path, "of its class")
    scale, magnitude = state["r_mag"].float().exp(), state["mag_bias"].float()
    coder = SparseCoder(
        W_enc=state["encoder.weight"].float().T * scale,
        b_enc=magnitude,
        threshold=magnitude - scale * state["gate_bias"].float(),
        W_dec=state["decoder.weight"].float().T,
        b_dec=state["decoder_bias"].float(),
        apply_b_dec_to_input=True,
    )
    return _times_decoder_norm(coder, path)


_CLASSES: dict[str, Callable[[dict[str, Tensor], Mapping[str, Any], Path], SparseCoder]] = {
    "AutoEncoder": _auto_encoder,
    "AutoEncoderNew": _auto_encoder_new,
    "AutoEncoderTopK": _top_k,
    "BatchTopKSAE": _batch_top_k,
    "MatryoshkaBatchTopKSAE": _matryoshka,
    "JumpReluAutoEncoder": _jump_relu,
    "GatedAutoEncoder": _gated,
}


def _linear(state: Mapping[str, Tensor], *, b_dec: Tensor, centred: bool) -> SparseCoder:
    bias = state["encoder.bias"].float()
    return SparseCoder(
        W_enc=state["encoder.weight"].float().T,
        b_enc=bias,
        W_dec=state["decoder.weight"].float().T,
        b_dec=b_dec.float(),
        threshold=torch.zeros_like(bias),
        apply_b_dec_to_input=centred,
    )


def _plain(state: Mapping[str, Tensor], *, centred: bool) -> SparseCoder:
    bias = state["b_enc"].float()
    return SparseCoder(
        W_enc=state["W_enc"].float(),
        b_enc=bias,
        W_dec=state["W_dec"].float(),
        b_dec=state["b_dec"].float(),
        threshold=torch.zeros_like(bias),
        apply_b_dec_to_input=centred,
    )


def _above(coder: SparseCoder, state: Mapping[str, Tensor], path: Path) -> SparseCoder:
    """One threshold for all latents; a training cut short leaves it at -1."""
    threshold = float(state["threshold"])
    if threshold < 0:
        raise WeightsError(
            f"{path.name} has the threshold {threshold:g}: its training stopped before one was "
            "measured; train it further"
        )
    return replace(coder, threshold=torch.full_like(coder.b_enc, threshold))


def _times_decoder_norm(coder: SparseCoder, path: Path) -> SparseCoder:
    """Activations in units of what they add to the output: decoder rows get unit norm."""
    norm = coder.W_dec.norm(dim=1)
    if not bool((norm > 0).all()):
        raise WeightsError(f"{path.name} has a decoder row of zeros, which has no direction")
    return replace(
        coder,
        W_enc=coder.W_enc * norm,
        b_enc=coder.b_enc * norm,
        threshold=coder.threshold * norm,
        W_dec=coder.W_dec / norm[:, None],
    )


def _tensors(state: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    others = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise WeightsError(
            f"{path.name} holds more than tensors ({', '.join(others[:5])}); give the file of the "
            "dictionary's weights"
        )
    return dict(state)


def _expect(
    state: Mapping[str, Tensor],
    names: tuple[str, ...],
    path: Path,
    what: str,
    *,
    also: tuple[str, ...] = (),
) -> None:
    if not set(names) <= set(state) <= {*names, *also}:
        raise WeightsError(
            f"{path.name} must hold the tensors {what}, {', '.join(sorted(names))}, got "
            f"{', '.join(sorted(state)) or 'none'}"
        )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _block_of(hook: str | None) -> int | None:
    """Block of a hook's name, such as ``blocks.26`` or ``model.layers.3``; None if it has none."""
    found = re.search(r"(?:blocks?|layers?|h)[._-](\d+)", hook or "")
    return int(found.group(1)) if found else None


def reads_residual(site: str | None) -> bool:
    """Whether a site is a residual stream after a block, as far as its name tells.

    Examples
    --------
    >>> [reads_residual(name) for name in ("blocks.3.hook_resid_post", "blocks.3.mlp", None)]
    [True, False, True]
    """
    return not re.search(r"mlp|attn|attention|hook_z|resid_pre|resid_mid|norm", site or "")
