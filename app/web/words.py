"""Numbers, times and states as people read them: the filters of the templates.

A value that was not measured is None and reads as an en dash, never as 0.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

MISSING: Final = "\N{EN DASH}"
"""What stands for a value that was not measured."""

STATES: Final[Mapping[str, tuple[str, str]]] = {
    "QUEUED": ("Waiting", "It waits for the worker to be free."),
    "INITIALIZING": ("Starting", "The worker loads the model."),
    "RUNNING": ("Computing", "The model reads the sequence; features and peaks are collected."),
    "COMPLETE": ("Complete", "The results are here."),
    "EXECUTOR_ERROR": ("Failed", "The sequences or the model made it fail."),
    "SYSTEM_ERROR": ("Failed", "This installation made it fail; it is no fault of the sequences."),
    "CANCELED": ("Canceled", "It was canceled."),
}
"""Title and explanation of each state."""

EVIDENCE: Final[Mapping[str, str]] = {
    "enriched": "The motif is at least twice as common at the feature's peaks as at silent places "
    "of the same GC content, at q ≤ 0.05.",
    "centred": "Enriched, and the motif keeps its distance from the peak: p ≤ 0.05 after "
    "correction for all places and widths that were looked at.",
    "similar": "Enriched, and the motif of the feature's own peaks looks like this matrix: q ≤ "
    "0.05 over all matrices (Tomtom).",
    "predictive": "Enriched on sequence that discovery did not see, and there the activation "
    "tells windows with the motif from those without: p ≤ 0.05.",
    "causal": "Breaking or adding the motif changes the activation as expected: p ≤ 0.05.",
}
"""What each kind of evidence says."""


def whole(value: int | float | None) -> str:
    """A count, with commas between thousands."""
    return MISSING if value is None else f"{value:,.0f}"


def figure(value: float | None, digits: int = 3) -> str:
    """A number with some significant digits, very large and small ones with a power of ten.

    Examples
    --------
    >>> figure(0.012345), figure(2.63e-137), figure(1234.5)
    ('0.0123', '2.63e-137', '1,234')
    >>> figure(4.0), figure(0.68), figure(12.0, 2)
    ('4.00', '0.680', '12')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    # zeros at the end are kept, so that the figures of a column line up
    return f"{value:#.{digits}g}".removesuffix(".")


def percent(value: float | None) -> str:
    """A share in per cent.

    Examples
    --------
    >>> percent(0.5), percent(0.00012), percent(None) == MISSING
    ('50%', '0.012%', True)
    """
    if value is None or not math.isfinite(value):
        return MISSING
    text = figure(100 * value, 2)
    return f"{text.rstrip('0').rstrip('.') if '.' in text and 'e' not in text else text}%"


def bases(value: int | None) -> str:
    """A length.

    Examples
    --------
    >>> bases(950), bases(86_436), bases(12_071_326)
    ('950 bases', '86.4 kb', '12.1 Mb')
    """
    if value is None:
        return MISSING
    for size, unit in ((1e9, "Gb"), (1e6, "Mb"), (1e3, "kb")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{value} base{'s' * (value != 1)}"


def duration(seconds: float | None) -> str:
    """A time, roughly.

    Examples
    --------
    >>> duration(0.4), duration(42), duration(600), duration(9000)
    ('a second', '42 seconds', '10 minutes', '2.5 hours')
    """
    if seconds is None:
        return MISSING
    if seconds < 1.5:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.2g} hours"
    return f"{seconds / 86400:.2g} days"


def moment(iso: str | None) -> str:
    """A time of `app.api.runs.iso_time` in UTC, to the minute.

    Examples
    --------
    >>> moment("2026-11-21T06:56:22.936Z")
    '2026-11-21 06:56 UTC'
    """
    if iso is None:
        return MISSING
    return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M UTC")


def state_title(state: str) -> str:
    """A state of a run in a word."""
    return STATES[state][0]


def state_said(state: str) -> str:
    """A state of a run in a sentence."""
    return STATES[state][1]


def evidence_said(kind: str) -> str:
    """What a kind of evidence says."""
    return EVIDENCE.get(kind, "")


def sentence(text: str) -> str:
    """A message as a sentence: messages begin with a small letter and end without a stop.

    Examples
    --------
    >>> sentence("there is no run 'x'; it may have been deleted")
    "There is no run 'x'; it may have been deleted."
    """
    text = text.strip()
    return text[:1].upper() + text[1:] + "." * (not text.endswith((".", "!", "?", ":")))


def run_title(run: Mapping[str, Any]) -> str:
    """What a run is called: its title, its file, or the start of its id."""
    return str(run["title"] or run["filename"] or f"run {run['id'][:8]}")


FILTERS: Final[Mapping[str, Callable[..., str]]] = {
    "whole": whole,
    "figure": figure,
    "percent": percent,
    "bases": bases,
    "duration": duration,
    "moment": moment,
    "state_title": state_title,
    "state_said": state_said,
    "evidence_said": evidence_said,
    "run_title": run_title,
    "sentence": sentence,
}
"""The filters by their names in templates."""
