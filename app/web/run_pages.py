"""A run's page: how far it is while it is computed, then its browser, features and files."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from flask import Flask, Response, current_app, redirect, render_template, request
from sqlalchemy import Engine
from werkzeug.wrappers import Response as WerkzeugResponse

from annotations.errors import OptionError, UnknownNameError
from annotations.peaks import RADIUS
from app import catalog, runs
from app.api import open_result, services
from app.api.descriptions import hub_of, links_of
from app.api.reach import own_run
from app.api.runs import delete_run as delete_run_and_files
from app.api.runs import run_view
from app.api.shared import create_share_link, list_share_links, revoke_share_link
from app.auth import owner
from app.catalog import Result
from app.database import reading, transaction
from app.errors import problem
from app.feature_rows import FeatureRow
from app.models import TERMINAL_STATES
from app.schemas import NoQuery, RunPath
from app.selection import Choice, json_rows
from app.track_schemas import ShareLinkPath, ShareQuery
from app.web.allele_parts import allele_part, opening_view
from app.web.submit_pages import speed_of, web
from app.web.tracks import LISTED_CONTIGS, browser_config, chosen_features
from app.web.words import duration, run_title, state_said, state_title

MAX_STREAMS: Final = 4
"""Event streams at once: each holds one of the web process's threads."""

STREAM_SECONDS: Final = 20.0
"""How long a stream lasts; the browser comes back by itself."""

LOOK_SECONDS: Final = 1.0
"""Time between two looks at the database."""

COMES_BACK_MS: Final = 1000
"""How long the browser waits before it comes back."""

PAGE_ROWS: Final = 25
"""Rows of the list of features."""

SORTS: Final[Mapping[str, str]] = {
    "telling": "most telling",
    "feature": "number",
    "label": "label",
    "density": "density",
    "max": "strongest activation",
    "peaks": "peaks",
    "effect": "effect",
    "q": "q",
}
"""Orders of the list of features and how they are called."""

COLUMN_NAME: Final = re.compile(r" \([a-z0-9_]+\)$")
"""Name of a column at the end of a message: of use to programs, not on a page."""

_streams = threading.BoundedSemaphore(MAX_STREAMS)


@web.get("/runs/<run_id>")
def run_page(run_id: str) -> str:
    """A run: its progress, why it failed, or its results."""
    with reading(services().engine) as session:
        run = runs.get_run(session, run_id, owner())
        view = run_view(session, run)
        card = services().cards().dictionaries.get(view["dictionary"])
        speed = speed_of(session, view["dictionary"], card.bases_per_second if card else None)
        contigs = list(zip(run.contig_names, run.computation.lengths, strict=True))
    if view["state"] != "COMPLETE":
        progress = progress_view(view, None if speed is None else speed.rate)
        return render_template("web/progress.html", run=view, progress=progress)
    result = open_result(run_id)
    alleles = allele_part(result, run_id)
    features, place = request.args.get("features"), request.args.get("locus")
    if features is None and not place:
        features, place = opening_view(alleles)
    shown, locus = chosen_features(result, features, place)
    listing = feature_list(result, request.args, shown)
    return render_template(
        "web/run.html",
        run=view,
        contigs=contigs[:LISTED_CONTIGS],
        n_contigs=len(contigs),
        longest=max(length for _, length in contigs),
        radius=RADIUS,
        has_genes=result.genes is not None,
        browser=browser_config(result, run_id, run_title(view), shown, locus),
        shown=[row.text for row in shown],
        locus=request.args.get("locus", ""),
        test=catalog.motif_test(result),
        elsewhere=elsewhere(run_id, shown),
        alleles=alleles,
        **listing,
    )


def elsewhere(run_id: str, rows: Sequence[FeatureRow]) -> dict[str, Any] | None:
    """Addresses that open the drawn features in other browsers; None where nothing can be drawn."""
    reach = own_run(run_id)
    features = ",".join(row.text for row in rows) or None
    try:
        _, hub = hub_of(reach, features=features)
    except OptionError:  # nothing is active anywhere
        return None
    return links_of(reach, hub, urlencode({"features": features}) if features else "")


@web.post("/runs/<run_id>/share")
def share(run_id: str) -> str:
    """Make a link that shows the run's tracks to whoever has it, and show it this once."""
    answer, _, _ = create_share_link(RunPath(run_id=run_id), ShareQuery(title=None))
    return _links_page(run_id, answer.get_json())


@web.get("/runs/<run_id>/links")
def links_page(run_id: str) -> str:
    """The links that were given away, to be revoked."""
    return _links_page(run_id, None)


@web.post("/runs/<run_id>/links/<link_id>/revoke")
def revoke(run_id: str, link_id: str) -> WerkzeugResponse:
    """Revoke a link."""
    revoke_share_link(ShareLinkPath(run_id=run_id, link_id=link_id), NoQuery())
    return redirect(f"/runs/{run_id}/links", HTTPStatus.SEE_OTHER)


def _links_page(run_id: str, made: Mapping[str, Any] | None) -> str:
    listed = list_share_links(RunPath(run_id=run_id), NoQuery())["share_links"]
    with reading(services().engine) as session:
        view = run_view(session, runs.get_run(session, run_id, owner()))
    return render_template("web/links.html", run=view, made=made, links=listed)


def feature_list(result: Result, asked: Mapping[str, str], shown: object) -> dict[str, Any]:
    """The part of the feature table that a page shows.

    Raises
    ------
    OptionError
        If the order or the page is not one of ours.
    """
    sort = asked.get("sort", "telling")
    if sort not in SORTS:
        raise OptionError(f"sort must be one of {', '.join(SORTS)}, got {sort[:40]!r}")
    text = asked.get("page", "1")
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        raise OptionError(f"page must be a number from 1, got {text[:20]!r}")
    page, search = int(text), asked.get("search", "")[:100].strip()
    everything = asked.get("all") == "1"
    choice = Choice(sort=sort, limit=PAGE_ROWS, page_token=str((page - 1) * PAGE_ROWS))
    found, note = catalog.features(result, choice, search=search, active=not everything)
    return {
        "features": json_rows(found.table),
        "total": found.total,
        "note": COLUMN_NAME.sub("", note) if note else note,
        "sort": sort,
        "sorts": SORTS,
        "page": page,
        "pages": max(1, -(-found.total // PAGE_ROWS)),
        "search": search,
        "everything": everything,
    }


@web.get("/runs/<run_id>/events")
def run_events(run_id: str) -> Response:
    """Progress as server-sent events; a stream ends by itself, and there are only a few at once.

    Each event has the name `progress` and the JSON of `progress_view`; the last one of a run
    has the name `end`.
    """
    engine, whose = services().engine, owner()
    _progress(engine, run_id, whose)  # a run that is not there is no stream
    if not _streams.acquire(blocking=False):
        answer = problem(503, "busy", f"{MAX_STREAMS} pages are followed already; ask again")
        answer.headers["Retry-After"] = "3"
        return answer
    free = _once(_streams.release)
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    lines = _events(app, engine, run_id, whose, free)
    answer = Response(lines, content_type="text/event-stream")
    # a generator that is never begun is never closed either
    answer.call_on_close(free)
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Accel-Buffering"] = "no"
    return answer


def _once(release: Callable[[], None]) -> Callable[[], None]:
    """A function that calls another one the first time only."""
    lock = threading.Lock()
    done: list[bool] = []

    def call() -> None:
        with lock:
            if done:
                return
            done.append(True)
        release()

    return call


def _events(
    app: Flask, engine: Engine, run_id: str, whose: str, free: Callable[[], None]
) -> Iterator[str]:
    """The lines of a stream; it is read after the request has ended."""
    try:
        yield f"retry: {COMES_BACK_MS}\n\n"
        deadline, said = time.monotonic() + STREAM_SECONDS, ""
        while True:
            try:
                # not for longer than that: a generator may be ended in any thread
                with app.app_context():
                    progress = _progress(engine, run_id, whose)
            except UnknownNameError:  # deleted; the page is told so when it asks again
                return
            body = json.dumps(progress)
            name = "end" if progress["ended"] else "progress"
            # a comment shows the server whether anybody still listens
            yield f"event: {name}\ndata: {body}\n\n" if body != said else ": still here\n\n"
            said = body
            if progress["ended"] or time.monotonic() > deadline:
                return
            time.sleep(LOOK_SECONDS)
    finally:
        free()


def _progress(engine: Engine, run_id: str, whose: str) -> dict[str, Any]:
    with reading(engine) as session:
        view = run_view(session, runs.get_run(session, run_id, whose))
    return progress_view(view, None)


@web.get("/runs/<run_id>/progress")
def run_progress(run_id: str) -> dict[str, Any]:
    """The same as one event, for those who ask again and again."""
    return _progress(services().engine, run_id, owner())


def progress_view(view: Mapping[str, Any], rate: float | None) -> dict[str, Any]:
    """How far a run is, in words.

    Parameters
    ----------
    view : mapping
        As `app.api.runs.run_view` gives it.
    rate : float or None
        Bases read a second, for the time before the run itself tells.

    Returns
    -------
    progress : dict
        JSON values: state, title, said, fraction, done (in words), left (in words, or ""),
        error, ended.
    """
    state, fraction = view["state"], float(view["progress"])
    seconds = None
    if state == "RUNNING" and view["started_at"] is not None and fraction > 0.05:
        spent = (datetime.now(UTC) - datetime.fromisoformat(view["started_at"])).total_seconds()
        seconds = spent * (1 - fraction) / fraction
    elif state not in TERMINAL_STATES and rate is not None:
        seconds = (view.get("regions") or {}).get("read_bases", view["bases"]) / rate
    done = f"{view['bases_done']:,} of {view['bases']:,} bases"
    if view["bases_done"] >= view["bases"] and state == "RUNNING":
        done += " read; peaks, motifs and genes are compared now"
    return {
        "state": state,
        "title": state_title(state),
        "said": state_said(state),
        "fraction": fraction,
        "done": done,
        "left": "" if seconds is None else f"about {duration(seconds)} left",
        "error": (view["error"] or {}).get("message") or "",
        "ended": state in TERMINAL_STATES,
    }


@web.post("/runs/<run_id>/cancel")
def cancel(run_id: str) -> WerkzeugResponse:
    """Cancel a run and show its page."""
    with transaction(services().engine) as session:
        runs.cancel_run(session, runs.get_run(session, run_id, owner()))
    return redirect(f"/runs/{run_id}", HTTPStatus.SEE_OTHER)


@web.post("/runs/<run_id>/delete")
def delete(run_id: str) -> WerkzeugResponse:
    """Delete a run with its files and show the others."""
    delete_run_and_files(RunPath(run_id=run_id), NoQuery())
    return redirect("/runs", HTTPStatus.SEE_OTHER)
