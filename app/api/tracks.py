"""Tracks of a run: files and descriptions that browsers of genomes open.

Each of `ROUTES` is at `/v1/runs/<run>/...` for the run's owner and, the same bytes, at
`/s/<token>/...` (`app.api.shared`) for whoever has a link.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from flask import Response

from annotations.errors import OptionError
from annotations.tracks import SignalStrand
from app import alleles, catalog, track_files
from app.api.descriptions import DESCRIPTIONS, send_description
from app.api.reach import Reach, own_run
from app.api.sending import send_held
from app.catalog import Result
from app.feature_rows import FeatureRow, parse_row, parse_rows
from app.file_cache import HeldFile
from app.openapi import APIBlueprint, blueprint, file_response, responses
from app.schemas import NoQuery, RunPath, Strict
from app.track_files import BINARY, EXPECTATION_TRACKS, FILES
from app.track_schemas import (
    FeatureRowPath,
    GenomeQuery,
    HubQuery,
    PeaksQuery,
    RowSignalQuery,
    RowStrandQuery,
)

PROBLEMS: Final = (404, 409, 413, 503)

ALL_FILES: Final = {**FILES, **EXPECTATION_TRACKS}

api = blueprint("tracks", "Tracks of a run, for browsers of genomes.")


class Route(NamedTuple):
    """An address below a run, and what it answers."""

    address: str
    """With `<feature>` in it for what is of one feature row."""
    content_type: str
    what: str
    """For the interface's document."""
    query: type[Strict]
    send: Callable[..., Response]
    """Takes the run as it is reached, the query, and the feature where the address has one."""

    @property
    def of_feature(self) -> bool:
        """Whether the address names a feature row."""
        return "<feature>" in self.address


def _send_file(name: str, reach: Reach, query: Any) -> Response:
    """One of `ALL_FILES`."""
    file = ALL_FILES[name]
    on = reach.on(getattr(query, "genome", None))
    return _sent(reach, name, on.made(name, file.make), content_type=file.content_type)


def _send_description(name: str, reach: Reach, query: HubQuery) -> Response:
    """One of `app.api.descriptions.DESCRIPTIONS`."""
    return send_description(reach, name, query)


def _send_peaks(reach: Reach, query: PeaksQuery) -> Response:
    """peaks.bb, of all features or of named rows."""
    on, name, make = reach.on(query.genome), "peaks.bb", track_files.peaks_bigbed
    if query.features is not None:
        rows = sorted(parse_rows(query.features, reach.open().n_features))
        words = ",".join(row.word for row in rows)
        name = f"peaks.{hashlib.sha256(words.encode()).hexdigest()[:16]}.bb"
        make = partial(track_files.peaks_bigbed, rows=rows)
    return _sent(reach, name, on.made(name, make), content_type=BINARY)


def _send_row(kind: str, reach: Reach, query: Any, feature: str) -> Response:
    """A file of one feature row, of `ROW_FILES`."""
    row = _row(feature, query.strand)
    name, held = made_row(reach.on(query.genome), row, kind)
    return _sent(reach, name, held, content_type=BINARY)


def made_row(reach: Reach, row: FeatureRow, kind: str) -> tuple[str, HeldFile]:
    """Name and content of a file of a feature row.

    Parameters
    ----------
    reach : Reach
        The way that the run is reached.
    row : FeatureRow
        Need not be of the run's dictionary.
    kind : str
        One of `ROW_FILES`.

    Raises
    ------
    UnknownNameError
        If the dictionary has no such feature.
    """

    def make(result: Result, path: Any) -> None:
        catalog.parse_feature(str(row.feature), result.n_features)
        if kind == "signal.bw":
            catalog.signal_file(result, path, feature=row.feature, strand=row.strand)
        elif kind == "peaks.bw":
            track_files.peaks_bigwig(result, path, row=row)
        elif kind == "alternative.bw":
            alleles.track_file(result, path, row=row, track="alternative")
        elif kind == "difference.bw":
            alleles.track_file(result, path, row=row, track="difference")
        else:
            track_files.peaks_bigbed(result, path, rows=[row])

    name = f"f{row.word}.{kind}"
    return name, reach.made(name, make)


def _row(feature: str, strand: SignalStrand | None) -> FeatureRow:
    """The feature row of an address and a parameter, which must not say different strands."""
    # the dictionary's size is looked at where the file is made: one of the cache was made before
    row = parse_row(feature, 2**32)
    if strand is None or strand == row.strand:
        return row
    if row.strand != "either":
        raise OptionError(f"the address says strand {row.strand} and the parameter says {strand}")
    return row._replace(strand=strand)


def _sent(reach: Reach, name: str, held: HeldFile, *, content_type: str) -> Response:
    """A file of the cache as an answer, with the address of where it comes from."""
    answer = send_held(held, content_type=content_type, name=reach.saved_as(name))
    answer.headers["Link"] = f'<{reach.base}provenance.json>; rel="describedby"'
    return answer


PEAKS: Final = "bigBed, BED9 with feature, activation, label, TF, q, evidence, motif and gene."

ROUTES: Final[Sequence[Route]] = (
    *(
        Route(
            name,
            file.content_type,
            file.what,
            GenomeQuery if file.on_genomes else NoQuery,
            partial(_send_file, name),
        )
        for name, file in ALL_FILES.items()
    ),
    *(
        Route(name, text.content_type, text.what, HubQuery, partial(_send_description, name))
        for name, text in DESCRIPTIONS.items()
    ),
    Route("peaks.bb", BINARY, f"Top peaks of all features: {PEAKS}", PeaksQuery, _send_peaks),
    *(
        Route(f"features/<feature>/{kind}", BINARY, what, query, partial(_send_row, kind))
        for kind, what, query in (
            ("signal.bw", "Activation of a feature row at every base as bigWig.", RowSignalQuery),
            (
                "peaks.bw",
                "Activation of a feature row at its top peaks, 0 elsewhere, as bigWig.",
                RowSignalQuery,
            ),
            ("peaks.bb", f"Top peaks of a feature row: {PEAKS}", RowStrandQuery),
            (
                "alternative.bw",
                "Activation on the alternative alleles at coordinates of the reference, bigWig.",
                RowSignalQuery,
            ),
            (
                "difference.bw",
                "Alternative minus reference at every base of the reference alleles, bigWig.",
                RowSignalQuery,
            ),
        )
    ),
)
"""All tracks of a run."""


def add_routes(
    group: APIBlueprint,
    base: str,
    path_type: type[Strict],
    row_path_type: type[Strict],
    reach_of: Callable[[Any], Reach],
) -> None:
    """Add the views of `ROUTES` to a group of routes.

    Parameters
    ----------
    group : APIBlueprint
    base : str
        Address of the run, with a slash at its end.
    path_type, row_path_type : type
        Of what is in an address without and with a feature row.
    reach_of : callable
        Takes such a path.
    """
    prefix = "shared" if "<token>" in base else "run"
    for route in ROUTES:
        view = _feature_view if route.of_feature else _run_view
        kind = row_path_type if route.of_feature else path_type
        made = view(route, kind, reach_of)
        word = "".join(c if c.isalnum() else "_" for c in route.address)
        made.__name__, made.__doc__ = f"{prefix}_{word}", route.what
        declared = file_response(route.content_type, route.what)
        group.get(base + route.address, responses=responses({200: declared}, *PROBLEMS))(made)


def _run_view(
    route: Route, path_type: type[Strict], reach_of: Callable[[Any], Reach]
) -> Callable[..., Response]:
    query_type = route.query

    def view(path: path_type, query: query_type) -> Response:  # type: ignore[valid-type]
        return route.send(reach_of(path), query)

    return view


def _feature_view(
    route: Route, path_type: type[Strict], reach_of: Callable[[Any], Reach]
) -> Callable[..., Response]:
    query_type = route.query

    def view(path: path_type, query: query_type) -> Response:  # type: ignore[valid-type]
        return route.send(reach_of(path), query, path.feature)  # type: ignore[attr-defined]

    return view


add_routes(api, "/v1/runs/<run_id>/", RunPath, FeatureRowPath, lambda path: own_run(path.run_id))
