"""Cut annotations/example: a piece of a yeast chromosome as a GenBank record, with its genes.

    .venv/bin/python scripts/make_example.py sacCer3.fa.gz sacCer3.refseq_sgd_R64-4-1.gff3.gz OUT.gb

FASTA of S. cerevisiae S288C R64 and RefSeq's copy of SGD's annotation, both with UCSC's names
of chromosomes. Genes that cross the ends of the piece are left out. Refuses to overwrite.
"""

import gzip
import sys
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote

from Bio import SeqIO
from Bio.Seq import Seq
from Bio.SeqFeature import CompoundLocation, SeqFeature, SimpleLocation
from Bio.SeqRecord import SeqRecord

CONTIG, START, END = "chrI", 40_000, 90_000
"""0-based, half-open."""
NAME = f"{CONTIG}_{START + 1}_{END}"
KINDS = ("gene", "mRNA", "tRNA", "snoRNA", "snRNA", "ncRNA", "CDS")


def main() -> None:
    """Write the record."""
    fasta, gff, out = map(Path, sys.argv[1:])
    if out.exists():
        sys.exit(f"{out} is there already; delete it to make it anew")
    with gzip.open(fasta, "rt") as lines:
        whole = next(record for record in SeqIO.parse(lines, "fasta") if record.id == CONTIG)
    record = SeqRecord(
        Seq(str(whole.seq[START:END]).upper()),
        id=NAME,
        name=NAME,
        description=f"Saccharomyces cerevisiae S288C R64 (sacCer3) {CONTIG}:{START + 1}-{END}",
        annotations={
            "molecule_type": "DNA",
            "topology": "linear",
            "data_file_division": "PLN",
            "date": "21-NOV-2026",
            "source": "Saccharomyces cerevisiae S288C",
            "organism": "Saccharomyces cerevisiae S288C",
        },
    )
    record.features = features_of(gff)
    SeqIO.write(record, out, "genbank")


def features_of(gff: Path) -> list[SeqFeature]:
    """The genes, transcripts and coding sequences that lie within the piece."""
    rows: dict[str, tuple[str, dict[str, str], str]] = {}
    parts = defaultdict(list)
    with gzip.open(gff, "rt") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            if len(fields) != 9 or fields[0] != CONTIG or fields[2] not in (*KINDS, "exon"):
                continue
            _, _, kind, start, end, _, strand, _, text = fields
            entries = dict(entry.split("=", 1) for entry in text.split(";") if "=" in entry)
            # the exons of a transcript are its parts; a coding sequence has a line for each part
            of = entries["Parent"] if kind == "exon" else entries["ID"]
            if kind != "exon":
                rows[of] = (kind, entries, strand)
            if kind in ("gene", "CDS", "exon"):
                parts[of].append((int(start) - 1 - START, int(end) - START))
    found = []
    for of, (kind, entries, strand) in rows.items():
        places = sorted(set(parts[of]))
        if not places or places[0][0] < 0 or places[-1][1] > END - START:
            continue
        sign = 1 if strand == "+" else -1
        pieces = [SimpleLocation(start, end, sign) for start, end in places[::sign]]
        qualifiers = {
            name: [unquote(entries[key])]
            for name, key in (("gene", "gene"), ("locus_tag", "locus_tag"), ("product", "product"))
            if key in entries
        }
        location = pieces[0] if len(pieces) == 1 else CompoundLocation(pieces)
        found.append(SeqFeature(location, type=kind, qualifiers=qualifiers))
    order = {kind: at for at, kind in enumerate(KINDS)}
    return sorted(found, key=lambda f: (int(f.location.start), order[f.type]))


if __name__ == "__main__":
    main()
