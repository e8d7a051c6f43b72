"""Shapes of requests and answers. Unknown parameters are refused, and no answer is a bare list."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from annotations.causal_sites import MAX_SITES, MIN_SITES

MAX_PAGE = 500
"""Most rows on a page; a larger limit is refused, not lowered."""

PAGE = 50
"""Rows on a page where no limit is given."""


def _plus(value: object) -> object:
    """A plus sign in a query string arrives as a space unless it is written %2B."""
    return "+" if value == " " else value


StrandSymbol = Annotated[Literal["+", "-"], BeforeValidator(_plus)]
StrandOrEither = Annotated[Literal["+", "-", "either"], BeforeValidator(_plus)]
FeatureSort = Literal["telling", "feature", "density", "max", "peaks", "q", "effect", "label"]
MatchSort = Literal["q", "effect", "auroc", "auprc", "held_out", "causal", "evidence", "feature"]
ConceptSort = Literal["f1", "auroc", "auprc", "held_out", "effect", "q", "feature"]
TableFormat = Literal["json", "tsv", "parquet"]


class Strict(BaseModel):
    """Parameters of a request: each is known, or the request is refused."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The schema; made once, for the framework asks for it at every request."""
        if args or kwargs:
            return super().model_json_schema(*args, **kwargs)
        return _schema(cls)


@cache
def _schema(model: type[Strict]) -> dict[str, Any]:
    """The schema of a model, to be read only."""
    return super(Strict, model).model_json_schema()


class NoQuery(Strict):
    """No parameters."""


class RunPath(Strict):
    """A run in an address."""

    run_id: str = Field(description="Id of the run.", max_length=64)


FEATURE_IN_PATH = "Index of the feature, from 0; with a sign, such as 374-, of that strand alone."


class FeaturePath(RunPath):
    """A feature of a run in an address."""

    feature: str = Field(description=FEATURE_IN_PATH, max_length=20)


class TfPath(RunPath):
    """A transcription factor in an address."""

    tf: str = Field(description="Name, matrix id, UniProt accession or family.", max_length=100)


class PageQuery(Strict):
    """Which page."""

    limit: int = Field(PAGE, ge=1, le=MAX_PAGE, description="Rows on the page.")
    page_token: str | None = Field(
        None, max_length=200, description="The `next_page_token` of the page before."
    )


class TfNamePath(Strict):
    """A transcription factor in an address."""

    tf: str = Field(description="Name, matrix id, UniProt accession or family.", max_length=100)


class TableQuery(Strict):
    """Which page, in which format."""

    limit: int | None = Field(
        None,
        ge=1,
        le=MAX_PAGE,
        description=f"Rows on the page; {PAGE} by default, and all in a file.",
    )
    page_token: str | None = Field(
        None, max_length=200, description="The `next_page_token` of the page before."
    )
    format: TableFormat = Field(
        "json",
        description="`tsv` and `parquet` hold the rows alone; what JSON has beside them is in the "
        "metadata of the Parquet file, and the Link header of either leads to the JSON.",
    )
    strand: StrandSymbol | None = Field(None, description="Only this strand.")


class ChoiceQuery(TableQuery):
    """Which rows of a table of measurements."""

    min_log2_enrichment: float | None = Field(
        None, ge=-100, le=100, description="Only rows with at least this effect."
    )


class MatchChoiceQuery(ChoiceQuery):
    """Which motif matches, in which order."""

    evidence: str | None = Field(
        None,
        max_length=100,
        description="Only matches that hold this: `enriched`, `centred`, `similar`, `predictive` "
        "or `causal`; several, separated by commas, must all hold.",
    )
    sort: MatchSort = Field(
        "q",
        description="`q`, `held_out` (its q) and `causal` (its p) go up; `effect` (log2 "
        "enrichment), `auroc`, `auprc` and `evidence` (how many kinds) go down; unknown last.",
    )
    group_by: Literal["cluster", "group"] | None = Field(
        None,
        description="`cluster`: one row for each feature row and cluster of motifs that look "
        "alike. `group`: one row for each group of features that fire together. The first in the "
        "order stands for the others; `members` counts them, `member_names` names them.",
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
    held_out: str | None = Field(
        None,
        description="Contigs that discovery does not see, separated by commas: what is found on "
        "the others is tested once on these.",
    )
    expectation: str | None = Field(
        None,
        description="`true`: keep what the model expects of each base as well, for tracks of bits "
        "and letters; takes a pass of the whole model. Not for models of transformers.",
    )
    title: str | None = Field(None, description="Shown in lists.")
    filename: str | None = Field(None, description="Name of the file, shown in lists.")
    alleles: str | None = Field(
        None,
        description="Two records to compare, as REFERENCE,ALTERNATIVE. In a form a VCF file in the "
        "field `variants` is compared instead: two records are cut for each of its variants.",
    )
    flank: str | None = Field(
        None,
        description="Bases on each side of a variant, by default the dictionary's context; or of a "
        "region of a registered genome, by default 0.",
    )
    controls: str | None = Field(
        None,
        description="Random substitutions within 100 bases of each variant, annotated to say how "
        "many of them change a feature as much; none by default.",
    )
    genome: str | None = Field(None, description="Registered genome, in place of sequences.")
    region: str | None = Field(
        None,
        description="Loci of the genome as chrI:1,000-2,000 (from 1, both ends included), several "
        "with commas, semicolons or line ends between them.",
    )
    gene: str | None = Field(
        None, description="Genes of the genome's annotation, several with commas between them."
    )


class FeaturesQuery(TableQuery):
    """Which features, in which order."""

    sort: FeatureSort = Field(
        "telling",
        description="`telling`: matches by q, then labels of the atlas, then the strongest peaks "
        "over the median. `feature`, `label` and `q` go up, the others down; unknown values come "
        "last. Where the run made no motif test, `q` and `effect` (log2 enrichment) are the "
        "atlas' and `note` says so.",
    )
    search: str = Field(
        "",
        max_length=100,
        description="Only rows whose label, motif or cluster contains this, or whose feature it "
        "is: `374` or `374-`.",
    )
    active: bool = Field(False, description="Only rows with an active base.")


class StrandQuery(Strict):
    """Which strand."""

    strand: StrandSymbol | None = Field(None, description="Only this strand.")


class MatchesQuery(MatchChoiceQuery):
    """Which matches of a run."""

    max_q: float = Field(1.0, ge=0, le=1, description="Only matches with q at most this.")


class AskedQuery(Strict):
    """What a question is put to."""

    dictionary: str | None = Field(
        None,
        max_length=64,
        description="Whose atlas answers; by default the only one, or the bundled one.",
    )
    run: str | None = Field(
        None,
        max_length=64,
        description="A run whose own sequences answer where they had the power, else the atlas of "
        "its dictionary; `source` says which.",
    )


class TfQuery(MatchChoiceQuery):
    """Which matches of a factor."""

    max_q: float = Field(0.05, ge=0, le=1, description="Only matches with q at most this.")


class TfAtlasQuery(TfQuery, AskedQuery):
    """Where to look, and which matches."""

    taxon: str | None = Field(
        None, max_length=40, description="JASPAR group; that of the atlas or the run by default."
    )
    release: str | None = Field(
        None, max_length=40, description="JASPAR release; that of the atlas or run by default."
    )


class TfSearchQuery(Strict):
    """Which transcription factors."""

    q: str = Field("", max_length=100, description="Name, alias, matrix id, family; or a part.")
    taxon: str | None = Field(
        None, max_length=40, description="JASPAR group; that of the default atlas by default."
    )
    release: str | None = Field(None, max_length=40, description="JASPAR release.")
    limit: int = Field(PAGE, ge=1, le=MAX_PAGE, description="Most factors.")


class DictionaryPath(Strict):
    """A dictionary in an address."""

    dictionary: str = Field(description="Id of the dictionary.", max_length=64)


class DictionaryFeaturePath(DictionaryPath):
    """A feature of a dictionary in an address."""

    feature: str = Field(description=FEATURE_IN_PATH, max_length=20)


class DictionaryFeatureQuery(Strict):
    """Which rows of a feature, and in which run."""

    strand: StrandSymbol | None = Field(None, description="Only this strand.")
    run: str | None = Field(
        None, max_length=64, description="A run of the dictionary: what the feature did there."
    )


class LogoQuery(Strict):
    """Which strand's logo."""

    strand: StrandSymbol | None = Field(
        None, description="Strand that the feature was read on; `+` if the feature names none."
    )
    axis: bool = Field(True, description="Whether bits and positions are written beside it.")


class MotifPath(Strict):
    """A matrix in an address."""

    matrix_id: str = Field(description="Such as MA0363.3.", max_length=40)


class MotifLogoQuery(Strict):
    """Where the matrix is."""

    taxon: str | None = Field(
        None, max_length=40, description="JASPAR group; that of the default atlas by default."
    )
    release: str | None = Field(None, max_length=40, description="JASPAR release.")
    axis: bool = Field(True, description="Whether bits and positions are written beside it.")


class ConceptsQuery(AskedQuery):
    """Where to look."""

    max_q: float = Field(0.05, ge=0, le=1, description="Rows with q at most this are counted.")


class ConceptPath(Strict):
    """A concept in an address."""

    concept: str = Field(description="Such as exon or splice_donor.", max_length=100)


class ConceptFeaturesQuery(ChoiceQuery, AskedQuery):
    """Which feature rows, in which order."""

    orientation: Literal["same", "opposite", "either"] | None = Field(
        None, description="Sense of the intervals against the pass; all by default."
    )
    max_q: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Only rows whose enrichment has q at most this; 1 for all, unknown q too.",
    )
    sort: ConceptSort = Field(
        "f1", description="`q` and `feature` go up, the others down; unknown values come last."
    )
    group_by: Literal["group"] | None = Field(
        None, description="One row for each group of features that fire together."
    )


class AnalysisPath(Strict):
    """An analysis in an address."""

    analysis_id: str = Field(description="Id of the analysis.", max_length=64)


class CausalTestBody(Strict):
    """Which motif is to be tested, on which sequences."""

    run: str = Field(max_length=64, description="A complete run of the dictionary.")
    strand: Literal["+", "-"] | None = Field(
        None, description="The pass on which the feature is read, where its name has no sign."
    )
    tf: str | None = Field(
        None, max_length=100, description="Name, alias, UniProt accession, matrix id or family."
    )
    matrix_id: str | None = Field(
        None, max_length=100, description="Which matrix of it; by default the one of lowest q."
    )
    sites: int = Field(50, ge=MIN_SITES, le=MAX_SITES, description="Most sites.")
    seed: int = Field(0, ge=0, lt=2**31, description="Of the controls and of the silent windows.")


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


class RunEstimate(BaseModel):
    """When a run will be done, as far as what was measured says."""

    workers: int = Field(description="Live workers that have its model.")
    seconds: float | None = Field(
        description="Until it is complete, runs before it included; null where nothing was "
        "measured yet, or nobody works."
    )
    basis: Literal["this run", "other runs"] | None = Field(
        description="Whose shards the rate was measured on."
    )


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
    expires_at: str | None = Field(
        description="When it will be deleted; null where runs are kept for ever, and until it ends."
    )
    dictionary: str
    options: dict[str, Any]
    regions: dict[str, Any] | None = Field(
        description="Of a run over a registered genome: `genome`, its digest `seqcol`, and of "
        "regions how they were named (`named_by`), how many were `submitted` and are left once "
        "those that overlap are one (`merged`), their `bases`, the `read_bases` "
        "that a model reads for them, `flank`, and the genes that lie in `several_places`. "
        "Null where sequences were sent."
    )
    contigs: int = Field(description="How many sequences.")
    annotation_skipped: dict[str, int] | None = Field(
        description="Entries of the gene annotation that were not used, by reason; null without "
        "an annotation."
    )
    error: RunError | None
    estimate: RunEstimate | None = Field(description="Null once it has ended.")
    notice: str | None = Field(description="Why nothing moves, if nobody can work on it now.")
    computation: str = Field(description="Digest of what is computed; equal for equal content.")
    links: dict[str, str] = Field(description="Addresses of its results, by name.")


class RunList(BaseModel):
    """Some runs, the newest first."""

    runs: list[RunView]
    next_page_token: str | None


class AnalysisSummary(BaseModel):
    """A question to a run."""

    id: str
    kind: Literal["causal_test", "bed_concept"]
    run: str
    title: str | None
    state: str = Field(description="GA4GH state.")
    created_at: str = Field(description="UTC, ISO 8601.")
    started_at: str | None
    finished_at: str | None
    attempts: int
    parameters: dict[str, Any] = Field(description="What was asked.")
    error: RunError | None
    links: dict[str, str]


class AnalysisView(AnalysisSummary):
    """A question to a run, and the answer."""

    result: dict[str, Any] | None = Field(description="Null until it is complete.")


class AnalysisList(BaseModel):
    """Some analyses of a run, the newest first."""

    analyses: list[AnalysisSummary]
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
    note: str | None = Field(description="What the order is, where it is not the one asked for.")


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
    cluster: str | None = Field(
        None, description="Motifs that look like this one; null where no match tells."
    )


class TfFeature(BaseModel):
    """A feature row that matches a transcription factor, with the evidence.

    Columns of `matches.parquet`, among them the confounders (gc, cpg, repeat_share,
    information_content, background_rate) and `evidence`; then what names the feature. `run_...`
    is what the feature did in the run, where one is asked.
    """

    model_config = ConfigDict(extra="allow")

    rank: int
    feature: int
    strand: str
    source: Literal["run", "atlas"] = Field(
        description="`run`: tested on this run's sequences. `atlas`: known of the dictionary."
    )
    matrix_id: str
    motif_name: str
    cluster: str | None = Field(description="Motifs that look like this one.")
    q: float | None
    log2_enrichment: float | None
    evidence: str
    label: str | None
    group: int | None = Field(description="Features that fire together have the same number.")


class TfResolved(BaseModel):
    """How a name was understood."""

    query: str
    match_type: str = Field(description="What of the motifs the query named.")
    resolution_note: str = Field(description="What is to be known of the way to these motifs.")
    release: str
    taxon: str
    motifs: list[MotifView]


class TfFeatures(TfResolved):
    """Which features match a transcription factor."""

    dictionary: str
    source: Literal["run", "atlas"]
    note: str = Field(description="Where the rows come from, in words.")
    motif_test: MotifTest | None = Field(description="The run's own test; null without a run.")
    atlas: dict[str, Any] | None = Field(
        description="Where the atlas comes from; null if there is none for the taxon."
    )
    max_q: float
    baselines: list[dict[str, Any]] = Field(
        description="What controls reach for the same motifs: raw neurons, principal components, "
        "a dictionary of random weights, GC."
    )
    nearest: list[TfFeature] = Field(description="Beside an empty answer: the nearest of any q.")
    features: list[TfFeature]
    total: int
    next_page_token: str | None
    atlas_features: list[TfFeature] = Field(
        description="What the atlas knows besides, where `features` is this run's own test."
    )


class TfCandidate(BaseModel):
    """One of the things that an ambiguous name may mean."""

    name: str
    meaning: str
    matrix_ids: list[str]


class TfSuggestion(BaseModel):
    """A name that contains the text of a search."""

    name: str = Field(description="To be asked for.")
    kind: str
    matched: str = Field(description="What contains the text: the name itself, or an alias.")
    motif_names: list[str]
    matrix_ids: list[str]


class TfSearch(BaseModel):
    """Transcription factors that a text may name."""

    query: str
    taxon: str
    release: str
    resolution: TfResolved | None = Field(
        description="What the text names for the other routes; null if nothing, or several things."
    )
    problem: str | None = Field(description="Why it names nothing, and the way out.")
    candidates: list[TfCandidate] = Field(description="What an ambiguous text may mean.")
    tfs: list[TfSuggestion]


class AtlasList(BaseModel):
    """The atlases of this installation."""

    atlases: list[dict[str, Any]]
    default: str | None = Field(description="Dictionary whose atlas answers if none is named.")


class DictionaryFeature(BaseModel):
    """What is known of a feature of a dictionary."""

    model_config = ConfigDict(extra="allow")

    dictionary: str
    feature: int
    known: bool = Field(description="False: the atlas says nothing of it on either strand.")
    published_label: str | None = Field(description="What others published; not checked here.")
    rows: list[dict[str, Any]] = Field(description="The feature on each strand.")
    baselines: list[dict[str, Any]]
    links: dict[str, str]


class ConceptList(BaseModel):
    """Concepts, and how many feature rows prefer each."""

    dictionary: str
    source: Literal["run", "atlas"]
    note: str
    max_q: float
    concepts: list[dict[str, Any]]


class ConceptFeatures(BaseModel):
    """Feature rows by how well they predict a concept."""

    concept: str
    orientation: str | None
    dictionary: str
    source: Literal["run", "atlas"]
    note: str
    atlas: dict[str, Any] | None
    max_q: float | None
    baselines: list[dict[str, Any]]
    nearest: list[Row] = Field(description="The best rows beside an empty answer.")
    features: list[Row]
    total: int
    next_page_token: str | None


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
