"""Published dictionaries to folders that a server reads, and refused where they do not fit.

    any form of `workers.sae_formats` --> a sae-lens folder, dictionary.json

A dictionary on another model, layer or width than it was trained on would load, and
be silently wrong: Goodfire's reads any Evo 2 7B, and means something on one alone.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from annotations.cards import DictionaryCard, ModelCard
from annotations.errors import OptionError, WeightsError
from workers.calibration import calibrate, calibrated
from workers.checkpoints import Progress
from workers.install import (
    UNHASHED,
    Installed,
    blocks_of,
    find_model,
    install_dictionary,
    width_of,
    window_of,
    with_root,
)
from workers.known_models import known_release
from workers.language_models.loading import load_language_model
from workers.language_models.tensor_file import TensorFile
from workers.registry import Encoder, open_dictionary
from workers.sae import SparseCoder
from workers.sae_formats import FoundCoder, read_coder, reads_residual

GOODFIRE_MODEL = "evo2_7b_262k"
"""The one release whose residual stream Goodfire's dictionary was trained on."""

GOODFIRE_BLOCK = 26
"""The block after which it was, counted from 0."""


@dataclass(frozen=True, kw_only=True)
class SaeRequest:
    """What a dictionary is to become."""

    model_id: str
    """The model it reads, which is installed."""
    dictionary_id: str
    """Its id here."""
    block: int | None = None
    """Block after which it reads, from 0; what its files say unless told."""
    k: int | None = None
    """Latents of a base, where its files do not say."""
    gate: str | None = None
    """Gate to serve it with: "topk" or "batch_topk" instead of the one it comes with."""
    reference: Path | None = None
    """Sequence to calibrate a threshold on."""
    windows: int = 64
    """Windows of the reference that are read."""
    stride: int | None = None
    """Bases a window owns."""
    context: int | None = None
    """Bases of left context."""
    dtype: str | None = None
    """Number format of the model; that of its canary unless told."""
    licence: str = "not stated"
    """Of the dictionary."""
    source: str | None = None
    """Where it comes from; its file's name unless told."""
    same_model: bool = False
    """Whether the model its files name is known to be `model_id` under another name."""


def convert_sae(
    path: Path,
    into: Path,
    roots: Sequence[Path],
    request: SaeRequest,
    *,
    device: torch.device | None = None,
    canary: bool = True,
    on_progress: Progress = lambda what: None,
) -> Installed:
    """Convert a dictionary in any form of `workers.sae_formats` for an installed model.

    Parameters
    ----------
    path : Path
        Goodfire's `.pt`, or a folder.
    into : Path
        Models folder that gets it.
    roots : sequence of Path
        Models folders.
    request : SaeRequest
        What it is to become.
    device : torch.device, optional
        Where the canary runs, and the calibration.
    canary : bool
        Whether to open it and run the canary; needed where it is calibrated.
    on_progress : callable
        Told what is done next.

    Returns
    -------
    installed : Installed

    Raises
    ------
    UnknownNameError
        If the model is not installed.
    WeightsError
        If it does not fit the model, the layer or the width, or its files are damaged.
    """
    model, _ = find_model(with_root(roots, into), request.model_id)
    found = read_coder(path, k=request.k)
    block = check_fit(found, model, request)
    stride, context = window_of(model)
    known = known_release(path.name) if found.format == "Goodfire" else None
    stride = request.stride or stride
    context = context if request.context is None else request.context
    size = model.nt_per_token
    if model.tokenization == "kmer" and (stride % size or context % size):
        raise OptionError(
            f"model {model.id!r} reads {size:g}-mers one after the other, so stride and context "
            f"must be multiples of {size:g}, got {stride} and {context}"
        )
    dtype = request.dtype or (model.canary or {}).get("dtype", "float32")
    gate = request.gate or found.coder.gate
    card = DictionaryCard(
        id=request.dictionary_id,
        title=f"{found.coder.n_features} features of {model.title}, after block {block}",
        model_id=model.id,
        model_sha256=model.sha256,
        layer=block + 1,
        site=f"blocks.{block}",
        d_in=found.coder.d_in,
        d_sae=found.coder.n_features,
        k=request.k or found.k,
        gate=gate,
        sha256=UNHASHED,
        stride=stride,
        context=context,
        dtype=dtype,
        nt_per_token=model.nt_per_token,
        tokenization=model.tokenization,
        licence=known.licence if known else request.licence,
        source=request.source or (known.repository if known else path.name),
        random_weights=model.random_weights,
        published_labels=dict(known.labels) if known and known.labels else None,
    )
    coder = found.coder
    notes = [
        f"{path.name}: {found.format} ({found.architecture}), {coder.n_features} features of "
        f"{coder.d_in} channels, gate {coder.gate}"
        + (f", k {found.k}" if found.k is not None else ""),
        *found.notes,
    ]
    if request.reference is not None:
        coder, card = _calibrate(coder, card, model, request, with_root(roots, into), device)
        made = card.calibration or {}
        notes.append(
            f"calibrated on {made['reference']}: theta {made['theta']:.6g} keeps "
            f"{made['mean_l0']:.4g} latents of a base, over {made['rows']} bases"
        )
    elif gate != "jumprelu" and coder.gate == "jumprelu":
        notes.append(f"served with the gate {gate} instead of its own threshold")
    if gate == "batch_topk" and request.reference is None:
        notes.append("parity mode: what is active at a base depends on its window; not for tracks")
    done = install_dictionary(
        into,
        roots,
        replace(coder, gate="topk") if coder.gate == "batch_topk" else coder,
        card,
        device=device,
        canary=canary,
        on_progress=on_progress,
    )
    return done._replace(notes=(*notes, *done.notes))


def check_fit(found: FoundCoder, model: ModelCard, request: SaeRequest) -> int:
    """Refuse a dictionary that would be silently wrong on a model.

    Parameters
    ----------
    found : FoundCoder
        The dictionary as read.
    model : ModelCard
        The model it is to read.
    request : SaeRequest
        What the user said.

    Returns
    -------
    block : int
        The block after which it reads.

    Raises
    ------
    WeightsError
        If the width, the block, the site or the model is another than it was trained on.
    OptionError
        If the block is not known.
    """
    if found.coder.d_in != width_of(model):
        raise WeightsError(
            f"the dictionary reads {found.coder.d_in} channels, but model {model.id!r} has "
            f"{width_of(model)}; it was trained on another model"
        )
    if not reads_residual(found.site):
        raise WeightsError(
            f"the dictionary was trained at {found.site!r}, which is not the residual stream after "
            "a block; saetrack reads dictionaries of that alone"
        )
    block = found.block if request.block is None else request.block
    if block is None:
        raise OptionError(
            "the dictionary's files do not say after which block it reads; name it, counted from "
            f"0, with --after-block (model {model.id!r} has {blocks_of(model)})"
        )
    if found.block not in (None, block):
        raise WeightsError(
            f"the dictionary was trained after block {found.block}, but block {block} was asked "
            "for; another layer has other features"
        )
    if not 0 <= block < blocks_of(model):
        raise WeightsError(
            f"the dictionary reads after block {block}, but model {model.id!r} has blocks 0 to "
            f"{blocks_of(model) - 1}"
        )
    if found.format == "Goodfire" and not model.random_weights:
        if model.official_name != GOODFIRE_MODEL:
            raise WeightsError(
                f"Goodfire's dictionary was trained on {GOODFIRE_MODEL}, and model {model.id!r} is "
                f"{model.official_name or 'no official release'}: it would load and be silently "
                f"wrong; convert {GOODFIRE_MODEL} and name it with --model"
            )
        if block != GOODFIRE_BLOCK:
            raise WeightsError(
                f"Goodfire's dictionary was trained after block {GOODFIRE_BLOCK}, got {block}"
            )
    if found.model_name and not request.same_model and not _same(found.model_name, model):
        raise WeightsError(
            f"the dictionary's files say that it was trained on {found.model_name!r}, not on model "
            f"{model.id!r}; if these are the same weights under another name, say --same-model"
        )
    return block


def calibrate_installed(
    card: DictionaryCard,
    into: Path,
    roots: Sequence[Path],
    *,
    dictionary_id: str,
    reference: Path,
    k: int | None = None,
    windows: int = 64,
    device: torch.device | None = None,
    on_progress: Progress = lambda what: None,
) -> Installed:
    """Write a copy of an installed dictionary with a threshold found on reference sequence.

    Parameters
    ----------
    card : DictionaryCard
        Of the dictionary; its weights are left as they are.
    into : Path
        Models folder that gets the copy.
    roots : sequence of Path
        Models folders.
    dictionary_id : str
        Id of the copy.
    reference : Path
        FASTA or GenBank.
    k : int, optional
        Latents wanted at a base; the card's unless told.
    windows : int
        Windows of the reference that are read.
    device : torch.device, optional
        Where to compute.
    on_progress : callable
        Told what is done next.

    Returns
    -------
    installed : Installed

    Raises
    ------
    OptionError
        If no k is known.
    """
    if k is None and card.k is None:
        raise OptionError(f"the card of {card.id!r} has no k; name one with --k")
    on_progress("opening the dictionary")
    encoder = open_dictionary(card, roots, device)
    on_progress(f"calibrating on {reference.name}")
    found = calibrate(encoder, reference, k=k or card.k or 0, windows=windows)
    changed = replace(
        card,
        id=dictionary_id,
        gate="jumprelu",
        k=found.k,
        calibration=asdict(found),
        canary=None,
        figures=None,
        source=f"{card.source}; threshold calibrated from {card.id}",
    )
    coder = calibrated(encoder.coder, found.theta)
    del encoder  # the canary opens the model again: never two in memory
    done = install_dictionary(into, roots, coder, changed, device=device, on_progress=on_progress)
    note = (
        f"theta {found.theta:.6g} keeps {found.mean_l0:.4g} latents of a base of "
        f"{reference.name}, over {found.rows} bases"
    )
    return done._replace(notes=(note, *done.notes))


def _calibrate(
    coder: SparseCoder,
    card: DictionaryCard,
    model: ModelCard,
    request: SaeRequest,
    roots: Sequence[Path],
    device: torch.device | None,
) -> tuple[SparseCoder, DictionaryCard]:
    """The coder behind a threshold, and its card."""
    device = device or torch.device("cpu")
    _, folder = find_model(roots, model.id)
    state = TensorFile(folder / model.weights, device)
    language_model = load_language_model(model, state, card.dtype, folder)
    encoder = Encoder(card, model, language_model, coder.to(device), device)
    if request.reference is None or card.k is None:
        raise OptionError("a calibration needs the number of latents of a base; name it with --k")
    found = calibrate(encoder, request.reference, k=card.k, windows=request.windows)
    return calibrated(coder, found.theta), replace(card, gate="jumprelu", calibration=asdict(found))


def _same(name: str, model: ModelCard) -> bool:
    """Whether a name in a dictionary's files may be that of a model."""

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.rpartition("/")[2].lower())

    mine = plain(name)
    own = [plain(text) for text in (model.id, model.official_name or "", model.source)]
    return any(text and (mine == text or mine in text or text in mine) for text in own)
