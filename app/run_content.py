"""What a submission computes on: a file as it was sent, a registered genome, its regions, alleles.

file | genome | genome + regions | either + variants --content_of--> Content
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from annotations.allele_inputs import AlleleRequest, compared
from annotations.alleles import Alleles
from annotations.cards import DictionaryCard, ModelCard
from annotations.contig_aliases import ContigNames
from annotations.errors import LimitError, OptionError
from annotations.genes import read_genes
from annotations.genome_folder import Genome, GenomeBases, open_genome, read_genome
from annotations.genome_parts import PartRequest, read_part
from annotations.sequences import Limits, Record, Submission, contigs, read_sequences, write_fasta
from annotations.types import Contig, Span
from app.config import Settings


class Content(NamedTuple):
    """What is computed on."""

    contigs: list[Contig]
    genes: pa.Table | None
    """Gene parts, `annotations.genes.GENES_SCHEMA`."""
    write: Callable[[Path], None]
    """Writes the normalised sequences, or pieces of them."""
    alleles: Alleles | None = None
    """Which of the contigs are alleles of each other."""
    spans: list[Span] | None = None
    """What is computed, where that is not all of the contigs."""
    genes_digest: str | None = None
    """What `genes` is in a digest, where a cheaper word than a hash of its rows is known."""
    names: ContigNames | None = None
    """Other names of the contigs, if any are stated."""
    record: dict[str, Any] | None = None
    """What the run's JSON says of the genome and the regions."""
    filename: str | None = None
    """What the run is called where no file was sent."""

    @property
    def read_bases(self) -> int:
        """Bases that are read to compute them: more than `bases` of small regions."""
        return self.bases if self.spans is None else int((self.record or {})["read_bases"])

    @property
    def bases(self) -> int:
        """Bases that are computed."""
        if self.spans is not None:
            return sum(span.length for span in self.spans)
        return sum(contig.length for contig in self.contigs)


class Sent(NamedTuple):
    """Files and words of a submission that say what it computes on."""

    sequences: BinaryIO | Path | None
    """FASTA or GenBank; None where a genome is named."""
    part: PartRequest | None
    """A registered genome, whole or regions of it; None where a file was sent."""
    genes: BinaryIO | Path | None
    genes_filename: str | None
    compare: AlleleRequest
    held_out: Sequence[str]
    reach: int = 0
    """Bases that are read about a region besides, as `annotations.genome_parts.read_part` says."""


def content_of(sent: Sent, card: DictionaryCard, model: ModelCard, settings: Settings) -> Content:
    """Read what was sent, whole.

    Parameters
    ----------
    sent : Sent
    card, model : DictionaryCard, ModelCard
        What the run is made with.
    settings : Settings
        Limits, and where the registered genomes are.

    Raises
    ------
    OptionError
        If there is a file and a genome, or neither, or options that do not go together.
    UnknownNameError
        If there is no such genome, contig or gene.
    FormatError, CoordinateError, LimitError
        If a file cannot be read or there is too much of it.
    """
    part, compare = sent.part, sent.compare
    if (sent.sequences is None) is (part is None):
        raise OptionError(
            "send sequences (a file) or name a registered genome (genome), "
            + ("not both" if part is not None else "there is neither")
        )
    named_by = None if part is None else part.named_by
    compare.check(
        genes=sent.genes is not None, held_out=bool(sent.held_out), regions=named_by is not None
    )
    if part is None:
        return _of_file(sent, card, model, settings)
    part.check()
    if compare.records is not None:
        raise OptionError(
            "alleles names two records of a sequence file; of a genome send variants (a VCF file)"
        )
    genome = open_genome(settings.genomes_dir, part.genome)
    if compare.variants is not None:
        return _of_variants(genome, compare, card, model, settings)
    if named_by is None:
        content = _of_genome(genome, settings)
    else:
        content = _of_part(part, genome, card, settings, sent.reach)
    if sent.genes is None:
        return content
    table = read_genes(
        sent.genes, content.contigs, filename=sent.genes_filename, names=content.names
    )
    return content._replace(genes=table, genes_digest=None)


def _of_file(sent: Sent, card: DictionaryCard, model: ModelCard, settings: Settings) -> Content:
    """All of a sequence file, or alleles of its sequences."""
    limits = Limits(max_bases=settings.max_bases, max_records=settings.max_records)
    if sent.sequences is None:
        raise OptionError("send sequences: FASTA or GenBank")
    submission = read_sequences(sent.sequences, limits=limits)
    alleles = None
    if not sent.compare.is_empty:
        records, alleles = compared(
            sent.compare, submission.records, card, model, max_bases=settings.max_bases
        )
        submission = Submission(records, None if sent.compare.variants else submission.genes)
    found = contigs(submission.records)
    genes = submission.genes
    if sent.genes is not None:
        genes = read_genes(sent.genes, found, filename=sent.genes_filename)
    return Content(found, genes, _writer(submission.records), alleles)


def _of_variants(
    genome: Genome,
    compare: AlleleRequest,
    card: DictionaryCard,
    model: ModelCard,
    settings: Settings,
) -> Content:
    """Two records for each variant of a genome."""
    bases, names = GenomeBases(genome), genome.contig_names()
    records, alleles = compared(
        compare, bases, card, model, names=names, max_bases=settings.max_bases
    )
    record = {"genome": genome.name, "seqcol": genome.seqcol, "named_by": "variants"}
    return Content(
        contigs(records), None, _writer(records), alleles, record=record, filename=genome.name
    )


def _of_genome(genome: Genome, settings: Settings) -> Content:
    """All of a genome: the same computation as of its file."""
    if genome.bases > settings.max_bases or len(genome.contigs) > settings.max_records:
        raise LimitError(
            f"genome {genome.name!r} has {genome.bases:,} bases in {len(genome.contigs):,} "
            f"contigs, and a run may have {settings.max_bases:,} in {settings.max_records:,} here; "
            "name regions of it: regions (a BED file), region (chrI:1,000-2,000) or gene"
        )
    reference = read_genome(genome)
    return Content(
        contigs=list(genome.contigs),
        genes=reference.genes,
        write=_writer(reference.records),
        names=genome.contig_names(),
        record={"genome": genome.name, "seqcol": genome.seqcol, "named_by": None},
        filename=genome.name,
    )


def _of_part(
    request: PartRequest, genome: Genome, card: DictionaryCard, settings: Settings, reach: int
) -> Content:
    """Regions of a genome."""
    part = read_part(request, genome, card, max_bases=settings.max_bases, reach=reach)
    text = part.record["text"]
    return Content(
        contigs=part.contigs,
        genes=part.genes(),
        write=part.write,
        spans=part.spans,
        genes_digest=part.genes_digest(),
        names=part.names,
        record=part.record,
        filename=f"{genome.name} {' '.join(text.split())}" if text else genome.name,
    )


def _writer(records: list[Record]) -> Callable[[Path], None]:
    names = [str(index) for index in range(len(records))]
    return partial(write_fasta, records, names=names)
