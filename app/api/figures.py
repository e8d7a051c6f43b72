"""Figures of a run for papers: SVG and PNG of any region and feature rows by their address."""

from flask import Response
from werkzeug.wrappers import Response as WerkzeugResponse

from app.api.reach import Reach, by_token, own_run
from app.api.sending import send_data
from app.api.shared import with_cors
from app.feature_rows import chosen_rows, parse_rows
from app.figure_data import parse_region, region_data
from app.figure_schemas import FigurePngQuery, FigureQuery
from app.figures import Region, figure_png, figure_svg
from app.openapi import blueprint, file_response, responses
from app.schemas import RunPath
from app.track_schemas import SharePath

SVG = "image/svg+xml"
PNG = "image/png"
SHOWN = 4
"""Feature rows of a figure for which none are named."""

SVG_DECLARED = file_response(SVG, "A figure; texts stay texts, so that they can be edited.")
PNG_DECLARED = file_response(PNG, "The same figure as dots.")
PROBLEMS = (404, 409, 413)

api = blueprint("figures", "Figures for papers.")


@api.after_request
def let_pages_read(answer: WerkzeugResponse) -> WerkzeugResponse:
    """Let pages of any site read what a token shows."""
    return with_cors(answer)


@api.get("/v1/runs/<run_id>/figure.svg", responses=responses({200: SVG_DECLARED}, *PROBLEMS))
def run_figure_svg(path: RunPath, query: FigureQuery) -> Response:
    """Feature rows over the genes of a region as SVG; the same bytes each time."""
    return send_svg(own_run(path.run_id), query)


@api.get("/v1/runs/<run_id>/figure.png", responses=responses({200: PNG_DECLARED}, *PROBLEMS))
def run_figure_png(path: RunPath, query: FigurePngQuery) -> Response:
    """Feature rows over the genes of a region as PNG; the same bytes each time."""
    return send_png(own_run(path.run_id), query)


@api.get("/s/<token>/figure.svg", responses=responses({200: SVG_DECLARED}, *PROBLEMS))
def shared_figure_svg(path: SharePath, query: FigureQuery) -> Response:
    """Feature rows over the genes of a region as SVG; the same bytes each time."""
    return send_svg(by_token(path.token), query)


@api.get("/s/<token>/figure.png", responses=responses({200: PNG_DECLARED}, *PROBLEMS))
def shared_figure_png(path: SharePath, query: FigurePngQuery) -> Response:
    """Feature rows over the genes of a region as PNG; the same bytes each time."""
    return send_png(by_token(path.token), query)


def send_svg(reach: Reach, query: FigureQuery) -> Response:
    """A figure as SVG."""
    region, modified = _data(reach, query)
    data = figure_svg(region, query.style()).encode()
    return _sent(reach, data, SVG, f"{_name(region)}.svg", modified)


def send_png(reach: Reach, query: FigurePngQuery) -> Response:
    """A figure as PNG."""
    region, modified = _data(reach, query)
    data = figure_png(region, query.style(), dpi=query.dpi)
    return _sent(reach, data, PNG, f"{_name(region)}.png", modified)


def _data(reach: Reach, query: FigureQuery) -> tuple[Region, float]:
    """What a figure shows, and when that became true."""
    result = reach.open()
    span = parse_region(query.region, result.names, result.lengths)
    if query.features is not None:
        rows = parse_rows(query.features, result.n_features)
    else:
        rows = chosen_rows(result, features=None, tf=None, limit=SHOWN)
    modified = result.files["features.parquet"].stat().st_mtime
    shown = region_data(result, span, rows, motifs=query.motifs, expected=query.expectation)
    return shown, modified


def _sent(reach: Reach, data: bytes, content_type: str, name: str, modified: float) -> Response:
    answer = send_data(
        data, content_type=content_type, name=reach.saved_as(name), modified=modified
    )
    answer.headers["Link"] = f'<{reach.base}provenance.json>; rel="describedby"'
    return answer


def _name(region: Region) -> str:
    """What a program should call the figure of a region."""
    return f"{region.contig[:40]}_{region.start + 1}-{region.end}"
