"""The last steps of `saetrack annotate`: from shards to a folder of results, moved there whole.

shards --merge--> tables --export, write_folder--> tracks, pages --move_into--> out
"""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from annotations.activation_parts import INDEX_FILE, ONE_FILE
from annotations.alleles import ALLELES_FILE
from annotations.cards import DictionaryCard, file_sha256
from annotations.errors import FormatError, OptionError, StorageError
from annotations.expectation_file import EXPECTATION_FILE, SUBSTITUTIONS_FILE
from annotations.genes import skipped_entries
from annotations.memory import return_memory
from annotations.options import RunOptions
from annotations.peaks import RADIUS
from annotations.provenance import peak_memory_bytes, read_provenance
from annotations.ranking import active_features
from annotations.run_motifs import STORED, read_motif_file
from annotations.types import Contig, Span
from app.catalog import Result, folder_files
from app.expectation import EXPECTATION_FILES
from app.feature_rows import FeatureRow
from app.folder_page import PAGE_FOLDER
from app.static_folder import ALLELE_TRACKS, FEATURES_FOLDER, GENE_FILES, write_folder
from workers.compared import EFFECTS_TSV, SUBSTITUTIONS_TSV, write_compared
from workers.export import export
from workers.job import Job
from workers.merge import EFFECTS_FILE, RESULT_FILES, MergeResult, merge

EARLIER_SIGNAL_FOLDER = "signal"
"""Where bigWig files lay before there was a folder for each feature."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is (0: not known)."""


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
    regions: Mapping[str, Any] | None
    """Of a run over regions, `annotations.genome_parts.GenomePart.record`."""
    nothing: str | None
    """Why no feature is active or no peak is there, as a sentence, where that is so."""


def why_nothing(merged: MergeResult, pieces: Sequence[Contig | Span], fasta: Path) -> str | None:
    """Why a run found nothing, as a sentence; None where it found peaks.

    Parameters
    ----------
    merged : MergeResult
        What was found.
    pieces : sequence of Contig or Span
        What was read: whole records, or parts of them.
    fasta : Path
        The sequences; read only where nothing was found.
    """
    if merged.peaks:
        return None
    if not has_bases(fasta):
        return "nothing is there to find: every base is N, and a feature needs A, C, G or T"
    if max(piece.length for piece in pieces) <= RADIUS:
        return (
            f"no peak is there because nothing longer than {RADIUS} bases was read: none is "
            f"reported in the first {RADIUS} bases of a record; give longer sequences"
        )
    if merged.features:
        return None
    return "no feature is above its gate anywhere in these sequences"


def has_bases(fasta: Path) -> bool:
    """Whether a FASTA file holds any base that is A, C, G or T."""
    with fasta.open("rb") as file:
        return any(
            not line.startswith(b">") and line.upper().translate(None, b"ACGT") != line.upper()
            for line in file
        )


def finish(
    job: Job,
    shards: Sequence[Path],
    fasta: Path,
    out: Path,
    scratch: Path,
    *,
    made_by: Mapping[str, object],
    seconds: Mapping[str, float],
    on_progress: Progress = lambda what, done, total: None,
) -> Summary:
    """Join the shards of a job and put what comes of them into a folder.

    Parameters
    ----------
    job : Job
    shards : sequence of Path
        All of its shards, in order.
    fasta : Path
        Its normalised sequences.
    out : Path
        Where the files go once all are written.
    scratch : Path
        Folder of `beside`.
    made_by : mapping
        How the shards were made, for provenance.
    seconds : mapping
        Wall time of what was done before.
    on_progress : callable
        Told how the work goes on.

    Raises
    ------
    SaetrackError
        If something does not fit; `out` is then as it was.
    """
    started = time.monotonic()
    folder = scratch / "result"
    folder.mkdir()
    merged = merge(
        shards,
        fasta,
        job.card,
        job.options,
        folder,
        genes=job.genes,
        motifs=job.motifs,
        atlas=job.atlas,
        spans=job.spans,
        alleles=job.alleles,
        made_by={
            **made_by,
            "seconds": dict(seconds),
            **job.inputs,
            "annotation_skipped": None if job.genes is None else skipped_entries(job.genes),
        },
        on_stage=lambda stage: on_progress(f"merging: {stage}", 0, 0),
    )
    if job.motifs is not None:
        # questions to the result know these motifs, too
        own = read_motif_file(job.motifs)
        (folder / own.stored_as).write_bytes(own.content)
    changed = [] if job.alleles is None else write_compared(folder, job.alleles, job.top)
    merged_at = time.monotonic()
    on_progress("writing tracks", 0, 0)
    features = active_features(pq.read_table(folder / "features.parquet"))
    export(folder, job.contigs)
    return_memory()
    if job.browsers:
        best = features.slice(0, job.top).select(["feature", "strand"]).to_pylist()
        rows = [FeatureRow(row["feature"], "+" if row["strand"] > 0 else "-") for row in best]
        parts = scratch / "genes.parquet"
        if job.genes is not None:
            pq.write_table(job.genes, parts)
        result_names = (*RESULT_FILES, EFFECTS_FILE, EXPECTATION_FILE, SUBSTITUTIONS_FILE)
        result = Result(
            files={
                name: path
                for name, path in folder_files(folder, result_names).items()
                if path.is_file()
            },
            names=[contig.name for contig in job.contigs],
            lengths=[contig.length for contig in job.contigs],
            options=job.options,
            n_features=job.card.d_sae,
            atlas=job.atlas,
            dictionary_sha256=job.card.sha256,
            motifs=job.motifs,
            sequences=fasta,
            genes=None if job.genes is None else parts,
            alleles=None if job.alleles is None else folder / ALLELES_FILE,
            spans=job.spans,
        )
        rows = list(dict.fromkeys([*job.named, *(changed or rows)]))
        write_folder(result, folder, rows, title=job.title)
    files = move_into(folder, out)
    return Summary(
        out=out,
        contigs=job.contigs,
        dictionary=job.card,
        options=job.options,
        merged=merged,
        features=features,
        files=files,
        seconds={
            **seconds,
            "merge": round(merged_at - started, 3),
            "tracks": round(time.monotonic() - merged_at, 3),
        },
        peak_memory_bytes=peak_memory_bytes(),
        regions=job.regions,
        nothing=why_nothing(merged, job.spans or job.contigs, fasta),
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
    if out.is_dir() and not os.access(out, os.W_OK | os.X_OK):
        raise OptionError(f"--out {out} cannot be written to; name another folder")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise OptionError(
            f"--out {out} is not empty; name another folder, or give --force to replace the "
            "files of an earlier result in it"
        )


@contextmanager
def beside(out: Path) -> Iterator[Path]:
    """A temporary folder on the disk of `out`, removed at the end."""
    parent = out.absolute().parent
    if not parent.is_dir():
        raise OptionError(f"--out {out}: there is no folder {parent} to make it in")
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=parent))
    except OSError as error:
        raise StorageError(
            f"--out {out}: nothing can be written in {parent} ({error.strerror}); name a folder "
            "elsewhere"
        ) from error
    try:
        yield work
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise StorageError(
            f"--out {out}: the disk is full ({error.strerror}); make room, or name a folder on "
            "another disk"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def move_into(source: Path, out: Path) -> list[str]:
    """Move the files of a finished result to their folder; returns their names, sorted.

    What an earlier result there has besides is deleted: it may be of another sequence.
    """
    names = sorted(
        path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()
    )
    if not names:
        raise FormatError("the result has no files")
    for earlier in earlier_files(out):
        earlier.unlink()
        if earlier.parent != out and not any(earlier.parent.iterdir()):
            earlier.parent.rmdir()
    for name in names:
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (source / name).replace(target)
    return names


def earlier_files(out: Path) -> list[Path]:
    """Files of an earlier result that not every result has; a user's own files are not among them.

    Motifs are told by the digest that the earlier provenance holds.
    """
    found = list((out / EARLIER_SIGNAL_FOLDER).glob("f[0-9]*.bw"))
    index = out / INDEX_FILE
    if index.is_file():
        found += [index, *index.parent.glob("[0-9]*-[0-9]*.parquet")]
    for name in ("signal.bw", "peaks.bb", *ALLELE_TRACKS):
        found += (out / FEATURES_FOLDER).glob(f"[0-9]*/{name}")
    provenance = out / "provenance.json"
    if not provenance.is_file():
        return found
    of_alleles = (ALLELES_FILE, EFFECTS_FILE, EFFECTS_TSV, SUBSTITUTIONS_FILE, SUBSTITUTIONS_TSV)
    of_model = (EXPECTATION_FILE, *EXPECTATION_FILES)
    named = (ONE_FILE, *GENE_FILES, *of_alleles, *of_model, f"{PAGE_FOLDER}/data.js")
    optional = [out / name for name in named]
    found += [path for path in optional if path.is_file()]
    try:
        record = read_provenance(provenance)
    except StorageError:
        return found  # cut or altered: it does not say what is its own
    wanted = cast(Mapping[str, Any], record.get("motif_test") or {}).get("user_sha256")
    return found + [path for path in out.glob(f"{STORED}.*") if file_sha256(path) == wanted]
