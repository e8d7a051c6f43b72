"""Submissions: read whole, stored, and computed unless equal content was.

Equal content is computed once: a run is a row that points to a computation, and
the computation is found by the digest of everything that says what is computed.
Names of contigs, titles and owners are not part of it.
"""

import hashlib
import json
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache, partial
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from annotations.allele_inputs import NOTHING_TO_COMPARE, AlleleRequest
from annotations.alleles import ALLELES_FILE, Alleles, alleles_json, alleles_sha256
from annotations.atlas import usable_atlas
from annotations.cards import CODER_CONFIG, Cards, DictionaryCard, file_sha256
from annotations.errors import OptionError
from annotations.expectation import reach_of
from annotations.genes import skipped_entries
from annotations.genome_parts import PartRequest
from annotations.options import RESULT_SCHEMA, SHARD_FORMAT, RunOptions, held_out_contigs
from annotations.run_motifs import MotifFile, read_motif_file
from annotations.types import Contig, Span
from app.broker import model_queue
from app.config import Settings
from app.database import database_time, glance, take_turns, transaction
from app.kept_files import Losses, files_of_row, find_losses, is_redone, restart
from app.models import TERMINAL_STATES, Computation, Run
from app.rates import check_quota
from app.run_content import Content, Sent, content_of
from app.shard_plan import insert_work, plan_of, read_for
from app.storage import Manifest, Storage, manifest_to_json

MAX_TITLE = 200
"""Most characters of a run's title and of the file name that is shown."""


class CreatedRun(NamedTuple):
    """What became of a submission."""

    run_id: str
    created: bool
    """Whether a computation was started; False if an equal one was there already."""
    complete: bool
    """Whether the results are there at once."""


class Joined(NamedTuple):
    """What became of a submission that found an equal computation."""

    created: CreatedRun
    takes_inputs: bool
    """Whether inputs that were stored anew are the computation's now."""


def create_run(
    engine: Engine,
    storage: Storage,
    cards: Cards,
    *,
    sequences: BinaryIO | Path | None = None,
    options: RunOptions,
    owner: str,
    settings: Settings,
    genes: BinaryIO | Path | None = None,
    filename: str | None = None,
    genes_filename: str | None = None,
    motifs: BinaryIO | Path | None = None,
    motifs_filename: str | None = None,
    held_out: Sequence[str] = (),
    title: str | None = None,
    compare: AlleleRequest = NOTHING_TO_COMPARE,
    part: PartRequest | None = None,
) -> CreatedRun:
    """Accept a submission: read it whole, store it, and have it computed unless it was.

    Parameters
    ----------
    engine : Engine
        Of the database.
    storage : Storage
        Where the normalised input goes.
    cards : Cards
        Of this installation.
    sequences : binary file or Path, optional
        FASTA or GenBank, plain or gzip; left out where `part` names a registered genome.
    options : RunOptions
        What to compute; its `dictionary` may be the id of a model that has only one.
    owner : str
        Who asks.
    settings : Settings
        Limits, and the size of a shard.
    genes : binary file or Path, optional
        BED, BED12, GFF3 or GTF; used in place of the annotation of a GenBank file.
    filename, genes_filename, motifs_filename : str, optional
        Names of the files as the user's program gave them.
    motifs : binary file or Path, optional
        The user's own motifs: MEME, JASPAR or TRANSFAC.
    held_out : sequence of str
        Names of contigs that discovery does not see, in place of the indices of the options.
    title : str, optional
        Shown in lists.
    compare : AlleleRequest
        Variants of the sequences, or two of their records, whose alleles are compared.
    part : PartRequest, optional
        A registered genome, or regions of it, in place of sequences.

    Returns
    -------
    created : CreatedRun
        A computation that had failed, was canceled or has lost results is started again.

    Raises
    ------
    FormatError, LimitError, OptionError, UnknownNameError
        If a file cannot be read, is too large, or an option is not allowed. Nothing is
        left behind.
    QuotaError
        If too much of the owner's waits already.
    WeightsError, StorageError
        As `annotations.atlas.usable_atlas`.
    """
    card = cards.dictionary(options.dictionary)
    atlas = usable_atlas(cards, card)
    options = replace(options, dictionary=card.id)
    shown_title = _shown(title, "title")
    model = cards.model(card.model_id)
    reach = reach_of(model, card) if options.expectation else 0
    sent = Sent(sequences, part, genes, genes_filename, compare, held_out, reach)
    content = content_of(sent, card, model, settings)
    found, table = content.contigs, content.genes
    if held_out:
        names = [contig.name for contig in found]
        if content.names is not None:
            held_out = content.names.own(held_out)
        options = replace(options, held_out=held_out_contigs(held_out, names))
    own_motifs = None if motifs is None else read_motif_file(motifs, motifs_filename)
    parameters = computation_parameters(
        found,
        table,
        card,
        atlas,
        options,
        coder=cards.folder(card) / CODER_CONFIG,
        motifs=own_motifs,
        alleles=content.alleles,
        spans=content.spans,
        genes_digest=content.genes_digest,
    )
    digest = parameters_digest(parameters)
    scope = "" if settings.share_computations else owner
    run_id = secrets.token_hex(12)

    def add_run(session: Session, computation_id: str) -> None:
        run = Run(
            id=run_id,
            owner=owner,
            title=shown_title,
            filename=_file_name(filename or content.filename),
            created_at=database_time(session),
            canceled_at=None,
            computation_id=computation_id,
            contig_names=[contig.name for contig in found],
            options=run_options(options, content.record),
            annotation_skipped=None if table is None else skipped_entries(table),
        )
        session.add(run)

    def files(prefix: str) -> AbstractContextManager[None]:
        return files_of_row(engine, storage, prefix, kind=Run, row_id=run_id, owner=owner)

    def join(losses: Losses | None = None, inputs: Manifest | None = None) -> Joined | None:
        with transaction(engine) as session:
            take_turns(session, owner)
            equal = session.scalar(
                select(Computation)
                .where(Computation.digest == digest, Computation.scope == scope)
                .with_for_update()
            )
            if equal is None:
                return None
            if equal.state != "COMPLETE" or is_redone(equal, losses):
                check_quota(session, settings, owner, content.read_bases, 0)
            ended = equal.state in TERMINAL_STATES
            restarted = restart(session, equal, losses, inputs)
            add_run(session, equal.id)
            return Joined(CreatedRun(run_id, restarted, equal.state == "COMPLETE"), ended)

    def join_equal() -> CreatedRun | None:
        # most submissions are new, and have nobody to wait for
        with glance(engine) as connection:
            equal = select(Computation.id).where(
                Computation.digest == digest, Computation.scope == scope
            )
            if connection.execute(equal).first() is None:
                return None
        losses = find_losses(engine, storage, digest, scope)
        joined: Joined | None
        if losses is None or not losses.inputs:
            joined = join(losses)
            return None if joined is None else joined.created
        # a folder of their own: what is left of the old ones may be of another spelling
        folder = f"{losses.prefix}/input-{secrets.token_hex(4)}"
        joined = Joined(CreatedRun(run_id, True, False), True)
        with files(folder):
            inputs = _store_inputs(storage, folder, content, own_motifs, settings)
            joined = join(losses, inputs)
        if joined is None or not joined.takes_inputs:
            storage.delete_prefix(folder)
        return None if joined is None else joined.created

    joined = join_equal()
    if joined is not None:
        return joined
    computation_id = secrets.token_hex(16)
    prefix = f"computations/{computation_id}"
    try:
        with files(prefix):
            inputs = _store_inputs(storage, f"{prefix}/input", content, own_motifs, settings)
            with transaction(engine) as session:
                take_turns(session, owner)
                new_bytes = sum(file.bytes for file in inputs.values())
                check_quota(session, settings, owner, content.read_bases, new_bytes)
                insert_work(
                    session,
                    Computation(
                        id=computation_id,
                        digest=digest,
                        scope=scope,
                        state="QUEUED",
                        created_at=database_time(session),
                        dictionary_id=card.id,
                        queue=model_queue(card.model_sha256),
                        parameters=parameters,
                        lengths=[contig.length for contig in found],
                        bases=content.bases,
                        read_bases=content.read_bases,
                        inputs=manifest_to_json(inputs),
                    ),
                    plan_of(content, stride=card.stride, target=settings.shard_bases),
                    partial(read_for, content, card),
                )
                add_run(session, computation_id)
    except IntegrityError:
        # an equal submission was quicker
        joined = join_equal()
        if joined is None:
            raise
        return joined
    return CreatedRun(run_id, True, False)


def run_options(options: RunOptions, regions: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the row of a run keeps of its options, and of the genome and regions it is of."""
    return options.to_json() | ({} if regions is None else {"regions": dict(regions)})


RESULT_SOFTWARE = ("pyjaspar", "memelite")
"""Packages whose version decides motifs and hits: pyjaspar carries JASPAR's releases."""


def computation_parameters(
    found: Sequence[Contig],
    genes: pa.Table | None,
    card: DictionaryCard,
    atlas: Path | None,
    options: RunOptions,
    *,
    coder: Path | None = None,
    motifs: MotifFile | None = None,
    alleles: Alleles | None = None,
    spans: Sequence[Span] | None = None,
    genes_digest: str | None = None,
) -> dict[str, Any]:
    """Everything that says what is computed, as JSON values; no names, no owner.

    Parameters
    ----------
    found : sequence of Contig
        Of the submission, in order; their names are not used.
    genes : Table or None
        Gene parts.
    card : DictionaryCard
        The dictionary: hashes of its weights and of its model's, window grid, context, dtype.
    atlas : Path or None
        Folder of the dictionary's atlas, whose labels are part of the result.
    options : RunOptions
        What the user chose, with the dictionary's own id.
    coder : Path, optional
        The configuration beside the dictionary's weights, which says how they are applied.
    motifs : MotifFile, optional
        The user's own motifs.
    alleles : Alleles, optional
        Which sequences are alleles of each other.
    spans : sequence of Span, optional
        What is computed, where that is not all of the sequences.
    genes_digest : str, optional
        What says which gene parts they are, in place of a hash of their rows.
    """
    config = None if coder is None or not coder.is_file() else file_sha256(coder)
    return {
        "result_schema": RESULT_SCHEMA,
        "shard_format": SHARD_FORMAT,
        "sequences": [contig.digest for contig in found],
        "genes": None if genes is None else genes_digest or _table_digest(genes),
        "dictionary": {
            "id": card.id,
            "sha256": card.sha256,
            "model_sha256": card.model_sha256,
            "layer": card.layer,
            "d_sae": card.d_sae,
            "gate": card.gate,
            "k": card.k,
            "stride": card.stride,
            "context": card.context,
            "dtype": card.dtype,
            "config_sha256": config,
            # left out where it is the usual one, so that digests of other runs stay what they were
            **({} if card.tap == "residual" else {"tap": card.tap}),
        },
        "motifs": None if motifs is None else motifs.sha256,
        "atlas": atlas_digest(atlas),
        "options": options.to_json(),
        "software": {name: _version(name) for name in RESULT_SOFTWARE},
        # left out where there are none, so that digests of other runs stay what they were
        **({} if alleles is None else {"alleles": alleles_sha256(alleles)}),
        **({} if spans is None else {"regions": {"spans": [list(span) for span in spans]}}),
    }


@cache
def _version(package: str) -> str:
    """Version of an installed package, whose files are read once."""
    return metadata.version(package)


def parameters_digest(parameters: dict[str, Any]) -> str:
    """SHA-256 of JSON values in one canonical spelling."""
    text = json.dumps(parameters, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def atlas_digest(folder: Path | None) -> str | None:
    """SHA-256 over the names and hashes of an atlas's files; None where there is no atlas."""
    if folder is None:
        return None
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}
    return parameters_digest(files)


def _store_inputs(
    storage: Storage,
    prefix: str,
    content: Content,
    motifs: MotifFile | None,
    settings: Settings,
) -> Manifest:
    """Store the normalised sequences, named by their index, the gene table and the motifs."""
    inputs: Manifest = {}
    with tempfile.TemporaryDirectory(dir=settings.upload_dir) as folder:
        path = Path(folder) / "sequences.fa"
        content.write(path)
        inputs[path.name] = storage.put_file(f"{prefix}/{path.name}", path)
        if content.genes is not None:
            path = Path(folder) / "genes.parquet"
            pq.write_table(content.genes, path)
            inputs[path.name] = storage.put_file(f"{prefix}/{path.name}", path)
        if motifs is not None:
            path = Path(folder) / motifs.stored_as
            path.write_bytes(motifs.content)
            inputs[path.name] = storage.put_file(f"{prefix}/{path.name}", path)
        if content.alleles is not None:
            path = Path(folder) / ALLELES_FILE
            path.write_text(alleles_json(content.alleles), encoding="utf-8")
            inputs[path.name] = storage.put_file(f"{prefix}/{path.name}", path)
    return inputs


def _table_digest(table: pa.Table) -> str:
    """SHA-256 of a table's rows, however they are cut into chunks."""
    digest = hashlib.sha256()
    columns = [table.schema.names, *(column.to_pylist() for column in table.columns)]
    for values in columns:
        digest.update(json.dumps(values, separators=(",", ":"), allow_nan=False).encode())
    return digest.hexdigest()


def _shown(text: str | None, what: str) -> str | None:
    """Text that is kept to be shown: short, on one line; None if there is nothing in it."""
    if text is None or not text.strip():
        return None
    if len(text) > MAX_TITLE:
        raise OptionError(f"{what} must have at most {MAX_TITLE} characters, got {len(text)}")
    if any(not character.isprintable() for character in text):
        raise OptionError(f"{what} must be text on one line")
    return text.strip()


def _file_name(name: str | None) -> str | None:
    """Last part of a file name, as far as it can be shown."""
    if not name:
        return None
    last = PurePath(name.replace("\\", "/")).name
    shown = "".join(character for character in last if character.isprintable())
    return shown[:MAX_TITLE] or None
