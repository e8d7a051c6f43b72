"""What a merge and an analysis read of a run: base codes of all contigs, or of spans of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.errors import StorageError
from annotations.excerpts import Excerpt
from annotations.pieces import PieceFile
from annotations.sequences import encode_bases, open_fasta, refget_digest
from annotations.types import Span


class Sequences(NamedTuple):
    """The sequences of a computation in memory."""

    codes: list[NDArray[np.uint8]]
    """Base codes of each span; of each contig where the run reads all of them."""
    digests: list[str]
    """Refget digest of each whole contig."""
    excerpt: Excerpt
    """The spans."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """Bases of each whole contig."""
        return self.excerpt.contig_lengths


def read_codes(fasta: Path, spans: Sequence[Span] | None = None) -> Sequences:
    """Base codes of the spans of a run, and digests of its contigs, in order.

    Parameters
    ----------
    fasta : Path
        Normalised sequences, or pieces of them.
    spans : sequence of Span, optional
        What is read; all of every contig if None.

    Raises
    ------
    StorageError
        If the file holds pieces and no spans are given.
    """
    with open_fasta(fasta) as source:
        lengths = [source.length(name) for name in source.names]
        if isinstance(source, PieceFile):
            if spans is None:
                raise StorageError(f"{fasta.name} holds pieces: the spans of the run are missing")
            excerpt = Excerpt(tuple(spans), tuple(lengths))
            codes = [encode_bases(source.fetch(str(c), s, e)) for c, s, e in excerpt.spans]
            return Sequences(codes, list(source.digests.values()), excerpt)
        whole = [source.fetch(name, 0, n) for name, n in zip(source.names, lengths, strict=True)]
    digests = [refget_digest(sequence) for sequence in whole]
    excerpt = Excerpt.whole(lengths) if spans is None else Excerpt(tuple(spans), tuple(lengths))
    codes = [encode_bases(whole[c][s:e]) for c, s, e in excerpt.spans]
    return Sequences(codes, digests, excerpt)


def regions_record(excerpt: Excerpt) -> dict[str, object]:
    """What provenance says of a run over regions: the spans that were read, as lists."""
    return {"spans": [list(span) for span in excerpt.spans], "bases": sum(excerpt.lengths)}
