"""Our files read by programs that browsers of genomes are made of: JBrowse's, and kent's.

    JBrowse 2  @gmod/bbi, @gmod/twobit, @gmod/indexedfasta, @gmod/ucsc-hub under node:
               scripts/install_node_readers.sh, which `make test-slow` calls
    UCSC       rtracklayer, which carries the kent library: apt install r-bioc-rtracklayer

Each is skipped, and says so, where its program is missing.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from Bio.Align import Alignment, Alignments, bigbed
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord

from annotations.activations import Activations, to_stretches
from annotations.bbi import Stretches
from annotations.bigwig import write_runs
from annotations.gene_track import write_genes_bigbed
from annotations.hub import Genome, Hub, Track, hub_text
from annotations.peak_track import write_peaks_bigbed
from annotations.records import Record
from annotations.sequence_files import fasta_index, write_named_fasta
from annotations.sequences import encode_bases, write_fasta
from annotations.tracks import write_bigwig
from annotations.transcripts import GeneModels, Transcript, gene_table
from annotations.twobit import write_2bit
from tests.annotations.test_peak_track import features, peak, peaks

pytestmark = pytest.mark.slow

READERS = Path(sys.prefix) / "node"
"""Where scripts/install_node_readers.sh puts them."""

NAMES = ["chr2", "chr10", "chr1"]
LENGTHS = [90_000, 7_000, 130]

SCRIPT = """
import { BigWig, BigBed } from '@gmod/bbi'
import { TwoBitFile } from '@gmod/twobit'
import { IndexedFasta } from '@gmod/indexedfasta'
import { SingleFileHub } from '@gmod/ucsc-hub'
import { readFileSync } from 'node:fs'
const folder = process.argv[1]
const features = async (file, names, lengths) => {
  const all = {}
  for (let i = 0; i < names.length; i++)
    all[names[i]] = await file.getFeatures(names[i], 0, lengths[i])
  return all
}
const { names, lengths } = JSON.parse(process.argv[2])
const peaks = new BigBed({ path: `${folder}/peaks.bb` })
const genes = new BigBed({ path: `${folder}/genes.bb` })
const signal = new BigWig({ path: `${folder}/signal.bw` })
const wide = new BigWig({ path: `${folder}/wide.bw` })
const twobit = new TwoBitFile({ path: `${folder}/sequence.2bit` })
const path = `${folder}/sequence.fa`
const fasta = new IndexedFasta({ path, faiPath: `${path}.fai` })
const bases = {}
for (const name of names) bases[name] = [
  await twobit.getSequence(name, 70, 130), await fasta.getSequence(name, 70, 130) ]
const header = await peaks.getHeader()
const hub = new SingleFileHub(readFileSync(`${folder}/hub.txt`, 'utf-8'))
const tracks = Object.fromEntries(
  Object.entries(hub.tracks.data).map(([name, track]) => [name, track.data]))
console.log(JSON.stringify({
  peaks: await features(peaks, names, lengths),
  genes: await features(genes, names, lengths),
  signal: await features(signal, names, lengths),
  wide: await wide.getFeatures('c', 0, 100000, { basesPerSpan: 1000 }),
  found: await peaks.searchExtraIndex('F3-'),
  defined: header.definedFieldCount,
  bases,
  hub: { hub: hub.hubData.data, genome: hub.genome.data, tracks },
}))
"""

R_SCRIPT = """
suppressMessages(library(rtracklayer))
folder <- commandArgs(TRUE)[1]
write_rows <- function(path, columns) {
  found <- import(path)
  table <- data.frame(basename(path), as.character(seqnames(found)), start(found) - 1, end(found),
                      as.data.frame(mcols(found))[columns])
  write.table(table, quote = FALSE, sep = "\\t", row.names = FALSE, col.names = FALSE)
}
write_rows(file.path(folder, "reference.bb"), c("name", "score"))
write_rows(file.path(folder, "peaks.bb"), c("name", "score"))
write_rows(file.path(folder, "genes.bb"), c("name", "score"))
write_rows(file.path(folder, "signal.bw"), c("score"))
bins <- summary(BigWigFile(file.path(folder, "wide.bw")), GRanges("c", IRanges(1, 100000)),
                size = 10, type = "mean")[[1]]$score
cat("bins", bins, sep = "\\t", fill = TRUE)
two_bit <- TwoBitFile(file.path(folder, "sequence.2bit"))
for (name in c("chr2", "chr10", "chr1"))
  cat("2bit", name, as.character(import(two_bit, which = GRanges(name, IRanges(71, 130)))[[1]]),
      sep = "\\t", fill = TRUE)
"""


@pytest.fixture
def tracks(tmp_path: Path) -> Path:
    """A folder with one file of each kind; features 3 and 4 fire on both strands."""
    rng = np.random.default_rng(4)
    codes = [
        encode_bases(rng.choice(list(b"ACGTN"), n).astype(np.uint8).tobytes()) for n in LENGTHS
    ]
    records = [
        Record(name, "", bytes(np.frombuffer(b"ACGTN", np.uint8)[each]))
        for name, each in zip(NAMES, codes, strict=True)
    ]
    write_fasta(records, tmp_path / "stored.fa", names=["0", "1", "2"])
    write_named_fasta(tmp_path / "stored.fa", tmp_path / "sequence.fa", NAMES)
    (tmp_path / "sequence.fa.fai").write_text(fasta_index(NAMES, LENGTHS))
    write_2bit(tmp_path / "sequence.2bit", NAMES, codes)
    places = sorted(rng.choice(LENGTHS[0], 3000, replace=False).tolist())
    rows = [peak(3 + at % 2, 1 - 2 * (at % 3 == 0), place) for at, place in enumerate(places)]
    rows += [peak(3, -1, 129, contig=2, value=9.5, gene_name="A gene"), peak(4, 1, 0, contig=1)]
    known = features({"feature": 3, "strand": -1, "match_motif_name": "REB1", "match_q": 0.01,
                      "match_evidence": "enriched"})  # fmt: skip
    write_peaks_bigbed(peaks(*rows), known, NAMES, LENGTHS, tmp_path / "peaks.bb")
    transcript = Transcript(1, -1, "GENE", "T1", ((10, 60), (500, 900)), ((20, 60), (500, 600)))
    genes = gene_table(GeneModels([transcript]))
    write_genes_bigbed(genes, NAMES, LENGTHS, tmp_path / "genes.bb")
    active = Activations(
        feature=np.full(4, 3, np.uint32),
        strand=np.array([1, 1, -1, 1], np.int8),
        contig=np.array([0, 0, 0, 2], np.uint32),
        position=np.array([4, 5, 89_999, 129], np.int64),
        value=np.array([1.0, 2.0, 4.0, 8.0], np.float32),
    )
    write_bigwig(tmp_path / "signal.bw", to_stretches(active), NAMES, LENGTHS)
    at = np.arange(100_000)
    runs = Stretches(0 * at, at, at + 1, (at % 10).astype(np.float32))
    write_runs(tmp_path / "wide.bw", runs, ["c"], [100_000])
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    genome = Genome("asm", "Three contigs", two_bit="sequence.2bit", chrom_sizes="chrom.sizes")
    drawn = [
        Track("f3", "signal", "signal.bw", "F3", "Feature 3", most=8),
        Track("peaks", "peaks", "peaks.bb", "Peaks", "Top peaks", search=True),
        Track("genes", "genes", "genes.bb", "Genes", "Genes", fields=12, search=True),
    ]
    hub = Hub("own", "own", "Three contigs", "me@lab.org", genome, drawn, "chr2:1-900")
    (tmp_path / "hub.txt").write_text(hub_text(hub))
    return tmp_path


def expected_peaks(folder: Path) -> list[tuple[str, int, str]]:
    rows = json.loads((folder / "rows.json").read_text())
    names = [f"F{row['feature']}{'+' if row['strand'] > 0 else '-'}" for row in rows]
    return sorted(
        (NAMES[row["contig"]], row["position"], name) for row, name in zip(rows, names, strict=True)
    )


SIGNAL = {
    "chr2": [(0, 4, 0), (4, 5, 1), (5, 6, 2), (6, 89_999, 0), (89_999, 90_000, 4)],
    "chr10": [(0, 7_000, 0)],
    "chr1": [(0, 129, 0), (129, 130, 8)],
}


def bases(folder: Path) -> dict[str, str]:
    text = (folder / "sequence.fa").read_text().split(">")[1:]
    whole = {part.split("\n")[0]: "".join(part.split("\n")[1:]) for part in text}
    return {name: sequence[70:130] for name, sequence in whole.items()}


def write_reference(path: Path) -> None:
    """A bigBed of one item, bases 100 to 109, that Biopython writes."""
    target = SeqRecord(Seq(None, length=1000), id="chr1")
    query = SeqRecord(Seq(None, length=10), id="item")
    alignment = Alignment([target, query], np.array([[100, 110], [0, 10]]))
    alignment.score = 5
    alignments = Alignments([alignment])
    alignments.targets = [target]
    bigbed.AlignmentWriter(str(path), bedN=6).write(alignments)


def test_the_adapters_of_jbrowse_read_our_files(tracks: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("NOT CHECKED: node is missing, so JBrowse's readers were not tried")
    if not (READERS / "node_modules").is_dir():
        pytest.skip("NOT CHECKED: no JBrowse readers; bash scripts/install_node_readers.sh")
    said = subprocess.run(
        [node, "--input-type=module", "-e", SCRIPT, str(tracks),
         json.dumps({"names": NAMES, "lengths": LENGTHS})],
        capture_output=True,
        check=True,
        text=True,
        cwd=READERS,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(said.stdout)
    read = [
        (name, row["start"], row["rest"].split("\t")[0])
        for name, rows in found["peaks"].items()
        for row in rows
    ]
    assert sorted(read) == expected_peaks(tracks)
    assert all(row["end"] == row["start"] + 1 for rows in found["peaks"].values() for row in rows)
    assert found["defined"] == 9
    assert "F3-" in json.dumps(found["found"])
    (gene,) = found["genes"]["chr10"]
    assert gene["rest"].split("\t")[6:9] == ["2", "50,400,", "0,490,"]
    signal = {
        name: [(row["start"], row["end"], row["score"]) for row in rows]
        for name, rows in found["signal"].items()
    }
    assert signal == SIGNAL
    # of a zoom level: bins of many bases
    first = found["wide"][0]
    assert (first["score"], first["maxScore"], first["summary"]) == (4.5, 9, True)
    assert len(found["wide"]) < 1000
    for name, own in bases(tracks).items():
        assert found["bases"][name] == [own, own]
    hub = found["hub"]
    assert (hub["hub"]["hub"], hub["hub"]["useOneFile"]) == ("own", "on")
    assert (hub["genome"]["genome"], hub["genome"]["twoBitPath"]) == ("asm", "sequence.2bit")
    files = {name: each.get("bigDataUrl") for name, each in hub["tracks"].items()}
    assert files == {
        "own_signal": None, "own_peaks": None, "own_genes": None,
        "f3": "signal.bw", "peaks": "peaks.bb", "genes": "genes.bb",
    }  # fmt: skip


def test_the_kent_library_reads_our_files(tracks: Path) -> None:
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("NOT CHECKED: Rscript is missing, so the kent library was not tried")
    probe = subprocess.run(
        [rscript, "-e", "library(rtracklayer)"], capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip("NOT CHECKED: R has no rtracklayer (apt install r-bioc-rtracklayer)")
    write_reference(tracks / "reference.bb")
    script = tracks / "read.R"
    script.write_text(R_SCRIPT)
    said = subprocess.run(
        [rscript, str(script), str(tracks)], capture_output=True, check=True, text=True
    )
    lines = [line.split("\t") for line in said.stdout.splitlines()]

    def of(file: str) -> list[list[str]]:
        return [line[1:] for line in lines if line[0] == file]

    # rtracklayer 1.58 forgets that the starts of a bigBed are 0-based, in anyone's files
    ((_, start, end, _, _),) = of("reference.bb")
    shift = 100 - int(start)
    assert (shift in {0, 1}, int(end)) == (True, 110)
    read = [(name, int(float(at)) + shift, label) for name, at, _, label, _ in of("peaks.bb")]
    assert sorted(read) == expected_peaks(tracks)
    ((name, start, end, label, _),) = of("genes.bb")
    assert (name, int(start) + shift, int(end), label) == ("chr10", 10, 900, "GENE")
    signal: dict[str, list[tuple[int, int, float]]] = {}
    for name, start, end, value in of("signal.bw"):
        signal.setdefault(name, []).append((int(float(start)), int(float(end)), float(value)))
    assert signal == SIGNAL
    assert of("bins") == [["4.5"] * 10]
    assert dict(of("2bit")) == bases(tracks)
