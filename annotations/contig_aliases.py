"""Other names of contigs, as a table states them: `chrI` = `I` = `NC_001133.9`.

    chromAlias.txt | assembly report | TSV --read_aliases--> AliasTable
    names, AliasTable                      --ContigNames--> the contig that a name stands for
    two sets of contigs, AliasTable        --reconcile--> which is which, or the ones that differ

Nothing is guessed: without a table `1` is never taken for `chr1`, and a table in which a name
stands for two sequences is refused.

`contig_aliases.tsv` holds the primary chromosomes of a few assemblies: names of UCSC and Ensembl,
accessions of RefSeq and GenBank. A cell is empty where two sources did not agree (GenBank's
accession of the mitochondrion in sacCer3 and ce11).
"""

import csv
import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final, NamedTuple

from annotations.compression import lines
from annotations.errors import FormatError, OptionError, UnknownNameError
from annotations.types import counted

MAX_BYTES: Final = 200_000_000
"""Largest alias table that is read, decompressed."""

WHAT: Final = "alias table"
"""What messages call the file."""

_TABLE: Final = Path(__file__).parent / "contig_aliases.tsv"
_MISSING: Final = frozenset({"", "na", "-", "."})
_SOURCES: Final = frozenset({"ucsc", "ensembl", "refseq", "genbank", "assembly", "ncbi", "flybase"})
"""Who names sequences: columns of a new chromAlias.txt, words of an old one's third column."""
_SHOWN: Final = 8
"""Differing contigs that a message names; it counts all of them."""
_NEAR_AMONG: Final = 20_000
"""Names that are looked through for near ones: 10^5 contigs take seconds."""
_REPORT: Final = ("Sequence-Name", "GenBank-Accn", "Relationship", "RefSeq-Accn")


class AliasTable(NamedTuple):
    """Which names mean one sequence."""

    source: str
    """What states it, for people: the name of a file, or ``sacCer3 (shipped)``."""
    sequences: tuple[tuple[str, ...], ...]
    """Names of each sequence, at least one, each once; no name is in two of them."""


class Known(NamedTuple):
    """An assembly whose names are shipped."""

    table: AliasTable
    lengths: Mapping[str, int]
    """Bases of each primary chromosome, by every one of its names."""


class ContigNames:
    """Contigs that are found by their own names, then by those that a table states."""

    def __init__(self, contigs: Sequence[str], table: AliasTable | None = None) -> None:
        """Index the names.

        Parameters
        ----------
        contigs : sequence of str
            Their own names, each once.
        table : AliasTable, optional
            Rows of which no name is a contig's are left out.

        Raises
        ------
        FormatError
            If the table takes two of the contigs for one sequence.
        """
        self.contigs: tuple[str, ...] = tuple(contigs)
        """Their own names, in order."""
        own = {name: index for index, name in enumerate(self.contigs)}
        self._places = dict(own)
        aliases: list[tuple[str, ...]] = [()] * len(self.contigs)
        for names in () if table is None else table.sequences:
            meant = [name for name in names if name in own]
            if len(meant) > 1:
                raise FormatError(
                    f"the {WHAT} says that {' and '.join(map(repr, meant[:3]))} are one sequence, "
                    "but they are different contigs here; correct that line"
                )
            if meant:
                index = own[meant[0]]
                aliases[index] = tuple(name for name in names if name != meant[0])
                self._places.update(dict.fromkeys(aliases[index], index))
        self.aliases: tuple[tuple[str, ...], ...] = tuple(aliases)
        """Other names of each contig; none where the table does not know it."""
        self.source: str | None = None if table is None else table.source
        """What states the aliases."""

    @cached_property
    def table(self) -> AliasTable | None:
        """The rows of the table that are about these contigs, their own names first."""
        if self.source is None:
            return None
        rows = zip(self.contigs, self.aliases, strict=True)
        return AliasTable(self.source, tuple((name, *others) for name, others in rows if others))

    def get(self, name: str) -> int | None:
        """Index of the contig that a name stands for; None if there is none."""
        return self._places.get(name)

    def find(self, name: str) -> int:
        """Index of the contig that a name stands for.

        Raises
        ------
        UnknownNameError
            If no contig has the name, nor does the table know it; the message holds near names.
        """
        found = self._places.get(name)
        if found is None:
            raise UnknownNameError(self.unknown(name))
        return found

    def own(self, names: Iterable[str]) -> list[str]:
        """The contigs' own names; those that nobody knows stay as they are."""
        places = [(name, self._places.get(name)) for name in names]
        return [name if place is None else self.contigs[place] for name, place in places]

    def unknown(self, name: str) -> str:
        """What to say of a name that no contig has."""
        near = _near(name, list(islice(self._places, _NEAR_AMONG)))
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        shown = ", ".join([*self.contigs[:5], *(["..."] if len(self.contigs) > 5 else [])])
        stated = (
            "no alias table says what else they are called"
            if self.source is None
            else f"other names are those of {self.source}"
        )
        n = len(self.contigs)
        listed = "the only contig is" if n == 1 else f"the {counted(n, 'contig')} are"
        return f"there is no contig {name[:100]!r}; {hint}{listed} {shown}, and {stated}"


def reconcile(
    ours: Mapping[str, int | None],
    theirs: Mapping[str, int | None],
    table: AliasTable | None,
    *,
    what: str,
) -> dict[str, str]:
    """What each of our contigs is called by others.

    Parameters
    ----------
    ours, theirs : mapping of str to int or None
        Bases of the contigs by name; None where not known. Ours may be some of theirs.
    table : AliasTable, optional
        States which names mean one sequence; names that are equal need none.
    what : str
        What theirs are, for messages ("genome hg38").

    Returns
    -------
    names : dict
        Their name of each of our contigs, in our order.

    Raises
    ------
    OptionError
        If a contig of ours is not among theirs, has another length there, or two of ours are one
        of theirs. The message names the contigs that differ.
    FormatError
        If the table takes two contigs of one side for one sequence.

    Examples
    --------
    >>> table = AliasTable("a file", (("chrI", "I"),))
    >>> reconcile({"I": 9}, {"chrI": 9, "chrII": 5}, table, what="the toy genome")
    {'I': 'chrI'}
    """
    names = ContigNames(list(theirs), table)
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    differing = []
    for name, length in ours.items():
        place = names.get(name)
        if place is None:
            differing.append(f"{name} is not there")
            continue
        their = names.contigs[place]
        called = "" if their == name else f" (there {their})"
        expected = theirs[their]
        if length is not None and expected is not None and length != expected:
            differing.append(f"{name}{called} has {length} bases, {expected} there")
        elif their in taken:
            differing.append(f"{taken[their]} and {name} are both {their} there")
        else:
            found[name] = their
            taken[their] = name
    if differing:
        more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        stated = "no alias table was given" if table is None else f"names as in {table.source}"
        raise OptionError(
            f"{len(differing)} of {counted(len(ours), 'contig')} "
            f"{'differs' if len(differing) == 1 else 'differ'} from those of {what} "
            f"({stated}): {'; '.join(differing[:_SHOWN])}{more}"
        )
    return found


def read_aliases(source: BinaryIO | Path, *, filename: str) -> AliasTable:
    """Read a table of aliases: plain, gzip or bgzip.

    What is read, told apart by the lines that start with ``#`` and by the content:

    - NCBI's assembly_report.txt: sequence name, GenBank and RefSeq accessions, UCSC's name. Where
      the report says that the sequences of two accessions differ (``<>``), neither is taken.
    - UCSC's chromAlias.txt with a header (``# ucsc  assembly  genbank  refseq`` or
      ``# sequenceName  alias names ...``), and any table without one: every column is a name of
      the line's sequence.
    - UCSC's older chromAlias: alias, chromosome, source of the alias.

    Empty cells and ``na`` say that there is no such name.

    Parameters
    ----------
    source : binary file or Path
        Read to its end.
    filename : str
        What the table is called in messages and in what comes of it.

    Raises
    ------
    FormatError
        If it holds no alias, is a chrom.sizes file, or a name stands for two sequences.
    LimitError
        If it is larger than `MAX_BYTES`.
    """
    header: list[str] = []
    rows: list[list[str]] = []
    for _, line in lines(source, max_bytes=MAX_BYTES, what=WHAT):
        if line.startswith("#"):
            cells = [cell.strip() for cell in line.lstrip("# ").split("\t")]
            header = cells if len(cells) > 1 else header
        elif line.strip():
            rows.append([cell.strip() for cell in line.split("\t")])
    if set(_REPORT) <= set(header):
        groups = _of_report(header, rows)
    elif _is_older(header, rows):
        groups = _of_pairs(rows)
    else:
        _refuse_sizes(rows)
        groups = [_names(row) for row in rows]
    return AliasTable(Path(filename).name, _checked(groups))


@cache
def shipped() -> Mapping[str, Known]:
    """The assemblies whose names are shipped, by UCSC's name."""
    rows: dict[str, list[tuple[tuple[str, ...], int]]] = {}
    with _TABLE.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            names = _names([row[key] for key in ("ucsc", "ensembl", "refseq", "genbank")])
            rows.setdefault(row["assembly"], []).append((names, int(row["length"])))
    return MappingProxyType(
        {
            assembly: Known(
                AliasTable(f"{assembly} (shipped)", tuple(names for names, _ in found)),
                MappingProxyType({name: n for names, n in found for name in names}),
            )
            for assembly, found in rows.items()
        }
    )


def shipped_aliases(assembly: str) -> AliasTable:
    """The shipped table of an assembly.

    Raises
    ------
    UnknownNameError
        If none is shipped for it.
    """
    if assembly not in shipped():
        raise UnknownNameError(
            f"no alias table is shipped for {assembly[:40]!r}; shipped are {', '.join(shipped())}"
        )
    return shipped()[assembly].table


def recognised(contigs: Mapping[str, int]) -> AliasTable | None:
    """The shipped table that fits contigs by names and lengths, if exactly one does.

    It fits if every contig that it knows has the length that it states, and these contigs hold
    more than half of the bases.

    Parameters
    ----------
    contigs : mapping of str to int
        Bases of each contig by name.
    """
    fitting = []
    for known in shipped().values():
        common = [name for name in contigs if name in known.lengths]
        if all(contigs[name] == known.lengths[name] for name in common):
            bases = sum(contigs[name] for name in common)
            if 2 * bases > sum(contigs.values()):
                fitting.append(known.table)
    return fitting[0] if len(fitting) == 1 else None


def _near(name: str, names: Sequence[str]) -> list[str]:
    """Names that may be meant: the same but for a prefix, then those spelt alike."""
    wanted = name.lower()
    prefixed = [n for n in names if n.lower().endswith(wanted) or wanted.endswith(n.lower())]
    alike = difflib.get_close_matches(name, names, n=3)
    return list(dict.fromkeys([*sorted(prefixed, key=len)[:2], *alike]))[:3]


def _names(cells: Iterable[str]) -> tuple[str, ...]:
    """The names in the cells of a line, each once, in order."""
    return tuple(dict.fromkeys(cell for cell in cells if cell not in _MISSING))


def _is_older(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the columns are alias, chromosome, source of the alias."""
    if [cell.lower() for cell in header[:2]] == ["alias", "chrom"]:
        return True
    return bool(rows) and all(
        len(row) == 3 and {word.strip().lower() for word in row[2].split(",")} <= _SOURCES
        for row in rows
    )


def _of_pairs(rows: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    names: dict[str, list[str]] = {}
    for row in rows:
        if len(row) < 2:
            raise FormatError(
                f"a line of the {WHAT} has one column; its first two are alias and chrom"
            )
        names.setdefault(row[1], [row[1]]).append(row[0])
    return [_names(found) for found in names.values()]


def _of_report(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    groups = []
    for row in rows:
        cells = dict(zip(header, row, strict=False))
        name, ucsc = cells.get("Sequence-Name", ""), cells.get("UCSC-style-name", "")
        accessions = _names([cells.get("GenBank-Accn", ""), cells.get("RefSeq-Accn", "")])
        if len(accessions) == 2 and cells.get("Relationship") != "=":
            accessions = ()
        groups.append(_names([name, ucsc, *accessions]))
    return groups


def _refuse_sizes(rows: Sequence[Sequence[str]]) -> None:
    """Refuse a chrom.sizes file or a .fai, whose numbers are no names."""
    if rows and all(len(row) >= 2 and row[1].isdigit() and int(row[1]) > 1000 for row in rows):
        raise FormatError(
            f"the {WHAT} looks like chrom.sizes: its second column holds numbers of bases; give "
            "names of one sequence on each line, separated by tabs"
        )


def _checked(groups: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """The groups of at least two names, none in two of them."""
    kept = tuple(group for group in groups if len(group) > 1)
    seen: dict[str, int] = {}
    for index, group in enumerate(kept):
        for name in group:
            if seen.setdefault(name, index) != index:
                raise FormatError(
                    f"in the {WHAT} the name {name[:100]!r} stands for two sequences, "
                    f"{kept[seen[name]][0][:100]!r} and {group[0][:100]!r}; a name means one"
                )
    if not kept:
        raise FormatError(
            f"the {WHAT} holds no line with two names; give names of one sequence on each line, "
            "separated by tabs, or UCSC's chromAlias.txt, or NCBI's assembly_report.txt"
        )
    return kept
