"""Bases a second of a model and its dictionary, with random weights of true size.

    python benchmarks/models.py --config evo2_7b_262k --window 8192 --context 4096 \
        --out benchmarks/results/2026-11-21-models-h200.json
    python benchmarks/models.py --config hyenadna-small --window 8192 --context 1024 --threads 2

One run measures several forms of the same work, in turns, so that what else the machine
does falls on all of them; the fastest turn of each counts.

    served      as `saetrack annotate` computes it: to the tap, features gated a chunk at a time,
                of the bases that a window owns: another gives those of its left context
    every_base  the same with the features of the left context too
    naive       all blocks and logits, dense features
    reference   HyenaDNA alone: the published forward (reference_hyenadna.py), dense features

Model-input bases are what the model reads. Annotated bases are what a user gets: both strands
read, left context discarded. Needs torch, safetensors, pyarrow, scipy and numpy alone.
"""

import argparse
import gc
import json
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from annotations.cards import DictionaryCard, ModelCard
from annotations.packed import Places, describe
from annotations.peaks import RADIUS
from annotations.shard_bases import SHARD_FILE, write_shard_bases
from annotations.types import Span
from benchmarks.model_costs import Costs, evo2_costs, hyenadna_costs
from benchmarks.reference_hyenadna import dense_features, random_state, residual
from workers.calibration import calibrated, threshold_of
from workers.device import describe_device, is_out_of_memory
from workers.language_models.hyenadna import HyenaDnaConfig, load_hyenadna
from workers.language_models.stripedhyena2.configurations import EVO2, StripedHyena2Config
from workers.language_models.stripedhyena2.model import StripedHyena2
from workers.language_models.stripedhyena2.weights import load_stripedhyena2, random_weights
from workers.pipeline import _packed, encode_windows, windows_of
from workers.registry import Encoder, SparseWindows
from workers.sae import SparseCoder

HYENADNA = {
    "hyenadna-tiny": HyenaDnaConfig(d_model=128, n_layer=2, d_inner=512, max_seq_len=1026),
    "hyenadna-small": HyenaDnaConfig(d_model=256, n_layer=4, d_inner=1024, max_seq_len=32_770),
}
"""Sizes of published models."""

FORMS = ("served", "every_base", "naive", "reference")
SHA256 = "0" * 64


@dataclass(frozen=True)
class Case:
    """What is measured."""

    config: str
    layers: int
    features: int
    k: int
    window: int
    context: int
    batch: int
    dtype: str


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark and write its record."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = args.tf32
    sizes = shrunk(args)
    case = case_of(args, sizes)
    if args.child:
        sys.stdout.write(json.dumps(peak_of_child(case, sizes, device, args.child)))
        return
    record = {
        "benchmark": "models",
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": shlex.join(["python", "benchmarks/models.py", *(arguments or sys.argv[1:])]),
        "revision": output("git", "rev-parse", "HEAD"),
        "machine": machine(device, args.threads),
        "case": asdict(case) | {"sizes": asdict(sizes)},
        **measure(case, sizes, device, args),
    }
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    sys.stdout.write(text)
    if args.out is not None:
        old = json.loads(args.out.read_text()) if args.out.exists() else []
        args.out.write_text(json.dumps([*old, record], indent=2, sort_keys=True) + "\n")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--config", choices=[*EVO2, *HYENADNA], required=True)
    parser.add_argument("--layers", type=int, help="blocks before the tap [27, or all of HyenaDNA]")
    parser.add_argument("--width", type=int, help="channels, to shrink the model")
    parser.add_argument("--features", type=int, help="latents [32768 for Evo 2, 4096]")
    parser.add_argument("--k", type=int, help="latents active at a base [64 for Evo 2, 16]")
    parser.add_argument("--window", type=int, default=8192)
    parser.add_argument("--context", type=int, help="[half the window]")
    parser.add_argument("--batch", type=int, default=1, help="windows at once")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="[bfloat16 for Evo 2]")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5, help="times each form is measured")
    parser.add_argument("--forms", nargs="+", choices=FORMS)
    parser.add_argument("--tf32", action="store_true", help="float32 products in TF32")
    parser.add_argument("--windows", type=int, default=8, help="windows of the whole way")
    parser.add_argument("--peak-tflops", type=float, help="of --dtype, instead of measured")
    parser.add_argument("--peak-tflops-float32", type=float, help="instead of measured")
    parser.add_argument("--bandwidth", type=float, help="TB/s, instead of measured")
    parser.add_argument("--out", type=Path, help="a JSON list, appended to")
    parser.add_argument("--child", choices=FORMS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


Sizes = StripedHyena2Config | HyenaDnaConfig


def shrunk(args: argparse.Namespace) -> Sizes:
    """The sizes of --config, smaller where --width asks for it."""
    if args.config in HYENADNA:
        small = HYENADNA[args.config]
        if args.width is None:
            return small
        return replace(small, d_model=args.width, d_inner=4 * args.width)
    large = EVO2[args.config]
    if args.width is None:
        return large
    return replace(
        large,
        hidden_size=args.width,
        num_attention_heads=max(1, args.width // 128),
        hcs_filter_groups=max(1, args.width // 16),
        hcm_filter_groups=max(1, args.width // 16),
        inner_mlp_size=args.width * large.inner_mlp_size // large.hidden_size // 16 * 16,
    )


def case_of(args: argparse.Namespace, sizes: Sizes) -> Case:
    """The case with what was not said filled in."""
    evo2 = isinstance(sizes, StripedHyena2Config)
    blocks = sizes.num_layers if isinstance(sizes, StripedHyena2Config) else sizes.n_layer
    return Case(
        config=args.config,
        layers=args.layers if args.layers is not None else min(blocks, 27),
        features=args.features or (32_768 if evo2 else 4096),
        k=args.k or (64 if evo2 else 16),
        window=args.window,
        context=args.window // 2 if args.context is None else args.context,
        batch=args.batch,
        dtype=args.dtype or ("bfloat16" if evo2 else "float32"),
    )


def measure(
    case: Case, sizes: Sizes, device: torch.device, args: argparse.Namespace
) -> dict[str, Any]:
    """Times, peaks and shares of the roofline of every form."""
    wanted = args.forms or [
        form for form in FORMS if form != "reference" or case.config in HYENADNA
    ]
    work, encoder = make(case, sizes, device, whole="naive" in wanted)
    codes = codes_of(case)
    parts = {
        "model": lambda: encoder.language_model.activations(
            torch.from_numpy(codes).to(device), case.layers
        ),
        **{form: lambda form=form: work[form](codes) for form in wanted},
    }
    loads = [load_average()]
    times, failed = in_turns(parts, args.turns, device)
    loads.append(load_average())
    limit = limits(case, device, args)
    costs = costs_of(case, sizes)
    owned = replace(costs, dictionary=costs.dictionary * owned_share(case))
    least = (least_seconds(costs, limit), least_seconds(owned, limit))
    bases = case.batch * case.window
    forms: dict[str, Any] = {}
    for form in wanted:
        if form in failed:
            forms[form] = {"out_of_memory": failed[form]}
            continue
        seconds, cpu = times[form]
        forms[form] = {
            "seconds": round(seconds, 5),
            "cpu_seconds": round(cpu, 5),
            "model_input_bases_per_second": round(bases / seconds, 1),
            "annotated_bases_per_second": round(bases / seconds * owned_share(case) / 2, 1),
            "share_of_roofline": round(least[form == "served"] * bases / seconds, 3),
            "peak_memory_bytes": peak(case, sizes, device, form, work, codes, args),
        }
    for form, ours in product({"naive", "reference"} & times.keys(), {"served", "every_base"}):
        if ours in times:
            wall, cpu = (round(a / b, 2) for a, b in zip(times[form], times[ours], strict=True))
            forms[form] |= {f"{ours}_is_faster_by": wall, f"{ours}_is_faster_by_cpu": cpu}
    return {
        "forms": forms,
        "model_alone_seconds": round(times["model"][0], 5) if "model" in times else None,
        "model_alone_cpu_seconds": round(times["model"][1], 5) if "model" in times else None,
        "to_parquet": whole_way(case, encoder, args.windows, device),
        "agreement": agreement(case, sizes, work, codes) if "reference" in wanted else None,
        "costs_of_a_base": asdict(costs),
        "limits": limit,
        "least_seconds_of_a_base": {"every_base": least[0], "served": least[1]},
        "load_average_before_and_after": loads,
        "contention": max(loads) > args.threads + 0.5 if device.type == "cpu" else None,
    }


Work = dict[str, Callable[[NDArray[np.uint8]], Any]]


def make(case: Case, sizes: Sizes, device: torch.device, *, whole: bool) -> tuple[Work, Encoder]:
    """The forms of the work, and the served encoder."""
    dtype = getattr(torch, case.dtype)
    if isinstance(sizes, StripedHyena2Config):
        state = random_weights(sizes, dtype=dtype, device=device)
        blocks = None if whole else case.layers
        model: Any = load_stripedhyena2(state, sizes, dtype=dtype, blocks=blocks)
    else:
        state = {name: tensor.to(device) for name, tensor in random_state(sizes).items()}
        model = load_hyenadna(state, sizes)
    coder = random_coder(case, model, device)
    encoder = Encoder(*cards(case, model.width), model, coder, device)

    def upload(codes: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(codes).to(device)

    @torch.inference_mode()
    def naive(codes: NDArray[np.uint8]) -> Any:
        h = model.activations(upload(codes), case.layers)
        model.logits(model.advance(h, case.layers, model.n_blocks))
        return dense_features(coder, h)

    def reference(codes: NDArray[np.uint8]) -> Any:
        if not isinstance(sizes, HyenaDnaConfig):
            raise ValueError("the reference is of HyenaDNA alone")
        return dense_features(coder, residual(state, sizes, upload(codes), case.layers))

    def served(codes: NDArray[np.uint8]) -> SparseWindows:
        owned = np.zeros(codes.shape, dtype=bool)
        owned[:, case.context :] = True
        return encoder.activations_of(codes, owned)

    if isinstance(model, StripedHyena2):
        state = {}
    forms: Work = {
        "served": served,
        "every_base": encoder.activations_of,
        "naive": naive,
        "reference": reference,
    }
    return forms, encoder


def random_coder(case: Case, model: Any, device: torch.device) -> SparseCoder:
    """A tied dictionary with one threshold at which k latents of a base are active."""
    draw = torch.Generator().manual_seed(1)
    weight = torch.randn(model.width, case.features, generator=draw).to(device)
    coder = SparseCoder(
        W_enc=weight * model.width**-0.5,
        b_enc=torch.zeros(case.features, device=device),
        threshold=torch.zeros(case.features, device=device),
        W_dec=weight.T,
        b_dec=torch.zeros(model.width, device=device),
    )
    codes = torch.from_numpy(codes_of(case)[:1, : min(case.window, 2048)]).to(device)
    h = model.activations(codes, case.layers).flatten(0, 1)[-1024:]
    return calibrated(coder, threshold_of(coder, [h], k=case.k, most=case.k * len(h)).theta)


def cards(case: Case, width: int) -> tuple[DictionaryCard, ModelCard]:
    """Cards of weights that lie nowhere."""
    common = {"sha256": SHA256, "licence": "none", "source": "random weights"}
    model = ModelCard(
        id="benchmark",
        title="Random weights",
        architecture="hyenadna" if case.config in HYENADNA else "stripedhyena2",
        config={},
        weights="none.safetensors",
        n_parameters=1,
        context=case.context,
        random_weights=True,
        **common,
    )
    dictionary = DictionaryCard(
        id="benchmark-sae",
        title="Random weights",
        model_id=model.id,
        model_sha256=SHA256,
        layer=case.layers,
        d_in=width,
        d_sae=case.features,
        k=case.k,
        stride=case.window - case.context,
        context=case.context,
        dtype=case.dtype,
        random_weights=True,
        **common,
    )
    return dictionary, model


def codes_of(case: Case) -> NDArray[np.uint8]:
    """Random bases, a batch of windows."""
    shape = (case.batch, case.window)
    return np.random.default_rng(0).integers(0, 4, shape, dtype=np.uint8)


def owned_share(case: Case) -> float:
    """Share of a window's bases that are not left context."""
    return 1 - case.context / case.window


def in_turns(
    work: dict[str, Callable[[], Any]], turns: int, device: torch.device
) -> tuple[dict[str, tuple[float, float]], dict[str, str]]:
    """Fastest seconds on the clock and of CPU of each work; what ran out of memory."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    failed: dict[str, str] = {}
    for turn in range(turns + 1):
        for name, run in work.items():
            if name in failed:
                continue
            try:
                begin, cpu = time.perf_counter(), time.process_time()
                run()
                synchronize(device)
                taken = time.perf_counter() - begin, time.process_time() - cpu
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failed[name] = str(error).split("\n")[0][:200]
                gc.collect()
                continue
            if turn:  # the first warms caches
                times[name].append(taken)
    fastest = {
        name: (min(wall for wall, _ in found), min(cpu for _, cpu in found))
        for name, found in times.items()
        if found and name not in failed
    }
    return fastest, failed


def peak(
    case: Case,
    sizes: Sizes,
    device: torch.device,
    form: str,
    work: Work,
    codes: NDArray[np.uint8],
    args: argparse.Namespace,
) -> int | None:
    """Most memory taken by a form: of the GPU, or of a process of its own on a CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work[form](codes)
        synchronize(device)
        return int(torch.cuda.max_memory_allocated(device))
    command = [sys.executable, __file__, "--config", case.config, "--child", form]
    for name in ("layers", "features", "k", "window", "context", "batch", "dtype"):
        command += [f"--{name}", str(getattr(case, name))]
    command += ["--threads", str(args.threads), "--device", "cpu"]
    command += ["--width", str(args.width)] if args.width else []
    return int(json.loads(output(*command)))


def peak_of_child(case: Case, sizes: Sizes, device: torch.device, form: str) -> int:
    """Peak memory of this process after one turn of a form."""
    work, _ = make(case, sizes, device, whole=form == "naive")
    work[form](codes_of(case))
    # not getrusage: that of a new process begins with its parent's
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def whole_way(case: Case, encoder: Encoder, count: int, device: torch.device) -> dict[str, Any]:
    """A sequence of `count` windows, both strands, to a Parquet file of activations."""
    card = encoder.dictionary
    length = count * card.stride
    bases = np.random.default_rng(1).integers(0, 4, length, dtype=np.uint8)
    spans = [Span(0, 0, length)]
    windows = windows_of(
        spans, {0: length}, stride=card.stride, context=card.context, strands="both"
    )
    width = card.stride + card.context
    places = Places(spans, apart=RADIUS)
    synchronize(device)
    begin, cpu = time.perf_counter(), time.process_time()
    parts = [
        _packed(group, rows, places)
        for group, rows in encode_windows(
            windows,
            lambda window: bases[window.read[0] : window.read[1]],
            encoder,
            width=width,
            batch=case.batch,
        )
    ]
    encoded = time.perf_counter() - begin
    found = describe(
        parts,
        places,
        spans,
        lengths={0: length},
        n_features=card.d_sae,
        scanned={1: length, -1: length},
    ).bases
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / SHARD_FILE
        write_shard_bases(found, path)
        size = path.stat().st_size
    seconds = time.perf_counter() - begin
    return {
        "bases": length,
        "windows": len(windows),
        "active": len(found.locus),
        "bytes": size,
        "seconds": round(seconds, 4),
        "cpu_seconds": round(time.process_time() - cpu, 4),
        "encoding_seconds": round(encoded, 4),
        "annotated_bases_per_second": round(length / seconds, 1),
        "model_input_bases_per_second": round(len(windows) * width / seconds, 1),
    }


def agreement(case: Case, sizes: Sizes, work: Work, codes: NDArray[np.uint8]) -> dict[str, float]:
    """Whether saetrack and the reference find the same: places shared, largest difference."""
    served, (place, value) = work["every_base"](codes), work["reference"](codes)
    row = served.window * case.window + served.position
    one = row * case.features + served.feature.astype(np.int64)
    other = place[:, 0].numpy() * case.features + place[:, 1].numpy()
    _, left, right = np.intersect1d(one, other, return_indices=True)
    difference = np.abs(served.value[left] - value.numpy()[right]) / served.value[left]
    union = len(one) + len(other) - len(left)
    return {
        "jaccard": round(len(left) / max(1, union), 6),
        "largest_relative_difference": float(difference.max(initial=0)),
        "latents_of_a_base": round(len(one) / codes.size, 2),
    }


def costs_of(case: Case, sizes: Sizes) -> Costs:
    """Operations and bytes of a base, to the tap."""
    shape = {"window": case.window, "batch": case.batch}
    if isinstance(sizes, HyenaDnaConfig):
        return hyenadna_costs(sizes, case.layers, case.features, **shape)
    size = 2 if case.dtype == "bfloat16" else 4
    return evo2_costs(sizes, case.layers, case.features, size=size, **shape)


def limits(case: Case, device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    """Operations and bytes a second of the device: as told, or the fastest of large works."""
    measured = {
        name: product_rate(getattr(torch, name), device) for name in {"float32", case.dtype}
    }
    told = {case.dtype: args.peak_tflops, "float32": args.peak_tflops_float32}
    rates = {name: (told.get(name) or 0) * 1e12 or rate for name, rate in measured.items()}
    return {
        "operations_per_second": rates,
        "operations_told": {name: bool(told.get(name)) for name in rates},
        "bytes_per_second": (args.bandwidth or 0) * 1e12 or copy_rate(device),
        "bytes_told": bool(args.bandwidth),
        "dtype": case.dtype,
    }


def least_seconds(costs: Costs, limit: dict[str, Any]) -> float:
    """Seconds of a base on the roofline: products and bytes overlap, model and dictionary not."""
    rates, bandwidth = limit["operations_per_second"], limit["bytes_per_second"]
    model = costs.model_products / rates[limit["dtype"]] + costs.model_other / rates["float32"]
    dictionary = costs.dictionary / rates["float32"]
    return max(model, costs.model_bytes / bandwidth) + max(
        dictionary, costs.dictionary_bytes / bandwidth
    )


def product_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of a large square product."""
    side = 8192 if device.type == "cuda" else 1024
    x = torch.randn(side, side, device=device).to(dtype)
    return 2 * side**3 / fastest(lambda: x @ x, device)


def copy_rate(device: torch.device) -> float:
    """Bytes read and written a second by a large copy."""
    count = 2**28 if device.type == "cuda" else 2**25
    x = torch.zeros(count, device=device)
    y = torch.empty_like(x)
    return 2 * 4 * count / fastest(lambda: y.copy_(x), device)


def fastest(work: Callable[[], Any], device: torch.device, repeats: int = 5) -> float:
    """Seconds of the fastest of some repeats."""
    taken, _ = in_turns({"work": work}, repeats, device)
    return taken["work"][0]


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine(device: torch.device, threads: int) -> dict[str, Any]:
    """What it ran on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "device": describe_device(device),
        "cpu": f"{len(names)} x {names[0] if names else platform.processor()}",
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def output(*command: str) -> str | None:
    """What a command prints; None where it cannot be run."""
    try:
        run = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()


def load_average() -> float:
    """Processes that wanted to run in the last minute."""
    return float(Path("/proc/loadavg").read_text().split()[0])


if __name__ == "__main__":
    main()
