"""Models of the transformers library, of its own classes alone.

A folder is registered once (`workers.convert`): its weights, the part of its
config.json that holds sizes, and its tokenizer's file. Here a class of a fixed list
is made from those sizes and filled with those weights. Code that comes with a
repository is never run and cannot be asked for, and no hub is reached: neither
transformers' Auto classes nor its tokenizers are used.

This is the only module that imports transformers, and only when a model is loaded.
"""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from annotations.cards import ModelCard
from annotations.errors import WeightsError
from workers.language_models.protocol import TokenActivations, check_window
from workers.tokens import Tokenizer, TokenPlan, WindowTokens, cover, make_tokenizer


class StockClass(NamedTuple):
    """A model class of transformers."""

    config: str
    """Name of its configuration's class."""
    model: str
    """Name of its class without a head."""
    blocks: str
    """Where its blocks are."""
    arguments: Mapping[str, Any]
    """What its class is made with besides."""


_NO_POOLER = {"add_pooling_layer": False}

STOCK_CLASSES: Mapping[str, StockClass] = {
    "esm": StockClass("EsmConfig", "EsmModel", "encoder.layer", _NO_POOLER),
    "bert": StockClass("BertConfig", "BertModel", "encoder.layer", _NO_POOLER),
    "megatron-bert": StockClass(
        "MegatronBertConfig", "MegatronBertModel", "encoder.layer", _NO_POOLER
    ),
    "modernbert": StockClass("ModernBertConfig", "ModernBertModel", "layers", {}),
    "gpt2": StockClass("GPT2Config", "GPT2Model", "h", {}),
    "llama": StockClass("LlamaConfig", "LlamaModel", "layers", {}),
    "mistral": StockClass("MistralConfig", "MistralModel", "layers", {}),
    "mixtral": StockClass("MixtralConfig", "MixtralModel", "layers", {}),
    "mamba": StockClass("MambaConfig", "MambaModel", "layers", {}),
}
"""Classes by the `model_type` of a config.json; no other is made."""

CAUSAL = frozenset({"gpt2", "llama", "mistral", "mixtral", "mamba"})
"""Those that see only what precedes a base."""

_IGNORED = (
    "auto_map",
    "architectures",
    "_name_or_path",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "model_type",
    "use_cache",
)
_HEADS = ("lm_head", "cls", "pooler", "contact_head", "score", "classifier", "head", "decoder")


class _Reached(Exception):  # noqa: N818 - an event, not an error
    """The tap was reached; later blocks are not to be run."""


class StockModel:
    """A model of transformers as a `protocol.TokenLanguageModel`."""

    def __init__(
        self, model: nn.Module, blocks: nn.ModuleList, tokenizer: Tokenizer, plan: TokenPlan
    ) -> None:
        self.model = model
        self.blocks = blocks
        self.tokenizer = tokenizer
        self.plan = plan

    @property
    def width(self) -> int:
        """Channels of the residual stream."""
        return int(_config(self.model).hidden_size)

    @property
    def n_blocks(self) -> int:
        """Blocks of the model."""
        return len(self.blocks)

    @property
    def max_length(self) -> None:
        """A window of more tokens than the model reads is read in pieces."""
        return

    @property
    def max_tokens(self) -> int | None:
        """Most tokens in a piece, marks not counted; None where there is no limit."""
        config = _config(self.model)
        positions = getattr(config, "max_position_embeddings", None)
        if positions is None:
            return None
        # ESM counts positions from its padding token's index on.
        first = (config.pad_token_id or 0) + 1 if config.model_type == "esm" else 0
        return int(positions) - int(first) - len(self.plan.prefix) - len(self.plan.suffix)

    @torch.inference_mode()
    def token_activations(self, codes: Tensor, layer: int) -> TokenActivations:
        """Residual stream at each token; see `protocol.TokenLanguageModel`.

        A window of more tokens than the model reads is read in pieces of as many as it
        does, one after the other; what a piece begins with has no context then.
        """
        check_window(codes, layer=layer, n_blocks=self.n_blocks, max_length=None)
        windows = [self.tokenizer(row) for row in codes.cpu().numpy()]
        pieces = [
            (index, piece)
            for index, tokens in enumerate(windows)
            for piece in _pieces(tokens, self.max_tokens)
        ]
        marks = len(self.plan.prefix)
        if not pieces:
            none = np.empty(0, dtype=np.int64)
            return TokenActivations(none, none, none, torch.zeros(0, self.width).to(codes.device))
        ids, mask = self._batch([piece.id for _, piece in pieces])
        h = self._residual(ids.to(codes.device), mask.to(codes.device), layer).float()
        parts = [h[row, marks : marks + len(piece.id)] for row, (_, piece) in enumerate(pieces)]
        return TokenActivations(
            window=np.repeat([i for i, _ in pieces], [len(piece.id) for _, piece in pieces]),
            start=np.concatenate([piece.start for _, piece in pieces]),
            end=np.concatenate([piece.end for _, piece in pieces]),
            h=torch.cat(parts),
        )

    @torch.inference_mode()
    def activations(self, codes: Tensor, layer: int) -> Tensor:
        """Residual stream spread over the bases; see `protocol.LanguageModel.activations`.

        A base that no token holds has zeros.
        """
        found = self.token_activations(codes, layer)
        batch, length = codes.shape
        sizes = found.end - found.start
        first = found.window * length + found.start
        token = np.repeat(np.arange(len(sizes)), sizes)
        base = np.repeat(first - (sizes.cumsum() - sizes), sizes) + np.arange(len(token))
        out = torch.zeros(batch * length, self.width, device=found.h.device)
        index = torch.from_numpy(base).to(out.device)
        out.index_add_(0, index, found.h[torch.from_numpy(token).to(out.device)])
        held = torch.from_numpy(cover(found, (batch, length))).to(out.device).clamp(min=1)
        return out.view(batch, length, -1) / held[:, :, None]

    @torch.inference_mode()
    def log_probabilities(self, codes: Tensor) -> Tensor:
        """NaN: these models are loaded without their heads; float32 [batch, length, 4]."""
        return torch.full((*codes.shape, 4), float("nan"), device=codes.device)

    def _batch(self, pieces: list[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
        """Tokens and mask of a batch, padded on the right; int64 [pieces, tokens]."""
        plan = self.plan
        longest = max(len(piece) for piece in pieces) + len(plan.prefix) + len(plan.suffix)
        ids = np.full((len(pieces), longest), plan.pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, piece in enumerate(pieces):
            whole = np.concatenate([plan.prefix, piece, plan.suffix]).astype(np.int64)
            ids[row, : len(whole)] = whole
            mask[row, : len(whole)] = 1
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def _residual(self, ids: Tensor, mask: Tensor, layer: int) -> Tensor:
        """Residual stream after `layer` blocks, [pieces, tokens, width]."""
        caught: list[Tensor] = []

        def before(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            caught.append(args[0] if args else kwargs["hidden_states"])
            raise _Reached

        def after(block: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            caught.append(output[0] if isinstance(output, tuple) else output)
            raise _Reached

        if layer < self.n_blocks:
            hook = self.blocks[layer].register_forward_pre_hook(before, with_kwargs=True)
        else:
            hook = self.blocks[-1].register_forward_hook(after)
        try:
            self.model(input_ids=ids, attention_mask=mask)
        except _Reached:
            return caught[0]
        finally:
            hook.remove()
        raise WeightsError(
            f"{type(self.model).__name__} did not run its block {layer}; this version of "
            "transformers does not fit saetrack"
        )


def load_huggingface(
    card: ModelCard, state: Mapping[str, Tensor], folder: Path | None, dtype: str = "float32"
) -> StockModel:
    """Make a model of transformers from a card and its weights.

    Parameters
    ----------
    card : ModelCard
        Its config holds ``transformers`` (what config.json says) and ``tokens`` (the fields
        of `workers.tokens.TokenPlan`).
    state : mapping of str to tensor
        The weights, under the names the library saves, with or without a head's.
    folder : Path
        Where the tokenizer's file lies.
    dtype : str
        Number format of the computation.

    Returns
    -------
    model : StockModel
        In evaluation mode, on the device of the weights.

    Raises
    ------
    WeightsError
        If transformers is not installed, the class is not of `STOCK_CLASSES`, or the weights
        or the tokenizer's file do not fit.
    """
    sizes, plan = _read_config(card)
    if folder is None:
        raise WeightsError(f"model {card.id!r} needs the folder of its tokenizer's file")
    tokenizer = make_tokenizer(plan, folder)
    transformers = _transformers()
    stock = STOCK_CLASSES[sizes["model_type"]]
    config = make_config(sizes, transformers)
    tensors = {name: state[name] for name in state}
    device = next(iter(tensors.values())).device if tensors else torch.device("cpu")
    try:
        model, info = getattr(transformers, stock.model).from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            local_files_only=True,
            # reported with the missing ones below, and refused
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=getattr(torch, dtype),
            **stock.arguments,
        )
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"the weights of model {card.id!r} make no {stock.model}: {error}"
        ) from error
    missing = sorted(info["missing_keys"])
    unknown = sorted(key for key in info["unexpected_keys"] if key.split(".")[0] not in _HEADS)
    if missing or unknown or info["mismatched_keys"]:
        raise WeightsError(
            f"the weights of model {card.id!r} are not those of a {stock.model} of its sizes; "
            f"missing: {', '.join(missing[:5]) or 'none'}; unknown: "
            f"{', '.join(unknown[:5]) or 'none'}; of another shape: "
            f"{len(info['mismatched_keys'])}"
        )
    model = model.to(device).requires_grad_(False).eval()
    return StockModel(model, model.get_submodule(stock.blocks), tokenizer, plan)


def make_config(sizes: Mapping[str, Any], transformers: ModuleType | None = None) -> Any:
    """A configuration of transformers from the content of a config.json.

    Raises
    ------
    WeightsError
        If its model type is not of `STOCK_CLASSES`, it asks for code of its repository, or
        its values are not possible.
    """
    check_stock(sizes)
    transformers = transformers or _transformers()
    values = {name: value for name, value in sizes.items() if name not in _IGNORED}
    try:
        return getattr(transformers, STOCK_CLASSES[sizes["model_type"]].config)(**values)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"config.json has values that make no model: {error}") from error


def check_stock(sizes: Mapping[str, Any]) -> None:
    """Refuse a config.json that is not of a stock class.

    Raises
    ------
    WeightsError
        If it needs code from its repository, another class, or quantised weights.
    """
    if sizes.get("auto_map"):
        raise WeightsError(
            "config.json asks for Python code of its repository (auto_map), which saetrack never "
            "runs; use a model of a stock class of transformers: " + ", ".join(STOCK_CLASSES)
        )
    if sizes.get("model_type") not in STOCK_CLASSES:
        raise WeightsError(
            f"config.json has the model_type {sizes.get('model_type')!r}; supported are "
            f"{', '.join(STOCK_CLASSES)}"
        )
    if sizes.get("quantization_config"):
        raise WeightsError("config.json has quantised weights; use the repository's full weights")


def _read_config(card: ModelCard) -> tuple[dict[str, Any], TokenPlan]:
    sizes, tokens = card.config.get("transformers"), card.config.get("tokens")
    if not isinstance(sizes, dict) or not isinstance(tokens, dict):
        raise WeightsError(
            f"the config of model {card.id!r} must hold 'transformers' and 'tokens'; make the card "
            "with `saetrack models add`"
        )
    check_stock(sizes)
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in tokens.items()
    }
    try:
        return sizes, TokenPlan(**values)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"the tokens of model {card.id!r} make no plan: {error}") from error


def _transformers() -> ModuleType:
    """The library, told not to reach for a hub."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise WeightsError(
            "this model needs the package transformers; install saetrack's requirements again"
        ) from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _pieces(tokens: WindowTokens, limit: int | None) -> list[WindowTokens]:
    step = limit or max(1, len(tokens.id))
    return [
        WindowTokens(*(column[first : first + step] for column in tokens))
        for first in range(0, len(tokens.id), step)
    ]


def _config(model: nn.Module) -> Any:
    return model.config
