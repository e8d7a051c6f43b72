"""What a merge and an analysis read of a run: base codes of all contigs, or of spans of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.contig_codes import ContigCodes
from annotations.errors import StorageError
from annotations.excerpts import Excerpt
from annotations.pieces import PieceFile
from annotations.sequences import encode_bases, open_fasta, refget_digest
from annotations.types import Span


class Sequences(NamedTuple):
    """The sequences of a computation."""

    codes: ContigCodes
    """Base codes of each span; of each contig where the run reads all of them."""
    digests: list[str]
    """Refget digest of each whole contig."""
    excerpt: Excerpt
    """The spans."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """Bases of each whole contig."""
        return self.excerpt.contig_lengths


def read_codes(
    fasta: Path, spans: Sequence[Span] | None = None, *, folder: Path | None = None
) -> Sequences:
    """Base codes of the spans of a run, and digests of its contigs, in order.

    One contig is in memory at a time, beside the codes of those before.

    Parameters
    ----------
    fasta : Path
        Normalised sequences, or pieces of them.
    spans : sequence of Span, optional
        What is read; all of every contig if None.
    folder : Path, optional
        Where a file is made for the codes, so that they need not be in memory; the caller removes
        it. In memory if None.

    Raises
    ------
    StorageError
        If the file holds pieces and no spans are given.
    """
    with open_fasta(fasta) as source:
        lengths = [source.length(name) for name in source.names]
        if isinstance(source, PieceFile) and spans is None:
            raise StorageError(f"{fasta.name} holds pieces: the spans of the run are missing")
        excerpt = Excerpt.whole(lengths) if spans is None else Excerpt(tuple(spans), tuple(lengths))
        digests: list[str] = []

        def parts() -> Iterator[NDArray[np.uint8]]:
            if isinstance(source, PieceFile):
                digests.extend(source.digests.values())
                for contig, start, end in excerpt.spans:
                    yield encode_bases(source.fetch(str(contig), start, end))
                return
            spans_of: list[list[Span]] = [[] for _ in lengths]
            for span in excerpt.spans:
                spans_of[span.contig].append(span)
            for name, length, own in zip(source.names, lengths, spans_of, strict=True):
                whole = source.fetch(name, 0, length)
                digests.append(refget_digest(whole))
                for _, start, end in own:
                    yield encode_bases(whole[start:end])

        path = None if folder is None else folder / "codes"
        codes = ContigCodes.filled(excerpt.lengths, parts(), path)
    return Sequences(codes, digests, excerpt)


def whole_contigs(fasta: Path) -> list[Span]:
    """All of every contig; only lengths are read."""
    with open_fasta(fasta) as source:
        return [Span(at, 0, source.length(name)) for at, name in enumerate(source.names)]


def regions_record(excerpt: Excerpt) -> dict[str, object]:
    """What provenance says of a run over regions: the spans that were read, as lists."""
    return {"spans": [list(span) for span in excerpt.spans], "bases": sum(excerpt.lengths)}
