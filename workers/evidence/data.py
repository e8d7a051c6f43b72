"""The files the evidence is measured on: where they come from, and how a genome is split.

Nothing else in the project needs them. They are read from one folder, laid out as the paths
below say; a file that is missing is refused before anything is computed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.cards import file_sha256
from annotations.errors import OptionError, UnknownNameError
from annotations.genes import read_genes
from annotations.types import Contig
from workers.training.gate import Locations, read_locations
from workers.training.genomes import (
    AnnotatedContig,
    GenomeSpec,
    Intervals,
    mask_of,
    read_bed,
    read_genome,
    read_spec,
    text_lines,
)

Bools = NDArray[np.bool_]

VALIDATION: Final = ("chrVIII",)
TEST: Final = ("chrIX", "chrXIV")
"""Read by one stage alone, which logs it."""
NOT_TRAINING: Final = ("chrVIII", "chrIX", "chrXIV", "chrM")

REPEAT_KINDS: Final = frozenset(
    {"long_terminal_repeat", "mobile_genetic_element", "telomere", "tRNA", "rRNA"}
)
"""GFF3 feature types whose bases are repeats; telomeres hold the X and Y' elements."""

FASTA, GFF = "yeast_sacCer3/sacCer3.fa.gz", "yeast_sacCer3/sacCer3.refseq_sgd_R64-4-1.gff3.gz"
LOCATIONS = "yeast_sacCer3/rossi2021_chexmix_locations.bed.gz"
BLACKLIST = "yeast_sacCer3/rossi2021_blacklist.bed"
POMBE, POMBE_GENES = (
    "small_eukaryotes/pombe_ASM294v2.fa.gz",
    "small_eukaryotes/pombe_ASM294v2.transcripts.bed12.gz",
)


class Source(NamedTuple):
    """Where a file comes from."""

    url: str
    terms: str


_RAW = "https://github.com/"
_INSDC = "published assembly (INSDC), free to use"
_ROSSI = Source(
    _RAW + "CEGRcode/2021-Rossi_Nature/tree/650fd9e7fa4142580b31440323de5d3748c9e71b",
    "MIT, (c) 2021 Pugh Laboratory; Rossi et al. 2021, Nature; GEO GSE147927",
)
_YUE = _RAW + "yjx1217/Yeast_PacBio_2016/tree/fabfe0f68a46e97f9e01bca6e6cbd2024cc9661a"

SOURCES: Final[Mapping[str, Source]] = {
    FASTA: Source(
        _RAW + "agshumate/Liftoff/blob/e6e70983abb3c969c12e831ec7b874592a9e5633/liftoff/tests/"
        "GCF_000146045.2_R64_genomic.fna.gz",
        "RefSeq GCF_000146045.2, no restrictions on use; sequences renamed chrI to chrM",
    ),
    GFF: Source(
        _RAW + "moshi4/pygenomeviz-data-v1/blob/ace01b5ca03ca8e8fba9fe2cc1ca9d2f8c981345/gff/"
        "saccharomyces_cerevisiae.gff.gz",
        "RefSeq copy of SGD R64-4-1: CC BY 4.0; sequences renamed",
    ),
    LOCATIONS: _ROSSI,
    BLACKLIST: _ROSSI,
    POMBE: Source(
        _RAW + "ndeimler99/pombeTARPON/blob/fa13e76c7eec081b5d8c56bf14f5f7d52e1bb395/data/"
        "Schizosaccharomyces_pombe.ASM294v2.dna.toplevel.fa.gz",
        "Ensembl Fungi and PomBase: CC BY 4.0",
    ),
    POMBE_GENES: Source(
        _RAW + "trinityrnaseq/trinity_ext_sample_data/blob/"
        "595c042717a189e6d467d7bbe88efb3c6070128b/test_GenomeGuidedTrinity/SP2.annot.bed.gz",
        "Broad Institute annotation as shipped with Trinity's sample data (BSD-3 project)",
    ),
}
"""Of every file but the genomes trained on, whose sources follow by the start of their names."""

_TRAINED: Final[Mapping[str, Source]] = {
    "Saccharomyces_paradoxus": Source(_YUE, "Yue et al. 2017, Nature Genetics 49:913; " + _INSDC),
    "Saccharomyces_arboricola": Source(_YUE, "Liti et al. 2013, BMC Genomics 14:69; " + _INSDC),
    "Saccharomyces_uvarum": Source(
        "https://www.yeastgenome.org", "Scannell et al. 2011, as distributed by SGD; " + _INSDC
    ),
    "Candida_glabrata": Source(
        _RAW + "thomasdenecker/IronYeasts/tree/db7046b1aa6747d1625e77e21a7373ad0c2bd92a",
        "EMBL CR380947 to CR380959, free to use",
    ),
    "Clavispora_lusitaniae": Source(
        _RAW + "stajichlab/C_lusitaniae_popseq/tree/3fc3560c80f4b863dc4a9738ed09963c5abf7831",
        "MIT; Demers et al. 2018",
    ),
    "Candida_albicans": Source(
        _RAW + "Gabaldonlab/perSVade/tree/c02c19517dbb889623899d610eeb9452e3a4ad0a",
        "CGD and INSDC, free to use",
    ),
}


def source_of(path: str) -> Source:
    """Where a file of the folder comes from.

    Raises
    ------
    UnknownNameError
        If nobody wrote that down.
    """
    if path in SOURCES:
        return SOURCES[path]
    name = Path(path).name
    for start, source in _TRAINED.items():
        if name.startswith(start):
            own = "own work: regions of the genome not homologous to a held-out chromosome"
            return source if not name.endswith(".bed") else Source(source.url, own)
    raise UnknownNameError(f"no source is written down for {path}; add it to {__name__}")


@dataclass(frozen=True, eq=False)
class YeastContig:
    """One chromosome and what is known of its bases; all arrays of its length."""

    name: str
    bases: NDArray[np.uint8]
    coding: Bools
    """CDS, RNA genes, Ty elements and telomeres, as in training."""
    repeat: Bools
    """In a feature of `REPEAT_KINDS`."""
    masked: Bools
    """Lower case in the FASTA: NCBI's mask, low complexity above all."""
    unread: Bools
    """In the regions left out of peak calling by those who mapped the binding sites."""

    @property
    def plain(self) -> bool:
        """Whether it is one of the chromosomes that choices are made on."""
        return self.name not in NOT_TRAINING

    def annotated(self) -> AnnotatedContig:
        """As the code of the gate takes it."""
        return AnnotatedContig(self.name, self.bases, self.coding)


class Data:
    """The folder."""

    def __init__(self, folder: Path, spec: Path) -> None:
        self.folder = folder
        self.spec = spec
        """TOML of the genomes trained on (`workers.training.genomes`)."""

    def genomes(self) -> list[GenomeSpec]:
        """The genomes trained on."""
        return read_spec(self.spec, root=self.folder)

    def training_files(self) -> list[str]:
        """Files of the genomes trained on, as paths in the folder."""
        paths = []
        for genome in self.genomes():
            listed = (genome.fasta, genome.allowed, genome.annotation)
            paths += [path.relative_to(self.folder).as_posix() for path in listed if path]
        return paths

    def require(self, paths: Iterable[str]) -> None:
        """Refuse to begin without some files.

        Raises
        ------
        UnknownNameError
            Naming all that are missing, on one line.
        """
        if not self.folder.is_dir():
            raise UnknownNameError(
                f"there is no folder {self.folder}; give DATA=DIR, laid out as "
                "docs/bundled-model.md lists its files"
            )
        missing = [path for path in dict.fromkeys(paths) if not (self.folder / path).is_file()]
        if missing:
            raise UnknownNameError(
                f"{self.folder} lacks {', '.join(missing)}; docs/bundled-model.md says where each "
                "file comes from"
            )

    def table(self) -> list[dict[str, Any]]:
        """Every file with its size, sha256, address and terms."""
        paths = sorted({*SOURCES, *self.training_files()})
        self.require(paths)
        rows = []
        for path in paths:
            file = self.folder / path
            rows.append(
                {
                    "file": path,
                    "bytes": file.stat().st_size,
                    "sha256": file_sha256(file),
                    **source_of(path)._asdict(),
                }
            )
        return rows

    def yeast(self, names: Sequence[str] | None = None) -> list[YeastContig]:
        """Chromosomes of S. cerevisiae, in the order of the FASTA; all unless named.

        Raises
        ------
        OptionError
            If a name is not in the genome.
        """
        fasta = self.folder / FASTA
        contigs = read_genome(GenomeSpec(fasta, 0, annotation=self.folder / GFF))
        unknown = set(names or ()) - {contig.name for contig in contigs}
        if unknown:
            raise OptionError(f"{fasta.name} has no contig {', '.join(sorted(unknown))}")
        repeats = read_kinds(self.folder / GFF, REPEAT_KINDS)
        unread = read_bed(self.folder / BLACKLIST)
        lower = soft_mask(fasta)
        found = []
        for contig in contigs:
            if names is not None and contig.name not in names:
                continue
            length = len(contig.bases)
            found.append(
                YeastContig(
                    contig.name,
                    contig.bases,
                    contig.coding,
                    mask_of(repeats.get(contig.name, []), length, contig.name),
                    lower[contig.name],
                    mask_of(unread.get(contig.name, []), length, contig.name),
                )
            )
        return found

    def training_contigs(self, names: Sequence[str] = ()) -> list[YeastContig]:
        """Chromosomes that choices are made on; those named, all of them where none is.

        Raises
        ------
        OptionError
            If a name is one of `NOT_TRAINING`, or unknown.
        """
        held = sorted({*names} & {*NOT_TRAINING})
        if held:
            raise OptionError(f"{', '.join(held)} is held out: nothing may be chosen there")
        found = self.yeast(names or None)
        return [contig for contig in found if contig.plain]

    def locations(self) -> Locations:
        """Binding sites by contig and lower-case protein."""
        return read_locations(self.folder / LOCATIONS)

    def yeast_genes(self, contigs: Sequence[YeastContig]) -> pa.Table:
        """Gene annotation of some chromosomes; their order numbers them."""
        listed = [Contig(contig.name, len(contig.bases), "") for contig in contigs]
        return read_genes(self.folder / GFF, listed)

    def pombe(self, names: Sequence[str]) -> tuple[list[NDArray[np.uint8]], pa.Table]:
        """Chromosomes of S. pombe and their genes; the order of `names` numbers them."""
        spec = GenomeSpec(self.folder / POMBE, 0)
        bases = {contig.name: contig.bases for contig in read_genome(spec) if contig.name in names}
        listed = [Contig(name, len(bases[name]), "") for name in names]
        return [bases[name] for name in names], read_genes(self.folder / POMBE_GENES, listed)


def read_kinds(path: Path, kinds: frozenset[str]) -> Intervals:
    """Spans of some feature types of a GFF3 file by contig, 0-based half-open."""
    spans: Intervals = {}
    for _, line in text_lines(path):
        field = line.split("\t")
        if len(field) == 9 and field[2] in kinds:
            spans.setdefault(field[0], []).append((int(field[3]) - 1, int(field[4])))
    return spans


def soft_mask(fasta: Path) -> dict[str, Bools]:
    """Where the bases of each sequence are written in lower case."""
    lower: dict[str, list[Bools]] = {}
    name = ""
    for _, line in text_lines(fasta):
        if line.startswith(">"):
            name = line[1:].split()[0]
            lower[name] = []
        else:
            lower[name].append(np.frombuffer(line.encode(), np.uint8) >= ord("a"))
    return {name: np.concatenate(parts) for name, parts in lower.items() if parts}
