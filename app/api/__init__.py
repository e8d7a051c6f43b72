"""Routes of the REST interface, and what they share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from flask import Response, current_app, request
from sqlalchemy import Engine, bindparam, select

from annotations.alleles import ALLELES_FILE
from annotations.cards import Cards
from annotations.errors import (
    FormatError,
    OptionError,
    StorageError,
    UnknownNameError,
    WeightsError,
)
from annotations.options import RunOptions
from annotations.run_motifs import STORED
from app.api.sending import send_held, send_path
from app.auth import owner
from app.card_cache import KnownCards
from app.catalog import Result
from app.claims import spans_of
from app.config import Settings
from app.database import glance, reading
from app.errors import RunStateError
from app.estimates import Paces
from app.file_cache import FileCache, HeldFile
from app.metrics import Metrics
from app.models import Computation, Run
from app.rates import RateLimits
from app.run_facts import no_run
from app.storage import Storage, StoredPaths, manifest_from_json

WAYS_OUT: Final = {
    "CANCELED": "submit it again, and it goes on where it stopped",
    "EXECUTOR_ERROR": "mend what is named and submit it again",
    "SYSTEM_ERROR": "submit it again: what was computed is kept; the operator's log tells why",
}
"""What to do about a run that ended without results, by its state."""

EXTENSION = "saetrack"
"""Key of the `Services` in a Flask application's extensions."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the routes work with."""

    settings: Settings
    engine: Engine
    storage: Storage
    rates: RateLimits
    """How often one may ask."""
    metrics: Metrics
    """What a monitor asks."""
    made: FileCache
    """Files made from results, in a folder for each run."""
    paces: Paces
    """How fast the workers are."""
    known_cards: KnownCards
    """Models and dictionaries, read again where a file has changed."""

    def cards(self) -> Cards:
        """Models and dictionaries of this installation, as they are now.

        Raises
        ------
        WeightsError
            If a models folder is missing or a card is not valid: no fault of the request.
        """
        try:
            return self.known_cards.of(self.settings.model_roots)
        except (FormatError, OptionError) as error:
            raise WeightsError("the models of this installation cannot be read") from error


def services() -> Services:
    """The services of the present application."""
    return cast(Services, current_app.extensions[EXTENSION])


def root() -> str:
    """Address of this server, without a slash at its end: the public one, where one is set."""
    return services().settings.public_url or request.url_root.rstrip("/")


_OF_RESULT: Final = (
    select(
        Run.owner,
        Run.canceled_at,
        Run.contig_names,
        Computation.state,
        Computation.error_message,
        Computation.finished_at,
        Computation.dictionary_id,
        Computation.parameters,
        Computation.lengths,
        Computation.inputs,
        Computation.results,
    )
    .join(Computation)
    .where(Run.id == bindparam("run_id"))
)


def open_result(run_id: str, whose: str | None = None) -> Result:
    """The result of a run of whoever is asking.

    Parameters
    ----------
    run_id : str
        Id of the run.
    whose : str, optional
        Its owner, where whoever asks has the owner's link to it.

    Raises
    ------
    UnknownNameError
        If there is no such run.
    RunStateError
        If it is not complete; the error tells its state.
    """
    here = services()
    with glance(here.engine) as connection:
        run = connection.execute(_OF_RESULT, {"run_id": run_id}).one_or_none()
    if run is None or run.owner != (whose or owner()):
        raise no_run(run_id)
    state = "CANCELED" if run.canceled_at is not None else run.state
    if state != "COMPLETE":
        why = f": {run.error_message}" if run.error_message else ""
        raise RunStateError(
            f"the run has no results, its state is {state}{why}; "
            f"{WAYS_OUT.get(state, 'submit it again')}"
            if run.finished_at or state == "CANCELED"
            else f"the run is not complete yet, its state is {state}; "
            f"GET /v1/runs/{run_id} tells how far it is",
            state,
        )
    names = [str(name) for name in run.contig_names]
    cards = here.cards()
    # results outlive an installation's dictionaries: then there are just no atlas labels to ask
    card = cards.dictionaries.get(run.dictionary_id)
    sha256 = str(run.parameters["dictionary"]["sha256"])
    same = card is not None and card.sha256 == sha256
    manifest = manifest_from_json(run.results or {})
    inputs = {
        name: here.storage.local_path(file) for name, file in manifest_from_json(run.inputs).items()
    }
    return Result(
        files=StoredPaths(here.storage, manifest),
        names=names,
        lengths=[int(length) for length in run.lengths],
        options=RunOptions.from_json(run.parameters["options"]),
        n_features=int(run.parameters["dictionary"]["d_sae"]),
        atlas=cards.atlas(card) if card is not None and same else None,
        dictionary_sha256=sha256,
        motifs=next((path for name, path in inputs.items() if name.startswith(f"{STORED}.")), None),
        sequences=inputs.get("sequences.fa"),
        genes=inputs.get("genes.parquet"),
        alleles=inputs.get(ALLELES_FILE),
        spans=spans_of(run.parameters),
    )


def run_cache(settings: Settings, run_id: str) -> Path:
    """Folder of files made from a run's result, with the names of its contigs in them."""
    return settings.runs_cache_dir / run_id


def made_file(run_id: str, name: str, make: Callable[[Path], None]) -> HeldFile:
    """A file that is made when it is first asked for, to be closed.

    Parameters
    ----------
    run_id : str
        A run that exists; results of a run never change.
    name : str
        Name of the file, unique in the run.
    make : callable
        Writes the file, whole or not at all.

    Raises
    ------
    BusyError
        If it is being made for another request, and that takes long.
    UnknownNameError
        If the run was deleted meanwhile.
    """
    here = services()
    try:
        return here.made.open(run_id, name, make)
    except (FileNotFoundError, StorageError):
        with reading(here.engine) as session:
            if session.get(Run, run_id) is not None:
                raise
        raise UnknownNameError(
            f"{name} cannot be made: its run has been deleted meanwhile"
        ) from None


def send_made(
    run_id: str, name: str, make: Callable[[Path], None], *, content_type: str
) -> Response:
    """Send a file that is made when it is first asked for; parameters as of `made_file`."""
    held = made_file(run_id, name, make)
    return send_held(held, content_type=content_type, name=f"{run_id}.{name}")


def send_stored(path: Path, download_name: str, *, content_type: str) -> Response:
    """Send a file, in parts and conditionally if the request asks for that."""
    return send_path(path, content_type=content_type, name=download_name)
