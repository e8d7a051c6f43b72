"""Descriptions of tracks for genome browsers: one hub.txt, igv.js, IGV desktop, JBrowse 2.

    Hub (genome, tracks)  -->  hub_text         UCSC, igv.js (`hubURL`), IGV from 2.17, JBrowse
                          -->  igvjs_config     igv.js and IGV's JSON sessions
                          -->  igv_session      IGV desktop's XML sessions
                          -->  jbrowse_config   JBrowse 2

Pure text and JSON values: where files lie is what the caller says. Addresses are relative to the
description unless they are absolute.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

from annotations.errors import FormatError, OptionError

TrackKind = Literal[
    "signal", "alternative", "difference", "heights", "expectation", "peaks", "genes"
]
"""What a track shows: activations as bigWig, those of an alternative allele and how they differ as
bigWig, values of peaks as bigWig, what the model expects as bigWig, peaks as bigBed, genes as
bigBed."""

_BIGWIGS: Final = frozenset({"signal", "alternative", "difference", "heights", "expectation"})

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SHORT_LABEL: Final = 17
_LONG_LABEL: Final = 76
_GROUPS: Final[dict[TrackKind, str]] = {
    "signal": "Activations",
    "alternative": "Alternative allele",
    "difference": "Alternative minus reference",
    "heights": "Peak heights",
    "expectation": "Expectation of the model",
    "peaks": "Peaks",
    "genes": "Genes",
}


class Genome(NamedTuple):
    """The sequence that tracks lie on."""

    name: str
    """UCSC's name, such as sacCer3, or a name of its own for a sequence no browser knows."""
    description: str
    fasta: str | None = None
    """Address of the FASTA file; None for a genome that the browsers have."""
    fasta_index: str | None = None
    """Address of its .fai."""
    two_bit: str | None = None
    """Address of the .2bit; what makes the hub an assembly hub."""
    chrom_sizes: str | None = None

    @property
    def is_own(self) -> bool:
        """Whether the sequence comes with the hub."""
        return self.two_bit is not None


class Track(NamedTuple):
    """One file that a browser draws."""

    name: str
    """Letters, digits and underscores, beginning with a letter: what UCSC takes."""
    kind: TrackKind
    url: str
    short_label: str
    long_label: str
    color: tuple[int, int, int] = (0, 90, 160)
    most: float | None = None
    """Largest value of a signal; the axis runs from `least` to here."""
    letters: bool = False
    """Whether a browser that can draws the letters of the bases as high as their values."""
    signed: bool = False
    """Whether values of a bigWig go below 0 as well."""
    shown: bool = True
    html: str | None = None
    """Address of a page that describes it."""
    fields: int = 9
    """BED fields of a bigBed."""
    search: bool = False
    """Whether a bigBed has an index by name."""

    @property
    def is_bigwig(self) -> bool:
        """Whether the file is a bigWig; else it is a bigBed."""
        return self.kind in _BIGWIGS

    @property
    def least(self) -> float:
        """Where the axis of a signal begins: 0, or as far below it as a signed one goes above."""
        return -self.most if self.is_signed and self.most is not None else 0.0

    @property
    def is_signed(self) -> bool:
        """Whether values go below 0: those of a difference do."""
        return self.signed or self.kind == "difference"


class Hub(NamedTuple):
    """Tracks of one run on one genome."""

    name: str
    short_label: str
    long_label: str
    email: str
    """UCSC asks for an address of whoever answers for the hub."""
    genome: Genome
    tracks: Sequence[Track]
    locus: str | None = None
    """Where to open, as ``chr1:1-1000``."""
    html: str | None = None
    """Address of a page that describes the hub and its tracks."""


def hub_text(hub: Hub) -> str:
    """The hub as one file of UCSC's form (`useOneFile on`).

    A composite track for each kind of file; a subtrack for each file. A genome of its own makes
    an assembly hub, any other attaches to what UCSC calls by that name.

    Parameters
    ----------
    hub : Hub

    Returns
    -------
    text : str
        Stanzas separated by blank lines.

    Raises
    ------
    FormatError
        If a name is none that UCSC takes, or two are the same.
    OptionError
        If there is no track.
    """
    _check(hub)
    described = {} if hub.html is None else {"html": hub.html}
    stanzas = [
        {
            "hub": hub.name,
            "shortLabel": hub.short_label,
            "longLabel": hub.long_label,
            "useOneFile": "on",
            "email": hub.email,
            **({} if hub.html is None else {"descriptionUrl": hub.html}),
        },
        _genome_stanza(hub),
    ]
    for kind, group in _GROUPS.items():
        members = [track for track in hub.tracks if track.kind == kind and track.shown]
        if not members:
            continue
        parent = f"{hub.name}_{kind}"
        stanzas.append(
            {
                "track": parent,
                "compositeTrack": "on",
                "shortLabel": group,
                "longLabel": _cut(f"{group} of {hub.long_label}", _LONG_LABEL),
                "type": "bigWig" if members[0].is_bigwig else f"bigBed {members[0].fields} +",
                "visibility": "full" if members[0].is_bigwig else "dense",
                **described,
            }
        )
        stanzas += [_track_stanza(track, parent) for track in members]
    stanzas += [_track_stanza(track, None) for track in hub.tracks if not track.shown]
    return "\n\n".join(_stanza(fields) for fields in stanzas) + "\n"


def igvjs_config(hub: Hub) -> dict[str, Any]:
    """The hub as a configuration of igv.js, which is also IGV's JSON session.

    `loadDefaultGenomes` and `search` are off: igv.js would else ask its makers' servers.
    """
    _check(hub)
    config: dict[str, Any] = {"loadDefaultGenomes": False, "search": False}
    if hub.genome.fasta is not None:
        config["reference"] = {
            "id": hub.genome.name,
            "name": hub.genome.description,
            "fastaURL": hub.genome.fasta,
            "indexURL": hub.genome.fasta_index,
        }
    elif hub.genome.two_bit is not None:
        config["reference"] = {
            "id": hub.genome.name,
            "name": hub.genome.description,
            "twoBitURL": hub.genome.two_bit,
        }
    else:
        config["genome"] = hub.genome.name
    if hub.locus is not None:
        config["locus"] = hub.locus
    config["tracks"] = [_igvjs_track(track) for track in hub.tracks if track.shown]
    return config


def igv_session(hub: Hub) -> str:
    """The hub as an XML session of IGV desktop.

    Returns
    -------
    xml : str
        Version 8 of the sessions, which every IGV since 2.4 reads.
    """
    _check(hub)
    session = ElementTree.Element(
        "Session",
        genome=hub.genome.fasta or hub.genome.two_bit or hub.genome.name,
        locus=hub.locus or "All",
        version="8",
    )
    resources = ElementTree.SubElement(session, "Resources")
    panel = ElementTree.SubElement(session, "Panel", name="DataPanel")
    for track in hub.tracks:
        if not track.shown:
            continue
        ElementTree.SubElement(resources, "Resource", path=track.url, type=_extension(track))
        view = ElementTree.SubElement(
            panel,
            "Track",
            id=track.url,
            name=track.short_label,
            color=",".join(map(str, track.color)),
            visible="true",
        )
        if track.is_bigwig and track.most is not None:
            ElementTree.SubElement(
                view,
                "DataRange",
                minimum=f"{track.least:.1f}" if track.least == 0 else f"{track.least:g}",
                maximum=f"{track.most:g}",
                baseline="0.0",
            )
    ElementTree.indent(session)
    text = ElementTree.tostring(session, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n{text}\n'


def jbrowse_config(hub: Hub) -> dict[str, Any]:
    """The hub as a config.json of JBrowse 2.

    Raises
    ------
    OptionError
        If the genome is not the hub's own: JBrowse knows no genome by itself.
    """
    _check(hub)
    if hub.genome.two_bit is None:
        raise OptionError(
            f"JBrowse needs the sequence of {hub.genome.name}, and this hub does not carry it; "
            "open hub.txt in a JBrowse that has the assembly"
        )
    adapter: dict[str, Any] = {
        "type": "TwoBitAdapter",
        "twoBitLocation": _location(hub.genome.two_bit),
    }
    if hub.genome.chrom_sizes is not None:
        adapter["chromSizesLocation"] = _location(hub.genome.chrom_sizes)
    config: dict[str, Any] = {
        "assemblies": [
            {
                "name": hub.genome.name,
                "displayName": hub.genome.description,
                "sequence": {
                    "type": "ReferenceSequenceTrack",
                    "trackId": f"{hub.genome.name}_sequence",
                    "adapter": adapter,
                },
            }
        ],
        "tracks": [_jbrowse_track(track, hub.genome.name) for track in hub.tracks],
    }
    config["defaultSession"] = {
        "name": hub.short_label,
        "view": {
            "id": "saetrack",
            "type": "LinearGenomeView",
            "init": {
                "assembly": hub.genome.name,
                "loc": hub.locus or "",
                "tracks": [track.name for track in hub.tracks if track.shown],
            },
        },
    }
    return config


def ucsc_link(genome: Genome, hub_url: str, *, locus: str | None = None) -> str:
    """Address that opens a hub at UCSC, whose servers must be able to fetch it."""
    base = "https://genome.ucsc.edu/cgi-bin/"
    where = f"&position={quote(locus, safe='')}" if locus else ""
    if genome.is_own:
        return f"{base}hgGateway?genome={quote(genome.name)}&hubUrl={quote(hub_url, safe='')}"
    return f"{base}hgTracks?db={quote(genome.name)}&hubUrl={quote(hub_url, safe='')}{where}"


def igv_link(hub_url: str) -> str:
    """Address that tells an IGV desktop (2.17 or later) on this machine to load a hub."""
    return f"http://localhost:60151/load?hubURL={quote(hub_url, safe='')}"


def track_name(*parts: str) -> str:
    """A name that UCSC takes, out of any words; other characters become underscores."""
    name = "_".join(re.sub(r"[^A-Za-z0-9]+", "_", part).strip("_") for part in parts)
    return name if _NAME.fullmatch(name) else f"t_{name}"


def _check(hub: Hub) -> None:
    if not hub.tracks:
        raise OptionError("a hub needs a track; choose features to show")
    names = [hub.name, *(track.name for track in hub.tracks)]
    for name in names:
        if not _NAME.fullmatch(name):
            raise FormatError(
                "a track's name must be letters, digits and _ and begin with a letter, got "
                f"{name!r}"
            )
    if len(set(names)) < len(names):
        raise FormatError("two tracks of a hub have the same name")


def _genome_stanza(hub: Hub) -> dict[str, str]:
    genome = hub.genome
    fields = {"genome": genome.name}
    if genome.two_bit is not None:
        fields |= {
            "twoBitPath": genome.two_bit,
            "organism": genome.description,
            "scientificName": genome.description,
            "description": genome.description,
        }
        if genome.chrom_sizes is not None:
            fields["chromSizes"] = genome.chrom_sizes
        if hub.locus is not None:
            fields["defaultPos"] = hub.locus
        if hub.html is not None:
            fields["htmlPath"] = hub.html
    return fields


def _track_stanza(track: Track, parent: str | None) -> dict[str, str]:
    fields = {
        "track": track.name,
        # igv.js takes the visibility of a composite for that of each of its members
        **({"visibility": "hide"} if parent is None else {"parent": f"{parent} on"}),
        "bigDataUrl": track.url,
        "shortLabel": _cut(track.short_label, _SHORT_LABEL),
        "longLabel": _cut(track.long_label, _LONG_LABEL),
    }
    color = ",".join(map(str, track.color))
    if track.is_bigwig:
        fields |= {"type": "bigWig", "color": color, "alwaysZero": "on"}
        fields |= {"maxHeightPixels": "100:48:8", "windowingFunction": "mean+whiskers"}
        if track.most is not None:
            fields["type"] = f"bigWig {track.least:g} {track.most:g}"
        if track.most is None or track.most < 1:
            # igv.js reads limits as whole numbers: it would draw 0.8 on an axis from 0 to 0
            fields["autoScale"] = "on"
        else:
            fields["viewLimits"] = f"{math.floor(track.least)}:{math.ceil(track.most)}"
        if track.letters:
            fields["logo"] = "on"
    else:
        fields["type"] = f"bigBed {track.fields} +"
        # igv.js would draw every item in the color of the track, and not in its own
        fields |= {"itemRgb": "on"} if track.fields >= 9 else {"color": color}
        if track.search:
            fields["searchIndex"] = "name"
    if track.html is not None:
        fields["html"] = track.html
    return fields


def _stanza(fields: dict[str, str]) -> str:
    # a line end inside a label would begin a new setting
    return "\n".join(f"{key} {' '.join(value.split())}" for key, value in fields.items())


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 3] + "..."


def _igvjs_track(track: Track) -> dict[str, Any]:
    common = {"name": track.short_label, "url": track.url}
    color = f"rgb({','.join(map(str, track.color))})"
    if not track.is_bigwig:
        # items have colors of their own, which that of the track would hide
        own = {} if track.fields >= 9 else {"color": color}
        return {"type": "annotation", "format": "bigbed", **common, **own}
    view: dict[str, Any] = {"type": "wig", "format": "bigwig", **common, "color": color}
    if not track.is_signed or track.most is not None:
        view["min"] = track.least or 0
    if track.most is not None:
        view["max"] = track.most
    if track.letters:
        view["graphType"] = "dynseq"
    return view


def _jbrowse_track(track: Track, assembly: str) -> dict[str, Any]:
    signal = track.is_bigwig
    adapter = {
        "type": "BigWigAdapter" if signal else "BigBedAdapter",
        "bigWigLocation" if signal else "bigBedLocation": _location(track.url),
    }
    return {
        "type": "QuantitativeTrack" if signal else "FeatureTrack",
        "trackId": track.name,
        "name": track.short_label,
        "description": track.long_label,
        "category": [_GROUPS[track.kind]],
        "assemblyNames": [assembly],
        "adapter": adapter,
    }


def _location(url: str) -> dict[str, str]:
    return {"uri": url, "locationType": "UriLocation"}


def _extension(track: Track) -> str:
    return "bw" if track.is_bigwig else "bb"
