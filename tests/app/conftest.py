"""An installation in a temporary folder, with a dictionary of four features that has no weights,
and a computation whose results are written by hand."""

import json
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from annotations.activations import Activations, to_stretches, write_stretches
from annotations.cards import DictionaryCard, ModelCard, find_cards, write_card
from annotations.enrichment import MATCHES_SCHEMA
from annotations.interval_concepts import CONCEPTS_SCHEMA
from annotations.options import RunOptions
from app.api import EXTENSION
from app.claims import ClaimedShard
from app.config import Settings
from app.database import make_engine, transaction, upgrade
from app.factory import create_app
from app.shards import claim, finish
from app.storage import LocalStorage, Manifest
from app.submissions import create_run
from tests.servers import ObjectStore

FASTA = b">chrA first record\nACGTACGTAC\nGTACGTACGT\n>chrB\nNNNNNACGTT\n"
"""Two contigs of 20 and 10 bases."""


def write_models(root: Path, *, random_weights: bool = True, name: str = "toy") -> None:
    """Cards of a model and of its dictionary, whose weights do not exist."""
    model = ModelCard(
        id=name,
        title="A toy",
        architecture="paired_tree",
        config={},
        weights="model.safetensors",
        sha256="1" * 64,
        n_parameters=1,
        context=8,
        licence="CC0-1.0",
        source="made by hand",
        random_weights=random_weights,
    )
    dictionary = DictionaryCard(
        id=f"{name}-sae",
        title="Four features",
        model_id=name,
        model_sha256="1" * 64,
        layer=1,
        d_in=2,
        d_sae=4,
        k=1,
        sha256="2" * 64,
        stride=8,
        context=8,
        licence="CC0-1.0",
        source="made by hand",
        random_weights=random_weights,
    )
    folder = root / name / f"{name}-sae"
    folder.mkdir(parents=True)
    write_card(model, root / name)
    write_card(dictionary, folder)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation with one dictionary and shards of a thousand bases."""
    settings = Settings(
        data_dir=tmp_path / "data",
        models_dirs=(tmp_path / "models",),
        shard_bases=1_000,
        lease_seconds=30,
        max_upload_bytes=100_000,
        min_free_bytes=0,
    )
    settings.make_folders()
    write_models(tmp_path / "models")
    return settings


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the tables of this version and nothing in them."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("migrated"))
    engine = make_engine(settings)
    upgrade(engine)
    engine.dispose()
    return settings.data_dir / "saetrack.db"


@pytest.fixture(scope="module")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A running S3 server; the environment has its keys."""
    server = ObjectStore(tmp_path_factory.mktemp("s3"))
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.variables.items():
            patch.setenv(name, value)
        yield server
    server.kill()


@pytest.fixture
def engine(settings: Settings, migrated: Path) -> Iterator[Engine]:
    shutil.copy(migrated, settings.data_dir / "saetrack.db")
    engine = make_engine(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def storage(settings: Settings) -> LocalStorage:
    return LocalStorage(settings.storage_dir)


class ClosingClient(FlaskClient):
    """Reads each answer to its end, as a real client would, and closes its file."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        kwargs.setdefault("buffered", True)
        return super().open(*args, **kwargs)


@pytest.fixture
def app(settings: Settings, engine: Engine) -> Iterator[Flask]:
    app = create_app(settings)
    app.test_client_class = ClosingClient
    yield app
    app.extensions[EXTENSION].engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def new_run(
    engine: Engine,
    storage: LocalStorage,
    settings: Settings,
    *,
    fasta: bytes = FASTA,
    owner: str = "local",
    **options: object,
) -> str:
    """Submit sequences; returns the run's id."""
    created = create_run(
        engine,
        storage,
        find_cards(settings.models_dirs),
        sequences=BytesIO(fasta),
        options=RunOptions.from_json({"dictionary": "toy-sae", "taxon": "fungi", **options}),
        owner=owner,
        settings=settings,
    )
    return created.run_id


def take(engine: Engine, settings: Settings, shard_id: int, owner: str = "w1") -> ClaimedShard:
    """Claim a shard that must be free."""
    with transaction(engine) as session:
        claimed = claim(session, shard_id, owner, settings)
    assert claimed is not None
    return claimed


def complete(
    engine: Engine, storage: LocalStorage, settings: Settings, folder: Path, *, tested: bool = True
) -> None:
    """Finish every shard of the only computation, the merge with results made by hand."""
    shard_id = 1
    while True:
        claimed = take(engine, settings, shard_id)
        manifest: Manifest = {}
        if claimed.kind == "merge":
            for path in write_results(folder, tested=tested):
                manifest[path.name] = storage.put_file(f"{claimed.prefix}/{path.name}", path)
        with transaction(engine) as session:
            assert finish(session, claimed, manifest)
        if claimed.kind == "merge":
            return
        shard_id += 1


def write_results(folder: Path, *, tested: bool) -> list[Path]:
    """Results over `FASTA`: feature 1 active on both strands, 2 on "+", 0 and 3 dead."""
    folder.mkdir(exist_ok=True)
    write_stretches(
        to_stretches(
            Activations(
                feature=np.array([1, 1, 1, 2], np.uint32),
                strand=np.array([1, 1, -1, 1], np.int8),
                contig=np.array([0, 0, 0, 1], np.uint32),
                position=np.array([4, 5, 5, 9], np.int64),
                value=np.array([1.0, 2.0, 4.0, 8.0], np.float32),
            )
        ),
        folder / "activations.parquet",
    )
    strand = pa.array([1, -1, 1], pa.int8())
    pq.write_table(
        pa.table(
            {
                "feature": pa.array([1, 1, 2], pa.uint32()),
                "strand": strand,
                "active_bases": pa.array([2, 1, 1], pa.int64()),
                "scanned_bases": pa.array([25, 25, 25], pa.int64()),
                "density": pa.array([0.08, 0.04, 0.04]),
                "max": pa.array([2.0, 4.0, 8.0], pa.float32()),
                "q50": pa.array([1.0, 4.0, float("nan")], pa.float32()),
                "q90": pa.array([2.0, 4.0, 8.0], pa.float32()),
                "q99": pa.array([2.0, 4.0, 8.0], pa.float32()),
                "peaks": pa.array([1, 1, 1], pa.int64()),
                "match_motif_name": pa.array([None, "REB1", None]),
                "match_q": pa.array([None, 0.001, None], pa.float64()),
                "match_evidence": pa.array([None, "enriched", None]),
                "match_log2_enrichment": pa.array([None, 3.9, None], pa.float64()),
                "match_cluster": pa.array([None, "REB1 cluster", None]),
                "label": pa.array([None, None, "intron"]),
                "label_motif_name": pa.nulls(3, pa.string()),
                "label_motif_q": pa.nulls(3, pa.float64()),
                "label_motif_evidence": pa.nulls(3, pa.string()),
                "label_motif_cluster": pa.nulls(3, pa.string()),
                "label_motif_log2_enrichment": pa.nulls(3, pa.float64()),
                "peak_gene_kind": pa.array([None, None, "intron"]),
                "peak_gene_kind_share": pa.array([None, None, 0.9], pa.float64()),
            }
        ),
        folder / "features.parquet",
    )
    pq.write_table(
        pa.table(
            {
                "feature": pa.array([1, 1, 2], pa.uint32()),
                "strand": strand,
                "contig": pa.array([0, 0, 1], pa.uint32()),
                "position": pa.array([5, 5, 9], pa.int64()),
                "value": pa.array([2.0, 4.0, 8.0], pa.float32()),
                "rank": pa.array([1, 1, 1], pa.int32()),
                "motif_name": pa.array(["REB1", None, None]),
                "motif_strand": pa.array([-1, None, None], pa.int8()),
                "gene_name": pa.array([None, "ACT1 gene", None]),
                "genes": pa.array(["", "CDS;exon", ""]),
            }
        ),
        folder / "peaks.parquet",
    )
    match = {
        "feature": 1, "strand": -1, "matrix_id": "MA0363.3", "motif_name": "REB1", "peaks": 40,
        "hits": 30, "expected": 2.0, "log2_enrichment": 3.9, "odds_ratio": 57.0, "p": 1e-6,
        "q": 0.001, "offset": -3, "offset_share": 0.9, "gc": 0.4, "evidence": "enriched",
    }  # fmt: skip
    weak = match | {"feature": 2, "strand": 1, "p": 0.01, "q": 0.4}
    rows = [match, weak] if tested else []
    pq.write_table(pa.Table.from_pylist(rows, schema=MATCHES_SCHEMA), folder / "matches.parquet")
    concept = dict.fromkeys(CONCEPTS_SCHEMA.names) | {
        "feature": 2, "strand": 1, "concept": "intron", "orientation": "same", "positives": 5,
        "prevalence": 0.1, "auroc": 0.9, "auprc": 0.6, "f1": 0.5, "peaks": 40,
        "log2_enrichment": 2.0, "q": 0.01,
    }  # fmt: skip
    other = concept | {"feature": 1, "strand": -1, "auroc": 0.6, "f1": 0.2, "q": 0.3}
    pq.write_table(
        pa.Table.from_pylist([other, concept], schema=CONCEPTS_SCHEMA), folder / "concepts.parquet"
    )
    record = {
        "contigs": [{"length": 20}, {"length": 10}],
        "motif_test": {
            "tested": tested,
            "power": "tested" if tested else "underpowered",
            "loci": 2000 if tested else 0,
            "needed": 2000,
            "reason": "" if tested else "the sequences hold 0 independent windows",
            "release": "JASPAR2026",
            "taxon": "fungi",
        },
    }
    (folder / "provenance.json").write_text(json.dumps(record))
    return sorted(folder.iterdir())


@pytest.fixture
def finished(engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path) -> str:
    """Id of a complete run."""
    run_id = new_run(engine, storage, settings)
    complete(engine, storage, settings, tmp_path / "results")
    return run_id
