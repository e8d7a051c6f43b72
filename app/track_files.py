"""Tracks of a run's result as files and as descriptions that browsers of genomes open.

    Result --FILES[name]--> genes.bb, sequence.2bit, ...     one of each run
           --peaks_bigbed, signal--> of some feature rows
           --chosen_rows, run_hub--> Hub --> hub.txt, igv.json, ...   (annotations.hub)

Like `app.catalog` it knows no database and no HTTP. Addresses in a `Hub` are relative to the
folder, or the address, that the files are in.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotations.errors import OptionError, StateError, StorageError, UnknownNameError
from annotations.evidence import EVIDENCE
from annotations.gene_track import STANDARD_FIELDS as GENE_FIELDS
from annotations.gene_track import write_gene_models_bed, write_genes_bigbed
from annotations.hub import Genome, Hub, Track, track_name
from annotations.peak_track import COLOR_WORDS, COLORS, write_peaks_bigbed
from annotations.peak_track import STANDARD_FIELDS as PEAK_FIELDS
from annotations.ranking import active_features
from annotations.sequence_files import (
    chrom_sizes,
    fasta_index,
    read_codes,
    write_named_fasta,
)
from annotations.tables import replacing
from annotations.tracks import SignalStrand
from annotations.twobit import write_2bit
from annotations.types import STRAND_SIGNS, Strand
from app import catalog
from app.answers import Source, tf_features
from app.catalog import Result
from app.selection import Choice

SHOWN: Final = 10
"""Feature rows of a hub for which none are named."""

MAX_SHOWN: Final = 50
"""Most feature rows of a hub."""

MARGIN: Final = 500
"""Bases on each side of the peak at which a hub opens."""

CONTACT: Final = "nobody@localhost"
"""UCSC asks each hub for an e-mail address; this program knows none."""

STRAND_WORDS: Final[dict[SignalStrand, str]] = {"+": "plus", "-": "minus", "either": "either"}
"""Strands in the names of files and tracks, where signs do not survive every server."""

SIGNAL_COLORS: Final = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
)
"""Of signals in turn (Okabe and Ito 2008): told apart with any kind of color vision."""


class FeatureRow(NamedTuple):
    """A feature on one strand, or the larger of both."""

    feature: int
    strand: SignalStrand

    @property
    def word(self) -> str:
        """In the name of a file: ``374_minus``, or ``374`` for both strands."""
        if self.strand == "either":
            return str(self.feature)
        return f"{self.feature}_{STRAND_WORDS[self.strand]}"

    @property
    def text(self) -> str:
        """For people: ``374-``, or ``374`` for both strands."""
        return f"{self.feature}{'' if self.strand == 'either' else self.strand}"

    @property
    def one_strand(self) -> Strand | None:
        """The strand, or None for both."""
        return None if self.strand == "either" else self.strand


def parse_row(text: str, n_features: int) -> FeatureRow:
    """A feature row as people and addresses write it.

    Parameters
    ----------
    text : str
        ``374``, ``374-``, ``374+`` (in a query string the plus arrives as a space),
        ``374_minus`` or ``374_plus``.
    n_features : int
        Features of the dictionary.

    Raises
    ------
    UnknownNameError
        If it is no feature of the dictionary.

    Examples
    --------
    >>> parse_row("374_minus", 500), parse_row("7", 500).text, parse_row("7 ", 500).text
    (FeatureRow(feature=374, strand='-'), '7', '7+')
    """
    feature, strand = catalog.parse_feature_row(text, n_features)
    return FeatureRow(feature, strand or "either")


def parse_rows(text: str, n_features: int) -> list[FeatureRow]:
    """Feature rows separated by commas, each once.

    Raises
    ------
    OptionError
        If there are more than `MAX_SHOWN`.
    UnknownNameError
        As `parse_row`.
    """
    # a space that is a plus is part of the word: only the one after a comma is blank
    words = [word.lstrip() for word in text.split(",")]
    rows = list(dict.fromkeys(parse_row(word, n_features) for word in words if word))
    if not 0 < len(rows) <= MAX_SHOWN:
        raise OptionError(
            f"features must name 1 to {MAX_SHOWN} feature rows, such as 374-,153+; got {len(rows)}"
        )
    return rows


def chosen_rows(
    result: Result, *, features: str | None, tf: str | None, limit: int = SHOWN
) -> list[FeatureRow]:
    """The feature rows of a hub.

    Parameters
    ----------
    result : Result
        The files.
    features : str, optional
        Named ones, as `parse_rows` takes them.
    tf : str, optional
        A transcription factor, whose best matches are taken.
    limit : int
        Most rows where they are not named.

    Returns
    -------
    rows : list of FeatureRow
        Without a choice the most telling ones (`annotations.ranking.telling_order`); none where
        no feature is active.

    Raises
    ------
    OptionError
        If both are given, or no feature matches the factor.
    UnknownNameError, StateError
        As `parse_rows` and `app.answers.tf_features`.
    """
    if features is not None and tf is not None:
        raise OptionError("give features or tf, not both")
    if features is not None:
        return parse_rows(features, result.n_features)
    if tf is not None:
        found = tf_features(Source.of_result(result), tf, Choice(max_q=0.05)).page.table
        if not found.num_rows:
            raise OptionError(
                f"no feature matches {tf[:40]!r} at q <= 0.05; "
                f"/v1/runs/.../tfs/{tf[:40]}/features tells the nearest"
            )
    else:
        found = active_features(result.table("features"))
    pairs = zip(found["feature"].to_pylist(), found["strand"].to_pylist(), strict=True)
    rows = [FeatureRow(feature, "+" if sign > 0 else "-") for feature, sign in pairs]
    return list(dict.fromkeys(rows))[:limit]


def peaks_bigbed(result: Result, path: Path, *, rows: Sequence[FeatureRow] | None = None) -> None:
    """Write top peaks as bigBed: of all features, or of some feature rows.

    Parameters
    ----------
    result : Result
        The files.
    path : Path
        Made or replaced; its folder exists.
    rows : sequence of FeatureRow, optional
        Only these.
    """
    chosen = None
    if rows is not None:
        for row in rows:
            own = pc.field("feature") == row.feature
            if row.one_strand is not None:
                own = own & (pc.field("strand") == STRAND_SIGNS[row.one_strand])
            chosen = own if chosen is None else chosen | own
    peaks = result.table("peaks", filters=chosen)
    features = result.table("features", filters=chosen)
    write_peaks_bigbed(peaks, features, result.names, result.lengths, path)


def _genes(result: Result) -> pa.Table:
    if result.genes is None:
        raise StateError(
            "this run has no gene annotation; submit the sequences again with one (GenBank, GFF3, "
            "GTF or BED)"
        )
    return pq.read_table(result.genes)


def _sequences(result: Result) -> Path:
    if result.sequences is None:
        raise StorageError("the sequences of this run are not stored here")
    return result.sequences


def _genes_bigbed(result: Result, path: Path) -> None:
    write_genes_bigbed(_genes(result), result.names, result.lengths, path)


def _genes_bed(result: Result, path: Path) -> None:
    write_gene_models_bed(_genes(result), result.names, path)


def _two_bit(result: Result, path: Path) -> None:
    stored = [str(index) for index in range(len(result.names))]
    write_2bit(path, result.names, read_codes(_sequences(result), stored, result.lengths))


def _fasta(result: Result, path: Path) -> None:
    write_named_fasta(_sequences(result), path, result.names)


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _fasta_index(result: Result, path: Path) -> None:
    _write(path, fasta_index(result.names, result.lengths))


def _chrom_sizes(result: Result, path: Path) -> None:
    _write(path, chrom_sizes(result.names, result.lengths))


def _provenance(result: Result, path: Path) -> None:
    record = catalog.named_provenance(result)
    _write(path, json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n")


def _about(result: Result, path: Path) -> None:
    _write(path, about_page(result))


class TrackFile(NamedTuple):
    """A file that there is one of for each run."""

    content_type: str
    what: str
    """For the interface's document."""
    make: Callable[[Result, Path], None]
    """Writes it, whole or not at all."""


BINARY: Final = "application/octet-stream"
TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
JSON: Final = "application/json"

FILES: Final[Mapping[str, TrackFile]] = {
    "genes.bb": TrackFile(BINARY, "Genes as bigBed, BED12 with the transcript.", _genes_bigbed),
    "genes.bed": TrackFile(TEXT, "Genes as BED12.", _genes_bed),
    "sequence.2bit": TrackFile(BINARY, "The sequences as 2bit; IUPAC codes are N.", _two_bit),
    "sequence.fa": TrackFile(TEXT, "The sequences as FASTA, 80 bases a line.", _fasta),
    "sequence.fa.fai": TrackFile(TEXT, "The index of sequence.fa.", _fasta_index),
    "chrom.sizes": TrackFile(TEXT, "Names and lengths of the sequences.", _chrom_sizes),
    "provenance.json": TrackFile(JSON, "Who made the result, from what.", _provenance),
    "about.html": TrackFile(HTML, "What the tracks show, for people.", _about),
}
"""Files of a run by name."""


def genome_name(key: str) -> str:
    """What browsers are to call a run's own sequences.

    Parameters
    ----------
    key : str
        Letters and digits that are the run's alone.
    """
    return track_name("saetrack", key)


def run_hub(
    result: Result,
    rows: Sequence[FeatureRow],
    *,
    key: str,
    title: str,
    genome: str | None = None,
) -> Hub:
    """The tracks of a run: signal and peaks of some feature rows, all peaks, genes.

    Parameters
    ----------
    result : Result
        The files.
    rows : sequence of FeatureRow
        As from `chosen_rows`.
    key : str
        Letters and digits that are the run's alone.
    title : str
        Of the run.
    genome : str, optional
        What browsers call the sequences; without it the hub carries them.

    Returns
    -------
    hub : Hub
        Addresses are relative, as files are named here and in `FILES`.
    """
    known = _known_rows(result, rows)
    tracks: list[Track] = []
    for place, row in enumerate(rows):
        color = SIGNAL_COLORS[place % len(SIGNAL_COLORS)]
        most, label = known[row]
        folder = f"features/{row.word}"
        strand = "larger of both strands" if row.strand == "either" else f"strand {row.strand}"
        short = f"{row.text} {label}".strip()
        name = track_name(f"f{row.word}")
        tracks.append(
            Track(
                name,
                "signal",
                f"{folder}/signal.bw",
                short,
                f"Feature {row.feature}, {strand}: activation. {label}",
                color=color,
                most=most,
            )
        )
        tracks.append(
            Track(
                f"{name}_peaks",
                "peaks",
                f"{folder}/peaks.bb",
                f"{short} peaks",
                f"Feature {row.feature}, {strand}: top peaks. {label}",
                color=color,
                fields=PEAK_FIELDS,
                search=True,
            )
        )
    tracks.append(
        Track(
            "peaks",
            "peaks",
            "peaks.bb",
            "All peaks",
            "Top peaks of all features",
            shown=False,
            fields=PEAK_FIELDS,
            search=True,
        )
    )
    if result.genes is not None:
        tracks.append(
            Track(
                "genes",
                "genes",
                "genes.bb",
                "Genes",
                "Genes of the submission's annotation",
                color=(0, 0, 120),
                fields=GENE_FIELDS,
                search=True,
            )
        )
    own = Genome(
        genome_name(key), title, "sequence.fa", "sequence.fa.fai", "sequence.2bit", "chrom.sizes"
    )
    return Hub(
        name=f"hub_{genome_name(key)}",
        short_label="saetrack",
        long_label=f"saetrack: {title} ({result.options.dictionary})",
        email=CONTACT,
        genome=own if genome is None else Genome(genome, genome),
        tracks=tracks,
        locus=_locus(result, rows),
        html="about.html",
    )


def with_base(hub: Hub, base: str) -> Hub:
    """The hub with addresses below another, which ends in a slash."""

    def at(url: str | None) -> str | None:
        return None if url is None else base + url

    own = hub.genome
    genome = own._replace(
        fasta=at(own.fasta),
        fasta_index=at(own.fasta_index),
        two_bit=at(own.two_bit),
        chrom_sizes=at(own.chrom_sizes),
    )
    tracks = [track._replace(url=base + track.url, html=at(track.html)) for track in hub.tracks]
    return hub._replace(genome=genome, tracks=tracks, html=at(hub.html))


def track_row(name: str, n_features: int) -> tuple[FeatureRow, bool]:
    """The feature row of a track's name as `run_hub` gives it, and whether it shows peaks.

    Raises
    ------
    UnknownNameError
        If no track has this name.

    Examples
    --------
    >>> track_row("f374_minus_peaks", 500)
    (FeatureRow(feature=374, strand='-'), True)
    """
    word = name.removesuffix("_peaks")
    if not word.startswith("f"):
        raise UnknownNameError(
            f"there is no track {name[:40]!r}; tracks are peaks, genes, and f374, f374_plus, "
            "f374_minus of each feature, with _peaks behind for its peaks"
        )
    return parse_row(word[1:], n_features), name.endswith("_peaks")


def about_page(result: Result) -> str:
    """A page that says what the tracks show and where they come from."""
    record = catalog.provenance(result)
    colors = "".join(
        f'<tr><td><span style="color: rgb{color}">&#9632;</span></td><td>{escape(kind)}</td>'
        f"<td>{escape(COLOR_WORDS[kind])}</td></tr>\n"
        for kind, color in COLORS.items()
    )
    made = {
        "dictionary": result.options.dictionary,
        "sha256 of its weights": result.dictionary_sha256,
        "strands read": result.options.strands,
        "sequences": f"{len(result.names)}, {sum(result.lengths)} bases",
        "made with": f"saetrack {_version(record)}",
    }
    rows = "".join(
        f"<tr><th scope=row>{escape(k)}</th><td>{escape(str(v))}</td></tr>\n"
        for k, v in made.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>saetrack tracks</title></head>
<body>
<h1>Features of a sparse autoencoder over these sequences</h1>
<p>Activations: the value of one feature at each base, on one strand, or the larger of the two.
Where a feature is silent the value is 0. Peaks: the bases at which a feature is largest within 25
bases, the highest of each feature and strand; the score is the share of the feature's largest
activation. Positions are on the forward strand, whichever was read.</p>
<h2>Colors of peaks</h2>
<p>The strongest evidence that there is for the motif of the feature row; each kind is listed in
the field <code>evidence</code> ({escape(", ".join(EVIDENCE))}).</p>
<table>
{colors}</table>
<h2>Where this comes from</h2>
<table>
{rows}</table>
<p><a href="provenance.json">The whole record</a> (JSON).</p>
</body>
</html>
"""


def _version(record: Mapping[str, object]) -> str:
    """Version of this program in a provenance record, if it has one."""
    found: object = record
    for name in ("environment", "packages", "saetrack"):
        found = found.get(name) if isinstance(found, dict) else None
    return str(found or "(unknown)")


def _known_rows(
    result: Result, rows: Sequence[FeatureRow]
) -> dict[FeatureRow, tuple[float | None, str]]:
    """Largest activation of each feature row (None where silent), and what it is known for."""
    wanted = pa.array(sorted({row.feature for row in rows}), pa.uint32())
    columns = ["feature", "strand", "max", "label", "match_motif_name"]
    table = result.table("features", filters=pc.field("feature").isin(wanted), columns=columns)
    found: dict[FeatureRow, tuple[float | None, str]] = {}
    listed = table.to_pylist()
    for row in rows:
        own = [
            each
            for each in listed
            if each["feature"] == row.feature
            and (row.one_strand is None or each["strand"] == STRAND_SIGNS[row.one_strand])
        ]
        values = [each["max"] for each in own if each["max"] and each["max"] > 0]
        words = [each["match_motif_name"] or each["label"] for each in own]
        said = next((word for word in words if word), "")
        found[row] = (max(values, default=None), said)
    return found


def _locus(result: Result, rows: Sequence[FeatureRow]) -> str:
    """Around the highest peak of the first row that has one, else the first contig's start."""
    for row in rows:
        own = pc.field("feature") == row.feature
        if row.one_strand is not None:
            own = own & (pc.field("strand") == STRAND_SIGNS[row.one_strand])
        peaks = result.table("peaks", filters=own, columns=["contig", "position", "value"])
        if peaks.num_rows:
            best = peaks.sort_by([("value", "descending")]).slice(0, 1).to_pylist()[0]
            contig, position = best["contig"], best["position"]
            start = max(0, position - MARGIN)
            end = min(result.lengths[contig], position + MARGIN)
            return f"{result.names[contig]}:{start + 1}-{end}"
    return f"{result.names[0]}:1-{min(result.lengths[0], 2 * MARGIN)}"
