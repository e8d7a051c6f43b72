"""A result folder that browsers open without a server: tracks, descriptions and a page.

    Result --write_folder--> sequence.2bit, genes.bb, peaks.bb, ...    as the service names them
                             features/755_plus/{signal.bw,peaks.bb}    of some feature rows
                             hub.txt, igv.json, session.xml, jbrowse.json
                             index.html, page/                         (app.folder_page)

Every address is relative, so that the folder may lie on any host or disk and be moved.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotations.allele_tracks import AlleleTrack
from annotations.hub import Hub, hub_text, igv_session, igvjs_config, jbrowse_config
from annotations.memory import return_memory
from annotations.peak_track import write_peaks_bigbed
from annotations.tables import TEXT_ROWS, column, replacing
from annotations.types import STRAND_SIGNS
from app import alleles, catalog
from app.catalog import Result
from app.expectation import has_expectation
from app.feature_rows import MAX_SHOWN, FeatureRow
from app.folder_page import write_page
from app.run_hub import run_hub
from app.track_files import EXPECTATION_TRACKS, FILES

FEATURES_FOLDER: Final = "features"
"""Folder of the tracks of single feature rows."""

GENE_FILES: Final = ("genes.bb", "genes.bed")
"""Those of `app.track_files.FILES` that only a run with an annotation has."""

ALLELE_TRACKS: Final[Mapping[str, AlleleTrack]] = {
    "alternative.bw": "alternative",
    "difference.bw": "difference",
}
"""Tracks of a feature row that only a run that compares alleles has."""

DESCRIPTIONS: Final = ("hub.txt", "igv.json", "session.xml", "jbrowse.json")
"""What each browser reads, all of the same tracks."""

MAX_PEAKS: Final = 250_000
"""Most peaks of peaks.bb: 3 s and 13 MB; the tables have them all."""


def write_folder(result: Result, folder: Path, rows: Sequence[FeatureRow], *, title: str) -> None:
    """Put the files that browsers read beside the tables of a result.

    Parameters
    ----------
    result : Result
        With its sequences, and its genes where it has some.
    folder : Path
        Of the result; it exists.
    rows : sequence of FeatureRow
        Whose signal and peaks are written, the first `app.feature_rows.MAX_SHOWN` of them into
        the descriptions; may be empty.
    title : str
        Of the run, for people.

    Raises
    ------
    StorageError
        If a file cannot be written, or the sequences are missing.
    """
    for name, file in FILES.items():
        if result.genes is not None or name not in GENE_FILES:
            file.make(result, folder / name)
    for name, file in EXPECTATION_TRACKS.items() if has_expectation(result) else ():
        file.make(result, folder / name)
    for row in rows:
        own = folder / signal_path(row).parent
        own.mkdir(parents=True, exist_ok=True)
        catalog.signal_file(result, own / "signal.bw", feature=row.feature, strand=row.strand)
        for name, track in ALLELE_TRACKS.items() if result.alleles is not None else ():
            alleles.track_file(result, own / name, row=row, track=track)
    features = result.table("features")
    _write_row_peaks(result, folder, rows, features)
    most = _most_ranks(result.table("peaks", columns=["feature", "strand"]))
    peaks = _peaks(result, pc.scalar(True) if most is None else pc.field("rank") <= most)
    return_memory()
    write_peaks_bigbed(peaks, features, result.names, result.lengths, folder / "peaks.bb")
    hub = folder_hub(result, rows, title=title, ranks=most)
    described = folder_hub(result, rows[:MAX_SHOWN], title=title, ranks=most)
    for name, text in descriptions(described).items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_page(result, folder, rows, hub, title=title)


def signal_path(row: FeatureRow) -> Path:
    """Where the signal of a feature row lies in a result folder."""
    return Path(FEATURES_FOLDER) / row.word / "signal.bw"


def add_signal(result: Result, folder: Path, row: FeatureRow) -> Path:
    """Put the signal of a feature row where `write_folder` would have; returns the file.

    Parameters
    ----------
    result : Result
    folder : Path
        Its own.
    row : FeatureRow

    Raises
    ------
    OptionError
        If the strand was not read; the folder is then as it was.
    """
    target = folder / signal_path(row)
    with tempfile.TemporaryDirectory(prefix=".signal-", dir=folder) as scratch:
        made = Path(scratch) / target.name
        catalog.signal_file(result, made, feature=row.feature, strand=row.strand)
        target.parent.mkdir(parents=True, exist_ok=True)
        made.replace(target)
    return target


def folder_hub(
    result: Result, rows: Sequence[FeatureRow], *, title: str, ranks: int | None = None
) -> Hub:
    """The tracks of a folder, with relative addresses.

    Parameters
    ----------
    result : Result
        The files.
    rows : sequence of FeatureRow
        As in `write_folder`.
    title : str
        Of the run.
    ranks : int, optional
        How many peaks of each feature row are in peaks.bb, where not all are.
    """
    # the same sequences and weights give the same name, wherever the folder lies
    said = json.dumps([list(result.names), list(result.lengths), result.dictionary_sha256])
    key = hashlib.sha256(said.encode()).hexdigest()[:8]
    hub = run_hub(result, rows, key=key, title=title)
    all_peaks = next(track for track in hub.tracks if track.url == "peaks.bb")
    if ranks is not None:
        said = f"The highest {ranks} peaks of each feature row; peaks.bed has the others"
        all_peaks = all_peaks._replace(short_label="Highest peaks", long_label=said)
    # where no row was chosen there is nothing else to see
    all_peaks = all_peaks._replace(shown=not rows)
    tracks = [all_peaks if track.url == "peaks.bb" else track for track in hub.tracks]
    return hub._replace(tracks=tracks)


def descriptions(hub: Hub) -> dict[str, str]:
    """The texts of `DESCRIPTIONS` by name."""
    return {
        "hub.txt": hub_text(hub),
        "igv.json": _json(igvjs_config(hub)),
        "session.xml": igv_session(hub),
        "jbrowse.json": _json(jbrowse_config(hub)),
    }


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _write_row_peaks(
    result: Result, folder: Path, rows: Sequence[FeatureRow], features: pa.Table
) -> None:
    """peaks.bb of each row; the tables are read once for all."""
    wanted = pa.array(sorted({row.feature for row in rows}), pa.uint32())
    near = _peaks(result, pc.field("feature").isin(wanted))
    known = features.filter(pc.is_in(features["feature"], wanted))
    for row in rows:
        path = folder / FEATURES_FOLDER / row.word / "peaks.bb"
        write_peaks_bigbed(
            of_row(near, row), of_row(known, row), result.names, result.lengths, path
        )


def _peaks(result: Result, wanted: pc.Expression) -> pa.Table:
    """Some peaks; text for all of them is more than all that is written of these."""
    with pq.ParquetFile(result.files["peaks.parquet"]) as file:
        batches = file.iter_batches(TEXT_ROWS, use_threads=False)
        parts = (pa.Table.from_batches([batch]).filter(wanted) for batch in batches)
        return pa.concat_tables([file.schema_arrow.empty_table(), *parts])


def of_row(table: pa.Table, row: FeatureRow) -> pa.Table:
    """The lines of a table that are of a feature row."""
    own = pc.equal(table["feature"], row.feature)
    if row.one_strand is not None:
        own = pc.and_(own, pc.equal(table["strand"], STRAND_SIGNS[row.one_strand]))
    return table.filter(own)


def _most_ranks(peaks: pa.Table) -> int | None:
    """How many peaks of each feature row fit into `MAX_PEAKS`; None where all do."""
    if peaks.num_rows <= MAX_PEAKS:
        return None
    rows = pc.count_distinct(pa.array(2 * column(peaks, "feature") + (column(peaks, "strand") < 0)))
    return max(1, MAX_PEAKS // int(rows.as_py()))
