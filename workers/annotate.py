"""`saetrack annotate` without its command line: a sequence file in, a result folder out.

The same `run_shard` and `merge` that the service runs, one shard after the other. The
result is made in a folder beside `out` and moved there when it is whole.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from annotations.atlas import load_atlas
from annotations.cards import Cards, DictionaryCard, file_sha256, find_cards
from annotations.errors import FormatError, LimitError, OptionError, UnknownNameError
from annotations.genes import read_genes, skipped_entries
from annotations.options import RunOptions, Strands
from annotations.provenance import peak_memory_bytes
from annotations.ranking import active_features
from annotations.sequences import contigs, read_sequences, write_fasta
from annotations.tracks import MAX_TRACK_CONTIGS, write_genes_bed
from annotations.types import Contig
from annotations.windows import plan_shards
from workers.commands.places import settings_from_environment
from workers.device import choose_device, describe_device
from workers.export import SIGNAL_FOLDER, export
from workers.merge import MergeResult, merge
from workers.pipeline import run_shard
from workers.registry import open_dictionary

SHARD_BASES = 200_000
"""Bases of a shard: bounds the activations that are in memory at once."""

NO_MOTIFS = "none"
"""What asks for no motifs."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is (0: not known)."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asked for."""

    sequences: Path
    out: Path
    genes: Path | None = None
    motifs: str | None = None
    """Taxonomic group, `NO_MOTIFS`, or None for that of the dictionary's atlas."""
    strands: str = "both"
    model: str | None = None
    release: str | None = None
    signal: tuple[int, ...] = ()
    top: int = 10
    """Features whose signal is written besides; none where there are more contigs than
    `annotations.tracks.MAX_TRACK_CONTIGS`."""
    device: str = "auto"
    threads: int | None = None
    batch: int = 8
    force: bool = False
    models: tuple[Path, ...] | None = None
    """Models folders to look into instead of those of the settings."""


class Summary(NamedTuple):
    """What came out."""

    out: Path
    contigs: list[Contig]
    dictionary: DictionaryCard
    options: RunOptions
    merged: MergeResult
    features: pa.Table
    """All active feature rows, the most telling first."""
    files: list[str]
    """Names in `out`, sorted."""
    seconds: dict[str, float]
    """Wall time of the parts of the work."""
    peak_memory_bytes: int


def annotate_file(
    request: Request, *, on_progress: Progress = lambda what, done, total: None
) -> Summary:
    """Annotate a sequence file.

    Parameters
    ----------
    request : Request
        What to do.
    on_progress : callable
        Told how the work goes on.

    Returns
    -------
    summary : Summary
        What came out; `request.out` then holds the files.

    Raises
    ------
    SaetrackError
        If an input, an option or the installation is wrong; `request.out` is then as it was.
    """
    check_out(request.out, force=request.force)
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    started = time.monotonic()
    on_progress("reading", 0, 0)
    for path in (request.sequences, request.genes):
        if path is not None and not path.is_file():
            raise UnknownNameError(f"there is no file {path}")
    settings = settings_from_environment(device=request.device, models_dirs=request.models)
    roots = settings.model_roots
    cards = find_cards(roots)
    card = choose_dictionary(cards, request.model)
    options = choose_options(request, card, cards.atlas(card))
    submission = read_sequences(request.sequences)
    found = contigs(submission.records)
    genes = submission.genes
    if request.genes is not None:
        genes = read_genes(request.genes, found, filename=request.genes.name)
    for feature in request.signal:
        if feature >= card.d_sae:
            raise UnknownNameError(
                f"dictionary {card.id!r} has features 0 to {card.d_sae - 1}, got --signal {feature}"
            )
    tracks = len(found) <= MAX_TRACK_CONTIGS
    if request.signal and not tracks:
        raise LimitError(
            f"--signal writes bigWig files of at most {MAX_TRACK_CONTIGS} contigs, the sequences "
            f"have {len(found)}; annotate fewer of them, or read activations.parquet instead"
        )
    device = choose_device(request.device)
    on_progress("opening the model", 0, 0)
    encoder = open_dictionary(card, roots, device)
    read_at = time.monotonic()
    with _beside(request.out) as work:
        fasta = work / "sequences.fa"
        write_fasta(submission.records, fasta, names=[str(i) for i in range(len(found))])
        lengths = [contig.length for contig in found]
        del submission  # the sequences are in the file now
        shards: list[Path] = []
        before, total = 0, sum(lengths)
        for spans in plan_shards(lengths, stride=card.stride, target=SHARD_BASES):
            shards.append(work / f"shard{len(shards)}")
            shards[-1].mkdir()
            result = run_shard(
                fasta,
                spans,
                encoder,
                shards[-1],
                strands=options.strands,
                batch=request.batch,
                peaks_per_feature=options.peaks_per_feature,
                on_progress=lambda done, before=before: on_progress(  # type: ignore[misc]
                    "encoding", before + done, total
                ),
            )
            before += result.bases
        encoded_at = time.monotonic()
        seconds = {
            "read": round(read_at - started, 3),
            "encode": round(encoded_at - read_at, 3),
        }
        made_by = {
            "command": "saetrack annotate",
            "device": describe_device(device),
            "threads": torch.get_num_threads(),
            "batch": request.batch,
            "seconds": seconds,
            "bases_per_second": round(total / max(encoded_at - read_at, 1e-9), 1),
            "sequences": _input_record(request.sequences),
            "genes": None if request.genes is None else _input_record(request.genes),
            "annotation_skipped": None if genes is None else skipped_entries(genes),
        }
        result_folder = work / "result"
        result_folder.mkdir()
        merged = merge(
            shards,
            fasta,
            card,
            options,
            result_folder,
            genes=genes,
            atlas=cards.atlas(card),
            made_by=made_by,
            on_stage=lambda stage: on_progress(f"merging: {stage}", 0, 0),
        )
        merged_at = time.monotonic()
        on_progress("writing tracks", 0, 0)
        features = active_features(pq.read_table(result_folder / "features.parquet"))
        top = request.top if tracks else 0
        chosen = list(dict.fromkeys(features.column("feature").to_pylist()))[:top]
        chosen = list(dict.fromkeys([*request.signal, *chosen]))
        export(result_folder, found, features=chosen, both=options.strands == "both")
        if genes is not None:
            write_genes_bed(genes, [contig.name for contig in found], result_folder / "genes.bed")
        files = _move_into(result_folder, request.out)
    seconds |= {
        "merge": round(merged_at - encoded_at, 3),
        "tracks": round(time.monotonic() - merged_at, 3),
    }
    return Summary(
        out=request.out,
        contigs=found,
        dictionary=card,
        options=options,
        merged=merged,
        features=features,
        files=files,
        seconds=seconds,
        peak_memory_bytes=peak_memory_bytes(),
    )


def check_out(out: Path, *, force: bool) -> None:
    """Refuse a result folder that is a file, or holds files and may not.

    Raises
    ------
    OptionError
        If `out` cannot take the results.
    """
    if out.exists() and not out.is_dir():
        raise OptionError(f"--out {out} is a file; name a folder")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise OptionError(
            f"--out {out} is not empty; name another folder, or give --force to replace the "
            "files of an earlier result in it"
        )


def choose_dictionary(cards: Cards, name: str | None) -> DictionaryCard:
    """The dictionary of a name, or the one to take when none is named.

    Raises
    ------
    UnknownNameError
        If there is no such dictionary, or none is named and it is not clear which to take.
    """
    if name is not None:
        return cards.dictionary(name)
    trained = [card for card in cards.dictionaries.values() if not card.random_weights]
    choices = trained or list(cards.dictionaries.values())
    if len(choices) == 1:
        return choices[0]
    if not choices:
        raise UnknownNameError(
            "no model is installed: put a models folder into SAETRACK_MODELS_DIRS, or train one "
            "with `saetrack train`"
        )
    listed = ", ".join(card.id for card in choices)
    raise UnknownNameError(f"several dictionaries are installed; name one with --model ({listed})")


def choose_options(request: Request, card: DictionaryCard, atlas: Path | None) -> RunOptions:
    """The checked options of a request.

    Raises
    ------
    OptionError
        If one of them is not allowed.
    """
    taxon = request.motifs
    if taxon is None and atlas is not None:
        taxon = load_atlas(atlas, card.sha256).taxon
    options = RunOptions(
        dictionary=card.id,
        strands=cast(Strands, request.strands),
        taxon=None if taxon == NO_MOTIFS else taxon,
    )
    return options if request.release is None else replace(options, release=request.release)


def _input_record(path: Path) -> dict[str, object]:
    """What provenance says of an input file."""
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A temporary folder on the disk of `out`, removed at the end."""
    parent = out.absolute().parent
    if not parent.is_dir():
        raise OptionError(f"--out {out}: there is no folder {parent} to make it in")
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _move_into(source: Path, out: Path) -> list[str]:
    """Move the files of a finished result to their folder; returns their names, sorted.

    Signals of an earlier result there are deleted: they may be of another sequence.
    """
    names = sorted(
        path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()
    )
    if not names:
        raise FormatError("the result has no files")
    for earlier in (out / SIGNAL_FOLDER).glob("f[0-9]*.bw"):
        earlier.unlink()
    for name in names:
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (source / name).replace(target)
    return names
