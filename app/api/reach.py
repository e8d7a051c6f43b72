"""A run as it is reached: by its owner, or by whoever has a link to its tracks; on which genome.

/v1/runs/<run>/...  --own_run-->  Reach
/s/<token>/...      --by_token--> Reach --on(genome)--> Reach whose contigs it names
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from annotations.assemblies import assemblies
from annotations.contig_aliases import AliasTable, reconcile, shipped
from annotations.errors import OptionError, UnknownNameError
from annotations.genome_folder import find_genomes
from app import catalog
from app.api import made_file, open_result, services
from app.auth import owner
from app.catalog import Result
from app.database import glance
from app.file_cache import HeldFile
from app.runs import RunBrief, brief_run
from app.share_links import shared_run


class Reach(NamedTuple):
    """A run, the way that it is reached, and how its result is opened."""

    run_id: str
    title: str
    base: str
    """Path of the folder that the files seem to be in, with a slash at its end."""
    shared: bool
    """Whether by a link, whose user is told nothing but the tracks."""
    open: Callable[[], Result]
    names: str | None = None
    """Tells apart files whose contigs are called otherwise; None for the run's own names."""

    @property
    def key(self) -> str:
        """Letters and digits that are the run's alone, and do not tell its id."""
        return hashlib.sha256(self.run_id.encode()).hexdigest()[:8]

    def saved_as(self, name: str) -> str:
        """What a program should call a file of the run."""
        return f"{self.key if self.shared else self.run_id}.{name.replace('/', '.')}"

    def on(self, genome: str | None) -> "Reach":
        """The run with its contigs called as a genome calls them.

        Parameters
        ----------
        genome : str, optional
            As `known_genome` takes it; without it nothing changes.

        Raises
        ------
        UnknownNameError
            If its contigs are not known here.
        OptionError
            When the result is opened, if the run's sequences are not the genome's.
        """
        if genome is None:
            return self
        known = known_genome(genome)
        return self._replace(names=known.digest, open=lambda: known.name_contigs(self.open()))

    def made(self, name: str, make: Callable[[Result, Path], None]) -> HeldFile:
        """A file of the run's cache, made from its result where it is not there; to be closed.

        Parameters
        ----------
        name : str
            Of the file, where the contigs have the run's own names.
        make : callable
            Writes it, whole or not at all.
        """
        kept = name if self.names is None else f"{self.names}.{name}"
        return made_file(self.run_id, kept, lambda path: make(self.open(), path))


class KnownGenome(NamedTuple):
    """Contigs that browsers know, by the name of their genome."""

    name: str
    contigs: Mapping[str, int]
    """Bases of each."""
    aliases: AliasTable | None
    """States what else they are called."""

    @property
    def digest(self) -> str:
        """Of all that names depend on: a genome may be registered anew under its name."""
        said = json.dumps([list(self.contigs.items()), self.aliases])
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def name_contigs(self, result: Result) -> Result:
        """A result with its contigs called as the genome calls them.

        Raises
        ------
        OptionError
            If a contig is not one of the genome's; the message names those that differ.
        """
        ours: dict[str, int | None] = dict(zip(result.names, result.lengths, strict=True))
        theirs: dict[str, int | None] = {**self.contigs}
        try:
            names = reconcile(ours, theirs, self.aliases, what=f"genome {self.name}")
        except OptionError as error:
            raise OptionError(
                f"{error}. Leave genome out: the tracks then come with their own sequence"
            ) from None
        return catalog.renamed(result, [names[name] for name in result.names])


def own_run(run_id: str) -> Reach:
    """A complete run of whoever is asking.

    Raises
    ------
    UnknownNameError, RunStateError
        As `app.api.open_result`.
    """
    with glance(services().engine) as connection:
        run = brief_run(connection, run_id, owner())
    if not run.complete:
        open_result(run_id)  # which says why not
    return Reach(run_id, title_of(run), f"/v1/runs/{run_id}/", False, partial(open_result, run_id))


def by_token(token: str) -> Reach:
    """The run that a token shows.

    Raises
    ------
    UnknownNameError
        If the token is unknown or its link was revoked.
    """
    with glance(services().engine) as connection:
        run = shared_run(connection, token)
    opened = partial(open_result, run.id, run.owner)
    return Reach(run.id, title_of(run), f"/s/{token}/", True, opened)


def title_of(run: RunBrief) -> str:
    """What a run is called in lists of tracks."""
    return run.title or run.filename or "a run"


def known_genome(name: str) -> KnownGenome:
    """A genome by name: one that browsers know and whose contigs we ship, else a registered one.

    A registered genome may be called sacCer3 and name its contigs otherwise: what browsers call
    so comes first.

    Raises
    ------
    UnknownNameError
        If none has this name.
    """
    table = shipped()[name].table if name in shipped() else None
    if name in assemblies():
        return KnownGenome(name, assemblies()[name], table)
    if table is not None:
        lengths = shipped()[name].lengths
        contigs = {names[0]: lengths[names[0]] for names in table.sequences}
        return KnownGenome(name, contigs, table)
    registered = {genome.name: genome for genome in find_genomes(services().settings.genomes_dir)}
    if name in registered:
        contigs = {contig.name: contig.length for contig in registered[name].contigs}
        return KnownGenome(name, contigs, registered[name].contig_names().table)
    listed = ", ".join(sorted({*registered, *assemblies(), *shipped()}))
    raise UnknownNameError(
        f"the contigs of genome {name[:40]!r} are not known here, so that tracks cannot be told to "
        f"fit it; known are: {listed}. `saetrack genomes add NAME FASTA` registers another"
    )


def is_of_browsers(genome: str) -> bool:
    """Whether UCSC knows a genome by this name; a registered one may have any name."""
    return genome in assemblies() or genome in shipped()
