"""The page of a result folder: igv.js over the folder's own files, and what was found.

    Result, rows, Hub --write_page--> index.html, page/{igv.min.js,folder.js,saetrack.css,data.js}

From a server the page reads tracks by byte ranges. Browsers let no page read files of a disk
(``file://``), nor load modules from there; so the tracks stand in page/data.js as well, where they
are small enough, and every script is a classic one.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from annotations.hub import Hub, igvjs_config
from annotations.ranking import telling_order
from annotations.tables import replacing
from annotations.types import STRAND_SIGNS
from app import catalog
from app.catalog import Result
from app.expectation import EXPECTATION_FILES
from app.feature_rows import FeatureRow
from app.web.vendored import IGV_STYLES, STATIC, classic_igv
from app.web.words import FILTERS

PAGE_FOLDER: Final = "page"
"""Folder of what index.html needs besides the tracks."""

EMBEDDED_BYTES: Final = 30_000_000
"""Most bytes of tracks that page/data.js holds; base64 makes a third more of them."""

DRAWN: Final = 4
"""Feature rows that are drawn when the page opens."""

MARGIN: Final = 400
"""Bases on each side of a peak that a link goes to."""

MAX_NAMES: Final = 1000
"""Names of sequences that the field for a place offers."""

POLICY: Final = (
    # "file:" for a page that was opened from a disk: not every browser counts that as 'self'
    f"default-src 'none'; script-src 'self' file:; style-src 'self' file: {' '.join(IGV_STYLES)}; "
    "img-src 'self' file: data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
"""What the page may do; nothing that leaves the folder."""

_TEMPLATES: Final = Path(__file__).parent / "web" / "templates"

_COPIED: Final = ("folder.js", "saetrack.css", "icon.svg", "igv.LICENSE.txt")
"""Static files that the page takes along."""

_FILES: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "Tables": (
        ("features.tsv", "every feature on each strand: density, maximum, label, best match"),
        ("peaks.tsv", "top peaks with value, motif and gene"),
        ("peaks.bed", "the same as BED"),
        ("matches.tsv", "tests of motifs at the peaks"),
        ("concepts.tsv", "how well features tell exons, introns, splice sites"),
        ("contigs.tsv", "names, lengths and digests of the sequences"),
        ("allele_effects.tsv", "what each variant changes: features, before and after"),
        ("substitutions.tsv", "log2 p(alternative) / p(reference) of each substitution"),
    ),
    "The same as Parquet": (
        ("features.parquet", ""),
        ("peaks.parquet", ""),
        ("matches.parquet", ""),
        ("concepts.parquet", ""),
        ("contigs.parquet", ""),
        ("allele_effects.parquet", ""),
        ("substitutions.parquet", ""),
        ("activations.parquet", "every activation, as stretches of consecutive bases"),
        ("activations/index.json", "the same in parts: activations/*.parquet"),
        ("expectation.parquet", "log2 p(A, C, G, T) of each base"),
    ),
    "Tracks": (
        ("sequence.2bit", "the sequences"),
        ("sequence.fa", "the sequences as FASTA"),
        ("sequence.fa.fai", "its index"),
        ("chrom.sizes", "names and lengths"),
        ("genes.bb", ""),
        ("genes.bed", "genes as BED12"),
        ("peaks.bb", ""),
        *((name, "") for name in EXPECTATION_FILES),
    ),
    "For browsers of genomes": (
        ("session.xml", "IGV on your machine: File > Open Session"),
        ("hub.txt", "a track hub: IGV, UCSC, JBrowse 2; UCSC needs the folder on a public host"),
        ("jbrowse.json", "JBrowse 2: add ?config= and the address of this file"),
        ("igv.json", "igv.js: its configuration"),
    ),
    "Where this comes from": (
        ("about.html", "what the tracks show"),
        ("provenance.json", "versions, hashes, parameters"),
    ),
}
"""Files that the page lists where they exist, and what they hold."""


class ListedFile(NamedTuple):
    """A file that the page links."""

    name: str
    what: str
    size: int
    """Bytes."""


def write_page(
    result: Result, folder: Path, rows: Sequence[FeatureRow], hub: Hub, *, title: str
) -> None:
    """Write index.html and what it needs, whole or not at all each.

    Parameters
    ----------
    result : Result
        The files.
    folder : Path
        Holds the tracks already.
    rows : sequence of FeatureRow
        Whose tracks are in the folder.
    hub : Hub
        The tracks of all rows, with relative addresses.
    title : str
        Of the run.

    Raises
    ------
    StorageError
        If the installed igv.js cannot be read.
    """
    page = folder / PAGE_FOLDER
    page.mkdir(exist_ok=True)
    for name in _COPIED:
        (page / name).write_bytes((STATIC / name).read_bytes())
    (page / "igv.min.js").write_text(classic_igv(), encoding="utf-8")
    config = browser_config(hub)
    views = row_views(result, rows, row_tracks(hub, rows))
    drawn = [[track["url"] for track in view["tracks"]] for view in views]
    others = drawn or [[track["url"] for track in config["tracks"]]]
    others += [[track["url"]] for track in config["tracks"] if track["url"] in EXPECTATION_FILES]
    embedded = choose_embedded(folder, base_files(config), others)
    if embedded:
        write_data(folder, embedded, page / "data.js")
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(FILTERS)
    record = catalog.provenance(result)
    text = environment.get_template("web/folder.html").render(
        title=title,
        policy=POLICY,
        result=result,
        config=config,
        embedded=embedded,
        drawn=[row.text for row in rows[:DRAWN]],
        rows=views,
        names=result.names[:MAX_NAMES],
        files=list_files(folder, hub),
        test=catalog.motif_test(result),
        version=_version(record),
        rows_in_all=result.table("features", columns=["active_bases"])
        .filter(pc.field("active_bases") > 0)
        .num_rows,
    )
    with replacing(folder / "index.html") as temporary:
        temporary.write_text(text, encoding="utf-8")


def browser_config(hub: Hub) -> dict[str, Any]:
    """The configuration of the page's igv.js: sequence, genes, and peaks where no row is chosen.

    The rows' own tracks are loaded by the page, as they are chosen.
    """
    own = hub.genome._replace(fasta=None, fasta_index=None)  # the 2bit is a quarter of the size
    tracks = [track for track in hub.tracks if not track.url.startswith("features/")]
    config = igvjs_config(hub._replace(genome=own, tracks=tracks))
    config["reference"] |= {
        "id": own.description[:40],  # which igv.js shows
        "chromSizesURL": own.chrom_sizes,
        "wholeGenomeView": False,
    }
    for track in config["tracks"]:
        if track["url"] in EXPECTATION_FILES:
            track |= {"height": 70, "order": 5}
            continue
        genes = track["url"] == "genes.bb"
        track |= {
            "height": 70,
            "displayMode": "EXPANDED" if genes else "SQUISHED",
            "visibilityWindow": -1 if genes else 100_000,
            # the names that a person may go to; igv.js asks the index of the file
            "searchable": genes,
            "order": 1,
        }
    return config | {"showSVGButton": True, "showTrackLabels": True}


def base_files(config: Mapping[str, Any]) -> list[str]:
    """The files without which nothing is drawn."""
    reference = config["reference"]
    genes = [track["url"] for track in config["tracks"] if track["url"] == "genes.bb"]
    return [reference["twoBitURL"], reference["chromSizesURL"], *genes]


def choose_embedded(
    folder: Path, base: Sequence[str], others: Sequence[Sequence[str]]
) -> list[str]:
    """The files that page/data.js holds, within `EMBEDDED_BYTES`.

    Parameters
    ----------
    folder : Path
        Where they are.
    base : sequence of str
        Without which the others are of no use.
    others : sequence of sequences of str
        What is drawn together, in order of importance.

    Returns
    -------
    names : list of str
        Empty where not even the first of the others fits.
    """
    names: list[str] = list(base)
    room = EMBEDDED_BYTES - sum((folder / name).stat().st_size for name in base)
    taken = 0
    for group in others:
        room -= sum((folder / name).stat().st_size for name in group)
        if room < 0:
            break
        names += group
        taken += 1
    return names if taken else []


def write_data(folder: Path, names: Sequence[str], path: Path) -> None:
    """Write files as a script that sets ``window.saetrackFiles``, base64 by name."""
    with replacing(path) as temporary, temporary.open("w", encoding="ascii") as stream:
        stream.write("window.saetrackFiles = {\n")
        for name in names:
            content = base64.b64encode((folder / name).read_bytes()).decode()
            stream.write(f"{json.dumps(name)}: {json.dumps(content)},\n")
        stream.write("};\n")


def row_tracks(hub: Hub, rows: Sequence[FeatureRow]) -> list[list[dict[str, Any]]]:
    """The tracks of each row as igv.js takes them, one below the other."""
    found: list[list[dict[str, Any]]] = []
    shown = igvjs_config(hub)["tracks"]
    for place, row in enumerate(rows):
        own = [track for track in shown if track["url"].startswith(_folder_of(row))]
        for at, track in enumerate(own):
            track["order"] = 10 + place + at / 10
            if track["type"] == "annotation":
                track |= {"displayMode": "SQUISHED", "squishedRowHeight": 12, "margin": 4}
                track |= {"height": 22, "visibilityWindow": -1}
            else:
                track["height"] = 50
        found.append(own)
    return found


def row_views(
    result: Result, rows: Sequence[FeatureRow], tracks: Sequence[list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """What the page says of each feature row.

    Parameters
    ----------
    result : Result
        The files.
    rows : sequence of FeatureRow
        As in `write_page`.
    tracks : sequence of lists of dict
        As from `row_tracks`.

    Returns
    -------
    views : list of dict
        One for each row: the columns of the table of features, of the more telling strand where
        the row is both, with `max`, `peaks` and `active_bases` of the row; `name`, `tracks`,
        `signal`, `peaks_url`, and `top` (None, or `said` and `link` of the highest peak).
    """
    wanted = pa.array(sorted({row.feature for row in rows}), pa.uint32())
    own = pc.field("feature").isin(wanted)
    features = result.table("features", filters=own)
    known = features.take(pa.array(telling_order(features))).to_pylist()
    highest = result.table(
        "peaks",
        filters=own & (pc.field("rank") == 1),
        columns=["feature", "strand", "contig", "position", "value"],
    ).to_pylist()
    views = []
    for row, own_tracks in zip(rows, tracks, strict=True):
        both = [line for line in known if _is_of(line, row)]
        best = max(
            (peak for peak in highest if _is_of(peak, row)),
            key=lambda peak: peak["value"],
            default=None,
        )
        views.append(
            both[0]
            | {
                "name": row.text,
                "tracks": own_tracks,
                "signal": f"{_folder_of(row)}signal.bw",
                "peaks_url": f"{_folder_of(row)}peaks.bb",
                "both": row.one_strand is None,
                "max": max((line["max"] for line in both if line["max"]), default=None),
                "peaks": sum(line["peaks"] for line in both),
                "active_bases": sum(line["active_bases"] for line in both),
                "top": None if best is None else _place(result, best),
            }
        )
    return views


def list_files(folder: Path, hub: Hub) -> dict[str, list[ListedFile]]:
    """The files of a folder that the page links, by what they are for."""
    said = {track.url: track.long_label for track in hub.tracks}
    found = {
        group: [
            ListedFile(name, said.get(name, what), (folder / name).stat().st_size)
            for name, what in files
            if (folder / name).is_file()
        ]
        for group, files in _FILES.items()
    }
    return {group: files for group, files in found.items() if files}


def _is_of(line: Mapping[str, Any], row: FeatureRow) -> bool:
    strands = STRAND_SIGNS.values() if row.one_strand is None else [STRAND_SIGNS[row.one_strand]]
    return line["feature"] == row.feature and line["strand"] in strands


def _folder_of(row: FeatureRow) -> str:
    return f"features/{row.word}/"


def _place(result: Result, peak: Mapping[str, Any]) -> dict[str, str]:
    """The highest peak of a row, for people and as a link into the page."""
    name, length = result.names[peak["contig"]], result.lengths[peak["contig"]]
    start = max(0, peak["position"] - MARGIN)
    end = min(length, peak["position"] + MARGIN + 1)
    return {
        "said": f"{name}:{peak['position'] + 1:,}",
        "link": "#" + urlencode({"locus": f"{name}:{start + 1}-{end}"}),
    }


def _version(record: Mapping[str, Any]) -> str:
    """The version of this program that made a result."""
    return str(record.get("environment", {}).get("packages", {}).get("saetrack", "(unknown)"))
