"""Causal tests of the ten best matches: motifs taken away and put in, on training chromosomes."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from annotations.activation_merge import merge_stretches
from annotations.activation_parts import ONE_FILE
from annotations.atlas import load_atlas
from annotations.causal_sites import CausalOptions, Genome
from annotations.errors import StateError
from annotations.jaspar import load_motifs
from annotations.sequences import write_record
from annotations.types import Span
from workers.causal import Effect, causal_test
from workers.evidence.data import YeastContig
from workers.evidence.dictionaries import TRAINED, Compared
from workers.evidence.motifs import COMMON, CONFIRMED
from workers.evidence.reading import FewFeatures
from workers.pipeline import run_shard

MATCHES: Final = 10


def best_of_atlas(matches: pa.Table, most: int = MATCHES) -> list[dict[str, Any]]:
    """The surest confirmed matches, one for each motif cluster and feature.

    Matrices that more than a tenth of background windows hold are passed over.
    """
    confirmed = matches.filter(pc.match_substring(matches["evidence"], CONFIRMED))
    confirmed = confirmed.filter(pc.less_equal(confirmed["background_rate"], COMMON))
    names = ["feature", "strand", "matrix_id", "motif_name", "cluster", "q", "held_out_q"]
    rows = confirmed.select(names).sort_by([("q", "ascending"), ("feature", "ascending")])
    chosen: list[dict[str, Any]] = []
    for row in rows.to_pylist():
        taken = {key for one in chosen for key in (one["cluster"], one["feature"])}
        if row["cluster"] not in taken and row["feature"] not in taken:
            chosen.append(row)
        if len(chosen) == most:
            break
    return chosen


def causal_stage(compared: Compared, contigs: Sequence[YeastContig]) -> dict[str, Any]:
    """Take each motif away at the feature's peaks and put it into silent windows.

    Parameters
    ----------
    compared : Compared
    contigs : sequence of YeastContig
        Training chromosomes.

    Raises
    ------
    StateError
        If the dictionary has no atlas.
    """
    folder = compared.cards.atlas(compared.trained)
    if folder is None:
        raise StateError(
            f"the dictionary {compared.trained.id} has no atlas to take matches from; make one "
            "with `saetrack atlas build`"
        )
    atlas = load_atlas(folder, compared.trained.sha256)
    pairs = best_of_atlas(atlas.matches)
    motifs = {motif.matrix_id: motif for motif in load_motifs(atlas.taxon, atlas.release).motifs}
    encoder = compared.open(TRAINED)
    few = FewFeatures(encoder, [pair["feature"] for pair in pairs] or [0])
    options = CausalOptions()
    genome = Genome.of([contig.bases for contig in contigs], options)
    tests = []
    with tempfile.TemporaryDirectory(prefix="saetrack-") as scratch:
        fasta = Path(scratch) / "contigs.fa"
        letters = np.frombuffer(b"ACGTN", np.uint8)
        with fasta.open("wb") as out:
            for index, contig in enumerate(contigs):
                write_record(out, str(index), letters[contig.bases].tobytes())
        spans = [Span(index, 0, len(contig.bases)) for index, contig in enumerate(contigs)]
        shard = run_shard(fasta, spans, few, Path(scratch))
        activations = Path(scratch) / ONE_FILE
        merge_stretches([shard.active_bases], activations)
        for pair in pairs:
            found = causal_test(
                few,
                genome,
                activations,
                feature=pair["feature"],
                strand=pair["strand"],
                motif=motifs[pair["matrix_id"]],
                options=options,
            )
            inserted = min(
                (found.insert, found.insert_opposite),
                key=lambda effect: 2.0 if effect.p is None else effect.p,
            )
            tests.append(
                {
                    "feature": pair["feature"],
                    "strand": pair["strand"],
                    "matrix": pair["matrix_id"],
                    "tf": pair["motif_name"],
                    "cluster": pair["cluster"],
                    "taken_away": _effect(found.disrupt),
                    # the better of two orientations
                    "put_in": _effect(inserted, times=2),
                }
            )
    return {"contigs": [contig.name for contig in contigs], "tests": tests}


def _effect(effect: Effect, times: int = 1) -> dict[str, Any]:
    return {
        "n": effect.n,
        "change": _short(effect.change),
        "control": _short(effect.control_change),
        "effect": _short(effect.effect),
        "p": None if effect.p is None else float(f"{min(1.0, times * effect.p):.3g}"),
        "reason": effect.reason,
    }


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
