"""Registered genomes: a reference kept under a name, with its genes, other names and digests.

    <root>/<name>/genome.json      names, lengths and digests of the contigs; where it came from
    <root>/<name>/sequences.fa     the records, normalised, under their own names
    <root>/<name>/chrom.sizes      names and lengths
    <root>/<name>/genes.parquet    its gene parts, if it has any
    <root>/<name>/aliases.tsv      other names of its contigs, if any are stated

A genome is written whole or not at all, and never changed: whoever computed on it by name
computed on the sequences of its digests.
"""

import difflib
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotations.cards import file_sha256
from annotations.contig_aliases import (
    AliasTable,
    ContigNames,
    read_aliases,
    recognised,
    shipped,
    shipped_aliases,
)
from annotations.errors import (
    FormatError,
    OptionError,
    StateError,
    StorageError,
    UnknownNameError,
)
from annotations.genes import GENES_SCHEMA, read_genes
from annotations.options import held_out_contigs
from annotations.provenance import read_provenance, utc_now
from annotations.seqcol import collection_digest
from annotations.sequence_files import chrom_sizes, places, read_bases
from annotations.sequences import (
    LINE_WIDTH,
    Limits,
    Record,
    contigs,
    read_sequences,
    stream_sequences,
    write_record,
)
from annotations.types import Contig

FORMAT: Final = 2
"""Version of the folder's layout. 1 had no aliases, chrom.sizes or digest of all contigs."""

LIMITS: Final = Limits(max_bases=40_000_000_000, max_records=5_000_000, max_bytes=50_000_000_000)
"""Largest genome that is registered: its longest contig is read into memory whole."""

_CARD, _SEQUENCES, _GENES = "genome.json", "sequences.fa", "genes.parquet"
_ALIASES, _SIZES = "aliases.tsv", "chrom.sizes"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEYS: Final = frozenset({"format", "name", "contigs", "source", "date", "files"})
_KEYS_2: Final = _KEYS | {"seqcol", "genes"}


@dataclass(frozen=True, kw_only=True)
class Genome:
    """A registered genome, without its bases."""

    name: str
    """Safe as a folder's name and in an address."""
    contigs: tuple[Contig, ...]
    """Name, length and refget digest of each, in order."""
    source: dict[str, Any]
    """Names and sha256 of the files it was made from: `sequences`, and `genes` and `aliases` or
    null. Aliases that are shipped have the assembly's name and no sha256."""
    date: str
    """When it was registered, ISO 8601, UTC."""
    files: dict[str, str]
    """sha256 of each file of the folder."""
    folder: Path
    """Where it lies."""
    seqcol: str
    """Digest of all contigs, `annotations.seqcol.collection_digest`."""
    genes: int | None
    """Names of genes in its annotation; None where it has none, or format 1 did not count them."""

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

    @property
    def lengths(self) -> list[int]:
        """Bases of each contig."""
        return [contig.length for contig in self.contigs]

    def contig_names(self) -> ContigNames:
        """Its contigs by their own names and by those that its table states.

        Raises
        ------
        StorageError
            If the table is missing.
        """
        table = None
        if _ALIASES in self.files:
            path = self.folder / _ALIASES
            if not path.is_file():
                raise StorageError(f"{_ALIASES} of genome {self.name!r} is missing")
            lines = path.read_text(encoding="utf-8").splitlines()
            stated = str((self.source["aliases"] or {}).get("file", _ALIASES))
            table = AliasTable(stated, tuple(tuple(line.split("\t")) for line in lines))
        return ContigNames([contig.name for contig in self.contigs], table)

    def gene_parts(self, only: Sequence[int] | None = None) -> pa.Table | None:
        """Its gene parts, `annotations.genes.GENES_SCHEMA`; None where it has no annotation.

        Parameters
        ----------
        only : sequence of int, optional
            Contigs whose parts are read; they are numbered by their places in it.
        """
        if not self.has_genes:
            return None
        if only is None:
            return pq.read_table(self.folder / _GENES)
        rows = pc.field("contig").isin(pa.array(only, pa.uint32()))
        return _renumbered(pq.read_table(self.folder / _GENES, filters=rows), list(only))


class Reference(NamedTuple):
    """The content of a genome, in memory."""

    records: list[Record]
    genes: pa.Table | None
    """`annotations.genes.GENES_SCHEMA`."""


class GenomeBases:
    """Random access to the bases of a registered genome, of which no index has to be made."""

    def __init__(self, genome: Genome) -> None:
        """Find where each contig lies.

        Raises
        ------
        StorageError
            If the file is missing, or of another size than the contigs say.
        """
        self.names: list[str] = [contig.name for contig in genome.contigs]
        """Names of the contigs, in order."""
        self._path = genome.fasta
        found = places(self.names, genome.lengths)
        self._places = {place.name: place for place in found}
        last = found[-1]
        expected = last.offset + last.length + -(-last.length // LINE_WIDTH)
        if not self._path.is_file() or self._path.stat().st_size != expected:
            raise StorageError(f"{_SEQUENCES} of genome {genome.name!r} is missing or cut")

    def length(self, name: str) -> int:
        """Bases of a contig.

        Raises
        ------
        UnknownNameError
            If there is no such contig.
        """
        if name not in self._places:
            raise UnknownNameError(f"no contig is named {name!r}; there are {len(self.names)}")
        return self._places[name].length

    def fetch(self, name: str, start: int, end: int) -> bytes:
        """Bases `start` to `end` of a contig, 0-based and half-open, upper-case IUPAC.

        Raises
        ------
        UnknownNameError
            If there is no such contig.
        CoordinateError
            If not ``0 <= start <= end <= length``.
        """
        self.length(name)
        return read_bases(self._path, self._places[name], start, end)


class GivenFile(NamedTuple):
    """A file that was sent, with the name that its sender gave it."""

    content: BinaryIO
    """Can be read again from its start."""
    name: str


Given = Path | GivenFile
"""A file here, or one that was sent."""


def add_genome(
    root: Path,
    name: str,
    fasta: Given,
    *,
    genes: Given | None = None,
    aliases: Given | str | None = None,
    limits: Limits = LIMITS,
) -> Genome:
    """Register a genome.

    Parameters
    ----------
    root : Path
        Folder of the genomes; made where missing.
    name : str
        1 to 64 letters, digits, ``.``, ``_`` or ``-``; starts with a letter or digit.
    fasta : Path or GivenFile
        FASTA or GenBank, plain, gzip or bgzip.
    genes : Path or GivenFile, optional
        BED, BED12, GFF3 or GTF; used in place of the annotation of a GenBank file. Its contigs
        may be called by any name of the table.
    aliases : Path, GivenFile or str, optional
        What else the contigs are called: a file as `annotations.contig_aliases.read_aliases` reads
        it, or the assembly of a shipped table. By default the shipped table that fits all names
        and lengths (`annotations.contig_aliases.recognised`), if one does.
    limits : Limits
        What is accepted.

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
        If a file or a shipped table is missing.
    FormatError, CoordinateError, LimitError
        If a file cannot be read, or the table names no contig; nothing is left behind.
    """
    _check_name(name)
    if (root / name).exists():
        raise _taken(name)
    for given in (fasta, genes, aliases):
        if isinstance(given, Path) and not given.is_file():
            raise UnknownNameError(f"there is no file {given}")
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=root))
    try:
        genome = _written(work, root / name, name, fasta, genes, aliases, limits)
        work.chmod(0o755)
        try:
            work.rename(root / name)
        except OSError:
            # another registration of the name was quicker
            if not (root / name).exists():
                raise
            raise _taken(name) from None
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return genome


def _written(
    work: Path,
    folder: Path,
    name: str,
    fasta: Given,
    genes: Given | None,
    aliases: Given | str | None,
    limits: Limits,
) -> Genome:
    """Write all files of a genome into a folder; `folder` is what it will be called."""
    stream = stream_sequences(_opened(fasta), limits=limits)
    found: list[Contig] = []

    with (work / _SEQUENCES).open("wb") as out:
        for record in stream.records:
            found += contigs([record])
            write_record(out, record.name, record.sequence)
    lengths = {contig.name: contig.length for contig in found}
    (work / _SIZES).write_text(chrom_sizes(list(lengths), list(lengths.values())), "utf-8")
    names, stated = _named(lengths, aliases)
    if names.table is not None:
        rows = ("\t".join(row) + "\n" for row in names.table.sequences)
        (work / _ALIASES).write_text("".join(rows), "utf-8")
    table = stream.genes
    if genes is not None:
        table = read_genes(_opened(genes), found, filename=_called(genes), names=names)
    if table is not None:
        pq.write_table(table, work / _GENES)
    genome = Genome(
        name=name,
        contigs=tuple(found),
        source={
            "sequences": _source(fasta),
            "genes": None if genes is None else _source(genes),
            "aliases": stated,
        },
        date=utc_now(),
        files={path.name: file_sha256(path) for path in sorted(work.iterdir())},
        folder=folder,
        seqcol=collection_digest(found),
        genes=None if table is None else pc.count_distinct(table["name"]).as_py(),
    )
    values = asdict(genome) | {
        "format": FORMAT,
        "contigs": [contig._asdict() for contig in found],
    }
    del values["folder"]
    (work / _CARD).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    return genome


def _named(
    lengths: dict[str, int], aliases: Given | str | None
) -> tuple[ContigNames, dict[str, Any] | None]:
    """The contigs with their other names, and what provenance says of the table."""
    stated: dict[str, Any] | None = None
    if isinstance(aliases, str):
        table: AliasTable | None = shipped_aliases(aliases)
    elif aliases is not None:
        table = read_aliases(_opened(aliases), filename=_called(aliases))
        stated = _source(aliases)
    else:
        table = recognised(lengths)
    names = ContigNames(list(lengths), table)
    if table is None:
        return names, None
    if not any(names.aliases):
        expected = ", ".join(list(lengths)[:3])
        raise FormatError(
            f"{table.source} says nothing about any of the {len(lengths)} contigs ({expected}, "
            "...): each line must hold the name that the FASTA file gives it"
        )
    if stated is None:
        _check_lengths(lengths, names, table)
        stated = {"file": table.source, "sha256": None}
    return names, stated


def _check_lengths(lengths: dict[str, int], names: ContigNames, table: AliasTable) -> None:
    """Refuse a shipped table of another assembly."""
    known = next(each.lengths for each in shipped().values() if each.table is table)
    wrong = [name for name in lengths if known.get(name, lengths[name]) != lengths[name]]
    if wrong:
        shown = "; ".join(f"{n} has {lengths[n]} bases, {known[n]} there" for n in wrong[:5])
        raise OptionError(
            f"the contigs are not those of {table.source}: {len(wrong)} of {len(lengths)} "
            f"{'differs' if len(wrong) == 1 else 'differ'} in length: {shown}"
        )


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
            f"{', '.join(known) or 'none'}; `saetrack genomes add NAME FASTA --data-dir DIR` "
            "registers one in the data folder DIR, POST /v1/genomes with a server"
        )
    values = read_provenance(path)
    version = values.pop("format", None)
    wanted = {1: _KEYS, FORMAT: _KEYS_2}.get(version if isinstance(version, int) else 0, _KEYS_2)
    if {*values, "format"} != wanted or version not in {1, FORMAT} or values["name"] != name:
        raise FormatError(
            f"{name}/{_CARD} must have the keys {', '.join(sorted(_KEYS_2))}, format {FORMAT} and "
            f"the name of its folder; register the genome again"
        )
    listed: Any = values.pop("contigs")
    found = tuple(Contig(**contig) for contig in listed)
    if version == 1:
        source: Any = values["source"]
        values["source"] = {**source, "aliases": None}
        values |= {"seqcol": collection_digest(found), "genes": None}
    return Genome(
        contigs=found,
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
    mine = genes.filter(pa.array([index in place for index in old], pa.bool_()))
    new = pa.array([place[index] for index in old if index in place], pa.uint32())
    at = GENES_SCHEMA.get_field_index("contig")
    return mine.set_column(at, GENES_SCHEMA.field("contig"), new)


def _opened(given: Given) -> BinaryIO | Path:
    """What readers take."""
    if isinstance(given, Path):
        return given
    given.content.seek(0)
    return given.content


def _called(given: Given) -> str:
    return given.name


def _source(given: Given) -> dict[str, Any]:
    if isinstance(given, Path):
        return {"file": given.name, "sha256": file_sha256(given)}
    given.content.seek(0)
    digest = hashlib.file_digest(given.content, "sha256").hexdigest()  # type: ignore[arg-type]
    return {"file": given.name, "sha256": digest}


def _taken(name: str) -> StateError:
    return StateError(
        f"a genome {name!r} is registered already and is never replaced; choose another name"
    )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise OptionError(
            "a genome's name has 1 to 64 letters, digits, '.', '_' or '-' and starts with a letter "
            f"or digit, got {name[:100]!r}"
        )
