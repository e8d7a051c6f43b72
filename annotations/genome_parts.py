"""What a run over a registered genome reads: the regions that were asked for, and what they need.

    PartRequest (genome, BED | loci | genes, flank) --read_part--> GenomePart --write--> pieces

The run's contigs are those of the genome's that a region touches, with their whole lengths; only
pieces of them are stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import pyarrow as pa

from annotations.cards import DictionaryCard
from annotations.contig_aliases import ContigNames
from annotations.errors import LimitError, OptionError
from annotations.genome_folder import Genome, GenomeBases
from annotations.genome_regions import (
    Merged,
    Region,
    find_genes,
    merged,
    on_run,
    parse_loci,
    pieces,
    read_regions,
)
from annotations.pieces import write_pieces
from annotations.types import Contig, Span, counted

NAMED_BY: Final = ("regions", "region", "gene")
"""Ways to name regions, as fields of a form and options of a command line call them."""


@dataclass(frozen=True, kw_only=True)
class PartRequest:
    """Regions of a registered genome, named in one of three ways."""

    genome: str
    """Its name."""
    regions: BinaryIO | Path | None = None
    """BED file."""
    region: str | None = None
    """Loci, as `annotations.genome_regions.parse_loci` reads them."""
    gene: str | None = None
    """Names of genes."""
    flank: int = 0
    """Bases added to each side of each region."""

    @property
    def named_by(self) -> str | None:
        """Which of `NAMED_BY` is given; None for the whole genome."""
        given = [name for name in NAMED_BY if getattr(self, name) is not None]
        return given[0] if given else None

    def check(self) -> None:
        """Refuse what does not go together, before anything is read.

        Raises
        ------
        OptionError
            If regions are named in several ways, or a flank is given for none.
        """
        given = [name for name in NAMED_BY if getattr(self, name) is not None]
        if len(given) > 1:
            raise OptionError(
                f"regions are named by one of {', '.join(NAMED_BY)}, got {' and '.join(given)}"
            )
        if self.flank and not given:
            raise OptionError("flank is added to regions: name some with regions, region or gene")


class GenomePart(NamedTuple):
    """Regions of a genome, ready to be stored and computed."""

    genome: Genome
    on_genome: tuple[int, ...]
    """Index in the genome of each contig of the run."""
    contigs: list[Contig]
    """Those of the genome that regions touch, whole."""
    names: ContigNames
    """Other names of these contigs."""
    spans: list[Span]
    """What is computed, on contigs of the run; sorted, none touching another."""
    pieces: list[Span]
    """What is stored."""
    record: dict[str, Any]
    """What the run's JSON and provenance say: genome, named_by, submitted, merged, bases, the bases
    that are read for these, flank, and the genes that lie in several places."""

    @property
    def bases(self) -> int:
        """Bases that are computed."""
        return sum(span.length for span in self.spans)

    @property
    def read_bases(self) -> int:
        """Bases that are read to compute them: whole windows and their context."""
        return sum(piece.length for piece in self.pieces)

    def genes(self) -> pa.Table | None:
        """The genome's gene parts on the run's contigs, numbered as these are."""
        return self.genome.gene_parts(self.on_genome)

    def genes_digest(self) -> str | None:
        """What `genes` is in a digest of what is computed; None where there is no annotation.

        Tells the table by the hash of the genome's file and the contigs, which spares a pass over
        millions of rows.
        """
        if not self.genome.has_genes:
            return None
        return f"{self.genome.files['genes.parquet']}:{','.join(map(str, self.on_genome))}"

    def write(self, path: Path) -> None:
        """Write the pieces as `annotations.pieces.write_pieces`.

        Raises
        ------
        StorageError
            If the genome's sequences are missing or cut.
        """
        bases = GenomeBases(self.genome)

        def read(span: Span) -> bytes:
            return bases.fetch(self.contigs[span.contig].name, span.start, span.end)

        write_pieces(path, self.pieces, self.contigs, read)


def read_part(
    request: PartRequest, genome: Genome, card: DictionaryCard, *, max_bases: int, reach: int = 0
) -> GenomePart:
    """Find the regions of a request.

    Parameters
    ----------
    request : PartRequest
        With regions.
    genome : Genome
        The one that it names.
    card : DictionaryCard
        What the run is made with: its windows say what is read around a region.
    max_bases : int
        Most bases that are read for the regions with their flanks, each counted once.
    reach : int
        Bases that are read on each side of a window besides, where the dictionary's context is
        less: for what the model expects (`annotations.expectation.reach_of`).

    Raises
    ------
    UnknownNameError, FormatError, CoordinateError, OptionError
        As `annotations.genome_regions` reads regions; or if none are named, or genes of a genome
        without annotation.
    LimitError
        If there are more bases than allowed.
    """
    request.check()
    names, lengths = genome.contig_names(), genome.lengths
    regions, several = _regions(request, genome, names, lengths)
    found = merged(regions, lengths, flank=request.flank)
    on_genome = found.contigs
    context = max(card.context, reach)
    stored = pieces(found.spans, lengths, stride=card.stride, context=context)
    part = GenomePart(
        genome=genome,
        on_genome=tuple(on_genome),
        contigs=[genome.contigs[at] for at in on_genome],
        names=_only(names, on_genome),
        spans=on_run(found.spans, on_genome),
        pieces=on_run(stored, on_genome),
        record=_record(request, genome, found, stored, several),
    )
    if part.bases > max_bases:
        raise LimitError(
            f"the regions have {part.bases:,} bases with their flanks, each counted once, and "
            f"{max_bases:,} are allowed here; name fewer, or a smaller flank"
        )
    if part.read_bases > max_bases:
        raise LimitError(
            f"{counted(len(part.spans), 'region')} of {part.bases:,} bases need "
            f"{part.read_bases:,} bases to be read, since a model reads whole windows of "
            f"{card.stride:,} bases and {context:,} on each side,"
            f" and {max_bases:,} are allowed here; name fewer "
            "regions, or regions that lie closer together"
        )
    return part


def _regions(
    request: PartRequest, genome: Genome, names: ContigNames, lengths: Sequence[int]
) -> tuple[list[Region], dict[str, int]]:
    """The regions, and the number of places of each gene that has several."""
    if request.regions is not None:
        return read_regions(request.regions, names, lengths), {}
    if request.region is not None:
        return parse_loci(request.region, names, lengths), {}
    if request.gene is None:
        raise OptionError(
            f"name regions of {genome.name}: regions (a BED file), region (chrI:1,000-2,000) or "
            "gene"
        )
    genes = genome.gene_parts()
    if genes is None:
        raise OptionError(
            f"genome {genome.name!r} was registered without an annotation, so that it has no genes "
            "to name; name loci (region) or send a BED file (regions)"
        )
    loci = find_genes(genes, request.gene)
    return loci.regions, loci.several


def _only(names: ContigNames, contigs: Sequence[int]) -> ContigNames:
    """The names of some contigs."""
    return ContigNames([names.contigs[at] for at in contigs], names.table)


def _record(
    request: PartRequest,
    genome: Genome,
    found: Merged,
    stored: Sequence[Span],
    several: dict[str, int],
) -> dict[str, Any]:
    return {
        "genome": genome.name,
        "seqcol": genome.seqcol,
        "named_by": request.named_by,
        "text": request.region or request.gene,
        "submitted": found.regions,
        "merged": len(found.spans),
        "bases": found.bases,
        "read_bases": sum(piece.length for piece in stored),
        "flank": request.flank,
        "several_places": several,
    }
