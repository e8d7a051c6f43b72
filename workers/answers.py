"""Questions to a result folder or to an atlas; the service answers them alike."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from annotations.activation_parts import ONE_FILE, folder_activations
from annotations.alleles import ALLELES_FILE
from annotations.cards import Cards, find_cards
from annotations.concept_tracks import read_intervals
from annotations.errors import OptionError, StorageError, UnknownNameError
from annotations.excerpts import Excerpt
from annotations.expectation_file import EXPECTATION_FILE, SUBSTITUTIONS_FILE
from annotations.interval_ranking import rank_features_for_intervals
from annotations.options import RunOptions
from annotations.provenance import read_provenance
from annotations.run_motifs import STORED, read_motif_file
from annotations.sequences import contigs, encode_bases, read_sequences
from annotations.types import Span
from app.answers import Source
from app.atlases import find_atlas, open_atlas
from app.catalog import Result, folder_files
from app.config import Settings
from workers.commands.places import result_file, settings_from_environment
from workers.export import read_contigs
from workers.merge import EFFECTS_FILE, RESULT_FILES


def open_source(folder: Path | None, dictionary: str | None) -> Source:
    """What a question is put to.

    Parameters
    ----------
    folder : Path, optional
        Which `saetrack annotate` wrote.
    dictionary : str, optional
        Without a folder: whose atlas answers; the default one if None.

    Returns
    -------
    source : Source
        The folder's result with the atlas of its dictionary, or an atlas alone.

    Raises
    ------
    OptionError
        If both are given, or the folder holds no result.
    UnknownNameError
        If there is no such folder, dictionary or atlas.
    StorageError
        If the provenance is cut or altered.
    """
    settings = settings_from_environment()
    cards = find_cards(settings.model_roots)
    if folder is not None:
        if dictionary is not None:
            raise OptionError("give DIR or --dictionary, not both: a result has one dictionary")
        return Source.of_result(open_result(folder, cards))
    return _atlas_source(cards, dictionary, settings)


def _atlas_source(cards: Cards, dictionary: str | None, settings: Settings) -> Source:
    found = find_atlas(cards, dictionary, bundled=settings.bundled_models)
    atlas = open_atlas(found.folder, found.card.sha256)
    return Source(dictionary=found.card.id, n_features=found.card.d_sae, atlas=atlas, cards=cards)


def open_result(folder: Path, cards: Cards | None = None) -> Result:
    """A result folder, for the questions of `app.catalog`.

    Parameters
    ----------
    folder : Path
        Which `saetrack annotate` wrote.
    cards : Cards, optional
        Those of the environment by default.

    Returns
    -------
    result : Result
        Its atlas is that of the dictionary, if the dictionary is installed here with the
        same weights.

    Raises
    ------
    UnknownNameError, OptionError
        If there is no such folder, or it holds no result.
    StorageError
        If the provenance is cut or altered.
    """
    found = read_contigs(result_file(folder, "contigs.parquet"))
    files = {name: result_file(folder, name) for name in folder_files(folder, RESULT_FILES)}
    alleles = folder / ALLELES_FILE
    if alleles.is_file():
        files[EFFECTS_FILE] = result_file(folder, EFFECTS_FILE)
    record = read_provenance(files["provenance.json"])
    made_with, options = record.get("dictionary"), record.get("options")
    if not isinstance(made_with, dict) or not isinstance(options, dict) or "d_sae" not in made_with:
        raise StorageError(
            f"{files['provenance.json']} names no dictionary or no options: it is cut or altered"
        )
    if options.get("expectation"):
        files[EXPECTATION_FILE] = result_file(folder, EXPECTATION_FILE)
        if alleles.is_file():
            files[SUBSTITUTIONS_FILE] = result_file(folder, SUBSTITUTIONS_FILE)
    cards = find_cards(settings_from_environment().model_roots) if cards is None else cards
    card = cards.dictionaries.get(str(made_with["id"]))
    known = card is not None and card.sha256 == made_with["sha256"]
    return Result(
        files=files,
        names=[contig.name for contig in found],
        lengths=[contig.length for contig in found],
        options=RunOptions.from_json(cast(Mapping[str, object], options)),
        n_features=int(made_with["d_sae"]),
        atlas=cards.atlas(card) if card is not None and known else None,
        dictionary_sha256=str(made_with["sha256"]),
        motifs=_own_motifs(folder, record),
        alleles=alleles if alleles.is_file() else None,
        spans=read_spans(record),
    )


def read_spans(record: Mapping[str, Any]) -> tuple[Span, ...] | None:
    """What a result read of its contigs, from its provenance; None where that is all of them."""
    regions = record.get("regions")
    return None if regions is None else tuple(Span(*span) for span in regions["spans"])


def excerpt_of(spans: Sequence[Span] | None, lengths: Sequence[int]) -> Excerpt:
    """The spans of a result, or all of its contigs."""
    return Excerpt.whole(lengths) if spans is None else Excerpt(tuple(spans), tuple(lengths))


def _own_motifs(folder: Path, record: Mapping[str, Any]) -> Path | None:
    """The user's motifs that a result was made with; one of an earlier result does not count."""
    wanted = (record.get("motif_test") or {}).get("user_sha256")
    if wanted is None:
        return None
    found = sorted(folder.glob(f"{STORED}.*"))
    return next((path for path in found if read_motif_file(path).sha256 == wanted), None)


def rank_for_bed(
    folder: Path, bed: Path, *, background: Path | None, sequences: Path | None
) -> pa.Table:
    """The feature rows of a result by how well they mark the intervals of a file.

    Parameters
    ----------
    folder : Path
        Which `saetrack annotate` wrote.
    bed : Path
        BED3 and more, narrowPeak, broadPeak; plain or gzip.
    background : Path, optional
        What they are told from; without it, places of equal length and GC content.
    sequences : Path, optional
        The sequences of the result; needed without a background.

    Returns
    -------
    ranking : Table of `annotations.interval_ranking.RANKING_SCHEMA`

    Raises
    ------
    OptionError
        If neither a background nor sequences are given, or the sequences are not the result's.
    UnknownNameError
        If a file does not exist.
    FormatError, CoordinateError, LimitError
        As `annotations.concept_tracks.read_intervals` and
        `annotations.interval_ranking.rank_features_for_intervals`.
    """
    found = read_contigs(result_file(folder, "contigs.parquet"))
    if background is None and sequences is None:
        raise OptionError(
            "--bed needs --background, or --fasta (the file that was annotated) to draw "
            "places of equal GC content from"
        )
    for path in filter(None, (bed, background, sequences)):
        if not path.is_file():
            raise UnknownNameError(f"there is no file {path}")
    codes = None
    if background is None and sequences is not None:
        records = read_sequences(sequences).records
        if [contig.digest for contig in contigs(records)] != [c.digest for c in found]:
            raise OptionError(f"{sequences} holds other sequences than those {folder} was made of")
        codes = [encode_bases(record.sequence) for record in records]
    record = read_provenance(result_file(folder, "provenance.json"))
    excerpt = excerpt_of(read_spans(record), [contig.length for contig in found])
    inside = excerpt.clipped(read_intervals(bed, found))
    if not inside.num_rows:
        raise OptionError(f"none of the intervals of {bed} lies in a region that {folder} is of")
    with tempfile.TemporaryDirectory(prefix="saetrack-") as scratch:
        return rank_features_for_intervals(
            excerpt.activations(folder_activations(folder), Path(scratch) / ONE_FILE),
            inside,
            None if background is None else excerpt.clipped(read_intervals(background, found)),
            excerpt.lengths,
            int(cast(Mapping[str, Any], record["dictionary"])["d_sae"]),
            sequences=None if codes is None else [codes[c][s:e] for c, s, e in excerpt.spans],
        )
