"""What `saetrack query` asks, and how it prints what it is told."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import click

from annotations.errors import OptionError
from annotations.significance import SIGNIFICANT_Q
from annotations.tables import replacing
from annotations.types import Strand, counted
from app.answers import Listing, tf_features, write_listing
from app.catalog import one_strand, parse_feature_row
from app.concept_answers import concept_features, interval_features
from app.feature_rows import FeatureRow
from app.feature_views import feature_matches, feature_view
from app.selection import Choice, GroupBy, evidence_kinds
from app.static_folder import signal_path
from workers.answers import open_source, rank_for_bed
from workers.commands.summary import print_table, table_width

View = Literal["table", "tsv", "json", "parquet"]

EVIDENCE_LETTERS: Final = {
    "enriched": "E",
    "centred": "C",
    "similar": "S",
    "predictive": "P",
    "causal": "K",
}
LEGEND: Final = (
    "evidence: E enriched, C centred on the peak, S similar to the feature's own motif, "
    "P predictive\non held-out contigs, K causal by edits of the sequence"
)
WORDS_LEGEND: Final = (
    "evidence: centred on the peak, similar to the feature's own motif, predictive on held-out "
    "contigs,\ncausal by edits of the sequence"
)
WIDTH: Final = 100
"""Characters of a line, where there is a choice."""
HINTED: Final = 3
"""Best rows of an answer whose tracks are looked for in the folder."""
BASELINES: Final = 8
"""Most baselines in a printed answer."""
WIDEST: Final = 20
"""Characters of a name in a printed table."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The command line."""

    folder: Path | None
    tf: str | None
    feature: str | None
    concept: str | None
    bed: Path | None
    background: Path | None
    fasta: Path | None
    dictionary: str | None
    taxon: str | None
    release: str | None
    max_q: float | None
    min_log2_enrichment: float | None
    evidence: str | None
    strand: Strand | None
    orientation: str | None
    group_by: GroupBy | None
    sort: str | None
    limit: int | None
    page_token: str | None

    def choice(self, *, sort: str, max_q: float | None = None) -> Choice:
        """Which rows, with what this kind of question does where nothing was said."""
        return Choice(
            max_q=max_q if self.max_q is None else self.max_q,
            min_log2_enrichment=self.min_log2_enrichment,
            evidence=evidence_kinds(self.evidence),
            strand=self.strand,
            sort=self.sort or sort,
            group_by=self.group_by,
            limit=self.limit,
            page_token=self.page_token,
        )


@dataclass(frozen=True)
class Answer:
    """What is known, and what was asked."""

    listing: Listing
    document: Mapping[str, Any]
    """All of it as JSON values."""
    question: str
    """One of `workers.commands.query.QUESTIONS`."""


def answer(asked: Asked) -> Answer:
    """The answer to one question.

    Raises
    ------
    SaetrackError
        As the questions of `app.answers` do; OptionError if an option does not go with the
        question.
    """
    _refuse_stray(asked)
    source = open_source(asked.folder, asked.dictionary)
    if asked.tf is not None:
        choice = asked.choice(sort="q", max_q=SIGNIFICANT_Q)
        found = tf_features(source, asked.tf, choice, taxon=asked.taxon, release=asked.release)
        return Answer(found, found.to_json(), "tf")
    if asked.concept is not None:
        choice = asked.choice(sort="f1", max_q=SIGNIFICANT_Q)
        found = concept_features(source, asked.concept, choice, orientation=asked.orientation)
        return Answer(found, found.to_json(), "concept")
    if asked.bed is not None and asked.folder is not None:
        ranking = rank_for_bed(
            asked.folder, asked.bed, background=asked.background, sequences=asked.fasta
        )
        found = interval_features(source, ranking, asked.choice(sort="q"))
        return Answer(found, found.to_json(), "bed")
    index, named = parse_feature_row(str(asked.feature), source.n_features)
    strand = one_strand(named, asked.strand)
    view = feature_view(source, index, strand=strand)
    return Answer(feature_matches(source, index, strand=strand), view, "feature")


def show(found: Answer, view: View, out: Path | None) -> None:
    """Print an answer, or write it to a file.

    Parameters
    ----------
    found : Answer
        What to show.
    view : {"table", "tsv", "json", "parquet"}
        How; Parquet needs a file.
    out : Path, optional
        The file to make or replace.

    Raises
    ------
    OptionError
        If the folder of the file does not exist, or a table for people was to be a file.
    """
    if out is None:
        if view == "json":
            click.echo(json.dumps(found.document, indent=2, allow_nan=False))
        elif view == "tsv":
            write_listing(found.listing, sys.stdout, "tsv")
        else:
            _PRINTERS[found.question](found.document)
        return
    if view == "table":
        raise OptionError("--out needs --format tsv, json or parquet: a table is for people")
    if not out.absolute().parent.is_dir():
        raise OptionError(f"--out {out}: there is no folder {out.absolute().parent}")
    with replacing(out) as temporary:
        if view == "json":
            temporary.write_text(json.dumps(found.document, indent=2, allow_nan=False) + "\n")
        else:
            write_listing(found.listing, temporary, view)
    click.echo(f"{out}: {found.listing.page.table.num_rows} rows", err=True)


def tracks_hint(folder: Path, found: Answer) -> str | None:
    """How to get the signals of found feature rows; None where the folder has those it names.

    Parameters
    ----------
    folder : Path
        Of the result that was asked.
    found : Answer
        A list of feature rows.
    """
    rows = [FeatureRow(row["feature"], row["strand"]) for row in found.document["features"]]
    lacking = [row for row in rows[:HINTED] if not (folder / signal_path(row)).is_file()]
    if not lacking:
        return None
    return f"tracks: saetrack signal {folder} --feature {lacking[0].text}"


def _refuse_stray(asked: Asked) -> None:
    """Refuse options that the question would not heed.

    Raises
    ------
    OptionError
        If there is one.
    """
    of_matches = ("taxon", "release", "evidence")
    of_lists = ("max_q", "min_log2_enrichment", "group_by", "sort", "limit", "page_token")
    stray: list[str] = []
    if asked.tf is None:
        stray += [name for name in of_matches if getattr(asked, name) is not None]
    if asked.feature is not None:
        stray += [name for name in of_lists if getattr(asked, name) is not None]
    if asked.tf is not None or asked.feature is not None:
        stray += ["orientation"] if asked.orientation is not None else []
    if asked.bed is None:
        stray += [name for name in ("background", "fasta") if getattr(asked, name) is not None]
    if asked.bed is not None and asked.folder is None:
        raise OptionError("--bed needs DIR: intervals are compared with a result's own sequences")
    if stray:
        named = ", ".join("--" + name.replace("_", "-") for name in stray)
        raise OptionError(f"{named} does not go with this question; `saetrack query --help`")


def _print_matches(found: Mapping[str, Any]) -> None:
    """Print the features that match a factor."""
    matrices = ", ".join(f"{m['name']} {m['matrix_id']}" for m in found["motifs"][:6])
    more = ", ..." if len(found["motifs"]) > 6 else ""
    kind = found["match_type"].replace("_", " ")
    click.echo(
        f"{found['query']} ({kind} in {found['release']} {found['taxon']}): {matrices}{more}"
    )
    if found["resolution_note"]:
        click.echo(found["resolution_note"])
    click.echo(f"{found['dictionary']}: {found['note']}")
    rows = found["features"]
    if found["total"] and not rows:
        click.echo(f"no more: there are {found['total']}")
    elif not rows:
        nearest = "; the nearest:" if found["nearest"] else ""
        click.echo(f"none at q <= {found['max_q']:g}{nearest}")
    _print_match_rows(rows or found["nearest"])
    _print_more(found, len(rows))
    _print_baselines(found["baselines"])
    if found["atlas_features"]:
        click.echo()
        click.echo(f"known from the atlas of the dictionary ({found['atlas']['genome']}):")
        _print_match_rows(found["atlas_features"])


def _print_match_rows(rows: Sequence[Mapping[str, Any]], *, of_feature: bool = False) -> None:
    """Print matches in columns, and what the letters mean."""
    if not rows:
        return
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "feature": lambda row: f"{row['feature']}{row['strand']}",
        "motif": lambda row: cut(f"{row['motif_name']} {row['matrix_id']}", WIDEST + 4),
        "cluster": lambda row: cut(row["cluster"] or "-", 14),
        "n": lambda row: str(row["members"]),
        "log2": lambda row: number(row["log2_enrichment"], ".2f"),
        "q": lambda row: number(row["q"], ".1e"),
        "offset": lambda row: number(row["offset"], "+d"),
        "AUROC": lambda row: number(row["auroc"], ".2f"),
        "log2*": lambda row: number(row["held_out_log2_enrichment"], ".2f"),
        "q*": lambda row: number(row["held_out_q"], ".1e"),
        "AUROC*": lambda row: number(row["held_out_auroc"], ".2f"),
        "evidence": lambda row: letters(row["evidence"]),
    }
    if of_feature:
        del columns["feature"]
    if "members" not in rows[0]:
        del columns["n"]
    held_out = any(row["held_out_q"] is not None for row in rows)
    if not held_out:
        for name in ("log2*", "q*", "AUROC*"):
            del columns[name]
    if not any(row["auroc"] is not None for row in rows):
        del columns["AUROC"]
    click.echo()
    cells = [[cell(row) for cell in columns.values()] for row in rows]
    legend = LEGEND
    spelt = [
        [*row[:-1], match["evidence"].replace(";", ",") or "-"]
        for row, match in zip(cells, rows, strict=True)
    ]
    if table_width(list(columns), spelt) <= WIDTH:
        cells, legend = spelt, WORDS_LEGEND
    print_table(list(columns), cells)
    click.echo(legend + ("; * measured on held-out contigs" if held_out else ""))


def _print_concepts(found: Mapping[str, Any]) -> None:
    """Print the features that predict a concept."""
    orientation = "" if found["orientation"] is None else f", {found['orientation']} strand"
    click.echo(f"{found['concept']}{orientation}; {found['dictionary']}: {found['note']}")
    rows = found["features"]
    if not rows and found["total"]:
        click.echo(f"no more: there are {found['total']}")
    elif not rows:
        nearest = "; the nearest, which is no answer:" if found["nearest"] else ""
        limit = "" if found["max_q"] is None else f" at q <= {found['max_q']:g}"
        click.echo(f"none{limit}{nearest}")
    if rows or found["nearest"]:
        _print_concept_rows(rows or found["nearest"])
    _print_more(found, len(rows))
    _print_baselines(found["baselines"])


def _print_concept_rows(rows: Sequence[Mapping[str, Any]], *, of_feature: bool = False) -> None:
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "feature": lambda row: f"{row['feature']}{row['strand']}",
        "concept": lambda row: cut(row["concept"], WIDEST),
        "sense": lambda row: row["orientation"],
        "AUROC": lambda row: number(row["auroc"], ".3f"),
        "AUPRC": lambda row: number(row["auprc"], ".3f"),
        "prevalence": lambda row: number(row["prevalence"], ".2g"),
        "precision": lambda row: number(row["precision"], ".2f"),
        "recall": lambda row: number(row["recall"], ".2f"),
        "F1": lambda row: number(row["f1"], ".2f"),
        "F1*": lambda row: number(row["held_out_f1"], ".2f"),
        "log2": lambda row: number(row["log2_enrichment"], ".2f"),
        "q": lambda row: number(row["q"], ".1e"),
    }
    del columns["feature" if of_feature else "concept"]
    held_out = any(row["held_out_f1"] is not None for row in rows)
    if not held_out:
        del columns["F1*"]
    click.echo()
    print_table(list(columns), [[cell(row) for cell in columns.values()] for row in rows])
    if held_out:
        click.echo("* measured on held-out contigs, with the threshold of the others")


def _print_ranking(found: Mapping[str, Any]) -> None:
    """Print the features that mark a user's intervals."""
    rows = found["features"]
    if not rows:
        click.echo("none")
        return
    first = rows[0]
    click.echo(
        f"{counted(first['intervals'], 'interval')} against {first['background_intervals']:,}; "
        f"{found['tested']:,} feature rows of {found['dictionary']}"
    )
    if found["note"]:
        click.echo(found["note"])
    click.echo()
    print_table(
        ["feature", "AUROC", "AUPRC", "prevalence", "active", "in background", "q", "label"],
        [
            [
                f"{row['feature']}{row['strand']}",
                number(row["auroc"], ".3f"),
                number(row["auprc"], ".3f"),
                number(row["prevalence"], ".2g"),
                number(row["active_share"], ".0%"),
                number(row["background_active_share"], ".0%"),
                number(row["q"], ".1e"),
                cut(row["label"] or "-", WIDEST),
            ]
            for row in rows
        ],
    )
    _print_more(found, len(rows))


def _print_feature(view: Mapping[str, Any]) -> None:
    """Print what is known of a feature."""
    click.echo(f"feature {view['feature']} of {view['dictionary']}; {view['atlas']['genome']}")
    for row in view["rows"]:
        click.echo()
        click.echo(f"{view['feature']}{row['strand']}: {row['label'] or 'no label'}")
        if row["group"] is not None:
            members = [f"{m['feature']}{m['strand']}" for m in row["group"]["members"]]
            shown = " ".join(members[:12]) + (" ..." if len(members) > 12 else "")
            click.echo(f"fires together with {row['group']['size']} feature rows: {shown}")
        if row["matches"]:
            _print_match_rows(row["matches"], of_feature=True)
        if row["concepts"]:
            _print_concept_rows(row["concepts"], of_feature=True)
        strongest = [example for example in row["examples"] if example["range"] == 1][:3]
        weakest = [example for example in row["examples"] if example["range"] == 4][:3]
        for words, examples in (("strongest", strongest), ("weakest", weakest)):
            for example in examples:
                where = f"{example['contig']}:{example['position'] + 1:,}"
                click.echo(f"{words:9}  {example['value']:7.3g}  {where:18} {example['sequence']}")
        near = [
            f"{n['other_feature']}{n['other_strand']} ({n['correlation']:.2f})"
            for n in row["neighbours"][:6]
        ]
        if near:
            click.echo(f"neighbours (correlation over windows): {', '.join(near)}")
    _print_baselines(view["baselines"])


def _print_more(found: Mapping[str, Any], shown: int) -> None:
    """Say how to see the rows that are not shown."""
    if found["next_page_token"] is not None:
        click.echo(
            f"{shown} of {found['total']}; the next with --page-token {found['next_page_token']}"
        )


def _print_baselines(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what the best row of each control reaches for the same motifs or concepts."""
    if not rows:
        return
    click.echo()
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "baseline": lambda row: cut(row["baseline"], 2 * WIDEST),
        "of": lambda row: cut(row["name"], WIDEST),
        "sense": lambda row: row["orientation"] or "-",
        "AUROC": lambda row: number(row["auroc"], ".3f"),
        "AUPRC": lambda row: number(row["auprc"], ".3f"),
        "AUROC*": lambda row: number(row["held_out_auroc"], ".3f"),
        "AUPRC*": lambda row: number(row["held_out_auprc"], ".3f"),
    }
    if not any(row["orientation"] for row in rows):
        del columns["sense"]
    shown = rows[:BASELINES]
    print_table(list(columns), [[cell(row) for cell in columns.values()] for row in shown])
    if len(rows) > BASELINES:
        click.echo(f"and {len(rows) - BASELINES} more baselines; --format json has all")


def letters(evidence: str) -> str:
    """Kinds of evidence as one letter each, a dash for none.

    Examples
    --------
    >>> letters("enriched;predictive"), letters("")
    ('EP', '-')
    """
    return "".join(EVIDENCE_LETTERS[kind] for kind in evidence.split(";") if kind) or "-"


def number(value: float | None, form: str) -> str:
    """A number in a format, a dash for none."""
    return "-" if value is None else format(value, form)


def cut(text: str, width: int) -> str:
    """A text of at most `width` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


_PRINTERS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "tf": _print_matches,
    "concept": _print_concepts,
    "bed": _print_ranking,
    "feature": _print_feature,
}
