"""Answers analyses: questions to a complete run that take a model or all its activations.

    message (analysis id) --claim--> causal test or interval ranking --finish--> result in the row

Errors and leases are those of shards, see `workers.tasks`.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from annotations.activation_parts import ONE_FILE, ActivationSource
from annotations.causal_sites import CausalOptions, Genome
from annotations.errors import OptionError, SaetrackError, StateError
from annotations.excerpts import Excerpt
from annotations.interval_ranking import rank_features_for_intervals
from annotations.motif_catalogue import Motif
from annotations.significance import SIGNIFICANT_Q
from annotations.types import STRAND_SIGNS
from app.analysis_leases import (
    ClaimedAnalysis,
    claim_analysis,
    fail_analysis,
    finish_analysis,
    give_back_analysis,
    renew_analysis,
)
from app.catalog import stored_activations
from app.concept_answers import ranking_note
from app.database import transaction
from app.selection import json_rows
from app.storage import StoredFile, StoredPaths
from workers.causal import causal_test, placed
from workers.pipeline import Canceled
from workers.run_sequences import Sequences, read_codes
from workers.tasks import Lease, ShardRunner

log = logging.getLogger(__name__)


class AnalysisRunner:
    """Answers analyses in this process."""

    def __init__(self, shards: ShardRunner) -> None:
        """Work beside a runner of shards, whose opened dictionary is used."""
        self._shards = shards
        self._settings = shards.settings
        self._engine = shards.engine

    def run(self, analysis_id: str) -> bool:
        """Answer one analysis, if it is free.

        Parameters
        ----------
        analysis_id : str
            Id from the message.

        Returns
        -------
        done : bool
            Whether this call answered it.
        """
        shards = self._shards
        if shards.stopping():
            return False
        with transaction(self._engine) as session:
            claimed = claim_analysis(session, analysis_id, shards.name, self._settings)
        if claimed is None:
            return False
        try:
            with Lease(
                self._engine,
                claimed,
                self._settings,
                renew=renew_analysis,
                stopping=shards.stopping,
            ) as lease:
                result = self._answer(claimed, lease)
            with transaction(self._engine) as session:
                return finish_analysis(session, claimed, result)
        except Canceled:
            if shards.stopping():
                with transaction(self._engine) as session:
                    give_back_analysis(session, claimed)
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, the analysis must get an answer
            self._fail(claimed, error)
            return False

    def _answer(self, claimed: ClaimedAnalysis, lease: Lease) -> Mapping[str, Any]:
        """The result as JSON values."""
        if claimed.kind == "causal_test":
            return self._causal_test(claimed, lease)
        return self._bed_concept(claimed, lease)

    def _causal_test(self, claimed: ClaimedAnalysis, lease: Lease) -> dict[str, Any]:
        """Edits of the run's sequences, read by its dictionary."""
        encoder = self._shards.encoder(self._shards.card(claimed.dictionary_id, claimed.dictionary))
        lease.check(1)
        asked = claimed.parameters
        sequences = self._sequences(claimed)
        options = CausalOptions(
            sites=int(asked["sites"]),
            seed=int(asked["seed"]),
            motif_p=claimed.options.motif_p,
            held_out=sequences.excerpt.held_out(claimed.options.held_out),
        )
        genome = Genome.of(sequences.codes, options)
        lease.check(1)
        with self._activations(claimed, sequences.excerpt) as activations:
            result = causal_test(
                encoder,
                genome,
                activations,
                feature=int(asked["feature"]),
                strand=STRAND_SIGNS[asked["strand"]],
                motif=motif_from_json(asked["motif"]),
                options=options,
                check=lambda: lease.check(1),
            )
        return placed(result, sequences.excerpt).to_json(claimed.contig_names)

    def _bed_concept(self, claimed: ClaimedAnalysis, lease: Lease) -> dict[str, Any]:
        """Features that mark the intervals."""
        lease.check(1)
        asked = claimed.parameters
        background = claimed.inputs.get("background.parquet")
        sequences = self._sequences(claimed)
        excerpt = sequences.excerpt
        foreground = pq.read_table(self._local(claimed.inputs["foreground.parquet"]))
        if not (inside := excerpt.clipped(foreground)).num_rows:
            raise OptionError("none of the intervals lies in a region that this run reads")
        with self._activations(claimed, excerpt) as activations:
            ranking = rank_features_for_intervals(
                activations,
                inside,
                None
                if background is None
                else excerpt.clipped(pq.read_table(self._local(background))),
                excerpt.lengths,
                int(claimed.dictionary["d_sae"]),
                sequences=sequences.codes,
                seed=int(asked["seed"]),
                on_row=lambda row: lease.check(1),
            )
        q = ranking.column("q").to_numpy()
        return {
            "name": asked["name"],
            "tested": ranking.num_rows,
            "significant_q": SIGNIFICANT_Q,
            "significant": int((q <= SIGNIFICANT_Q).sum()),
            "note": ranking_note(ranking),
            "features": json_rows(ranking.slice(0, int(asked["limit"]))),
        }

    def _sequences(self, claimed: ClaimedAnalysis) -> Sequences:
        """What the run reads."""
        return read_codes(self._local(claimed.run_inputs["sequences.fa"]), claimed.spans)

    @contextmanager
    def _activations(
        self, claimed: ClaimedAnalysis, excerpt: Excerpt
    ) -> Iterator[ActivationSource]:
        """The run's activations, counted as its sequences are."""
        if not claimed.run_results:
            raise StateError(
                "the run's results were lost and are computed again now; ask again once it is "
                "complete"
            )
        source = stored_activations(StoredPaths(self._shards.storage, claimed.run_results))
        with tempfile.TemporaryDirectory(dir=self._settings.upload_dir) as folder:
            yield excerpt.activations(source, Path(folder) / ONE_FILE)

    def _local(self, file: StoredFile) -> Path:
        """Local path of a stored file."""
        return self._shards.storage.local_path(file)

    def _fail(self, claimed: ClaimedAnalysis, error: Exception) -> None:
        """Record an error."""
        answer = self._shards.verdict(error)
        if isinstance(error, SaetrackError) and answer.state == "EXECUTOR_ERROR":
            # what was asked cannot be answered: nothing here is broken
            log.info("analysis %s cannot be answered: %s", claimed.id, answer.message)
        else:
            log.error("analysis %s failed, attempt %s", claimed.id, claimed.attempt, exc_info=error)
        with transaction(self._engine) as session:
            fail_analysis(
                session,
                claimed,
                code=answer.code,
                message=answer.message,
                retryable=answer.retryable,
                settings=self._settings,
                state=answer.state,
            )


def motif_from_json(values: Mapping[str, Any]) -> Motif:
    """The motif that an analysis was asked about; only what a test needs of it."""
    return Motif(
        matrix_id=str(values["matrix_id"]),
        name=str(values["name"]),
        counts=np.array(values["counts"], dtype=np.float64),
        family=(),
        tf_class=(),
        tax_group="",
        uniprot=(),
    )
