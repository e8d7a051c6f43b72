"""Official weights to folders that a server reads: offline, once, without running their code.

    Evo 2 .pt (or its parts)      --> model.safetensors under the official names, model.json
    HyenaDNA -hf folder           --> its model.safetensors, model.json

A conversion says what it found, hashes what it wrote and runs the canary.
Dictionaries are converted in `workers.convert_sae`, folders of transformers in
`workers.stock_folder`.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from annotations.cards import ModelCard
from annotations.errors import OptionError, WeightsError
from workers.checkpoints import Progress, join_parts, open_checkpoint, strip_prefixes
from workers.install import (
    MODEL_WEIGHTS,
    UNHASHED,
    Installed,
    install_model,
)
from workers.known_models import known_release
from workers.language_models.hyenadna import HyenaDnaConfig
from workers.language_models.stripedhyena2.configurations import EVO2, StripedHyena2Config
from workers.language_models.stripedhyena2.weights import is_passed_over, state_shapes
from workers.language_models.tensor_file import TensorFile
from workers.sae_lens import read_config

_WRAPPERS = ("module.", "backbone.")
_NAMED = 5


def convert_evo2(
    paths: Sequence[Path],
    into: Path,
    *,
    release: str | None = None,
    model_id: str | None = None,
    config: StripedHyena2Config | None = None,
    device: torch.device | None = None,
    canary: bool = True,
    on_progress: Progress = lambda what: None,
) -> Installed:
    """Convert an official Evo 2 checkpoint; its tensors go by one at a time.

    Parameters
    ----------
    paths : sequence of Path
        The `.pt` file, or its parts in order.
    into : Path
        Models folder.
    release : str, optional
        Official name, such as ``evo2_7b_262k``; that of the file unless told.
    model_id : str, optional
        Id of the model here; the release's name unless told.
    config : StripedHyena2Config, optional
        Sizes, for a checkpoint of this layout that is no official release.
    device : torch.device, optional
        Where the canary runs.
    canary : bool
        Whether to load the model and run the canary. A release that needs FP8 is converted
        without, since nothing here computes it rightly.
    on_progress : callable
        Told what is done next.

    Returns
    -------
    installed : Installed

    Raises
    ------
    OptionError
        If no path is given, or the release is not known.
    WeightsError
        If the checkpoint is damaged, runs code, or is of other sizes.
    """
    if not paths:
        raise OptionError("give the checkpoint's .pt file, or all its parts in order")
    name = release or paths[0].name.split(".")[0]
    if config is None and name not in EVO2:
        raise OptionError(
            f"{name!r} is no release of Evo 2; name one with --release: {', '.join(EVO2)}"
        )
    sizes = config or EVO2[name]
    shapes = state_shapes(sizes)
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".joined.", dir=into) as work:
        if len(paths) > 1:
            on_progress(f"joining {len(paths)} parts")
        whole = join_parts(paths, Path(work) / "whole.pt") if len(paths) > 1 else paths[0]
        content = strip_prefixes(open_checkpoint(whole), _WRAPPERS)
        passed = sorted(key for key in content if is_passed_over(key, sizes))
        tensors = {key: value for key, value in content.items() if key not in passed}
        _check_shapes(tensors, shapes, f"{paths[0].name} as {name}")
        notes = [
            f"{paths[0].name}: {len(content)} entries, {len(tensors)} tensors of a StripedHyena 2 "
            f"of {sizes.num_layers} blocks and {sizes.hidden_size} channels; {len(passed)} passed "
            "over (state of FP8, copies)"
        ]
        if sizes.fp8_required:
            canary = False
            notes.append(
                "this release needs FP8 input projections and is wrong in any other number format: "
                "converted, but not runnable here; use a 7B release"
            )
        known = None if config else known_release(name)
        card = ModelCard(
            id=model_id or name,
            title=f"Evo 2, {name}" if config is None else f"StripedHyena 2, {name}",
            architecture="stripedhyena2",
            config={
                key: list(value) if isinstance(value, tuple) else value
                for key, value in asdict(sizes).items()
            },
            weights=MODEL_WEIGHTS,
            sha256=UNHASHED,
            n_parameters=sum(
                tensor.numel() for key, tensor in tensors.items() if not key.endswith(".inv_freq")
            ),
            context=min(4096, sizes.max_seqlen // 2),
            max_length=sizes.max_seqlen,
            official_name=name if config is None else None,
            licence=known.licence if known else "not stated",
            source=known.repository if known else paths[0].name,
        )
        done = install_model(
            into,
            card,
            tensors,
            dtype="bfloat16",
            device=device,
            canary=canary,
            on_progress=on_progress,
        )
    return done._replace(notes=(*notes, *done.notes))


def convert_hyenadna(
    folder: Path,
    into: Path,
    *,
    model_id: str | None = None,
    device: torch.device | None = None,
    on_progress: Progress = lambda what: None,
) -> Installed:
    """Register a HyenaDNA `-hf` folder: `config.json` and `model.safetensors`.

    Parameters
    ----------
    folder : Path
        As fetched; the Python files in it are not read.
    into : Path
        Models folder.
    model_id : str, optional
        Id of the model here; the folder's name unless told.
    device : torch.device, optional
        Where the canary runs.
    on_progress : callable
        Told what is done next.

    Returns
    -------
    installed : Installed

    Raises
    ------
    WeightsError
        If a file is missing, or the weights are not those of a HyenaDNA of these sizes.
    """
    content = read_config(folder / "config.json")
    known = {field.name for field in fields(HyenaDnaConfig)}
    values = {key: value for key, value in content.items() if key in known and value is not None}
    if "d_model" in values:
        values.setdefault("d_inner", 4 * values["d_model"])
    try:
        config = HyenaDnaConfig(**values)
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"{folder / 'config.json'} does not hold the sizes of a HyenaDNA: needed are d_model, "
            f"n_layer and max_seq_len, got {values or 'none of them'}; give the whole -hf folder"
        ) from error
    weights = folder / MODEL_WEIGHTS
    if not weights.is_file():
        raise WeightsError(
            f"{weights} is missing; fetch a -hf repository, whose weights are safetensors"
        )
    name = model_id or folder.name
    release = known_release(folder.name)
    card = ModelCard(
        id=name,
        title=f"HyenaDNA, {folder.name}",
        architecture="hyenadna",
        config=asdict(config),
        weights=MODEL_WEIGHTS,
        sha256=UNHASHED,
        n_parameters=_count(weights),
        context=min(4096, config.max_seq_len // 2),
        max_length=config.max_seq_len,
        official_name=release.name if release else None,
        licence=release.licence if release else "not stated",
        source=release.repository if release else folder.name,
    )
    done = install_model(into, card, weights, device=device, on_progress=on_progress)
    found = (
        f"{folder.name}: HyenaDNA of {config.n_layer} blocks and {config.d_model} channels, "
        f"windows of up to {config.max_seq_len} bases"
    )
    return done._replace(notes=(found, *done.notes))


def _check_shapes(
    tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], what: str
) -> None:
    wrong = [key for key, value in tensors.items() if not isinstance(value, Tensor)]
    missing = sorted(shapes.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - shapes.keys())
    if wrong or missing or unknown:
        raise WeightsError(
            f"{what}: missing {_listed(missing)}; unknown {_listed(unknown)}; not a tensor: "
            f"{_listed(wrong)}; name the right release with --release, or fetch the file again"
        )
    for key, shape in shapes.items():
        if tuple(tensors[key].shape) != shape:
            raise WeightsError(
                f"{what}: {key} has the shape {list(tensors[key].shape)}, expected {list(shape)}; "
                "name the right release"
            )


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return (", ".join(keys[:_NAMED]) or "none") + more


def _count(weights: Path) -> int:
    return sum(
        tensor.numel() for name, tensor in TensorFile(weights).items() if ".pos_emb." not in name
    )
