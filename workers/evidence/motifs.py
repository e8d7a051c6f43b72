"""Features with a confirmed motif, by TF, from the server's own tables of matches."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotations.atlas import load_atlas
from annotations.atlas_build import best_matches
from annotations.cards import DictionaryCard
from annotations.errors import WeightsError
from annotations.jaspar import Motif
from annotations.provenance import read_provenance
from workers.evidence.dictionaries import TRAINED, Compared

CONFIRMED: Final = "predictive"
"""The kind of evidence of a match that was tested once on held-out contigs."""
PER_ROW: Final = 10
"""Matches of a feature row that are looked at: as many as an atlas keeps at most."""
COMMON: Final = 0.1
"""Motifs that more than this share of background windows hold are counted apart."""
DRAWS: Final = 200


def motifs_stage(
    compared: Compared, results: Path | None, motifs: Mapping[str, Sequence[Motif]]
) -> dict[str, Any]:
    """Confirmed matches of each dictionary.

    Parameters
    ----------
    compared : Compared
    results : Path, optional
        Folder with a result of `saetrack annotate` over the genome for each dictionary, in a
        folder of its id, made with the settings of the bundled atlas.
    motifs : mapping
        Matrices of the TFs that are listed one by one.
    """
    tables: dict[str, pa.Table] = {}
    missing = {}
    for role, card in compared.by_role.items():
        folder = compared.cards.atlas(card) if role == TRAINED else None
        result = None if results is None else results / card.id
        if folder is not None:
            tables[role] = load_atlas(folder, card.sha256).matches
        elif result is not None and (result / "matches.parquet").is_file():
            check_made_with(result, card)
            tables[role] = best_matches(pq.read_table(result / "matches.parquet"), per_row=PER_ROW)
        else:
            missing[role] = (
                f"`saetrack annotate sacCer3 --dictionary {card.id} --taxon fungi --held-out "
                f"chrIX,chrXIV --top 0 --out RESULTS/{card.id}`"
            )
    units = {role: compared.by_role[role].d_sae for role in tables}
    least = min(units.values(), default=0)
    return {
        "missing": missing,
        "same_units": least,
        "roles": {
            role: counted(table, units[role], least, motifs) for role, table in tables.items()
        },
    }


def specific_matches(matches: pa.Table) -> pa.Table:
    """Confirmed matches to motifs that at most `COMMON` of background windows hold."""
    confirmed = matches.filter(pc.match_substring(matches["evidence"], CONFIRMED))
    return confirmed.filter(pc.less_equal(confirmed["background_rate"], COMMON))


def check_made_with(result: Path, card: DictionaryCard) -> None:
    """Refuse a result of annotate that was computed with other weights.

    Raises
    ------
    WeightsError
        If its provenance names another dictionary, or none.
    """
    made = read_provenance(result / "provenance.json").get("dictionary")
    if not isinstance(made, dict) or made.get("sha256") != card.sha256:
        raise WeightsError(
            f"{result} was not computed with the dictionary {card.id!r} that is in the "
            "models folders; annotate the genome again"
        )


def counted(
    matches: pa.Table, units: int, least: int, motifs: Mapping[str, Sequence[Motif]]
) -> dict[str, Any]:
    """Features, clusters and TFs with a confirmed match in one table.

    Parameters
    ----------
    matches : Table of `annotations.match_table.MATCHES_SCHEMA`
    units : int
        Features of the dictionary.
    least : int
        Features of the smallest dictionary: draws of so many are counted as well.
    motifs : mapping
        Matrices of TFs.
    """
    confirmed = matches.filter(pc.match_substring(matches["evidence"], CONFIRMED))
    specific = specific_matches(matches)
    by_tf = {}
    for tf, group in motifs.items():
        ids = pa.array([motif.matrix_id for motif in group])
        mine = confirmed.filter(pc.is_in(confirmed["matrix_id"], value_set=ids))
        by_tf[tf] = len(mine["feature"].unique())
    feature = specific["feature"].to_numpy()
    clusters = specific["cluster"].to_numpy(zero_copy_only=False)
    rng = np.random.default_rng(0)
    drawn = [
        len(set(clusters[np.isin(feature, rng.choice(units, least, replace=False))].tolist()))
        for _ in range(DRAWS if least < units else 1)
    ]
    return {
        "units": units,
        "features": len(confirmed["feature"].unique()),
        "specific_features": len(specific["feature"].unique()),
        "clusters": len(specific["cluster"].unique()),
        "clusters_same_units": round(float(np.mean(drawn)), 1),
        "by_tf": by_tf,
        "without_explanation": units - len(matches["feature"].unique()),
    }
