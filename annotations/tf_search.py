"""Names of factors that contain a text, for a box that completes what is typed."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from annotations.motif_catalogue import MotifCatalogue
from annotations.tf_names import ALIASES, MatchType, loose_name

_NO_RANK: Final = 3


class TfSuggestion(NamedTuple):
    """Something `resolve_tf` understands and that contains the text of a search."""

    name: str
    """To be asked for."""
    kind: MatchType
    matched: str
    """What contains the text: `name` itself, or an alias of it."""
    motif_names: tuple[str, ...]
    matrix_ids: tuple[str, ...]


def search_tfs(catalogue: MotifCatalogue, text: str, limit: int = 20) -> tuple[TfSuggestion, ...]:
    """Names, aliases, ids, accessions and families that contain a text.

    Parameters
    ----------
    catalogue : MotifCatalogue
        Where to look.
    text : str
        In any case; of an empty one every name is an answer.
    limit : int
        Most suggestions to give.

    Returns
    -------
    suggestions : tuple of TfSuggestion
        Equal to the text first, then those that begin with it, then the rest; within each names
        before sides of dimers, aliases, matrix ids, accessions and families, shorter ones first.
        Empty if nothing contains the text.
    """
    wanted = text.strip().casefold()
    loose = loose_name(wanted)
    ranked = []
    for order, (key, suggestion) in enumerate(_suggestions(catalogue)):
        rank = _rank(key, wanted)
        if loose and suggestion.kind in {"name", "alias"}:
            rank = min(rank, _rank(loose_name(key), loose))
        if rank < _NO_RANK:
            ranked.append((rank, order, suggestion))
    return tuple(suggestion for _, _, suggestion in sorted(ranked)[: max(limit, 0)])


def _rank(key: str, wanted: str) -> int:
    if key == wanted:
        return 0
    return 1 if key.startswith(wanted) else 2 if wanted in key else _NO_RANK


@lru_cache(maxsize=32)
def _suggestions(catalogue: MotifCatalogue) -> tuple[tuple[str, TfSuggestion], ...]:
    """All suggestions under the text that finds them, in the order of equal ranks."""

    def suggest(
        kind: MatchType, names: Mapping[str, str], places: Mapping[str, tuple[int, ...]]
    ) -> list[tuple[str, TfSuggestion]]:
        return [
            (key, _suggestion(catalogue, names[key], kind, names[key], places[key]))
            for key in sorted(names, key=lambda key: (len(key), key))
        ]

    motifs = catalogue.motifs
    names = {m.name.casefold(): m.name for m in motifs}
    lone = {
        side.casefold(): side
        for m in motifs
        for side in m.name.split("::")
        if side.casefold() not in names
    }
    aliases = [
        (alias, _suggestion(catalogue, symbol, "alias", alias, places))
        for alias, symbols in sorted(ALIASES.get(catalogue.taxon, {}).items())
        for symbol in symbols
        if (places := catalogue.by_symbol(symbol))
    ]
    ids = {m.matrix_id.casefold(): m.matrix_id for m in motifs}
    accessions = {acc.casefold(): acc for m in motifs for acc in m.uniprot}
    return (
        *suggest("name", names, catalogue.by_name),
        *suggest("dimer", lone, catalogue.by_side),
        *aliases,
        *suggest("matrix_id", ids, catalogue.by_id),
        *suggest("uniprot", accessions, catalogue.by_uniprot),
        *suggest("family", catalogue.families, catalogue.by_family),
    )


def _suggestion(
    catalogue: MotifCatalogue, name: str, kind: MatchType, matched: str, places: Iterable[int]
) -> TfSuggestion:
    motifs = [catalogue.motifs[place] for place in places]
    names = tuple(dict.fromkeys(motif.name for motif in motifs))
    return TfSuggestion(name, kind, matched, names, tuple(motif.matrix_id for motif in motifs))
