"""Files of one feature of a dictionary: its matches as a table, its motif over a matrix."""

from dataclasses import replace
from typing import Any

from flask import Response
from pydantic import Field

from annotations.errors import UnknownNameError
from annotations.jaspar import find_matrix, load_motifs
from app.answers import Listing
from app.api.sources import source_of
from app.api.tables import choice_of, send_listing
from app.catalog import one_strand, parse_feature_row
from app.feature_pictures import lay_over, overlay_svg
from app.feature_views import own_motif
from app.openapi import blueprint, file_response, responses
from app.schemas import (
    DictionaryFeaturePath,
    JsonDocument,
    MatchChoiceQuery,
    StrandSymbol,
    Strict,
)
from app.selection import Choice, choose_matches, json_rows

SVG = "image/svg+xml"

api = blueprint("feature-files", "Files of one feature of a dictionary.")


class AlignedQuery(Strict):
    """Which strand's motif, over which matrix."""

    strand: StrandSymbol | None = Field(
        None, description="Strand that the feature was read on; `+` if the feature names none."
    )
    matrix_id: str | None = Field(
        None,
        max_length=40,
        description="Of the atlas' release; by default the feature row's best match.",
        json_schema_extra={"example": "MA0363.3"},
    )


@api.get(
    "/v1/features/<dictionary>/<feature>/matches", responses=responses({200: JsonDocument}, 404)
)
def get_feature_matches(
    path: DictionaryFeaturePath, query: MatchChoiceQuery
) -> dict[str, Any] | Response:
    """Motifs at a feature's peaks in the atlas of its dictionary, the surest first."""
    source = source_of(path.dictionary, None)
    index, named = parse_feature_row(path.feature, source.n_features)
    choice = replace(choice_of(query), strand=one_strand(named, query.strand))
    if source.atlas is None:
        raise UnknownNameError(f"dictionary {source.dictionary!r} has no atlas")
    page = choose_matches(source.atlas.matches.of_feature(index), choice)
    head = {"dictionary": source.dictionary, "feature": index, "known_from": source.atlas.brief()}
    return send_listing(Listing("matches", page, head), query, name=f"feature-{index}-matches")


@api.get(
    "/v1/features/<dictionary>/<feature>/aligned.svg",
    responses=responses({200: file_response(SVG, "Two logos in the same columns.")}, 404),
)
def feature_over_matrix(path: DictionaryFeaturePath, query: AlignedQuery) -> Response:
    """The motif of a feature's own peaks over the matrix it matches, in the same columns.

    The matrix lies where both are most alike, or if they are not, where it stands at most peaks;
    it is turned over where it stands in the other sense.
    """
    source = source_of(path.dictionary, None)
    index, named = parse_feature_row(path.feature, source.n_features)
    strand = one_strand(named, query.strand) or "+"
    own = None if source.atlas is None else own_motif(source.atlas, index, strand)
    if source.atlas is None or own is None:
        raise UnknownNameError(
            f"feature {index} has no motif of its own on strand {strand}: it has too few "
            "peaks, or they share no bases"
        )
    row = 2 * index + (strand == "-")
    matches = json_rows(choose_matches(source.atlas.matches.of(row), Choice()).table)
    wanted = query.matrix_id or (matches[0]["matrix_id"] if matches else None)
    if wanted is None:
        raise UnknownNameError(
            f"feature {index}{strand} matches no motif in the atlas; name one with matrix_id"
        )
    catalogue = load_motifs(source.atlas.atlas.taxon, source.atlas.atlas.release)
    motif = find_matrix(catalogue, wanted)
    offset = next((m["offset"] for m in matches if m["matrix_id"] == motif.matrix_id), None)
    drawn = overlay_svg(own, motif, lay_over(own, motif, offset), name=f"{index}{strand}")
    return Response(drawn, content_type=SVG)
