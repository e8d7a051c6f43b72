"""`saetrack annotate --variants` and `--alleles`: the records of the run, and what is told of them.

SEQ + VCF --cut_records--> two records for each variant (annotations.alleles)
result of the merge --write_compared--> alleles.json, allele_effects.tsv, rows to be drawn,
                                         substitutions.tsv where the model's expectation is kept
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from annotations.allele_inputs import AlleleRequest, compared
from annotations.alleles import ALLELES_FILE, Alleles, Cut, alleles_json
from annotations.cards import Cards, DictionaryCard, file_sha256
from annotations.errors import UnknownNameError
from annotations.expectation_file import SUBSTITUTIONS_FILE
from annotations.genome_folder import Genome, GenomeBases, open_genome
from annotations.sequences import read_sequences
from annotations.tables import write_tsv
from app.feature_rows import FeatureRow
from workers.merge import EFFECTS_FILE

EFFECTS_TSV = "allele_effects.tsv"
"""The table of changes as text, with the names of the pairs."""

SUBSTITUTIONS_TSV = "substitutions.tsv"
"""How much one letter of each substitution is expected against the other, as text."""


def cut_records(
    request: AlleleRequest,
    sequences: Path,
    genomes: Path,
    cards: Cards,
    card: DictionaryCard,
) -> tuple[Cut, dict[str, object]]:
    """Cut the records of variants; a registered genome is read only where these are.

    Parameters
    ----------
    request : AlleleRequest
        With a path of variants.
    sequences : Path
        A file, or the name of a registered genome.
    genomes : Path
        Folder of the registered genomes.
    cards, card : Cards, DictionaryCard
        The dictionary of the run.

    Returns
    -------
    cut : Cut
    record : dict
        What provenance says of the files.

    Raises
    ------
    UnknownNameError
        If there is no such file or genome.
    FormatError, CoordinateError, LimitError, OptionError
        As `annotations.allele_inputs.compared`.
    """
    model, record = cards.model(card.model_id), dict[str, object]()
    if isinstance(request.variants, Path):
        if not request.variants.is_file():
            raise UnknownNameError(f"there is no file {request.variants}")
        record["variants"] = _file_record(request.variants)
    if sequences.is_file():
        record["sequences"] = _file_record(sequences)
        return compared(request, read_sequences(sequences).records, card, model), record
    genome = _genome(genomes, sequences)
    record["sequences"] = {"genome": genome.name, **genome.source["sequences"]}
    names = genome.contig_names()
    return compared(request, GenomeBases(genome), card, model, names=names), record


def write_compared(folder: Path, alleles: Alleles, top: int) -> list[FeatureRow]:
    """Put the pairs and the table of changes as text beside the merge's files.

    Parameters
    ----------
    folder : Path
        Of the result.
    alleles : Alleles
        The pairs.
    top : int
        Most feature rows.

    Returns
    -------
    rows : list of FeatureRow
        Those with the largest change in any pair.
    """
    (folder / ALLELES_FILE).write_text(alleles_json(alleles), encoding="utf-8")
    effects = pq.read_table(folder / EFFECTS_FILE)
    names = pa.array([alleles.pairs[index].name for index in effects["pair"].to_pylist()])
    at = effects.schema.get_field_index("pair") + 1
    told = effects.add_column(at, "name", names.cast(pa.string()))
    write_tsv(_with_places(told, alleles), folder / EFFECTS_TSV)
    if (folder / SUBSTITUTIONS_FILE).is_file():
        substitutions = pq.read_table(folder / SUBSTITUTIONS_FILE)
        write_tsv(_substitutions_told(substitutions, alleles), folder / SUBSTITUTIONS_TSV)
    order = np.argsort(-np.abs(effects["change"].to_numpy()), kind="stable")
    first = effects.select(["feature", "strand"]).take(pa.array(order)).to_pylist()
    rows = (FeatureRow(row["feature"], "+" if row["strand"] > 0 else "-") for row in first)
    return list(dict.fromkeys(rows))[:top]


def _with_places(effects: pa.Table, alleles: Alleles) -> pa.Table:
    """Put contig and base of the reference behind `position`, which counts in the cut piece."""
    pairs = [alleles.pairs[index] for index in effects["pair"].to_pylist()]
    places = zip(pairs, effects["position"].to_pylist(), strict=True)
    bases = pa.array([pair.offset + place for pair, place in places], pa.int64())
    at = effects.schema.get_field_index("position") + 1
    named = effects.add_column(at, "contig", pa.array([p.contig for p in pairs], pa.string()))
    return named.add_column(at + 1, "contig_position", bases)


def _substitutions_told(table: pa.Table, alleles: Alleles) -> pa.Table:
    """Put name, contig and base behind the number of each pair."""
    pairs = [alleles.pairs[index] for index in table["pair"].to_pylist()]
    told = {
        "name": pa.array([pair.name for pair in pairs], pa.string()),
        "id": pa.array([pair.id for pair in pairs], pa.string()),
        "contig": pa.array([pair.contig for pair in pairs], pa.string()),
        "position": pa.array([pair.offset + pair.change.start for pair in pairs], pa.int64()),
    }
    for at, (name, values) in enumerate(told.items(), 1):
        table = table.add_column(at, name, values)
    return table


def _file_record(path: Path) -> dict[str, object]:
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _genome(genomes: Path, name: Path) -> Genome:
    try:
        return open_genome(genomes, str(name))
    except UnknownNameError as error:
        raise UnknownNameError(f"there is no file {name}, and {error}") from None
