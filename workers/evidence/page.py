"""The page about the bundled model, made of the records and of nothing else.

The same records give the same page, so a page that was edited, or numbers that were, show. What
was not measured is said to be so.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from workers.evidence import page_binding, page_model, page_tried
from workers.evidence.figures import figures
from workers.evidence.goals import Goal, goals
from workers.evidence.page_parts import NOT_MEASURED, lines_of, table
from workers.evidence.records import read_records

Numbers = Mapping[str, Any]

FIGURE_FOLDER: Final = "evidence"
"""Folder of the figures, beside the page."""

SECTIONS: Final[Sequence[tuple[str, Callable[[Numbers], list[str]]]]] = (
    ("1. Bits per base, and does the language model know motifs?", page_model.bits),
    ("2. The dictionary", page_model.quality),
    ("3. Features with a confirmed motif", page_model.motifs),
    ("4. Real binding", page_binding.binding),
    ("5. Gene structure", page_binding.structure),
    ("6. Edits of the sequence", page_binding.causal),
    ("7. What failed", page_binding.failures),
    ("8. What was tried", page_tried.tried),
    ("9. Speed and size", page_model.package),
)


def write_page(records: Path, page: Path) -> None:
    """Write the page and its figures from a folder of records.

    Parameters
    ----------
    records : Path
        As `workers.evidence.records.write_record` fills it; may be missing.
    page : Path
        The page; figures go to the folder `FIGURE_FOLDER` beside it.
    """
    found = read_records(records)
    folder = page.parent / FIGURE_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    page.write_text(make_page(found), encoding="utf-8")
    for name, drawing in figures(found).items():
        (folder / f"{name}.svg").write_text(drawing, encoding="utf-8")


def make_page(records: Mapping[str, Mapping[str, Any]]) -> str:
    """The page as Markdown.

    Parameters
    ----------
    records : mapping
        As `workers.evidence.records.read_records` gives them.
    """
    numbers = {stage: record["numbers"] for stage, record in records.items()}
    parts = [*_head(records), "## Goals", "", *_goals(goals(numbers))]
    for title, section in SECTIONS:
        parts += ["", f"## {title}", "", *section(numbers)]
    parts += ["", "## Files", "", *_files(numbers), "", "## Stages", "", *_stages(records)]
    return "\n".join(parts).rstrip() + "\n"


def _head(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    names = sorted(
        {
            f"`{record['weights']['dictionaries']['trained']['id']}` "
            f"({record['weights']['dictionaries']['trained']['sha256'][:12]})"
            for record in records.values()
        }
    )
    said = f"The weights: {', '.join(names)}." if names else "Nothing was measured yet."
    mixed = [
        "",
        "**The stages below were run with different weights**: run those of the older ones again.",
    ]
    return [
        "# The bundled model: the evidence",
        "",
        "Made by `make evidence DATA=DIR` from the shipped weights and public files (listed "
        "below); "
        "every number and figure of this page is generated from the records in",
        "`benchmarks/results/evidence/`. What the model is and how it was made: "
        "[workers/bundled/README.md](../workers/bundled/README.md); how matches are tested: "
        "[matching.md](matching.md).",
        "",
        said,
        *(mixed if len(names) > 1 else []),
        "",
        "Everything that is chosen (features, matrices, scales, weights) is chosen on training "
        "chromosomes; chrVIII is for validation; of the stages one (`test`) reads chrIX and "
        "chrXIV, once for a dictionary; `saetrack annotate --held-out` confirms matches there. "
        "Each reading is a line of "
        "`benchmarks/results/test-chromosome-reads.tsv`. An SAE finds the words of a sequence by "
        "itself, so nothing counts for the language model that the same SAE on random weights, raw "
        "neurons or the JASPAR matrix alone do as well: they stand beside every figure. Brackets "
        "are 95 % intervals of a bootstrap over blocks of 20 kb.",
        "",
    ]


def _goals(found: Iterable[Goal]) -> list[str]:
    said = {True: "reached", False: "missed", None: NOT_MEASURED}
    rows = [
        [goal.what, goal.goal, goal.found or "-", said[goal.reached], goal.missing or "-"]
        for goal in found
    ]
    return table(["what", "goal", "found", "", "missed by"], rows)


def _files(numbers: Numbers) -> list[str]:
    if "sources" not in numbers:
        return lines_of(None)
    rows = [
        [
            f"`{row['file']}`",
            f"{row['bytes']:,}",
            f"`{row['sha256']}`",
            f"<{row['url']}>",
            row["terms"],
        ]
        for row in numbers["sources"]["files"]
    ]
    return table(["file in DATA", "bytes", "sha256", "from", "terms"], rows)


def _stages(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not records:
        return lines_of(None)
    rows = []
    for stage, record in records.items():
        machine = record["machine"]
        rows.append(
            [
                stage,
                record["date"],
                f"`{record['command']}`",
                f"{record['seconds']:.0f} ({record['cpu_seconds']:.0f})",
                f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_average']}, "
                f"torch {machine['packages'].get('torch')}",
                record["weights"]["dictionaries"]["trained"]["sha256"][:12],
            ]
        )
    return table(["stage", "date", "command", "seconds (of CPU)", "machine", "weights"], rows)
