"""Registered genomes: a reference kept under a name, with its genes and its digests.

    <root>/<name>/genome.json      names, lengths and digests of the contigs; where it came from
    <root>/<name>/sequences.fa     the records, normalised, under their own names
    <root>/<name>/genes.parquet    its gene parts, if it has any

A genome is written whole or not at all, and never changed: whoever computed on it by name
computed on the sequences of its digests.
"""

import difflib
import json
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from annotations.cards import file_sha256
from annotations.errors import FormatError, OptionError, StateError, StorageError, UnknownNameError
from annotations.genes import GENES_SCHEMA, read_genes
from annotations.options import held_out_contigs
from annotations.provenance import read_provenance, utc_now
from annotations.sequences import Limits, Record, contigs, read_sequences, write_fasta
from annotations.types import Contig

FORMAT: Final = 1
"""Version of the folder's layout."""

LIMITS: Final = Limits(max_bases=10_000_000_000, max_bytes=20_000_000_000)
"""Largest genome that is registered: it is read into memory whole."""

_CARD, _SEQUENCES, _GENES = "genome.json", "sequences.fa", "genes.parquet"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Genome:
    """A registered genome, without its bases."""

    name: str
    """Safe as a folder's name and in an address."""
    contigs: tuple[Contig, ...]
    """Name, length and refget digest of each, in order."""
    source: dict[str, Any]
    """Names and sha256 of the files it was made from: `sequences`, and `genes` or null."""
    date: str
    """When it was registered, ISO 8601, UTC."""
    files: dict[str, str]
    """sha256 of each file of the folder."""
    folder: Path
    """Where it lies."""

    @property
    def fasta(self) -> Path:
        """Its sequences."""
        return self.folder / _SEQUENCES

    @property
    def has_genes(self) -> bool:
        """Whether it has an annotation."""
        return _GENES in self.files

    @property
    def bases(self) -> int:
        """Bases of all contigs."""
        return sum(contig.length for contig in self.contigs)


class Reference(NamedTuple):
    """The content of a genome, in memory."""

    records: list[Record]
    genes: pa.Table | None
    """`annotations.genes.GENES_SCHEMA`."""


def add_genome(root: Path, name: str, fasta: Path, *, genes: Path | None = None) -> Genome:
    """Register a genome.

    Parameters
    ----------
    root : Path
        Folder of the genomes; made where missing.
    name : str
        1 to 64 letters, digits, ``.``, ``_`` or ``-``; starts with a letter or digit.
    fasta : Path
        FASTA or GenBank, plain, gzip or bgzip.
    genes : Path, optional
        BED, BED12, GFF3 or GTF; used in place of the annotation of a GenBank file.

    Returns
    -------
    genome : Genome

    Raises
    ------
    OptionError
        If the name is not allowed.
    StateError
        If a genome of the name is registered already.
    UnknownNameError
        If a file is missing.
    FormatError, CoordinateError, LimitError
        If a file cannot be read; nothing is left behind.
    """
    _check_name(name)
    if (root / name).exists():
        raise StateError(
            f"a genome {name!r} is registered already and is never replaced; choose another name"
        )
    for path in (fasta, genes):
        if path is not None and not path.is_file():
            raise UnknownNameError(f"there is no file {path}")
    submission = read_sequences(fasta, limits=LIMITS)
    found = contigs(submission.records)
    table = submission.genes
    if genes is not None:
        table = read_genes(genes, found, filename=genes.name)
    root.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=root))
    try:
        write_fasta(submission.records, work / _SEQUENCES)
        files = {_SEQUENCES: file_sha256(work / _SEQUENCES)}
        if table is not None:
            pq.write_table(table, work / _GENES)
            files[_GENES] = file_sha256(work / _GENES)
        genome = Genome(
            name=name,
            contigs=tuple(found),
            source={
                "sequences": _source(fasta),
                "genes": None if genes is None else _source(genes),
            },
            date=utc_now(),
            files=files,
            folder=root / name,
        )
        values = asdict(genome) | {
            "format": FORMAT,
            "contigs": [contig._asdict() for contig in found],
        }
        del values["folder"]
        (work / _CARD).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
        work.chmod(0o755)
        work.rename(root / name)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return genome


def find_genomes(root: Path) -> list[Genome]:
    """The registered genomes, by name; none where the folder does not exist."""
    return [open_genome(root, path.parent.name) for path in sorted(root.glob(f"[!.]*/{_CARD}"))]


def open_genome(root: Path, name: str) -> Genome:
    """The genome of a name.

    Raises
    ------
    UnknownNameError
        If none is registered under it; the message holds near names.
    FormatError
        If its card is not of the form this version reads.
    """
    path = root / name / _CARD
    if not _NAME.fullmatch(name) or not path.is_file():
        known = sorted(found.parent.name for found in root.glob(f"[!.]*/{_CARD}"))
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UnknownNameError(
            f"no genome {name[:100]!r} is registered; {hint}registered are: "
            f"{', '.join(known) or 'none'}; `saetrack genomes add NAME FASTA` registers one"
        )
    values = read_provenance(path)
    wanted = {"format", "name", "contigs", "source", "date", "files"}
    if set(values) != wanted or values["format"] != FORMAT or values["name"] != name:
        raise FormatError(
            f"{name}/{_CARD} must have the keys {', '.join(sorted(wanted))}, format {FORMAT} and "
            f"the name of its folder; register the genome again"
        )
    del values["format"]
    listed: Any = values.pop("contigs")
    return Genome(
        contigs=tuple(Contig(**contig) for contig in listed),
        folder=root / name,
        **values,  # type: ignore[arg-type]  # JSON that add_genome wrote; keys checked above
    )


def read_genome(genome: Genome, *, exclude: tuple[str, ...] = ()) -> Reference:
    """Sequences and genes of a registered genome, some of its contigs left out.

    Parameters
    ----------
    genome : Genome
    exclude : tuple of str
        Names of contigs.

    Raises
    ------
    UnknownNameError, OptionError
        If there is no such contig, or none is left.
    StorageError
        If a file was cut or altered.
    """
    for name, sha256 in genome.files.items():
        path = genome.folder / name
        if not path.is_file() or file_sha256(path) != sha256:
            raise StorageError(f"{name} of genome {genome.name!r} is missing, cut or altered")
    left_out = held_out_contigs(exclude, [contig.name for contig in genome.contigs])
    records = read_sequences(genome.fasta, limits=LIMITS).records
    genes = pq.read_table(genome.folder / _GENES) if genome.has_genes else None
    if not left_out:
        return Reference(records, genes)
    kept = [index for index in range(len(records)) if index not in left_out]
    return Reference([records[index] for index in kept], _renumbered(genes, kept))


def _renumbered(genes: pa.Table | None, kept: list[int]) -> pa.Table | None:
    """The genes of some contigs, by their places among these."""
    if genes is None:
        return None
    place = {index: at for at, index in enumerate(kept)}
    old = genes["contig"].to_pylist()
    mine = genes.filter(pa.array([index in place for index in old]))
    new = pa.array([place[index] for index in old if index in place], pa.uint32())
    at = GENES_SCHEMA.get_field_index("contig")
    return mine.set_column(at, GENES_SCHEMA.field("contig"), new)


def _source(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": file_sha256(path)}


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise OptionError(
            "a genome's name has 1 to 64 letters, digits, '.', '_' or '-' and starts with a letter "
            f"or digit, got {name[:100]!r}"
        )
