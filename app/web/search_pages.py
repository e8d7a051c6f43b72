"""Sequence search: paste a short sequence, watch it being computed, see what fires where.

The run that is made is an ordinary one: it is in the list of runs, the worker computes it, and
the page reads its results.
"""

import io
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast, get_args
from urllib.parse import urlencode

import pyarrow.compute as pc
from flask import redirect, render_template, request
from werkzeug.wrappers import Response as WerkzeugResponse

from annotations.errors import CoordinateError, OptionError, SaetrackError
from annotations.options import RunOptions, Strands
from annotations.types import Span, Strand
from app import runs, submissions
from app.api import open_result, services
from app.api.runs import run_view
from app.auth import owner
from app.catalog import Result
from app.database import reading
from app.errors import STATUS
from app.region_answers import (
    RegionFilters,
    compared_rows,
    comparison,
    locus_text,
    region_features,
)
from app.selection import Choice, json_rows
from app.sequence_search import (
    MAX_BASES,
    MAX_CHARACTERS,
    TITLE,
    check_sequence,
    example_text,
    lines_of,
    stretches_of,
)
from app.web.asked import page_of
from app.web.in_run import level
from app.web.run_pages import progress_view
from app.web.submit_pages import speed_of, web

PAGE_ROWS: Final = 25
"""Features on a page."""

SHOWN_STRETCHES: Final = 100
"""Stretches of the chosen feature that the table has; the others are in the file."""

SORTS: Final[Mapping[str, str]] = {
    "max": "strongest activation",
    "sum": "sum of activations",
    "active_bases": "active bases",
    "density": "density",
    "feature": "number",
    "label": "label",
}
"""Orders of the features and how they are called."""

STRANDS: Final[Mapping[str, str]] = {"": "both", "+": "forward (+)", "-": "reverse (-)"}


class Filters(NamedTuple):
    """What the address of a result asks for."""

    feature: str
    strand: str
    start: str
    """1-based, the first base of the part that is looked at; empty for all."""
    end: str
    share: str
    """Least share of the part's bases at which a feature is active, in per cent."""
    density: str
    """Largest share of the whole sequence's bases, in per cent."""
    sort: str
    page: int

    def query(self, run: str, **changes: object) -> str:
        """The query of an address with these filters, some of them changed."""
        values = {"run": run, **self._asdict(), **changes}
        always = {"sort": "max", "page": 1}
        return urlencode(
            {key: value for key, value in values.items() if value and value != always.get(key)}
        )


@web.get("/search")
def search_page() -> str | tuple[str, int]:
    """The form, or how far a search is, or what it found."""
    run_id = request.args.get("run", "")[:64]
    if not run_id:
        return _form({"sequence": example_text()} if request.args.get("example") == "1" else {})
    with reading(services().engine) as session:
        run = runs.get_run(session, run_id, owner())
        view = run_view(session, run)
        speed = speed_of(session, view["dictionary"], None)
    if view["state"] != "COMPLETE":
        progress = progress_view(view, None if speed is None else speed.rate)
        return render_template("web/searching.html", run=view, progress=progress)
    result = open_result(run_id)
    if len(result.names) != 1 or result.lengths[0] > MAX_BASES:
        raise OptionError(
            f"run {run_id!r} has {sum(result.lengths):,} bases in {len(result.names)} records, and "
            f"this page shows one of at most {MAX_BASES:,}: open /runs/{run_id}, and compare "
            "features over a region there"
        )
    return _result_page(view, result, _filters(request.args))


@web.post("/search")
def search_form() -> WerkzeugResponse | tuple[str, int]:
    """Submit the sequence as a run, or show the form again with what is wrong."""
    request.max_form_memory_size = MAX_CHARACTERS * 4
    given = {
        name: request.form.get(name, "").strip() for name in ("sequence", "dictionary", "strands")
    }
    try:
        created = _submit(given)
    except SaetrackError as error:
        status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        # what an option does not find is no missing page
        status = HTTPStatus.BAD_REQUEST if status == HTTPStatus.NOT_FOUND else status
        return _form(given, problem=str(error)), status
    return redirect(f"/search?run={created.run_id}", HTTPStatus.SEE_OTHER)


def _submit(given: Mapping[str, str]) -> submissions.CreatedRun:
    """The run of a search."""
    here = services()
    fasta = check_sequence(given["sequence"])
    strands = given["strands"] or "both"
    cards = here.cards()
    dictionary = given["dictionary"] or next((card.id for card in _dictionaries()), "")
    return submissions.create_run(
        here.engine,
        here.storage,
        cards,
        sequences=io.BytesIO(fasta),
        options=RunOptions(dictionary=dictionary, strands=cast(Strands, strands)),
        owner=owner(),
        settings=replace(here.settings, max_bases=min(here.settings.max_bases, MAX_BASES)),
        title=TITLE,
    )


def _form(given: Mapping[str, str], *, problem: str | None = None) -> str:
    return render_template(
        "web/search.html",
        problem=problem,
        given=given,
        dictionaries=_dictionaries(),
        most=MAX_BASES,
        most_characters=MAX_CHARACTERS,
        strands=get_args(Strands),
    )


def _dictionaries() -> list[Any]:
    """Dictionaries that can be run, real weights first."""
    cards = services().cards()
    found = [card for card in cards.dictionaries.values() if cards.has_weights(card)]
    return sorted(found, key=lambda card: (card.random_weights, card.id))


def _filters(asked: Mapping[str, str]) -> Filters:
    """What the address asks for.

    Raises
    ------
    OptionError
        If a value is not allowed.
    """
    for name, allowed in (("sort", SORTS), ("strand", STRANDS)):
        # a plus that was not written as %2B is a space
        if asked.get(name, "").replace(" ", "+") not in {*allowed, ""}:
            raise OptionError(
                f"{name} must be one of {', '.join(word or 'nothing' for word in allowed)}, got "
                f"{asked[name][:20]!r}"
            )
    return Filters(
        feature=asked.get("feature", "")[:20],
        strand=asked.get("strand", "").replace(" ", "+"),
        start=asked.get("start", "").strip()[:12],
        end=asked.get("end", "").strip()[:12],
        share=asked.get("share", "").strip()[:12],
        density=asked.get("density", "").strip()[:12],
        sort=asked.get("sort") or "max",
        page=page_of(asked),
    )


def _result_page(view: Mapping[str, Any], result: Result, filters: Filters) -> str:
    length = result.lengths[0]
    region = _part(filters, length)
    choice = Choice(
        sort=filters.sort,
        strand=cast(Strand, filters.strand) if filters.strand else None,
        limit=PAGE_ROWS,
        page_token=str((filters.page - 1) * PAGE_ROWS),
    )
    wanted = RegionFilters(
        min_share=_per_cent("share", filters.share, 0.0),
        max_density=_per_cent("density", filters.density, 100.0),
    )
    page = region_features(result, region, choice, wanted).page
    features = json_rows(page.table)
    for row in features:
        row["name"] = f"{row['feature']}{row['strand']}"
        row["show"] = "/search?" + filters.query(view["id"], feature=row["name"])
    name = filters.feature or (features[0]["name"] if features else "")
    return render_template(
        "web/found.html",
        run=view,
        length=length,
        contig=result.names[0],
        region=region,
        filters=filters,
        sorts=SORTS,
        strands=STRANDS,
        features=features,
        total=page.total,
        pages=max(1, -(-page.total // PAGE_ROWS)),
        turned={
            step: "/search?" + filters.query(view["id"], page=filters.page + step)
            for step in (-1, 1)
        },
        shown=_shown(result, region, name) if name else None,
        whole="/search?" + filters.query(view["id"], start="", end=""),
        files=urlencode(
            {
                "region": locus_text(region, result.names),
                "sort": filters.sort,
                "min_share": wanted.min_share,
                "max_density": wanted.max_density,
                **({"strand": filters.strand} if filters.strand else {}),
            }
        ),
        most_stretches=SHOWN_STRETCHES,
    )


def _shown(result: Result, region: Span, name: str) -> dict[str, Any]:
    """The sequence coloured by a feature row, and where that is active."""
    row = compared_rows(name, result)[0]
    told = comparison(result, [row], region)
    (did,) = json_rows(told.table)
    largest = float(did["max"])
    own = result.table(
        "features",
        filters=(pc.field("feature") == row // 2) & (pc.field("strand") == (-1 if row % 2 else 1)),
        columns=["max"],
    )["max"].to_pylist()
    # one scale for every part of the sequence
    top = max([largest, *(value for value in own if value is not None)])
    stretches = stretches_of(result, region, row)
    return {
        **did,
        "name": f"{row // 2}{'-' if row % 2 else '+'}",
        "top": top,
        "blocks": [
            (block.start, [(base, level(base.value, top)) for base in block.bases])
            for block in lines_of(result, region, row)
        ],
        "stretches": stretches[:SHOWN_STRETCHES],
        "n_stretches": len(stretches),
        "region": locus_text(region, result.names),
    }


def _part(filters: Filters, length: int) -> Span:
    """The part of the sequence that is looked at.

    Raises
    ------
    OptionError, CoordinateError
        If it is none.
    """
    places = []
    for name, text, default in (("start", filters.start, 1), ("end", filters.end, length)):
        number = text.replace(",", "")
        if number and not (number.isascii() and number.isdigit()):
            raise OptionError(f"{name} must be a place from 1 to {length:,}, got {text!r}")
        places.append(int(number) if number else default)
    start, end = places[0] - 1, places[1]
    if not 0 <= start < end <= length:
        raise CoordinateError(
            f"the part must lie in 1 to {length:,}, its start before its end; got {start + 1} to "
            f"{end}"
        )
    return Span(0, start, end)


def _per_cent(name: str, text: str, default: float) -> float:
    """A share in per cent, from 0 to 1.

    Raises
    ------
    OptionError
        If it is no number from 0 to 100.
    """
    try:
        value = float(text.rstrip("% ") or default)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise OptionError(f"{name} must be per cent from 0 to 100, got {text!r}")
    return value / 100
