"""Runs: submit, look, cancel, delete."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any, BinaryIO

from flask import Response, jsonify, request

from annotations.allele_inputs import AlleleRequest
from annotations.cards import Cards
from annotations.errors import FormatError, OptionError, UnknownNameError
from annotations.expectation_file import EXPECTATION_FILE
from annotations.genome_parts import PartRequest
from annotations.options import RunOptions, names_of
from app import runs, submissions
from app.api import run_cache, services
from app.api.uploads import FORM_FILES, GENOME_FIELD, RAW_TYPES, Upload, received
from app.auth import owner
from app.database import Reader, glance, reading, transaction
from app.estimates import estimate
from app.expectation import EXPECTATION_FILES
from app.models import TERMINAL_STATES, Run
from app.openapi import RawModel, blueprint, responses
from app.retention import expires_at
from app.run_facts import ComputationFacts, RunFacts, contig_names, facts_of, run_facts
from app.schemas import ContigList, NoQuery, PageQuery, RunList, RunPath, RunView, SubmitQuery

RETRY_SECONDS = 2
"""How long a client should wait before it asks for a run's state again."""

TRUTHS = {"true": True, "false": False}
"""Words for yes and no in a field."""

OPTION_READERS: dict[type, Callable[[str], object]] = {
    int: int,
    float: float,
    bool: lambda text: TRUTHS.get(text, text),
}
"""How the text of a field becomes the value of an option, by the type of its default."""

SHOWN_NAMES = ("title", "filename")
"""Fields of a submission that are kept to be shown."""

COMPARED_NAMES = ("alleles", "flank", "controls")
"""Fields of a submission that say what is compared."""

PART_NAMES = (GENOME_FIELD, "region", "gene")
"""Fields of a submission that say which registered genome it reads, and where."""

RESULTS = {
    "features": "features",
    "features_tsv": "features.tsv",
    "features_parquet": "features.parquet",
    "hub": "hub.txt",
    "tracks": "links.json",
    "share_links": "share-links",
    "peaks_bb": "peaks.bb",
    "peaks_bed": "peaks.bed",
    "peaks_tsv": "peaks.tsv",
    "peaks_parquet": "peaks.parquet",
    "matches": "matches",
    "matches_tsv": "matches.tsv",
    "matches_parquet": "matches.parquet",
    "concepts_tsv": "concepts.tsv",
    "concepts_parquet": "concepts.parquet",
    "provenance": "provenance",
}
"""Addresses of a complete run's results, below its own."""

api = blueprint("runs", "Submissions and how far they are.")


class SequenceBody(RawModel):
    """Sequences as they are."""

    mimetypes: list[str] = list(RAW_TYPES)  # noqa: RUF012 - the base class has it so


@api.post("/v1/runs", responses=responses({200: RunView, 202: RunView}, 411, 413, 415, 422))
def submit(query: SubmitQuery, raw: SequenceBody) -> tuple[Response, int, dict[str, str]]:
    """Submit sequences: FASTA or GenBank, plain or gzip, as a form or as the body itself.

    In place of a file, `genome` names a registered genome (`/v1/genomes`), and one of the file
    `regions` (BED), `region` (loci) and `gene` says where in it; `flank` widens each region.
    Results are in the genome's coordinates, and there are none outside the regions.

    200 if an equal submission has been computed already, else 202. Options are query
    parameters, fields of the form, or one JSON object in the field `options`.
    """
    here = services()
    asked = {name: value for name, value in query.model_dump().items() if value is not None}
    with received(request, here.settings) as upload:
        cards = here.cards()
        shown, options, held_out = read_options(asked, upload.fields, cards)
        try:
            created = submissions.create_run(
                here.engine,
                here.storage,
                cards,
                sequences=sequences_of(upload, shown),
                genes=upload.genes,
                filename=shown.get("filename", upload.filename or upload.regions_filename),
                genes_filename=upload.genes_filename,
                motifs=upload.motifs,
                motifs_filename=upload.motifs_filename,
                held_out=held_out,
                title=shown.get("title"),
                options=options,
                owner=owner(),
                settings=here.settings,
                compare=compared_alleles(shown, upload.variants),
                part=part_of(shown, upload.regions, variants=upload.variants is not None),
            )
        except UnknownNameError as error:
            # what is not found is not the address but an option
            raise OptionError(str(error)) from error
    with glance(here.engine) as connection:
        view = run_view(connection, run_facts(connection, created.run_id, owner()))
    status = HTTPStatus.OK if created.complete else HTTPStatus.ACCEPTED
    headers = {"Location": f"/v1/runs/{created.run_id}"}
    if not created.complete:
        headers["Retry-After"] = str(RETRY_SECONDS)
    return jsonify(view), status, headers


def read_options(
    query: Mapping[str, str], form: Mapping[str, str], cards: Cards
) -> tuple[dict[str, str], RunOptions, list[str]]:
    """What the parameters of a submission say: what is shown, the options, contigs to hold out.

    Parameters
    ----------
    query, form : mapping of str to str
        Query parameters, and fields of the form.
    cards : Cards
        Where the dictionary is optional because there is only one.

    Returns
    -------
    shown : dict
        `title`, `filename` and the names of `COMPARED_NAMES` and `PART_NAMES`, where given.
    options : RunOptions
        The checked options; contigs are held out by name, so not yet among them.
    held_out : list of str
        Names of contigs.

    Raises
    ------
    OptionError
        If a name is unknown or given twice, or a value is not allowed.
    """
    parsed: object = {}
    if "options" in form:
        try:
            parsed = json.loads(form["options"])
        except ValueError:
            raise OptionError(
                'the field options must be a JSON object, such as {"taxon": "fungi"}'
            ) from None
    if not isinstance(parsed, dict):
        raise OptionError(f"the field options must be a JSON object, got {type(parsed).__name__}")
    values: dict[str, object] = dict(parsed)
    shown: dict[str, str] = {}
    plain = [*query.items(), *((name, text) for name, text in form.items() if name != "options")]
    for name, text in plain:
        if name in values or name in shown:
            raise OptionError(f"{name!r} is given twice")
        if name in (*SHOWN_NAMES, *COMPARED_NAMES, *PART_NAMES):
            shown[name] = text
        else:
            values[name] = _option_value(name, text)
    _refuse_unknown(values)
    held_out = _contig_names(values.pop("held_out", []))
    if "dictionary" not in values:
        # an atlas that was imported alone brings a dictionary that cannot be run
        here = [card.id for card in cards.dictionaries.values() if cards.has_weights(card)]
        choices = here or list(cards.dictionaries)
        if len(choices) != 1:
            known = ", ".join(choices) or "none"
            raise OptionError(
                f"the option dictionary must say which one to run; installed are: {known}"
            )
        values["dictionary"] = choices[0]
    return shown, RunOptions.from_json(values), held_out


def _refuse_unknown(values: Mapping[str, object]) -> None:
    """Refuse a field that means nothing, and tell all that mean something."""
    options = [field.name for field in fields(RunOptions)]
    known = [*options, *SHOWN_NAMES, *COMPARED_NAMES, *PART_NAMES]
    for name in values:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise OptionError(
                f"there is no option {name[:40]!r}; {hint}the fields are {', '.join(known)}; "
                f"the files are {', '.join(FORM_FILES)}"
            )


def compared_alleles(shown: Mapping[str, str], variants: BinaryIO | None) -> AlleleRequest:
    """What a submission compares.

    Parameters
    ----------
    shown : mapping
        As from `read_options`.
    variants : binary file, optional
        VCF.

    Raises
    ------
    OptionError
        If `flank` or `controls` is no number.
    """
    flank = None if variants is None and GENOME_FIELD in shown else flank_of(shown)
    controls = whole_number(shown, "controls") or 0
    return AlleleRequest(variants, shown.get("alleles"), flank, controls)


def flank_of(shown: Mapping[str, str]) -> int | None:
    """Bases on each side of a variant or region, where they are given.

    Raises
    ------
    OptionError
        If they are no number.
    """
    return whole_number(shown, "flank")


def whole_number(shown: Mapping[str, str], name: str) -> int | None:
    """The number in a field of a submission, where it is given.

    Raises
    ------
    OptionError
        If it is none.
    """
    text = shown.get(name)
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise OptionError(f"{name} must be a whole number, got {text[:20]!r}")
    return None if text is None else int(text)


def part_of(
    shown: Mapping[str, str], regions: BinaryIO | None, *, variants: bool
) -> PartRequest | None:
    """The registered genome that a submission names, and the regions of it.

    Parameters
    ----------
    shown : mapping
        As from `read_options`.
    regions : binary file, optional
        BED.
    variants : bool
        Whether there is a VCF file, so that `flank` is of its variants.

    Raises
    ------
    OptionError
        If regions are given without a genome, or `flank` is no number.
    """
    given = [name for name in PART_NAMES if name != GENOME_FIELD and name in shown]
    if GENOME_FIELD not in shown:
        if regions is not None or given:
            named = " and ".join([*given, *(["regions"] if regions is not None else [])])
            raise OptionError(
                f"{named} name parts of a registered genome: say which with genome; GET "
                "/v1/genomes lists them"
            )
        return None
    return PartRequest(
        genome=shown[GENOME_FIELD],
        regions=regions,
        region=shown.get("region"),
        gene=shown.get("gene"),
        flank=0 if variants else flank_of(shown) or 0,
    )


def sequences_of(upload: Upload, shown: Mapping[str, str]) -> BinaryIO | None:
    """The sequences that were sent; none where a genome is named."""
    if upload.sequences is None and GENOME_FIELD not in shown:
        raise FormatError("the sequence file is empty; send FASTA or GenBank")
    return upload.sequences


def _contig_names(value: object) -> list[str]:
    """Names of contigs: a list in JSON, separated by commas in text."""
    if isinstance(value, str):
        return names_of(value)
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise OptionError(
            "held_out must name contigs: a list of names, or text with commas between them"
        )
    return value


def _option_value(name: str, text: str) -> object:
    """The value of an option that was sent as text; an unknown name is refused later."""
    kinds = {field.name: type(field.default) for field in fields(RunOptions)}
    reader = OPTION_READERS.get(kinds.get(name, str))
    if reader is None:
        return text
    try:
        return reader(text)
    except ValueError:
        return text


@api.get("/v1/runs", responses=responses({200: RunList}))
def list_runs(query: PageQuery) -> dict[str, Any]:
    """Your runs, the newest first."""
    with reading(services().engine) as session:
        page = runs.list_runs(session, owner(), limit=query.limit, page_token=query.page_token)
        views = [run_view(session, run) for run in page.runs]
    return {"runs": views, "next_page_token": page.next_page_token}


@api.get("/v1/runs/<run_id>", responses=responses({200: RunView}, 404))
def get_run(path: RunPath, query: NoQuery) -> Response:
    """A run's state and progress; `Retry-After` says when to ask again."""
    with glance(services().engine) as connection:
        view = run_view(connection, run_facts(connection, path.run_id, owner()))
    answer = jsonify(view)
    if view["state"] not in TERMINAL_STATES:
        answer.headers["Retry-After"] = str(RETRY_SECONDS)
    return answer


@api.get("/v1/runs/<run_id>/contigs", responses=responses({200: ContigList}, 404))
def list_contigs(path: RunPath, query: NoQuery) -> dict[str, Any]:
    """The sequences of a run: name, length and refget digest."""
    with reading(services().engine) as session:
        run = runs.get_run(session, path.run_id, owner())
        columns = (
            run.contig_names,
            run.computation.lengths,
            run.computation.parameters["sequences"],
        )
    return {
        "contigs": [
            {"name": name, "length": length, "refget": digest}
            for name, length, digest in zip(*columns, strict=True)
        ]
    }


@api.post("/v1/runs/<run_id>/cancel", responses=responses({202: RunView}, 404, 409))
def cancel_run(path: RunPath, query: NoQuery) -> tuple[Response, int]:
    """Cancel a run; again is no error."""
    with transaction(services().engine) as session:
        runs.cancel_run(session, runs.get_run(session, path.run_id, owner()))
    with glance(services().engine) as connection:
        view = run_view(connection, run_facts(connection, path.run_id, owner()))
    return jsonify(view), HTTPStatus.ACCEPTED


@api.delete("/v1/runs/<run_id>", responses=responses({204: None}, 404))
def delete_run(path: RunPath, query: NoQuery) -> tuple[str, int]:
    """Delete a run and, if no other run has the same content, its results."""
    here = services()
    runs.delete_run(here.engine, here.storage, path.run_id, owner())
    shutil.rmtree(run_cache(here.settings, path.run_id), ignore_errors=True)
    return "", HTTPStatus.NO_CONTENT


def run_view(reader: Reader, seen: Run | RunFacts) -> dict[str, Any]:
    """A run as `RunView` describes it."""
    run = seen if isinstance(seen, RunFacts) else facts_of(seen)
    state = runs.run_state(run)
    progress = runs.run_progress(reader, run)
    computation = run.computation
    address = f"/v1/runs/{run.id}"
    links = {"self": address, "contigs": f"{address}/contigs"}
    if state == "COMPLETE":
        links |= {name: f"{address}/{ending}" for name, ending in RESULTS.items()}
        if run.compares:
            links |= {"alleles": f"{address}/alleles"}
        if run.options.get("expectation"):
            names = (EXPECTATION_FILE, *EXPECTATION_FILES)
            links |= {name.replace(".", "_"): f"{address}/{name}" for name in names}
    held_out = run.options.get("held_out", [])
    if held_out:
        contigs = contig_names(reader, run.id)
        held_out = [contigs[index] for index in held_out]
    failed = state in {"EXECUTOR_ERROR", "SYSTEM_ERROR"}
    error = {"code": computation.error_code, "message": computation.error_message}
    expected = None
    if state not in TERMINAL_STATES:
        here = services()
        expected = estimate(reader, computation, here.settings, progress=progress, paces=here.paces)
    return {
        "id": run.id,
        "title": run.title,
        "filename": run.filename,
        "state": state,
        "progress": progress.fraction,
        "bases": progress.bases,
        "bases_done": progress.bases_done,
        "shards": progress.shards,
        "shards_done": progress.shards_done,
        "created_at": iso_time(run.created_at),
        "started_at": iso_time(computation.started_at),
        "finished_at": iso_time(run.canceled_at or computation.finished_at),
        "expires_at": iso_time(expires_at(run, services().settings)),
        "dictionary": computation.dictionary_id,
        "options": {k: v for k, v in run.options.items() if k != "regions"}
        | {"held_out": held_out, "expectation": bool(run.options.get("expectation"))},
        "regions": run.options.get("regions"),
        "contigs": run.contigs,
        "annotation_skipped": run.annotation_skipped,
        "error": error if failed else None,
        "estimate": None if expected is None else expected._asdict(),
        "notice": None if expected is None or expected.workers else no_worker(computation),
        "computation": computation.digest,
        "links": links,
    }


def no_worker(computation: ComputationFacts) -> str:
    """What is said of a run that nobody works on."""
    return (
        f"no worker that has the model of {computation.dictionary_id} is alive now; the run waits "
        "until one is, and nothing is lost"
    )


def iso_time(seconds: float | None) -> str | None:
    """A time in ISO 8601, UTC, to the millisecond."""
    if seconds is None:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
