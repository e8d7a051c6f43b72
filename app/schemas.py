"""Shapes of requests and answers. Unknown parameters are refused, and no answer is a bare list."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MAX_PAGE = 500
"""Most rows on a page; a larger limit is refused, not lowered."""


def _plus(value: object) -> object:
    """A plus sign in a query string arrives as a space unless it is written %2B."""
    return "+" if value == " " else value


StrandSymbol = Annotated[Literal["+", "-"], BeforeValidator(_plus)]
StrandOrEither = Annotated[Literal["+", "-", "either"], BeforeValidator(_plus)]
FeatureSort = Literal["telling", "feature", "density", "max", "peaks", "q"]


class Strict(BaseModel):
    """Parameters of a request: each is known, or the request is refused."""

    model_config = ConfigDict(extra="forbid")


class NoQuery(Strict):
    """No parameters."""


class RunPath(Strict):
    """A run in an address."""

    run_id: str = Field(description="Id of the run.", max_length=64)


class FeaturePath(RunPath):
    """A feature of a run in an address."""

    feature: str = Field(description="Index of the feature, from 0.", max_length=20)


class TfPath(RunPath):
    """A transcription factor in an address."""

    tf: str = Field(description="Name, matrix id, UniProt accession or family.", max_length=100)


class PageQuery(Strict):
    """Which page."""

    limit: int = Field(50, ge=1, le=MAX_PAGE, description="Rows on the page.")
    page_token: str | None = Field(
        None, max_length=200, description="The `next_page_token` of the page before."
    )


class SubmitQuery(Strict):
    """Options of a submission as a raw body; all of them may be left out."""

    dictionary: str | None = Field(None, description="Dictionary, or model that has only one.")
    strands: str | None = Field(None, description="`both` or `forward`.")
    taxon: str | None = Field(None, description="JASPAR group whose motifs are looked for.")
    release: str | None = Field(None, description="JASPAR release.")
    motif_p: str | None = Field(None, description="Motif threshold.")
    peaks_per_feature: str | None = Field(None, description="Top peaks kept.")
    seed: str | None = Field(None, description="Seed of the motif test's background.")
    title: str | None = Field(None, description="Shown in lists.")
    filename: str | None = Field(None, description="Name of the file, shown in lists.")


class FeaturesQuery(PageQuery):
    """Which features, in which order."""

    sort: FeatureSort = Field(
        "telling",
        description="`telling`: matches by q, then labels of the atlas, then the strongest peaks "
        "over the median. `feature` and `q` go up, the others down; unknown values come last.",
    )
    strand: StrandSymbol | None = Field(None, description="Only this strand.")


class StrandQuery(Strict):
    """Which strand."""

    strand: StrandSymbol | None = Field(None, description="Only this strand.")


class SignalQuery(Strict):
    """Which strand of a signal."""

    strand: StrandOrEither = Field(
        "either", description="`+`, `-`, or the larger of the two at each base."
    )


class MatchesQuery(PageQuery):
    """Which matches."""

    max_q: float = Field(1.0, ge=0, le=1, description="Only matches with q at most this.")


class TfQuery(Strict):
    """How many features, and how sure."""

    max_q: float = Field(0.05, ge=0, le=1, description="Only matches with q at most this.")
    limit: int = Field(50, ge=1, le=MAX_PAGE, description="Most features.")


class ProblemPlace(BaseModel):
    """Where an input is wrong."""

    location: str
    message: str


class Problem(BaseModel):
    """RFC 9457 problem document; every error of this API is one."""

    type: str = Field(description="Stable name of the kind of problem, for programs.")
    title: str
    status: int
    detail: str = Field(description="What is wrong and the way out, for people.")
    instance: str = Field(description="Names the request in the server's log.")
    errors: list[ProblemPlace] = Field(description="Places in the input; may be empty.")
    state: str | None = Field(description="State of the run, where that is in the way.")


class RunError(BaseModel):
    """Why a run failed."""

    code: str | None
    message: str | None


class RunView(BaseModel):
    """A run and how far it is."""

    id: str
    title: str | None
    filename: str | None
    state: str = Field(description="GA4GH state.")
    progress: float = Field(description="0 to 1; 1 only when complete.")
    bases: int
    bases_done: int
    shards: int
    shards_done: int
    created_at: str = Field(description="UTC, ISO 8601.")
    started_at: str | None
    finished_at: str | None
    dictionary: str
    options: dict[str, Any]
    contigs: int = Field(description="How many sequences.")
    annotation_skipped: dict[str, int] | None = Field(
        description="Entries of the gene annotation that were not used, by reason; null without "
        "an annotation."
    )
    error: RunError | None
    computation: str = Field(description="Digest of what is computed; equal for equal content.")
    links: dict[str, str] = Field(description="Addresses of its results, by name.")


class RunList(BaseModel):
    """Some runs, the newest first."""

    runs: list[RunView]
    next_page_token: str | None


class ContigView(BaseModel):
    """A sequence of a run."""

    name: str
    length: int
    refget: str


class ContigList(BaseModel):
    """The sequences of a run, in order."""

    contigs: list[ContigView]


class Row(BaseModel):
    """A row of a result table; the columns are those of the Parquet file of that name.

    `strand` is `+` or `-`, `contig` a name; positions are 0-based.
    """

    model_config = ConfigDict(extra="allow")

    feature: int
    strand: str


class FeatureList(BaseModel):
    """Some features of a run: a row for each strand that was read, never active ones too."""

    features: list[Row]
    total: int
    next_page_token: str | None


class FeatureView(BaseModel):
    """One feature of a run."""

    feature: int
    active: bool = Field(description="False: computed, and nowhere above the gate.")
    strands: list[Row] = Field(description="Statistics and labels on each strand.")
    peaks: list[Row] = Field(description="Its top peaks, the highest first.")
    matches: list[Row] = Field(description="Its motif tests.")
    links: dict[str, str]


class MotifTest(BaseModel):
    """Whether motifs were tested at the peaks of this run."""

    tested: bool
    power: str
    loci: int | None
    needed: int | None
    reason: str
    release: str | None
    taxon: str | None


class MatchList(BaseModel):
    """Some matches of a run, the surest first."""

    matches: list[Row]
    total: int
    next_page_token: str | None
    motif_test: MotifTest


class MotifView(BaseModel):
    """A motif."""

    matrix_id: str
    name: str
    family: list[str]


class TfFeature(BaseModel):
    """A feature that matches a transcription factor, with the evidence."""

    model_config = ConfigDict(extra="allow")

    rank: int
    feature: int
    strand: str
    source: Literal["run", "atlas"] = Field(
        description="`run`: tested on this run's sequences. `atlas`: known of the dictionary."
    )
    matrix_id: str
    motif_name: str
    q: float | None
    log2_enrichment: float | None


class TfFeatures(BaseModel):
    """Which features match a transcription factor."""

    query: str
    match_type: str = Field(description="What of the motifs the query named.")
    release: str
    taxon: str
    motifs: list[MotifView]
    motif_test: MotifTest
    atlas: dict[str, Any] | None = Field(
        description="Where the atlas comes from; null if there is none for the taxon."
    )
    max_q: float
    features: list[TfFeature]
    atlas_features: list[TfFeature] = Field(
        description="What the atlas knows besides, where `features` is this run's own test."
    )


class ModelView(BaseModel):
    """A model or dictionary, as its card says."""

    model_config = ConfigDict(extra="allow")

    id: str
    title: str


class ModelList(BaseModel):
    """What this installation can run."""

    models: list[ModelView]
    dictionaries: list[ModelView]
    taxa: list[str]
    releases: list[str]


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """The server can take work."""

    ready: Literal[True]
    checks: dict[str, str]
    workers: int = Field(description="Workers that have reported lately; not required.")


class JsonDocument(BaseModel):
    """A JSON object whose members are described elsewhere."""

    model_config = ConfigDict(extra="allow")
