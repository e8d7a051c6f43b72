"""The fault matrix as data: what goes wrong, in which form, at what moment, and what must follow.

Whatever happens, the tables of a run that completes are byte for byte those of a run in which
nothing happened, every shard is complete once, and no file is stored that nothing points to.
"""

from typing import Literal, NamedTuple

Form = Literal["embedded", "scaled-out", "small-disk"]
"""The third is the first with its data on a file system of its own, which can be filled."""

FORMS: tuple[Form, ...] = ("embedded", "scaled-out", "small-disk")

Outcome = Literal["COMPLETE", "CANCELED", "EXECUTOR_ERROR", "refused"]


class Cell(NamedTuple):
    """One cell of the matrix."""

    fault: str
    """Name of a function of `tests.faults.happenings`, with "-" for "_"."""
    moment: str
    """When: a gate of `tests.faults.gates`, "queued", or "submitting"."""
    form: Form
    outcome: Outcome = "COMPLETE"
    quick: bool = False
    """Whether `make test` runs it; `make test-slow` runs all others."""

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.form}-{self.fault}-{self.moment}"


def _both(fault: str, *moments: str, outcome: Outcome = "COMPLETE") -> list[Cell]:
    return [Cell(fault, moment, form, outcome) for form in FORMS[:2] for moment in moments]


def _small_disk(fault: str, *moments: str, outcome: Outcome = "COMPLETE") -> list[Cell]:
    return [Cell(fault, moment, "small-disk", outcome) for moment in moments]


def _scaled(fault: str, *moments: str, outcome: Outcome = "COMPLETE") -> list[Cell]:
    return [Cell(fault, moment, "scaled-out", outcome) for moment in moments]


QUICK = {
    ("worker-killed", "encoding", "embedded"),
    ("cancel", "encoding", "embedded"),
    ("worker-killed", "finishing", "scaled-out"),
    ("broker-flushed", "queued", "scaled-out"),
    ("message-doubled", "encoding", "scaled-out"),
    ("database-restarted", "finishing", "scaled-out"),
    ("storage-refuses", "storing", "scaled-out"),
    ("poison-shard", "encoding", "scaled-out"),
}
"""The cells of `make test`."""

_ALL = [
    *_both("worker-killed", "encoding", "storing", "finishing", "merging"),
    *_both("worker-told-to-stop", "encoding", "merging"),
    *_scaled("worker-host-lost", "encoding", "merging"),
    *_both("web-killed", "encoding", "merging"),
    *_both("service-killed", "encoding"),
    *_both("broker-flushed", "queued", "encoding"),
    *_scaled("broker-restarted", "queued", "encoding", "finishing"),
    *_both("message-doubled", "encoding", "merging"),
    *_both("stale-owner", "finishing"),
    *_scaled("stale-owner", "merging"),
    *_scaled("database-restarted", "encoding", "finishing", "merging"),
    *_scaled("storage-refuses", "storing", "merging"),
    *_scaled("storage-refuses", "submitting", outcome="refused"),
    *_both("disk-full", "storing"),
    *_both("poison-shard", "encoding", outcome="EXECUTOR_ERROR"),
    *_both("poison-shard", "merging", outcome="EXECUTOR_ERROR"),
    *_both("cancel", "queued", "encoding", "merging", outcome="CANCELED"),
    *_both("delete", "encoding", outcome="CANCELED"),
    *_both("clock-step", "encoding"),
    *_both("database-clock-forward", "encoding", "merging"),
    *_both("database-clock-back", "queued", "encoding", "finishing"),
    *_small_disk("disk-filled", "encoding", "storing", "merging"),
    *_small_disk("disk-filled", "submitting", "uploading", outcome="refused"),
    *_both("memory-short", "reading"),
    *_both("killed-before-insert", "submitting", outcome="refused"),
    *_scaled("two-dispatchers", "queued", "encoding"),
]

CELLS = [cell._replace(quick=(cell.fault, cell.moment, cell.form) in QUICK) for cell in _ALL]
"""Every cell."""
