"""Stages from a toy folder to records: choices on training chromosomes, and one reading of test."""

import gzip
import json

import numpy as np
import pytest

from annotations.cards import find_cards, write_card
from annotations.errors import OptionError, StateError, UnknownNameError
from annotations.jaspar import load_motifs, resolve_tf
from tests.workers.factories import DICTIONARY_ID, MODEL_ID, make_tiny_models
from workers.evidence import bits, choosing, data, stages, structure
from workers.evidence.data import BLACKLIST, FASTA, GFF, LOCATIONS, Data, read_kinds, soft_mask
from workers.evidence.dictionaries import compared, find_compared
from workers.evidence.page import make_page
from workers.evidence.reading import Shelf
from workers.evidence.records import read_records
from workers.evidence.stages import PURPOSE, Plan, run_stages
from workers.training.baselines import BaselineSettings, write_baselines
from workers.training.reading import was_read

LENGTH = 6000
NAMES = ("chrI", "chrVII", "chrVIII", "chrIX", "chrXIV")
SITE = resolve_tf(load_motifs("fungi"), "REB1").motifs[0].counts.argmax(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder: chromosomes with genes, an intron, and sites of Reb1, half of them bound."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    (root / "yeast_sacCer3").mkdir()
    fasta, gff, bed = [], ["##gff-version 3"], []
    for name in NAMES:
        codes = rng.integers(0, 4, LENGTH)
        for number, at in enumerate(range(2100, 5900, 200)):
            codes[at : at + len(SITE)] = SITE
            if number % 2:
                bed.append(f"{name}\t{at + 4}\t{at + 5}\tReb1\t900\t.")
        letters = "".join("ACGT"[code] for code in codes)
        fasta += [f">{name}", letters[:3000], letters[3000:].lower()]

        def row(kind, start, end, attributes, name=name):
            return "\t".join([name, "x", kind, str(start), str(end), ".", "+", ".", attributes])

        gff += [
            row("gene", 301, 1200, f"ID=g{name};Name=G{name}"),
            row("mRNA", 301, 1200, f"ID=m{name};Parent=g{name}"),
            row("exon", 301, 600, f"Parent=m{name}"),
            row("exon", 701, 1200, f"Parent=m{name}"),
            row("CDS", 301, 600, f"Parent=m{name}"),
            row("CDS", 701, 1200, f"Parent=m{name}"),
            row("long_terminal_repeat", 1501, 1700, f"ID=l{name}"),
        ]
    (root / FASTA).write_bytes(gzip.compress("\n".join(fasta).encode()))
    (root / GFF).write_bytes(gzip.compress("\n".join(gff).encode()))
    (root / LOCATIONS).write_bytes(gzip.compress("\n".join(bed).encode()))
    (root / BLACKLIST).write_text("chrI\t0\t100\n")
    (root / "genomes.toml").write_text(
        f'[[genome]]\nfasta = "{FASTA}"\nspecies = 0\nannotation = "{GFF}"\n'
        'exclude = ["chrVIII", "chrIX", "chrXIV"]\n'
    )
    return root


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = make_tiny_models(tmp_path_factory.mktemp("models"))
    cards = find_cards([root])
    rng = np.random.default_rng(1)
    codes = [rng.integers(0, 4, 4000).astype(np.uint8)]
    write_baselines(
        [root], DICTIONARY_ID, codes, root, sequences="toy", settings=BaselineSettings(windows=20)
    )
    assert cards.dictionary(DICTIONARY_ID)
    return root


@pytest.fixture
def plan(folder, models, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "TFS", ("REB1",))
    monkeypatch.setattr(choosing, "CHOICE_TOP", 5)
    monkeypatch.setattr(structure, "RANDOM_PIECES", 3)
    monkeypatch.setattr(bits, "MAX_ORDER", 2)
    cards = find_cards([models])
    found = compared([models], cards, cards.dictionary(DICTIONARY_ID))
    return Plan(
        data=Data(folder, folder / "genomes.toml"),
        compared=found,
        out=tmp_path / "records",
        shelf=Shelf(tmp_path / "work"),
        log=tmp_path / "reads.tsv",
    )


def test_from_choices_to_the_page(plan):
    run_stages(plan, ["choice", "validation", "quality", "bits"])
    records = read_records(plan.out)
    choice = records["choice"]["numbers"]
    assert choice["binding"]["contigs"] == ["chrI"]
    assert choice["binding"]["fitted_on"] == ["chrVII"]
    reb1 = choice["binding"]["tfs"]["REB1"]
    assert set(reb1["features"]) == {"trained", "neurons", "components"}
    # of 19 sites on each chromosome 9 are bound, and the matrix finds all of them
    assert reb1["instances"][0] == 9
    measured = records["validation"]["numbers"]
    loci = measured["binding"]["tfs"]["REB1"]["loci"]
    assert measured["binding"]["contigs"] == ["chrVIII"]
    # nine locations, each near four or five bins of ten bases
    assert 36 <= loci["positives"] <= 45
    assert loci["prevalence"] == pytest.approx(loci["positives"] / loci["n"], abs=1e-6)
    pwm = loci["scores"]["PWM"]
    assert pwm["auroc"]["low"] <= pwm["auroc"]["value"] <= pwm["auroc"]["high"]
    assert pwm["auroc"]["value"] > 0.5
    feature = loci["scores"]["feature, trained"]
    assert feature["over_pwm"]["auroc"]["value"] == pytest.approx(
        feature["auroc"]["value"] - pwm["auroc"]["value"], abs=2e-4
    )
    assert "over_random" not in feature
    instances = measured["binding"]["tfs"]["REB1"]["instances"]
    assert instances["positives"] == 9
    assert "codon base 1" in measured["structure"]
    rows = records["bits"]["numbers"]["rows"]
    assert [row.get("order") for row in rows] == [None, *range(3), *range(3)]
    # order 0 of equal bases needs 2 bits; the four sets are those of the annotation
    assert rows[1]["sets"]["all"]["noncoding"]["bits"] == pytest.approx(2, abs=0.02)
    counted = {name: rows[1]["sets"][name]["noncoding"]["bases"] for name in rows[1]["sets"]}
    assert list(counted.values()) == [5200, 5000, 2000]
    assert records["quality"]["numbers"]["roles"]["trained"]["fidelity"]["tokens"] > 0
    assert "REB1" in make_page(records)


def test_the_test_chromosomes_are_read_once_and_logged(plan):
    run_stages(plan, ["choice"])
    run_stages(plan, ["test"])
    (line,) = plan.log.read_text().splitlines()
    sha256 = plan.compared.trained.sha256
    assert line.split("\t")[1:] == [DICTIONARY_ID, sha256, "chrIX,chrXIV", PURPOSE]
    found = read_records(plan.out)["test"]["numbers"]
    assert found["contigs"] == ["chrIX", "chrXIV"]
    assert found["gate"]["contigs"] == ["chrVIII", "chrIX", "chrXIV"]
    with pytest.raises(StateError, match=r"were read with tiny-tree-64 .* give --again"):
        run_stages(plan, ["test"])
    assert len(plan.log.read_text().splitlines()) == 1
    again = Plan(**{**vars(plan), "again": True})
    run_stages(again, ["test"])
    assert len(plan.log.read_text().splitlines()) == 2


def test_a_reading_for_another_purpose_is_no_reading_of_the_evidence(plan, tmp_path):
    card = plan.compared.trained
    log = tmp_path / "other.tsv"
    log.write_text(f"2026-11-21T04:25:33Z\t{card.id}\t{card.sha256}\tchrIX,chrXIV\n")
    assert not was_read(log, card, PURPOSE)
    log.write_text(f"2026-11-21T04:25:33Z\t{card.id}\t{'0' * 64}\tchrIX\t{PURPOSE}\n")
    assert not was_read(log, card, PURPOSE)


def test_test_chromosomes_are_not_read_before_something_is_chosen(plan):
    with pytest.raises(StateError, match="stage choice was not run yet"):
        run_stages(plan, ["test"])
    assert not plan.log.exists()


def test_a_choice_of_other_weights_is_refused(plan):
    run_stages(plan, ["choice"])
    path = plan.out / "choice.json"
    record = json.loads(path.read_text())
    record["weights"]["dictionaries"]["trained"]["sha256"] = "f" * 64
    path.write_text(json.dumps(record))
    with pytest.raises(StateError, match="with the weights ffffffffffff"):
        run_stages(plan, ["validation"])


def test_missing_files_are_named_on_one_line_before_anything_is_computed(plan):
    with pytest.raises(UnknownNameError) as error:
        run_stages(plan, ["package", "pombe"])
    assert "pombe_ASM294v2.fa.gz, small_eukaryotes/pombe_ASM294v2" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (plan.out / "package.json").exists()


def test_an_unknown_stage_is_refused_with_the_known_ones(plan):
    with pytest.raises(OptionError, match="no stage is called gates; there are sources, bits"):
        run_stages(plan, ["gates"])


def test_nothing_is_chosen_on_held_out_chromosomes(plan):
    with pytest.raises(OptionError, match="chrVIII is held out"):
        plan.data.training_contigs(["chrI", "chrVIII"])


def test_roles_are_found_by_what_the_cards_say(models):
    cards = find_cards([models])
    card = cards.dictionary(DICTIONARY_ID)
    found = compared([models], cards, card)
    assert {role: one.id for role, one in found.by_role.items()} == {
        "trained": DICTIONARY_ID,
        "neurons": f"{DICTIONARY_ID}-neurons",
        "components": f"{DICTIONARY_ID}-components",
    }
    missing = found.described()["missing"]
    assert set(missing) == {"random", "seeds"}
    assert f"--like {MODEL_ID}" in missing["random"]


def test_another_seed_is_no_baseline(models, tmp_path):
    cards = find_cards([models])
    card = cards.dictionary(DICTIONARY_ID)
    other = type(card)(
        **{**vars(card), "id": "seed-2", "training": {"seed": 2}, "random_weights": False}
    )
    cards.dictionaries["seed-2"] = other
    assert [one.id for one in compared([models], cards, card).seeds] == ["seed-2"]
    assert write_card(other, tmp_path)


def test_the_bundled_dictionary_is_found_without_a_name():
    found = find_compared()
    assert found.trained.model_id in find_cards(found.roots).models


def test_masks_of_the_yeast_are_those_of_its_files(folder):
    (contig,) = Data(folder, folder / "genomes.toml").yeast(["chrI"])
    assert np.flatnonzero(contig.repeat).tolist() == list(range(1500, 1700))
    assert contig.masked.sum() == 3000
    assert contig.masked[3000:].all()
    assert contig.unread.sum() == 100
    assert contig.coding.sum() == 800
    assert contig.plain
    assert set(read_kinds(folder / GFF, frozenset({"CDS"}))) == {*NAMES}
    assert set(soft_mask(folder / FASTA)) == {*NAMES}


def test_every_file_of_the_folder_has_a_source():
    for path in data.SOURCES:
        assert data.source_of(path).url.startswith("https://")
    relative = "yeasts/Saccharomyces_paradoxus_CBS432"
    assert data.source_of(f"{relative}.fa.gz").terms.startswith("Yue")
    assert data.source_of(f"{relative}.train.bed").terms.startswith("own work")
    with pytest.raises(UnknownNameError, match=r"no source is written down for x\.fa"):
        data.source_of("x.fa")
