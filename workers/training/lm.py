"""Train a paired-strand tree on non-coding DNA.

Cross-entropy over a whole genome is dominated by codon statistics, so windows
are centred on non-coding bases and coding bases count little. Batches are
drawn by (seed, step) alone: a run that was stopped and resumed sees the same
batches as one that was not.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from annotations.errors import OptionError
from workers.language_models.paired_tree import N_CODE, PairedTree, PairedTreeConfig
from workers.training.corpus import Corpus

_BEFORE_COOLDOWN = "before-cooldown.safetensors"
_TABLES = ("base", "six", "eight", "species")
_PRECISION_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


@dataclass(frozen=True)
class LmTraining:
    """How a language model is trained; every field is written to the model card."""

    steps: int = 12_000
    """Optimiser steps."""
    window: int = 192
    """Bases in a training window."""
    batch: int = 16
    """Windows in a step; bigger batches starve a CPU of steps."""
    rate: float = 2e-3
    """Peak learning rate of AdamW."""
    warmup: int = 300
    """Steps of linear warm-up."""
    cooldown: float = 0.0
    """Share of the steps, at the end, over which a constant rate falls in a line to 3 % (Hägele et
    al. 2024, arXiv:2405.18392); 0 for a cosine to 3 % over all steps."""
    decay: float = 0.05
    """Weight decay, on matrices only."""
    coding_weight: float = 0.05
    """Loss weight of coding bases; non-coding bases have 1."""
    noncoding_share: float = 0.9
    """Share of windows centred on a non-coding base; the others are centred anywhere."""
    edge: int = 16
    """Bases at each end of a window whose loss weight is `edge_weight`."""
    edge_weight: float = 0.3
    """Loss weight of the bases at the ends of a window."""
    species_dropout: float = 0.1
    """Share of windows shown as species 0 whatever they are."""
    seed: int = 0
    """Seed of the initial weights and of every batch."""

    def __post_init__(self) -> None:
        """Refuse settings no run could follow."""
        if min(self.steps, self.batch, self.window) < 1 or self.window <= 2 * self.edge:
            raise OptionError(
                f"steps and batch must be at least 1 and window larger than {2 * self.edge} bases, "
                f"got steps {self.steps}, batch {self.batch}, window {self.window}"
            )
        if not 0 <= self.cooldown <= 1:
            raise OptionError(f"cooldown must be a share from 0 to 1, got {self.cooldown}")

    @property
    def constant_steps(self) -> int:
        """Steps before the cooldown; 0 where the rate follows a cosine."""
        return self.steps - round(self.cooldown * self.steps) if self.cooldown else 0


class Batch(NamedTuple):
    """One training step's windows."""

    ids: Tensor
    """Base codes, int64 [batch, window]."""
    species: Tensor
    """Row of the species table, int64 [batch]."""
    weight: Tensor
    """Loss weight of each base, float32 [batch, window]; 0 at N."""


class BitsPerBase(NamedTuple):
    """Mean cross-entropy of a model in bits, each base given all the others."""

    coding: float
    noncoding: float
    coding_bases: int
    noncoding_bases: int


def draw_batch(corpus: Corpus, centres: "Centres", config: LmTraining, step: int) -> Batch:
    """The windows of one step, a function of the seed and the step alone.

    Both strands are drawn alike; the window's species is that of its centre.
    """
    rng = np.random.default_rng([config.seed, step])
    n_noncoding = round(config.noncoding_share * config.batch)
    centre = np.concatenate(
        [
            rng.choice(centres.noncoding, n_noncoding),
            rng.choice(centres.known, config.batch - n_noncoding),
        ]
    )
    margin = config.window // 8
    start = centre - rng.integers(margin, config.window - margin, config.batch)
    start = np.clip(start, 0, len(corpus.bases) - config.window)
    index = start[:, None] + np.arange(config.window)
    ids, coding = corpus.bases[index].astype(np.int64), corpus.coding[index]
    flip = rng.random(config.batch) < 0.5
    reverse = ids[flip][:, ::-1]
    ids[flip] = np.where(reverse < N_CODE, 3 - reverse, reverse)
    coding[flip] = coding[flip][:, ::-1]
    weight = np.where(coding, config.coding_weight, 1.0) * (ids < N_CODE)
    weight[:, : config.edge] *= config.edge_weight
    weight[:, -config.edge :] *= config.edge_weight
    hidden = rng.random(config.batch) < config.species_dropout
    species = np.where(hidden, 0, corpus.species[centre])
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(species.astype(np.int64)),
        torch.from_numpy(weight.astype(np.float32)),
    )


class Centres(NamedTuple):
    """Bases a window may be centred on, as int64 indices into the corpus."""

    noncoding: NDArray[np.int64]
    known: NDArray[np.int64]


def window_centres(corpus: Corpus) -> Centres:
    """Non-coding bases and all bases that are not N.

    Raises
    ------
    OptionError
        If the corpus has no non-coding base to learn from.
    """
    known = corpus.bases < N_CODE
    centres = Centres(np.flatnonzero(known & ~corpus.coding), np.flatnonzero(known))
    if not len(centres.noncoding):
        raise OptionError(
            "the corpus has no non-coding base: check the annotation, the allowed regions "
            "and that the FASTA is DNA"
        )
    return centres


def learning_rate(config: LmTraining, step: int) -> float:
    """Rate of one step: linear warm-up, then down to 3 % of the peak at the last step."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.cooldown:
        left = (config.steps - step) / (config.steps - config.constant_steps)
        fall = min(1.0, left)
    else:
        fall = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return config.rate * warm * (0.03 + 0.97 * fall)


def choose_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where a matrix product runs at least 1.3 times as fast as in float32.

    Measured, not assumed: CPUs of one kind differ by a factor of five either way.
    """
    speed = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(1024, 512, device=device, dtype=dtype)
        w = torch.randn(512, 512, device=device, dtype=dtype)
        _ = x @ w
        begin, rounds = time.perf_counter(), 0
        while time.perf_counter() - begin < 0.02:
            _ = (x @ w).sum().item()
            rounds += 1
        speed[dtype] = rounds / (time.perf_counter() - begin)
    faster = speed[torch.bfloat16] > 1.3 * speed[torch.float32]
    return torch.bfloat16 if faster else torch.float32


@torch.inference_mode()
def bits_per_base(
    model: PairedTree,
    bases: NDArray[np.uint8],
    coding: NDArray[np.bool_],
    *,
    window: int = 192,
    batch: int = 64,
) -> BitsPerBase:
    """Cross-entropy of the model on one sequence, coding and non-coding bases apart.

    Windows overlap by half and each base is scored in the middle half of one
    window; the first and last quarter window of the sequence are not scored.

    Parameters
    ----------
    model : PairedTree
        Read with species 0.
    bases : uint8 array, shape (length,)
        Base codes; N is not scored.
    coding : bool array, shape (length,)
        Where a base counts as coding.
    window, batch : int
        Bases in a window, windows in a pass.

    Returns
    -------
    BitsPerBase
        NaN for a kind of which the sequence has no base.
    """
    device = next(model.parameters()).device
    quarter = window // 4
    total, count = np.zeros(2), np.zeros(2, np.int64)
    starts = np.arange(0, len(bases) - window + 1, window // 2)
    for first in range(0, len(starts), batch):
        index = starts[first : first + batch, None] + np.arange(window)
        ids = torch.from_numpy(bases[index].astype(np.int64)).to(device)
        species = torch.zeros(len(ids), dtype=torch.long, device=device)
        logits = model(ids, species, symmetric=True)
        loss = F.cross_entropy(logits.transpose(1, 2), ids.clamp(max=3), reduction="none")
        nats = loss[:, quarter : window - quarter].float().cpu().numpy()
        inner = index[:, quarter : window - quarter]
        known = bases[inner] < N_CODE
        for kind, wanted in enumerate((coding[inner] & known, ~coding[inner] & known)):
            total[kind] += nats[wanted].sum(dtype=np.float64)
            count[kind] += int(wanted.sum())
    mean = np.divide(total / math.log(2), count, out=np.full(2, np.nan), where=count > 0)
    return BitsPerBase(float(mean[0]), float(mean[1]), int(count[0]), int(count[1]))


def train_lm(
    corpus: Corpus,
    config: LmTraining,
    out: Path,
    *,
    model_config: PairedTreeConfig,
    validate: Callable[[PairedTree], BitsPerBase],
    report_every: int = 500,
    device: torch.device | None = None,
    on_report: Callable[[dict[str, object]], None] = lambda line: None,
) -> PairedTree:
    """Train a model, resuming from `out` where an earlier call was stopped.

    With a cooldown, a later call with more steps goes on from before the
    cooldown of the earlier one: `before-cooldown.safetensors` is kept.

    Parameters
    ----------
    corpus : Corpus
        Bases to learn from.
    config : LmTraining
        How to train.
    out : Path
        Folder for `checkpoint.safetensors` and `curve.jsonl` (one JSON object
        for each report).
    model_config : PairedTreeConfig
        Sizes of the model.
    validate : callable
        Bits per base of the model on sequence it does not learn from.
    report_every : int
        Steps between a report and a checkpoint.
    device : torch.device, optional
        Where to train; the CPU unless told.
    on_report : callable
        Called with each report.

    Returns
    -------
    PairedTree
        The trained model, in float32.

    Raises
    ------
    OptionError
        If `out` holds a checkpoint of other settings, or the corpus has no
        non-coding base.
    """
    device = device or torch.device("cpu")
    centres = window_centres(corpus)
    torch.manual_seed(config.seed)
    model = PairedTree(model_config).to(device)
    optimiser = _optimiser(model, config)
    precision = choose_precision(device)
    settings = _settings(config, model_config)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.safetensors"
    first = 0
    if checkpoint.exists():
        first, precision = _resume(_to_resume(checkpoint, config), config, model, optimiser)
    begin, bases_seen = time.monotonic(), 0
    for step in range(first, config.steps):
        if config.cooldown and step == config.constant_steps:
            _save(out / _BEFORE_COOLDOWN, settings, model, optimiser, step, precision)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        batch = Batch(*(part.to(device) for part in draw_batch(corpus, centres, config, step)))
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = model(batch.ids, batch.species)
        nats = F.cross_entropy(
            logits.float().transpose(1, 2), batch.ids.clamp(max=3), reduction="none"
        )
        loss = (nats * batch.weight).sum() / batch.weight.sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        bases_seen += batch.ids.numel()
        if (step + 1) % report_every == 0 or step + 1 == config.steps:
            seconds = time.monotonic() - begin
            model.eval()
            bits = validate(model)
            model.train()
            _save(checkpoint, settings, model, optimiser, step + 1, precision)
            line: dict[str, object] = {
                "step": step + 1,
                "bases": (step + 1) * config.batch * config.window,
                "kbp_per_second": round(bases_seen / seconds / 1000, 2),
                "precision": _PRECISION_NAMES[precision],
                "bits_coding": round(bits.coding, 4),
                "bits_noncoding": round(bits.noncoding, 4),
            }
            with (out / "curve.jsonl").open("a") as curve:
                curve.write(json.dumps(line) + "\n")
            on_report(line)
    return model.eval()


def _optimiser(model: PairedTree, config: LmTraining) -> torch.optim.AdamW:
    matrices = {
        name
        for name, weight in model.named_parameters()
        if weight.ndim > 1 and name.split(".")[0] not in _TABLES
    }
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if n in matrices], "weight_decay": config.decay},
        {"params": [p for n, p in named if n not in matrices], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.98), fused=True)


def _save(
    path: Path,
    settings: str,
    model: PairedTree,
    optimiser: torch.optim.AdamW,
    step: int,
    precision: torch.dtype,
) -> None:
    tensors = {f"model.{name}": weight.detach() for name, weight in model.named_parameters()}
    for name, weight in model.named_parameters():
        for key, value in optimiser.state[weight].items():
            tensors[f"optimiser.{name}.{key}"] = value.detach()
    part = path.with_suffix(".part")
    metadata = {"settings": settings, "step": str(step), "precision": _PRECISION_NAMES[precision]}
    save_file(tensors, part, metadata=metadata)
    part.replace(path)


def _settings(config: LmTraining, model_config: PairedTreeConfig) -> str:
    return json.dumps({"training": asdict(config), "model": asdict(model_config)}, sort_keys=True)


def _to_resume(checkpoint: Path, config: LmTraining) -> Path:
    """The last checkpoint, or the one before its cooldown where this run is longer."""
    before = checkpoint.with_name(_BEFORE_COOLDOWN)
    with safe_open(checkpoint, "pt") as file:
        earlier = json.loads(file.metadata()["settings"])["training"]["steps"]
    return before if config.steps > earlier and before.exists() else checkpoint


def _same_so_far(metadata: dict[str, str], settings: str, config: LmTraining) -> bool:
    """Whether a run of these settings did every step of a checkpoint just as its own run did.

    With a cooldown the number of steps changes nothing before the cooldown begins.
    """
    ours, theirs = json.loads(settings), json.loads(metadata["settings"])
    # a checkpoint of before a size could be chosen has the one there was
    theirs["model"] = json.loads(json.dumps(asdict(PairedTreeConfig()))) | theirs["model"]
    if ours == theirs:
        return True
    if int(metadata["step"]) > config.constant_steps:
        return False
    theirs["training"]["steps"] = ours["training"]["steps"]
    return bool(ours == theirs)


def _resume(
    path: Path, config: LmTraining, model: PairedTree, optimiser: torch.optim.AdamW
) -> tuple[int, torch.dtype]:
    """Steps done and the precision they were done in, which a busy machine might choose anew."""
    settings = _settings(config, model.config)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        if not _same_so_far(metadata, settings, config):
            raise OptionError(
                f"{path} was written with other settings ({metadata['settings']}) than these "
                f"({settings}); use another folder or the same settings"
            )
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(file.get_tensor(f"model.{name}"))
                for key in ("step", "exp_avg", "exp_avg_sq"):
                    value = file.get_tensor(f"optimiser.{name}.{key}")
                    optimiser.state[weight][key] = (
                        value if key == "step" else value.to(weight.device)
                    )
    by_name = {name: dtype for dtype, name in _PRECISION_NAMES.items()}
    return int(metadata["step"]), by_name[metadata["precision"]]
