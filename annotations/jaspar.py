"""The motifs that a transcription factor's name stands for, as biologists write names.

    load_motifs("fungi")  ->  MotifCatalogue  --resolve_tf("Reb1")-->  TfResolution
                                              --search_tfs("reb")-->   suggestions

A name is resolved within one release and taxonomic group, because it is ambiguous without them:
GATA1 is also an Arabidopsis factor. What is not found there but elsewhere is refused with where it
is; what stands for several factors is refused with those, none is picked.
"""

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from annotations.errors import AmbiguousNameError, Candidate, UnknownNameError
from annotations.jaspar_files import RELEASES as RELEASES
from annotations.jaspar_files import TAXA as TAXA
from annotations.jaspar_files import Taxon as Taxon
from annotations.jaspar_files import known_matrices
from annotations.jaspar_files import load_motifs as load_motifs
from annotations.motif_catalogue import DIMER_SEPARATORS, USER, base_id, sides
from annotations.motif_catalogue import Motif as Motif
from annotations.motif_catalogue import MotifCatalogue as MotifCatalogue
from annotations.tf_history import elsewhere, history, known_by_id, where
from annotations.tf_names import ACCESSIONS, ALIASES, loose_name
from annotations.tf_names import MatchType as MatchType
from annotations.tf_search import TfSuggestion as TfSuggestion
from annotations.tf_search import search_tfs as search_tfs

_MATRIX_ID: Final = re.compile(r"((?:MA|UN)\d{4})(?:\.(\d{1,3}))?", re.IGNORECASE)
_ISOFORM: Final = re.compile(r"-\d{1,2}$")
_MOST_SIDES: Final = 4
_LONGEST_NAME: Final = 60
_LISTED: Final = 8
"""Names a message lists at most."""
_SHORTEST_WORD: Final = 3


class TfResolution(NamedTuple):
    """What a query named, to be echoed to whoever asked."""

    query: str
    match_type: MatchType
    motifs: tuple[Motif, ...]
    """At least one, in catalogue order."""
    release: str
    taxon: str
    note: str = ""
    """What the asker should know of the way from the name to these motifs; often empty."""


def resolve_tf(catalogue: MotifCatalogue, text: str) -> TfResolution:
    """The motifs that a name stands for, in one catalogue.

    Tried in this order, the first that finds anything wins; case never matters:

    1. a matrix id, with its version or without ("MA0363.3", "ma0363");
    2. a UniProt accession that a matrix carries;
    3. an accession that the factor has in another species or release ("P17947" is human SPI1, whose
       matrix carries the accession of the mouse);
    4. a name, whole (all matrices that share it);
    5. a dimer in any order ("TAL1::GATA1", "GATA1-TAL1"), or one side of dimers;
    6. the name without punctuation, a yeast protein's name ("Reb1p"), or a curated alias ("PU.1");
    7. a name that another release has for the same matrix;
    8. a family or class, or words of just one of them.

    Parameters
    ----------
    catalogue : MotifCatalogue
        Where to look; a name means different factors in different taxonomic groups.
    text : str
        What the user asked for.

    Returns
    -------
    resolution : TfResolution
        The motifs, how they were found, and what is to be known about that.

    Raises
    ------
    AmbiguousNameError
        If the name stands for several factors or families; carries them as candidates.
    UnknownNameError
        If nothing has this name; tells near names, and the taxonomic groups and releases that
        have it.
    """
    query = text.strip()
    steps: tuple[tuple[MatchType, Callable[[MotifCatalogue, str], _Found]], ...] = (
        ("matrix_id", _by_matrix_id),
        ("uniprot", _by_uniprot),
        ("other_accession", _by_other_accession),
        ("name", _by_name),
        ("dimer", _by_dimer),
        ("alias", _by_alias),
        ("former_name", _by_former_name),
        ("family", _by_family),
    )
    for match_type, look in steps:
        found = look(catalogue, query)
        if found.places:
            motifs = tuple(catalogue.motifs[place] for place in sorted(set(found.places)))
            notes = [found.note]
            if match_type != "family":
                notes += _renamed(catalogue, motifs)
            note = "; ".join(dict.fromkeys(note for note in notes if note))
            return TfResolution(query, match_type, motifs, catalogue.release, catalogue.taxon, note)
    raise UnknownNameError(_unknown(catalogue, query))


def find_matrix(catalogue: MotifCatalogue, text: str) -> Motif:
    """The matrix of an id; without its version, in the one that the catalogue holds.

    Parameters
    ----------
    catalogue : MotifCatalogue
    text : str
        Such as ``MA0363.3`` or ``ma0363``.

    Raises
    ------
    UnknownNameError
        If there is none; names the version that is held where another is asked for.
    """
    found = _by_matrix_id(catalogue, text.strip()).places
    if not found:
        raise UnknownNameError(f"no matrix {_shown(text)} in {catalogue.title}")
    return catalogue.motifs[found[0]]


class _Found(NamedTuple):
    places: tuple[int, ...] = ()
    note: str = ""


def _by_matrix_id(catalogue: MotifCatalogue, query: str) -> _Found:
    if exact := catalogue.by_id.get(query.casefold()):
        return _Found(exact)
    identifier = _MATRIX_ID.fullmatch(query)
    if not identifier:
        return _Found()
    base, version = identifier[1].upper(), identifier[2]
    found = catalogue.by_base.get(base.casefold(), ())
    if not found:
        raise UnknownNameError(f"no matrix {base} in {catalogue.title}; {_matrix_elsewhere(base)}")
    if version is None:
        return _Found(found)
    held = catalogue.motifs[found[0]].matrix_id
    asked = f"{base}.{int(version)}"
    there = sorted({m.release for m in known_matrices() if m.matrix_id == asked and m.latest})
    way_out = f", or use {_listed(there)}, where the other is the latest" if there else ""
    raise UnknownNameError(
        f"{catalogue.release} holds this matrix as {held}, not as version {int(version)}; "
        f"ask for {held}{way_out}"
    )


def _matrix_elsewhere(base: str) -> str:
    known = [m for m in known_matrices() if base_id(m.matrix_id) == base.casefold()]
    if not known:
        return f"no release from {RELEASES[-1]} to {RELEASES[0]} has it"
    name = known[0].name
    if not any(m.core for m in known):
        return f"it is {name}, of JASPAR's unvalidated matrices, which are not used here"
    places = {m.taxon: {k.release for k in known if k.taxon == m.taxon} for m in known}
    return f"it is {name}, in {where(places)}"


def _by_uniprot(catalogue: MotifCatalogue, query: str) -> _Found:
    accession = _ISOFORM.sub("", query.casefold())
    return _Found(catalogue.by_uniprot.get(accession, ()))


def _by_other_accession(catalogue: MotifCatalogue, query: str) -> _Found:
    accession = _ISOFORM.sub("", query).upper()
    known = history(catalogue.taxon).accessions.get(accession, ())
    known = tuple(sorted(known, key=lambda m: (not m.latest, not m.core, m.matrix_id)))
    places: list[int] = []
    for matrix in known:
        places += catalogue.by_base.get(base_id(matrix.matrix_id), ())
        if "::" not in matrix.name:
            places += catalogue.by_name.get(matrix.name.casefold(), ())
    if places:
        source = next((m for m in known if m.species), known[0])
        species = f" ({source.species})" if source.species else ""
        said = f"{accession}{species} is the accession of {source.name} in {source.matrix_id}"
    else:
        symbol = ACCESSIONS.get(catalogue.taxon, {}).get(accession, "")
        places += catalogue.by_symbol(symbol) if symbol else ()
        said = f"{accession} is human {symbol}"
    motifs = [catalogue.motifs[place] for place in sorted(set(places))]
    carried = [f"{m.matrix_id} ({m.name}) carries {_carried(catalogue, m)}" for m in motifs]
    return _Found(tuple(places), f"{said}; {_listed(carried)}")


def _carried(catalogue: MotifCatalogue, motif: Motif) -> str:
    known = known_by_id().get(motif.matrix_id, {}).get(catalogue.release)
    species = f" ({known.species})" if known and known.species else ""
    return f"{' and '.join(motif.uniprot) or 'none'}{species}"


def _by_name(catalogue: MotifCatalogue, query: str) -> _Found:
    key = query.casefold()
    found = catalogue.by_name.get(key, ())
    if not found:
        return _Found()
    notes = []
    if dimers := catalogue.by_side.get(key, ()):
        names = dict.fromkeys(catalogue.motifs[i].name for i in dimers)
        notes.append(f"also a side of the dimers {_listed(list(names))}, not counted in")
    others = ALIASES.get(catalogue.taxon, {}).get(loose_name(query), ())
    if others := tuple(s for s in others if s.casefold() != key):
        notes.append(f"{query} is also an older name of {_listed(list(others))}")
    return _Found(found, "; ".join(notes))


def _by_dimer(catalogue: MotifCatalogue, query: str) -> _Found:
    key = query.casefold()
    if found := catalogue.by_side.get(key, ()):
        return _Found(found, f"no matrix of {query} alone in {catalogue.title}")
    for separator in DIMER_SEPARATORS:
        parts = sides(key, separator)
        if separator not in key or not 1 <= len(parts) <= _MOST_SIDES:
            continue
        aliases = ALIASES.get(catalogue.taxon, {})
        options = [(p, *(s.casefold() for s in aliases.get(loose_name(p), ()))) for p in parts]
        wanted = [tuple(sorted(choice)) for choice in itertools.product(*options)]
        places = [place for choice in wanted for place in catalogue.by_sides.get(choice, ())]
        # Some of the sides of a larger complex, or the one side of "TAL1::".
        places = places or [
            place
            for held, those in catalogue.by_sides.items()
            for choice in wanted
            if Counter(choice) < Counter(held)
            for place in those
        ]
        if places:
            return _Found(tuple(places))
    return _Found()


def _by_alias(catalogue: MotifCatalogue, query: str) -> _Found:
    loose = loose_name(query)
    if found := catalogue.by_loose_name.get(loose, ()):
        return _Found(found)
    known = {
        symbol: found
        for symbol in ALIASES.get(catalogue.taxon, {}).get(loose, ())
        if (found := catalogue.by_symbol(symbol))
    }
    if len(known) > 1:
        candidates = [_factor(catalogue, symbol, found) for symbol, found in known.items()]
        raise AmbiguousNameError(
            f"{_shown(query)} stands for several factors; ask for one of "
            f"{', '.join(_described(candidate) for candidate in candidates)}",
            candidates,
        )
    if known:
        return _Found(next(iter(known.values())))
    # Yeast proteins are written with a trailing p: Reb1p is the product of REB1.
    if catalogue.taxon == "fungi" and loose.endswith("p"):
        return _Found(catalogue.by_name.get(loose.removesuffix("p"), ()))
    return _Found()


def _by_former_name(catalogue: MotifCatalogue, query: str) -> _Found:
    past = history(catalogue.taxon)
    key = query.casefold()
    bases = past.names.get(key, frozenset()) | past.sides.get(key, frozenset())
    for separator in DIMER_SEPARATORS:
        if separator in key:
            bases |= past.dimers.get(sides(key, separator), frozenset())
    return _Found(tuple(p for base in sorted(bases) for p in catalogue.by_base.get(base, ())))


def _by_family(catalogue: MotifCatalogue, query: str) -> _Found:
    key = query.casefold()
    if found := catalogue.by_family.get(key, ()):
        return _Found(found)
    if len(key) < _SHORTEST_WORD:
        return _Found()
    words = re.compile(rf"(?<![a-z0-9]){re.escape(key[:_LONGEST_NAME])}(?![a-z0-9])")
    labels = [label for label in catalogue.families if words.search(label)]
    if len(labels) > 1:
        candidates = [
            Candidate(
                catalogue.families[label],
                "family or class",
                tuple(catalogue.motifs[i].matrix_id for i in catalogue.by_family[label]),
            )
            for label in labels
        ]
        raise AmbiguousNameError(
            f"{_shown(query)} is part of the names of several families; ask for one of "
            f"{_listed([repr(candidate.name) for candidate in candidates])}",
            candidates,
        )
    if not labels:
        return _Found()
    return _Found(catalogue.by_family[labels[0]], f"family {catalogue.families[labels[0]]}")


def _factor(catalogue: MotifCatalogue, symbol: str, places: tuple[int, ...]) -> Candidate:
    motifs = [catalogue.motifs[place] for place in places]
    families = dict.fromkeys(label for motif in motifs for label in motif.family)
    ids = tuple(motif.matrix_id for motif in motifs)
    return Candidate(symbol, ", ".join(families), ids)


def _described(candidate: Candidate) -> str:
    meaning = f"{candidate.meaning}: " if candidate.meaning else ""
    return f"{candidate.name} ({meaning}{_listed(list(candidate.matrix_ids))})"


def _renamed(catalogue: MotifCatalogue, motifs: Iterable[Motif]) -> Iterable[str]:
    """Notes on matrices that another release holds in the same version as another protein's."""
    if catalogue.release == USER:
        return
    for motif in motifs:
        for release, other in known_by_id().get(motif.matrix_id, {}).items():
            if other.name.casefold() != motif.name.casefold():
                theirs, ours = " and ".join(other.uniprot), " and ".join(motif.uniprot)
                yield (
                    f"{motif.matrix_id} is {motif.name} ({ours}) in {catalogue.release} and "
                    f"{other.name} ({theirs}) in {release}: the same matrix under two names"
                )


def _unknown(catalogue: MotifCatalogue, query: str) -> str:
    asked = query[:_LONGEST_NAME].casefold()
    written = {
        **catalogue.families,
        **{side.casefold(): side for m in catalogue.motifs for side in m.name.split("::")},
        **{m.name.casefold(): m.name for m in catalogue.motifs},
    }
    near = [written[name] for name in difflib.get_close_matches(asked, written, n=5, cutoff=0.6)]
    if len(asked) >= _SHORTEST_WORD and len(query) <= _LONGEST_NAME:
        named = (s for s in search_tfs(catalogue, asked) if s.kind not in {"matrix_id", "uniprot"})
        near += [suggestion.name for suggestion in itertools.islice(named, 3)]
    # The sides of a dimer that nobody has measured may each be known.
    for separator in DIMER_SEPARATORS:
        if separator in asked and len(parts := sides(asked, separator)) <= _MOST_SIDES:
            near += [written[part] for part in parts if part in written]
    advice = f"near names: {', '.join(dict.fromkeys(near))}" if near else "no near name"
    return (
        f"no transcription factor {_shown(query)} in {catalogue.title}; "
        f"{elsewhere(catalogue, query)}{advice}. "
        "A name, a matrix id, a UniProt accession or a family is understood"
    )


def _shown(text: str) -> str:
    """The user's text for a message, or its length: it may be a pasted sequence."""
    return repr(text) if len(text) <= _LONGEST_NAME else f"of {len(text)} characters"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
