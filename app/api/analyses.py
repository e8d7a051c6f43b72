"""Analyses: questions to a run that a worker answers.

What is asked at an address of `app.api.concepts` is one of its routes: the library keeps one group
of routes for an address.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Response, jsonify, request

from annotations.errors import OptionError, UnknownNameError
from app import analyses, catalog, runs
from app.api import concepts, open_result, services
from app.api.runs import RETRY_SECONDS, iso_time
from app.api.sources import dictionary_id
from app.api.uploads import received_files
from app.auth import owner
from app.database import reading, transaction
from app.models import TERMINAL_STATES, Analysis
from app.openapi import blueprint, responses
from app.schemas import (
    AnalysisList,
    AnalysisPath,
    AnalysisView,
    CausalTestBody,
    DictionaryFeaturePath,
    NoQuery,
    PageQuery,
    RunPath,
)

CONCEPT_FIELDS = ("run", "name", "limit", "seed")
"""Fields of the form about intervals."""

FEATURES = 100
"""Features in the answer about intervals where no limit is given."""

api = blueprint("analyses", "Questions to a run that a worker answers.")


@api.post(
    "/v1/features/<dictionary>/<feature>/causal-tests",
    responses=responses({202: AnalysisView}, 404, 409),
)
def ask_causal_test(
    path: DictionaryFeaturePath, query: NoQuery, body: CausalTestBody
) -> tuple[Response, int, dict[str, str]]:
    """Ask whether a motif moves a feature: edits of a run's sequences, read by the model again.

    The motif is taken away at the feature's peaks, against matched edits beside it, and put into
    silent windows of equal GC content, against its bases in another order.
    """
    result = open_result(body.run)
    if result.options.dictionary != dictionary_id(path.dictionary):
        raise UnknownNameError(
            f"run {body.run!r} is of dictionary {result.options.dictionary!r}, not of "
            f"{path.dictionary[:40]!r}"
        )
    feature, named = catalog.parse_feature_row(path.feature, result.n_features)
    strand = catalog.one_strand(named, body.strand)
    if strand is None:
        raise OptionError("name the strand of the feature: /374-/ in the address, or strand")
    try:
        parameters = analyses.causal_parameters(
            result,
            feature=feature,
            strand=strand,
            tf=body.tf,
            matrix_id=body.matrix_id,
            sites=body.sites,
            seed=body.seed,
        )
    except UnknownNameError as error:
        # what is not found is not the address but a parameter
        raise OptionError(str(error)) from error
    here = services()
    return _accepted(
        analyses.create_analysis(
            here.engine,
            here.storage,
            run_id=body.run,
            owner=owner(),
            kind="causal_test",
            parameters=parameters,
            settings=here.settings,
        )
    )


@concepts.api.post(
    "/v1/concepts", responses=responses({202: AnalysisView}, 404, 409, 411, 413, 415, 422)
)
def ask_concept(query: NoQuery) -> tuple[Response, int, dict[str, str]]:
    """Ask which features mark intervals: a form with a BED `file`, perhaps a `background`, a `run`.

    Each feature is scored by how well its activation tells the intervals from the background;
    without one, from places of equal length and GC content.
    """
    here = services()
    with received_files(request, here.settings, required="file", optional=("background",)) as (
        files,
        fields,
    ):
        unknown = sorted(set(fields) - set(CONCEPT_FIELDS))
        if unknown:
            raise OptionError(
                f"there is no field {', '.join(repr(name[:40]) for name in unknown)}; the fields "
                f"are file, background, {', '.join(CONCEPT_FIELDS)}"
            )
        if "run" not in fields:
            raise OptionError("the field run must name a complete run with the same contigs")
        result = open_result(fields["run"])
        name = analyses.concept_name(fields.get("name"))
        limit = _whole(fields, "limit", FEATURES, least=1, most=analyses.MAX_FEATURES)
        seed = _whole(fields, "seed", 0, least=0, most=2**31 - 1)
        tables = analyses.read_bed_inputs(result, files["file"], files.get("background"))
        counts = {key.removesuffix(".parquet"): table.num_rows for key, table in tables.items()}
        return _accepted(
            analyses.create_analysis(
                here.engine,
                here.storage,
                run_id=fields["run"],
                owner=owner(),
                kind="bed_concept",
                parameters={"name": name, "limit": limit, "seed": seed, "intervals": counts},
                settings=here.settings,
                tables=tables,
                title=name,
            )
        )


@api.get("/v1/analyses/<analysis_id>", responses=responses({200: AnalysisView}, 404))
def get_analysis(path: AnalysisPath, query: NoQuery) -> Response:
    """An analysis and, once it is complete, its result; `Retry-After` says when to ask again."""
    with reading(services().engine) as session:
        view = analysis_view(analyses.get_analysis(session, path.analysis_id, owner()))
    answer = jsonify(view)
    if view["state"] not in TERMINAL_STATES:
        answer.headers["Retry-After"] = str(RETRY_SECONDS)
    return answer


@api.get("/v1/runs/<run_id>/analyses", responses=responses({200: AnalysisList}, 404))
def list_analyses(path: RunPath, query: PageQuery) -> dict[str, Any]:
    """Analyses of a run, the newest first, without their results."""
    with reading(services().engine) as session:
        run = runs.get_run(session, path.run_id, owner())
        page = analyses.list_analyses(session, run, limit=query.limit, page_token=query.page_token)
        views = [analysis_head(analysis) for analysis in page.analyses]
    return {"analyses": views, "next_page_token": page.next_page_token}


@api.post("/v1/analyses/<analysis_id>/cancel", responses=responses({202: AnalysisView}, 404, 409))
def cancel_analysis(path: AnalysisPath, query: NoQuery) -> tuple[Response, int]:
    """Cancel an analysis; again is no error."""
    engine = services().engine
    with transaction(engine) as session:
        analyses.cancel_analysis(session, analyses.get_analysis(session, path.analysis_id, owner()))
    with reading(engine) as session:
        view = analysis_view(analyses.get_analysis(session, path.analysis_id, owner()))
    return jsonify(view), HTTPStatus.ACCEPTED


@api.delete("/v1/analyses/<analysis_id>", responses=responses({204: None}, 404))
def delete_analysis(path: AnalysisPath, query: NoQuery) -> tuple[str, int]:
    """Delete an analysis and what was sent for it."""
    here = services()
    analyses.delete_analysis(here.engine, here.storage, path.analysis_id, owner())
    return "", HTTPStatus.NO_CONTENT


def analysis_view(analysis: Analysis) -> dict[str, Any]:
    """An analysis as `AnalysisView` describes it."""
    return {**analysis_head(analysis), "result": analysis.result}


def analysis_head(analysis: Analysis) -> dict[str, Any]:
    """An analysis without its result, which is not read."""
    failed = analysis.state in {"EXECUTOR_ERROR", "SYSTEM_ERROR"}
    error = {"code": analysis.error_code, "message": analysis.error_message}
    return {
        "id": analysis.id,
        "kind": analysis.kind,
        "run": analysis.run_id,
        "title": analysis.title,
        "state": analysis.state,
        "created_at": iso_time(analysis.created_at),
        "started_at": iso_time(analysis.started_at),
        "finished_at": iso_time(analysis.finished_at),
        "attempts": analysis.attempts,
        "parameters": analysis.parameters,
        "error": error if failed else None,
        "links": {
            "self": f"/v1/analyses/{analysis.id}",
            "run": f"/v1/runs/{analysis.run_id}",
        },
    }


def _accepted(analysis_id: str) -> tuple[Response, int, dict[str, str]]:
    """The answer to a question that was taken."""
    with reading(services().engine) as session:
        view = analysis_view(analyses.get_analysis(session, analysis_id, owner()))
    headers = {"Location": view["links"]["self"], "Retry-After": str(RETRY_SECONDS)}
    return jsonify(view), HTTPStatus.ACCEPTED, headers


def _whole(fields: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    """A whole number in a field of a form."""
    text = fields.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 16 and least <= int(text) <= most):
        raise OptionError(f"{name} must be a whole number in [{least}, {most}], got {text[:20]!r}")
    return int(text)
