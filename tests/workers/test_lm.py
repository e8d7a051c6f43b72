"""Training of the language model: reproducible, resumable, and scored as it says."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from workers.language_models.paired_tree import PairedTree, PairedTreeConfig
from workers.training import lm
from workers.training.corpus import Contig, Corpus, join_contigs
from workers.training.lm import (
    BitsPerBase,
    LmTraining,
    bits_per_base,
    choose_precision,
    draw_batch,
    learning_rate,
    train_lm,
    window_centres,
)

TINY = PairedTreeConfig(width=8, distances=(2, 4), eight_width=2, joint_width=8, n_species=3)
SHORT = LmTraining(steps=6, window=24, batch=4, warmup=2, edge=3, seed=11)


@pytest.fixture(autouse=True)
def one_precision(monkeypatch):
    """The measured precision would make the exact tests depend on the machine's load."""
    monkeypatch.setattr(lm, "choose_precision", lambda device: torch.float32)


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other on such small matrices are slow on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    rng = np.random.default_rng(5)
    contigs = []
    for species in (0, 2):
        bases = rng.integers(0, 4, 300).astype(np.uint8)
        bases[100:104] = 4
        coding = np.zeros(300, bool)
        coding[150:220] = True
        contigs.append(Contig(bases, coding, species))
    return join_contigs(contigs, window=SHORT.window)


def no_validation(model):
    return BitsPerBase(2.0, 2.0, 1, 1)


def weights_of(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def train(corpus, out, config=SHORT, **more):
    options = {"model_config": TINY, "validate": no_validation, "report_every": 2} | more
    return train_lm(corpus, config, out, **options)


def test_a_batch_is_a_function_of_seed_and_step(corpus):
    centres = window_centres(corpus)
    first = draw_batch(corpus, centres, SHORT, 3)
    np.random.default_rng().random(7)
    torch.rand(3)
    again = draw_batch(corpus, centres, SHORT, 3)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    other_seed = draw_batch(corpus, centres, LmTraining(window=24, batch=4, edge=3, seed=12), 3)
    assert not torch.equal(first.ids, draw_batch(corpus, centres, SHORT, 4).ids)
    assert not torch.equal(first.ids, other_seed.ids)


def test_windows_are_stretches_of_the_corpus_on_either_strand(corpus):
    """Each window is found in the corpus, with the weights its bases must have."""
    config = LmTraining(steps=6, window=24, batch=16, edge=3, seed=1, species_dropout=0.0)
    centres = window_centres(corpus)
    turned_bases = np.where(corpus.bases < 4, 3 - corpus.bases, 4)[::-1]
    strands = [(corpus.bases, corpus.coding, corpus.species)]
    strands.append((turned_bases, corpus.coding[::-1], corpus.species[::-1]))
    edge = np.ones(24)
    edge[:3] = edge[-3:] = config.edge_weight
    seen = set()
    for step in range(6):
        ids, species, weight = (part.numpy() for part in draw_batch(corpus, centres, config, step))
        for row in range(len(ids)):
            places = [
                (strand, at)
                for strand, (bases, _, _) in enumerate(strands)
                for at in range(len(bases) - 23)
                if np.array_equal(bases[at : at + 24], ids[row])
            ]
            assert len(places) == 1
            strand, at = places[0]
            _, coding, rows = strands[strand]
            expected = edge * np.where(coding[at : at + 24], config.coding_weight, 1.0)
            expected = np.where(ids[row] == 4, 0.0, expected)
            assert weight[row] == pytest.approx(expected)
            assert species[row] in rows[at : at + 24]
            seen.add(strand)
    assert seen == {0, 1}


def test_n_weighs_nothing_in_the_loss(corpus):
    batch = draw_batch(corpus, window_centres(corpus), LmTraining(window=24, batch=64, edge=3), 0)
    at_n = batch.ids == 4
    assert at_n.any()
    assert (batch.weight[at_n] == 0).all()
    assert (batch.weight[~at_n] > 0).all()


def test_windows_are_centred_on_noncoding_bases(corpus):
    centres = window_centres(corpus)
    assert len(centres.known) == 2 * 296
    assert len(centres.noncoding) == 2 * (296 - 70)
    assert (corpus.bases[centres.known] < 4).all()
    assert not corpus.coding[centres.noncoding].any()


def test_a_corpus_without_noncoding_bases_is_refused():
    everything = join_contigs([Contig(np.zeros(9, np.uint8), np.ones(9, bool), 0)], window=4)
    with pytest.raises(ValueError, match="no non-coding base"):
        window_centres(everything)


def test_species_are_hidden_as_often_as_told(corpus):
    centres = window_centres(corpus)
    only_two = Corpus(corpus.bases, corpus.coding, np.full_like(corpus.species, 2))
    for share in (0.0, 1.0):
        config = LmTraining(window=24, batch=32, edge=3, species_dropout=share)
        species = draw_batch(only_two, centres, config, 0).species
        assert (species == 2 * (1 - share)).all()


def test_the_rate_warms_up_and_falls_to_three_percent():
    config = LmTraining(steps=1000, warmup=100, rate=0.01)
    assert learning_rate(config, 0) == pytest.approx(0.01 / 100)
    assert learning_rate(config, 49) == pytest.approx(
        0.01 * 0.5 * (0.03 + 0.97 * (1 + math.cos(math.pi * 0.049)) / 2)
    )
    assert learning_rate(config, 500) == pytest.approx(0.01 * (0.03 + 0.97 / 2))
    assert learning_rate(config, 1000) == pytest.approx(0.01 * 0.03)
    rates = [learning_rate(config, step) for step in range(100, 1001)]
    assert rates == sorted(rates, reverse=True)
    assert learning_rate(LmTraining(steps=10, warmup=0, rate=0.01), 0) == pytest.approx(0.01)


def test_with_a_cooldown_the_rate_is_constant_and_then_falls_in_a_line():
    config = LmTraining(steps=1000, warmup=10, rate=0.01, cooldown=0.2)
    assert config.constant_steps == 800
    assert {learning_rate(config, step) for step in (10, 400, 800)} == {0.01}
    assert learning_rate(config, 900) == pytest.approx(0.01 * (0.03 + 0.97 / 2))
    assert learning_rate(config, 1000) == pytest.approx(0.01 * 0.03)
    assert LmTraining(steps=1000).constant_steps == 0
    with pytest.raises(ValueError, match="share from 0 to 1"):
        LmTraining(cooldown=1.5)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"batch": 0}, {"window": 32, "edge": 16}])
def test_settings_no_run_could_follow_are_refused(bad):
    with pytest.raises(ValueError, match="window larger than"):
        LmTraining(**bad)


def test_precision_is_one_of_two():
    assert choose_precision(torch.device("cpu")) in (torch.float32, torch.bfloat16)


def test_training_twice_gives_the_same_bits(corpus, tmp_path):
    first, second = (
        weights_of(train(corpus, tmp_path / "a")),
        weights_of(train(corpus, tmp_path / "b")),
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = weights_of(train(corpus, tmp_path / "c", LmTraining(**{**SHORT.__dict__, "seed": 12})))
    assert not torch.equal(first["out.weight"], other["out.weight"])


class Stopped(Exception):  # noqa: N818 - stands for a killed process
    pass


@pytest.mark.parametrize("stop_at", [2, 4])
def test_a_resumed_run_is_bitwise_an_uninterrupted_one(corpus, tmp_path, stop_at):
    whole = weights_of(train(corpus, tmp_path / "whole"))

    def stop(line):
        if line["step"] == stop_at:
            raise Stopped

    with pytest.raises(Stopped):
        train(corpus, tmp_path / "cut", on_report=stop)
    torch.manual_seed(999)
    steps = []
    resumed = weights_of(
        train(corpus, tmp_path / "cut", on_report=lambda line: steps.append(line["step"]))
    )
    assert steps == list(range(stop_at + 2, 7, 2))
    assert set(whole) == set(resumed)
    for name, weight in whole.items():
        assert torch.equal(weight, resumed[name]), name
    curves = [(tmp_path / run / "curve.jsonl").read_text().splitlines() for run in ("whole", "cut")]
    assert [[json.loads(line)["step"] for line in curve] for curve in curves] == [[2, 4, 6]] * 2


COOLED = replace(SHORT, cooldown=0.5)


def test_a_longer_run_goes_on_from_before_the_cooldown(corpus, tmp_path):
    longer = replace(COOLED, steps=12)
    whole = weights_of(train(corpus, tmp_path / "whole", longer))
    train(corpus, tmp_path / "extended", COOLED)
    steps = []
    extended = train(
        corpus, tmp_path / "extended", longer, on_report=lambda line: steps.append(line["step"])
    )
    assert steps[0] == 4
    assert all(torch.equal(whole[name], w) for name, w in weights_of(extended).items())


def test_a_shorter_run_is_refused_in_the_cooldown(corpus, tmp_path):
    train(corpus, tmp_path, replace(COOLED, steps=12))
    with pytest.raises(ValueError, match="other settings"):
        train(corpus, tmp_path, COOLED)


def test_a_checkpoint_of_before_a_size_could_be_chosen_goes_on(corpus, tmp_path):
    model = train(corpus, tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    settings = json.loads(metadata["settings"])
    del settings["model"]["hidden"]
    save_file(tensors, path, metadata=metadata | {"settings": json.dumps(settings)})
    again = train(corpus, tmp_path)
    assert all(torch.equal(w, weights_of(again)[name]) for name, w in weights_of(model).items())
    settings["model"]["width"] = 4
    save_file(tensors, path, metadata=metadata | {"settings": json.dumps(settings)})
    with pytest.raises(ValueError, match="other settings"):
        train(corpus, tmp_path)


def test_a_longer_cosine_is_refused(corpus, tmp_path):
    train(corpus, tmp_path, SHORT)
    with pytest.raises(ValueError, match="other settings"):
        train(corpus, tmp_path, replace(SHORT, steps=12))


def test_a_finished_run_is_not_trained_further(corpus, tmp_path):
    weights = weights_of(train(corpus, tmp_path))
    again = weights_of(train(corpus, tmp_path))
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_a_checkpoint_of_other_settings_is_refused(corpus, tmp_path):
    train(corpus, tmp_path)
    other = LmTraining(**{**SHORT.__dict__, "rate": 1e-3})
    with pytest.raises(ValueError, match="other settings"):
        train(corpus, tmp_path, other)
    with pytest.raises(ValueError, match="other settings"):
        train(corpus, tmp_path, model_config=PairedTreeConfig(width=8))


def test_the_checkpoint_holds_the_weights_that_were_trained(corpus, tmp_path):
    weights = weights_of(train(corpus, tmp_path))
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as file:
        assert file.metadata()["step"] == "6"
        for name, weight in weights.items():
            assert torch.equal(file.get_tensor(f"model.{name}"), weight)


def test_training_learns_a_repeat(tmp_path):
    bases = np.tile(np.array([0, 0, 1, 2, 3, 1, 3], np.uint8), 60)
    corpus = join_contigs([Contig(bases, np.zeros(len(bases), bool), 0)], window=24)
    config = LmTraining(steps=40, window=24, batch=8, warmup=5, edge=3, rate=1e-2)
    validate = lambda model: bits_per_base(  # noqa: E731 - one expression
        model, bases, np.zeros(len(bases), bool), window=24
    )
    reports = []
    train(corpus, tmp_path, config, validate=validate, report_every=20, on_report=reports.append)
    assert reports[-1]["bits_noncoding"] < 1.0
    assert math.isnan(reports[-1]["bits_coding"])


def test_bits_equal_a_slow_loop():
    torch.manual_seed(0)
    model = PairedTree(TINY).eval()
    rng = np.random.default_rng(3)
    bases = rng.integers(0, 5, 107).astype(np.uint8)
    coding = rng.random(107) < 0.4
    window = 16
    sums, counts = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    start = 0
    while start + window <= len(bases):
        ids = torch.tensor(bases[start : start + window].astype(np.int64))[None]
        with torch.no_grad():
            logits = model(ids, torch.zeros(1, dtype=torch.long), symmetric=True)[0]
        log_p = torch.log_softmax(logits.double(), -1)
        for i in range(4, 12):
            if bases[start + i] < 4:
                kind = bool(coding[start + i])
                sums[kind] -= float(log_p[i, int(bases[start + i])]) / math.log(2)
                counts[kind] += 1
        start += 8
    found = bits_per_base(model, bases, coding, window=window, batch=3)
    assert (found.coding_bases, found.noncoding_bases) == (counts[True], counts[False])
    assert found.coding == pytest.approx(sums[True] / counts[True], rel=1e-5)
    assert found.noncoding == pytest.approx(sums[False] / counts[False], rel=1e-5)


def test_bits_of_a_kind_that_is_absent_are_nan():
    model = PairedTree(TINY).eval()
    found = bits_per_base(model, np.zeros(40, np.uint8), np.zeros(40, bool), window=16)
    assert math.isnan(found.coding)
    assert found.coding_bases == 0
    assert 0 < found.noncoding < 10
