"""A folder of a transformers repository, registered as a model.

    config.json, weights (safetensors, in one file or several, or pytorch_model.bin),
    vocab.txt | vocab.json | tokenizer.json   -->   model.json, model.safetensors, the vocabulary

How the model cuts DNA is read from its vocabulary, or said with `tokens`; the marks
it puts at the ends of a window are read from the tokenizer's own files.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from annotations.cards import TOKENIZATIONS, ModelCard
from annotations.errors import OptionError, WeightsError
from workers.checkpoints import Progress, open_checkpoint
from workers.install import MODEL_WEIGHTS, UNHASHED, Installed, install_model
from workers.known_models import known_release
from workers.language_models.huggingface import CAUSAL, STOCK_CLASSES, check_stock, make_config
from workers.language_models.tensor_file import TensorFile
from workers.sae_lens import read_config
from workers.tokens import TokenPlan, make_tokenizer, read_vocabulary

_VOCABULARIES = ("vocab.txt", "vocab.json", "tokenizer.json")
_CLASSES_WITH_OVERLAP = ("bert", "megatron-bert")
_LONGEST_K = 8
_REFERENCE_BASES = 6000
_NOT_SIZES = ("auto_map", "architectures", "_name_or_path", "transformers_version")


class Shards(Mapping[str, Tensor]):
    """Tensors of several safetensors files, each read when it is asked for."""

    def __init__(self, files: list[TensorFile]) -> None:
        self._of = {name: file for file in files for name in file}

    def __getitem__(self, name: str) -> Tensor:
        return self._of[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def __len__(self) -> int:
        return len(self._of)


def add_stock_folder(
    folder: Path,
    into: Path,
    *,
    model_id: str | None = None,
    tokens: str | None = None,
    licence: str | None = None,
    source: str | None = None,
    device: torch.device | None = None,
    on_progress: Progress = lambda what: None,
) -> Installed:
    """Register a local folder of transformers.

    Parameters
    ----------
    folder : Path
        As fetched; the Python files in it are not read.
    into : Path
        Models folder.
    model_id : str, optional
        Id of the model here; the folder's name unless told.
    tokens : str, optional
        One of `annotations.cards.TOKENIZATIONS`; told from the vocabulary otherwise.
    licence, source : str, optional
        For the card; those of `models.toml` unless told.
    device : torch.device, optional
        Where the canary runs.
    on_progress : callable
        Told what is done next.

    Returns
    -------
    installed : Installed

    Raises
    ------
    OptionError
        If `tokens` is not known, or cannot be told.
    WeightsError
        If the folder is not of a stock class, or a file is missing or does not fit.
    """
    sizes = read_config(folder / "config.json")
    check_stock(sizes)
    sizes = {name: value for name, value in sizes.items() if name not in _NOT_SIZES}
    plan = plan_of(folder, sizes, tokens)
    weights = _weights(folder)
    config = make_config(sizes)
    release = known_release(folder.name)
    # what the card says of sizes is what transformers makes of config.json, defaults included
    sizes |= {"hidden_size": config.hidden_size, "num_hidden_layers": config.num_hidden_layers}
    per_token = _bases_per_token(plan, folder)
    name = model_id or folder.name
    kind = str(sizes["model_type"])
    longest = _longest(config, plan, per_token)
    card = ModelCard(
        id=name,
        title=f"{name} ({STOCK_CLASSES[kind].model} of transformers)",
        architecture="huggingface",
        config={
            "transformers": sizes,
            "tokens": {
                "kind": plan.kind,
                "k": plan.k,
                "file": plan.file,
                "prefix": list(plan.prefix),
                "suffix": list(plan.suffix),
                "pad": plan.pad,
                "unknown": plan.unknown,
            },
        },
        weights=MODEL_WEIGHTS,
        sha256=UNHASHED,
        n_parameters=sum(tensor.numel() for tensor in weights.values()),
        context=min(4096, (longest or 8192) // 2),
        max_length=longest,
        nt_per_token=per_token,
        tokenization=plan.kind,
        causal=kind in CAUSAL,
        official_name=release.name if release else None,
        licence=licence or (release.licence if release else "not stated"),
        source=source or (release.repository if release else folder.name),
    )
    done = install_model(
        into,
        card,
        weights,
        files=[folder / plan.file],
        device=device,
        on_progress=on_progress,
    )
    notes = [
        f"{folder.name}: {STOCK_CLASSES[kind].model}, {config.num_hidden_layers} blocks of "
        f"{config.hidden_size} channels; tokens: {plan.kind}"
        + (f" of {plan.k}" if plan.k > 1 else "")
        + f" from {plan.file}, marks before {list(plan.prefix)} and after {list(plan.suffix)}"
    ]
    if per_token != 1:
        notes.append(
            f"{per_token:.3g} bases to a token: a token's activations are written at each of its "
            "bases, so a track is no finer than that"
        )
    if not card.causal:
        notes.append(
            "the model reads both ways, and a window's last bases have nothing to their right: "
            "their activations are the less reliable the nearer they are to its end"
        )
    return done._replace(notes=(*notes, *done.notes))


def plan_of(folder: Path, sizes: Mapping[str, Any], tokens: str | None) -> TokenPlan:
    """How a folder's model reads DNA.

    Parameters
    ----------
    folder : Path
        Holds a vocabulary and, often, `tokenizer_config.json`.
    sizes : mapping
        Content of config.json.
    tokens : str, optional
        The kind, where the user says it.

    Returns
    -------
    plan : TokenPlan

    Raises
    ------
    OptionError
        If the kind is not known, or cannot be told.
    WeightsError
        If there is no vocabulary.
    """
    if tokens is not None and tokens not in TOKENIZATIONS:
        raise OptionError(f"tokens must be one of {', '.join(TOKENIZATIONS)}, got {tokens!r}")
    file = next((name for name in _VOCABULARIES if (folder / name).is_file()), None)
    if tokens == "bpe" or _is_learnt(folder):
        file = "tokenizer.json"
    if file is None or not (folder / file).is_file():
        raise WeightsError(
            f"{folder} has no vocabulary ({', '.join(_VOCABULARIES)}); fetch the tokenizer's files"
        )
    vocabulary = read_vocabulary(folder / file)
    kind, k = _kind_of(folder, vocabulary, sizes, tokens)
    prefix, suffix = _marks(folder, vocabulary, sizes)
    special = _special(folder)
    pad = _index(vocabulary, special.get("pad_token"))
    return TokenPlan(
        kind=kind,
        k=k,
        file=file,
        prefix=prefix,
        suffix=suffix,
        pad=int(sizes.get("pad_token_id") or 0) if pad is None else pad,
        unknown=_index(vocabulary, special.get("unk_token"), "[UNK]", "<unk>"),
    )


def _kind_of(
    folder: Path, vocabulary: Mapping[str, int], sizes: Mapping[str, Any], tokens: str | None
) -> tuple[str, int]:
    sizes_of_kmers = [k for k in range(2, _LONGEST_K + 1) if _has_kmers(vocabulary, k)]
    if tokens in ("base", "bpe"):
        return tokens, 1
    if tokens is None and _is_learnt(folder):
        return "bpe", 1
    if tokens is None and not sizes_of_kmers:
        return "base", 1
    if not sizes_of_kmers:
        raise OptionError(
            f"the vocabulary of {folder.name} holds all k-mers of no k up to {_LONGEST_K}; "
            "use --tokens base or bpe"
        )
    overlap = sizes.get("model_type") in _CLASSES_WITH_OVERLAP
    return tokens or ("overlapping_kmer" if overlap else "kmer"), sizes_of_kmers[-1]


def _has_kmers(vocabulary: Mapping[str, int], k: int) -> bool:
    words = [word for word in vocabulary if len(word) == k and set(word) <= set("ACGT")]
    return bool(len(words) == 4**k)


def _is_learnt(folder: Path) -> bool:
    """Whether tokenizer.json holds a learnt vocabulary: merges, or words with scores."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return False
    model = read_config(path).get("model")
    if not isinstance(model, dict):
        return False
    return bool(model.get("merges") or model.get("type") == "Unigram")


def _marks(
    folder: Path, vocabulary: Mapping[str, int], sizes: Mapping[str, Any]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Marks before and after the tokens, as the tokenizer of the folder puts them.

    tokenizer.json says it; without it, ESM puts <cls> and, where it has one, <eos>, BERT
    [CLS] and [SEP], and causal models nothing.
    """
    kind = sizes.get("model_type")
    template = _template(folder)
    if template is not None:
        before, after = template
        return _indices(vocabulary, before), _indices(vocabulary, after)
    if kind in CAUSAL:
        return (), ()
    special = _special(folder)
    if kind == "esm":
        last = special.get("eos_token")
        return (
            _indices(vocabulary, [special.get("cls_token") or "<cls>"]),
            _indices(vocabulary, [last] if last else []),
        )
    first, last = special.get("cls_token") or "[CLS]", special.get("sep_token") or "[SEP]"
    return _indices(vocabulary, [first]), _indices(vocabulary, [last])


def _template(folder: Path) -> tuple[list[str], list[str]] | None:
    """Marks of tokenizer.json; None where there is no such file, empty where it puts none."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    processor = read_config(path).get("post_processor")
    if not isinstance(processor, dict):
        return [], []
    steps = processor.get("processors") or [processor]
    for step in steps:
        if step.get("type") == "TemplateProcessing":
            pieces = [_piece(piece) for piece in step["single"]]
            middle = pieces.index(None)
            marks = [[word for word in part if word] for part in (pieces[:middle], pieces[middle:])]
            return marks[0], marks[1]
        if step.get("type") in ("BertProcessing", "RobertaProcessing"):
            return [step["cls"][0]], [step["sep"][0]]
    return [], []


def _piece(piece: Mapping[str, Any]) -> str | None:
    """The mark of a step of a template; None for the sequence."""
    mark = piece.get("SpecialToken")
    return None if mark is None else str(mark["id"])


def _special(folder: Path) -> dict[str, str | None]:
    """Special tokens by their role, from the two files that may hold them."""
    found: dict[str, str | None] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        path = folder / name
        content = read_config(path) if path.is_file() else {}
        for key, value in content.items():
            if key.endswith("_token"):
                word = value.get("content") if isinstance(value, dict) else value
                found[key] = word if isinstance(word, str) else None
    return found


def _index(vocabulary: Mapping[str, int], *words: str | None) -> int | None:
    return next((vocabulary[word] for word in words if word and word in vocabulary), None)


def _indices(vocabulary: Mapping[str, int], words: list[str]) -> tuple[int, ...]:
    missing = [word for word in words if word not in vocabulary]
    if missing:
        raise WeightsError(
            f"the tokenizer puts {', '.join(missing)} at the ends of a window, which its "
            "vocabulary has not"
        )
    return tuple(vocabulary[word] for word in words)


def _weights(folder: Path) -> Mapping[str, Tensor]:
    """The folder's tensors, without second names of the same memory."""
    index = folder / f"{MODEL_WEIGHTS}.index.json"
    if (folder / MODEL_WEIGHTS).is_file():
        return TensorFile(folder / MODEL_WEIGHTS)
    if index.is_file():
        names = sorted(set(read_config(index)["weight_map"].values()))
        return Shards([TensorFile(folder / Path(name).name) for name in names])
    path = folder / "pytorch_model.bin"
    if not path.is_file():
        raise WeightsError(
            f"{folder} has no weights: {MODEL_WEIGHTS}, {index.name} with its files, or {path.name}"
        )
    content = open_checkpoint(path)
    seen: set[tuple[int, tuple[int, ...]]] = set()
    kept = {}
    for name, value in content.items():
        key = (value.data_ptr(), tuple(value.shape)) if isinstance(value, Tensor) else (0, ())
        if isinstance(value, Tensor) and (key not in seen or not value.numel()):
            kept[name] = value
            seen.add(key)
    return kept


def _bases_per_token(plan: TokenPlan, folder: Path) -> float:
    """Bases of a token; of a learnt vocabulary, the mean over made-up sequence."""
    if plan.kind != "bpe":
        return plan.k
    draw = torch.randint(0, 4, (_REFERENCE_BASES,), generator=torch.Generator().manual_seed(0))
    found = make_tokenizer(plan, folder)(draw.to(torch.uint8).numpy())
    return round(max(1.01, _REFERENCE_BASES / max(1, len(found.id))), 2)


def _longest(config: Any, plan: TokenPlan, per_token: float) -> int | None:
    """Most bases in a window read at once, where its bases are known."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    first = (config.pad_token_id or 0) + 1 if config.model_type == "esm" else 0
    tokens = positions - first - len(plan.prefix) - len(plan.suffix)
    if plan.kind == "overlapping_kmer":
        return int(tokens + plan.k - 1)
    return int(tokens * per_token)
