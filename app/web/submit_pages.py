"""The first page: submit sequences, and see what was submitted."""

import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from flask import Blueprint, redirect, render_template, request
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from annotations.errors import LimitError, OptionError, SaetrackError, UnknownNameError
from annotations.genome_folder import find_genomes
from annotations.jaspar import RELEASES, TAXA
from annotations.sequences import example_path
from app import runs, submissions
from app.api import Services, services
from app.api.runs import compared_alleles, part_of, read_options, run_view
from app.api.service import VERSION
from app.api.uploads import FORM_OVERHEAD, received_files
from app.atlases import about, atlas_folders
from app.auth import owner
from app.database import reading
from app.dispatch import live_workers
from app.errors import STATUS
from app.models import ACTIVE_STATES, Computation, Shard
from app.runs import LEFT_TO_READ
from app.web.policy import problem_page, protect
from app.web.words import FILTERS

RECENT: Final = 8
"""Runs on the first page."""

MEASURED_RUNS: Final = 10
"""Finished computations that the speed of a dictionary on this server is told from."""

UNLIKE: Final = 3
"""How much longer than the shortest run the longest must be for a line through them."""

OVERHEAD_SECONDS: Final = 5.0
"""Time that a run takes besides reading bases: loading the model, merging, testing."""

MAX_PASTED: Final = 20_000_000
"""Most bytes of text in the form's field; a script sends larger pastes as a file."""

EXAMPLE_TAXON: Final = "fungi"
"""Motifs that the example looks for: those of the bundled model's atlas."""

FILES: Final = ("genes", "motifs_file", "variants", "regions")
TEXTS: Final = (
    "sequence",
    "dictionary",
    "taxon",
    "strands",
    "release",
    "held_out",
    "expectation",
    "title",
    "alleles",
    "genome",
    "region",
    "gene",
    "flank",
)

web = Blueprint(
    "web",
    "app.web",
    template_folder="templates",
    static_folder="static",
    static_url_path="/static",
)
"""All pages; each module of `app.web` adds its own."""

for _name, _filter in FILTERS.items():
    web.add_app_template_filter(_filter, _name)


@web.app_context_processor
def _everywhere() -> dict[str, Any]:
    """What every page shows."""
    return {"version": VERSION}


PARAMETERS: Final[Mapping[str, frozenset[str]]] = {
    "runs_page": frozenset({"page_token"}),
    "run_page": frozenset({"features", "locus", "sort", "search", "all", "page"}),
    "tfs_page": frozenset({"q", "run", "dictionary", "list"}),
    "tf_page": frozenset(
        {"run", "dictionary", "max_q", "sort", "evidence", "group_by", "page", "list"}
    ),
    "features_page": frozenset({"dictionary", "feature"}),
    "random_feature": frozenset({"run", "list"}),
    "feature_page": frozenset({"run", "list"}),
    "compare_page": frozenset({"features", "region", "scale", "over", "add"}),
    "shared_compare_page": frozenset({"features", "region", "scale", "over", "add"}),
    "shared_comparison": frozenset({"features", "region", "over"}),
    "lists_page": frozenset({"dictionary", "features", "name", "notes", "run", "add"}),
    "sign_in_page": frozenset({"next"}),
    "search_page": frozenset(
        {"run", "feature", "strand", "start", "end", "share", "density", "sort", "page", "example"}
    ),
}
"""Parameters of the pages, by the name of the view; a page not named here has none."""


@web.before_request
def _refuse_unknown() -> None:
    """Refuse what no page knows: a misspelt filter must not look like an answer."""
    view = (request.endpoint or "").removeprefix("web.")
    unknown = sorted(set(request.args) - PARAMETERS.get(view, frozenset()))
    if unknown:
        raise OptionError(f"there is no parameter {', '.join(name[:40] for name in unknown)}")


@web.after_app_request
def _as_page(answer: WerkzeugResponse) -> WerkzeugResponse:
    """Errors as pages for browsers, and the headers of a page."""
    return protect(problem_page(answer))


class Speed(NamedTuple):
    """How fast a dictionary is read."""

    rate: float
    """Bases a second, both strands."""
    said: str
    """Where the figure is from."""
    overhead: float = OVERHEAD_SECONDS


@web.get("/")
def submit_page() -> str:
    """The form, what will happen, and recent runs."""
    return _submit_page({})


@web.get("/runs")
def runs_page() -> str:
    """All runs, the newest first."""
    token = request.args.get("page_token")
    with reading(services().engine) as session:
        page = runs.list_runs(session, owner(), limit=50, page_token=token)
        views = [run_view(session, run) for run in page.runs]
    return render_template("web/runs.html", runs=views, next_page_token=page.next_page_token)


@web.post("/runs")
def submit_form() -> WerkzeugResponse | tuple[str, int]:
    """Take the form; go to the run's page, or show the form again with what is wrong."""
    given: dict[str, str] = {}
    try:
        created = _create(services(), given)
    except SaetrackError as error:
        status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        # what an option does not find is no missing page
        wrong = HTTPStatus.BAD_REQUEST if isinstance(error, UnknownNameError) else status
        return _submit_page(given, problem=str(error)), wrong
    except HTTPException as error:
        return _submit_page(given, problem=error.description), error.code or 400
    return redirect(f"/runs/{created.run_id}", HTTPStatus.SEE_OTHER)


def _create(here: Services, given: dict[str, str]) -> submissions.CreatedRun:
    """Create the run of the form; `given` gets its texts, so that they can be shown again."""
    request.max_form_memory_size = MAX_PASTED + FORM_OVERHEAD
    with received_files(request, here.settings, required="file", optional=FILES) as (_, fields):
        given.update({name: fields[name] for name in TEXTS if name in fields})
        cards = here.cards()
        is_example = fields.get("action") == "example"
        asked = {
            name: fields[name].strip()
            for name in TEXTS
            if name != "sequence" and fields.get(name, "").strip()
        }
        if is_example:
            asked = {key: asked[key] for key in ("dictionary",) if key in asked}
            asked |= {"taxon": EXAMPLE_TAXON, "title": "Example: AC007323.5"}
        shown, options, held_out = read_options({}, asked, cards)
        chosen = {name: _chosen(name) for name in ("file", *FILES)}
        has_genome = not is_example and "genome" in shown
        with _sequences(
            chosen["file"], fields.get("sequence", ""), is_example, has_genome
        ) as source:
            genes, motifs, variants, regions = (
                None if is_example else chosen[name] for name in FILES
            )
            return submissions.create_run(
                here.engine,
                here.storage,
                cards,
                sequences=source[0],
                filename=source[1] if regions is None else regions[1],
                genes=None if genes is None else genes[0],
                genes_filename=None if genes is None else genes[1],
                motifs=None if motifs is None else motifs[0],
                motifs_filename=None if motifs is None else motifs[1],
                held_out=held_out,
                title=shown.get("title"),
                options=options,
                owner=owner(),
                settings=here.settings,
                compare=compared_alleles(shown, None if variants is None else variants[0]),
                part=part_of(
                    shown,
                    None if regions is None else regions[0],
                    variants=variants is not None,
                ),
            )


def _chosen(name: str) -> tuple[BinaryIO, str] | None:
    """A file of the form and its name; a browser sends an empty one for a field left empty."""
    file = request.files.get(name)
    if file is None or not file.filename:
        return None
    return file.stream, file.filename  # type: ignore[return-value]


@contextmanager
def _sequences(
    file: tuple[BinaryIO, str] | None, text: str, is_example: bool, has_genome: bool
) -> Iterator[tuple[BinaryIO | None, str | None]]:
    """Where the sequences come from, and what that is called; nothing where a genome is named."""
    if is_example:
        path = example_path()
        with path.open("rb") as example:
            yield example, path.name
        return
    pasted = text.strip().encode()
    if file is not None and pasted:
        raise OptionError("there is pasted text and a file; leave one of them out")
    if file is not None:
        yield file
        return
    if not pasted and has_genome:
        yield None, None
        return
    if not pasted:
        raise OptionError("there is no sequence; paste one, choose a file, or run the example")
    if len(pasted) > MAX_PASTED:
        raise LimitError(f"a paste may have {MAX_PASTED} bytes; save it and choose the file")
    if not pasted.startswith((b">", b";", b"LOCUS")):
        # bare bases, as one copies them out of a paper
        pasted = b">pasted\n" + pasted
    with tempfile.TemporaryFile(dir=services().settings.upload_dir) as spool:
        spool.write(pasted + b"\n")
        spool.seek(0)
        yield spool, None


def _submit_page(given: Mapping[str, str], *, problem: str | None = None) -> str:
    """The first page, with what was given before."""
    here = services()
    cards = here.cards()
    dictionaries = [card for card in cards.dictionaries.values() if cards.has_weights(card)]
    dictionaries.sort(key=lambda card: (card.random_weights, card.id))
    with reading(here.engine) as session:
        page = runs.list_runs(session, owner(), limit=RECENT, page_token=None)
        views = [run_view(session, run) for run in page.runs]
        speeds = {
            card.id: found
            for card in dictionaries
            if (found := speed_of(session, card.id, card.bases_per_second)) is not None
        }
        waiting = waiting_seconds(session, speeds)
        workers = len(live_workers(session, here.settings))
    first = given.get("dictionary") or (dictionaries[0].id if dictionaries else "")
    settings = here.settings
    return render_template(
        "web/submit.html",
        problem=problem,
        given={
            "sequence": given.get("sequence", ""),
            "title": given.get("title", ""),
            "held_out": given.get("held_out", ""),
            "alleles": given.get("alleles", ""),
            **{name: given.get(name, "") for name in ("genome", "region", "gene", "flank")},
            "strands": given.get("strands", "both"),
            "expectation": given.get("expectation", ""),
            "release": given.get("release", RELEASES[0]),
            "dictionary": first,
            "taxon": given.get("taxon", _atlas_taxon(here, first)),
            "advanced": any(
                given.get(name) for name in ("title", "held_out", "expectation", "alleles")
            ),
        },
        dictionaries=dictionaries,
        genomes=find_genomes(settings.genomes_dir),
        taxa=TAXA,
        releases=RELEASES,
        limits={
            "max_bases": settings.max_bases,
            "max_records": settings.max_records,
            "max_upload_bytes": settings.max_upload_bytes,
        },
        speed=speeds.get(first),
        speeds={key: value._asdict() for key, value in speeds.items()},
        waiting_seconds=waiting,
        workers=workers,
        runs=views,
    )


def _atlas_taxon(here: Services, dictionary: str) -> str:
    """Motifs that the atlas of a dictionary knows, which are those to look for."""

    found = atlas_folders(here.cards()).get(dictionary)
    return "" if found is None else str(about(found)["taxon"])


def speed_of(session: Session, dictionary: str, stated: float | None) -> Speed | None:
    """How fast a dictionary is read here, or, where it never was, as its card says.

    Parameters
    ----------
    session : Session
        Reading is enough.
    dictionary : str
        Its id.
    stated : float or None
        Bases a second of its card.
    """
    rows = session.execute(
        select(Computation.read_bases, Computation.started_at, Computation.finished_at)
        .where(
            Computation.dictionary_id == dictionary,
            Computation.state == "COMPLETE",
            Computation.started_at.is_not(None),
            Computation.finished_at.is_not(None),
        )
        .order_by(Computation.finished_at.desc())
        .limit(MEASURED_RUNS)
    ).all()
    measured = [(int(bases), end - start) for bases, start, end in rows if start and end]
    return fitted_speed(measured, stated)


def fitted_speed(measured: Sequence[tuple[int, float]], stated: float | None) -> Speed | None:
    """A rate and an overhead from runs that were measured.

    Parameters
    ----------
    measured : sequence of (bases, seconds)
        Of finished computations.
    stated : float or None
        Bases a second of the dictionary's card.

    Returns
    -------
    speed : Speed or None
        The straight line through runs of unlike length; else the rate of the card, with what the
        runs took besides as the overhead; else the rate of the runs as it is. None without
        either.

    Examples
    --------
    >>> fitted_speed([(100_000, 20.0), (1_000_000, 110.0)], None)[:1]
    (10000.0,)
    >>> fitted_speed([(100_000, 25.0)], 10_000.0)[::2]
    (10000.0, 15.0)
    >>> fitted_speed([], None) is None
    True
    """
    count = len(measured)
    said = f"the middle of the last {count} runs here" if count > 1 else "the last run here"
    lengths = [bases for bases, _ in measured]
    if count > 1 and max(lengths) >= UNLIKE * min(lengths):
        slope, least = np.polyfit(lengths, [seconds for _, seconds in measured], 1)
        if slope > 0:
            rate, overhead = round(1 / float(slope), 1), max(0.0, round(float(least), 1))
            return Speed(rate, f"from the last {count} runs here", overhead)
    if stated is not None:
        besides = [seconds - bases / stated for bases, seconds in measured]
        overhead = max(OVERHEAD_SECONDS, statistics.median(besides or [0.0]))
        card = "measured on two CPU cores; yours may differ"
        return Speed(stated, f"{card}, and the rest as in {said}" if measured else card, overhead)
    if not measured:
        return None
    return Speed(statistics.median(bases / seconds for bases, seconds in measured), said)


def waiting_seconds(session: Session, speeds: Mapping[str, Speed]) -> float | None:
    """Time that the work takes which is there already; None if there is none or no speed."""
    rows = session.execute(
        select(Computation.dictionary_id, func.sum(LEFT_TO_READ))
        .join(Shard, Shard.computation_id == Computation.id)
        .where(Computation.state.in_(ACTIVE_STATES), Shard.kind == "encode")
        .group_by(Computation.dictionary_id)
    ).all()
    seconds = [
        int(bases or 0) / speeds[dictionary].rate + OVERHEAD_SECONDS
        for dictionary, bases in rows
        if dictionary in speeds
    ]
    return sum(seconds) or None
