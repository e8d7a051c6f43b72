"""Settings tried on toys: planted sites are found, lines resume, seeds are compared."""

import gzip
import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from annotations.cards import ModelCard
from annotations.motif_catalogue import Motif
from tests.workers.factories import TINY, make_tiny_models, make_tiny_tree
from workers.evidence.data import BLACKLIST, FASTA, GFF, LOCATIONS, YeastContig
from workers.evidence.reading import Pooled
from workers.evidence.sites import loci_of
from workers.training.cli import train
from workers.training.corpus import Contig, join_contigs
from workers.training.sae import SaeTraining, train_sae
from workers.training.seeds import partners, recurrence
from workers.training.sweep import (
    MEASURES,
    TOP,
    Choice,
    Side,
    Subject,
    choose,
    context_of,
    measure,
    opened,
    read_side,
    run_sweep,
    try_settings,
    window_for,
)

WORD = np.array([0, 1, 2, 3, 3, 2, 1, 0], np.uint8)
COUNTS = np.full((4, 8), 1.0)
COUNTS[WORD, np.arange(8)] = 97
MOTIF = Motif("MA0000.1", "WORD1", COUNTS, (), (), "fungi", ())
SETTINGS = SaeTraining(features=64, k=4, steps=4, tokens=256, layer=2, tap="pair", window=96)


def contig_of(name: str, seed: int) -> tuple[YeastContig, np.ndarray]:
    """30 kb with the word every 100 bases, all bases usable."""
    bases = np.random.default_rng(seed).integers(0, 4, 30_000).astype(np.uint8)
    places = np.arange(101, 29_900, 100)
    bases[places[:, None] + np.arange(8)] = WORD
    none = np.zeros(len(bases), bool)
    return YeastContig(name, bases, none, none, none, none), places


@pytest.fixture(scope="module")
def sides() -> list[Side]:
    """Discovery and evaluation; every second word is bound."""
    found = []
    for name, seed in (("chrA", 0), ("chrB", 1)):
        contig, places = contig_of(name, seed)
        locations = {name: {"word": np.sort(places[::2] + 4)}}
        background = np.full(4, 0.25)
        found.append(Side.of(loci_of([contig]), {"WORD": (MOTIF,)}, background, locations))
    return found


def pooled_of(side: Side, bins: list[np.ndarray], values: list[np.ndarray]) -> list[Pooled]:
    """What two features say, in place of a dictionary."""
    first = np.cumsum([0, *(len(one) for one in bins)])
    bin_, value = np.concatenate(bins).astype(np.uint32), np.concatenate(values).astype(np.float32)
    return [Pooled(first, bin_, value, np.diff(first), side.loci[0].contig.bases.size)]


def test_features_are_chosen_by_what_their_best_loci_hold(sides):
    """Feature 0 is high at bound words, 1 at all words, 2 at none."""
    chosen, figures = [], []
    for side in sides:
        _, places = contig_of("chrA", 0)
        middle = (places + 4) // 10
        elsewhere = middle + 5
        bound = np.arange(len(middle)) % 2 == 0
        pooled = pooled_of(
            side,
            [middle, middle, elsewhere],
            [np.where(bound, 5.0, 1.0), np.arange(len(middle)) + 1.0, np.full(len(middle), 2.0)],
        )
        chosen.append(choose(pooled, side)["WORD"])
        figures.append(measure(pooled, side, {"WORD": chosen[0]})["WORD"])
    assert {what: chosen[0][what].feature for what in MEASURES} == {
        "binding": 0,
        "motif": 0,  # of equal shares the first
        "instances": 0,
    }
    assert chosen[0]["binding"].figure == chosen[0]["motif"].figure == 1.0
    assert figures[1]["binding"][0] == figures[1]["motif"][0] == figures[1]["instances"][0] == 1.0


def test_a_silent_choice_is_worth_the_base_rate(sides):
    nothing = {what: Choice(None, None) for what in MEASURES}
    pooled = pooled_of(sides[1], [np.arange(3)], [np.ones(3)])
    found = measure(pooled, sides[1], {"WORD": nothing})["WORD"]
    target = sides[1].targets["WORD"]
    assert found["binding"][0] == pytest.approx(target.bound[0].mean())
    assert found["motif"][0] == pytest.approx(target.hit[0].mean())
    assert found["instances"][0] == pytest.approx(0.5)
    assert TOP > 3


@pytest.fixture(scope="module")
def subject() -> Subject:
    card = ModelCard(
        id="tiny",
        title="",
        architecture="paired_tree",
        config={},
        weights="model.safetensors",
        sha256="0" * 64,
        n_parameters=1,
        context=TINY.reach(2),
        licence="",
        source="",
        random_weights=True,
    )
    return Subject(card, make_tiny_tree())


@pytest.fixture(scope="module")
def corpus():
    contig, _ = contig_of("chrA", 2)
    return join_contigs([Contig(contig.bases, contig.coding, 0)], window=96)


def test_a_trial_gives_one_line_for_the_model_and_its_control(subject, corpus, sides):
    validation = (contig_of("chrV", 3)[0].bases[:4000], np.ones(4000, bool))
    same = {"model": subject, "control": subject}
    line = try_settings(same, corpus, SETTINGS, *sides, validation=validation)
    assert json.loads(json.dumps(line, allow_nan=False)) == line
    assert line["settings"]["tap"] == "pair"
    model, control = line["subjects"]["model"], line["subjects"]["control"]
    assert model["fidelity"] == control["fidelity"]
    assert 0 < model["fidelity"]["l0"] < 64
    # the same model is nothing above itself, in no draw of blocks
    assert line["over"]["control"]["tfs"]["WORD"]["motif"] == {"value": 0, "low": 0, "high": 0}
    assert line["over"]["control"]["mean"]["binding"] == {"value": 0, "low": 0, "high": 0}


def test_a_dictionary_tried_is_the_one_that_would_be_served(subject, corpus, sides):
    config = window_for(subject.model, SETTINGS)
    encoder = opened(subject, train_sae(subject.model, corpus, config), config)
    assert (encoder.dictionary.context, encoder.dictionary.ahead) == (16, 16)
    (pooled,) = read_side(encoder, sides[0])
    assert pooled.active.sum() > 1000


def test_windows_grow_with_what_a_tap_sees(subject):
    assert window_for(subject.model, SETTINGS).window == 96
    small = SaeTraining(layer=2, tap="joint", window=60)
    assert window_for(subject.model, small).window == 6 * 16
    assert context_of(subject.model, small) == 16


def test_a_sweep_goes_on_where_it_was_stopped(tmp_path):
    tried = []

    def attempt(config):
        tried.append(config.k)
        if config.k == 3 and tried.count(3) == 1:
            raise KeyboardInterrupt
        return {"settings": asdict(config)}

    settings = [SaeTraining(k=k) for k in (2, 3, 4)]
    with pytest.raises(KeyboardInterrupt):
        run_sweep(settings, attempt, tmp_path / "sweep.jsonl")
    assert run_sweep(settings, attempt, tmp_path / "sweep.jsonl") == 2
    assert tried == [2, 3, 3, 4]
    lines = (tmp_path / "sweep.jsonl").read_text().splitlines()
    assert [json.loads(line)["settings"]["k"] for line in lines] == [2, 3, 4]


def test_partners_equal_their_slow_twin_and_a_permutation_recurs_whole(subject, corpus):
    one = train_sae(subject.model, corpus, SETTINGS)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    moved = one._replace(
        coder=one.coder._replace(
            decoder=one.coder.decoder[order], encoder=one.coder.encoder[:, order]
        )
    )
    found = partners(one, moved)
    assert (order[found.feature] == torch.arange(64)).all()
    np.testing.assert_allclose(found.cosine, 1, atol=1e-5)
    choice = {"WORD": {what: Choice(5, 0.5) for what in MEASURES}}
    moved_to = int(found.feature[5])
    theirs = {"WORD": {what: Choice(moved_to, 0.5) for what in MEASURES}}
    row, back = recurrence({1: one, 2: moved}, {1: choice, 2: theirs})
    assert (row["seed"], row["other"], back["seed"]) == (1, 2, 2)
    assert row["recurring_share"] == back["recurring_share"] == 1
    assert row["tfs"]["WORD"]["motif"]["same_choice"]
    other = train_sae(subject.model, corpus, SaeTraining(**{**asdict(SETTINGS), "seed": 2}))
    apart = partners(one, other)
    inverse = torch.linalg.inv(other.whitening.matrix.double())
    for feature in (0, 17):
        cosines = []
        for row_ in other.coder.decoder.double():
            direction = row_ @ inverse @ one.whitening.matrix.double()
            own = one.coder.decoder[feature].double()
            cosines.append(float(torch.dot(own, direction) / own.norm() / direction.norm()))
        assert apart.feature[feature] == int(np.argmax(cosines))
        assert apart.cosine[feature] == pytest.approx(max(cosines), abs=1e-6)
    assert apart.cosine.mean() < 0.9


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of data with toy chromosomes, laid out as the evidence expects it."""
    folder = tmp_path_factory.mktemp("data")
    for path in (FASTA, GFF, LOCATIONS, BLACKLIST):
        (folder / path).parent.mkdir(exist_ok=True)
    draw = np.random.default_rng(0)
    names = ("chrIV", "chrVII", "chrVIII")
    genome = "".join(f">{name}\n{''.join(draw.choice(list('ACGT'), 6000))}\n" for name in names)
    genes = [f"{name}\ttest\tCDS\t501\t800\t.\t+\t0\tID=cds{name}\n" for name in names]
    sites = [f"{name}\t{at}\t{at + 1}\tReb1\n" for name in names for at in range(1000, 5000, 400)]
    for path, text in ((FASTA, genome), (GFF, "".join(genes)), (LOCATIONS, "".join(sites))):
        with gzip.open(folder / path, "wt") as file:
            file.write(text)
    (folder / BLACKLIST).write_text("")
    spec = f'[[genome]]\nfasta = "{FASTA}"\nspecies = 0\nannotation = "{GFF}"\n'
    (folder / "spec.toml").write_text(spec + 'exclude = ["chrVIII"]\n')
    return folder


@pytest.mark.slow
def test_the_commands_write_lines_and_go_on(data, tmp_path):
    models = make_tiny_models(tmp_path / "models")
    common = [
        data / "spec.toml", "--data", data, "--models", models, "--model", "tiny-tree",
        "--tfs", "REB1", "--features", "64", "--tokens", "128", "--steps", "3",
        "--discovery", "chrVII", "--evaluation", "chrIV",
    ]  # fmt: skip

    def run(command, *arguments):
        words = [str(word) for word in (command, *common, *arguments)]
        result = CliRunner().invoke(train, words)
        assert result.exit_code == 0, result.output
        return result.output.splitlines()

    sweep = ("--control", "tiny-tree", "--k", "2", "--out", tmp_path / "sweep.jsonl")
    assert len(run("sweep", "--tap", "joint", *sweep)) == 1
    # the one that is there already is passed over
    assert len(run("sweep", "--tap", "joint", "--tap", "update:1", *sweep)) == 1
    lines = [json.loads(text) for text in (tmp_path / "sweep.jsonl").read_text().splitlines()]
    taps = [(one["settings"]["tap"], one["settings"]["layer"]) for one in lines]
    assert taps == [("joint", 2), ("update", 1)]
    assert all(one["over"]["control"]["mean"]["motif"]["value"] == 0 for one in lines)
    run("seeds", "--tap", "pair:1", "--k", "2", "--seeds", "1,2", "--out", tmp_path / "seeds.jsonl")
    lines = [json.loads(text) for text in (tmp_path / "seeds.jsonl").read_text().splitlines()]
    assert [one["settings"]["seed"] for one in lines[:2]] == [1, 2]
    assert [(one["seed"], one["other"]) for one in lines[2:]] == [(1, 2), (2, 1)]


@pytest.mark.slow
def test_a_test_chromosome_is_refused(data, tmp_path):
    models = make_tiny_models(tmp_path / "models")
    words = [
        "sweep", data / "spec.toml", "--data", data, "--models", models, "--model", "tiny-tree",
        "--evaluation", "chrVIII", "--discovery", "chrVII", "--out", tmp_path / "x.jsonl",
    ]  # fmt: skip
    result = CliRunner().invoke(train, [str(word) for word in words])
    assert "chrVIII is held out: nothing may be chosen there" in str(result.exception)
