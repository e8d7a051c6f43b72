"""Sparse coders: a dictionary's weights, its gate, and the sae-lens folder they are kept in.

    pre = (x [- b_dec]) W_enc + b_enc
    f   = pre where pre > threshold and pre > 0, else 0          gate "jumprelu"
    f   = relu(pre) of the k largest of each row                 gate "topk"
    x'  = f W_dec + b_dec

Every form sae-lens writes is brought to one of these two when it is loaded:
"standard" is jumprelu with threshold 0, "gated" is jumprelu with another
threshold (Rajamanoharan et al. 2024, arXiv:2404.16014, section 3.2), and a
top-k that ranks latents by what they decode to has its decoder's norms folded
into the encoder.

A matrix product may round differently for another number of rows. Rows are
therefore always multiplied in chunks of one fixed shape, the last one padded,
so that equal rows give bitwise equal activations in any batch or partition.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from annotations.cards import SAE_WEIGHTS
from annotations.errors import WeightsError

Gate = Literal["jumprelu", "topk"]

CONFIG_FILE = "cfg.json"
ARCHITECTURES = ("standard", "gated", "topk", "jumprelu")
"""Architectures of sae-lens folders that are understood."""

CHUNK_ROWS = {"cpu": 256, "cuda": 16_384}
"""Rows of every matrix product, by type of device; on a CPU the result stays in its cache."""

_SAE_LENS_VERSION = "6.54.12"
_TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")


class SparseRows(NamedTuple):
    """Active features, one row each, sorted by row and then by feature."""

    row: Tensor
    """Row of the input, int64 [n]."""
    feature: Tensor
    """Index of the feature, int64 [n]."""
    value: Tensor
    """Activation, float32 [n], above 0."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SparseCoder:
    """Weights and gate of a dictionary; float32, all on one device."""

    W_enc: Tensor
    """Encoder, [d_in, d_sae]."""
    b_enc: Tensor
    """Encoder bias, [d_sae]."""
    threshold: Tensor
    """The gate: a feature is active where it is strictly above this (and 0), [d_sae]."""
    W_dec: Tensor
    """Decoder, [d_sae, d_in]."""
    b_dec: Tensor
    """Decoder bias, [d_in]."""
    apply_b_dec_to_input: bool = False
    """Whether `b_dec` is taken from the input before it is encoded."""
    gate: Gate = "jumprelu"
    """The rule that says which latents are active."""
    k: int | None = None
    """Latents kept in each row by the "topk" gate, which ignores `threshold`."""

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises
        ------
        WeightsError
            If shapes do not fit together or the top-k gate has no k.
        """
        if self.W_enc.ndim != 2:
            raise WeightsError(f"W_enc must have shape [d_in, d_sae], got {list(self.W_enc.shape)}")
        d_in, d_sae = self.W_enc.shape
        for name, shape in (
            ("b_enc", [d_sae]),
            ("threshold", [d_sae]),
            ("W_dec", [d_sae, d_in]),
            ("b_dec", [d_in]),
        ):
            found = list(getattr(self, name).shape)
            if found != shape:
                raise WeightsError(
                    f"{name} must have shape {shape} beside a W_enc of {[d_in, d_sae]}, got {found}"
                )
        if self.gate == "topk" and (self.k is None or not 1 <= self.k <= d_sae):
            raise WeightsError(f"a topk gate keeps 1 to {d_sae} latents of a row, got k {self.k}")

    @property
    def d_in(self) -> int:
        """Channels of an activation."""
        return int(self.W_enc.shape[0])

    @property
    def n_features(self) -> int:
        """Features of the dictionary."""
        return int(self.W_enc.shape[1])

    def to(self, device: torch.device) -> "SparseCoder":
        """The same coder on another device."""
        names = (*_TENSORS, "threshold")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    @torch.inference_mode()
    def encode(self, x: Tensor) -> Tensor:
        """Gated activations of every feature.

        Parameters
        ----------
        x : float32 tensor, shape [n, d_in]

        Returns
        -------
        f : float32 tensor, shape [n, d_sae]
            0 where a feature is not active.

        Raises
        ------
        WeightsError
            If `x` has another number of channels.
        """
        out = torch.zeros(len(x), self.n_features, device=self.W_enc.device)
        for start, pre in self._preactivations(x):
            part = out[start : start + len(pre)]
            if self.gate == "topk":
                top = pre.topk(self.k or 0, dim=1)
                part.scatter_(1, top.indices, top.values.relu())
            else:
                torch.where(pre > self._floor(), pre, part, out=part)
        return out

    @torch.inference_mode()
    def encode_sparse(self, x: Tensor) -> SparseRows:
        """Active features only; dense activations never leave a chunk.

        An activation depends on its own row alone: it is bitwise the same in any
        batch, order or partition of the rows on the same device.

        Parameters
        ----------
        x : float32 tensor, shape [n, d_in]

        Returns
        -------
        rows : SparseRows

        Raises
        ------
        WeightsError
            If `x` has another number of channels.
        """
        parts = [
            SparseRows(found.row + start, found.feature, found.value)
            for start, pre in self._preactivations(x)
            for found in [self._active(pre)]
        ]
        empty = torch.empty(0, dtype=torch.int64, device=self.W_enc.device)
        parts.append(SparseRows(empty, empty, empty.float()))
        return SparseRows(*(torch.cat(column) for column in zip(*parts, strict=True)))

    @torch.inference_mode()
    def batch_topk(self, x: Tensor, k: int) -> Tensor:
        """The ``k * n`` largest activations of a whole batch of n rows; for comparison only.

        The rule of the Evo 2 notebook and of BatchTopK in training (Bussmann et al.
        2024, arXiv:2412.06410). What is active in one row depends on the others, so
        it is never used to serve.

        Returns
        -------
        f : float32 tensor, shape [n, d_sae]
        """
        pre = torch.cat([part.clone() for _, part in self._preactivations(x)]).relu()
        top = pre.flatten().topk(min(k * len(pre), pre.numel()))
        return torch.zeros_like(pre).flatten().scatter(0, top.indices, top.values).view_as(pre)

    @torch.inference_mode()
    def decode(self, f: Tensor) -> Tensor:
        """Reconstruction, float32 [n, d_in], of activations [n, d_sae]."""
        return f @ self.W_dec + self.b_dec

    def _floor(self) -> Tensor:
        return self.threshold.clamp(min=0)

    def _preactivations(self, x: Tensor) -> Iterator[tuple[int, Tensor]]:
        """First row and pre-activations of each chunk, in a buffer the next chunk overwrites."""
        if x.ndim != 2 or x.shape[1] != self.d_in:
            raise WeightsError(
                f"this dictionary reads activations of shape [n, {self.d_in}], got {list(x.shape)}"
            )
        rows = CHUNK_ROWS[self.W_enc.device.type]
        chunk = torch.zeros(rows, self.d_in, device=self.W_enc.device)
        pre = torch.empty(rows, self.n_features, device=self.W_enc.device)
        for start in range(0, len(x), rows):
            part = x[start : start + rows]
            # Rows past the end keep what they held; no row depends on another.
            chunk[: len(part)] = part - self.b_dec if self.apply_b_dec_to_input else part
            torch.addmm(self.b_enc, chunk, self.W_enc, out=pre)
            yield start, pre[: len(part)]

    def _active(self, pre: Tensor) -> SparseRows:
        if self.gate == "topk":
            top = pre.topk(self.k or 0, dim=1)
            mask = torch.zeros_like(pre, dtype=torch.bool).scatter_(1, top.indices, top.values > 0)
            flat = mask.flatten().nonzero()[:, 0]
        elif pre.device.type == "cpu":
            # numpy compares twice and counts six times as fast as torch on one CPU core
            above = pre.numpy() > self._floor().numpy()
            flat = torch.from_numpy(np.flatnonzero(above))
        else:
            flat = (pre > self._floor()).flatten().nonzero()[:, 0]
        row = torch.div(flat, self.n_features, rounding_mode="floor")
        return SparseRows(row, flat - row * self.n_features, pre.flatten()[flat])


def fold_whitening(mean: Tensor, matrix: Tensor, coder: SparseCoder) -> SparseCoder:
    """Turn a coder of whitened activations into one of raw activations.

    Parameters
    ----------
    mean : float tensor, shape [d_in]
        Mean of the raw activations.
    matrix : float tensor, shape [d_in, d_in]
        Invertible; the coder was trained on ``(x - mean) @ matrix``.
    coder : SparseCoder
        In whitened space.

    Returns
    -------
    folded : SparseCoder
        Encodes raw x to what `coder` encodes whitened x to, and decodes to raw
        space; takes no `b_dec` from its input. Decoder rows lose their unit norm.
    """
    enc, dec, w = coder.W_enc.double(), coder.W_dec.double(), matrix.double()
    centre = coder.b_dec.double()
    offset = mean.double() @ w + (centre if coder.apply_b_dec_to_input else 0.0)
    inverse = torch.linalg.inv(w)
    return replace(
        coder,
        W_enc=(w @ enc).float(),
        b_enc=(coder.b_enc.double() - offset @ enc).float(),
        W_dec=(dec @ inverse).float(),
        b_dec=(mean.double() + centre @ inverse).float(),
        apply_b_dec_to_input=False,
    )


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
    config = _read_config(folder / CONFIG_FILE)
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
    wanted = {*_TENSORS, *(["threshold"] if architecture in ("jumprelu", "gated") else [])}
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
        Its gate must be "jumprelu" or "topk".
    folder : Path
        Gets `cfg.json` and `sae_weights.safetensors`.
    half : bool
        Store the two matrices in float16. sae-lens and `load_sae_lens` read them
        back as float32; biases and thresholds are float32 either way.
    metadata : dict, optional
        Added to the metadata, such as ``model_name`` and ``hook_name``.
    """
    small = torch.float16 if half else torch.float32
    tensors = {
        name: tensor.to("cpu", small if name.startswith("W_") else torch.float32).contiguous()
        for name in _TENSORS
        for tensor in [getattr(coder, name)]
    }
    if coder.gate == "jumprelu":
        tensors["threshold"] = coder._floor().cpu().contiguous()
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
    save_file(tensors, folder / SAE_WEIGHTS)
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


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is missing or not JSON ({error}); a sae-lens folder holds {CONFIG_FILE} and "
            f"{SAE_WEIGHTS}"
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
