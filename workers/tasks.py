"""The task of a shard: take it, do its work under a lease, hand in what it made.

    message (shard id) --claim--> run_shard or merge in a temporary folder --store--> finish

Everything that can go wrong has an end: work that is no longer wanted stops quietly,
an error of the data fails the run with its message, anything else is tried again.
Analyses of complete runs go the same way, in `workers.analyses`.
"""

import errno
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import pyarrow.parquet as pq
from celery import Celery
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from annotations.alleles import ALLELES_FILE, read_alleles
from annotations.cards import CODER_CONFIG, DictionaryCard, file_sha256, find_cards
from annotations.errors import (
    FormatError,
    OptionError,
    SaetrackError,
    StorageError,
    ToolError,
    UnknownNameError,
    WeightsError,
)
from annotations.genes import skipped_entries
from annotations.run_motifs import STORED
from app.analysis_leases import ClaimedAnalysis
from app.broker import TASK_RUN_ANALYSIS, TASK_RUN_SHARD
from app.claims import ClaimedShard
from app.config import Settings
from app.database import insist, transaction
from app.dispatch import WorkerStatus
from app.logs import bound, said
from app.models import State
from app.shards import claim, fail, finish, give_back, is_handed_in, renew
from app.storage import Manifest, Storage
from app.submissions import atlas_digest
from workers.device import choose_device, describe_device, gpu_memory, is_out_of_memory
from workers.expectation import write_expectation
from workers.merge import merge
from workers.pipeline import Canceled, run_shard
from workers.registry import Encoder, open_dictionary
from workers.startup import scratch_folder

log = logging.getLogger(__name__)

RENEW_SECONDS = 5.0
"""A lease is renewed this often, or three times in its length if that is shorter."""

STALL_SECONDS = 1800.0
"""Work that has shown no progress for so long, and does not compute, loses its lease: it hangs."""

SILENT_SECONDS = 12 * 3600.0
"""Work that has shown no progress for so long loses its lease even though it computes."""

BUSY_SHARE = 0.1
"""A process that has used this share of the time on a core is at work: steps of a merge of a
genome take longer than `STALL_SECONDS`, and report nothing in between."""

STOP_SECONDS = 5.0
"""How long a process that is to stop waits for a database that is away."""

OUR_FAULT = (StorageError, ToolError, WeightsError)
"""Errors of this installation, not of what the user sent."""


class Verdict(NamedTuple):
    """What becomes of a shard after an error."""

    code: str
    message: str
    retryable: bool
    state: State
    wait: bool = False
    """Whether to try again only after a while: the cause is likely to be there still."""


def verdict(error: Exception) -> Verdict:
    """What an error means for the shard.

    Parameters
    ----------
    error : Exception
        What the work raised.

    Returns
    -------
    verdict : Verdict
        The message is for the user: it holds no sequence.
    """
    if isinstance(error, OUR_FAULT):
        again = not isinstance(error, WeightsError)
        waits = isinstance(error, StorageError)
        return Verdict(error.code, str(error), again, "SYSTEM_ERROR", waits)
    if isinstance(error, SaetrackError):
        return Verdict(error.code, str(error), False, "EXECUTOR_ERROR")
    if is_out_of_memory(error):
        message = "memory ran out even for one window at a time; use a machine with more memory"
        return Verdict("out-of-memory", message, False, "EXECUTOR_ERROR")
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        message = (
            f"the disk of the worker's machine is full ({error.strerror}); once there is space, "
            "submit the same again, which goes on where this ended"
        )
        return Verdict("storage-error", message, True, "SYSTEM_ERROR", True)
    if isinstance(error, OSError):
        return Verdict("storage-error", f"{error.strerror or error}", True, "SYSTEM_ERROR", True)
    message = f"internal error ({type(error).__name__}); the worker's log holds the details"
    return Verdict("internal-error", message, True, "SYSTEM_ERROR")


class Renew(Protocol):
    """Keeps something claimed for another lease; False if it has passed to another."""

    def __call__(
        self, session: Session, claimed: Any, settings: Settings, *, bases_done: int
    ) -> bool:
        """As `app.shards.renew`."""


class Lease:
    """Keeps a claimed shard or analysis while the work goes on, from a thread of its own.

    A context manager. The work calls `check`, which raises `Canceled` once the claim
    has passed to another worker, was canceled, or the process is told to stop.
    """

    def __init__(
        self,
        engine: Engine,
        claimed: ClaimedShard | ClaimedAnalysis,
        settings: Settings,
        *,
        renew: Renew = renew,
        stopping: Callable[[], bool] = lambda: False,
        every: float | None = None,
    ) -> None:
        self._engine = engine
        self._renew = renew
        self._claimed = claimed
        self._settings = settings
        self._stopping = stopping
        self._every = every or min(RENEW_SECONDS, settings.lease_seconds / 3)
        self._done = 0
        self._seen = time.monotonic()
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        """Begin to renew."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop renewing; the lease itself ends with `finish`, `fail` or time."""
        self._ended.set()
        self._thread.join()

    def check(self, bases_done: int | None = None) -> None:
        """Note progress, and stop work that is no longer wanted.

        Parameters
        ----------
        bases_done : int, optional
            Bases done so far.

        Raises
        ------
        Canceled
            If the claim is no longer ours or the process is to stop.
        """
        if bases_done is not None:
            self._done = bases_done
        self._seen = time.monotonic()
        if self._lost.is_set() or self._stopping():
            raise Canceled

    def _keep(self) -> None:
        """Renew until the work ends, hangs or is lost."""
        computed, used = self._seen, time.process_time()
        while not self._ended.wait(self._every):
            now, cpu = time.monotonic(), time.process_time()
            if cpu - used > BUSY_SHARE * self._every:
                computed = now
            used = cpu
            silent = now - self._seen
            if silent > SILENT_SECONDS or min(silent, now - computed) > STALL_SECONDS:
                log.error("%s shows no progress; its lease is given up", self._claimed.id)
                return
            try:
                with transaction(self._engine) as session:
                    held = self._renew(
                        session, self._claimed, self._settings, bases_done=self._done
                    )
            except SQLAlchemyError:
                # a busy database is no reason to lose the work: the lease lasts several tries
                log.exception("the lease of %s could not be renewed", self._claimed.id)
                continue
            if not held:
                self._lost.set()
                return


class ShardRunner:
    """Runs shards in this process; opened dictionaries are kept."""

    def __init__(
        self,
        *,
        settings: Settings,
        engine: Engine,
        storage: Storage,
        roots: Sequence[Path],
        name: str,
        stopping: Callable[[], bool] = lambda: False,
        batch: int = 8,
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.storage = storage
        self.roots = roots
        self.name = name
        self.stopping = stopping
        self.batch = batch
        self._encoders: dict[tuple[str, bool], Encoder] = {}
        self._counts = WorkerStatus()

    def status(self) -> WorkerStatus:
        """What this worker did since it started, and the GPU memory it holds."""
        memory = gpu_memory(choose_device(self.settings.device))
        if memory is None:
            return self._counts
        return self._counts._replace(gpu_bytes=memory[0], gpu_total_bytes=memory[1])

    def run(self, shard_id: int) -> bool:
        """Do the work of one shard, if it is free.

        Parameters
        ----------
        shard_id : int
            Id from the message.

        Returns
        -------
        done : bool
            Whether this call completed the shard.
        """
        if self.stopping():
            return False
        claimed = insist(lambda: self._claim(shard_id))
        if claimed is None:
            return False
        try:
            with (
                bound(computation=claimed.computation_id, shard=claimed.id),
                Lease(self.engine, claimed, self.settings, stopping=self.stopping) as lease,
            ):
                started = time.monotonic()
                done = self._work(claimed, lease)
                self._note(claimed, done=done, seconds=time.monotonic() - started)
                return done
        except Canceled:
            self._drop(claimed)
            if self.stopping():
                insist(lambda: self._give_back(claimed), seconds=STOP_SECONDS)
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, the shard must get an answer
            self._counts = self._counts._replace(failures=self._counts.failures + 1)
            self._fail(claimed, error)
            return False

    def _note(self, claimed: ClaimedShard, *, done: bool, seconds: float) -> None:
        """Count and log a shard that was worked on to its end."""
        bases = sum(span.length for span in claimed.spans)
        if done:
            counts = self._counts
            self._counts = counts._replace(shards=counts.shards + 1, bases=counts.bases + bases)
        said(
            log,
            "shard",
            kind=claimed.kind,
            attempt=claimed.attempt,
            bases=bases,
            handed_in=done,
            seconds=round(seconds, 3),
        )

    def _claim(self, shard_id: int) -> ClaimedShard | None:
        with transaction(self.engine) as session:
            return claim(session, shard_id, self.name, self.settings)

    def _give_back(self, claimed: ClaimedShard) -> bool:
        with transaction(self.engine) as session:
            return give_back(session, claimed)

    def _finish(self, claimed: ClaimedShard, manifest: Manifest) -> bool:
        """Hand in; a second time too, where the answer to the first was lost."""
        with transaction(self.engine) as session:
            return finish(session, claimed, manifest) or is_handed_in(session, claimed)

    def _work(self, claimed: ClaimedShard, lease: Lease) -> bool:
        """Compute in a temporary folder, store the files, and hand them in."""
        with _scratch(scratch_folder(self.settings, self.name)) as folder:
            if claimed.kind == "encode":
                self._encode(claimed, lease, folder)
            else:
                self._merge(claimed, lease, folder)
            manifest = self.store(claimed, lease, folder)
        held = insist(lambda: self._finish(claimed, manifest))
        if not held:
            self._drop(claimed)
        elif claimed.kind == "merge":
            try:
                self.storage.delete_prefix(f"computations/{claimed.computation_id}/shards")
            except OSError:
                # the run is complete: `saetrack gc` deletes what is left
                log.exception("files of shards of %s are left", claimed.computation_id)
        return held

    def store(self, claimed: ClaimedShard, lease: Lease, folder: Path) -> Manifest:
        """Store what the work made, under the claim's own folder."""
        manifest = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            lease.check()
            name = path.relative_to(folder).as_posix()
            manifest[name] = self.storage.put_file(f"{claimed.prefix}/{name}", path)
        return manifest

    def _encode(self, claimed: ClaimedShard, lease: Lease, out: Path) -> None:
        """Activations, peaks and statistics of the shard's spans."""
        expectation = claimed.options.expectation
        encoder = self.encoder(self._card(claimed), whole=expectation)
        lease.check()
        fasta = self._input(claimed, "sequences.fa")
        passes = 2 if expectation else 1
        run_shard(
            fasta,
            claimed.spans,
            encoder,
            out,
            strands=claimed.options.strands,
            batch=self.batch,
            on_progress=lambda done: lease.check(done // passes),
        )
        if expectation:
            half = sum(span.length for span in claimed.spans) // passes
            write_expectation(
                fasta,
                claimed.spans,
                encoder,
                out,
                batch=self.batch,
                on_progress=lambda done: lease.check(half + done // passes),
            )

    def _merge(self, claimed: ClaimedShard, lease: Lease, out: Path) -> None:
        """The result of the whole computation."""
        card = self._card(claimed)
        atlas = find_cards(self.roots).atlas(card)
        if atlas_digest(atlas) != claimed.parameters["atlas"]:
            raise WeightsError(
                f"the atlas of dictionary {card.id!r} is not the one that was here when the run "
                "was submitted; submit the run again"
            )
        genes = None
        if "genes.parquet" in claimed.inputs:
            genes = pq.read_table(self._input(claimed, "genes.parquet"))
        shards = [self._folder(files) for files in claimed.shard_results]
        merge(
            shards,
            self._input(claimed, "sequences.fa"),
            card,
            claimed.options,
            out,
            genes=genes,
            motifs=self._motifs(claimed),
            atlas=atlas,
            spans=claimed.read_spans,
            alleles=None
            if ALLELES_FILE not in claimed.inputs
            else read_alleles(self._input(claimed, ALLELES_FILE)),
            made_by={
                "device": describe_device(choose_device(self.settings.device)),
                "annotation_skipped": None if genes is None else skipped_entries(genes),
            },
            on_progress=lambda share: lease.check(int(share * claimed.bases)),
        )

    def encoder(self, card: DictionaryCard, *, whole: bool = False) -> Encoder:
        """The opened dictionary of a card; the last one is kept, since weights fill memory.

        With `whole` its model has all blocks, and says what it expects of bases.
        """
        key = (card.sha256, whole)
        if not whole and (card.sha256, True) in self._encoders:
            key = (card.sha256, True)
        if key not in self._encoders:
            self._encoders.clear()
            self._encoders[key] = open_dictionary(
                card, self.roots, choose_device(self.settings.device), whole=whole
            )
        return self._encoders[key]

    def _card(self, claimed: ClaimedShard) -> DictionaryCard:
        """The card of the shard's dictionary, which must be the one the run was made for."""
        return self.card(claimed.dictionary_id, claimed.parameters["dictionary"])

    def card(self, dictionary_id: str, asked: Mapping[str, Any]) -> DictionaryCard:
        """The card of a dictionary, whose files must be those a run was made for.

        Parameters
        ----------
        dictionary_id : str
            Its id.
        asked : mapping
            What the run's parameters say of it.

        Raises
        ------
        WeightsError
            If it is not here or has other weights.
        """
        try:
            cards = find_cards(self.roots)
            card = cards.dictionary(dictionary_id)
        except (FormatError, OptionError, UnknownNameError) as error:
            # the fault of this installation, and its paths are not for the user
            log.exception("the cards of the models cannot be read")
            raise WeightsError(
                f"dictionary {dictionary_id!r} cannot be opened: a models folder or a card "
                "of this installation is missing or not valid; the worker's log says which"
            ) from error
        wanted = asked["sha256"]
        if card.sha256 != wanted:
            raise WeightsError(
                f"dictionary {card.id!r} has other weights here ({card.sha256[:12]}) than when the "
                f"run was submitted ({wanted[:12]}); submit the run again"
            )
        config = cards.folder(card) / CODER_CONFIG
        present = file_sha256(config) if config.is_file() else None
        if asked.get("config_sha256", present) != present:
            raise WeightsError(
                f"the {CODER_CONFIG} of dictionary {card.id!r} is not the one that was here when "
                "the run was submitted; submit the run again"
            )
        return card

    def _folder(self, files: Manifest) -> Path:
        """Local folder of the files of a shard, which lie together."""
        return {self.storage.local_path(file).parent for file in files.values()}.pop()

    def _motifs(self, claimed: ClaimedShard) -> Path | None:
        """The user's own motifs, if the submission had any."""
        names = [name for name in claimed.inputs if name.startswith(f"{STORED}.")]
        return self._input(claimed, names[0]) if names else None

    def _input(self, claimed: ClaimedShard, name: str) -> Path:
        """Local path of an input file."""
        return self.storage.local_path(claimed.inputs[name])

    def verdict(self, error: Exception) -> Verdict:
        """What an error means, in words that do not say where things are on this machine."""
        answer = verdict(error)
        message = answer.message
        for folder in (*self.roots, self.settings.data_dir):
            message = message.replace(f"{folder}/", "")
        return answer._replace(message=message)

    def _drop(self, claimed: ClaimedShard) -> None:
        """Delete what a claim stored that nobody will ask for."""
        try:
            self.storage.delete_prefix(claimed.prefix)
        except OSError:
            # nobody points to them: `saetrack gc` deletes what is left
            log.exception("files of shard %s are left under %s", claimed.id, claimed.prefix)

    def _fail(self, claimed: ClaimedShard, error: Exception) -> None:
        """Record an error and delete what the attempt stored."""
        log.error("shard %s failed, attempt %s", claimed.id, claimed.attempt, exc_info=error)
        answer = self.verdict(error)

        def record() -> bool:
            """Whether the files of the attempt are unwanted."""
            with transaction(self.engine) as session:
                held = fail(
                    session,
                    claimed,
                    code=answer.code,
                    message=answer.message,
                    retryable=answer.retryable,
                    settings=self.settings,
                    state=answer.state,
                    wait=answer.wait,
                )
                # an error may come after the shard was handed in, with these very files
                return held or not is_handed_in(session, claimed)

        if insist(record):
            self._drop(claimed)


def register(app: Celery, runner: ShardRunner, answer: Callable[[str], bool]) -> None:
    """Give a Celery application its tasks: to run a shard, and to `answer` an analysis."""

    @app.task(name=TASK_RUN_SHARD, ignore_result=True)  # type: ignore[untyped-decorator]
    def run_shard_task(shard_id: int) -> None:
        runner.run(shard_id)

    @app.task(name=TASK_RUN_ANALYSIS, ignore_result=True)  # type: ignore[untyped-decorator]
    def run_analysis_task(analysis_id: str) -> None:
        answer(analysis_id)


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A temporary folder, removed at the end; what a killed worker leaves, its server removes."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="shard-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another shard of this worker is there
            parent.rmdir()
