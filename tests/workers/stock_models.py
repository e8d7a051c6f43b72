"""Tiny folders of transformers repositories, one for each kind of token, with random weights."""

import json
from itertools import product
from pathlib import Path

import torch

SMALL = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
}


def kmers(k: int) -> list[str]:
    return ["".join(word) for word in product("ACGT", repeat=k)]


VOCABULARIES = {
    "base": ["<cls>", "<pad>", "<unk>", "<eos>", *"ACGTN"],
    "kmer": ["<unk>", "<pad>", "<cls>", *kmers(3), *"ATCGN"],
    "overlapping_kmer": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *kmers(3)],
    "bpe": ["[UNK]", "[PAD]", *"ACGTN", "AC", "GT", "TT", "ACGT", "TTA"],
}
MERGES = [("A", "C"), ("G", "T"), ("T", "T"), ("AC", "GT"), ("TT", "A")]


def make_stock_folder(root: Path, kind: str) -> Path:
    """A folder as `save_pretrained` writes it, of a model with its head, for a kind of token."""
    import transformers

    words = VOCABULARIES[kind]
    folder = root / f"tiny-{kind}"
    folder.mkdir(parents=True)
    transformers.utils.logging.disable_progress_bar()
    if kind == "bpe":
        config = transformers.MistralConfig(
            **SMALL, num_key_value_heads=2, vocab_size=len(words), max_position_embeddings=48
        )
        kind_of_model = transformers.MistralForCausalLM
        write_bpe(folder, words)
    elif kind == "overlapping_kmer":
        config = transformers.BertConfig(**SMALL, vocab_size=len(words), max_position_embeddings=48)
        kind_of_model = transformers.BertForMaskedLM
        (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    else:
        config = transformers.EsmConfig(
            **SMALL,
            vocab_size=len(words),
            max_position_embeddings=48,
            pad_token_id=1,
            mask_token_id=2,
            position_embedding_type="rotary" if kind == "base" else "absolute",
            token_dropout=False,
        )
        kind_of_model = transformers.EsmForMaskedLM
        (folder / "vocab.txt").write_text("\n".join(words))
        special = {"cls_token": "<cls>", "pad_token": "<pad>", "unk_token": "<unk>"}
        special |= {"eos_token": "<eos>" if kind == "base" else None}
        (folder / "tokenizer_config.json").write_text(json.dumps(special))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = kind_of_model(config)
        for weight in model.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    return folder


def write_bpe(folder: Path, words: list[str]) -> None:
    from tokenizers import Tokenizer, models

    model = models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=MERGES)
    Tokenizer(model).save(str(folder / "tokenizer.json"))


def cut_by_hand(kind: str, text: str) -> list[tuple[str, int, int]]:
    """Words, starts and ends of a sequence's tokens, without the code that is tested."""
    if kind == "base":
        return [(base, i, i + 1) for i, base in enumerate(text)]
    if kind == "overlapping_kmer":
        return [(text[i : i + 3], i, i + 3) for i in range(len(text) - 2)]
    out: list[tuple[str, int, int]] = []
    at = 0
    if kind == "kmer":
        while at < len(text):
            step = 3 if len(text) - at >= 3 else 1
            out.append((text[at : at + step], at, at + step))
            at += step
        return out
    parts = list(text)
    for left, right in MERGES:  # by rank, as byte-pair encoding does
        merged: list[str] = []
        for part in parts:
            if merged and (merged[-1], part) == (left, right):
                merged[-1] = left + right
            else:
                merged.append(part)
        parts = merged
    for part in parts:
        out.append((part, at, at + len(part)))
        at += len(part)
    return out
