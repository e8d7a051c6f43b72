"""benchmarks/models.py: what it counts, what it compares with, and that it runs at small size."""

import json
import subprocess
import sys

import pytest
import torch

from benchmarks import models
from benchmarks.model_costs import evo2_costs, hyenadna_costs
from benchmarks.reference_hyenadna import random_state, residual
from workers.language_models.hyenadna import HyenaDnaConfig, load_hyenadna
from workers.language_models.stripedhyena2.configurations import EVO2

SMALL = ("--device", "cpu", "--threads", "1", "--turns", "1", "--windows", "2")


def test_operations_of_evo2_7b_are_those_counted_by_hand():
    costs = evo2_costs(EVO2["evo2_7b_262k"], 27, 32_768, window=8192, batch=1, size=2)
    # 27 blocks of 404.8 million; four of attention add 2 * 8192 * 4096 each
    assert costs.model_products == pytest.approx(27 * 404.75e6 + 4 * 67.1e6, rel=1e-3)
    assert costs.dictionary == 2 * 4096 * 32_768
    weights = 27 * (4 * 4096**2 + 3 * 4096 * 11_008) * 2 / 8192
    elements = costs.model_bytes - weights
    assert 1e6 < elements < 2.3e7
    twice = evo2_costs(EVO2["evo2_7b_262k"], 27, 32_768, window=8192, batch=2, size=2)
    assert costs.model_bytes - twice.model_bytes == pytest.approx(weights / 2)


def test_operations_of_hyenadna_are_those_counted_by_hand():
    config = models.HYENADNA["hyenadna-small"]
    costs = hyenadna_costs(config, 4, 4096, window=8192, batch=1)
    assert costs.model_products == 4 * 2 * (4 * 256**2 + 2 * 256 * 1024)
    assert costs.dictionary == 2 * 256 * 4096


def test_the_reference_is_the_same_model():
    config = HyenaDnaConfig(d_model=16, n_layer=2, d_inner=32, max_seq_len=200)
    state = random_state(config)
    codes = torch.randint(0, 5, (2, 150), generator=torch.Generator().manual_seed(0)).byte()
    for layers in (1, 2):
        expected = residual(state, config, codes, layers)
        found = load_hyenadna(state, config).activations(codes, layers)
        assert (found - expected).norm() / expected.norm() < 1e-5


@pytest.mark.parametrize(
    ("config", "shrink", "forms"),
    [
        ("hyenadna-tiny", ("--width", "16"), {"served", "every_base", "naive", "reference"}),
        (
            "evo2_7b_262k",
            ("--width", "128", "--layers", "4", "--dtype", "float32"),
            {"served", "every_base", "naive"},
        ),
    ],
)
def test_it_runs_at_small_size(tmp_path, capsys, monkeypatch, config, shrink, forms):
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(models, "peak", lambda *given: None)
    out = tmp_path / "record.json"
    sizes = ("--window", "64", "--context", "16", "--features", "96", "--k", "4")
    models.main(["--config", config, *shrink, *SMALL, *sizes, "--out", str(out)])
    (record,) = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == record
    assert set(record["forms"]) == forms
    served = record["forms"]["served"]
    share = served["annotated_bases_per_second"] / served["model_input_bases_per_second"]
    assert share == pytest.approx(48 / 64 / 2, rel=1e-3)
    assert record["to_parquet"]["bases"] == 96
    assert record["to_parquet"]["active"] > 96
    assert record["machine"]["device"] == "cpu"
    if "reference" in forms:
        assert record["agreement"]["jaccard"] > 0.99
        assert record["agreement"]["latents_of_a_base"] == pytest.approx(4, abs=1)


def test_only_torch_and_what_comes_with_it_are_needed():
    code = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('pyfaidx', 'Bio', 'numba', 'memelite', 'pyjaspar',\n"
        "            'sqlalchemy', 'flask', 'celery', 'pybedtools', 'click', 'pydantic'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "import benchmarks.models"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
