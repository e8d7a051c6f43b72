"""Shapes of requests and answers about alleles."""

from typing import Literal

from pydantic import BaseModel, Field

from app.schemas import Row, RunPath, StrandSymbol, TableQuery


class AllelePairPath(RunPath):
    """A pair of alleles of a run in an address."""

    pair: str = Field(max_length=12, description="Number of the pair, from 0.")


class AllelesQuery(TableQuery):
    """Which page of the pairs, in which order and format."""

    sort: Literal["file", "change", "ratio"] = Field(
        "file",
        description="`file`: as in the VCF file. `change`: the largest change first. `ratio`: the "
        "largest absolute log2_ratio first; needs a run with the option expectation.",
    )
    strand: StrandSymbol | None = Field(
        None, description="Only pairs whose most changed feature row is of this strand."
    )


class AlleleFeaturesQuery(TableQuery):
    """Which page of the changed features, in which format."""

    sort: Literal["change", "specific"] = Field(
        "change",
        description="`change`: the largest change at a base first. `specific`: those first that "
        "the fewest controls change as much; needs controls.",
    )


class AlleleTotalsQuery(TableQuery):
    """Which page of the features that changed in any pair, in which format."""

    sort: Literal["pairs"] = Field("pairs", description="Those that change in most pairs first.")


class AllelePairView(BaseModel):
    """Two records of a run that are alleles of one sequence.

    Coordinates are 0-based and half-open. Feature, strand, changes and labels are those of the
    feature row that changed most; null where none did.
    """

    pair: int
    name: str = Field(description="Such as `chrI:12345 A>G`, 1-based.")
    id: str | None = Field(description="ID of the VCF file.")
    contig: str = Field(description="Contig that the records were cut out of.")
    start: int = Field(description="First changed base of the reference in the contig.")
    end: int
    reference_record: str = Field(description="Contig of the run with the reference allele.")
    alternative_record: str
    record_start: int = Field(description="First changed base in the reference record.")
    record_end: int


class AlleleChange(AllelePairView):
    """A pair with the feature row that it changed most."""

    changed: int = Field(description="Feature rows that differ.")
    feature: int | None
    strand: str | None
    change: float | None = Field(
        description="Largest change at one base: alternative minus reference."
    )
    reference_max: float | None
    alternative_max: float | None
    contig_position: int | None = Field(description="Base of the largest change in the contig.")
    log2_ratio: float | None = Field(
        description="log2 p(alternative) / p(reference) of the model; null unless one base stands "
        "for one other and the run has the option expectation."
    )
    label: str | None
    match_motif_name: str | None
    label_motif_name: str | None


class AlleleList(BaseModel):
    """The pairs of a run."""

    alleles: list[AlleleChange]
    total: int
    next_page_token: str | None
    kind: Literal["variants", "records"]
    pairs: int
    controls: int = Field(description="Random substitutions near each variant.")
    flank: int | None = Field(description="Bases on each side of a variant.")
    one_sided: bool = Field(
        description="Whether only bases at and behind a change, in the sense of the pass, count."
    )
    skipped: dict[str, int] = Field(description="Alleles of the file that were passed over.")
    expectation: bool = Field(description="Whether the run says what the model expects.")
    sha256: str
    note: str


class AlleleFeatures(BaseModel):
    """The feature rows that differ between the alleles of a pair.

    `change` is the largest change at one base, at `position` of the reference record and
    `contig_position` of the contig; sums and maxima are over the bases that can differ.
    """

    features: list[Row]
    total: int
    next_page_token: str | None
    pair: AllelePairView
    controls: int
    note: str


class AlleleTotals(BaseModel):
    """The feature rows that differ in any pair: in how many, and where most."""

    features: list[Row]
    total: int
    next_page_token: str | None
    pairs: int
    note: str
