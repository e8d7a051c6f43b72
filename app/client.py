"""saetrack from Python: submit, wait, tables as DataFrames, bulk download.

    client = Client("http://127.0.0.1:8765")
    run = client.submit("chrI.fa.gz", genes="chrI.gff3", taxon="fungi").wait()
    run.features(active=True)
    client.tf_features("REB1", run=run)
    run.download("chrI")

This file stands alone: it imports Python's standard library and nothing else, so it can lie beside
a notebook (a server hands it out at `/saetrack_client.py`). Tables need pandas and pyarrow, which
are imported when the first one is asked for.

It connects directly, through no proxy, and follows no redirect: a token goes to one host. What is
read is asked for again after a lost connection, 429 or 503; what changes something is sent once,
since the server cannot tell a repeated submission from a second one.
"""

import hashlib
import http.client
import io
import json
import os
import re
import secrets
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, TypeVar
from urllib.parse import parse_qs, quote, urlencode, urlsplit

DONE: Final = frozenset({"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"})
"""States that a run does not leave."""

AGAIN: Final = frozenset({429, 503})
"""Statuses after which a question may be put again."""

MAX_WAIT: Final = 60.0
"""Longest wait, in seconds, that a server's Retry-After is obeyed for."""

POLL_SECONDS: Final = 2.0
"""Longest time between two questions about the state of a run."""

UPLOAD_SECONDS: Final = 900.0
"""Longest silence of a server that has been sent a file: it reads the file before it answers."""

CHUNK: Final = 1 << 20
"""Bytes of a file that are in memory at once."""

BULK: Final = (".tsv", ".parquet", ".bed", ".bb", ".bw", ".2bit")
"""Endings of the files that `Run.download` fetches where none are named, provenance.json beside."""

EMPTY: Final[Mapping[str, str]] = {"Content-Length": "0"}
"""Headers of a request that changes something and has no body."""

T = TypeVar("T")
Response = http.client.HTTPResponse


class ClientError(Exception):
    """The server refused, or its answer cannot be used; the text is the server's own sentence."""

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        type: str | None = None,
        errors: Iterable[Mapping[str, str]] = (),
        retry_after: float | None = None,
    ) -> None:
        """Keep what the problem document says."""
        super().__init__(detail)
        self.detail = detail
        """What is wrong and the way out."""
        self.status = status
        """HTTP status; None where there was no answer."""
        self.type = type
        """Stable name of the kind of problem."""
        self.errors = list(errors)
        """Places of the input: `location` and `message` of each."""
        self.retry_after = retry_after
        """Seconds after which the server wants to be asked again."""


class ConnectionLost(ClientError):  # noqa: N818 - says what happened
    """The server could not be reached, or broke off."""


class MissingFile(ClientError, FileNotFoundError):  # noqa: N818 - says what happened
    """A file that was to be sent is not there."""


class Client:
    """One server.

    Parameters
    ----------
    url : str
        Its address, with the path that it is mounted at if there is one.
    token : str, optional
        Sent as `Authorization: Bearer`.
    timeout : float
        Longest silence of the server, in seconds.
    retries : int
        How often a question is put again after a lost connection, 429 or 503.

    Raises
    ------
    ValueError
        If the address is none.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8765",
        token: str | None = None,
        *,
        timeout: float = 120.0,
        retries: int = 4,
    ) -> None:
        """Remember where the server is; nothing is sent yet."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"url must be such as http://127.0.0.1:8765, got {url[:100]!r}")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("url must be an address alone; give a token as token=...")
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.retries = retries
        self._token = token
        self._host, self._port = parts.hostname, parts.port
        self._secure = parts.scheme == "https"
        self._root = parts.path.rstrip("/")

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    # -- what the server has -------------------------------------------------------------------

    def models(self) -> dict[str, Any]:
        """Models and dictionaries of the server, and the groups of motifs it knows."""
        return self._object("/v1/models")

    def genomes(self) -> list[dict[str, Any]]:
        """Genomes that are registered on the server."""
        return list(self._object("/v1/genomes")["genomes"])

    def add_genome(
        self,
        name: str,
        file: "str | Path",
        *,
        genes: "str | Path | None" = None,
        aliases: "str | Path | None" = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Register a genome, so that runs can name places in it.

        Parameters
        ----------
        name : str
            What runs call it.
        file : path
            FASTA.
        genes : path, optional
            Its genes: BED, BED12, GFF3 or GTF.
        aliases : Path or str, optional
            Other names of its contigs: a Path is a file, a str the name of a table that the
            server brings.
        **fields
            Further fields of the form.
        """
        files = {"file": Path(file), "genes": genes and Path(genes)}
        form = {"name": name, **files, "aliases": aliases, **fields}
        return self._form("/v1/genomes", form)

    def runs(self) -> "list[Run]":
        """Your runs, the newest first, all of them."""
        return [Run(self, view) for view in self._pages("/v1/runs", "runs", limit=500)]

    def run(self, run_id: str) -> "Run":
        """A run by its id."""
        return Run(self, self._object(f"/v1/runs/{quote(run_id, safe='')}"))

    # -- submissions ---------------------------------------------------------------------------

    def submit(
        self,
        sequences: "str | Path | bytes | None" = None,
        *,
        genes: "str | Path | None" = None,
        motifs: "str | Path | None" = None,
        regions: "str | Path | None" = None,
        variants: "str | Path | None" = None,
        held_out: "str | Iterable[str] | None" = None,
        **options: Any,
    ) -> "Run":
        """Submit sequences, or places of a registered genome.

        Parameters
        ----------
        sequences : path or bytes, optional
            FASTA or GenBank, plain or gzip: a path, or the content itself as bytes. None where
            `genome` is given.
        genes, motifs : path, optional
            Gene parts (BED, BED12, GFF3, GTF); motifs of your own (JASPAR, MEME, TRANSFAC).
        regions : path, optional
            BED of places in the registered `genome`.
        variants : path, optional
            VCF of the sequences: reference against alternative.
        held_out : str or list of str, optional
            Contigs that discovery does not see.
        **options
            `dictionary`, `taxon`, `strands`, `expectation`, `title`, `filename`, `release`,
            `genome`, `region`, `gene`, `flank` and whatever else the server takes: a Path is
            sent as a file, a list with commas, anything else as text.

        Returns
        -------
        run : Run
            COMPLETE at once if the same was computed before.

        Raises
        ------
        ClientError
            If the server refuses.
        """
        if isinstance(sequences, str):
            if sequences.lstrip().startswith((">", "LOCUS ")):
                raise ValueError("sequences is text, not a path; give the text as bytes: .encode()")
            sequences = Path(sequences)
        fields: dict[str, Any] = dict(options)
        if held_out is not None:
            fields["held_out"] = held_out if isinstance(held_out, str) else ",".join(held_out)
        fields["file"] = sequences
        files = {"genes": genes, "motifs_file": motifs, "regions": regions, "variants": variants}
        fields |= {name: path and Path(path) for name, path in files.items()}
        return Run(self, self._form("/v1/runs", fields))

    # -- questions -----------------------------------------------------------------------------

    def tf(self, name: str, **filters: Any) -> dict[str, Any]:
        """What a name of a transcription factor stands for, and names that contain it."""
        return self._object("/v1/tfs", q=name, **filters)

    def tf_features(
        self,
        tf: str,
        *,
        dictionary: str | None = None,
        run: "Run | str | None" = None,
        **filters: Any,
    ) -> Any:
        """Features that match a transcription factor, the surest first.

        Parameters
        ----------
        tf : str
            Name, alias, matrix id, UniProt accession or family.
        dictionary : str, optional
            Whose atlas answers.
        run : Run or str, optional
            A run whose own sequences answer where they had the power.
        **filters
            `max_q`, `min_log2_enrichment`, `evidence`, `strand`, `sort`, `group_by`, `limit`.

        Returns
        -------
        table : DataFrame
            Its `attrs` say how the name was understood and where the rows come from.
        """
        named = run.id if isinstance(run, Run) else run
        asked = {"dictionary": dictionary, "run": named, **filters}
        return self.table(f"/v1/tfs/{quote(tf, safe='')}/features", **asked)

    def concept_features(self, concept: str, **filters: Any) -> Any:
        """Feature rows by how well they tell a concept, such as `splice_donor`, as a DataFrame."""
        return self.table(f"/v1/concepts/{quote(concept, safe='')}/features", **filters)

    def feature(self, dictionary: str, index: "int | str", **filters: Any) -> dict[str, Any]:
        """All that is known of a feature; `374-` is one strand of it alone."""
        place = "/".join(quote(str(part), safe="") for part in (dictionary, index))
        return self._object(f"/v1/features/{place}", **filters)

    # -- any address of the interface ----------------------------------------------------------

    def get(self, path: str, **query: Any) -> Any:
        """JSON of any address of the interface.

        Parameters
        ----------
        path : str
            Such as `/v1/atlases`.
        **query
            Parameters; those that are None are left out.

        Raises
        ------
        ClientError
            If the server refuses, is not reached, or does not answer with JSON.
        """
        return self._retried(lambda: self._ask("GET", path, _read_json, query=query))

    def table(self, path: str, **query: Any) -> Any:
        """Rows of any list of the interface as a DataFrame: all of them, unless `limit` is given.

        Parameters
        ----------
        path : str
            Such as `/v1/tfs/REB1/features`.
        **query
            Filters of that list.

        Returns
        -------
        table : DataFrame
            `strand` is "+" or "-"; positions are 0-based. `attrs` is what JSON has beside the rows.

        Raises
        ------
        ImportError
            If pandas or pyarrow is missing.
        ClientError
            As `get`; and if the server sends fewer rows than there are.
        """
        arrow = _arrow()
        parts: list[Any] = []
        asked = {**query, "format": "parquet"}
        seen: set[str] = set()
        while True:
            data, total, token = self._retried(
                lambda: self._ask("GET", path, _read_rows, query=asked)
            )
            parts.append(arrow.parquet.read_table(io.BytesIO(data)))
            if token is None or query.get("limit") is not None:
                break
            if token in seen:
                raise ClientError(f"{path} answers with the same page again")
            seen.add(token)
            asked["page_token"] = token
        rows = sum(part.num_rows for part in parts)
        if query.get("limit") is None and total is not None and rows != total:
            raise ClientError(f"{path} answered with {rows} of {total} rows; ask again")
        said = (parts[0].schema.metadata or {}).get(b"saetrack", b"{}")
        table = arrow.concat_tables([part.replace_schema_metadata(None) for part in parts])
        return _frame(table, json.loads(said))

    def save(self, path: str, target: "str | Path", **query: Any) -> Path:
        """Save what is at any address of the interface as a file.

        A file that is there with the same content stays; one that was begun is gone on with. The
        file appears when it is whole and has the SHA-256 that the server states.

        Parameters
        ----------
        path : str
            Such as `/v1/runs/<id>/features/12+/signal.bw`.
        target : path
            Where to; its folder is made.
        **query
            Parameters.

        Raises
        ------
        ClientError
            As `get`; and if the content is not what the server said.
        """
        target = Path(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._retried(lambda: self._save_once(path, target, query))
        return target

    # -- how it is done ------------------------------------------------------------------------

    def _object(self, path: str, **query: Any) -> dict[str, Any]:
        """JSON of an address that answers with an object."""
        found = self.get(path, **query)
        if not isinstance(found, dict):
            raise ClientError(f"{self.url}{path} is not of saetrack's interface")
        return found

    def _pages(self, path: str, name: str, **query: Any) -> Iterator[dict[str, Any]]:
        """All rows of a list."""
        token = None
        while True:
            page = self._object(path, page_token=token, **query)
            yield from page[name]
            if page["next_page_token"] is None or page["next_page_token"] == token:
                return
            token = page["next_page_token"]

    def _form(self, path: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Send a form once; its files are read as they are sent."""
        boundary = secrets.token_hex(16)
        parts = [part for name, value in fields.items() for part in _part(name, value, boundary)]
        parts.append(f"--{boundary}--\r\n".encode())
        sizes = [_size(part) if isinstance(part, Path) else len(part) for part in parts]
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(sum(sizes)),
        }
        body = _pieces(parts, sizes)
        answer = self._ask("POST", path, _read_json, body=body, headers=headers)
        if not isinstance(answer, dict):
            raise ClientError(f"{self.url}{path} is not of saetrack's interface")
        return answer

    def _retried(self, attempt: Callable[[], T]) -> T:
        """What an attempt returns; it is made again where that may help."""
        left, wait = self.retries, 0.5
        while True:
            try:
                return attempt()
            except ClientError as error:
                may_help = isinstance(error, ConnectionLost) or error.status in AGAIN
                asked = wait if error.retry_after is None else error.retry_after
                if not may_help or left == 0 or asked > MAX_WAIT:
                    raise
                time.sleep(asked)
                left, wait = left - 1, 2 * wait

    def _ask(
        self,
        method: str,
        path: str,
        read: Callable[[Response], T],
        *,
        query: Mapping[str, Any] | None = None,
        body: Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Send one request, and give the answer, if it is a success, to `read`."""
        asked = urlencode({name: _text(v) for name, v in (query or {}).items() if v is not None})
        address = self._root + path + (f"?{asked}" if asked else "")
        sent = {"User-Agent": "saetrack-client", "Accept": "*/*", **(headers or {})}
        if self._token is not None:
            sent["Authorization"] = f"Bearer {self._token}"
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        seconds = self.timeout if body is None else max(self.timeout, UPLOAD_SECONDS)
        connection = kind(self._host, self._port, timeout=seconds)
        try:
            response = self._response(connection, method, address, body, sent)
            if response.status >= 300 and response.status != 304:
                raise _refusal(response)
            return read(response)
        finally:
            connection.close()

    def _response(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        address: str,
        body: Iterable[bytes] | None,
        headers: Mapping[str, str],
    ) -> Response:
        """Send a request and wait for the head of its answer."""
        try:
            connection.connect()
            try:
                connection.request(method, address, body=body, headers=dict(headers))
            except (BrokenPipeError, ConnectionResetError):
                # a server that refuses a large body says so before it has read all of it
                if body is None:
                    raise
            return connection.getresponse()
        except ssl.SSLError as error:
            raise ClientError(f"{self.url} cannot be trusted: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            said = str(error) or type(error).__name__
            raise ConnectionLost(f"no answer from {self.url}: {said}") from error

    def _save_once(self, path: str, target: Path, query: Mapping[str, Any]) -> None:
        """One attempt at a file; what came of it stays beside the target for the next."""
        headers: dict[str, str] = {}
        begun = _begun(target)
        if begun is not None:
            part, expected = begun
            if _sha256(part) == expected:
                part.replace(target)
                return
            headers = {"Range": f"bytes={part.stat().st_size}-", "If-Range": f'"{expected}"'}
        elif target.is_file():
            headers = {"If-None-Match": f'"{_sha256(target)}"'}
        try:
            self._ask(
                "GET", path, lambda answer: _store(answer, target), query=query, headers=headers
            )
        except ClientError as error:
            if error.status == 416 and begun is not None:
                begun[0].unlink(missing_ok=True)
                raise ConnectionLost("the part of the file that was there is of no use") from error
            raise


class Run:
    """A run of a server.

    Attributes
    ----------
    client : Client
        The server.
    id : str
        Names the run.
    view : dict
        What the server last said of it.
    """

    def __init__(self, client: Client, view: Mapping[str, Any]) -> None:
        """Wrap what the server said."""
        self.client = client
        self.id = str(view["id"])
        self.view = dict(view)
        self._path = f"/v1/runs/{quote(self.id, safe='')}"
        self._names: list[str] | None = None

    def __repr__(self) -> str:
        title = self.view.get("title") or self.view.get("filename") or ""
        return f"<Run {self.id} {self.view['state']} {title}>"

    @property
    def url(self) -> str:
        """Address of the run's page."""
        return f"{self.client.url}/runs/{self.id}"

    @property
    def state(self) -> str:
        """Its state now: one of GA4GH's words, such as RUNNING or COMPLETE."""
        if self.view["state"] not in DONE:
            self.refresh()
        return str(self.view["state"])

    def refresh(self) -> "Run":
        """Ask the server how far the run is; `view` says it then."""
        self.view = dict(self.client.get(self._path))
        return self

    def wait(
        self,
        timeout: float | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
    ) -> "Run":
        """Wait until the run is complete.

        Parameters
        ----------
        timeout : float, optional
            Most seconds to wait; no limit by default.
        on_progress : callable, optional
            Called with the run's view each time it was asked for: `progress` is 0 to 1.

        Returns
        -------
        run : Run
            Itself.

        Raises
        ------
        ClientError
            If the run fails or is cancelled; says why.
        TimeoutError
            If it takes longer; the run goes on.
        """
        started, pause = time.monotonic(), 0.2
        while True:
            self.refresh()
            if on_progress is not None:
                on_progress(self.view)
            state = self.view["state"]
            if state in DONE:
                break
            if timeout is not None and time.monotonic() - started >= timeout:
                raise TimeoutError(
                    f"run {self.id} is still {state} after {timeout:g} s; it goes on: wait again, "
                    "or cancel it"
                )
            left = MAX_WAIT if timeout is None else timeout - (time.monotonic() - started)
            time.sleep(max(0.0, min(pause, left)))
            pause = min(1.5 * pause, POLL_SECONDS)
        if state != "COMPLETE":
            error = self.view.get("error") or {}
            why = f": {error['message']}" if error.get("message") else ""
            raise ClientError(f"run {self.id} ended as {state}{why}", type=error.get("code"))
        return self

    def cancel(self) -> "Run":
        """Cancel the run."""
        path = f"{self._path}/cancel"
        self.view = dict(self.client._ask("POST", path, _read_json, body=[], headers=EMPTY))
        return self

    def delete(self) -> None:
        """Delete the run and, if no other run has the same content, its results."""
        self.client._ask("DELETE", self._path, _read_nothing)

    def contigs(self) -> list[dict[str, Any]]:
        """Its sequences: name, length, refget digest."""
        return list(self.client.get(f"{self._path}/contigs")["contigs"])

    def features(self, **filters: Any) -> Any:
        """Features with their statistics, labels and best match, as a DataFrame.

        Parameters
        ----------
        **filters
            `active`, `search`, `strand`, `sort`, `limit` and others of the interface.
        """
        return self.client.table(f"{self._path}/features", **filters)

    def matches(self, **filters: Any) -> Any:
        """Motif tests at the peaks of this run as a DataFrame, the surest first."""
        return self.client.table(f"{self._path}/matches", **filters)

    def peaks(self) -> Any:
        """Top peaks of all features with value, motif and gene, as a DataFrame."""
        return self._whole("peaks")

    def concepts(self) -> Any:
        """How well features tell exons, introns, splice sites and so on, as a DataFrame."""
        return self._whole("concepts")

    def tf_features(self, tf: str, **filters: Any) -> Any:
        """Features that match a transcription factor in this run; see `Client.tf_features`."""
        return self.client.tf_features(tf, run=self, **filters)

    def feature(self, index: "int | str") -> dict[str, Any]:
        """One feature of this run: its strands, top peaks and motif tests."""
        found = self.client.get(f"{self._path}/features/{quote(str(index), safe='')}")
        return dict(found)

    def signal(self, rows: "str | Iterable[str]", region: str) -> Any:
        """Activation of feature rows at every base of a region.

        Parameters
        ----------
        rows : str or iterable of str
            Feature rows, such as `12+`.
        region : str
            Such as `chrI:1001-2000` (1-based, the end included), or the name of a sequence.

        Returns
        -------
        table : DataFrame
            `position` (0-based), and a column for each row: 0 where it is silent, NaN where the
            run did not read.
        """
        asked = {"features": _text(rows if isinstance(rows, str) else list(rows)), "region": region}
        return self.client.table(f"{self._path}/activations", **asked)

    def region_features(self, region: str, **filters: Any) -> Any:
        """Feature rows that are active in a region, as a DataFrame, the highest first."""
        return self.client.table(f"{self._path}/region-features", region=region, **filters)

    def save_signal(self, row: str, target: "str | Path", **query: Any) -> Path:
        """Save the activation of a feature row, such as `12+`, at every base as a bigWig."""
        path = f"{self._path}/features/{quote(row, safe='')}/signal.bw"
        return self.client.save(path, target, **query)

    def figure(self, target: "str | Path", region: str, **style: Any) -> Path:
        """Save a figure of feature rows over a region.

        Parameters
        ----------
        target : path
            SVG, or PNG if its name ends so.
        region : str
            As `signal` takes it.
        **style
            `features`, `motifs`, `expectation`, `width`, `row_height`, `theme`, `scale`; `dpi` of
            a PNG.
        """
        kind = "png" if str(target).lower().endswith(".png") else "svg"
        return self.client.save(f"{self._path}/figure.{kind}", target, region=region, **style)

    def save_peaks(self, row: str, target: "str | Path") -> Path:
        """Save the top peaks of a feature row, such as `12+`, as BED."""
        return self.client.save(f"{self._path}/features/{quote(row, safe='')}/peaks.bed", target)

    def download(self, folder: "str | Path", names: Iterable[str] | None = None) -> list[Path]:
        """Save files of the run, each as `Client.save` does it: checked, whole or not at all.

        Parameters
        ----------
        folder : path
            Where to.
        names : iterable of str, optional
            Files below the run's address, such as `sequence.2bit` or `features/12+/signal.bw`; by
            default all its tables and `provenance.json`.

        Returns
        -------
        paths : list of Path
            In the order of the names.
        """
        wanted = list(names) if names is not None else self._bulk()
        for name in wanted:
            if name.startswith("/") or ".." in name.split("/") or "\\" in name:
                raise ValueError(f"a file is named below the run's address, got {name[:80]!r}")
        home = Path(folder)
        return [self.client.save(f"{self._path}/{quote(name)}", home / name) for name in wanted]

    def share(self, title: str | None = None) -> dict[str, Any]:
        """Make a link that shows the tracks to whoever has it.

        Returns
        -------
        link : dict
            `url` is the address of its hub.txt, `links` those that open it in each browser, `id`
            what `unshare` takes; the token in them is told this once.
        """
        path = f"{self._path}/share-links"
        query = {"title": title}
        made = self.client._ask("POST", path, _read_json, query=query, body=[], headers=EMPTY)
        return dict(made)

    def unshare(self, link_id: str) -> None:
        """Revoke a share link."""
        path = f"{self._path}/share-links/{quote(link_id, safe='')}"
        self.client._ask("DELETE", path, _read_nothing)

    def _bulk(self) -> list[str]:
        """Names of the files that are fetched where none are named."""
        if "features" not in self.view["links"]:
            self.refresh()
        ends = [link.removeprefix(f"{self._path}/") for link in self.view["links"].values()]
        return [*sorted(name for name in ends if name.endswith(BULK)), "provenance.json"]

    def _whole(self, name: str) -> Any:
        """A stored table, with the names of the contigs in it."""
        arrow = _arrow()
        path = f"{self._path}/{name}.parquet"
        data = self.client._retried(lambda: self.client._ask("GET", path, _read_file))
        table = arrow.parquet.read_table(io.BytesIO(data)).replace_schema_metadata(None)
        if "contig" in table.column_names and arrow.types.is_integer(table["contig"].type):
            if self._names is None:
                self._names = [str(contig["name"]) for contig in self.contigs()]
            names = arrow.array(self._names, arrow.string()).take(table["contig"])
            at = table.column_names.index("contig")
            table = table.set_column(at, "contig", names)
        return _frame(table, {})


def _text(value: object) -> str:
    """A parameter as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(str(item) for item in value)
    return str(value)


def _part(name: str, value: Any, boundary: str) -> list[bytes | Path]:
    """A field of a form; a file's content is named by its path and read later."""
    if value is None:
        return []
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
    if not isinstance(value, bytes | Path):
        return [f"{head}\r\n\r\n{_text(value)}\r\n".encode()]
    shown = value.name if isinstance(value, Path) else "sequences"
    for sign, code in (('"', "%22"), ("\r", "%0D"), ("\n", "%0A")):
        shown = shown.replace(sign, code)
    kind = "Content-Type: application/octet-stream"
    return [f'{head}; filename="{shown}"\r\n{kind}\r\n\r\n'.encode(), value, b"\r\n"]


def _size(path: Path) -> int:
    """Bytes of a file that is to be sent."""
    if not path.exists():
        raise MissingFile(
            f"there is no file {path} in {Path.cwd()}; give the path of one, or the content as "
            "bytes"
            if not path.is_absolute()
            else f"there is no file {path}; give the path of one, or the content as bytes"
        )
    if path.is_dir():
        raise MissingFile(f"{path} is a folder; give the path of a file in it")
    return path.stat().st_size


def _pieces(parts: list[bytes | Path], sizes: list[int]) -> Iterator[bytes]:
    """The bytes of a form; of a file as many as were counted before."""
    for part, size in zip(parts, sizes, strict=True):
        if isinstance(part, bytes):
            yield part
            continue
        with part.open("rb") as file:
            left = size
            while left:
                piece = file.read(min(CHUNK, left))
                if not piece:
                    raise ClientError(
                        f"{part.name} became shorter while it was sent; send it again"
                    )
                left -= len(piece)
                yield piece


def _read_json(response: Response) -> Any:
    """The JSON of an answer."""
    data = _read_all(response)
    try:
        return json.loads(data)
    except ValueError:
        kind = response.getheader("Content-Type") or "no content type"
        raise ClientError(
            f"the answer is {kind} and not JSON; is the address that of a saetrack server?",
            status=response.status,
        ) from None


def _read_rows(response: Response) -> tuple[bytes, int | None, str | None]:
    """A table as Parquet, how many rows there are in all, and the token of the next page."""
    data = _read_file(response)
    total = response.getheader("X-Total-Count")
    found = re.search(r'<([^>]*)>\s*;\s*rel="next"', response.getheader("Link") or "")
    token = parse_qs(urlsplit(found[1]).query).get("page_token", [None])[0] if found else None
    return data, None if total is None else int(total), token


def _read_file(response: Response) -> bytes:
    """A whole file, of the SHA-256 that the server states."""
    data = _read_all(response)
    expected = _stated_sha256(response)
    if expected is not None and hashlib.sha256(data).hexdigest() != expected:
        raise ConnectionLost("the file that came is not the one that the server has")
    return data


def _read_nothing(response: Response) -> None:
    """An answer without content."""
    _read_all(response)


def _read_all(response: Response) -> bytes:
    """The whole body: one that ends early is no answer."""
    try:
        return response.read()
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionLost(f"the answer broke off: {error}") from error


def _refusal(response: Response) -> ClientError:
    """The error that an answer tells."""
    if response.status < 400:
        place = response.getheader("Location") or "nowhere"
        return ClientError(
            f"the server sends this on to {place[:200]}, and that is not followed; if it is the "
            "same server, give its own address to Client",
            status=response.status,
        )
    data = _read_all(response)
    after = response.getheader("Retry-After") or ""
    wait = float(after) if re.fullmatch(r"\d{1,9}", after) else None
    try:
        said = json.loads(data)
        detail = str(said.get("detail") or said["title"])
    except (ValueError, KeyError, AttributeError):
        text = " ".join(data[:200].decode(errors="replace").split())
        detail = f"the server answered {response.status}: {text or response.reason}"
        return ClientError(detail, status=response.status, retry_after=wait)
    return ClientError(
        detail,
        status=response.status,
        type=said.get("type"),
        errors=said.get("errors") or (),
        retry_after=wait,
    )


def _stated_sha256(response: Response) -> str | None:
    """The SHA-256 in an answer's ETag."""
    found = re.fullmatch(r'(?:W/)?"([0-9a-f]{64})"', response.getheader("ETag") or "")
    return found[1] if found else None


def _begun(target: Path) -> tuple[Path, str] | None:
    """The part of a file that an earlier attempt left, and the SHA-256 of the whole."""
    begun = re.compile(re.escape(f".{target.name}.") + r"([0-9a-f]{64})\.part")
    for path in target.parent.iterdir():
        found = begun.fullmatch(path.name)
        if found and path.stat().st_size:
            return path, found[1]
    return None


def _store(response: Response, target: Path) -> None:
    """Write an answer beside the target, check it, and put it in its place."""
    if response.status == 304:
        _read_all(response)
        return
    expected = _stated_sha256(response)
    begun = _begun(target)
    going_on = response.status == 206 and begun is not None and begun[1] == expected
    if begun is not None and not going_on:
        begun[0].unlink()
    name = expected or secrets.token_hex(8)
    part = begun[0] if begun and going_on else target.with_name(f".{target.name}.{name}.part")
    if response.status == 206:
        start = re.match(r"bytes (\d+)-", response.getheader("Content-Range") or "")
        if not going_on or start is None or int(start[1]) != part.stat().st_size:
            part.unlink(missing_ok=True)
            raise ConnectionLost("the part that came is not the one that is missing")
    with part.open("ab" if going_on else "wb") as file:
        _copy(response, file)
        file.flush()
        os.fsync(file.fileno())
    if expected is not None and _sha256(part) != expected:
        part.unlink()
        raise ConnectionLost(f"{target.name} came with another content than the server states")
    part.replace(target)


def _copy(response: Response, file: IO[bytes]) -> None:
    """Copy a body; a body that ends early raises, what came of it is in the file."""
    stated = response.getheader("Content-Length")
    came = 0
    while True:
        try:
            piece = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionLost(f"the file broke off: {error}") from error
        if not piece:
            break
        came += len(piece)
        file.write(piece)
    # read(n) takes a connection that was closed too early for the end
    if stated is not None and came != int(stated):
        raise ConnectionLost(f"the file broke off after {came} of {stated} bytes")


def _sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _arrow() -> Any:
    """pyarrow, once a table is asked for; pandas must be there too."""
    try:
        import pandas  # noqa: F401
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "tables need pandas and pyarrow (pip install pandas pyarrow); download() needs neither"
        ) from error
    return pyarrow


def _frame(table: Any, attrs: Mapping[str, Any]) -> Any:
    """An Arrow table as a DataFrame with "+" and "-" for strands."""
    arrow = _arrow()
    for at, name in enumerate(table.column_names):
        column = table[name]
        if name.endswith("strand") and arrow.types.is_integer(column.type):
            is_plus = arrow.compute.greater(column, 0)
            table = table.set_column(at, name, arrow.compute.if_else(is_plus, "+", "-"))
    frame = table.to_pandas()
    frame.attrs.update(attrs)
    return frame
