"""Calibration: the threshold keeps what BatchTopK keeps of the reference, and no more."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.cards import file_sha256, find_cards
from annotations.errors import OptionError
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from tests.workers.test_sae import random_coder, random_rows
from workers.calibration import calibrate, calibrated, threshold_of
from workers.registry import open_dictionary


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 700), st.booleans())
def test_the_threshold_keeps_what_batch_topk_keeps(seed, k, n, bounded):
    coder, x = random_coder(seed), random_rows(n, seed=seed + 1)
    cuts = sorted(np.random.default_rng(seed).integers(0, n + 1, 3).tolist())
    parts = [x[a:b] for a, b in zip([0, *cuts], [*cuts, n], strict=True)]
    found = threshold_of(coder, parts, k=k, most=k * n if bounded else None)
    whole = coder.batch_topk(x, k)
    served = calibrated(coder, found.theta).encode(x)
    assert torch.equal(served, whole)
    assert found.rows == n
    assert found.mean_l0 == pytest.approx(float((whole > 0).sum()) / n)
    assert found.mean_l0 <= k


def test_a_dictionary_with_too_few_positive_latents_gets_no_threshold():
    found = threshold_of(random_coder(b_enc=torch.full((40,), -1e6)), [random_rows(5)], k=3)
    assert (found.theta, found.mean_l0) == (0.0, 0.0)
    with pytest.raises(OptionError, match="no base to calibrate on"):
        threshold_of(random_coder(), [], k=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def encoder(root):
    card = find_cards([root]).dictionary(DICTIONARY_ID)
    return open_dictionary(replace(card, gate="topk"), [root])


def fasta(tmp_path, *lengths: int):
    draw = np.random.default_rng(1)
    path = tmp_path / "reference.fa"
    path.write_text(
        "".join(f">r{i}\n{''.join(draw.choice(list('ACGT'), n))}\n" for i, n in enumerate(lengths))
    )
    return path


def test_k_latents_are_active_at_a_base_of_the_reference(tmp_path, encoder):
    path = fasta(tmp_path, 900, 300)
    found = calibrate(encoder, path, k=5, windows=100)
    assert found.mean_l0 == 5
    assert found.rows == 2 * 1200
    assert (found.reference, found.reference_sha256) == ("reference.fa", file_sha256(path))
    encoder = replace_coder(encoder, calibrated(encoder.coder, found.theta))
    again = calibrate(encoder, path, k=5, windows=100)
    assert again == found


def replace_coder(encoder, coder):
    return type(encoder)(
        encoder.dictionary, encoder.model, encoder.language_model, coder, encoder.device
    )


def test_windows_are_spread_over_sequences_and_strands(tmp_path, encoder):
    found = calibrate(encoder, fasta(tmp_path, 1280), k=5, windows=6)
    assert (found.windows, found.rows) == (6, 6 * 128)
    assert found.mean_l0 == 5
    assert calibrate(encoder, fasta(tmp_path, 1280), k=5, windows=6, batch=4).theta == (
        pytest.approx(found.theta, rel=1e-4)
    )


def test_a_reference_of_n_is_refused(tmp_path, encoder):
    (tmp_path / "n.fa").write_text(">r\n" + 300 * "N" + "\n")
    with pytest.raises(OptionError, match="no base A, C, G or T"):
        calibrate(encoder, tmp_path / "n.fa", k=5)
