"""An Evo 2 with Goodfire's dictionary through the service: REST in, tracks out.

Both are converted from checkpoints in the official layouts (see `test_convert`):
the blocks and keys of the 7B at 32 channels, weights random.
"""

import numpy as np
import pyBigWig
import pytest

from annotations.cards import find_cards
from annotations.sequences import encode_bases, reverse_complement
from tests.workers.test_convert import GOODFIRE, NARROW_7B, checkpoint, goodfire, rename
from tests.workers.test_pipeline import random_sequence
from workers.convert import convert_evo2
from workers.convert_sae import SaeRequest, convert_sae
from workers.embedded_server import embedded_server
from workers.registry import open_dictionary

LENGTH, STRIDE, CONTEXT = 300, 128, 64


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A models folder with both, the dictionary calibrated on made-up sequence."""
    root = tmp_path_factory.mktemp("evo2")
    convert_evo2([checkpoint(root / "evo2_7b_262k.pt")], root / "models", config=NARROW_7B)
    rename(root / "models" / "evo2_7b_262k", official_name="evo2_7b_262k")
    (root / "genome.fa").write_bytes(b">r\n" + random_sequence(2000, 3) + b"\n")
    request = SaeRequest(
        model_id="evo2_7b_262k",
        dictionary_id="evo2-layer26",
        k=6,
        stride=STRIDE,
        context=CONTEXT,
        reference=root / "genome.fa",
        windows=8,
    )
    convert_sae(goodfire(root / GOODFIRE), root / "models", [root / "models"], request)
    return root / "models"


def tracks_by_hand(models, sequence: bytes) -> np.ndarray:
    """Activations [strand, base, feature], window by window, from the opened dictionary."""
    encoder = open_dictionary(find_cards([models]).dictionary("evo2-layer26"), [models])
    codes = encode_bases(sequence)
    out = np.zeros((2, len(codes), encoder.dictionary.d_sae))
    for start in range(0, len(codes), STRIDE):
        end = min(start + STRIDE, len(codes))
        for strand in range(2):
            first = max(0, start - CONTEXT) if strand == 0 else start
            last = end if strand == 0 else min(len(codes), end + CONTEXT)
            window = np.full((1, STRIDE + CONTEXT), 4, np.uint8)
            read = codes[first:last]
            window[0, : len(read)] = read if strand == 0 else reverse_complement(read)
            found = encoder.activations_of(window)
            base = first + found.position if strand == 0 else last - 1 - found.position
            own = (base >= start) & (base < end)
            out[strand, base[own], found.feature[own]] = found.value[own]
    return out


@pytest.mark.timeout(240)
def test_a_submission_over_rest_gives_the_tracks_of_the_model(models, tmp_path, monkeypatch):
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(models))
    sequence = random_sequence(LENGTH, 11)
    (tmp_path / "in.fa").write_bytes(b">phage\n" + sequence + b"\n")
    expected = tracks_by_hand(models, sequence)
    with embedded_server(tmp_path / "data", tmp_path / "serve.log") as client:
        dictionary = client.get("/v1/models")["dictionaries"][0]
        assert dictionary["published_labels"]["19746"] == "prophage"
        assert dictionary["calibration"]["k"] == 6
        run = client.submit(tmp_path / "in.fa", dictionary="evo2-layer26").wait(180)
        feature = int(np.argmax((expected > 0).sum(axis=(0, 1))))
        for index, strand in enumerate("+-"):
            path = run.save_signal(f"{feature}{strand}", tmp_path / f"{index}.bw")
            track = pyBigWig.open(str(path))
            found = np.nan_to_num(track.values("phage", 0, LENGTH, numpy=True))
            track.close()
            assert (found > 0).sum() > 10
            by_hand = expected[index, :, feature]
            # Another batch of a bfloat16 model: what lies next to the threshold may fall over it.
            settled = np.maximum(found, by_hand) > 1.05 * dictionary["calibration"]["theta"]
            assert settled.sum() > 10
            assert np.allclose(found[settled], by_hand[settled], rtol=0.03)
