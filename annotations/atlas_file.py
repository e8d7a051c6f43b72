"""An atlas as one file, to be given to a laboratory that lacks the weights or the hardware.

    <file>.tar:  atlas.json, dictionary.json, model.json and the tables, nothing else

A tar file without compression (the tables are compressed) with one fixed order, no times and no
owners: equal atlases give equal bytes. Reading trusts none of it: names outside the list, links,
doubled or oversized members are refused, and every table must have the sha256 that the card says.
The cards of the dictionary and its model travel along, so that an atlas can be browsed where no
weights are.
"""

import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, NamedTuple

from annotations.atlas import ATLAS_CARD, MAX_BYTES, TABLES, load_atlas, read_atlas_card
from annotations.cards import (
    ATLAS_FOLDER,
    DICTIONARY_FILE,
    MODEL_FILE,
    Cards,
    DictionaryCard,
    ModelCard,
    read_dictionary_card,
    read_model_card,
)
from annotations.errors import FormatError, LimitError, StateError, UnknownNameError, WeightsError
from annotations.tables import replacing

CARDS: Final = (ATLAS_CARD, DICTIONARY_FILE, MODEL_FILE)
MEMBERS: Final = (*CARDS, *(f"{name}.parquet" for name in TABLES))
"""Names of the members, in their order."""
MAX_CARD_BYTES: Final = 10_000_000
"""Largest card in a file."""

_CHUNK = 1 << 20


class Imported(NamedTuple):
    """What an import did."""

    dictionary: DictionaryCard
    folder: Path
    """Where the atlas lies now."""
    has_weights: bool
    """Whether the dictionary can be run here, or only looked at."""


def export_atlas(cards: Cards, dictionary: DictionaryCard, path: Path) -> None:
    """Write the atlas of a dictionary as one file.

    Parameters
    ----------
    cards : Cards
        Of this installation.
    dictionary : DictionaryCard
        Whose atlas to write.
    path : Path
        Made or replaced; its folder exists.

    Raises
    ------
    UnknownNameError
        If it has no atlas.
    WeightsError, FormatError, StorageError
        If the atlas is not whole, as `annotations.atlas.load_atlas`.
    """
    folder = cards.atlas(dictionary)
    if folder is None:
        raise UnknownNameError(
            f"dictionary {dictionary.id!r} has no atlas; `saetrack atlas build` makes one"
        )
    load_atlas(folder, dictionary.sha256)
    model = cards.model(dictionary.model_id)
    sources = {
        DICTIONARY_FILE: cards.folder(dictionary) / DICTIONARY_FILE,
        MODEL_FILE: cards.folder(model) / MODEL_FILE,
    }
    with (
        replacing(path) as temporary,
        tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in MEMBERS:
            source = sources.get(name, folder / name)
            member = tarfile.TarInfo(name)
            member.size = source.stat().st_size
            member.mode = 0o644
            with source.open("rb") as file:
                archive.addfile(member, file)


def import_atlas(
    path: Path, cards: Cards, models: Path, *, bundled: Path | None = None, force: bool = False
) -> Imported:
    """Put an atlas from a file where this installation finds it.

    Beside its dictionary, if that is installed with the same weights; else into `models`, with
    the cards of its dictionary and model, so that it can be browsed.

    Parameters
    ----------
    path : Path
        File of `export_atlas`.
    cards : Cards
        Of this installation.
    models : Path
        Models folder for a dictionary that is not installed; made where missing.
    bundled : Path, optional
        Folder of the models that came with the program, which is never written to.
    force : bool
        Whether to replace an atlas that is there.

    Returns
    -------
    imported : Imported

    Raises
    ------
    FormatError
        If the file is not an exported atlas, or a card or table is not of its form.
    LimitError
        If it is too large.
    StorageError
        If a table was cut or altered.
    WeightsError
        If it belongs to another dictionary than it says, or a dictionary or model of its id is
        installed with other weights.
    StateError
        If the dictionary is a bundled one, or has an atlas already.
    """
    if not path.is_file():
        raise UnknownNameError(f"there is no file {path}")
    with _unpacked(path) as unpacked:
        dictionary = read_dictionary_card(unpacked / DICTIONARY_FILE)
        model = read_model_card(unpacked / MODEL_FILE)
        about = read_atlas_card(unpacked / ATLAS_CARD)
        if (about.dictionary_id, about.dictionary_sha256) != (dictionary.id, dictionary.sha256):
            raise WeightsError(
                f"the atlas in {path.name} is of dictionary {about.dictionary_id!r} "
                f"({about.dictionary_sha256[:12]}...), but the card beside it is of "
                f"{dictionary.id!r} ({dictionary.sha256[:12]}...)"
            )
        if (dictionary.model_id, dictionary.model_sha256) != (model.id, model.sha256):
            raise WeightsError(f"the cards in {path.name} are of a dictionary and of another model")
        load_atlas(unpacked, dictionary.sha256)
        home = _home(dictionary, model, cards, models)
        target = home / ATLAS_FOLDER
        if bundled is not None and home.resolve().is_relative_to(bundled.resolve()):
            raise StateError(
                f"dictionary {dictionary.id!r} came with saetrack, and its atlas is part of the "
                "program: it is not replaced, --force or not. Copy the folder "
                f"{home.parent} into a models folder of your own, name that alone in "
                "SAETRACK_MODELS_DIRS, and import again"
            )
        if target.exists() and not force:
            raise StateError(
                f"dictionary {dictionary.id!r} has an atlas already, in {target}; give --force to "
                "replace it"
            )
        _install(unpacked, target)
        installed = cards.dictionaries.get(dictionary.id)
        if installed is None:
            (home / DICTIONARY_FILE).write_bytes((unpacked / DICTIONARY_FILE).read_bytes())
            if model.id not in cards.models:
                card = home.parent / MODEL_FILE
                card.write_bytes((unpacked / MODEL_FILE).read_bytes())
    return Imported(
        installed or dictionary, target, installed is not None and cards.has_weights(installed)
    )


def _home(dictionary: DictionaryCard, model: ModelCard, cards: Cards, models: Path) -> Path:
    """The folder of the dictionary: where it is installed, or where it would be."""
    installed = cards.dictionaries.get(dictionary.id)
    if installed is not None:
        if installed.sha256 != dictionary.sha256:
            raise WeightsError(
                f"the atlas was made with dictionary {dictionary.id!r} of sha256 "
                f"{dictionary.sha256[:12]}..., the one installed here has "
                f"{installed.sha256[:12]}...: its labels mean nothing there"
            )
        return cards.folder(installed)
    known = cards.models.get(model.id)
    if known is not None and known.sha256 != model.sha256:
        raise WeightsError(
            f"the atlas was made with model {model.id!r} of sha256 {model.sha256[:12]}..., the one "
            f"installed here has {known.sha256[:12]}...; remove that or name another folder"
        )
    return models / model.id / dictionary.id


def _install(source: Path, target: Path) -> None:
    """Copy the files of an atlas beside its place, then move them there at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".atlas.", dir=target.parent))
    old = Path(tempfile.mkdtemp(prefix=".old.", dir=target.parent))
    try:
        for name in (ATLAS_CARD, *(f"{table}.parquet" for table in TABLES)):
            shutil.copyfile(source / name, fresh / name)
        fresh.chmod(0o755)
        if target.exists():
            target.rename(old / target.name)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The members of an exported atlas in a temporary folder, checked as they come."""
    with tempfile.TemporaryDirectory(prefix="saetrack-atlas-") as name:
        folder = Path(name)
        left = MAX_BYTES + len(CARDS) * MAX_CARD_BYTES
        try:
            # "r:" reads no compressed file: what is read is never more than what is there
            with tarfile.open(path, "r:") as archive:
                for member in archive:
                    if member.name not in MEMBERS or not member.isreg():
                        raise FormatError(
                            f"{path.name} is not an exported atlas: it holds something else than "
                            f"the files {', '.join(MEMBERS)}"
                        )
                    if (folder / member.name).exists():
                        raise FormatError(f"{path.name} holds {member.name} twice")
                    limit = MAX_CARD_BYTES if member.name in CARDS else left
                    if member.size > limit:
                        raise LimitError(
                            f"{member.name} in {path.name} has {member.size} bytes, at most "
                            f"{limit} are allowed"
                        )
                    left -= member.size
                    _copy(archive.extractfile(member), folder / member.name)
        except tarfile.TarError as error:
            raise FormatError(
                f"{path.name} is not an exported atlas, or was cut: it is no tar file that "
                "`saetrack atlas export` wrote"
            ) from error
        missing = [name for name in MEMBERS if not (folder / name).is_file()]
        if missing:
            raise FormatError(f"{path.name} lacks {', '.join(missing)}; it was cut, or is no atlas")
        yield folder


def _copy(source: IO[bytes] | None, target: Path) -> None:
    """Copy a member, a chunk at a time."""
    if source is None:
        raise FormatError("a member of the file has no content")
    with target.open("wb") as out:
        shutil.copyfileobj(source, out, _CHUNK)
