"""The part of a run's page that compares alleles: each variant, what it changed, where to look."""

from typing import Any, Final
from urllib.parse import urlencode

from app.allele_tracks import MARGIN
from app.alleles import changed_features, pairs_listing
from app.catalog import Result
from app.selection import Choice

SHOWN_PAIRS: Final = 25
"""Variants on the page, the largest change first."""

SHOWN_FEATURES: Final = 3
"""Changed features of each; links draw these."""


def allele_part(result: Result, run_id: str) -> dict[str, Any] | None:
    """What the page shows of a run's alleles; None where it compares none.

    Returns
    -------
    part : dict
        `pairs`, each with its `features`, its `locus` and the `address` that opens the browser
        there; `total`, `controls`, `skipped` in words, `note`.
    """
    if result.alleles is None:
        return None
    listing = pairs_listing(result, Choice(sort="change", limit=SHOWN_PAIRS))
    lengths = dict(zip(result.names, result.lengths, strict=True))
    pairs = []
    for pair in listing.to_json()["alleles"]:
        found = changed_features(result, str(pair["pair"]), Choice(limit=SHOWN_FEATURES))
        rows = found.to_json()["features"]
        record = pair["reference_record"]
        start = max(0, pair["record_start"] - MARGIN)
        end = min(lengths[record], pair["record_end"] + MARGIN)
        locus = f"{record}:{start + 1}-{end}"
        drawn = ",".join(f"{row['feature']}{row['strand']}" for row in rows)
        view = urlencode({"features": drawn, "locus": locus})
        address = f"/runs/{run_id}?{view}#browse"
        pairs.append({**pair, "features": rows, "locus": locus, "drawn": drawn, "address": address})
    skipped = listing.head["skipped"]
    return {
        "pairs": pairs,
        "total": listing.page.total,
        "kind": listing.head["kind"],
        "controls": listing.head["controls"],
        "expectation": listing.head["expectation"],
        "skipped": ", ".join(f"{count} {reason}" for reason, count in skipped.items()),
        "note": listing.head["note"],
    }


def opening_view(part: dict[str, Any] | None) -> tuple[str | None, str | None]:
    """Features and place where the browser opens: those of the largest change; None for none."""
    if part is None or not part["pairs"] or not part["pairs"][0]["features"]:
        return None, None
    return part["pairs"][0]["drawn"], part["pairs"][0]["locus"]
