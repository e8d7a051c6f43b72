"""Our folders in sae-lens itself, which is not installed by default (extra `sae-lens`)."""

import warnings
from dataclasses import replace

import pytest
import torch

from tests.workers.test_sae import random_coder, random_rows
from workers.sae import fold_whitening
from workers.sae_lens import load_sae_lens, save_sae_lens

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sae_class():
    with warnings.catch_warnings():
        # What sae-lens' own dependencies warn about is not ours to mend.
        warnings.simplefilter("ignore")
        return pytest.importorskip("sae_lens").SAE


CODERS = {
    "jumprelu": random_coder(),
    "negative threshold": random_coder(threshold=torch.full((40,), -0.5)),
    "takes b_dec": random_coder(apply_b_dec_to_input=True),
    "topk": random_coder(gate="topk", k=4),
    "folded": fold_whitening(torch.ones(12), 2 * torch.eye(12) + 0.1, random_coder()),
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", CODERS)
def test_sae_lens_reads_our_folder_and_encodes_alike(tmp_path, sae_class, name, half):
    save_sae_lens(CODERS[name], tmp_path, half=half, metadata={"model_name": "tiny"})
    ours, theirs = load_sae_lens(tmp_path), sae_class.load_from_disk(str(tmp_path))
    x = random_rows(200)
    with torch.no_grad():
        f, z = ours.encode(x), theirs.encode(x)
        assert torch.equal(f > 0, z > 0)
        assert (f > 0).any()
        assert torch.allclose(f, z, atol=1e-5)
        assert torch.allclose(ours.decode(f), theirs.decode(z), atol=1e-4)
    assert theirs.cfg.metadata.model_name == "tiny"


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu", "gated"])
def test_we_read_a_folder_of_sae_lens_and_encode_alike(tmp_path, sae_class, architecture):
    config = {"architecture": architecture, "d_in": 12, "d_sae": 40, "dtype": "float32"}
    config |= {"device": "cpu", "apply_b_dec_to_input": True}
    if architecture == "topk":
        config |= {"k": 4, "rescale_acts_by_decoder_norm": True}
    theirs = sae_class.from_dict(config)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            weight.copy_(torch.randn(weight.shape, generator=draw))
            if name == "threshold":
                weight.abs_()
    theirs.save_model(str(tmp_path))
    ours = load_sae_lens(tmp_path)
    x = random_rows(200)
    with torch.no_grad():
        f, z = ours.encode(x), theirs.encode(x)
        assert torch.equal(f > 0, z > 0)
        assert (f > 0).any()
        assert torch.allclose(f, z, atol=1e-4)
        assert torch.allclose(ours.decode(f), theirs.decode(z), atol=1e-3)


def test_the_comparison_notices_another_gate(tmp_path, sae_class):
    save_sae_lens(random_coder(), tmp_path)
    theirs = sae_class.load_from_disk(str(tmp_path))
    other = replace(random_coder(), threshold=random_coder().threshold + 0.2)
    x = random_rows(200)
    with torch.no_grad():
        assert not torch.equal(other.encode(x) > 0, theirs.encode(x) > 0)
