"""Cards of language models and dictionaries: what the weights are, without the weights.

    <root>/<model id>/model.json
    <root>/<model id>/<weights file>, and a tokenizer's file where there is one
    <root>/<model id>/<dictionary id>/dictionary.json
    <root>/<model id>/<dictionary id>/cfg.json, sae_weights.safetensors     (a sae-lens folder)
    <root>/<model id>/<dictionary id>/atlas/                                (optional)

A card pins the sha256 of its weights. Cards are JSON and nothing here opens
weights, so the web process can say which models there are without torch.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from annotations.errors import FormatError, OptionError, UnknownNameError

ARCHITECTURES = ("paired_tree", "hyenadna", "stripedhyena2", "huggingface")
"""Architectures a model card may name; `workers.language_models.loading` loads each."""

GATES = ("jumprelu", "topk", "batch_topk")
"""Gates a dictionary card may name: a feature is active where it exceeds its own threshold;
where it is among the k largest of its base; or, for parity with published figures alone, where
it is among the k * L largest of its window of L bases, which makes what is active depend on
where windows begin."""

TAPS = ("residual", "update", "pair", "joint", "block")
"""What a dictionary may read of a model. The residual stream of one read of the sequence, after
`layer` blocks; or what these blocks added to it, the embedding taken away. Or, of a model with a
tower for each strand, both towers at a base: after `layer` blocks, that of the strand that is read
first, the other behind it; or the layer where they meet. Or what the last of the `layer` blocks is
given and, behind it, what it adds: a transcoder reads the first and writes the second."""

TWO_SIDED_TAPS = ("pair", "joint")
"""Those that see what follows a base as well as what precedes it."""

DTYPES = ("float32", "bfloat16")
"""Number formats a language model is computed in; dictionaries are computed in float32."""

TOKENIZATIONS = ("base", "kmer", "overlapping_kmer", "bpe")
"""How a model cuts DNA: into bases; into k-mers that follow each other; into the k-mers that
begin at each base; into words of a learnt vocabulary. Only the first gives a value to each
base; those of the others are spread over the bases of their tokens."""

MODEL_FILE = "model.json"
DICTIONARY_FILE = "dictionary.json"
SAE_WEIGHTS = "sae_weights.safetensors"
CODER_CONFIG = "cfg.json"
ATLAS_FOLDER = "atlas"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CANARY_KEYS = {"sequence", "activations", "tolerance"}

CardT = TypeVar("CardT", "ModelCard", "DictionaryCard")


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What is known of a language model besides its weights."""

    id: str
    """URL-safe name; also the name of its folder."""
    title: str
    """One line for people."""
    architecture: str
    """One of `ARCHITECTURES`."""
    config: dict[str, Any]
    """Sizes, as the architecture's own configuration names them."""
    weights: str
    """Name of the safetensors file beside the card."""
    sha256: str
    """Of that file, in lower-case hexadecimal."""
    n_parameters: int
    """Numbers in the weights."""
    context: int
    """Bases of left context that a base's activations need."""
    max_length: int | None = None
    """Most bases in one window; None where the architecture sets no limit."""
    nt_per_token: float = 1
    """Bases in a token, on average where that varies."""
    tokenization: str = "base"
    """One of `TOKENIZATIONS`."""
    causal: bool = True
    """Whether a base's activations depend on it and on what precedes it alone."""
    alphabet: str = "ACGTN"
    """What the model tells apart, in the order of the base codes."""
    official_name: str | None = None
    """Name of the official release whose weights these are; dictionaries made for one release
    are refused on others."""
    files: dict[str, str] | None = None
    """sha256 of the other files in the card's folder that the model needs, by name."""
    canary: dict[str, Any] | None = None
    """A sequence and activations it must give (see `workers.canary.write_model_canary`)."""
    licence: str
    """SPDX name or a sentence."""
    source: str
    """Where the weights come from: an address and a revision, or how they were trained."""
    random_weights: bool = False
    """Whether the weights were never trained; such a model is for tests and as a control."""
    training: dict[str, Any] | None = None
    """How it was trained."""
    figures: dict[str, Any] | None = None
    """Measured figures; a missing measurement is absent or null, never a default."""

    def __post_init__(self) -> None:
        """Refuse values no model can have.

        Raises
        ------
        FormatError
            If a field's value is not allowed.
        """
        _check_id(self.id)
        _check_sha256("sha256", self.sha256)
        _check_choice("architecture", self.architecture, ARCHITECTURES)
        _check_tokens(self.tokenization, self.nt_per_token)
        for name, sha256 in (self.files or {}).items():
            _check_sha256(f"files[{name!r}]", sha256)
            if Path(name).name != name:
                raise FormatError(f"files must name files in the card's folder, got {name!r}")
        if Path(self.weights).name != self.weights or not self.weights.endswith(".safetensors"):
            raise FormatError(
                f"weights must name a .safetensors file in the card's folder, got {self.weights!r}"
            )
        if min(self.n_parameters, self.nt_per_token) < 1 or self.context < 0:
            raise FormatError(
                "n_parameters and nt_per_token must be at least 1 and context at least 0, got "
                f"{self.n_parameters}, {self.nt_per_token} and {self.context}"
            )


@dataclass(frozen=True, kw_only=True)
class DictionaryCard:
    """What is known of a dictionary besides its weights."""

    id: str
    """URL-safe name, unique among all dictionaries of an installation; its folder's name."""
    title: str
    """One line for people."""
    model_id: str
    """The model it reads."""
    model_sha256: str
    """Of the weights of that model."""
    layer: int
    """Blocks of the model done at the tap; of the tap `block` it is the last of them."""
    d_in: int
    """Channels of the tap."""
    d_sae: int
    """Features."""
    k: int | None
    """Features active at a base on average, as trained; None where that is not known."""
    gate: str = "jumprelu"
    """One of `GATES`."""
    calibration: dict[str, Any] | None = None
    """How its threshold was found on reference sequence (see `workers.calibration`); None where
    it came with the weights."""
    site: str | None = None
    """The tap as its makers call it, such as ``blocks.26``."""
    nt_per_token: float = 1
    """Bases in a token of the model; beyond 1, a token's activations stand at each of its bases."""
    tokenization: str = "base"
    """How the model cuts DNA, one of `TOKENIZATIONS`; the same as on the model's card."""
    published_labels: dict[str, str] | None = None
    """What others published of features, by index: cited, not checked here."""
    sha256: str
    """Of `sae_weights.safetensors`, in lower-case hexadecimal."""
    stride: int
    """Bases each window owns; windows are cut on a grid anchored at base 0."""
    context: int
    """Bases of left context each window reads besides, and of right context for a tap that sees
    both sides of a base."""
    tap: str = "residual"
    """What it reads of the model, one of `TAPS`."""
    dtype: str = "float32"
    """Number format the language model is computed in, one of `DTYPES`."""
    licence: str
    """SPDX name or a sentence."""
    source: str
    """Where the weights come from."""
    random_weights: bool = False
    """Whether the dictionary or its model was never trained."""
    canary: dict[str, Any] | None = None
    """A sequence and activations it must give (see `workers.registry.write_canary`)."""
    bases_per_second: float | None = None
    """Measured on two CPU cores, both strands; None where not measured."""
    figures: dict[str, Any] | None = None
    """Measured figures; a missing measurement is absent or null, never a default."""
    training: dict[str, Any] | None = None
    """How it was trained."""

    @property
    def ahead(self) -> int:
        """Bases of right context each window reads: as many as of left context, or none."""
        return self.context if self.tap in TWO_SIDED_TAPS else 0

    @property
    def window(self) -> int:
        """Bases a whole window reads."""
        return self.stride + self.context + self.ahead

    @property
    def resolution(self) -> str:
        """How fine its activations are, in words for people; to stand beside every track."""
        if self.tokenization == "base":
            return "one value for each base"
        if self.tokenization == "overlapping_kmer":
            return (
                f"tokens of {self.nt_per_token:g} bases that begin at each base; a base has the "
                "mean over the tokens that hold it"
            )
        size = f"{self.nt_per_token:g} bases" + " on average" * (self.tokenization == "bpe")
        return f"one value for each token of {size}, written at all of its bases"

    def __post_init__(self) -> None:
        """Refuse values no dictionary can have.

        Raises
        ------
        FormatError
            If a field's value is not allowed.
        """
        _check_id(self.id)
        _check_id(self.model_id)
        _check_sha256("sha256", self.sha256)
        _check_sha256("model_sha256", self.model_sha256)
        _check_choice("gate", self.gate, GATES)
        _check_choice("dtype", self.dtype, DTYPES)
        _check_choice("tap", self.tap, TAPS)
        _check_tokens(self.tokenization, self.nt_per_token)
        if self.gate != "jumprelu" and self.k is None:
            raise FormatError(f"a dictionary with the gate {self.gate} needs k, got none")
        if min(self.d_in, self.d_sae, self.stride) < 1 or min(self.context, self.layer) < 0:
            raise FormatError(
                "d_in, d_sae and stride must be at least 1, context and layer at least 0, got "
                f"{self.d_in}, {self.d_sae}, {self.stride}, {self.context} and {self.layer}"
            )
        if self.canary is not None and set(self.canary) != _CANARY_KEYS:
            raise FormatError(
                f"a canary has the keys {', '.join(sorted(_CANARY_KEYS))}, got "
                f"{', '.join(sorted(self.canary)) or 'none'}"
            )


class Cards(NamedTuple):
    """The cards of an installation, and the folders they lie in."""

    models: dict[str, ModelCard]
    """By id, sorted."""
    dictionaries: dict[str, DictionaryCard]
    """By id, sorted."""
    folders: dict[str, Path]
    """Folder of each model (key: its id) and dictionary (key: ``model id/dictionary id``)."""

    def model(self, name: str) -> ModelCard:
        """The model of this id.

        Raises
        ------
        UnknownNameError
            If there is none; the message holds near names.
        """
        if name not in self.models:
            raise UnknownNameError(_unknown("model", name, self.models))
        return self.models[name]

    def dictionary(self, name: str) -> DictionaryCard:
        """The dictionary of this id, or the only dictionary of the model of this id.

        Raises
        ------
        UnknownNameError
            If there is none, or the model has several; the message holds the ids to choose from.
        """
        if name in self.dictionaries:
            return self.dictionaries[name]
        if name in self.models:
            own = [card for card in self.dictionaries.values() if card.model_id == name]
            if len(own) == 1:
                return own[0]
            if not own:
                known = ", ".join(self.dictionaries) or "none"
                raise UnknownNameError(
                    f"model {name!r} has no dictionary; the dictionaries are: {known}"
                )
            choices = ", ".join(card.id for card in own)
            raise UnknownNameError(
                f"model {name!r} has {len(own)} dictionaries: name one of them ({choices})"
            )
        raise UnknownNameError(_unknown("dictionary", name, [*self.dictionaries, *self.models]))

    def folder(self, card: ModelCard | DictionaryCard) -> Path:
        """Folder that holds the card and its weights."""
        return self.folders[_folder_key(card)]

    def has_weights(self, card: DictionaryCard) -> bool:
        """Whether the weights of a dictionary and of its model are here; an atlas needs none."""
        model = self.models[card.model_id]
        files = (self.folder(card) / SAE_WEIGHTS, self.folder(model) / model.weights)
        return all(path.is_file() for path in files)

    def atlas(self, card: DictionaryCard) -> Path | None:
        """Folder of the dictionary's atlas, or None where it has none."""
        folder = self.folder(card) / ATLAS_FOLDER
        return folder if folder.is_dir() else None


def find_cards(roots: Sequence[Path]) -> Cards:
    """Read every card below some folders; no weights are opened.

    Parameters
    ----------
    roots : sequence of Path
        Folders laid out as the module's docstring says. Folders without a card
        are passed over.

    Returns
    -------
    cards : Cards
        Sorted by id. A dictionary may lie in a later root than its model's card, in a
        folder of the same name. Where two roots hold the same card, the first root's is used.

    Raises
    ------
    OptionError
        If a root is not a folder.
    FormatError
        If a card is not valid, does not lie in the folder of its id, names another
        model than the folder it lies in, or differs from another card of its id.
    """
    models: dict[str, ModelCard] = {}
    dictionaries: dict[str, DictionaryCard] = {}
    folders: dict[str, Path] = {}
    for root in roots:
        if not root.is_dir():
            raise OptionError(
                f"the models folder {root} does not exist; create it or name another one"
            )
        for path in sorted(root.glob(f"*/{MODEL_FILE}")):
            model = read_model_card(path)
            _add(model, path, models, folders)
        for path in sorted(root.glob(f"*/*/{DICTIONARY_FILE}")):
            dictionary = read_dictionary_card(path)
            _check_home(dictionary, path, models)
            _add(dictionary, path, dictionaries, folders)
    return Cards(
        models=dict(sorted(models.items())),
        dictionaries=dict(sorted(dictionaries.items())),
        folders=dict(sorted(folders.items())),
    )


def read_model_card(path: Path) -> ModelCard:
    """Read a model card; FormatError if it is not JSON, lacks a key or has an unknown one."""
    return _from_json(ModelCard, path)


def read_dictionary_card(path: Path) -> DictionaryCard:
    """Read a dictionary card; FormatError if it is not JSON, lacks a key or has an unknown one."""
    return _from_json(DictionaryCard, path)


def write_card(card: ModelCard | DictionaryCard, folder: Path) -> Path:
    """Write a card under its fixed name in `folder`, which must exist; returns its path."""
    path = folder / (MODEL_FILE if isinstance(card, ModelCard) else DICTIONARY_FILE)
    path.write_text(json.dumps(asdict(card), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content, in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_json(kind: type[CardT], path: Path) -> CardT:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(f"the card {path} is not JSON in UTF-8: {error}") from error
    if not isinstance(data, dict):
        raise FormatError(f"the card {path} must be a JSON object, got {type(data).__name__}")
    known = {field.name for field in fields(kind)}
    required = {
        field.name
        for field in fields(kind)
        if field.default is MISSING and field.default_factory is MISSING
    }
    unknown, missing = sorted(data.keys() - known), sorted(required - data.keys())
    if unknown or missing:
        raise FormatError(
            f"the card {path} has unknown keys ({', '.join(unknown) or 'none'}) or lacks keys "
            f"({', '.join(missing) or 'none'}); allowed are {', '.join(sorted(known))}"
        )
    hints = get_type_hints(kind)
    values = {}
    for name, value in data.items():
        if not _fits(value, hints[name]):
            raise FormatError(
                f"the card {path} has a {type(value).__name__} as {name}, which must be "
                f"{_spell(hints[name])}"
            )
        values[name] = value
    try:
        return kind(**values)
    except FormatError as error:
        raise FormatError(f"the card {path} is not valid: {error}") from error


def _fits(value: object, hint: Any) -> bool:
    """Whether a JSON value has the type of a field; true is no number, 1 is a float."""
    if isinstance(hint, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    kind = get_origin(hint) or hint
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _spell(hint: Any) -> str:
    parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    names |= {NoneType: "null", dict: "an object"}
    return " or ".join(names[get_origin(part) or part] for part in parts)


def _folder_key(card: ModelCard | DictionaryCard) -> str:
    return card.id if isinstance(card, ModelCard) else f"{card.model_id}/{card.id}"


def _add(card: CardT, path: Path, cards: dict[str, CardT], folders: dict[str, Path]) -> None:
    if path.parent.name != card.id:
        raise FormatError(
            f"the card {path} has the id {card.id!r} but lies in the folder "
            f"{path.parent.name!r}; rename one of them"
        )
    if card.id not in cards:
        cards[card.id] = card
        folders[_folder_key(card)] = path.parent
    elif cards[card.id] != card:
        raise FormatError(
            f"{path} and {folders.get(_folder_key(card), 'another folder')} hold different cards "
            f"of the id {card.id!r}; ids must be unique"
        )


def _check_home(card: DictionaryCard, path: Path, models: dict[str, ModelCard]) -> None:
    home = path.parent.parent.name
    if card.model_id != home or home not in models:
        raise FormatError(
            f"the card {path} is of a dictionary of model {card.model_id!r}, but lies in the "
            f"folder of {home!r}, which must be a model of that id with a {MODEL_FILE}"
        )
    if card.model_sha256 != models[home].sha256:
        raise FormatError(
            f"the card {path} was made for weights {card.model_sha256[:12]}… of model {home!r}, "
            f"whose card says {models[home].sha256[:12]}…; a dictionary reads one set of weights"
        )
    model = models[home]
    if (card.tokenization, card.nt_per_token) != (model.tokenization, model.nt_per_token):
        raise FormatError(
            f"the card {path} says {card.nt_per_token:g} bases to a token ({card.tokenization}), "
            f"but that of model {home!r} says {model.nt_per_token:g} ({model.tokenization})"
        )


def _check_tokens(tokenization: str, nt_per_token: float) -> None:
    _check_choice("tokenization", tokenization, TOKENIZATIONS)
    if (nt_per_token == 1) != (tokenization == "base"):
        raise FormatError(
            f"nt_per_token is 1 for the tokenization 'base' and above 1 for any other, got "
            f"{nt_per_token:g} for {tokenization!r}"
        )


def _check_id(text: str) -> None:
    if not _ID.fullmatch(text):
        raise FormatError(
            "an id has 1 to 64 letters, digits, '.', '_' or '-' and starts with a letter or "
            f"digit, got {text!r}"
        )


def _check_sha256(name: str, text: str) -> None:
    if not _SHA256.fullmatch(text):
        raise FormatError(f"{name} must be 64 lower-case hexadecimal digits, got {text!r}")


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise FormatError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"there is no {kind} {name!r}; {hint}known are: {', '.join(names) or 'none'}"
