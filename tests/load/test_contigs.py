"""A hundred thousand short contigs in one submission: packed into shards, each answered once."""

import json
import urllib.error
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from annotations.cards import find_cards
from annotations.sequences import Record, write_fasta
from annotations.shard_bases import SHARD_FILE, OpenShard
from annotations.types import Span
from app.config import Settings
from tests.load.contigs import as_fasta, check_contigs, make_contigs, submit_contigs
from tests.load.installations import installed
from tests.workers import factories
from workers.pipeline import run_shard
from workers.registry import open_dictionary

CONTIGS = 100_000

SAMPLED = 300
"""Contigs that are computed alone besides."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_contigs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    assert Settings.max_records == CONTIGS
    # about one active feature at a base, as in dictionaries that mean something
    monkeypatch.setattr(factories, "ACTIVE_SHARE", 1 / factories.FEATURES)
    models = factories.make_tiny_models(tmp_path / "models")
    contigs = make_contigs(CONTIGS, 60, 100)
    lengths = np.array([len(bases) for bases in contigs])
    with installed(
        "embedded", tmp_path / "here", models, n_workers=1, auth="none",
        shard_bases=Settings.shard_bases,
    ) as here:  # fmt: skip
        run_id, figures = submit_contigs(here, as_fasta(contigs), "")
        print(json.dumps(figures))
        record_property("contigs", json.dumps(figures))
        assert figures["state"] == "COMPLETE", here.computation(run_id).error_message
        wrong, active = check_contigs(here, run_id, lengths)
        assert wrong == []
        assert here.leftovers() == []
        listed = here.ask(f"/v1/runs/{run_id}/contigs")["contigs"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            here.ask("/v1/runs", as_fasta([b"ACGT"] * (CONTIGS + 1)))
        assert refused.value.code == 413
        assert f"{CONTIGS:,} records" in json.loads(refused.value.read())["detail"]
    assert [contig["length"] for contig in listed] == lengths.tolist()
    assert len({contig["name"] for contig in listed}) == CONTIGS
    # a cell of the window grid holds 128 bases, and a shard 200,000
    assert figures["shards"] == -(-CONTIGS // (Settings.shard_bases // 128))
    assert figures["attempts"] == figures["shards"] + 1
    assert figures["web_peak_bytes"] < 1_500_000_000
    assert figures["merge_peak_bytes"] < 2_500_000_000
    chosen = np.random.default_rng(1).choice(CONTIGS, SAMPLED, replace=False)
    alone = alone_active(models, [contigs[at] for at in chosen], tmp_path / "alone")
    # sums in another order put a base in a hundred thousand on the other side of a gate
    assert np.abs(alone - active[chosen]).sum() <= 2
    assert alone.sum() > SAMPLED


def alone_active(models: Path, contigs: list[bytes], folder: Path) -> NDArray[np.int64]:
    """Active bases of contigs that one process computes without a server, one by one."""
    encoder = open_dictionary(
        find_cards([models]).dictionary(factories.DICTIONARY_ID), [models], torch.device("cpu")
    )
    found = []
    for number, bases in enumerate(contigs):
        home = folder / str(number)
        home.mkdir(parents=True)
        write_fasta([Record("0", "", bases)], home / "sequences.fa")
        run_shard(home / "sequences.fa", [Span(0, 0, len(bases))], encoder, home)
        found.append(OpenShard(home / SHARD_FILE).active)
    return np.array(found)
