"""Genomes to train on: FASTA, regions that may be learnt from, and where the coding bases are.

A spec file in TOML names them, one table for each genome, in the order in
which they are laid end to end:

    [[genome]]
    fasta = "sacCer3.fa.gz"             # plain, gzip or bgzip
    species = 0                         # row of the model's species table
    annotation = "sacCer3.gff3.gz"      # optional GFF3; open reading frames without it
    exclude = ["chrM", "chrVIII"]       # optional contigs never read

    [[genome]]
    fasta = "CBS432.fa.gz"
    species = 1
    allowed = "CBS432.train.bed"        # optional; contigs without a region are left out

Paths are relative to the folder of the spec file.
"""

import gzip
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.errors import CoordinateError, FormatError, OptionError, UnknownNameError
from annotations.sequences import encode_bases, read_sequences
from workers.training.corpus import Contig, Corpus, join_contigs, only_within, open_reading_frames

CODING_KINDS = frozenset({"CDS", "tRNA", "rRNA", "snoRNA", "mobile_genetic_element", "telomere"})
"""GFF3 feature types whose bases count as coding: what codons or repeats make easy to predict."""

Intervals = dict[str, list[tuple[int, int]]]
"""0-based half-open spans of each contig, by its name."""


@dataclass(frozen=True)
class GenomeSpec:
    """One genome of a corpus, as a spec file names it."""

    fasta: Path
    """FASTA file, plain or gzip."""
    species: int
    """Row of the model's species table."""
    allowed: Path | None = None
    """BED of what may be learnt from; everything where there is none."""
    annotation: Path | None = None
    """GFF3 with the coding bases; open reading frames stand in where there is none."""
    exclude: tuple[str, ...] = ()
    """Contigs never read: the organelle, validation and test chromosomes."""


class AnnotatedContig(NamedTuple):
    """One sequence of a genome and where it is coding."""

    name: str
    bases: NDArray[np.uint8]
    """Base codes, shape (length,)."""
    coding: NDArray[np.bool_]
    """Where a base counts as coding, shape (length,)."""


def read_spec(path: Path, *, root: Path | None = None) -> list[GenomeSpec]:
    """Genomes of a spec file, in its order.

    Parameters
    ----------
    path : Path
        The spec file.
    root : Path, optional
        Folder its paths start from; the folder of the spec file unless told.

    Raises
    ------
    FormatError
        If the file is not TOML of the form this module's docstring shows.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path.name} is not a TOML file: {error}") from error
    entries = content.get("genome")
    if set(content) != {"genome"} or not isinstance(entries, list) or not entries:
        raise FormatError(
            f"{path.name} must hold [[genome]] tables and nothing else, got {sorted(content)}"
        )
    return [_spec(entry, path, root or path.parent) for entry in entries]


def _spec(entry: dict[str, Any], path: Path, root: Path) -> GenomeSpec:
    allowed_keys = {"fasta", "species", "allowed", "annotation", "exclude"}
    unknown = set(entry) - allowed_keys
    species, exclude = entry.get("species"), entry.get("exclude", [])
    paths = {key: entry[key] for key in ("fasta", "allowed", "annotation") if key in entry}
    if (
        unknown
        or "fasta" not in paths
        or not isinstance(species, int)
        or not 0 <= species < 256
        or not isinstance(exclude, list)
        or not all(isinstance(text, str) for text in [*paths.values(), *exclude])
    ):
        raise FormatError(
            f"each [[genome]] of {path.name} needs fasta (a path) and species (0 to 255) and may "
            f"have allowed, annotation (paths) and exclude (a list of names); got {entry}"
        )
    resolved = {key: root / text for key, text in paths.items()}
    return GenomeSpec(
        resolved["fasta"],
        species,
        resolved.get("allowed"),
        resolved.get("annotation"),
        tuple(exclude),
    )


def read_bed(path: Path) -> Intervals:
    """Spans of a BED file, plain or gzip, by contig; all columns after the third ignored.

    Raises
    ------
    FormatError
        If a line has no three columns or a reversed span.
    """
    spans: Intervals = {}
    for number, line in text_lines(path):
        if line.startswith(("#", "track", "browser")):
            continue
        field = line.split("\t")
        if len(field) < 3 or not (field[1].isdigit() and field[2].isdigit()):
            raise FormatError(f"line {number} of {path.name} is not BED: {len(field)} columns")
        start, end = int(field[1]), int(field[2])
        if start > end:
            raise FormatError(f"line {number} of {path.name} is reversed: {start} to {end}")
        spans.setdefault(field[0], []).append((start, end))
    return spans


def read_coding(path: Path) -> Intervals:
    """Spans of the `CODING_KINDS` of a GFF3 file, plain or gzip, by contig, 0-based half-open.

    Raises
    ------
    FormatError
        If a line has no nine columns or no coordinates, or no line is of a coding kind.
    """
    spans: Intervals = {}
    for number, line in text_lines(path):
        if line.startswith("##FASTA"):
            break
        if line.startswith("#"):
            continue
        field = line.split("\t")
        if len(field) != 9 or not (field[3].isdigit() and field[4].isdigit()):
            raise FormatError(f"line {number} of {path.name} is not GFF3: {len(field)} columns")
        if field[2] in CODING_KINDS:
            spans.setdefault(field[0], []).append((int(field[3]) - 1, int(field[4])))
    if not spans:
        raise FormatError(
            f"{path.name} has no line of the types {', '.join(sorted(CODING_KINDS))}; leave the "
            "annotation out to use open reading frames"
        )
    return spans


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a text file, plain or gzip, that are not blank, with their 1-based numbers."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rt") if zipped else path.open(encoding="utf-8") as text:
        for number, line in enumerate(text, 1):
            if line.strip():
                yield number, line.rstrip("\r\n")


def read_genome(spec: GenomeSpec) -> list[AnnotatedContig]:
    """Contigs of one genome that are not excluded, in the order of its FASTA.

    Where the spec has allowed regions, contigs without one are left out and
    bases outside them are N.

    Raises
    ------
    UnknownNameError
        If an excluded or allowed contig is not in the FASTA: a misspelt name
        would let held-out sequence into training.
    CoordinateError
        If a span ends beyond its contig.
    FormatError
        If a file does not follow its format.
    """
    records = {
        record.name: encode_bases(record.sequence) for record in read_sequences(spec.fasta).records
    }
    allowed = read_bed(spec.allowed) if spec.allowed else None
    coding = read_coding(spec.annotation) if spec.annotation else None
    _check_names(spec.fasta, records, spec.exclude, "exclude")
    contigs = []
    for name, whole in records.items():
        if name in spec.exclude or (allowed is not None and name not in allowed):
            continue
        bases = whole
        if allowed is not None:
            _check_ends(name, len(whole), allowed[name])
            bases = only_within(whole, allowed[name])
        if coding is None:
            mask = open_reading_frames(bases)
        else:
            mask = mask_of(coding.get(name, []), len(whole), name)
        contigs.append(AnnotatedContig(name, bases, mask))
    if allowed is not None:
        _check_names(spec.fasta, records, allowed, "allowed regions")
    if coding is not None and not set(coding) & set(records):
        raise FormatError(
            f"no contig of the annotation ({_some(coding)}) is in {spec.fasta.name} "
            f"({_some(records)}); their names must be the same"
        )
    return contigs


def validation_contigs(spec: GenomeSpec, names: Sequence[str]) -> list[AnnotatedContig]:
    """Contigs of a genome that its spec keeps out of training, in the order of `names`.

    Raises
    ------
    OptionError
        If the spec does not exclude one of them: it would be trained and validated on.
    UnknownNameError
        If the genome lacks one of them.
    """
    learnt = [name for name in names if name not in spec.exclude]
    if learnt:
        raise OptionError(
            f"{', '.join(learnt)} would be trained on and validated on; add it to `exclude` of "
            f"{spec.fasta.name}"
        )
    contigs = {contig.name: contig for contig in read_genome(replace(spec, exclude=()))}
    _check_names(spec.fasta, contigs, names, "validation")
    return [contigs[name] for name in names]


def mask_of(spans: Iterable[tuple[int, int]], length: int, name: str) -> NDArray[np.bool_]:
    """True inside any of the spans of one contig; bool, shape (length,).

    Raises
    ------
    CoordinateError
        If a span ends beyond the contig.
    """
    spans = list(spans)
    _check_ends(name, length, spans)
    mask = np.zeros(length, bool)
    for start, end in spans:
        mask[start:end] = True
    return mask


def load_corpus(specs: Iterable[GenomeSpec], *, window: int) -> Corpus:
    """All genomes end to end, ready to draw windows of `window` bases from.

    Raises
    ------
    UnknownNameError, CoordinateError, FormatError
        As `read_genome`.
    ValueError
        If there is no contig to learn from.
    """
    return join_contigs(
        (
            Contig(contig.bases, contig.coding, spec.species)
            for spec in specs
            for contig in read_genome(spec)
        ),
        window=window,
    )


def _check_names(fasta: Path, records: Iterable[str], names: Iterable[str], what: str) -> None:
    missing = set(names) - set(records)
    if missing:
        raise UnknownNameError(
            f"{fasta.name} has no contig {', '.join(sorted(missing)[:5])} named under {what}; "
            f"it has {_some(records)}"
        )


def _check_ends(name: str, length: int, spans: Iterable[tuple[int, int]]) -> None:
    last = max((end for _, end in spans), default=0)
    if last > length:
        raise CoordinateError(
            f"a span on {name} ends at {last}, but the contig has {length} bases; is the file of "
            "another assembly?"
        )


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
