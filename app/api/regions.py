"""Regions of a run: what is active there, rows compared, values base by base."""

from typing import Any

import numpy as np
import pyarrow as pa
from flask import Response

from annotations.unread import unread
from app.answers import Listing
from app.api import open_result
from app.api.tables import choice_of, send_listing
from app.catalog import Result
from app.figure_data import parse_region
from app.openapi import blueprint, responses
from app.region_answers import (
    RegionFilters,
    activations,
    compared_rows,
    comparison,
    region_features,
    region_json,
    row_name,
)
from app.region_schemas import (
    ActivationsView,
    ComparisonQuery,
    ComparisonView,
    RegionFeatures,
    RegionQuery,
    RowsInRegionQuery,
)
from app.schemas import RunPath
from app.selection import Page

PROBLEMS = (404, 409, 413, 422)

api = blueprint("regions", "Regions of a run: which features fire there, and how strongly.")


@api.get(
    "/v1/runs/<run_id>/region-features",
    responses=responses({200: RegionFeatures}, *PROBLEMS),
)
def list_region_features(path: RunPath, query: RegionQuery) -> dict[str, Any] | Response:
    """The feature rows that are active in a region, ranked."""
    result = open_result(path.run_id)
    listing = region_features(
        result,
        parse_region(query.region, result.names, result.lengths),
        choice_of(query),
        RegionFilters(
            min_max=query.min_max, min_share=query.min_share, max_density=query.max_density
        ),
    )
    return send_listing(listing, query, name="region-features")


@api.get("/v1/runs/<run_id>/comparison", responses=responses({200: ComparisonView}, *PROBLEMS))
def compare(path: RunPath, query: ComparisonQuery) -> dict[str, Any] | Response:
    """Named feature rows over a region: largest values, peaks, and how they go together."""
    return send_comparison(open_result(path.run_id), query)


@api.get("/v1/runs/<run_id>/activations", responses=responses({200: ActivationsView}, *PROBLEMS))
def list_activations(path: RunPath, query: RowsInRegionQuery) -> dict[str, Any] | Response:
    """Activation of named feature rows at every base of a region, 200,000 values at most."""
    return send_activations(open_result(path.run_id), query)


def send_comparison(result: Result, query: ComparisonQuery) -> dict[str, Any] | Response:
    """The answer to `compare`."""
    region, rows = (
        parse_region(query.region, result.names, result.lengths),
        compared_rows(query.features, result),
    )
    found = comparison(result, rows, region, over=query.over)
    return send_listing(found.to_listing(result.names), query, name="comparison")


def send_activations(result: Result, query: RowsInRegionQuery) -> dict[str, Any] | Response:
    """The answer to `list_activations`."""
    region, rows = (
        parse_region(query.region, result.names, result.lengths),
        compared_rows(query.features, result),
    )
    values = activations(result, rows, region)
    head = region_json(region, result.names, unread(region, result.spans))
    told = [pa.array(own, mask=np.isnan(own)) for own in values]
    if query.format == "json":
        features = [
            {"feature": row // 2, "strand": row_name(row)[-1], "values": own.to_pylist()}
            for row, own in zip(rows, told, strict=True)
        ]
        return {**head, "features": features}
    columns = {"position": pa.array(np.arange(region.start, region.end))}
    columns |= {row_name(row): own for row, own in zip(rows, told, strict=True)}
    page = Page(pa.table(columns), region.length, None)
    return send_listing(Listing("bases", page, head), query, name="activations")
