"""The causal test on a result folder of `saetrack annotate` and the sequences it was made of."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray

from annotations.activation_parts import ONE_FILE
from annotations.cards import find_cards
from annotations.causal_sites import CausalOptions, Genome
from annotations.errors import FormatError, UnknownNameError, WeightsError
from annotations.sequences import encode_bases, read_sequences, refget_digest
from annotations.types import STRAND_SIGNS, Contig, Strand
from app.analyses import choose_motif
from app.catalog import parse_feature_row
from workers.answers import excerpt_of, open_result
from workers.causal import CausalResult, causal_test, placed
from workers.commands.places import result_file, settings_from_environment
from workers.device import choose_device
from workers.export import read_contigs
from workers.registry import open_dictionary


class FolderTest(NamedTuple):
    """What a causal test of a folder found."""

    result: CausalResult
    names: list[str]
    """Of the contigs."""

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return self.result.to_json(self.names)


def parse_row(text: str, n_features: int) -> tuple[int, Strand]:
    """Feature and strand of a feature row.

    Raises
    ------
    UnknownNameError
        If the text is not the index of a feature followed by its strand.

    Examples
    --------
    >>> parse_row("374-", 4096)
    (374, '-')
    """
    feature, strand = parse_feature_row(text, n_features)
    if strand is None:
        raise UnknownNameError(
            f"a feature row is a feature and the strand it is read on, such as 374- or 374+, got "
            f"{text[:20]!r}"
        )
    return feature, strand


def causal_of_folder(
    folder: Path,
    fasta: Path,
    row: str,
    *,
    tf: str | None = None,
    matrix_id: str | None = None,
    sites: int = 50,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
) -> FolderTest:
    """Test whether a motif moves a feature row of a result.

    Parameters
    ----------
    folder : Path
        Which `saetrack annotate` wrote.
    fasta : Path
        The sequences it was made of, FASTA or GenBank: told by their digests, in any order.
    row : str
        As `parse_row` takes it.
    tf, matrix_id : str, optional
        As `app.analyses.choose_motif` takes them.
    sites, seed : int
        As in `annotations.causal_sites.CausalOptions`.
    device : str
        As `workers.device.choose_device` takes it.
    threads : int, optional
        CPU threads of the model.

    Raises
    ------
    SaetrackError
        If the folder, the sequences or the installation do not fit, or a name is unknown.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    result = open_result(folder)
    feature, strand = parse_row(row, result.n_features)
    motif = choose_motif(result, feature, strand, tf=tf, matrix_id=matrix_id)
    excerpt = excerpt_of(result.spans, result.lengths)
    options = CausalOptions(
        sites=sites,
        seed=seed,
        motif_p=result.options.motif_p,
        held_out=excerpt.held_out(result.options.held_out),
    )
    whole = matching_codes(fasta, read_contigs(result_file(folder, "contigs.parquet")))
    roots = settings_from_environment(device=device).model_roots
    card = find_cards(roots).dictionary(result.options.dictionary)
    if card.sha256 != result.dictionary_sha256:
        raise WeightsError(
            f"dictionary {card.id!r} has other weights here ({card.sha256[:12]}) than when "
            f"{folder} was made ({result.dictionary_sha256[:12]}); annotate the sequences again"
        )
    encoder = open_dictionary(card, roots, choose_device(device))
    with tempfile.TemporaryDirectory(prefix="saetrack-") as scratch:
        found = causal_test(
            encoder,
            Genome.of([whole[c][s:e] for c, s, e in excerpt.spans], options),
            excerpt.activations(result.activations, Path(scratch) / ONE_FILE),
            feature=feature,
            strand=STRAND_SIGNS[strand],
            motif=motif,
            options=options,
        )
    return FolderTest(placed(found, excerpt), list(result.names))


def matching_codes(fasta: Path, contigs: Sequence[Contig]) -> list[NDArray[Any]]:
    """Base codes of the contigs of a result, from a file that holds their sequences.

    Parameters
    ----------
    fasta : Path
        FASTA or GenBank; may hold further sequences.
    contigs : sequence of Contig
        Of the result, with their digests.

    Returns
    -------
    codes : list of ndarray of uint8
        In the order of `contigs`.

    Raises
    ------
    UnknownNameError
        If there is no such file.
    FormatError
        If it lacks the sequence of a contig.
    """
    if not fasta.is_file():
        raise UnknownNameError(f"there is no file {fasta}")
    found = {refget_digest(r.sequence): r.sequence for r in read_sequences(fasta).records}
    for contig in contigs:
        if contig.digest not in found:
            raise FormatError(
                f"{fasta} does not hold the sequence of {contig.name!r} that the result was made "
                f"of ({contig.digest}); give the file that was annotated"
            )
    return [encode_bases(found[contig.digest]) for contig in contigs]
