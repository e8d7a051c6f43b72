"""Two alleles of one sequence: which records of a run they are, and how their bases correspond.

    variants + reference --cut_variants--> records, Alleles     two records for each variant
    records of a file    --pair_records--> Alleles               two records that a user names
    Alleles --write_alleles--> alleles.json --read_alleles--> Alleles

Both records of a variant begin at the same base of the reference, so that the grid of windows in
which a model reads falls on the same bases up to the variant; behind an insertion or deletion it is
shifted by the difference in length. Where a model looks farther back than the context that the
dictionary gives it, what it finds at a base depends on where its window begins: behind an insertion
or deletion the two alleles may then differ near borders of windows for that reason alone. Records
that fit one window have no such border, so that `default_flank` keeps them that short if it can.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from annotations.allele_maps import AlleleMap, Change, changed_bases, map_of_alleles, map_of_variant
from annotations.cards import DictionaryCard, ModelCard
from annotations.contig_aliases import ContigNames
from annotations.errors import (
    CoordinateError,
    FormatError,
    LimitError,
    OptionError,
    StorageError,
    UnknownNameError,
)
from annotations.records import Record
from annotations.vcf import Variant, VcfFile, said

ALLELES_FILE: Final = "alleles.json"
"""Name of the file among the inputs of a computation."""

FORMAT: Final = 1
"""Version of the file."""

LEAST_FLANK: Final = 256
"""Bases on each side of a variant where the dictionary asks for less: a screen of a browser."""

SHORT_FLANK: Final = 128
"""Bases on each side of a variant that are enough where its records then fit one window."""

ALLELE_ROOM: Final = 64
"""Bases of an allele for which a window has room besides the flanks."""

MAX_BASES: Final = 200_000_000
"""Most bases of the records of a run where its caller sets no limit."""

MAX_FLANK: Final = 50_000
"""Most bases on each side of a variant."""

_NAME_LETTERS: Final = re.compile(r"[^A-Za-z0-9_-]+")
_NAMED_BASES: Final = 12
_NAMED_CONTIG: Final = 60


class Bases(Protocol):
    """Random access to the bases of a reference; `annotations.sequences.FastaFile` is one."""

    names: list[str]

    def length(self, name: str) -> int:
        """Bases of a contig."""

    def fetch(self, name: str, start: int, end: int) -> bytes:
        """Bases `start` to `end` of a contig, 0-based and half-open, upper-case."""


class RecordBases:
    """Records in memory as `Bases`."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._sequences = {record.name: record.sequence for record in records}
        self.names = list(self._sequences)
        """Names of the records, in order."""

    def length(self, name: str) -> int:
        """Bases of a record."""
        return len(self._sequences[name])

    def fetch(self, name: str, start: int, end: int) -> bytes:
        """Bases of a record."""
        return self._sequences[name][start:end]


class AllelePair(NamedTuple):
    """Two records of a run that are alleles of one sequence."""

    name: str
    """For people: ``chrI:12345 A>G`` (1-based), or ``ALT against REF`` of two named records."""
    id: str | None
    """Name of the variant in the file, such as an rs number."""
    contig: str
    """Contig of the reference that the records were cut out of; of two records, the first one."""
    offset: int
    """Base of that contig at which both records begin, 0-based."""
    reference: int
    """Index of the record with the reference allele."""
    alternative: int
    """Index of the record with the alternative allele."""
    change: Change
    """The bases in which they differ, in coordinates of the records."""
    map: AlleleMap
    """Which base of the one is which of the other."""


class Alleles(NamedTuple):
    """All pairs of a run, and what is to be known to compare them."""

    kind: str
    """``variants`` or ``records``."""
    pairs: tuple[AllelePair, ...]
    one_sided: bool
    """Whether only bases at and behind a change, in the sense of the pass, can differ: the model
    is causal and reads base by base, and the dictionary one read of it. Else every base of the
    records can."""
    flank: int | None
    """Bases on each side of a variant; None for named records."""
    skipped: dict[str, int]
    """Alleles of the VCF file that were passed over, by why."""
    controls: tuple[tuple[AllelePair, ...], ...] = ()
    """Rounds of random substitutions near the variants, to see how much any change changes: in each
    round one pair for each of `pairs`, with the same reference record."""


class Cut(NamedTuple):
    """Records cut out of a reference, two for each variant, and their pairs."""

    records: list[Record]
    alleles: Alleles


def default_flank(card: DictionaryCard) -> int:
    """Bases on each side of a variant that a dictionary asks for.

    At least its context, twice that where bases have it on both sides: then every base that can
    differ on either pass is read with as much about it as the dictionary is served with in a whole
    genome. At least `LEAST_FLANK`, at most `MAX_FLANK`; down to `SHORT_FLANK` where records with
    alleles of up to `ALLELE_ROOM` bases then fit one window.
    """
    one_window = (card.stride - ALLELE_ROOM) // 2
    needed = card.context + card.ahead
    if max(needed, SHORT_FLANK) <= one_window:
        return min(max(needed, LEAST_FLANK), one_window, MAX_FLANK)
    return min(max(needed, LEAST_FLANK), MAX_FLANK)


def is_one_sided(model: ModelCard, dictionary: DictionaryCard) -> bool:
    """Whether a change shows only at and behind it; see `Alleles.one_sided`."""
    return model.causal and model.tokenization == "base" and not dictionary.ahead


def cut_variants(
    vcf: VcfFile,
    source: Bases,
    *,
    flank: int,
    one_sided: bool,
    names: ContigNames | None = None,
    max_bases: int = MAX_BASES,
) -> Cut:
    """Cut a reference and an alternative record for each variant.

    Parameters
    ----------
    vcf : VcfFile
        The variants.
    source : Bases
        The reference.
    flank : int
        Bases kept on each side of the changed bases, fewer at the ends of a contig.
    one_sided : bool
        As `Alleles.one_sided`.
    names : ContigNames, optional
        Finds the reference's contigs by the names in the file; by their own names by default.
    max_bases : int
        Most bases of all records together.

    Returns
    -------
    cut : Cut
        Names of the records hold letters, digits, ``-`` and ``_`` alone, which every browser takes:
        ``chrI_12345_A_G_ref`` and ``chrI_12345_A_G_alt``.

    Raises
    ------
    OptionError
        If `flank` is not in [1, `MAX_FLANK`].
    UnknownNameError
        If a contig is not in the reference.
    CoordinateError
        If a variant reaches beyond its contig, or leaves nothing of it.
    FormatError
        If REF is not what stands there.
    LimitError
        If there would be more than `max_bases`.
    """
    if not 1 <= flank <= MAX_FLANK:
        raise OptionError(f"flank must be a whole number in [1, {MAX_FLANK}], got {flank}")
    records: list[Record] = []
    pairs: list[AllelePair] = []
    used: set[str] = set()
    total = 0
    known = ContigNames(source.names) if names is None else names
    for variant in vcf.variants:
        contig = known.contigs[known.find(variant.contig)]
        _check_reference(variant, contig, source)
        own = changed_bases(variant.reference.encode(), variant.alternative.encode())
        left = variant.position + own.start
        start = max(0, left - flank)
        end = min(source.length(contig), variant.position + own.end + flank)
        reference = source.fetch(contig, start, end)
        at = left - start
        change = Change(
            at, at + own.end - own.start, at, at + own.alternative_end - own.alternative_start
        )
        inserted = variant.alternative[own.alternative_start : own.alternative_end].encode()
        alternative = reference[: change.start] + inserted + reference[change.end :]
        if not alternative or (not change.start and change.end == len(reference)):
            raise CoordinateError(
                f"the variant at {variant.contig}:{variant.position + 1} leaves no base of its "
                "contig, so that there is nothing to compare"
            )
        total += len(reference) + len(alternative)
        if total > max_bases:
            raise LimitError(
                f"the records of {len(vcf.variants):,} variants with {flank:,} bases on each side "
                f"have more than {max_bases:,} bases; choose fewer variants or a smaller flank"
            )
        name = _record_name(variant, contig, used)
        pairs.append(
            AllelePair(
                variant._replace(contig=contig).text,
                variant.id,
                contig,
                start,
                len(records),
                len(records) + 1,
                change,
                map_of_variant(change, len(reference), len(alternative)),
            )
        )
        records.append(Record(f"{name}_ref", variant.text, reference))
        records.append(Record(f"{name}_alt", variant.text, alternative))
    return Cut(records, Alleles("variants", tuple(pairs), one_sided, flank, vcf.skipped))


def pair_records(records: Sequence[Record], names: str, *, one_sided: bool) -> Alleles:
    """The pair of two records that a user names.

    Parameters
    ----------
    records : sequence of Record
        All of a submission.
    names : str
        Name of the reference and of the alternative, with a comma between them.
    one_sided : bool
        As `Alleles.one_sided`.

    Raises
    ------
    OptionError
        If these are not two names, or the two records are the same sequence.
    UnknownNameError
        If there is no record of a name.
    LimitError, FormatError
        As `annotations.allele_maps.map_of_alleles`.
    """
    reference, alternative = _two_records(records, names)
    first, second = records[reference], records[alternative]
    if first.sequence == second.sequence:
        raise OptionError(
            f"the records {first.name!r} and {second.name!r} are the same sequence: two alleles "
            "differ in a base at least"
        )
    pair = AllelePair(
        f"{second.name} against {first.name}",
        None,
        first.name,
        0,
        reference,
        alternative,
        changed_bases(first.sequence, second.sequence),
        map_of_alleles(first.sequence, second.sequence),
    )
    return Alleles("records", (pair,), one_sided, None, {})


def alleles_json(alleles: Alleles) -> str:
    """The pairs as text, the same for the same pairs."""
    values = {
        "format": FORMAT,
        **alleles._asdict(),
        "pairs": [_pair_json(pair) for pair in alleles.pairs],
        "controls": [[_pair_json(pair) for pair in round_] for round_ in alleles.controls],
    }
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"


def alleles_sha256(alleles: Alleles) -> str:
    """SHA-256 of `alleles_json`."""
    return hashlib.sha256(alleles_json(alleles).encode()).hexdigest()


def alleles_record(alleles: Alleles) -> dict[str, object]:
    """What provenance says of the pairs."""
    return {
        "kind": alleles.kind,
        "pairs": len(alleles.pairs),
        "controls": len(alleles.controls),
        "flank": alleles.flank,
        "one_sided": alleles.one_sided,
        "skipped": alleles.skipped,
        "sha256": alleles_sha256(alleles),
    }


def read_alleles(path: Path) -> Alleles:
    """The pairs of a file that holds `alleles_json`.

    Raises
    ------
    StorageError
        If it is missing, cut or of another version.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise StorageError(f"{path.name} is of another version; submit the sequences again")
        values["pairs"] = tuple(_pair(**pair) for pair in values["pairs"])
        values["controls"] = tuple(
            tuple(_pair(**pair) for pair in round_) for round_ in values["controls"]
        )
        return Alleles(**values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{path.name} is missing, cut or altered") from error


def _pair_json(pair: AllelePair) -> dict[str, Any]:
    return {**pair._asdict(), "change": list(pair.change), "map": pair.map._asdict()}


def _pair(*, change: list[int], map: dict[str, Any], **values: Any) -> AllelePair:
    blocks = tuple((start, other, size) for start, other, size in map.pop("blocks"))
    return AllelePair(change=Change(*change), map=AlleleMap(blocks=blocks, **map), **values)


def _check_reference(variant: Variant, contig: str, source: Bases) -> None:
    """Refuse a variant whose REF is not what the reference has."""
    end, length = variant.position + len(variant.reference), source.length(contig)
    place = f"{variant.contig}:{variant.position + 1}"
    if end > length:
        raise CoordinateError(
            f"the variant at {place} reaches to base {end:,}, and the contig has {length:,}; is "
            "the file of another assembly?"
        )
    found = source.fetch(contig, variant.position, end).decode("ascii")
    if found != variant.reference:
        raise FormatError(
            f"REF of the variant at {place} is {said(variant.reference)}, and the sequence has "
            f"{said(found)} there; the file must be called against this very sequence"
        )


def _record_name(variant: Variant, contig: str, used: set[str]) -> str:
    """A name for the records of a variant that no other variant has."""
    alleles = (
        allele if len(allele) <= _NAMED_BASES else f"{len(allele)}bp"
        for allele in (variant.reference, variant.alternative)
    )
    plain = _NAME_LETTERS.sub("_", contig)[:_NAMED_CONTIG]
    name = "_".join([plain, str(variant.position + 1), *alleles])
    free, count = name, 1
    while free in used:
        count += 1
        free = f"{name}_{count}"
    used.add(free)
    return free


def _two_records(records: Sequence[Record], names: str) -> tuple[int, int]:
    """Indices of the two records that are named."""
    places = {record.name: index for index, record in enumerate(records)}
    # a name may hold a comma: take the cut at which both sides are names
    cuts = [at for at, letter in enumerate(names) if letter == ","]
    named = [(names[:at].strip(), names[at + 1 :].strip()) for at in cuts]
    known = [pair for pair in named if pair[0] in places and pair[1] in places]
    if not named:
        raise OptionError(
            "alleles must name two records of the sequences with a comma between them, reference "
            f"first, got {names[:100]!r}"
        )
    if not known:
        first = next(name for name in named[0] if name not in places)
        near = difflib.get_close_matches(first, list(places), n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        listed = ", ".join([*list(places)[:10], *(["..."] if len(places) > 10 else [])])
        raise UnknownNameError(
            f"alleles names {first[:100]!r}, which is not a record of the sequences; {hint}the "
            f"records are {listed}"
        )
    if len(known) > 1:
        raise OptionError(
            f"alleles {names[:100]!r} can be read in {len(known)} ways, since names of records "
            "hold commas; rename the records"
        )
    if known[0][0] == known[0][1]:
        raise OptionError(f"alleles must name two different records, got {known[0][0]!r} twice")
    return places[known[0][0]], places[known[0][1]]
