"""Questions to a result folder of `saetrack annotate`; the service answers them alike."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from annotations.cards import find_cards
from annotations.errors import StorageError
from annotations.options import RunOptions
from annotations.provenance import read_provenance
from app.catalog import Result, tf_features
from workers.commands.places import result_file, settings_from_environment
from workers.export import read_contigs
from workers.merge import RESULT_FILES, SIGNIFICANT_Q


def open_result(folder: Path) -> Result:
    """A result folder, for the questions of `app.catalog`.

    Parameters
    ----------
    folder : Path
        Which `saetrack annotate` wrote.

    Returns
    -------
    result : Result
        Its atlas is that of the dictionary, if the dictionary is installed here with the
        same weights.

    Raises
    ------
    UnknownNameError, OptionError
        If there is no such folder, or it holds no result.
    StorageError
        If the provenance is cut or altered.
    """
    contigs = read_contigs(result_file(folder, "contigs.parquet"))
    files = {name: result_file(folder, name) for name in RESULT_FILES}
    record = read_provenance(files["provenance.json"])
    made_with, options = record.get("dictionary"), record.get("options")
    if not isinstance(made_with, dict) or not isinstance(options, dict) or "d_sae" not in made_with:
        raise StorageError(
            f"{files['provenance.json']} names no dictionary or no options: it is cut or altered"
        )
    cards = find_cards(settings_from_environment().model_roots)
    card = cards.dictionaries.get(str(made_with["id"]))
    known = card is not None and card.sha256 == made_with["sha256"]
    return Result(
        files=files,
        names=[contig.name for contig in contigs],
        lengths=[contig.length for contig in contigs],
        options=RunOptions.from_json(cast(Mapping[str, object], options)),
        n_features=int(made_with["d_sae"]),
        atlas=cards.atlas(card) if card is not None and known else None,
        dictionary_sha256=str(made_with["sha256"]),
    )


def answer_tf(folder: Path, tf: str, *, limit: int) -> dict[str, Any]:
    """The features of a result that match a transcription factor.

    Parameters
    ----------
    folder : Path
        Result folder.
    tf : str
        As `annotations.jaspar.resolve_tf` takes it.
    limit : int
        Most features to list.

    Returns
    -------
    answer : dict
        JSON values: how the name was understood (query, match_type, motifs, release, taxon), the
        power of the test (test), how many listed features have q at most `significant_q`
        (significant), and the features by q, those above it too: they are evidence, not matches.
        Where the features are the run's own, what the atlas knows stands in atlas_features.

    Raises
    ------
    StateError
        If the result was made without motifs and the dictionary has no atlas.
    UnknownNameError
        If no motif has the name; the message holds near ones.
    """
    found = tf_features(open_result(folder), tf, max_q=1.0, limit=limit)
    resolved = found.resolution
    return {
        "query": tf,
        "match_type": resolved.match_type,
        "motifs": [{"matrix_id": m.matrix_id, "name": m.name} for m in resolved.motifs],
        "release": resolved.release,
        "taxon": resolved.taxon,
        "test": found.test,
        "significant_q": SIGNIFICANT_Q,
        "significant": sum(row["q"] <= SIGNIFICANT_Q for row in found.features),
        "features": found.features,
        "atlas": found.atlas,
        "atlas_features": [r for r in found.atlas_features if r["q"] <= SIGNIFICANT_Q],
    }
