"""The tracks of a run as a hub: which files, in which colors, on which genome.

    Result, feature rows --run_hub--> Hub --> hub.txt, igv.json, ...   (annotations.hub)

Addresses in a `Hub` are relative to the folder, or the address, that the files are in.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from annotations.errors import UnknownNameError
from annotations.evidence import EVIDENCE
from annotations.expectation import COMPOSITION_WINDOW
from annotations.gene_track import STANDARD_FIELDS as GENE_FIELDS
from annotations.hub import Genome, Hub, Track, TrackKind, track_name
from annotations.peak_track import COLOR_WORDS, COLORS
from annotations.peak_track import STANDARD_FIELDS as PEAK_FIELDS
from annotations.types import STRAND_SIGNS
from app import catalog, expectation
from app.allele_tracks import changed_locus, with_alleles
from app.catalog import Result
from app.feature_rows import SIGNAL_COLORS, FeatureRow, parse_row

MARGIN: Final = 500
"""Bases on each side of the peak at which a hub opens."""

CONTACT: Final = "nobody@localhost"
"""UCSC asks each hub for an e-mail address; this one is nobody's."""

PeakTracks = Literal["intervals", "heights", "both"]
"""How the peaks of a feature row are drawn: as items of a bigBed, as values of a bigWig."""


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
    peaks: PeakTracks = "intervals",
    email: str = CONTACT,
) -> Hub:
    """The tracks of a run: signal and peaks of some feature rows, all peaks, genes.

    Parameters
    ----------
    result : Result
        The files; its contigs are called as the genome calls them.
    rows : sequence of FeatureRow
        As from `app.feature_rows.chosen_rows`.
    key : str
        Letters and digits that are the run's alone.
    title : str
        Of the run.
    genome : str, optional
        What browsers call the sequences; without it the hub carries them. Addresses of files then
        end in ``?genome=...``, so that their contigs are called as the genome calls them.
    peaks : {"intervals", "heights", "both"}
        How the peaks of a feature row are drawn.
    email : str
        Of whoever answers for the tracks.

    Returns
    -------
    hub : Hub
        Addresses are relative, as files are named here and in `app.track_files.FILES`.
    """
    tracks = [
        track
        for place, (row, (most, label)) in enumerate(_known_rows(result, rows).items())
        for track in _row_tracks(row, label, most, SIGNAL_COLORS[place % len(SIGNAL_COLORS)], peaks)
    ]
    if result.alleles is not None:
        tracks = with_alleles(result, rows, tracks)
    tracks += expectation.tracks(result)
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
    if genome is not None:
        ending = f"?genome={quote(genome, safe='')}"
        tracks = [track._replace(url=track.url + ending) for track in tracks]
    own = Genome(
        genome_name(key), title, "sequence.fa", "sequence.fa.fai", "sequence.2bit", "chrom.sizes"
    )
    if result.spans is not None:
        # the FASTA holds pieces by their loci; the 2bit is as long as the contigs
        own = own._replace(fasta=None, fasta_index=None)
    return Hub(
        name=f"hub_{genome_name(key)}",
        short_label="saetrack",
        long_label=f"saetrack: {title} ({result.options.dictionary})",
        email=email,
        genome=own if genome is None else Genome(genome, genome),
        tracks=tracks,
        locus=_locus(result, rows) if result.alleles is None else changed_locus(result, rows),
        html="about.html",
    )


def _row_tracks(
    row: FeatureRow,
    label: str,
    most: float | None,
    color: tuple[int, int, int],
    peaks: PeakTracks,
) -> list[Track]:
    """The tracks of a feature row."""
    folder, name = f"features/{row.word}", track_name(f"f{row.word}")
    strand = "larger of both strands" if row.strand == "either" else f"strand {row.strand}"
    short = f"{row.text} {label}".strip()
    said = f"Feature {row.feature}, {strand}: "
    signal = Track(
        name,
        "signal",
        f"{folder}/signal.bw",
        short,
        f"{said}activation. {label}",
        color=color,
        most=most,
    )
    heights = Track(
        f"{name}_heights",
        "heights",
        f"{folder}/peaks.bw",
        f"{short} peaks",
        f"{said}activation at top peaks. {label}",
        color=color,
        most=most,
    )
    intervals = Track(
        f"{name}_peaks",
        "peaks",
        f"{folder}/peaks.bb",
        f"{short} peaks",
        f"{said}top peaks. {label}",
        color=color,
        fields=PEAK_FIELDS,
        search=True,
    )
    drawn = {"intervals": [intervals], "heights": [heights], "both": [heights, intervals]}
    return [signal, *drawn[peaks]]


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


class TrackOfRow(NamedTuple):
    """What a track's name says."""

    row: FeatureRow
    kind: TrackKind
    """`signal`, `heights`, `peaks`, `alternative` or `difference`."""


def track_row(name: str, n_features: int) -> TrackOfRow:
    """The feature row of a track's name as `run_hub` gives it, and what it shows of it.

    Raises
    ------
    UnknownNameError
        If no track has this name.

    Examples
    --------
    >>> track_row("f374_minus_peaks", 500)
    TrackOfRow(row=FeatureRow(feature=374, strand='-'), kind='peaks')
    """
    endings: dict[str, TrackKind] = {
        "_peaks": "peaks",
        "_heights": "heights",
        "_alternative": "alternative",
        "_difference": "difference",
    }
    ending = next((each for each in endings if name.endswith(each)), "")
    word = name.removesuffix(ending)
    if not word.startswith("f"):
        raise UnknownNameError(
            f"there is no track {name[:40]!r}; tracks are peaks, genes, and f374, f374_plus, "
            "f374_minus of each feature, with _peaks or _heights behind for its peaks, and "
            "_alternative or _difference where the run compares alleles"
        )
    return TrackOfRow(parse_row(word[1:], n_features), endings.get(ending, "signal"))


def about_page(result: Result) -> str:
    """A page that says what the tracks show and where they come from."""
    record = catalog.provenance(result)
    colors = "".join(
        f'<tr><td><span style="color: rgb{color}">&#9632;</span></td><td>{escape(kind)}</td>'
        f"<td>{escape(COLOR_WORDS[kind])}</td></tr>\n"
        for kind, color in COLORS.items()
    )
    expected = ""
    if expectation.has_expectation(result):
        expected = f"""<h2>Expectation</h2>
<p>What the language model expects of each base, {escape(expectation.said_sides(result))}: p(A, C,
G, T), on the forward strand. <em>Expected bits</em>: the Kullback-Leibler divergence of p from the
composition of the {COMPOSITION_WINDOW} bases about the base. <em>Expected letters</em>: the base
that stands there, as high as p of it times these bits. <em>Bits of the letter</em>: log2 of p over
the composition's share of the base that stands there, below 0 where the model expects others.
Nothing is said of bases that are not A, C, G or T.</p>
"""
    made = {
        "dictionary": result.options.dictionary,
        "sha256 of its weights": result.dictionary_sha256,
        "strands read": result.options.strands,
        "sequences": f"{len(result.names)}, {sum(result.lengths)} bases",
        "made with": f"saetrack {_version(record)}",
    }
    rows = "".join(
        f'<tr><th scope=row>{escape(k)}</th><td style="overflow-wrap: anywhere">'
        f"{escape(str(v))}</td></tr>\n"
        for k, v in made.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>saetrack tracks</title></head>
<body>
<main>
<h1>Features of a sparse autoencoder over these sequences</h1>
<p>Activations: the value of one feature at each base, on one strand, or the larger of the two.
Where a feature is silent the value is 0. Peaks: the bases at which a feature is largest within 25
bases, the highest of each feature and strand; the score is the share of the feature's largest
activation. Positions are on the forward strand, whichever was read.</p>
{expected}<h2>Colors of peaks</h2>
<p>The strongest evidence that there is for the motif of the feature row; each kind is listed in
the field <code>evidence</code> ({escape(", ".join(EVIDENCE))}).</p>
<table>
{colors}</table>
<h2>Where this comes from</h2>
<table>
{rows}</table>
<p><a href="provenance.json">The whole record</a> (JSON).</p>
</main>
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
        peaks = result.table("peaks", filters=row.lines, columns=["contig", "position", "value"])
        if peaks.num_rows:
            best = peaks.sort_by([("value", "descending")]).slice(0, 1).to_pylist()[0]
            contig, position = best["contig"], best["position"]
            start = max(0, position - MARGIN)
            end = min(result.lengths[contig], position + MARGIN)
            return f"{result.names[contig]}:{start + 1}-{end}"
    return f"{result.names[0]}:1-{min(result.lengths[0], 2 * MARGIN)}"
