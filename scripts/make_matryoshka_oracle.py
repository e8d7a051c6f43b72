"""Make tests/data/oracles/saelens_matryoshka with sae-lens itself; run it in .venv-sae-lens.

    .venv-sae-lens/bin/python scripts/make_matryoshka_oracle.py FOLDER

A matryoshka dictionary with random weights, saved for inference (sae-lens then
calls it jumprelu), and what sae-lens gives for 40 random rows. Refuses to overwrite.
"""

import sys
from pathlib import Path

import torch
from sae_lens import SAE
from sae_lens.saes.matryoshka_batchtopk_sae import (
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
)
from safetensors.torch import save_file


def main() -> int:
    """Write the folder named on the command line."""
    folder = Path(sys.argv[1])
    if folder.exists():
        print(f"{folder} exists; remove it first", file=sys.stderr)
        return 1
    config = MatryoshkaBatchTopKTrainingSAEConfig(
        d_in=16, d_sae=48, k=4, matryoshka_widths=[8, 24, 48], dtype="float32", device="cpu"
    )
    torch.manual_seed(0)
    sae = MatryoshkaBatchTopKTrainingSAE(config)
    with torch.no_grad():
        for weight in sae.parameters():
            weight.normal_()
        sae.topk_threshold.fill_(9.0)
    sae.cfg.metadata.model_name = "tiny"
    sae.cfg.metadata.hook_name = "blocks.2"
    folder.mkdir(parents=True)
    sae.save_inference_model(str(folder))
    served = SAE.load_from_disk(str(folder))
    x = torch.randn(40, 16)
    with torch.no_grad():
        encoded = served.encode(x)
        decoded = served.decode(encoded)
    save_file({"x": x, "encoded": encoded, "decoded": decoded}, folder / "expected.safetensors")
    active = float((encoded > 0).float().sum(1).mean())
    print(f"{folder}: {served.cfg.architecture()}, {active:.2f} active")
    return 0


if __name__ == "__main__":
    sys.exit(main())
