"""Motifs as pictures: of a matrix, and of a feature's own peaks."""

from flask import Response

from annotations.errors import UnknownNameError
from annotations.jaspar import find_matrix, load_motifs
from annotations.logos import logo_svg
from app.api.sources import motifs_of, source_of
from app.catalog import one_strand, parse_feature_row
from app.feature_views import own_motif
from app.openapi import blueprint, file_response, responses
from app.schemas import DictionaryFeaturePath, LogoQuery, MotifLogoQuery, MotifPath

SVG = "image/svg+xml"

api = blueprint("logos", "Motifs as pictures.")


@api.get(
    "/v1/features/<dictionary>/<feature>/logo.svg",
    responses=responses({200: file_response(SVG, "A logo in bits.")}, 404),
)
def feature_logo(path: DictionaryFeaturePath, query: LogoQuery) -> Response:
    """The motif of a feature's own aligned peaks as a logo."""
    source = source_of(path.dictionary, None)
    index, named = parse_feature_row(path.feature, source.n_features)
    strand = one_strand(named, query.strand) or "+"
    own = None if source.atlas is None else own_motif(source.atlas, index, strand)
    if own is None:
        raise UnknownNameError(
            f"feature {index} has no motif of its own on strand {strand}: it has too few "
            "peaks, or they share no bases"
        )
    title = f"feature {index}{strand} of {source.dictionary}, offset from its peaks"
    return Response(
        logo_svg(own.counts, title=title, first=own.offset, axis=query.axis), content_type=SVG
    )


@api.get(
    "/v1/motifs/<matrix_id>/logo.svg",
    responses=responses({200: file_response(SVG, "A logo in bits.")}, 404),
)
def motif_logo(path: MotifPath, query: MotifLogoQuery) -> Response:
    """A matrix as a logo; without a version, the one that the release holds."""
    catalogue = load_motifs(*motifs_of(query.taxon, query.release))
    motif = find_matrix(catalogue, path.matrix_id)
    title = f"{motif.name} {motif.matrix_id}"
    return Response(logo_svg(motif.counts, title=title, axis=query.axis), content_type=SVG)
