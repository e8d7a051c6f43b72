"""Registered genomes: kept once under a name, for runs over regions of them.

A genome belongs to the server: whoever may ask it anything sees it and runs on it. Where there
are tokens, one with the scope admin registers it. It is never changed, and not deleted over
HTTP: runs keep what they read of it, but tracks and people go by its name.
"""

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, BinaryIO, Final
from urllib.parse import quote

from flask import Response, jsonify, request

from annotations.errors import OptionError, UnknownNameError
from annotations.genome_folder import (
    LIMITS,
    Genome,
    GivenFile,
    add_genome,
    find_genomes,
    open_genome,
)
from app.api import services
from app.api.uploads import received_files
from app.genome_schemas import GenomeList, GenomePath, GenomeQuery, GenomeView
from app.openapi import blueprint, responses
from app.schemas import PAGE, NoQuery

FILES: Final = ("genes", "aliases")
"""Files of the form besides the sequences."""

FIELDS: Final = ("name", "aliases")
"""Fields of the form; `aliases` as text names a shipped table."""

api = blueprint("genomes", "Registered genomes, of which runs read regions.")


@api.get("/v1/genomes", responses=responses({200: GenomeList}))
def list_genomes(query: NoQuery) -> dict[str, Any]:
    """The registered genomes, by name."""
    return {"genomes": [genome_summary(genome) for genome in registered()]}


@api.post("/v1/genomes", responses=responses({201: GenomeView}, 409, 411, 413, 415, 422))
def register_genome(query: NoQuery) -> tuple[Response, int, dict[str, str]]:
    """Register a genome: a form with `name`, a FASTA `file`, perhaps `genes` and `aliases`.

    `genes` is BED, BED12, GFF3 or GTF. `aliases` is a file that says what else the contigs are
    called (UCSC's chromAlias.txt, NCBI's assembly_report.txt, or names of one contig on each
    line), or the name of a shipped table; without it the shipped table that fits all names and
    lengths is taken, if one does. Every user then sees it: with
    tokens, one with the scope admin is needed. The answer comes
    once the genome is written: minutes for a large one.
    """
    here = services()
    limit = here.settings.max_genome_upload_bytes
    with received_files(
        request, here.settings, required="file", optional=FILES, max_bytes=limit
    ) as (files, fields):
        unknown = sorted(set(fields) - set(FIELDS))
        if unknown:
            raise OptionError(
                f"there is no field {', '.join(repr(name[:40]) for name in unknown)}; a form has "
                "name, file, genes and aliases"
            )
        if "name" not in fields:
            raise OptionError("the field name must say what the genome is to be called")
        if "aliases" in fields and "aliases" in files:
            raise OptionError("'aliases' is given twice")
        try:
            genome = add_genome(
                here.settings.genomes_dir,
                fields["name"],
                _given(files, "file"),
                genes=_given(files, "genes") if "genes" in files else None,
                aliases=_given(files, "aliases") if "aliases" in files else fields.get("aliases"),
                limits=replace(LIMITS, max_bases=here.settings.max_genome_bases),
            )
        except UnknownNameError as error:
            # what is not found is no address, but the table that a field names
            raise OptionError(f"{error}; or send aliases as a file") from error
    headers = {"Location": f"/v1/genomes/{quote(genome.name)}"}
    return jsonify(genome_view(genome, start=0, limit=PAGE)), HTTPStatus.CREATED, headers


@api.get("/v1/genomes/<name>", responses=responses({200: GenomeView}, 404))
def get_genome(path: GenomePath, query: GenomeQuery) -> dict[str, Any]:
    """A genome: where it comes from, its digests, and a page of its contigs."""
    genome = open_genome(services().settings.genomes_dir, path.name)
    return genome_view(genome, start=int(query.page_token or 0), limit=query.limit)


def registered() -> list[Genome]:
    """The registered genomes of this installation."""
    return find_genomes(services().settings.genomes_dir)


def genome_summary(genome: Genome) -> dict[str, Any]:
    """A genome as `app.genome_schemas.GenomeSummary` describes it."""
    stated: Mapping[str, Any] = genome.source["aliases"] or {}
    return {
        "name": genome.name,
        "bases": genome.bases,
        "contigs": len(genome.contigs),
        "genes": genome.genes,
        "has_genes": genome.has_genes,
        "seqcol": genome.seqcol,
        "aliases": stated.get("file"),
        "date": genome.date,
        "links": {"self": f"/v1/genomes/{quote(genome.name)}"},
    }


def genome_view(genome: Genome, *, start: int, limit: int) -> dict[str, Any]:
    """A genome as `app.genome_schemas.GenomeView` describes it."""
    aliases = genome.contig_names().aliases
    listed = [
        {
            "name": contig.name,
            "length": contig.length,
            "refget": contig.digest,
            "aliases": list(others),
        }
        for contig, others in zip(
            genome.contigs[start : start + limit], aliases[start : start + limit], strict=True
        )
    ]
    after = start + limit
    return genome_summary(genome) | {
        "source": genome.source,
        "contig_list": listed,
        "next_page_token": str(after) if after < len(genome.contigs) else None,
    }


def _given(files: Mapping[str, BinaryIO], name: str) -> GivenFile:
    """A file of the form with the name that its sender gave it."""
    return GivenFile(files[name], request.files[name].filename or name)
