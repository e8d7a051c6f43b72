"""Shapes of requests and answers about registered genomes."""

from typing import Any

from pydantic import BaseModel, Field

from app.schemas import MAX_PAGE, PAGE, Strict


class GenomePath(Strict):
    """A registered genome in an address."""

    name: str = Field(description="Name of the genome.", max_length=64)


class GenomeQuery(Strict):
    """Which of a genome's contigs."""

    limit: int = Field(PAGE, ge=1, le=MAX_PAGE, description="Contigs on the page.")
    page_token: str | None = Field(
        None,
        max_length=20,
        pattern="^[0-9]+$",
        description="The `next_page_token` of the page before.",
    )


class GenomeSummary(BaseModel):
    """A registered genome."""

    name: str
    bases: int
    contigs: int = Field(description="How many.")
    genes: int | None = Field(
        description="Names of genes in its annotation; null where it has none, or where they were "
        "not counted (genomes registered before version 2 of the format)."
    )
    has_genes: bool
    seqcol: str = Field(
        description="GA4GH sequence collection digest (seqcol 1.0) over names and sequences."
    )
    aliases: str | None = Field(
        description="What states other names of its contigs; null if nothing does."
    )
    date: str = Field(description="When it was registered; UTC, ISO 8601.")
    links: dict[str, str]


class GenomeList(BaseModel):
    """The registered genomes, by name."""

    genomes: list[GenomeSummary]


class GenomeContig(BaseModel):
    """A contig of a genome."""

    name: str
    length: int
    refget: str = Field(description="GA4GH refget digest of the sequence.")
    aliases: list[str] = Field(description="Its other names.")


class GenomeView(GenomeSummary):
    """A registered genome and a page of its contigs."""

    source: dict[str, Any] = Field(
        description="Names and sha256 of the files it was made from: `sequences`, `genes` and "
        "`aliases`, or null."
    )
    contig_list: list[GenomeContig]
    next_page_token: str | None
