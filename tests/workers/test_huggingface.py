"""Models of transformers: the tap against the library's own, and tracks against a loop.

The tracks of a tiny model of each kind of token are computed a second time here,
with strings, the library's own forward pass and a loop over bases.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
import torch

from annotations.cards import find_cards, read_model_card
from annotations.errors import OptionError, WeightsError
from annotations.sequences import encode_bases
from tests.workers.stock_models import VOCABULARIES, cut_by_hand, make_stock_folder
from workers.annotate import Request, annotate_file
from workers.convert_sae import SaeRequest, convert_sae
from workers.language_models.huggingface import STOCK_CLASSES, check_stock, load_huggingface
from workers.language_models.tensor_file import TensorFile
from workers.sae import SparseCoder
from workers.sae_lens import save_sae_lens
from workers.stock_folder import add_stock_folder

transformers = pytest.importorskip("transformers")

KINDS = list(VOCABULARIES)
WIDTH, FEATURES, LAYER = 24, 32, 1
STRIDE, CONTEXT = 30, 12
MARKS = {
    "base": (["<cls>"], ["<eos>"]),
    "kmer": (["<cls>"], []),
    "overlapping_kmer": (["[CLS]"], ["[SEP]"]),
    "bpe": ([], []),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder of each kind, registered, with a dictionary."""
    root = tmp_path_factory.mktemp("stock")
    for kind in KINDS:
        folder = make_stock_folder(root / "fetched", kind)
        add_stock_folder(folder, root / "models", licence="made for a test")
        sae = root / f"sae-{kind}"
        sae.mkdir()
        save_sae_lens(random_coder(), sae)
        request = SaeRequest(
            model_id=folder.name,
            dictionary_id=f"{folder.name}-32",
            block=LAYER - 1,
            stride=STRIDE,
            context=CONTEXT,
        )
        convert_sae(sae, root / "models", [root / "models"], request)
    return root


def random_coder() -> SparseCoder:
    draw = torch.Generator().manual_seed(1)
    encoder = torch.randn(WIDTH, FEATURES, generator=draw)
    return SparseCoder(
        W_enc=encoder,
        b_enc=torch.zeros(FEATURES),
        threshold=torch.full((FEATURES,), 4.0),
        W_dec=encoder.T.contiguous(),
        b_dec=torch.zeros(WIDTH),
    )


def sequence(length: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length))


def opened(place: Path, kind: str):
    folder = place / "models" / f"tiny-{kind}"
    card = read_model_card(folder / "model.json")
    return load_huggingface(card, TensorFile(folder / card.weights), folder)


def by_hand(place: Path, kind: str, text: str, layer: int):
    """Tokens of a window, and the residual stream that the library itself gives at them."""
    words = VOCABULARIES[kind]
    tokens = cut_by_hand(kind, text)
    before, after = MARKS[kind]
    ids = [words.index(word) for word in [*before, *(word for word, *_ in tokens), *after]]
    model = transformers.AutoModel.from_pretrained(
        place / "fetched" / f"tiny-{kind}", local_files_only=True
    ).eval()
    with torch.no_grad():
        out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    hidden = out.hidden_states[layer][0]
    return tokens, hidden[len(before) : len(before) + len(tokens)]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [0, 1])
def test_the_tap_is_that_of_the_library(place, kind, layer):
    text = sequence(25)
    model = opened(place, kind)
    codes = torch.from_numpy(encode_bases(text.encode())[None])
    found = model.token_activations(codes, layer)
    tokens, expected = by_hand(place, kind, text, layer)
    places = list(zip(found.start.tolist(), found.end.tolist(), strict=True))
    assert places == [(start, end) for _, start, end in tokens]
    assert torch.allclose(found.h, expected, atol=1e-4)
    assert (model.width, model.n_blocks) == (WIDTH, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_is_read_the_same_beside_a_longer_one(place, kind):
    model = opened(place, kind)
    codes = np.full((2, 30), 4, np.uint8)
    codes[0, :18] = encode_bases(sequence(18).encode())
    codes[1] = encode_bases(sequence(30, 1).encode())
    both = model.token_activations(torch.from_numpy(codes), 2)
    alone = model.token_activations(torch.from_numpy(codes[:1, :18]), 2)
    assert torch.allclose(both.h[both.window == 0], alone.h, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_activations_of_bases_are_the_mean_over_their_tokens(place, kind):
    model = opened(place, kind)
    codes = torch.from_numpy(encode_bases(sequence(20).encode())[None])
    found, tokens = model.activations(codes, 1)[0], model.token_activations(codes, 1)
    for base in range(20):
        held = (tokens.start <= base) & (base < tokens.end)
        assert torch.allclose(found[base], tokens.h[torch.from_numpy(held)].mean(0), atol=1e-4)
    assert model.log_probabilities(codes).isnan().all()


def test_a_window_of_too_many_tokens_is_read_in_pieces(place):
    model = opened(place, "kmer")
    assert model.max_tokens == 48 - 2 - 1  # positions, less those of padding and of <cls>
    text = sequence(3 * 45 + 30)
    codes = torch.from_numpy(encode_bases(text.encode())[None])
    found = model.token_activations(codes, 1)
    first, second = by_hand(place, "kmer", text[:135], 1), by_hand(place, "kmer", text[135:], 1)
    assert torch.allclose(found.h, torch.cat([first[1], second[1]]), atol=1e-4)
    assert found.end.tolist()[-1] == len(text)
    nothing = model.token_activations(torch.full((2, 5), 4, dtype=torch.uint8), 1)
    assert nothing.h.shape == (0, WIDTH)


def spread_by_hand(place: Path, kind: str, text: str) -> np.ndarray:
    """Activations of every base and feature of the forward strand, window by window."""
    coder = random_coder()
    track = np.zeros((len(text), FEATURES))
    for start in range(0, len(text), STRIDE):
        first, end = max(0, start - CONTEXT), min(start + STRIDE, len(text))
        tokens, h = by_hand(place, kind, text[first:end], LAYER)
        pre = (h @ coder.W_enc).numpy()
        f = np.where(pre > 4, pre, 0)
        for base in range(start, end):
            held = [i for i, (_, s, e) in enumerate(tokens) if s <= base - first < e]
            track[base] = f[held].mean(axis=0)
    return track


@pytest.mark.parametrize("kind", KINDS)
def test_a_track_is_the_spread_of_its_tokens_base_by_base(place, tmp_path, kind):
    text = sequence(3 * STRIDE + 7, 5)
    (tmp_path / "in.fa").write_text(f">r\n{text}\n")
    expected = spread_by_hand(place, kind, text)
    most = np.argsort(-(expected > 0).sum(axis=0), kind="stable")[:3].tolist()
    annotate_file(
        Request(
            sequences=tmp_path / "in.fa",
            out=tmp_path / "out",
            strands="forward",
            dictionary=f"tiny-{kind}-32",
            signal=tuple(map(str, most)),
            top=0,
            models=(place / "models",),
        )
    )
    for feature in most:
        path = tmp_path / "out" / "features" / str(feature) / "signal.bw"
        track = pyBigWig.open(str(path))
        found = np.nan_to_num(track.values("r", 0, len(text), numpy=True))
        track.close()
        assert (expected[:, feature] > 0).any()
        # stored in 16 bits
        assert np.allclose(found, expected[:, feature], rtol=2e-3, atol=0)
    made_with = json.loads((tmp_path / "out" / "provenance.json").read_text())["dictionary"]
    assert made_with["tokenization"] == kind
    assert ("written at all of its bases" in made_with["resolution"]) == (kind in ("kmer", "bpe"))
    if kind == "kmer":
        assert all(np.ptp(expected[i : i + 3], axis=0).max() == 0 for i in range(0, 90, 3))


def test_cards_say_how_dna_is_cut(place):
    cards = find_cards([place / "models"])
    said = {
        kind: (cards.model(f"tiny-{kind}"), cards.dictionary(f"tiny-{kind}-32")) for kind in KINDS
    }
    for kind, (model, dictionary) in said.items():
        assert model.tokenization == dictionary.tokenization == kind
        assert model.nt_per_token == dictionary.nt_per_token
    assert [said[kind][0].nt_per_token for kind in KINDS[:3]] == [1, 3, 3]
    assert 1.1 < said["bpe"][0].nt_per_token < 2
    assert [said[kind][0].causal for kind in KINDS] == [False, False, False, True]
    assert [said[kind][0].max_length for kind in KINDS[:3]] == [44, 135, 48]
    assert said["kmer"][0].files.keys() == {"vocab.txt"}


def test_windows_of_kmers_begin_with_a_token(place):
    asked = SaeRequest(model_id="tiny-kmer", dictionary_id="x", block=0, stride=31, context=12)
    with pytest.raises(OptionError, match="multiples of 3, got 31 and 12"):
        convert_sae(place / "sae-kmer", place / "models", [place / "models"], asked)


def test_a_note_says_that_a_track_is_no_finer_than_its_tokens(tmp_path):
    folder = make_stock_folder(tmp_path, "kmer")
    done = add_stock_folder(folder, tmp_path / "models")
    assert any("3 bases to a token" in note for note in done.notes)
    assert any("reads both ways" in note for note in done.notes)


SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 9}
SIZES |= {"intermediate_size": 20, "num_key_value_heads": 2, "num_local_experts": 2}
SIZES |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1}
SIZES |= {"sep_token_id": 2}
HEADS = {
    "esm": "EsmForMaskedLM",
    "bert": "BertForMaskedLM",
    "megatron-bert": "MegatronBertForMaskedLM",
    "modernbert": "ModernBertForMaskedLM",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "mamba": "MambaForCausalLM",
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("model_type", HEADS)
def test_every_stock_class_gives_the_tap_of_the_library(tmp_path, model_type):
    transformers.utils.logging.disable_progress_bar()
    stock = STOCK_CLASSES[model_type]
    config = getattr(transformers, stock.config)(**SIZES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = getattr(transformers, HEADS[model_type])(config).eval()
    folder = tmp_path / model_type
    whole.save_pretrained(folder)
    words = ["<pad>", "<cls>", "<eos>", "<unk>", *"ACGTN"]
    (folder / "vocab.txt").write_text("\n".join(words))
    special = {"cls_token": "<cls>", "sep_token": "<eos>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    add_stock_folder(folder, tmp_path / "models")
    home = tmp_path / "models" / model_type
    card = read_model_card(home / "model.json")
    model = load_huggingface(card, TensorFile(home / card.weights), home)
    text = sequence(20)
    codes = torch.from_numpy(encode_bases(text.encode())[None])
    plan = card.config["tokens"]
    ids = [*plan["prefix"], *(words.index(base) for base in text), *plan["suffix"]]
    with torch.no_grad():
        out = whole(input_ids=torch.tensor([ids]), output_hidden_states=True)
    assert model.n_blocks == 3
    for layer in range(3):
        mine = model.token_activations(codes, layer).h
        first = len(plan["prefix"])
        # Mamba's list begins after its first block, that of the others before it
        if model_type == "mamba" and layer == 0:
            continue
        theirs = out.hidden_states[layer - (model_type == "mamba")][0, first : first + 20]
        assert torch.allclose(mine, theirs, atol=1e-5)
        assert layer == 0 or theirs.std() > 1e-4


def test_later_blocks_are_not_run(place, monkeypatch):
    model = opened(place, "base")
    codes = torch.zeros(1, 8, dtype=torch.uint8)
    expected = model.token_activations(codes, 1).h

    def fail(*args, **kwargs):
        raise AssertionError("a later block was run")

    monkeypatch.setattr(model.blocks[1], "forward", fail)
    assert torch.equal(model.token_activations(codes, 1).h, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auto_map": {"AutoModel": "modeling.Model"}}, "never runs"),
        ({"model_type": "caduceus"}, "model_type 'caduceus'; supported are esm, bert"),
        ({"quantization_config": {"bits": 4}}, "quantised weights"),
    ],
)
def test_what_is_no_stock_class_is_refused(change, message):
    with pytest.raises(WeightsError, match=message):
        check_stock({"model_type": "esm"} | change)


def test_code_in_the_folder_is_never_run(tmp_path):
    folder = make_stock_folder(tmp_path, "base")
    (folder / "modeling_evil.py").write_text("raise SystemExit('run')")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_evil.Evil"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="auto_map"):
        add_stock_folder(folder, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_weights_of_another_size_are_refused_and_leave_nothing(tmp_path):
    folder = make_stock_folder(tmp_path, "base")
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 3}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"missing: encoder\.layer\.2"):
        add_stock_folder(folder, tmp_path / "models")
    assert not (tmp_path / "models" / folder.name).exists()


def test_weights_in_other_files_make_the_same_model(tmp_path):
    """pytorch_model.bin of old and new torch, and shards, as repositories have them."""
    from safetensors.torch import load_file, save_file

    folder = make_stock_folder(tmp_path, "overlapping_kmer")
    whole = add_stock_folder(folder, tmp_path / "a")
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    old = {key.replace("LayerNorm.weight", "LayerNorm.gamma"): v for key, v in state.items()}
    old = {key.replace("LayerNorm.bias", "LayerNorm.beta"): v for key, v in old.items()}
    old["bert.embeddings.position_ids"] = torch.arange(48)[None]
    old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"]
    torch.save(old, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    from_bin = add_stock_folder(folder, tmp_path / "b")
    names = sorted(state)
    shards = [names[::2], names[1::2]]
    for i, part in enumerate(shards):
        save_file({name: state[name] for name in part}, folder / f"model-{i}.safetensors")
    index = {name: f"model-{i}.safetensors" for i, part in enumerate(shards) for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    from_shards = add_stock_folder(folder, tmp_path / "c")
    assert whole.card.canary == from_shards.card.canary == from_bin.card.canary


def test_tokens_that_cannot_be_are_refused(tmp_path):
    folder = make_stock_folder(tmp_path, "base")
    with pytest.raises(OptionError, match="tokens must be one of base, kmer"):
        add_stock_folder(folder, tmp_path / "models", tokens="words")
    with pytest.raises(OptionError, match="holds all k-mers of no k"):
        add_stock_folder(folder, tmp_path / "models", tokens="kmer")
    (folder / "vocab.txt").unlink()
    with pytest.raises(WeightsError, match="has no vocabulary"):
        add_stock_folder(folder, tmp_path / "models")


def test_transformers_is_imported_only_when_it_is_needed():
    code = "import sys, workers.registry, workers.commands.models as m; "
    code += "sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
