"""The stages of the evidence: each reads some files, and writes one record.

    sources bits quality motifs choice validation seeds pombe species causal package tried    test

`choice` reads training chromosomes alone; `validation` measures what was chosen on chrVIII, and
`test` on chrIX and chrXIV. No other stage reads those two, and it does so once for a dictionary:
the reading is a line of a log, and a second one is refused unless it is asked for.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from annotations.errors import FormatError, OptionError, StateError
from workers.evidence.binding import (
    FITTED_ON,
    Ground,
    choose_binding,
    measure_binding,
    motifs_of,
)
from workers.evidence.bits import bits_stage, gate_rows
from workers.evidence.data import (
    BLACKLIST,
    FASTA,
    GFF,
    LOCATIONS,
    POMBE,
    POMBE_GENES,
    TEST,
    VALIDATION,
    Data,
)
from workers.evidence.dictionaries import TRAINED, Compared
from workers.evidence.edits import causal_stage
from workers.evidence.motifs import motifs_stage
from workers.evidence.quality import quality_stage, seeds_stage
from workers.evidence.reading import Shelf
from workers.evidence.records import RESULTS, record_of, write_record
from workers.evidence.species import species_stage
from workers.evidence.structure import choose_structure, measure_structure
from workers.evidence.tried import tried_stage
from workers.training.measures import EVALUABLE_TFS
from workers.training.reading import log_reading, was_read

PURPOSE: Final = "evidence"
"""What the log says of a reading by this command."""
TFS: Final = tuple(EVALUABLE_TFS.split(","))
POMBE_CONTIGS: Final = ("III",)
"""The smallest chromosome of S. pombe, 2.5 Mb."""

_YEAST = (FASTA, GFF, BLACKLIST)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run of the evidence is given."""

    data: Data
    compared: Compared
    out: Path = RESULTS
    """Folder of the records."""
    shelf: Shelf
    results: Path | None = None
    """Folder of results of `saetrack annotate`, one for each dictionary."""
    curve: Path | None = None
    """Learning curve of the bundled model, JSON lines."""
    annotate: Path | None = None
    """Record of `benchmarks/annotate.py` over the whole genome with the bundled dictionary."""
    sweeps: Path = RESULTS.parent
    """Folder of the records of sweeps."""
    training: tuple[str, ...] = ()
    """Chromosomes that choices are made on; all that may be unless named."""
    log: Path
    """Log of readings of test chromosomes."""
    again: bool = False
    """Whether the test chromosomes may be read a second time."""
    say: Callable[[str], None] = lambda text: None

    @property
    def sha256(self) -> str:
        """Of the bundled dictionary's weights."""
        return self.compared.trained.sha256

    def choice(self) -> dict[str, Any]:
        """What the stage `choice` found for the bundled weights."""
        return record_of(self.out, "choice", self.sha256)


class Stage:
    """A stage: its name, the files it needs of the data folder, and what it does."""

    def __init__(
        self, name: str, files: Sequence[str], run: Callable[[Plan], dict[str, Any]], about: str
    ) -> None:
        self.name = name
        self.files = tuple(files)
        self.run = run
        self.about = about


def _sources(plan: Plan) -> dict[str, Any]:
    return {"files": plan.data.table(), **plan.compared.described()}


def _bits(plan: Plan) -> dict[str, Any]:
    encoder = plan.compared.open(TRAINED, whole=True)
    contigs = plan.data.yeast(VALIDATION)
    found = bits_stage(encoder, plan.data, contigs, plan.shelf, plan.say)
    if plan.curve is not None:
        lines = [json.loads(line) for line in plan.curve.read_text().splitlines() if line.strip()]
        found["curve"] = {"file": plan.curve.name, "lines": lines}
    return found


def _quality(plan: Plan) -> dict[str, Any]:
    return quality_stage(plan.compared, plan.data.yeast(VALIDATION), plan.shelf)


def _motifs(plan: Plan) -> dict[str, Any]:
    return motifs_stage(plan.compared, plan.results, motifs_of(TFS))


def _choice(plan: Plan) -> dict[str, Any]:
    contigs = plan.data.training_contigs(plan.training)
    binding = choose_binding(
        plan.compared, contigs, plan.data.locations(), TFS, plan.shelf, plan.say
    )
    bases = [contig.bases for contig in contigs]
    genes = plan.data.yeast_genes(contigs)
    structure = choose_structure(plan.compared, bases, genes, plan.shelf, plan.say)
    return {"binding": binding, "structure": structure}


def _measured(plan: Plan, names: tuple[str, ...], gate: tuple[str, ...]) -> dict[str, Any]:
    """Gate, binding and gene structure on some chromosomes."""
    choice = plan.choice()
    locations = plan.data.locations()
    contigs = plan.data.yeast(names)
    reader = plan.compared.open(TRAINED, whole=True)
    known = gate_rows(reader, plan.data.yeast(gate), locations, TFS, plan.shelf)
    plan.say("the gate")
    binding = measure_binding(plan.compared, contigs, locations, choice["binding"], plan.shelf)
    plan.say("binding")
    structure = measure_structure(
        plan.compared,
        [contig.bases for contig in contigs],
        plan.data.yeast_genes(contigs),
        choice["structure"],
        plan.shelf,
    )
    plan.say("gene structure")
    return {"contigs": list(names), "gate": known, "binding": binding, "structure": structure}


def _validation(plan: Plan) -> dict[str, Any]:
    return _measured(plan, VALIDATION, VALIDATION)


def _test(plan: Plan) -> dict[str, Any]:
    plan.choice()
    card = plan.compared.trained
    if not plan.again and was_read(plan.log, card, PURPOSE):
        raise StateError(
            f"{', '.join(TEST)} were read with {card.id} ({card.sha256[:12]}) before, as "
            f"{plan.log.name} says; give --again to read them once more, which adds a line"
        )
    log_reading(plan.log, card, ",".join(TEST), purpose=PURPOSE)
    return _measured(plan, TEST, (*VALIDATION, *TEST))


def _seeds(plan: Plan) -> dict[str, Any]:
    choice = plan.choice()["binding"]
    contigs = plan.data.yeast(VALIDATION)
    ground = Ground.of(contigs, choice["background"], plan.data.locations())
    return seeds_stage(plan.compared, contigs, ground, choice, plan.shelf)


def _pombe(plan: Plan) -> dict[str, Any]:
    bases, genes = plan.data.pombe(POMBE_CONTIGS)
    choice = plan.choice()["structure"]
    found = measure_structure(plan.compared, bases, genes, choice, plan.shelf)
    return {"contigs": list(POMBE_CONTIGS), "structure": found}


def _species(plan: Plan) -> dict[str, Any]:
    return species_stage(plan.compared, plan.results)


def _causal(plan: Plan) -> dict[str, Any]:
    names = [name for name in FITTED_ON if not plan.training or name in plan.training]
    return causal_stage(plan.compared, plan.data.training_contigs(names or plan.training))


def _package(plan: Plan) -> dict[str, Any]:
    cards, card = plan.compared.cards, plan.compared.trained
    folder = cards.folder(cards.model(card.model_id))
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {
        "files": files,
        "bytes": sum(files.values()),
        "bases_per_second": card.bases_per_second,
        "annotate": None if plan.annotate is None else _annotate_record(plan.annotate, plan.sha256),
    }


def _tried(plan: Plan) -> dict[str, Any]:
    return tried_stage(plan.sweeps, plan.compared.trained)


def _annotate_record(path: Path, sha256: str) -> dict[str, Any]:
    """Minutes of the fastest run of a record of `benchmarks/annotate.py`.

    Raises
    ------
    FormatError
        If it is no such record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        best = min(record["runs"], key=lambda run: run["seconds"])
        return {
            "file": path.name,
            "date": record["date"],
            "command": record["command"],
            "bases": record["sequence"]["bases"],
            "threads": best["threads"],
            "load_average_before": best.get("load_average_before"),
            "note": record.get("note"),
            "minutes": round(best["seconds"] / 60, 2),
            "encoded_per_second": best["bases_per_second"],
            "stages": {name: row["seconds"] for name, row in best["stages"].items()},
            "dictionary_sha256": sha256,
        }
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} is no record of benchmarks/annotate.py: {error!r}") from error


STAGES: Final = {
    stage.name: stage
    for stage in (
        Stage("sources", (), _sources, "files with sha256, sources and terms"),
        Stage("bits", _YEAST, _bits, "bits per base beside Markov models"),
        Stage("quality", _YEAST, _quality, "fidelity and density of the dictionary"),
        Stage("motifs", (), _motifs, "features with a confirmed motif"),
        Stage("choice", (*_YEAST, LOCATIONS), _choice, "features chosen on training chromosomes"),
        Stage("validation", (*_YEAST, LOCATIONS), _validation, "what was chosen, on chrVIII"),
        Stage("seeds", (*_YEAST, LOCATIONS), _seeds, "features that recur over seeds"),
        Stage("pombe", (POMBE, POMBE_GENES), _pombe, "gene structure of S. pombe"),
        Stage("species", (), _species, "matches and gene concepts that hold on S. pombe"),
        Stage("causal", _YEAST, _causal, "edits of the ten best matches"),
        Stage("package", (), _package, "size and speed of what is bundled"),
        Stage("tried", (), _tried, "models and dictionaries that were tried"),
        Stage("test", (*_YEAST, LOCATIONS), _test, "what was chosen, on chrIX and chrXIV, once"),
    )
}
"""Every stage, in the order in which they run."""

USUAL: Final = tuple(name for name in STAGES if name != "test")
"""Stages of a run that names none."""


def run_stages(plan: Plan, names: Sequence[str]) -> None:
    """Run some stages in their order, each record written as soon as it is done.

    Raises
    ------
    OptionError
        If a stage is not known.
    UnknownNameError
        If the data folder lacks a file that one of them needs; before anything is computed.
    """
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        raise OptionError(f"no stage is called {', '.join(unknown)}; there are {', '.join(STAGES)}")
    chosen = [stage for name, stage in STAGES.items() if name in names]
    needed = [path for stage in chosen for path in stage.files]
    if {"sources", "bits"} & {*names}:
        needed += plan.data.training_files()
    plan.data.require(needed)
    for stage in chosen:
        begin, cpu = time.monotonic(), time.process_time()
        plan.say(f"stage {stage.name}: {stage.about}")
        numbers = stage.run(plan)
        seconds = time.monotonic() - begin
        subset = f" --training {','.join(plan.training)}" if plan.training else ""
        write_record(
            plan.out,
            stage.name,
            numbers,
            command=f"saetrack train evidence --data DATA --models MODELS --stages {stage.name}"
            + subset,
            weights=plan.compared.described(),
            seconds=seconds,
            cpu_seconds=time.process_time() - cpu,
        )
        plan.say(f"stage {stage.name} took {seconds:.0f} s")
