"""Features of a run: tables, peaks, signals."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from flask import Response

from annotations.types import Strand
from app import catalog
from app.answers import Listing
from app.api import open_result, send_made, send_stored
from app.api.reach import Reach, own_run
from app.api.sending import send_held
from app.api.tables import choice_of, send_listing
from app.catalog import Result
from app.openapi import blueprint, file_response, responses
from app.schemas import (
    FeatureList,
    FeaturePath,
    FeaturesQuery,
    FeatureView,
    JsonDocument,
    MatchesQuery,
    MatchList,
    NoQuery,
    RunPath,
)
from app.track_schemas import BedQuery

TSV = "text/tab-separated-values"
BED = "text/plain"  # what browsers of genomes and of pages both show
PARQUET = "application/vnd.apache.parquet"

TABLES = ("features", "peaks", "matches", "concepts")
"""Tables that are served whole."""

api = blueprint("features", "Features of a run: tables, peaks, signals.")


@api.get("/v1/runs/<run_id>/features", responses=responses({200: FeatureList}, 404, 409))
def list_features(path: RunPath, query: FeaturesQuery) -> dict[str, Any] | Response:
    """Features with their statistics, labels and best match; a row for each strand."""
    page, note = catalog.features(
        open_result(path.run_id), choice_of(query), search=query.search, active=query.active
    )
    return send_listing(Listing("features", page, {"note": note}), query, name="features")


@api.get("/v1/runs/<run_id>/features/<feature>", responses=responses({200: FeatureView}, 404, 409))
def get_feature(path: FeaturePath, query: NoQuery) -> dict[str, Any]:
    """One feature: its strands, its top peaks and its motif tests; `374-` is one strand alone."""
    result = open_result(path.run_id)
    index, strand = catalog.parse_feature_row(path.feature, result.n_features)
    base = f"/v1/runs/{path.run_id}/features/{index}"
    links = {"peaks": f"{base}/peaks.bed", "signal": f"{base}/signal.bw"}
    return {**catalog.feature(result, index, strand), "links": links}


@api.get(
    "/v1/runs/<run_id>/features/<feature>/peaks.bed",
    responses=responses({200: file_response(BED, "BED6, then motif and gene.")}, 404, 409),
)
def feature_peaks(path: FeaturePath, query: BedQuery) -> Response:
    """Top peaks of one feature as BED."""
    reach = own_run(path.run_id)
    index, named = catalog.parse_feature_row(path.feature, reach.open().n_features)
    strand = catalog.one_strand(named, query.strand)
    return _send_bed(reach, query.genome, f"f{index}.peaks", strand, index)


@api.get(
    "/v1/runs/<run_id>/peaks.bed",
    responses=responses({200: file_response(BED, "BED6, then motif and gene.")}, 404, 409),
)
def all_peaks(path: RunPath, query: BedQuery) -> Response:
    """Top peaks of all features as BED."""
    return _send_bed(own_run(path.run_id), query.genome, "peaks", query.strand, None)


def _send_bed(
    reach: Reach, genome: str | None, stem: str, strand: Strand | None, feature: int | None
) -> Response:
    def make(result: Result, path: Path) -> None:
        catalog.peaks_file(result, path, feature=feature, strand=strand)

    name = f"{stem}{_suffix(strand)}.bed"
    return send_held(reach.on(genome).made(name, make), content_type=BED, name=reach.saved_as(name))


@api.get("/v1/runs/<run_id>/matches", responses=responses({200: MatchList}, 404, 409))
def list_matches(path: RunPath, query: MatchesQuery) -> dict[str, Any] | Response:
    """Motif tests at the peaks of this run, the surest first."""
    result = open_result(path.run_id)
    page = catalog.matches(result, choice_of(query))
    head = {"motif_test": catalog.motif_test(result)}
    return send_listing(Listing("matches", page, head), query, name="matches")


@api.get("/v1/runs/<run_id>/provenance", responses=responses({200: JsonDocument}, 404, 409))
def get_provenance(path: RunPath, query: NoQuery) -> dict[str, Any]:
    """Versions, hashes, parameters and times of the computation."""
    return catalog.named_provenance(open_result(path.run_id))


def _add_table(table: str) -> None:
    """Add the two files of a table."""

    def as_text(path: RunPath, query: NoQuery) -> Response:
        result = open_result(path.run_id)
        make: Callable[[Path], None] = partial(catalog.table_file, result, table=table)
        return send_made(path.run_id, f"{table}.tsv", make, content_type=TSV)

    def as_parquet(path: RunPath, query: NoQuery) -> Response:
        file = open_result(path.run_id).files[f"{table}.parquet"]
        return send_stored(file, f"{path.run_id}.{table}.parquet", content_type=PARQUET)

    for ending, view, content_type, what in (
        ("tsv", as_text, TSV, "tab-separated text, with the names of contigs"),
        ("parquet", as_parquet, PARQUET, "Parquet; contigs are their numbers, from 0"),
    ):
        view.__name__ = f"{table}_{ending}"
        view.__doc__ = f"The whole table of {table} as {what}."
        api.get(
            f"/v1/runs/<run_id>/{table}.{ending}",
            responses=responses({200: file_response(content_type, what)}, 404, 409),
        )(view)


for _table in TABLES:
    _add_table(_table)


def _suffix(strand: str | None) -> str:
    """Part of a file name that says the strand; both strands and "either" need none."""
    return {"+": ".plus", "-": ".minus"}.get(strand or "", "")
