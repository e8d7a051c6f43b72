"""Settings of an installation: one frozen object, read once, given to everything that needs it.

Each field has an environment variable of the same name in capitals after
``SAETRACK_``: ``data_dir`` is set by ``SAETRACK_DATA_DIR``. A variable that names no
field is refused, because a misspelt limit is worse than none.
"""

import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from annotations.errors import OptionError

PREFIX = "SAETRACK_"
"""What the name of every environment variable of the project starts with."""

CLI_VARIABLES = frozenset({"SAETRACK_DEBUG"})
"""Environment variables of the command line alone, which are no settings of the service."""

DEVICES = re.compile(r"auto|cpu|cuda(:(0|[1-9][0-9]?))?", re.ASCII)
"""Names of devices: the GPU if there is one, the CPU, the first GPU, the GPU of a number."""

PUBLIC_URL = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]+)?(/[\w.~/-]*)?")
"""What an address of this server looks like, without a query."""

CONTACT = re.compile(r"[^\s@]+@[^\s@]+")
"""What an e-mail address looks like; only mail tells whether there is one."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "auth": ("none", "tokens"),
    "log_format": ("text", "json"),
    "log_level": ("info", "warning", "error"),
}
"""Settings that are one of some words."""

BUNDLED_MODELS = Path(__file__).resolve().parent.parent / "workers" / "bundled"
"""Models that come with the project; found by path, since app never imports workers."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one installation; refuses values that cannot work when it is made."""

    data_dir: Path = Path("saetrack-data")
    """Folder of the database, of uploads on their way, of messages and of results."""

    database_url: str = ""
    """SQLAlchemy URL; by default an SQLite file in `data_dir`."""

    broker_url: str = ""
    """Celery broker URL; by default `filesystem://`, with messages in `data_dir`/broker."""

    storage_url: str = ""
    """Where the files of computations are: `s3://bucket/folder`; by default a folder in
    `data_dir`. Address and keys of the store are those of the usual AWS_ variables."""

    copies_bytes: int = 50_000_000_000
    """Most bytes of copies of files of an object store that this machine keeps."""

    models_dirs: tuple[Path, ...] = ()
    """Folders of models and dictionaries, separated by `:` in the environment; by default
    the bundled ones and `data_dir`/models."""

    host: str = "127.0.0.1"
    """Address the web process listens on."""

    port: int = 8765
    """Port the web process listens on."""

    trust_network: bool = False
    """Whether to listen, without tokens, on an address that other machines reach: whoever
    reaches the port then reads and deletes every run."""

    auth: str = "none"
    """`none`: one owner, for a server that only its own machine reaches. `tokens`: every request
    needs a token of `saetrack token create`, and each owner sees their own runs only."""

    public_url: str = ""
    """Address under which others reach this server, such as `https://tracks.example.org`: what
    links begin with. Without it they begin with what the request was sent to."""

    contact: str = ""
    """E-mail address of whoever answers for this server; UCSC asks each hub for one."""

    cache_bytes: int = 20_000_000_000
    """Most bytes of tracks that were made when they were asked for, and that are kept for the next
    time; those that nobody has asked for the longest leave first."""

    proxies: int = 0
    """Reverse proxies in front of the web process, whose X-Forwarded headers are then believed."""

    requests_per_minute: int = 6_000
    """Requests per minute of a token, or of an address without one; 0 is no limit. Of servers
    with tokens."""

    submissions_per_hour: int = 600
    """Submissions per hour of an owner; 0 is no limit. Of servers with tokens."""

    max_queued_runs: int = 1_000
    """Runs of an owner that may be on their way at once; 0 is no limit."""

    max_queued_bases: int = 10_000_000_000
    """Bases of an owner's runs that may be on their way at once; 0 is no limit."""

    max_stored_bytes: int = 0
    """Bytes of stored files of an owner's runs from which on no more are accepted; 0 is no
    limit."""

    keep_days: int = 0
    """Days after which a run that has ended is deleted with its results; 0 keeps it for ever."""

    max_upload_bytes: int = 200_000_000
    """Most bytes of one upload, as sent; a gzip file may hold more bases than bytes."""

    max_bases: int = 200_000_000
    """Most bases of one submission, all records together; of regions of a registered genome, the
    bases of the regions."""

    max_genome_upload_bytes: int = 2_000_000_000
    """Most bytes of one upload that registers a genome, as sent; hg38 as gzip has 0.94 GB."""

    max_genome_bases: int = 10_000_000_000
    """Most bases of a genome that is registered over HTTP."""

    max_records: int = 100_000
    """Most records of one submission."""

    lease_seconds: float = 30.0
    """Time after which a shard whose worker gives no sign of life is given to another. The death of
    a worker's process is noticed at once; this is for a machine that is lost."""

    republish_seconds: float = 20.0
    """Time after which a message that no worker has acted on is sent again."""

    worker_seconds: float = 90.0
    """Time after which a worker that has not reported counts as gone."""

    max_attempts: int = 3
    """Times a shard is tried before its run fails."""

    shard_bases: int = 200_000
    """Bases of a shard, about; more is less overhead, fewer is finer progress and less memory
    (about 0.7 GB for 200,000)."""

    urgent_bases: int = 1_000_000
    """Bases up to which a run goes before longer ones; of regions of a genome, those that are read
    for them."""

    long_share: float = 0.2
    """Share of the workers' time that longer runs get at least while small ones keep coming; 0
    lets small ones go first as long as there are any."""

    share_computations: bool = False
    """Whether equal submissions of different owners share one computation."""

    min_free_bytes: int = 1_000_000_000
    """Free disk space under which the server is not ready for new work."""

    log_format: str = "text"
    """`text`: lines for people. `json`: one JSON object a line."""

    log_level: str = "warning"
    """`info` adds a line for each request, each change (the audit line) and each shard;
    `warning` and `error` say less."""

    device: str = "auto"
    """Device of a worker: `auto`, `cpu`, `cuda` or `cuda:N`."""

    worker_niceness: int = 5
    """How far a worker gives way to other programs of its machine, the web process among them:
    0 not at all, 19 as far as can be."""

    bundled_models: Path = field(default=BUNDLED_MODELS, repr=False)
    """Where the bundled models are."""

    def __post_init__(self) -> None:
        """Make paths absolute, fill in what depends on `data_dir`, and check the numbers.

        Raises
        ------
        OptionError
            If a value is not allowed; the message names the environment variable.
        """
        data_dir = self.data_dir.expanduser().resolve()
        _set(self, "data_dir", data_dir)
        _set(self, "database_url", self.database_url or f"sqlite:///{data_dir / 'saetrack.db'}")
        _set(self, "broker_url", self.broker_url or "filesystem://")
        models_dirs = self.models_dirs or (
            # a checkout without weights has no such folder
            *([self.bundled_models] if self.bundled_models.is_dir() else []),
            data_dir / "models",
        )
        _set(self, "models_dirs", tuple(path.expanduser().resolve() for path in models_dirs))
        for name, least, most in (
            ("port", 0, 65535),
            ("max_upload_bytes", 1, None),
            ("max_bases", 1, None),
            ("max_genome_upload_bytes", 1, None),
            ("max_genome_bases", 1, None),
            ("max_records", 1, None),
            ("lease_seconds", 0.05, 86_400),
            ("republish_seconds", 0, 86_400),
            ("worker_seconds", 0.05, 86_400),
            ("max_attempts", 1, 100),
            ("shard_bases", 1_000, None),
            ("urgent_bases", 0, None),
            ("long_share", 0, 0.9),
            ("min_free_bytes", 0, None),
            ("cache_bytes", 0, None),
            ("copies_bytes", 0, None),
            ("proxies", 0, 10),
            ("requests_per_minute", 0, None),
            ("submissions_per_hour", 0, None),
            ("max_queued_runs", 0, None),
            ("max_queued_bases", 0, None),
            ("max_stored_bytes", 0, None),
            ("keep_days", 0, 36_500),
            ("worker_niceness", 0, 19),
        ):
            value = getattr(self, name)
            # written so that NaN, which compares false with everything, is refused
            if not (value >= least and (most is None or value <= most)):
                range_ = f"at least {least}" if most is None else f"in [{least}, {most}]"
                raise OptionError(f"{PREFIX}{name.upper()} must be {range_}, got {value}")
        check_device(self.device, what=f"{PREFIX}DEVICE")
        _set(self, "public_url", self.public_url.rstrip("/"))
        if self.public_url and not PUBLIC_URL.fullmatch(self.public_url):
            raise OptionError(
                f"{PREFIX}PUBLIC_URL must be http:// or https://, a host, perhaps a port and a "
                f"path, such as https://tracks.example.org, got {self.public_url!r}"
            )
        if self.contact and not CONTACT.fullmatch(self.contact):
            raise OptionError(
                f"{PREFIX}CONTACT must be an e-mail address, such as me@example.org, got "
                f"{self.contact!r}"
            )
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise OptionError(
                    f"{PREFIX}{name.upper()} must be {' or '.join(allowed)}, "
                    f"got {getattr(self, name)!r}"
                )
        if not (self.trust_network or self.has_tokens or self.is_loopback):
            raise OptionError(
                f"{PREFIX}HOST is {self.host!r}, which other machines can reach, and without "
                "tokens whoever reaches it reads and deletes every run. Use 127.0.0.1, set "
                f"{PREFIX}AUTH=tokens, or {PREFIX}TRUST_NETWORK=1 where the network itself keeps "
                "others out"
            )

    @property
    def has_tokens(self) -> bool:
        """Whether every request needs a token."""
        return self.auth == "tokens"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach `host`."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def model_roots(self) -> tuple[Path, ...]:
        """The folders of `models_dirs` to look into; `data_dir`/models may be missing."""
        own = self.data_dir / "models"
        return tuple(root for root in self.models_dirs if root != own or root.is_dir())

    @property
    def storage_dir(self) -> Path:
        """Folder of the files of computations."""
        return self.data_dir / "files"

    @property
    def genomes_dir(self) -> Path:
        """Folder of the registered genomes; it may be missing."""
        return self.data_dir / "genomes"

    @property
    def upload_dir(self) -> Path:
        """Folder of uploads that are not yet accepted."""
        return self.data_dir / "uploads"

    @property
    def cache_dir(self) -> Path:
        """Folder of files that can be made again."""
        return self.data_dir / "cache"

    @property
    def runs_cache_dir(self) -> Path:
        """Folder of files made from the results of runs, of at most `cache_bytes` in all."""
        return self.cache_dir / "runs"

    @property
    def broker_dir(self) -> Path:
        """Folder of the messages of the filesystem broker."""
        return self.data_dir / "broker"

    def make_folders(self) -> None:
        """Create the folders of the installation, readable by their owner only.

        Raises
        ------
        OptionError
            If a folder cannot be made or written.
        """
        for folder in (
            self.data_dir,
            self.storage_dir,
            self.upload_dir,
            self.cache_dir,
            self.broker_dir,
            self.data_dir / "models",
        ):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                # a file system that is mounted read-only tells so here, and to root as well
                written = os.access(folder, os.W_OK | os.X_OK)
                why = "it may not be written"
            except OSError as error:
                written, why = False, (error.strerror or str(error)).lower()
            if not written:
                raise OptionError(
                    f"cannot use the data folder {self.data_dir}: {folder.name}: {why}; name "
                    f"another with --data-dir or {PREFIX}DATA_DIR"
                )

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Settings from environment variables.

        Parameters
        ----------
        environment : mapping, optional
            Variables by name; those of the process by default.

        Returns
        -------
        settings : Settings
            Fields without a variable have their default.

        Raises
        ------
        OptionError
            If a variable that starts with `SAETRACK_` names no field, cannot be read as
            what the field holds, or has a value that is not allowed.
        """
        given = os.environ if environment is None else environment
        parsers = {PREFIX + item.name.upper(): item for item in fields(cls)}
        told = [name for name, item in parsers.items() if item.repr]  # the others are for tests
        values: dict[str, object] = {}
        for name, text in given.items():
            if not name.startswith(PREFIX) or name in CLI_VARIABLES:
                continue
            if name not in parsers:
                near = difflib.get_close_matches(name, told, n=3)
                hint = f"did you mean {' or '.join(near)}? " if near else ""
                raise OptionError(
                    f"there is no setting {name}; {hint}docs/settings.md has all {len(told)}; "
                    "correct or unset the variable"
                )
            values[parsers[name].name] = _parse(name, text, type(parsers[name].default))
        return cls(**values)  # type: ignore[arg-type]


def check_device(name: str, *, what: str = "device") -> None:
    """Refuse what names no device; whether this machine has it is the worker's to say.

    Parameters
    ----------
    name : str
        What is given.
    what : str
        What the message calls it.

    Raises
    ------
    OptionError
        If `DEVICES` does not describe the name.
    """
    if not DEVICES.fullmatch(name):
        raise OptionError(f"{what} must be auto, cpu, cuda or cuda:N, such as cuda:0, got {name!r}")


def _set(settings: Settings, name: str, value: object) -> None:
    """Set a field of the frozen object while it is being made."""
    object.__setattr__(settings, name, value)


def _parse(name: str, text: str, kind: type) -> object:
    """Read a variable as the type of its field's default."""
    readers: dict[type, tuple[Callable[[str], object], str]] = {
        int: (int, "a whole number"),
        float: (float, "a number"),
        bool: (_flag, "0 or 1"),
        str: (str, "text"),
        tuple: (_folders, "folders separated by ':'"),
    }
    read, wanted = readers.get(kind, (Path, "a path"))
    try:
        return read(text)
    except ValueError:
        raise OptionError(f"{name} must be {wanted}, got {text!r}") from None


def _flag(text: str) -> bool:
    """Read 0 or 1."""
    if text not in {"0", "1"}:
        raise ValueError(text)
    return text == "1"


def _folders(text: str) -> tuple[Path, ...]:
    """Read a list of folders."""
    return tuple(Path(part) for part in text.split(os.pathsep) if part)
