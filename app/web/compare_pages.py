"""Some feature rows over a region of a run: strips above genes, numbers, how they go together.

All that the page shows is in its address, so that a bookmark restores it. It works below a share
link too, where it shows no more than the tracks do.
"""

import math
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal, cast, get_args
from urllib.parse import quote, urlencode

from flask import Response, redirect, render_template, request
from werkzeug.wrappers import Response as WerkzeugResponse

from annotations.errors import LimitError, OptionError
from annotations.region_activity import scanned_for
from annotations.types import Span
from app.api import open_result
from app.api.reach import by_token, own_run
from app.api.regions import send_comparison
from app.catalog import Result
from app.errors import RunStateError
from app.feature_rows import chosen_rows
from app.figure_data import parse_region
from app.region_answers import (
    MAX_COMPARED,
    MAX_VALUES,
    compared_rows,
    comparison,
    locus_text,
    region_features,
    row_name,
)
from app.region_schemas import ComparisonQuery
from app.selection import Choice, json_rows
from app.web.strips import Scale, genes_of, strips, ticks
from app.web.submit_pages import web
from app.web.tracks import opening_locus
from app.web.words import MISSING

SHOWN: Final = 4
"""Rows that are compared where none are named."""

ALSO: Final = 8
"""Other features of the region that are offered."""

ALSO_SCANNED: Final = 20_000_000
"""Active bases that are gone through for others of a region at most: under a second."""

MAX_TEXT: Final = 1000
"""Most characters of a parameter of this page."""

SMALLEST: Final = 20
"""Bases that zooming in stops at."""

SCALES: Final[dict[Scale, str]] = {"own": "each its own", "same": "one for all"}
Over = Literal["region", "run"]
OVER: Final[dict[Over, str]] = {"region": "this region", "run": "the whole run"}


@web.get("/runs/<run_id>/compare")
def compare_page(run_id: str) -> str | tuple[str, int] | WerkzeugResponse:
    """Feature rows of a run over a region."""
    try:
        result = open_result(run_id)
    except RunStateError as error:
        page = render_template("web/not_ready.html", run_id=run_id, why=str(error), here="runs")
        return page, HTTPStatus.CONFLICT
    return _page(result, own_run(run_id).title, f"/runs/{quote(run_id, safe='')}", run_id)


@web.post("/runs/<run_id>/compare")
def compare_form(run_id: str) -> WerkzeugResponse:
    """Go to the comparison of the rows that were ticked in a list."""
    named = request.form.getlist("feature")[: MAX_COMPARED + 1]
    before = request.form.get("features", "")[:MAX_TEXT]
    features = ",".join(dict.fromkeys(word for word in [*before.split(","), *named] if word))
    asked = {"features": features, "region": request.form.get("region", "")[:MAX_TEXT]}
    return redirect(_address(f"/runs/{quote(run_id, safe='')}", asked), HTTPStatus.SEE_OTHER)


@web.get("/s/<token>/compare")
def shared_compare_page(token: str) -> str | WerkzeugResponse:
    """The same for whoever has a share link; links lead to what the link shows."""
    reach = by_token(token)
    return _page(reach.open(), reach.title, reach.base.rstrip("/"), None)


@web.get("/s/<token>/comparison.tsv")
def shared_comparison(token: str) -> Response:
    """The table of the page below a share link."""
    asked = _asked()
    query = ComparisonQuery(
        features=asked["features"],
        region=asked["region"],
        over=cast(Over, asked["over"]),
        format="tsv",
    )
    return cast(Response, send_comparison(by_token(token).open(), query))


def _page(result: Result, title: str, base: str, run_id: str | None) -> str | WerkzeugResponse:
    """The page, at the address of a run or below a share link."""
    asked = _asked()
    rows = _rows(result, asked["features"])
    if asked["add"]:
        added = compared_rows(asked["add"], result)
        everything = list(dict.fromkeys([*rows, *added]))
        features = ",".join(map(row_name, everything))
        compared_rows(features, result)  # not too many
        kept = {**asked, "features": features, "add": ""}
        return redirect(_address(base, kept), HTTPStatus.SEE_OTHER)
    region = _region(result, asked["region"], rows)
    here = {**asked, "features": ",".join(map(row_name, rows))}
    here["region"] = locus_text(region, result.names)
    scale, over = cast(Scale, here["scale"]), here["over"]
    found = comparison(result, rows, region, over=over)

    def at(**changes: str) -> str:
        return _address(base, {**here, **changes})

    told = [
        {
            **row,
            "name": name,
            "peaks": [
                (position, value, at(region=_around(result, region.contig, position)))
                for position, value in peaks
            ],
            "without": at(features=",".join(row_name(each) for each in rows if each != own)),
        }
        for row, name, peaks, own in zip(
            json_rows(found.table), map(row_name, rows), found.peaks, rows, strict=True
        )
    ]
    named = {row["name"]: row for row in told}
    return render_template(
        "web/compare.html",
        title=title,
        base=base,
        run_id=run_id,
        dictionary=result.options.dictionary,
        asked=here,
        region=region,
        contig=result.names[region.contig],
        length=result.lengths[region.contig],
        rows=told,
        named=named,
        strips=strips(found, scale),
        ticks=ticks(region),
        genes=genes_of(result, region),
        has_genes=result.genes is not None,
        correlation=_correlations(found.correlation.tolist()),
        moves=_moves(region, result, at),
        also=_also(result, region, rows, at),
        scales=SCALES,
        over=OVER,
        most=MAX_COMPARED,
        bases_told=len(rows) * region.length <= MAX_VALUES,
        query=urlencode({key: here[key] for key in ("features", "region")}),
    )


def _asked() -> dict[str, str]:
    """What the address asks for.

    Raises
    ------
    OptionError
        If a value is too long or not offered.
    """
    asked = {name: request.args.get(name, "") for name in ("features", "region", "add")}
    for name, text in asked.items():
        if len(text) > MAX_TEXT:
            raise OptionError(f"{name} must have at most {MAX_TEXT} characters, got {len(text)}")
    for name, allowed in (("scale", get_args(Scale)), ("over", get_args(Over))):
        asked[name] = request.args.get(name, allowed[0])
        if asked[name] not in allowed:
            raise OptionError(
                f"{name} must be one of {', '.join(allowed)}, got {asked[name][:20]!r}"
            )
    return asked


def _rows(result: Result, features: str) -> list[int]:
    """The rows of the address, the most telling ones where it has none."""
    if features.strip(", "):
        return compared_rows(features, result)
    if "features" in request.args:
        return []
    try:
        found = chosen_rows(result, features=None, tf=None, limit=SHOWN)
    except OptionError:  # nothing is active anywhere
        return []
    return [2 * row.feature + (row.strand == "-") for row in found]


def _region(result: Result, text: str, rows: Sequence[int]) -> Span:
    """The region of the address, that of the first row's top peak where it has none."""
    if not text.strip():
        first = [row_name(row) for row in rows[:1]]
        shown = chosen_rows(result, features=first[0], tf=None) if first else []
        text = opening_locus(result, shown)
    return parse_region(text, result.names, result.lengths)


def _around(result: Result, contig: int, position: int, margin: int = 50) -> str:
    """A region with a base in its middle."""
    end = min(result.lengths[contig], position + margin + 1)
    return locus_text(Span(contig, max(0, position - margin), end), result.names)


def _moves(region: Span, result: Result, at: Callable[..., str]) -> list[tuple[str, str | None]]:
    """Where the buttons lead that move the region; None for one that would not move it."""
    length, size = result.lengths[region.contig], region.length
    step = max(1, size // 2)

    def to(start: int, end: int) -> str | None:
        size = min(end - start, length)
        start = max(0, min(start, length - size))
        moved = Span(region.contig, start, start + size)
        return None if moved == region else at(region=locus_text(moved, result.names))

    inner = max(min(SMALLEST, size), size // 3)
    middle = (region.start + region.end) // 2
    return [
        ("Left", to(region.start - step, region.end - step)),
        ("Right", to(region.start + step, region.end + step)),
        ("Zoom in", to(middle - inner // 2, middle - inner // 2 + inner)),
        ("Zoom out", to(middle - 3 * size // 2, middle - 3 * size // 2 + 3 * size)),
        ("Whole sequence", to(0, length)),
    ]


def _also(
    result: Result, region: Span, rows: Sequence[int], at: Callable[..., str]
) -> list[dict[str, Any]] | None:
    """The strongest other rows of a region; None where there is too much to look at."""
    if scanned_for(result.activations, region) > ALSO_SCANNED:
        return None
    choice = Choice(sort="max", limit=ALSO + len(rows))
    shown = set(map(row_name, rows))
    found = []
    try:
        listing = region_features(result, region, choice)
    except LimitError:
        return None
    for row in json_rows(listing.page.table):
        name = f"{row['feature']}{row['strand']}"
        if name not in shown:
            found.append({**row, "name": name, "more": at(add=name)})
    return found[:ALSO]


def _correlations(r: list[list[float]]) -> list[list[dict[str, Any]]]:
    """Numbers in words with the step of their colour."""
    return [[{"said": _said(value), "level": _step(value)} for value in line] for line in r]


def _said(value: float) -> str:
    """A correlation with two digits; the sign of what rounds to 0 says nothing."""
    if math.isnan(value):
        return MISSING
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def _step(value: float) -> int:
    """Step of the colours, 0 to 9, for a correlation; those below 0 have their sign instead."""
    return round(9 * value) if value > 0 else 0


def _address(base: str, asked: dict[str, str]) -> str:
    """The address of a comparison, without what is as it always is.

    The features are named even where there are none: an address without them shows the most
    telling ones.
    """
    always = {"region": "", "scale": "own", "over": "region", "add": ""}
    kept = {name: asked[name] for name, plain in always.items() if asked.get(name, plain) != plain}
    return f"{base}/compare?{urlencode({'features': asked['features'], **kept})}"
