"""Shapes of requests and answers about tracks and share links."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.schemas import RunPath, StrandOrEither, StrandQuery, StrandSymbol, Strict


def _like(example: str) -> JsonDict:
    """An example of a value, where the interface's document has it."""
    return {"example": example}


_ROW = "Index of the feature; `374-` or `374_minus`, `374+` or `374_plus` for one strand."


class SharePath(Strict):
    """A share link in an address."""

    token: str = Field(description="The token of the link.", json_schema_extra=_like("sht_Zk3..."))


class FeatureRowPath(RunPath):
    """A feature row of a run in an address."""

    feature: str = Field(max_length=20, description=_ROW, json_schema_extra=_like("374_minus"))


class SharedFeaturePath(SharePath):
    """A feature row of a shared run in an address."""

    feature: str = Field(max_length=20, description=_ROW, json_schema_extra=_like("374_minus"))


class ShareLinkPath(RunPath):
    """A share link of a run in an address."""

    link_id: str = Field(max_length=64, description="Id of the link, which is not its token.")


class ShareQuery(Strict):
    """What a new link is called."""

    title: str | None = Field(
        None,
        max_length=100,
        description="To tell links apart.",
        json_schema_extra=_like("for the lab meeting"),
    )


class GenomeQuery(Strict):
    """Whose names the contigs have."""

    genome: str | None = Field(
        None,
        max_length=64,
        description="Call the contigs as this genome does, such as sacCer3 or hg38; names are "
        "taken from a stated table, and refused where a name or a length differs. By default they "
        "are called as in the submission.",
        json_schema_extra=_like("sacCer3"),
    )


class PeaksQuery(GenomeQuery):
    """Which peaks."""

    features: str | None = Field(
        None,
        max_length=1000,
        description="Feature rows separated by commas; all by default.",
        json_schema_extra=_like("374-,153+"),
    )


class RowStrandQuery(GenomeQuery):
    """Which strand, where the address does not say it."""

    strand: StrandSymbol | None = Field(None, description="Only this strand.")


class BedQuery(GenomeQuery, StrandQuery):
    """Which strand, and whose names the contigs have."""


class RowSignalQuery(GenomeQuery):
    """Which strand of a signal, where the address does not say it."""

    strand: StrandOrEither | None = Field(
        None, description="`+`, `-`, or `either`: the larger of the two at each base (default)."
    )


class HubQuery(GenomeQuery):
    """What a description of tracks shows, and on which genome."""

    features: str | None = Field(
        None,
        max_length=1000,
        description="Feature rows separated by commas; by default the ten most telling.",
        json_schema_extra=_like("374-,153+"),
    )
    tf: str | None = Field(
        None,
        max_length=100,
        description="The ten best matches of this transcription factor, in place of `features`.",
        json_schema_extra=_like("REB1"),
    )
    peaks: Literal["intervals", "heights", "both"] = Field(
        "intervals",
        description="How the peaks of a feature row are drawn: as items (bigBed), as values at "
        "their bases (bigWig), or both.",
    )
    genome: str | None = Field(
        None,
        max_length=64,
        description="What browsers call the sequences, such as sacCer3 or hg38: the tracks then "
        "come without a sequence and with the contigs called as there, by a stated table. Refused "
        "where a name or a length differs. By default the tracks come with their own sequence.",
        json_schema_extra=_like("sacCer3"),
    )


class UcscQuery(Strict):
    """Which genome."""

    genome: str = Field(
        max_length=100,
        description="As hub.txt names it.",
        json_schema_extra=_like("saetrack_0c1f9a2b"),
    )


class UcscTrackQuery(UcscQuery):
    """Which track."""

    track: str | None = Field(
        None, max_length=60, description="A track; the contigs are the same for all."
    )


class UcscDataQuery(UcscQuery):
    """Which items of a track. Positions are 0-based, the end is exclusive."""

    track: str = Field(
        max_length=60,
        description="As `/list/tracks` names it, or that of any feature row.",
        json_schema_extra=_like("f374_minus"),
    )
    chrom: str | None = Field(None, max_length=255, description="All by default.")
    start: int | None = Field(None, ge=0, description="Needs chrom and end.")
    end: int | None = Field(None, ge=0)
    maxItemsOutput: int = Field(  # noqa: N815 - UCSC's word
        1000, ge=-1, le=100_000, description="Most items; -1 for 100,000, the most."
    )


class UcscSequenceQuery(UcscQuery):
    """Which bases. Positions are 0-based, the end is exclusive."""

    chrom: str = Field(max_length=255, json_schema_extra=_like("chrI"))
    start: int | None = Field(None, ge=0, description="Needs end; the whole contig by default.")
    end: int | None = Field(None, ge=0)


class TrackLinks(BaseModel):
    """Addresses that open the tracks in each browser; null where one cannot."""

    hub: str = Field(description="hub.txt: UCSC, igv.js (hubURL), IGV desktop, JBrowse 2.")
    igv_js: str = Field(description="A configuration of igv.js.")
    igv_session: str = Field(description="An XML session of IGV desktop.")
    igv_desktop: str = Field(description="Has an IGV that runs on this machine load the hub.")
    jbrowse_config: str | None = Field(description="config.json of JBrowse 2.")
    jbrowse: str | None = Field(description="JBrowse 2 on the web, with these tracks.")
    ucsc: str | None = Field(description="UCSC, whose servers must reach this one.")
    about: str
    provenance: str
    genome: str = Field(description="What the hub calls the sequences.")
    notes: list[str] = Field(description="Why an address is null, and what is to be known.")


class ShareLinkView(BaseModel):
    """A link that shows the tracks of a run; its token is stored nowhere."""

    id: str = Field(description="To revoke it by.", json_schema_extra=_like("5f0c6a1b2d3e4f50"))
    title: str | None = Field(json_schema_extra=_like("for the lab meeting"))
    created_at: str = Field(
        description="UTC, ISO 8601.", json_schema_extra=_like("2026-11-21T07:00:00.000Z")
    )


class ShareLinkCreated(ShareLinkView):
    """A new link, with the token that is told this once."""

    token: str
    url: str = Field(description="hub.txt of the run; the other files lie beside it.")
    links: TrackLinks


class ShareLinkList(BaseModel):
    """The links of a run, the newest first."""

    share_links: list[ShareLinkView]


class UcscDocument(BaseModel):
    """A JSON object in the shape of UCSC's api.genome.ucsc.edu."""

    model_config = ConfigDict(extra="allow")

    downloadTime: str  # noqa: N815 - UCSC's words
    downloadTimeStamp: int  # noqa: N815
