"""The processes under load: those of `tests.faults.deployments` with the settings of a service.

Nothing is wrapped: `saetrack serve` and `saetrack worker` as they are started by hand.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from annotations.cards import find_cards
from annotations.options import RunOptions
from annotations.sequences import read_sequences, write_fasta
from annotations.windows import plan_shards
from app.config import Settings
from app.database import transaction, upgrade
from app.dispatch import live_workers
from app.tokens import create_token
from tests.faults.deployments import Deployment, Embedded, Process, ScaledOut
from tests.load.clients import Work
from tests.servers import free_port
from tests.workers.factories import DICTIONARY_ID
from tests.workers.test_pipeline import random_sequence
from workers.merge import merge
from workers.pipeline import run_shard
from workers.registry import open_dictionary

SHARD_BASES = 4_000
"""Three shards and a merge for each submission."""

BASES = 10_000
"""Of a submission."""

SETTINGS: dict[str, Any] = {
    "shard_bases": SHARD_BASES,
    "auth": "tokens",
    # how often one may ask is not what is measured
    "requests_per_minute": 0,
    "submissions_per_hour": 0,
    "min_free_bytes": 0,
    "device": "cpu",
}


class _Loaded(Deployment):
    """Some workers, and a token for each client."""

    n_workers = 4
    changes: dict[str, Any] = {}  # noqa: RUF012 - set once, by `installed`

    def ensure(self) -> None:
        """Nothing is brought down here."""

    def bring_up(self) -> None:
        """Start everything and wait for the workers."""
        raise NotImplementedError

    def wait_for_workers(self) -> None:
        self.ask("/healthz")

        def up() -> bool:
            with transaction(self.engine) as session:
                return len(live_workers(session, self.settings)) == self.n_workers

        self.wait_until(up, 120, f"{self.n_workers} workers")

    def tokens(self, count: int) -> list[str]:
        """A token of each owner ``user0``, ``user1``, ..."""
        with transaction(self.engine) as session:
            return [create_token(session, owner=f"user{n}").word for n in range(count)]


class LoadedEmbedded(_Loaded, Embedded):
    """`saetrack serve`, and three more workers on its folder."""

    def make_settings(self, data: Path) -> Settings:
        return Settings(
            data_dir=data, models_dirs=(self.models,), port=free_port(), **SETTINGS | self.changes
        )

    def prepare(self) -> None:
        upgrade(self.engine)

    def bring_up(self) -> None:
        self.serve = Process(self, "serve", gated=False)
        self.ask("/healthz")
        for _ in range(self.n_workers - 1):
            self.others.append(Process(self, "worker", gated=False))
        self.wait_for_workers()


class LoadedScaledOut(_Loaded, ScaledOut):
    """Redis, PostgreSQL, an S3 server, a web process and four workers."""

    def make_settings(self, data: Path) -> Settings:
        return Settings(
            data_dir=data,
            models_dirs=(self.models,),
            port=free_port(),
            database_url=self.postgres.url,
            broker_url=self.redis.url,
            storage_url=self.store.url,
            **SETTINGS | self.changes,
        )

    def bring_up(self) -> None:
        self.serve = Process(self, "serve", "--no-worker", gated=False)
        for _ in range(self.n_workers):
            self.workers.append(Process(self, "worker", gated=False))
        self.wait_for_workers()


@contextlib.contextmanager
def installed(
    kind: str, folder: Path, models: Path, *, n_workers: int = 4, **changes: Any
) -> Iterator[Any]:
    """An installation with some workers that is gone at the end; `changes` are of its settings."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    form = {"embedded": LoadedEmbedded, "scaled-out": LoadedScaledOut}[kind]
    here = type("Installation", (form,), {"n_workers": n_workers, "changes": changes})(
        folder, models
    )
    try:
        here.bring_up()
        yield here
    finally:
        here.close()


def make_works(models: Path, folder: Path, count: int) -> list[Work]:
    """Sequences, and the features of each as one process without a server makes them."""
    roots = [models]
    cards = find_cards(roots)
    card = cards.dictionary(DICTIONARY_ID)
    encoder = open_dictionary(card, roots, _cpu())
    options = RunOptions(dictionary=DICTIONARY_ID)
    works = []
    for number in range(count):
        fasta = b">record\n" + random_sequence(BASES, 1000 + number) + b"\n"
        home = folder / f"expected{number}"
        (home / "result").mkdir(parents=True)
        records, _ = read_sequences(BytesIO(fasta))
        write_fasta(records, home / "sequences.fa", names=["0"])
        shards: list[Path] = []
        for spans in plan_shards([BASES], stride=card.stride, target=SHARD_BASES):
            shards.append(home / f"shard{len(shards)}")
            shards[-1].mkdir()
            run_shard(home / "sequences.fa", spans, encoder, shards[-1])
        merge(shards, home / "sequences.fa", card, options, home / "result")
        features = (home / "result" / "features.parquet").read_bytes()
        works.append(Work(fasta, hashlib.sha256(features).hexdigest()))
    return works


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


def check_installation(here: Deployment, runs: Sequence[str]) -> list[str]:
    """What is not as it has to be: every run complete, every shard done once, nothing left over."""
    wrong = []
    for run_id in runs:
        if here.state(run_id) != "COMPLETE":
            wrong.append(f"run {run_id} is {here.state(run_id)}")
        for shard in here.shards(run_id):
            if (shard.state, shard.attempts) != ("COMPLETE", 1):
                wrong.append(
                    f"shard {shard.position} of {run_id} is {shard.state} after "
                    f"{shard.attempts} attempts: {shard.error}"
                )
    wrong += [f"left over: {key}" for key in here.leftovers()]
    return wrong
