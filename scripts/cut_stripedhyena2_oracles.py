"""Cut runs of the StripedHyena 2 reference down to what tests/data/oracles holds.

    .venv/bin/python scripts/cut_stripedhyena2_oracles.py RUNS FOLDER

RUNS holds what Vortex (vtx 1.1.0) gave on a CPU for random weights in the
official layout: `stripedhyena2_tiny_{fp32,bf16}.safetensors` (five blocks, one
of them attention with interpolated positions) and
`stripedhyena2_small_rope1_fp32.safetensors`. Each holds `state_dict.*`,
`input_ids`, `out.blocks.<i>` (residual stream after block i) and `out.logits`.

The model is causal in bases and in blocks, so both can be cut: the tiny model to
the first 160 bases of one sequence, the other to its attention block alone, with
the residual stream before it. Refuses to overwrite.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

BASES = 160
LOGITS = 16
BLOCK = 3


def main() -> int:
    """Write two files into the folder named on the command line."""
    runs, folder = Path(sys.argv[1]), Path(sys.argv[2])
    cut = {
        folder / "stripedhyena2_tiny.safetensors": cut_tiny,
        folder / "stripedhyena2_attention.safetensors": cut_attention,
    }
    for path in cut:
        if path.exists():
            print(f"{path} exists; remove it first", file=sys.stderr)
            return 1
    for path, make in cut.items():
        tensors, config = make(runs)
        save_file(tensors, path, metadata={"config": json.dumps(config)})
        print(f"{path}: {len(tensors)} tensors, {path.stat().st_size / 1e6:.2f} MB")
    return 0


def cut_tiny(runs: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Weights, tokens and both runs of the tiny model; the weights are the same in both."""
    found, config = read(runs / "stripedhyena2_tiny_fp32.safetensors")
    half, _ = read(runs / "stripedhyena2_tiny_bf16.safetensors")
    out = {name: value for name, value in found.items() if name.startswith("state_dict.")}
    out["input_ids"] = found["input_ids"][:1, :BASES].to(torch.uint8)
    for kind, run in (("float32", found), ("bfloat16", half)):
        for block in range(int(str(config["num_layers"]))):
            out[f"{kind}.blocks.{block}"] = run[f"out.blocks.{block}"][:1, :BASES]
        out[f"{kind}.logits"] = run["out.logits"][:1, BASES - LOGITS : BASES]
    # The bfloat16 run rounded the frequencies; the checkpoint of that run is what was loaded.
    name = f"state_dict.blocks.{BLOCK}.inner_mha_cls.rotary_emb.inv_freq"
    out["bfloat16.inv_freq"] = half[name]
    return {name: value.contiguous() for name, value in out.items()}, config


def cut_attention(runs: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Block 3 of the other model, which does not interpolate positions."""
    found, config = read(runs / "stripedhyena2_small_rope1_fp32.safetensors")
    prefix = f"state_dict.blocks.{BLOCK}."
    out = {
        f"state_dict.{name.removeprefix(prefix)}": value
        for name, value in found.items()
        if name.startswith(prefix)
    }
    for name, block in (("before", BLOCK - 1), ("after", BLOCK)):
        out[name] = found[f"out.blocks.{block}"][:, : 2 * BASES].contiguous()
    return out, config


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Tensors of a run, and the sizes of its model."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return tensors, json.loads(file.metadata()["config"])


if __name__ == "__main__":
    sys.exit(main())
