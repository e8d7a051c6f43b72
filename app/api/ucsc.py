"""Tracks of a shared run in the shape of UCSC's REST interface, for clients that speak it.

    /s/<token>/list/tracks, /list/chromosomes, /getData/track, /getData/sequence

Read-only. Parameters are separated by `;` or `&`. Positions are 0-based, the end is exclusive.
What UCSC's interface has besides is not here, and unknown parameters are refused.
"""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pyBigWig
from flask import jsonify, request
from werkzeug.wrappers import Response

from annotations.errors import LimitError, OptionError, StateError, UnknownNameError
from annotations.gene_track import AUTOSQL as GENES_SQL
from annotations.peak_track import AUTOSQL as PEAKS_SQL
from annotations.sequence_files import StoredBases
from app import track_files
from app.api.descriptions import hub_of
from app.api.reach import Reach, by_token
from app.api.shared import with_cors
from app.api.tracks import made_row
from app.catalog import Result
from app.file_cache import HeldFile
from app.openapi import blueprint, responses
from app.run_hub import genome_name, track_row
from app.track_files import EXPECTATION_TRACKS, FILES
from app.track_schemas import (
    SharePath,
    UcscDataQuery,
    UcscDocument,
    UcscQuery,
    UcscSequenceQuery,
    UcscTrackQuery,
)

MAX_ITEMS: Final = 100_000
"""Most items of one answer: they take 36 MB of memory until it is sent."""

MAX_BASES: Final = 10_000_000
"""Most bases of one answer."""

WINDOW: Final = 1 << 20
"""Bases of a bigWig that are read at once: it may have an interval at each."""

SQL: Final = {"peaks": PEAKS_SQL, "genes": GENES_SQL}
MADE: Final = {"peaks": track_files.peaks_bigbed, "genes": FILES["genes.bb"].make}

_EXPECTATION: Final = {name.removesuffix(".bw"): name for name in EXPECTATION_TRACKS}
"""Files of the tracks of what the model expects, by the names of the tracks."""

PROBLEMS: Final = (404, 409, 413, 422)

api = blueprint("ucsc", "Tracks of a shared run in the shape of UCSC's REST interface.")


def split_semicolons() -> None:
    """Have the `;` between UCSC's parameters read as the `&` that Flask knows.

    To be called before anything reads the parameters of the request.
    """
    if request.endpoint is not None and request.endpoint.startswith("ucsc."):
        request.query_string = request.query_string.replace(b";", b"&")


@api.after_request
def let_pages_read(answer: Response) -> Response:
    """Let pages of any site read what a token shows."""
    return with_cors(answer)


@api.get("/s/<token>/list/tracks", responses=responses({200: UcscDocument}, *PROBLEMS))
def shared_list_tracks(path: SharePath, query: UcscQuery) -> Response:
    """The tracks that the hub shows; `/getData/track` knows those of every other feature too."""
    reach = by_token(path.token)
    _, hub = hub_of(reach)
    _check_genome(reach, query.genome)
    tracks = {
        track.name: {
            "shortLabel": track.short_label,
            "longLabel": track.long_label,
            "type": "bigWig" if track.is_bigwig else f"bigBed {track.fields} +",
            "group": track.kind,
            "bigDataUrl": reach.base + track.url,
        }
        for track in hub.tracks
    }
    return jsonify({**_times(), query.genome: tracks})


@api.get("/s/<token>/list/chromosomes", responses=responses({200: UcscDocument}, *PROBLEMS))
def shared_list_chromosomes(path: SharePath, query: UcscTrackQuery) -> Response:
    """The contigs and their lengths."""
    reach = by_token(path.token)
    _check_genome(reach, query.genome)
    result = reach.open()
    if query.track not in {None, "peaks", "genes", *_EXPECTATION}:
        track_row(str(query.track), result.n_features)
    chromosomes = dict(zip(result.names, result.lengths, strict=True))
    said = {"genome": query.genome, "chromCount": len(chromosomes), "chromosomes": chromosomes}
    if query.track is not None:
        said["track"] = query.track
    return jsonify({**_times(), **said})


@api.get("/s/<token>/getData/track", responses=responses({200: UcscDocument}, *PROBLEMS))
def shared_get_track(path: SharePath, query: UcscDataQuery) -> Response:
    """Items of a track: start, end and value of a signal, fields by name of peaks and genes."""
    reach = by_token(path.token)
    _check_genome(reach, query.genome)
    result = reach.open()
    spans = _spans(result, query.chrom, query.start, query.end)
    limit = MAX_ITEMS if query.maxItemsOutput == -1 else query.maxItemsOutput
    found: dict[str, list[dict[str, Any]]] = {}
    count, cut = 0, False
    held, sql = _track_file(reach, query.track, result)
    with held.file, pyBigWig.open(str(held.path)) as track:
        for name, start, end in spans:
            for item in _items(track, sql, name, start, end):
                if count == limit:
                    cut = True
                    break
                found.setdefault(name, []).append(item)
                count += 1
            if cut:
                break
    said: dict[str, Any] = {
        "genome": query.genome,
        "track": query.track,
        "trackType": "bigWig" if sql is None else "bigBed",
    }
    if query.chrom is None:
        said |= {"chromCount": len(found), query.track: found}
    else:
        ((name, start, end),) = spans
        said |= {"chrom": name, "start": start, "end": end, query.track: found.get(name, [])}
    said["itemsReturned"] = count
    if cut:
        said["maxItemsLimit"] = True
    return jsonify({**_times(), **said})


@api.get("/s/<token>/getData/sequence", responses=responses({200: UcscDocument}, *PROBLEMS))
def shared_get_sequence(path: SharePath, query: UcscSequenceQuery) -> Response:
    """Bases of a contig, upper-case."""
    reach = by_token(path.token)
    _check_genome(reach, query.genome)
    result = reach.open()
    ((name, start, end),) = _spans(result, query.chrom, query.start, query.end)
    if end - start > MAX_BASES:
        raise LimitError(f"at most {MAX_BASES} bases are answered at once, got {end - start}")
    if result.sequences is None:
        raise StateError("the sequences of this run are not stored here")
    contig = list(result.names).index(name)
    dna = StoredBases(result.sequences, result.lengths).fetch(contig, start, end).decode("ascii")
    said = {"genome": query.genome, "chrom": name, "start": start, "end": end, "dna": dna}
    return jsonify({**_times(), **said})


def _check_genome(reach: Reach, name: str) -> None:
    own = genome_name(reach.key)
    if name != own:
        raise UnknownNameError(f"this link shows genome {own}, not {name[:40]!r}")


def _track_file(reach: Reach, name: str, result: Result) -> tuple[HeldFile, str | None]:
    """The file of a track, and the autoSql of its fields; None for a bigWig."""
    if name in {"peaks", "genes"}:
        return reach.made(f"{name}.bb", MADE[name]), SQL[name]
    if name in _EXPECTATION:
        file = _EXPECTATION[name]
        return reach.made(file, EXPECTATION_TRACKS[file].make), None
    row, kind = track_row(name, result.n_features)
    ending = {"heights": "peaks.bw", "peaks": "peaks.bb"}
    of_row = ending.get(kind, f"{kind}.bw")
    return made_row(reach, row, of_row)[1], SQL.get(kind)


def _spans(
    result: Result, chrom: str | None, start: int | None, end: int | None
) -> list[tuple[str, int, int]]:
    """The stretches that a request asks for."""
    if (start is None) != (end is None) or (start is not None and chrom is None):
        raise OptionError("give chrom, start and end; or chrom alone; or none of them")
    if chrom is None:
        return [
            (name, 0, length) for name, length in zip(result.names, result.lengths, strict=True)
        ]
    if chrom not in result.names:
        raise UnknownNameError(f"there is no contig {chrom[:40]!r}; /list/chromosomes names them")
    length = result.lengths[list(result.names).index(chrom)]
    if start is None or end is None:
        return [(chrom, 0, length)]
    if not start < end <= length:
        raise OptionError(f"start and end must be 0 <= start < end <= {length}, got {start}, {end}")
    return [(chrom, start, end)]


def _items(
    track: Any, sql: str | None, name: str, start: int, end: int
) -> Iterator[dict[str, Any]]:
    """Items of a file that overlap a stretch, in order; only a window of them in memory."""
    readers = {} if sql is None else _fields(sql)
    for low in range(start, end, WINDOW):
        high = min(end, low + WINDOW)
        read = track.intervals if sql is None else track.entries
        for first, past, rest in read(name, low, high) or ():
            # what reaches over the border of two windows comes with both
            if low > start and first < low:
                continue
            if sql is None:
                yield {"start": first, "end": past, "value": rest}
                continue
            values = (name, first, past, *rest.split("\t"))
            pairs = zip(readers.items(), values, strict=True)
            yield {field: reader(value) for (field, reader), value in pairs}


def _fields(sql: str) -> dict[str, Callable[[Any], Any]]:
    """How the value of each field that an autoSql describes is read."""
    readers: dict[str, Callable[[Any], Any]] = {"uint": int, "int": int, "float": float}
    fields = re.findall(r"^(\S+)\s+(\w+);", sql, re.MULTILINE)
    # a color is declared as a number, and written as three of them
    return {name: str if name == "reserved" else readers.get(kind, str) for kind, name in fields}


def _times() -> dict[str, Any]:
    now = int(time.time())
    text = datetime.fromtimestamp(now, UTC).strftime("%Y:%m:%dT%H:%M:%SZ")
    return {"downloadTime": text, "downloadTimeStamp": now}
