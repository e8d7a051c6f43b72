"""Analyses at work: answered, stopped, tried again, and always given an end."""

import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from annotations.activations import from_stretches, read_feature
from annotations.cards import find_cards
from annotations.concept_tracks import INTERVALS_SCHEMA
from annotations.errors import OptionError, StorageError, WeightsError
from app.analyses import cancel_analysis, create_analysis
from app.analysis_leases import claim_analysis
from app.database import reading, transaction
from app.models import Analysis, Run
from app.storage import manifest_from_json
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from tests.workers.test_causal import MOTIF
from tests.workers.test_tasks import Installation
from workers import analyses, tasks
from workers.analyses import AnalysisRunner
from workers.causal_folder import parse_row
from workers.registry import open_dictionary
from workers.run_sequences import read_codes


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return make_tiny_models(tmp_path_factory.mktemp("analysis-models"))


@pytest.fixture(scope="module")
def here(tmp_path_factory, models):
    """An installation whose analyses come and go beside one complete run."""
    return Installation(tmp_path_factory.mktemp("analyses"), models)


@pytest.fixture(scope="module")
def run_id(here):
    run_id = here.submit(6000)
    here.work(here.runner())
    assert here.computation(run_id)[0] == "COMPLETE", here.computation(run_id)[1].error_message
    return run_id


def ask(here, run_id, kind, parameters, tables=None):
    return create_analysis(
        here.engine,
        here.storage,
        run_id=run_id,
        owner="me",
        kind=kind,
        parameters=parameters,
        settings=here.settings,
        tables=tables,
    )


def ask_causal(here, run_id, feature=7, strand="-", word=MOTIF):
    motif = {"matrix_id": word.matrix_id, "name": word.name, "counts": word.counts.tolist()}
    parameters = {"feature": feature, "strand": strand, "motif": motif, "sites": 20, "seed": 0}
    return ask(here, run_id, "causal_test", parameters)


def answerer(here, **changes):
    return AnalysisRunner(here.runner(**changes))


def row(here, analysis_id):
    with reading(here.engine) as session:
        return session.get_one(Analysis, analysis_id)


def result_path(here, run_id, name):
    with reading(here.engine) as session:
        computation = session.get_one(Run, run_id).computation
    files = manifest_from_json(computation.results) | manifest_from_json(computation.inputs)
    return here.storage.local_path(files[name])


def test_a_causal_test_is_that_of_the_library(here, run_id, models):
    asked = ask_causal(here, run_id)
    assert answerer(here).run(asked)
    done = row(here, asked)
    assert (done.state, done.attempts, done.error_code) == ("COMPLETE", 1, None)
    options = analyses.CausalOptions(sites=20)
    codes = read_codes(result_path(here, run_id, "sequences.fa")).codes
    wanted = analyses.causal_test(
        open_dictionary(find_cards([models]).dictionary(DICTIONARY_ID), [models]),
        analyses.Genome.of(codes, options),
        result_path(here, run_id, "activations.parquet"),
        feature=7,
        strand=-1,
        motif=MOTIF,
        options=options,
    )
    assert done.result == wanted.to_json(["one"])
    assert "silent windows" in done.result["insert"]["reason"]
    assert done.result["typical"] > 0
    # a second message does nothing
    assert not answerer(here).run(asked)
    assert not answerer(here).run("unknown")


def test_lost_results_that_are_computed_again_are_said(here, run_id):
    with reading(here.engine) as session:
        results = session.get_one(Run, run_id).computation.results
    asked = ask_causal(here, run_id)
    with transaction(here.engine) as session:
        session.get_one(Run, run_id).computation.results = None
    try:
        assert not answerer(here).run(asked)
    finally:
        with transaction(here.engine) as session:
            session.get_one(Run, run_id).computation.results = results
    done = row(here, asked)
    assert (done.state, done.error_code) == ("EXECUTOR_ERROR", "state-conflict")
    assert "were lost and are computed again now; ask again" in done.error_message


def test_intervals_at_a_features_peaks_find_the_feature(here, run_id):
    sequence = read_codes(result_path(here, run_id, "sequences.fa")).codes[0]
    active = from_stretches(read_feature(result_path(here, run_id, "activations.parquet"), 7, 1))
    starts = np.unique(active.position // 20 * 20)
    intervals = pa.table(
        [
            np.zeros(len(starts), np.uint32),
            starts,
            np.minimum(starts + 20, len(sequence)),
            np.zeros(len(starts), np.int8),
        ],
        schema=INTERVALS_SCHEMA,
    )
    asked = ask(
        here,
        run_id,
        "bed_concept",
        {"name": "where 7 fires", "limit": 5, "seed": 0},
        {"foreground.parquet": intervals},
    )
    assert answerer(here).run(asked)
    result = row(here, asked).result
    assert (result["name"], len(result["features"])) == ("where 7 fires", 5)
    best = result["features"][0]
    assert (best["feature"], best["strand"], best["active_share"]) == (7, "+", 1.0)
    assert best["q"] < 1e-6
    assert result["significant"] >= 1


def test_a_worker_that_died_is_replaced_by_another(here, run_id):
    brief = replace(here.settings, lease_seconds=0.2)
    asked = ask_causal(here, run_id)
    with transaction(here.engine) as session:
        assert claim_analysis(session, asked, "worker-that-dies", brief) is not None
    assert not answerer(here).run(asked)
    time.sleep(0.3)
    assert answerer(here).run(asked)
    assert (row(here, asked).state, row(here, asked).attempts) == ("COMPLETE", 2)


def test_a_canceled_analysis_stops_the_work(here, run_id, monkeypatch):
    asked = ask_causal(here, run_id)

    def cancel_then_check(*args, check, **options):
        with transaction(here.engine) as session:
            cancel_analysis(session, session.get_one(Analysis, asked))
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            check()
            time.sleep(0.02)
        raise AssertionError("the work went on after it was canceled")

    monkeypatch.setattr(analyses, "causal_test", cancel_then_check)
    monkeypatch.setattr(tasks, "RENEW_SECONDS", 0.05)
    assert not answerer(here).run(asked)
    assert (row(here, asked).state, row(here, asked).result) == ("CANCELED", None)


def test_a_process_that_is_to_stop_gives_its_analysis_back(here, run_id):
    asked = ask_causal(here, run_id)
    told = iter([False])
    assert not answerer(here, stopping=lambda: next(told, True)).run(asked)
    assert (row(here, asked).state, row(here, asked).attempts) == ("QUEUED", 0)
    assert answerer(here).run(asked)


def test_what_cannot_be_answered_is_no_error_of_ours(here, run_id, monkeypatch, caplog):
    asked = ask_causal(here, run_id)

    def refuse(*args, **options):
        raise OptionError("there is no room")

    monkeypatch.setattr(analyses, "causal_test", refuse)
    with caplog.at_level("INFO", logger="workers.analyses"):
        assert not answerer(here).run(asked)
    assert row(here, asked).state == "EXECUTOR_ERROR"
    [record] = [one for one in caplog.records if asked in one.getMessage()]
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert "there is no room" in record.getMessage()


def test_an_error_that_may_pass_is_tried_three_times(here, run_id, monkeypatch):
    asked = ask_causal(here, run_id)

    def refuse(*args, **options):
        raise StorageError(f"{here.settings.data_dir}/files/x is missing")

    monkeypatch.setattr(analyses, "causal_test", refuse)
    for attempt in range(1, 4):
        assert not answerer(here).run(asked)
        assert row(here, asked).attempts == attempt
    done = row(here, asked)
    assert (done.state, done.error_code) == ("SYSTEM_ERROR", "storage-error")
    assert done.error_message == "files/x is missing"
    assert not answerer(here).run(asked)


def test_an_error_that_stays_is_told_at_once(here, run_id):
    asked = ask_causal(here, run_id, feature=64)
    assert not answerer(here).run(asked)
    done = row(here, asked)
    assert (done.state, done.error_code, done.attempts) == ("EXECUTOR_ERROR", "unknown-name", 1)
    assert "has features 0 to 63, got 64" in done.error_message


def test_other_weights_than_the_runs_are_refused(here, run_id, tmp_path):
    asked = ask_causal(here, run_id)
    other = make_tiny_models(tmp_path / "other", seed=5)
    assert not answerer(here, roots=[other]).run(asked)
    done = row(here, asked)
    assert (done.state, done.error_code) == ("SYSTEM_ERROR", WeightsError.code)
    assert "has other weights here" in done.error_message


def test_a_feature_row_needs_its_strand():
    assert parse_row("0+", 1) == (0, "+")
    with pytest.raises(LookupError, match="such as 374- or 374"):
        parse_row("374", 4096)
    with pytest.raises(LookupError, match="numbered 0 to 9"):
        parse_row("10-", 10)
