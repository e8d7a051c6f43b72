"""Does a language model know motifs? Asked before any dictionary is trained on it.

Each base is scored given all the others (one pass of the paired tree gives
that). At motif instances in non-coding sequence that the model never saw, the
bits of the informative columns are compared with a code that knows the
composition alone, and bound instances with unbound ones: both are the same
motif, so a difference is knowledge that the matrix does not hold.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import safe_open

from annotations.errors import FormatError, OptionError, WeightsError
from annotations.evaluation import auroc
from annotations.jaspar import Motif, load_motifs, resolve_tf
from annotations.motif_scan import background_of, scan
from workers.language_models.paired_tree import N_CODE, PairedTree, PairedTreeConfig
from workers.training.genomes import (
    AnnotatedContig,
    GenomeSpec,
    mask_of,
    read_bed,
    read_genome,
    text_lines,
)

CORE_BITS = 0.6
"""Columns of a motif with more information than this count as its core."""
BOUND_DISTANCE = 25
"""A location this many bases or less from an instance's centre makes it bound."""

Locations = Mapping[str, Mapping[str, NDArray[np.int64]]]
"""Positions by contig name, by lower-case protein name."""


class Instances(NamedTuple):
    """Places where one motif stands, one for each locus."""

    contig: NDArray[np.int64]
    """Index of the contig, shape (n,)."""
    start: NDArray[np.int64]
    """0-based, on the forward strand, shape (n,)."""
    strand: NDArray[np.int8]
    score: NDArray[np.float64]
    """Log2 odds of the matrix, shape (n,)."""


MIN_INSTANCES = 5
"""Bound and unbound instances below which nothing is said of a motif."""


@dataclass(frozen=True)
class GateRow:
    """What a model knows of one motif; bits are means over core columns and instances."""

    tf: str
    matrix_id: str
    core_columns: int
    bound: int
    """Instances with a location of the TF within `BOUND_DISTANCE`."""
    unbound: int
    composition_bits: float
    """Of a code that knows the composition alone, over all instances."""
    bound_bits: float
    """Of the model at bound instances; NaN without one."""
    unbound_bits: float
    """Of the model at unbound instances; NaN without one."""
    model_auroc: float
    """Fewer bits of the model telling bound from unbound; NaN without both."""
    jaspar_auroc: float
    """Score of the matrix telling bound from unbound; NaN without both."""

    @property
    def known(self) -> bool | None:
        """Bound instances at least .15 bit below composition and below the unbound ones.

        None where `MIN_INSTANCES` bound or unbound ones are not there to tell.
        """
        if min(self.bound, self.unbound) < MIN_INSTANCES:
            return None
        return self.bound_bits <= self.composition_bits - 0.15 and (
            self.bound_bits < self.unbound_bits
        )


@torch.inference_mode()
def base_bits(
    model: PairedTree,
    bases: NDArray[np.uint8],
    *,
    wanted: NDArray[np.bool_] | None = None,
    window: int = 192,
    batch: int = 64,
) -> NDArray[np.float32]:
    """Bits the model needs for each base given all the others, both strands averaged.

    Windows overlap by half and each base is scored in the middle half of one;
    beyond the ends of the sequence the model reads N.

    Parameters
    ----------
    model : PairedTree
        Read with species 0.
    bases : uint8 array, shape (length,)
        Base codes.
    wanted : bool array, shape (length,), optional
        Windows that own none of these bases are not read.
    window, batch : int
        Bases in a window, a multiple of 4; windows in a pass.

    Returns
    -------
    bits : float32 array, shape (length,)
        NaN at N and in windows that were not read.
    """
    device = next(model.parameters()).device
    half, quarter = window // 2, window // 4
    owned = -(-len(bases) // half)
    padded = np.full(owned * half + window, N_CODE, np.uint8)
    padded[quarter : quarter + len(bases)] = bases
    bits = np.full(owned * half, np.nan, np.float32)
    asked = np.zeros(owned * half, bool)
    asked[: len(bases)] = True if wanted is None else wanted
    starts = np.flatnonzero(asked.reshape(owned, half).any(1)) * half
    for first in range(0, len(starts), batch):
        begin = starts[first : first + batch, None]
        ids = torch.from_numpy(padded[begin + np.arange(window)].astype(np.int64)).to(device)
        species = torch.zeros(len(ids), dtype=torch.long, device=device)
        logits = model(ids, species, symmetric=True).float()
        nats = F.cross_entropy(logits.transpose(1, 2), ids.clamp(max=3), reduction="none")
        inner = nats[:, quarter : quarter + half].cpu().numpy() / np.log(2)
        bits[begin + np.arange(half)] = inner
    bits = bits[: len(bases)]
    bits[bases == N_CODE] = np.nan
    return bits


def core_columns(motif: Motif) -> NDArray[np.int64]:
    """Columns with more than `CORE_BITS` of information, 2 - entropy of the counts' shares."""
    share = motif.counts / motif.counts.sum(0)
    log = np.log2(share, out=np.zeros_like(share), where=share > 0)
    return np.flatnonzero(2 + (share * log).sum(0) > CORE_BITS)


def one_per_locus(hits: pa.Table, width: int) -> Instances:
    """Best-scoring hits of one motif such that no two overlap, the best chosen first.

    Parameters
    ----------
    hits : pa.Table
        Rows of `annotations.motif_scan.HITS_SCHEMA` of a single motif.
    width : int
        Bases of the motif.
    """
    contig = hits["contig"].to_numpy().astype(np.int64)
    start, score = hits["start"].to_numpy(), hits["score"].to_numpy().astype(np.float64)
    taken: set[tuple[int, int]] = set()
    kept = []
    for row in np.lexsort((start, contig, -score)):
        place = (int(contig[row]), int(start[row]))
        if not any((place[0], place[1] + by) in taken for by in range(1 - width, width)):
            taken.add(place)
            kept.append(row)
    rows = np.sort(np.array(kept, np.int64))
    return Instances(contig[rows], start[rows], hits["strand"].to_numpy()[rows], score[rows])


def motif_gate(
    bits: Sequence[NDArray[np.float32]],
    contigs: Sequence[AnnotatedContig],
    allowed: Sequence[NDArray[np.bool_]],
    tf: str,
    motif: Motif,
    locations: Locations,
) -> GateRow:
    """What a model knows of one motif.

    Parameters
    ----------
    bits : sequence of float32 array, shape (length,)
        `base_bits` of each contig.
    contigs : sequence of AnnotatedContig
        Sequence the model did not learn from.
    allowed : sequence of bool array, shape (length,)
        Where instances may lie: non-coding, no repeats. An instance lies there whole.
    tf : str
        Name of the protein in `locations`, in any case.
    motif : Motif
        Its matrix.
    locations : Locations
        Where proteins were found bound.

    Returns
    -------
    GateRow
        NaN where there is no instance of a kind.

    Raises
    ------
    FormatError
        If the motif has no core column.
    """
    core = core_columns(motif)
    if not len(core):
        raise FormatError(f"{motif.matrix_id} has no column with more than {CORE_BITS} bit")
    sequences = [np.where(ok, c.bases, N_CODE) for c, ok in zip(contigs, allowed, strict=True)]
    background = background_of(sequences)
    # A window that touches N is never a hit, so masking first keeps instances whole.
    found = one_per_locus(scan(sequences, [motif], background=background), motif.width)
    offsets = np.where(found.strand[:, None] > 0, core, motif.width - 1 - core)
    columns = found.start[:, None] + offsets
    model_bits, composition = np.zeros(columns.shape), np.zeros(columns.shape)
    is_bound = np.zeros(len(columns), bool)
    for index, contig in enumerate(contigs):
        here = found.contig == index
        model_bits[here] = bits[index][columns[here]]
        composition[here] = -np.log2(background)[contig.bases[columns[here]]]
        known = locations.get(contig.name, {}).get(tf.lower(), np.zeros(0, np.int64))
        centre = found.start[here] + (motif.width - 1) / 2
        is_bound[here] = _distance(centre, known) <= BOUND_DISTANCE
    per_instance = model_bits.mean(1)
    return GateRow(
        tf,
        motif.matrix_id,
        len(core),
        int(is_bound.sum()),
        int((~is_bound).sum()),
        _mean(composition),
        _mean(per_instance[is_bound]),
        _mean(per_instance[~is_bound]),
        auroc(-per_instance, is_bound),
        auroc(found.score, is_bound),
    )


def gate_table(
    model: PairedTree | Path,
    *,
    fasta: Path,
    annotation: Path,
    locations: Path,
    contigs: Sequence[str],
    tfs: Sequence[str],
    taxon: str = "fungi",
    exclude: Path | None = None,
) -> list[GateRow]:
    """The gate of a model on some contigs of a genome, one row for each TF and matrix.

    Parameters
    ----------
    model : PairedTree or Path
        A model, or the path of a training checkpoint.
    fasta, annotation : Path
        Genome and its GFF3.
    locations : Path
        BED of bound places, the protein in the name column; plain or gzip.
    contigs : sequence of str
        Contigs to measure on; never ones the model learnt from.
    tfs : sequence of str
        As `annotations.jaspar.resolve_tf` takes them.
    taxon : str
        JASPAR tax group.
    exclude : Path, optional
        BED of regions left out, such as repeats.

    Raises
    ------
    OptionError, UnknownNameError, FormatError, WeightsError
        If a contig, TF, file or checkpoint is not what it should be.
    """
    catalogue = load_motifs(taxon)
    wanted = [(tf, motif) for tf in tfs for motif in resolve_tf(catalogue, tf).motifs]
    chosen = [c for c in read_genome(GenomeSpec(fasta, 0, None, annotation)) if c.name in contigs]
    if len(chosen) != len(set(contigs)):
        raise OptionError(f"not all of the contigs {', '.join(contigs)} are in {fasta.name}")
    left_out = read_bed(exclude) if exclude else {}
    allowed = []
    for contig in chosen:
        spans = left_out.get(contig.name, [])
        allowed.append(~contig.coding & ~mask_of(spans, len(contig.bases), contig.name))
    bound = read_locations(locations)
    if not any(contig.name in bound for contig in chosen):
        raise FormatError(
            f"{locations.name} has no location on {', '.join(contigs)}; names must be the same"
        )
    tree = model if isinstance(model, PairedTree) else load_checkpoint(model)
    bits = [base_bits(tree, c.bases, wanted=ok) for c, ok in zip(chosen, allowed, strict=True)]
    return [motif_gate(bits, chosen, allowed, tf, motif, bound) for tf, motif in wanted]


def read_locations(path: Path) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Middle of each BED interval by contig and lower-case name, sorted.

    Raises
    ------
    FormatError
        If a line has no name column.
    """
    places: dict[str, dict[str, list[int]]] = {}
    for number, line in text_lines(path):
        field = line.split("\t")
        if len(field) < 4 or not (field[1].isdigit() and field[2].isdigit()):
            raise FormatError(f"line {number} of {path.name} is not BED with a name column")
        middle = (int(field[1]) + int(field[2]) - 1) // 2
        places.setdefault(field[0], {}).setdefault(field[3].lower(), []).append(middle)
    return {
        contig: {name: np.sort(np.array(at, np.int64)) for name, at in named.items()}
        for contig, named in places.items()
    }


def load_checkpoint(path: Path) -> PairedTree:
    """The model of a training checkpoint, in evaluation mode on the CPU.

    Raises
    ------
    WeightsError
        If the file is no checkpoint of `workers.training.lm`.
    """
    with safe_open(path, "pt") as file:
        settings = (file.metadata() or {}).get("settings")
        if settings is None:
            raise WeightsError(f"{path.name} is not a training checkpoint: it has no settings")
        sizes = json.loads(settings)["model"]
        model = PairedTree(PairedTreeConfig(**{**sizes, "distances": tuple(sizes["distances"])}))
        weights = {name: file.get_tensor(f"model.{name}") for name in model.state_dict()}
    model.load_state_dict(weights)
    return model.eval()


def _distance(centres: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bases from each centre to the nearest of the sorted places; infinite without one."""
    if not len(places):
        return np.full(len(centres), np.inf)
    after = np.searchsorted(places, centres).clip(max=len(places) - 1)
    before = (after - 1).clip(min=0)
    near: NDArray[np.float64] = np.minimum(
        np.abs(places[after] - centres), np.abs(places[before] - centres)
    )
    return near


def _mean(values: NDArray[np.floating]) -> float:
    return float(values.mean()) if values.size else float("nan")
