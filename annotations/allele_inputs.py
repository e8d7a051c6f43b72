"""What a user asked to be compared, made into the records of a run.

    VCF + reference      --compared--> two records for each variant, and their pairs
    two named records    --compared--> all records as they are, and one pair

Genes are not carried over to records that are cut around variants: a part of a transcript would
read as one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from annotations.allele_controls import with_controls
from annotations.alleles import (
    MAX_BASES,
    Bases,
    Cut,
    RecordBases,
    cut_variants,
    default_flank,
    is_one_sided,
    pair_records,
)
from annotations.cards import DictionaryCard, ModelCard
from annotations.contig_aliases import ContigNames, recognised
from annotations.errors import OptionError
from annotations.records import Record
from annotations.vcf import read_vcf


class AlleleRequest(NamedTuple):
    """A VCF file, or two records by name."""

    variants: BinaryIO | Path | None = None
    records: str | None = None
    """Names of two records with a comma between them, reference first."""
    flank: int | None = None
    """Bases on each side of a variant; `annotations.alleles.default_flank` if None."""
    controls: int = 0
    """Random substitutions near each variant, to compare with."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be compared."""
        return self.variants is None and self.records is None

    def check(self, *, genes: bool, held_out: bool, regions: bool = False) -> None:
        """Refuse what does not go together, before anything is read.

        Parameters
        ----------
        genes, held_out, regions : bool
            Whether the submission has a file of genes, contigs to hold out, regions of a genome.

        Raises
        ------
        OptionError
            If it does not.
        """
        for given, name in ((self.flank is not None, "flank"), (self.controls != 0, "controls")):
            if given and self.variants is None:
                raise OptionError(
                    f"{name} is of variants: send a VCF file with it, or leave it out"
                )
        if self.variants is None:
            return
        if self.records is not None:
            raise OptionError("give variants (a VCF file) or alleles (two records), not both")
        for given, name in ((genes, "genes"), (held_out, "held_out"), (regions, "regions")):
            if given:
                raise OptionError(
                    f"{name} cannot go with variants, whose records are short pieces cut out of "
                    f"the sequences; leave {name} out"
                )


NOTHING_TO_COMPARE: Final = AlleleRequest()
"""What most runs ask for."""


def compared(
    request: AlleleRequest,
    source: Bases | Sequence[Record],
    dictionary: DictionaryCard,
    model: ModelCard,
    *,
    names: ContigNames | None = None,
    max_bases: int = MAX_BASES,
) -> Cut:
    """The records of a run that compares alleles.

    Parameters
    ----------
    request : AlleleRequest
        Not empty.
    source : Bases or sequence of Record
        The reference of the variants, or the records of which two are named.
    dictionary, model : DictionaryCard, ModelCard
        What the run is made with.
    names : ContigNames, optional
        Finds the contigs of variants; by default by their own names and those that are shipped for
        their assembly, where names and lengths tell which it is.
    max_bases : int
        Most bases of the records that are cut.

    Raises
    ------
    FormatError, LimitError, CoordinateError, OptionError, UnknownNameError
        As `annotations.vcf.read_vcf`, `cut_variants`, `with_controls` and `pair_records`.
    """
    one_sided = is_one_sided(model, dictionary)
    if request.variants is None:
        records = [] if not isinstance(source, Sequence) else list(source)
        return Cut(records, pair_records(records, request.records or "", one_sided=one_sided))
    bases = RecordBases(source) if isinstance(source, Sequence) else source
    if names is None:
        lengths = {name: bases.length(name) for name in bases.names}
        names = ContigNames(bases.names, recognised(lengths))
    cut = cut_variants(
        read_vcf(request.variants),
        bases,
        flank=default_flank(dictionary) if request.flank is None else request.flank,
        one_sided=one_sided,
        names=names,
        max_bases=max_bases,
    )
    if not request.controls:
        return cut
    return with_controls(cut, request.controls, max_bases=max_bases)
