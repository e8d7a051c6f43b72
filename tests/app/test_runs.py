"""Submissions and runs: what makes two equal, who shares, what cancel and delete leave."""

import gzip
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from annotations.cards import DictionaryCard, find_cards
from annotations.errors import (
    FormatError,
    LimitError,
    OptionError,
    SaetrackError,
    StateError,
    UnknownNameError,
)
from annotations.options import RunOptions
from annotations.sequences import open_fasta
from annotations.types import Contig
from app.config import Settings
from app.database import reading, transaction
from app.models import Computation, Run, Shard
from app.runs import (
    cancel_run,
    delete_run,
    get_run,
    list_runs,
    run_progress,
    run_state,
)
from app.shards import fail, renew
from app.storage import LocalStorage, manifest_from_json
from app.submissions import (
    CreatedRun,
    computation_parameters,
    create_run,
    parameters_digest,
)
from tests.app.conftest import FASTA, complete, new_run, take

GENES = b"chrA\t2\t8\tGENE1\t0\t+\n"


def submit(
    engine: Engine,
    storage: LocalStorage,
    settings: Settings,
    fasta: bytes = FASTA,
    *,
    owner: str = "local",
    genes: bytes | None = None,
    title: str | None = None,
    filename: str | None = None,
    **options: object,
) -> CreatedRun:
    return create_run(
        engine,
        storage,
        find_cards(settings.models_dirs),
        sequences=BytesIO(fasta),
        genes=None if genes is None else BytesIO(genes),
        genes_filename="genes.bed",
        title=title,
        filename=filename,
        options=RunOptions.from_json({"dictionary": "toy-sae", **options}),
        owner=owner,
        settings=settings,
    )


def count(engine: Engine, kind: type[Run] | type[Computation] | type[Shard]) -> int:
    with reading(engine) as session:
        return session.query(kind).count()


def test_a_submission_becomes_a_run_and_normalised_files(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    created = submit(
        engine,
        storage,
        settings,
        FASTA.replace(b"ACGT", b"acgt"),
        genes=GENES,
        filename="C:\\x\\..\\yeast.fa",
    )
    assert created.created
    assert not created.complete
    with reading(engine) as session:
        run = get_run(session, created.run_id, "local")
        assert run.contig_names == ["chrA", "chrB"]
        assert run.filename == "yeast.fa"
        assert run.computation.lengths == [20, 10]
        inputs = manifest_from_json(run.computation.inputs)
    with open_fasta(storage.local_path(inputs["sequences.fa"])) as fasta:
        assert fasta.names == ["0", "1"]
        assert fasta.fetch("1", 0, 10) == b"NNNNNACGTT"


def test_genes_are_stored_by_contig_number(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    created = submit(engine, storage, settings, genes=GENES)
    with reading(engine) as session:
        run = get_run(session, created.run_id, "local")
        inputs = manifest_from_json(run.computation.inputs)
    table = pq.read_table(storage.local_path(inputs["genes.parquet"]))
    assert set(table.column("contig").to_pylist()) == {0}
    assert "GENE1" in table.column("name").to_pylist()


def test_the_same_submission_is_computed_once_whatever_its_names(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    first = submit(engine, storage, settings)
    second = submit(
        engine,
        storage,
        settings,
        gzip.compress(FASTA.replace(b"chrA", b"one").replace(b"chrB", b"two").lower()),
        title="again",
    )
    assert (first.created, second.created) == (True, False)
    assert first.run_id != second.run_id
    assert (count(engine, Run), count(engine, Computation)) == (2, 1)
    assert len(list(storage.list("computations"))) == 1
    with reading(engine) as session:
        assert get_run(session, second.run_id, "local").contig_names == ["one", "two"]


@pytest.mark.parametrize(
    "other",
    [
        {"fasta": FASTA.replace(b"CGTT", b"CGTA")},
        {"fasta": b">chrB\nNNNNNACGTT\n>chrA\nACGTACGTACGTACGTACGT\n"},
        {"taxon": "fungi"},
        {"strands": "forward"},
        {"seed": 1},
        {"genes": GENES},
    ],
)
def test_another_content_or_option_is_another_computation(
    other: dict[str, object], engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    submit(engine, storage, settings)
    assert submit(engine, storage, settings, **other).created  # type: ignore[arg-type]
    assert count(engine, Computation) == 2


def test_shard_size_is_no_part_of_what_is_computed(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    submit(engine, storage, settings)
    assert not submit(engine, storage, replace(settings, shard_bases=5_000)).created


def test_owners_share_only_where_that_is_allowed(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    assert submit(engine, storage, settings, owner="a").created
    assert submit(engine, storage, settings, owner="b").created
    shared = replace(settings, share_computations=True)
    assert submit(engine, storage, shared, owner="a").created
    assert not submit(engine, storage, shared, owner="b").created


CARD_FIELDS = {
    "sha256": "3" * 64,
    "stride": 16,
    "context": 16,
    "layer": 2,
    "model_sha256": "4" * 64,
}


@pytest.mark.parametrize("field", CARD_FIELDS)
def test_the_digest_holds_the_dictionary(field: str, settings: Settings) -> None:
    card = find_cards(settings.models_dirs).dictionary("toy-sae")
    other = replace(card, **{field: CARD_FIELDS[field]})  # type: ignore[arg-type]
    assert digest_of(["a"], card) != digest_of(["a"], other)
    assert digest_of(["a"], card) == digest_of(["a"], replace(card, title="new"))


def digest_of(names: list[str], card: DictionaryCard) -> str:
    found = [Contig(name, 4, "SQ.x") for name in names]
    options = RunOptions(dictionary=card.id)
    return parameters_digest(computation_parameters(found, None, card, None, options))


@hypothesis_settings(max_examples=30, deadline=None)
@given(names=st.lists(st.text(min_size=1), min_size=2, max_size=2))
def test_the_digest_holds_no_names(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    card = DictionaryCard(
        id="d", title="", model_id="m", model_sha256="0" * 64, layer=1, d_in=1, d_sae=1, k=1,
        sha256="0" * 64, stride=8, context=8, licence="", source="",
    )  # fmt: skip
    assert digest_of(names, card) == digest_of(["x", "y"], card)


def test_an_atlas_is_part_of_the_digest(settings: Settings, tmp_path: Path) -> None:
    card = find_cards(settings.models_dirs).dictionary("toy-sae")
    options = RunOptions(dictionary=card.id)
    atlas = tmp_path / "atlas"
    atlas.mkdir()
    digests = []
    for text in ("a", "b"):
        (atlas / "atlas.json").write_text(text)
        digests.append(parameters_digest(computation_parameters([], None, card, atlas, options)))
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"fasta": b""}, FormatError),
        ({"fasta": b">p\nMKLVEE\n"}, FormatError),
        ({"fasta": b">a\nACGT\n>a\nACGT\n"}, FormatError),
        ({"fasta": gzip.compress(FASTA)[:-9]}, FormatError),
        ({"fasta": b">a\n" + b"A" * 2_001}, LimitError),
        ({"genes": b"chrZ\t1\t2\n"}, FormatError),
        ({"title": "x" * 201}, OptionError),
        ({"title": "a\nb"}, OptionError),
        ({"dictionary": "toy-sea"}, UnknownNameError),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    given: dict[str, object],
    error: type[SaetrackError],
    engine: Engine,
    storage: LocalStorage,
    settings: Settings,
) -> None:
    small = replace(settings, max_bases=2_000)
    with pytest.raises(error):
        submit(engine, storage, small, **given)  # type: ignore[arg-type]
    assert count(engine, Run) == count(engine, Computation) == 0
    assert list(storage.list("computations")) == []
    assert list(settings.upload_dir.iterdir()) == []


def test_a_failed_insert_leaves_no_files(
    engine: Engine, storage: LocalStorage, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise StateError("no")

    monkeypatch.setattr("app.shard_plan.plan_shards", broken)
    with pytest.raises(StateError):
        submit(engine, storage, settings)
    assert list(storage.list("computations")) == []


def test_a_complete_computation_answers_at_once(
    finished: str, engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    again = submit(engine, storage, settings, taxon="fungi")
    assert (again.created, again.complete) == (False, True)
    with reading(engine) as session:
        run = get_run(session, again.run_id, "local")
        assert run_state(run) == "COMPLETE"
        assert run_progress(session, run).fraction == 1.0


@pytest.mark.parametrize("how", ["failed", "canceled"])
def test_what_failed_or_was_canceled_is_computed_again_and_keeps_what_is_done(
    how: str, engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    first = new_run(engine, storage, settings)
    if how == "failed":
        claimed = take(engine, settings, 1)
        with transaction(engine) as session:
            fail(session, claimed, code="x", message="m", retryable=False, settings=settings)
    else:
        with transaction(engine) as session:
            cancel_run(session, get_run(session, first, "local"))
    again = submit(engine, storage, settings, taxon="fungi")
    assert (again.created, again.complete) == (True, False)
    assert count(engine, Computation) == 1
    with reading(engine) as session:
        state = run_state(get_run(session, first, "local"))
        assert state == ("QUEUED" if how == "failed" else "CANCELED")
        assert run_state(get_run(session, again.run_id, "local")) == "QUEUED"
    assert take(engine, settings, 1).attempt == 1


def test_progress_goes_from_0_to_1(
    engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> None:
    run_id = new_run(engine, storage, settings)
    seen = []

    def look() -> None:
        with reading(engine) as session:
            seen.append(run_progress(session, get_run(session, run_id, "local")))

    look()
    claimed = take(engine, settings, 1)
    with transaction(engine) as session:
        renew(session, claimed, settings, bases_done=15)
    look()
    with transaction(engine) as session:
        fail(session, claimed, code="x", message="m", retryable=True, settings=settings)
    complete(engine, storage, settings, tmp_path / "results")
    look()
    assert [item.fraction for item in seen] == [0.0, 0.45, 1.0]
    assert [item.bases_done for item in seen] == [0, 15, 30]
    assert [item.shards_done for item in seen] == [0, 0, 2]
    assert seen[0].shards == 2


def test_another_owners_run_is_as_if_it_were_not(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    run_id = new_run(engine, storage, settings, owner="a")
    with reading(engine) as session:
        with pytest.raises(UnknownNameError):
            get_run(session, run_id, "b")
        assert list_runs(session, "b", limit=5, page_token=None).runs == []
    with pytest.raises(UnknownNameError):
        delete_run(engine, storage, run_id, "b")


def test_runs_are_listed_newest_first_in_pages(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    made = [new_run(engine, storage, settings) for _ in range(5)]
    found: list[str] = []
    token = None
    with reading(engine) as session:
        while True:
            page = list_runs(session, "local", limit=2, page_token=token)
            found += [run.id for run in page.runs]
            token = page.next_page_token
            if token is None:
                break
        created = {run.id: run.created_at for run in session.query(Run)}
    assert sorted(found) == sorted(made)
    assert [created[run_id] for run_id in found] == sorted(created.values(), reverse=True)


@pytest.mark.parametrize("token", ["", "x", "!!", "bnVsbA", "WzEsMl0", "é", "WzEuMCwiXHVkODAwIl0"])
def test_a_made_up_page_token_is_refused(token: str, engine: Engine) -> None:
    with reading(engine) as session, pytest.raises(OptionError, match="page_token"):
        list_runs(session, "local", limit=2, page_token=token)


def test_a_canceled_run_does_not_stop_another_of_equal_content(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    first, second = new_run(engine, storage, settings), new_run(engine, storage, settings)
    with transaction(engine) as session:
        cancel_run(session, get_run(session, first, "local"))
        cancel_run(session, get_run(session, first, "local"))
    with reading(engine) as session:
        assert run_state(get_run(session, first, "local")) == "CANCELED"
        assert run_state(get_run(session, second, "local")) == "QUEUED"
    # the last run that waits is deleted: nobody wants the work any more
    delete_run(engine, storage, second, "local")
    with reading(engine) as session:
        assert session.query(Computation).one().state == "CANCELED"


def test_a_finished_run_cannot_be_canceled(finished: str, engine: Engine) -> None:
    with transaction(engine) as session, pytest.raises(StateError, match="COMPLETE"):
        cancel_run(session, get_run(session, finished, "local"))


def test_files_go_with_the_last_run(
    finished: str, engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    second = new_run(engine, storage, settings)
    delete_run(engine, storage, finished, "local")
    assert len(list(storage.list("computations"))) > 1
    delete_run(engine, storage, second, "local")
    assert list(storage.list("computations")) == []
    assert count(engine, Computation) == count(engine, Shard) == count(engine, Run) == 0
