"""Tracks of a run: files and descriptions that browsers of genomes open.

Each is at `/v1/runs/<run>/...` for the run's owner and, the same bytes, at `/s/<token>/...`
(`app.api.shared`) for whoever has a link. Addresses inside hub.txt and jbrowse.json are relative,
so that they inherit the token; those inside igv.json and session.xml are absolute, since igv.js
and IGV do not read them relative to the description.
"""

import hashlib
import ipaddress
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

from flask import Response, request

from annotations.assemblies import assemblies, check_assembly
from annotations.errors import OptionError, UnknownNameError
from annotations.genome_folder import find_genomes
from annotations.hub import (
    Hub,
    hub_text,
    igv_link,
    igv_session,
    igvjs_config,
    jbrowse_config,
    ucsc_link,
)
from annotations.tracks import SignalStrand
from annotations.types import Strand
from app import catalog, track_files
from app.api import made_path, open_result, run_cache, services
from app.api.sending import send_path, send_text, stored_sha256
from app.auth import LOCAL_HOSTS, owner
from app.catalog import Result
from app.database import reading
from app.openapi import blueprint, file_response, responses
from app.runs import RunBrief, brief_run
from app.schemas import NoQuery, RunPath
from app.track_files import BINARY, FILES, JSON, TEXT, FeatureRow
from app.track_schemas import FeatureRowPath, HubQuery, PeaksQuery, RowStrandQuery, TrackLinks

XML: Final = "application/xml"

MAX_LISTS: Final = 50
"""Peak files of named feature rows that a run's cache keeps; the oldest leave first."""

JBROWSE: Final = "https://jbrowse.org/code/jb2/latest/"

api = blueprint("tracks", "Tracks of a run, for browsers of genomes.")


class Reach(NamedTuple):
    """A run, the way that it is reached, and how its result is opened."""

    run_id: str
    title: str
    base: str
    """Path of the folder that the files seem to be in, with a slash at its end."""
    shared: bool
    """Whether by a link, whose user is told nothing but the tracks."""
    open: Callable[[], Result]

    @property
    def key(self) -> str:
        """Letters and digits that are the run's alone, and do not tell its id."""
        return hashlib.sha256(self.run_id.encode()).hexdigest()[:8]

    def saved_as(self, name: str) -> str:
        """What a program should call a file of the run."""
        return f"{self.key if self.shared else self.run_id}.{name.replace('/', '.')}"


def own_run(run_id: str) -> Reach:
    """A complete run of whoever is asking.

    Raises
    ------
    UnknownNameError, RunStateError
        As `app.api.open_result`.
    """
    with reading(services().engine) as session:
        run = brief_run(session, run_id, owner())
    if not run.complete:
        open_result(run_id)  # which says why not
    return Reach(run_id, title_of(run), f"/v1/runs/{run_id}/", False, partial(open_result, run_id))


def title_of(run: RunBrief) -> str:
    """What a run is called in lists of tracks."""
    return run.title or run.filename or "a run"


def send_file_of(reach: Reach, name: str) -> Response:
    """One of `app.track_files.FILES`."""
    file = FILES[name]
    return _sent(reach, name, made(reach, name, file.make), content_type=file.content_type)


def send_peaks(reach: Reach, features: str | None) -> Response:
    """peaks.bb, of all features or of named rows."""
    if features is None:
        path = made(reach, "peaks.bb", track_files.peaks_bigbed)
        return _sent(reach, "peaks.bb", path, content_type=BINARY)
    result = reach.open()
    rows = sorted(track_files.parse_rows(features, result.n_features))
    words = ",".join(row.word for row in rows)
    name = f"peaks.{hashlib.sha256(words.encode()).hexdigest()[:16]}.bb"
    folder = run_cache(services().settings, reach.run_id)
    if not (folder / name).is_file():
        _forget_old(folder)
    path = made(reach, name, partial(track_files.peaks_bigbed, rows=rows))
    return _sent(reach, name, path, content_type=BINARY)


def send_row_peaks(reach: Reach, feature: str, strand: Strand | None) -> Response:
    """Peaks of one feature row as bigBed."""
    return _sent(reach, *made_row_peaks(reach, _row(feature, strand)), content_type=BINARY)


def send_signal(reach: Reach, feature: str, strand: SignalStrand | None) -> Response:
    """Signal of one feature row as bigWig."""
    return _sent(reach, *made_signal(reach, _row(feature, strand)), content_type=BINARY)


def made_row_peaks(reach: Reach, row: FeatureRow) -> tuple[str, Path]:
    """Name and place of the bigBed of a feature row's peaks."""

    def make(result: Result, path: Path) -> None:
        catalog.parse_feature(str(row.feature), result.n_features)
        track_files.peaks_bigbed(result, path, rows=[row])

    name = f"f{row.word}.peaks.bb"
    return name, made(reach, name, make)


def made_signal(reach: Reach, row: FeatureRow) -> tuple[str, Path]:
    """Name and place of the bigWig of a feature row."""

    def make(result: Result, path: Path) -> None:
        index = catalog.parse_feature(str(row.feature), result.n_features)
        catalog.signal_file(result, path, feature=index, strand=row.strand)

    name = f"f{row.word}.signal.bw"
    return name, made(reach, name, make)


def made(reach: Reach, name: str, make: Callable[[Result, Path], None]) -> Path:
    """A file of the run's cache, made from its result where it is not there."""
    return made_path(reach.run_id, name, lambda path: make(reach.open(), path))


def _row(feature: str, strand: SignalStrand | None) -> FeatureRow:
    """The feature row of an address and a parameter, which must not say different strands."""
    # the dictionary's size is looked at where the file is made: one of the cache was made before
    row = track_files.parse_row(feature, 2**32)
    if strand is None or strand == row.strand:
        return row
    if row.strand != "either":
        raise OptionError(f"the address says strand {row.strand} and the parameter says {strand}")
    return row._replace(strand=strand)


def _sent(reach: Reach, name: str, path: Path, *, content_type: str) -> Response:
    """A file of the cache as an answer, with the address of where it comes from."""
    answer = send_path(
        path, content_type=content_type, name=reach.saved_as(name), sha256=stored_sha256(path)
    )
    answer.headers["Link"] = f'<{reach.base}provenance.json>; rel="describedby"'
    return answer


def _forget_old(folder: Path) -> None:
    """Delete the oldest files of named rows, so that no one fills the disk with lists."""
    made = sorted(folder.glob("peaks.*.bb"), key=lambda path: path.stat().st_mtime)
    for path in made[: max(0, len(made) - MAX_LISTS + 1)]:
        path.unlink(missing_ok=True)
        path.with_name(path.name + ".sha256").unlink(missing_ok=True)


def hub_of(
    reach: Reach,
    *,
    features: str | None = None,
    tf: str | None = None,
    genome: str | None = None,
) -> tuple[Result, Hub]:
    """The tracks that a request chooses, with relative addresses.

    Parameters
    ----------
    reach : Reach
        The way that the run is reached.
    features, tf : str, optional
        As `app.track_files.chosen_rows` takes them.
    genome : str, optional
        What browsers call the sequences.

    Raises
    ------
    OptionError
        If nothing is chosen, or the sequences are not those of the genome.
    UnknownNameError
        If there is no such feature, factor or genome.
    """
    result = reach.open()
    rows = track_files.chosen_rows(result, features=features, tf=tf)
    if genome is not None:
        chromosomes = known_genome(genome)
        check_assembly(genome, chromosomes, result.names, result.lengths)
    hub = track_files.run_hub(result, rows, key=reach.key, title=reach.title, genome=genome)
    return result, hub


def known_genome(name: str) -> Mapping[str, int]:
    """Lengths of the contigs of a genome by name: a registered one, else one that we ship.

    Raises
    ------
    UnknownNameError
        If none has this name.
    """
    registered = {genome.name: genome for genome in find_genomes(services().settings.genomes_dir)}
    if name in registered:
        return {contig.name: contig.length for contig in registered[name].contigs}
    if name in assemblies():
        return assemblies()[name]
    listed = ", ".join(sorted({*registered, *assemblies()}))
    raise UnknownNameError(
        f"the contigs of genome {name[:40]!r} are not known here, so that tracks cannot be told to "
        f"fit it; known are: {listed}. `saetrack genomes add NAME FASTA` registers another"
    )


def root() -> str:
    """Address of this server as the request named it, without a slash at its end."""
    return request.url_root.rstrip("/")


def _hub_text(reach: Reach, hub: Hub) -> str:
    return hub_text(hub)


def _igv_json(reach: Reach, hub: Hub) -> str:
    return _json(igvjs_config(track_files.with_base(hub, root() + reach.base)))


def _session(reach: Reach, hub: Hub) -> str:
    return igv_session(track_files.with_base(hub, root() + reach.base))


def _jbrowse(reach: Reach, hub: Hub) -> str:
    return _json(jbrowse_config(hub))


def _links(reach: Reach, hub: Hub) -> str:
    return _json(links_of(reach, hub, request.query_string.decode("ascii", "replace")))


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def links_of(reach: Reach, hub: Hub, choice: str = "") -> dict[str, Any]:
    """Addresses that open tracks in each browser, as `TrackLinks` describes them.

    Parameters
    ----------
    reach : Reach
        The way that the run is reached.
    hub : Hub
        The tracks.
    choice : str
        The query string that chose them.
    """
    base, ending = root() + reach.base, f"?{choice}" if choice else ""
    hub_url, config = f"{base}hub.txt{ending}", f"{base}jbrowse.json{ending}"
    notes = []
    public = not _is_local(request.host)
    if not public:
        notes.append(
            "ucsc is null: UCSC's servers cannot reach this address; open it there from a host "
            "that the internet reaches"
        )
    if not hub.genome.is_own:
        notes.append(
            "jbrowse_config is null: it would have to carry the genome; in JBrowse add hub.txt as "
            "a track hub to the assembly"
        )
    if not reach.shared:
        notes.append(
            "these addresses are the owner's; POST .../share-links makes ones to give away"
        )
    own = hub.genome.is_own
    links = TrackLinks(
        hub=hub_url,
        igv_js=f"{base}igv.json{ending}",
        igv_session=f"{base}session.xml{ending}",
        igv_desktop=igv_link(hub_url),
        jbrowse_config=config if own else None,
        jbrowse=f"{JBROWSE}?config={quote(config, safe='')}" if own else None,
        ucsc=ucsc_link(hub.genome, hub_url, locus=hub.locus) if public else None,
        about=f"{base}about.html",
        provenance=f"{base}provenance.json",
        genome=hub.genome.name,
        notes=notes,
    )
    return links.model_dump()


def _is_local(host: str) -> bool:
    """Whether a host is one that UCSC's servers cannot reach."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return not ipaddress.ip_address(name).is_global
    except ValueError:
        return name in LOCAL_HOSTS or "." not in name


class Description(NamedTuple):
    """A text that names tracks, for one browser."""

    content_type: str
    what: str
    write: Callable[[Reach, Hub], str]


DESCRIPTIONS: Final[Mapping[str, Description]] = {
    "hub.txt": Description(TEXT, "A hub in one file: UCSC, igv.js, IGV, JBrowse 2.", _hub_text),
    "igv.json": Description(JSON, "Configuration of igv.js; absolute addresses.", _igv_json),
    "session.xml": Description(XML, "Session of IGV desktop; absolute addresses.", _session),
    "jbrowse.json": Description(JSON, "config.json of JBrowse 2.", _jbrowse),
    "links.json": Description(JSON, "Addresses that open the tracks in each browser.", _links),
}
"""Descriptions of a run's tracks by name."""


def send_description(reach: Reach, name: str, query: HubQuery) -> Response:
    """One of `DESCRIPTIONS`."""
    description = DESCRIPTIONS[name]
    result, hub = hub_of(reach, **query.model_dump())
    answer = send_text(
        description.write(reach, hub),
        content_type=description.content_type,
        name=reach.saved_as(name),
        modified=result.files["features.parquet"].stat().st_mtime,
    )
    answer.headers["Link"] = f'<{reach.base}provenance.json>; rel="describedby"'
    return answer


FILE_PROBLEMS: Final = (404, 409, 413)


def view_name(name: str) -> str:
    """A name for the view of a file, which the document's operation ids are made of."""
    return name.replace(".", "_")


def _add_file(name: str) -> None:
    def view(path: RunPath, query: NoQuery) -> Response:
        return send_file_of(own_run(path.run_id), name)

    view.__name__, view.__doc__ = f"run_{view_name(name)}", FILES[name].what
    declared = file_response(FILES[name].content_type, FILES[name].what)
    api.get(f"/v1/runs/<run_id>/{name}", responses=responses({200: declared}, *FILE_PROBLEMS))(view)


def _add_description(name: str) -> None:
    def view(path: RunPath, query: HubQuery) -> Response:
        return send_description(own_run(path.run_id), name, query)

    view.__name__, view.__doc__ = f"run_{view_name(name)}", DESCRIPTIONS[name].what
    declared = file_response(DESCRIPTIONS[name].content_type, DESCRIPTIONS[name].what)
    api.get(f"/v1/runs/<run_id>/{name}", responses=responses({200: declared}, *FILE_PROBLEMS))(view)


for _name in FILES:
    _add_file(_name)
for _name in DESCRIPTIONS:
    _add_description(_name)

PEAKS_DECLARED: Final = file_response(
    BINARY, "bigBed, BED9 with feature, activation, label, TF, q, evidence, motif and gene."
)


@api.get("/v1/runs/<run_id>/peaks.bb", responses=responses({200: PEAKS_DECLARED}, *FILE_PROBLEMS))
def run_peaks_bb(path: RunPath, query: PeaksQuery) -> Response:
    """Top peaks of all features, or of named feature rows, as bigBed."""
    return send_peaks(own_run(path.run_id), query.features)


@api.get(
    "/v1/runs/<run_id>/features/<feature>/peaks.bb",
    responses=responses({200: PEAKS_DECLARED}, *FILE_PROBLEMS),
)
def run_feature_peaks_bb(path: FeatureRowPath, query: RowStrandQuery) -> Response:
    """Top peaks of one feature row as bigBed."""
    return send_row_peaks(own_run(path.run_id), path.feature, query.strand)
