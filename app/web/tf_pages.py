"""Transcription factors: a name, what it was taken for, and the features that match."""

from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode

import pyarrow.compute as pc
from flask import redirect, render_template, request
from werkzeug.wrappers import Response as WerkzeugResponse

from annotations.errors import AmbiguousNameError, StateError, UnknownNameError
from annotations.jaspar import MotifCatalogue, load_motifs, search_tfs
from annotations.run_motifs import catalogue_of
from annotations.significance import SIGNIFICANT_Q
from annotations.types import STRAND_SIGNS, Strand
from app import answers
from app.answers import Source
from app.api.sources import source_of
from app.selection import Choice, GroupBy, evidence_kinds, json_rows
from app.web.asked import GROUPS, LIMITS, SORTS, filters_of, logo_address, text_of
from app.web.submit_pages import web
from app.web.tracks import MAX_DRAWN

PAGE_ROWS: Final = 25
"""Matches on a page."""

KNOWN_ROWS: Final = 60
"""Motifs on the page that lists what is known."""

DRAWN: Final = 8
"""Features that "show in the browser" draws."""

SUGGESTIONS: Final = 20
"""Names offered for one that is not understood."""


@web.get("/tfs")
def tfs_page() -> str | WerkzeugResponse:
    """Ask for a factor; without a name, the motifs that the dictionary knows best."""
    query, run, dictionary = (text_of(request.args, name) for name in ("q", "run", "dictionary"))
    if query is not None:
        kept = {"run": run, "dictionary": dictionary, "list": request.args.get("list")}
        rest = urlencode({name: value for name, value in kept.items() if value})
        address = f"/tfs/{quote(query, safe='')}" + (f"?{rest}" if rest else "")
        return redirect(address, HTTPStatus.SEE_OTHER)
    try:
        source = source_of(dictionary, run)
        known, why = known_motifs(source), None
    except (UnknownNameError, StateError) as error:
        if run is not None or dictionary is not None:
            raise
        known, why = [], str(error)
    return render_template(
        "web/tfs.html", run=run, dictionary=dictionary, known=known, why=why, query=""
    )


@web.get("/tfs/<path:tf>")
def tf_page(tf: str) -> str | tuple[str, int]:
    """The features that match a factor, or what its name may mean."""
    run, dictionary = (text_of(request.args, name) for name in ("run", "dictionary"))
    name = tf[:100]
    source = source_of(dictionary, run)
    asked = {"run": run, "dictionary": dictionary, "query": name}
    filters = filters_of(request.args)
    choice = Choice(
        max_q=filters.max_q,
        sort=filters.sort,
        evidence=evidence_kinds(filters.evidence or None),
        group_by=_grouping(filters.group_by),
        limit=PAGE_ROWS,
        page_token=str((filters.page - 1) * PAGE_ROWS),
    )
    try:
        listing = answers.tf_features(source, name, choice)
    except UnknownNameError as error:
        candidates = error.candidates if isinstance(error, AmbiguousNameError) else ()
        catalogue = _motifs(source)
        near = () if catalogue is None else search_tfs(catalogue, name, limit=SUGGESTIONS)
        if not near and catalogue is not None and len(name) > 2:
            near = search_tfs(catalogue, name[:3], limit=SUGGESTIONS)
        page = render_template(
            "web/tf_unclear.html", why=str(error), candidates=candidates, near=near, **asked
        )
        status = HTTPStatus.MULTIPLE_CHOICES if candidates else HTTPStatus.NOT_FOUND
        return page, status
    answer = listing.to_json()
    for row in [*answer["features"], *answer["nearest"]]:
        _add_logos(row, source, answer["taxon"], answer["release"])
    for motif in answer["motifs"]:
        motif["logo"] = logo_address(motif["matrix_id"], answer["taxon"], answer["release"])
    shown = [f"{row['feature']}{row['strand']}" for row in answer["features"]]
    return render_template(
        "web/tf.html",
        answer=answer,
        filters=filters,
        sorts=SORTS,
        limits=LIMITS,
        groups=GROUPS,
        has_groups=source.atlas is not None,
        pages=max(1, -(-answer["total"] // PAGE_ROWS)),
        drawn=",".join(list(dict.fromkeys(shown))[:DRAWN]),
        has_logos=any(row["own_logo"] for row in [*answer["features"], *answer["nearest"]]),
        measured=_measured(answer["features"]),
        **asked,
    )


@web.post("/runs/<run_id>/draw")
def draw_form(run_id: str) -> WerkzeugResponse:
    """Go to a run's browser with the rows that were ticked in a list."""
    named = request.form.getlist("feature")[: MAX_DRAWN + 1]
    features = ",".join(dict.fromkeys(word[:20] for word in named if word))
    asked = f"?{urlencode({'features': features})}" if features else ""
    return redirect(f"/runs/{quote(run_id, safe='')}{asked}", HTTPStatus.SEE_OTHER)


def known_motifs(source: Source) -> list[dict[str, Any]]:
    """Motifs with the most features that match them, with the best of these.

    Parameters
    ----------
    source : Source
        Its run's own matches where it made a test, else those of the atlas.
    """
    table = None
    if source.result is not None:
        own = source.result.table("matches")
        table = own if own.num_rows else None
    if table is None and source.atlas is not None:
        table = source.atlas.matches.table
    if table is None:
        return []
    table = table.select(["motif_name", "matrix_id", "feature", "strand", "q", "log2_enrichment"])
    table = table.filter(pc.less_equal(table["q"], SIGNIFICANT_Q)).sort_by("q")
    grouped = table.group_by(["motif_name"], use_threads=False).aggregate(
        [
            ("feature", "count_distinct"),
            ("matrix_id", "first"),
            ("feature", "first"),
            ("strand", "first"),
            ("q", "first"),
            ("log2_enrichment", "first"),
        ]
    )
    renamed = grouped.rename_columns([name.removesuffix("_first") for name in grouped.column_names])
    order = [("feature_count_distinct", "descending"), ("q", "ascending")]
    return json_rows(renamed.sort_by(order).slice(0, KNOWN_ROWS))


def _measured(rows: list[dict[str, Any]]) -> dict[str, bool]:
    """Which measurements any of the rows has: a column of dashes says nothing."""
    names = ("held_out_q", "auroc", "causal_p", "run_peaks")
    return {name: any(row.get(name) is not None for row in rows) for name in names}


def _add_logos(row: dict[str, Any], source: Source, taxon: str, release: str) -> None:
    """Addresses of the logos of a match: of the matrix, and of the feature's own peaks."""
    strand: Strand = row["strand"]
    row["logo"] = logo_address(row["matrix_id"], taxon, release)
    row["own_logo"] = None
    at = 2 * row["feature"] + (STRAND_SIGNS[strand] < 0)
    if source.atlas is not None and source.atlas.row_motifs.of(at).num_rows:
        base = f"/v1/features/{quote(source.dictionary, safe='')}/{row['feature']}"
        row["own_logo"] = f"{base}/logo.svg?strand={quote(strand, safe='')}"


def _grouping(text: str) -> GroupBy | None:
    """The grouping that an address names."""
    if text == "cluster":
        return "cluster"
    return "group" if text == "group" else None


def _motifs(source: Source) -> MotifCatalogue | None:
    """The motifs that a source knows, for suggestions."""
    if source.result is not None:
        own = catalogue_of(source.result.options, source.result.motifs)
        if own is not None:
            return own
    if source.atlas is not None:
        return load_motifs(source.atlas.atlas.taxon, source.atlas.atlas.release)
    return None
