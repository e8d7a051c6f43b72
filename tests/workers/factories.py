"""Tiny models with random weights on disk, for tests that need a whole installation.

The weights are drawn from a seed: they are fast and deterministic, and what
they find in DNA means nothing.
"""

from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from annotations.cards import (
    SAE_WEIGHTS,
    DictionaryCard,
    ModelCard,
    file_sha256,
    write_card,
)
from workers.language_models.paired_taps import Tap, at_tap, tap_width
from workers.language_models.paired_tree import PairedTree, PairedTreeConfig, PairedTreeReader
from workers.sae import SparseCoder
from workers.sae_lens import save_sae_lens

MODEL_ID = "tiny-tree"
DICTIONARY_ID = "tiny-tree-64"
LAYER = 2
FEATURES = 64
ACTIVE_SHARE = 4 / FEATURES
TINY = PairedTreeConfig(width=16, distances=(2, 4), eight_width=4, joint_width=8, n_species=2)


def make_tiny_models(root: Path, seed: int = 0, tap: Tap = "residual") -> Path:
    """Write a models root with one tiny paired-strand tree and one dictionary of 64 features.

    About four features are active at a base. Returns `root`.
    """
    model = make_tiny_tree(seed)
    home = root / MODEL_ID
    folder = home / DICTIONARY_ID
    folder.mkdir(parents=True)
    half = {name: tensor.half() for name, tensor in model.state_dict().items()}
    save_file(half, home / "model.safetensors")
    model.load_state_dict({name: tensor.float() for name, tensor in half.items()})
    save_sae_lens(make_tiny_coder(model, seed, tap), folder)
    model_card = ModelCard(
        id=MODEL_ID,
        title="Tiny paired-strand tree with random weights, for tests",
        architecture="paired_tree",
        config={**asdict(TINY), "distances": list(TINY.distances)},
        weights="model.safetensors",
        sha256=file_sha256(home / "model.safetensors"),
        n_parameters=sum(weight.numel() for weight in model.parameters()),
        context=TINY.reach(LAYER),
        licence="Apache-2.0",
        source=f"random weights, seed {seed}",
        random_weights=True,
    )
    write_card(model_card, home)
    write_card(
        DictionaryCard(
            id=DICTIONARY_ID,
            title="Tiny dictionary with random weights, for tests",
            model_id=MODEL_ID,
            model_sha256=model_card.sha256,
            layer=LAYER,
            tap=tap,
            d_in=tap_width(model, tap),
            d_sae=FEATURES,
            k=round(ACTIVE_SHARE * FEATURES),
            sha256=file_sha256(folder / SAE_WEIGHTS),
            stride=128,
            context=16,
            licence="Apache-2.0",
            source=f"random weights, seed {seed}",
            random_weights=True,
        ),
        folder,
    )
    return root


def make_tiny_tree(seed: int = 0) -> PairedTree:
    """A tiny paired-strand tree whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PairedTree(TINY).requires_grad_(False).eval()


def make_tiny_coder(model: PairedTree, seed: int = 0, tap: Tap = "residual") -> SparseCoder:
    """A random coder with one threshold, at which `ACTIVE_SHARE` of latents are active."""
    draw = torch.Generator().manual_seed(seed + 1)
    decoder = F.normalize(torch.randn(FEATURES, tap_width(model, tap), generator=draw), dim=1)
    codes = torch.randint(0, 4, (4, 256), generator=draw, dtype=torch.uint8)
    reader = at_tap(PairedTreeReader(model), tap)
    sample = reader.activations(codes, LAYER)[:, 16:].flatten(0, 1)
    mean = sample.mean(0)
    encoder = decoder.T.contiguous()
    pre = ((sample - mean) @ encoder).flatten()
    gate = pre.sort(descending=True).values[int(ACTIVE_SHARE * len(pre))]
    return SparseCoder(
        W_enc=encoder,
        b_enc=-(mean @ encoder),
        threshold=gate.expand(FEATURES).clone(),
        W_dec=decoder,
        b_dec=mean,
    )
