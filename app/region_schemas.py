"""Shapes of requests and answers about regions of a run, and about named features."""

from typing import Literal

from pydantic import BaseModel, Field

from app.schemas import DictionaryPath, Row, Strict, TableFormat, TableQuery

_REGION = (
    "`name:start-end`, 1-based with the end included, such as `chrIX:1001-2000`; or the name of a "
    "sequence for the whole of it."
)
_FEATURES = (
    "Feature rows separated by commas, such as `374-,153+` (`%2B` for the plus); a feature without "
    "a sign stands for each strand that was read."
)

RegionSort = Literal["max", "sum", "active_bases", "share", "density", "feature", "label"]


class RegionQuery(TableQuery):
    """Which of the feature rows that are active in a region, in which order."""

    region: str = Field(max_length=300, description=_REGION)
    sort: RegionSort = Field(
        "max",
        description="`max`, `sum`, `active_bases` and `share` are of the region, `density` is of "
        "the run; all go down. `feature` and `label` go up.",
    )
    min_max: float = Field(
        0.0, ge=0, le=100_000, description="Only rows that reach this activation in the region."
    )
    min_share: float = Field(
        0.0, ge=0, le=1, description="Only rows active at this share of the bases read, or more."
    )
    max_density: float = Field(
        1.0, ge=0, le=1, description="Only rows active at this share of the whole run, or less."
    )


class RowsInRegionQuery(Strict):
    """Which feature rows, and where."""

    features: str = Field(max_length=1000, description=_FEATURES)
    region: str = Field(max_length=300, description=_REGION)
    format: TableFormat = Field(
        "json", description="`tsv` and `parquet` hold the rows alone, one for each base."
    )


class ComparisonQuery(Strict):
    """Which feature rows are compared, where."""

    features: str = Field(max_length=1000, description=_FEATURES)
    region: str = Field(max_length=300, description=_REGION)
    over: Literal["region", "run"] = Field(
        "region", description="The bases over which the rows are correlated."
    )
    format: TableFormat = Field(
        "json", description="`tsv` and `parquet` hold the rows without peaks and correlations."
    )


class NamedFeaturesPath(DictionaryPath):
    """A dictionary whose features are named."""


class NamedFeaturesQuery(Strict):
    """Which features."""

    features: str = Field(
        max_length=1000,
        description="Feature rows separated by commas, such as `374-,153+`; a feature without a "
        "sign stands for both strands.",
    )
    run: str | None = Field(
        None, max_length=64, description="A run of the dictionary: what they did there."
    )
    format: TableFormat = Field("json", description="`tsv` and `parquet` hold the rows alone.")


class Region(BaseModel):
    """A region of a run."""

    region: str = Field(description="1-based, the end included: what people write.")
    contig: str
    start: int = Field(description="0-based.")
    end: int = Field(description="Exclusive.")
    coordinate_system: Literal["0-based, half-open"]
    bases_read: int = Field(
        description="Bases of it that the run read: fewer than all in a run over regions of a "
        "genome."
    )


class RegionRow(Row):
    """A feature row in a region; null of a region of which the run read nothing."""

    max: float | None = Field(description="Largest activation in the region; 0 if silent there.")
    position: int | None = Field(description="Of the largest activation, 0-based.")
    sum: float | None = Field(description="Of the activations in the region.")
    active_bases: int | None
    share: float | None = Field(
        description="Active bases over the bases of the region that were read."
    )
    density: float | None = Field(description="Active bases over all bases, in the whole run.")
    run_max: float | None = Field(description="Largest activation in the whole run.")
    label: str | None
    motif_name: str | None = Field(description="Its best motif.")
    motif_q: float | None
    motif_source: Literal["run", "atlas"] | None = Field(
        description="Whether the motif was tested on the run's sequences or comes from the atlas."
    )


class RegionFeatures(Region):
    """The feature rows that are active in a region."""

    features: list[RegionRow]
    total: int
    next_page_token: str | None


class RegionPeak(BaseModel):
    """A peak in a region."""

    position: int = Field(description="0-based.")
    value: float


class ComparisonView(RegionFeatures):
    """Feature rows over a region; `names`, `correlation` and `peaks` are in the order of rows."""

    names: list[str]
    correlation_over: Literal["region", "run"]
    correlation: list[list[float | None]] = Field(
        description="Pearson over the bases that were read, silent ones as 0; null for a row that "
        "is the same everywhere."
    )
    peaks: list[list[RegionPeak]] = Field(description="Up to three a row, the highest first.")


class RowValues(BaseModel):
    """A feature row at every base of a region."""

    feature: int
    strand: str
    values: list[float | None] = Field(
        description="From the first base on; 0 where silent, null where the run did not read."
    )


class ActivationsView(Region):
    """Feature rows at every base of a region."""

    features: list[RowValues]


class NamedFeature(BaseModel):
    """A feature row, what it is known for, and what it did in a run, where one is named."""

    feature: int
    strand: str
    label: str | None
    motif_name: str | None = Field(description="The motif that gave the label.")
    motif_id: str | None
    motif_q: float | None
    concept: str | None = Field(description="The gene concept of the label.")
    group: int | None = Field(description="Features that fire together have one number.")
    logo: str | None = Field(description="Address of the logo of its own peaks.")
    run_density: float | None
    run_max: float | None
    run_active_bases: int | None
    run_peaks: int | None


class NamedFeatures(BaseModel):
    """Some feature rows of a dictionary, in the order they were named."""

    dictionary: str
    run: str | None
    known_from: str | None = Field(description="Genome of the atlas; null without an atlas.")
    features: list[NamedFeature]
    total: int
    next_page_token: None
